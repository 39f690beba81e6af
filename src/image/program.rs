//! Programs of the host that a build runs.

use std::{path::PathBuf, process::Stdio};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};

use super::ImageError;
use crate::report::escape;

/// How much of a program's last words is kept, bytes.
const WORDS: usize = 2_000;
/// How many lines of them are shown.
const LAST: usize = 8;
/// How much of a program's answer is read, bytes.
const ANSWER: u64 = 1 << 20;
/// The longest line that is looked at as one, bytes.
const LINE: usize = 16 << 10;

/// Finds a program on the `PATH`, or where administrators' programs are.
pub(super) fn find(tool: &'static str, package: &'static str, purpose: &'static str) -> Result<PathBuf, ImageError> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&on_path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(tool))
        .find(|path| path.is_file())
        .ok_or(ImageError::ToolMissing { tool, package, purpose })
}

/// A command with nothing of the caller's environment but how to find programs and to
/// reach the network.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let kept = ["HOME", "http_proxy", "https_proxy", "no_proxy"];
    for name in kept.into_iter().flat_map(|name| [name.to_owned(), name.to_uppercase()]) {
        if let Some(value) = std::env::var_os(&name) {
            command.env(name, value);
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The last lines of what a program said, as one.
pub(super) fn last_words(said: &[u8]) -> String {
    let said = &said[said.len().saturating_sub(WORDS)..];
    let lines: Vec<_> = said
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .collect();
    let shown: Vec<_> = lines[lines.len().saturating_sub(LAST)..]
        .iter()
        .map(|line| escape(line.trim_ascii(), 300))
        .collect();
    shown.join(" | ")
}

/// A child that gets a signal when it is not waited for to its end, and all its group with it.
struct Group(Child, Signal);

impl Drop for Group {
    fn drop(&mut self) {
        // `id` is `None` once it was waited for, so the number is still its own.
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), self.1);
        }
    }
}

/// Runs a command to its end and gives what it printed; `line` sees each line of its
/// standard error meanwhile. When the caller stops waiting, all of it is ended.
pub(super) async fn run(
    command: Command,
    what: &str,
    remedy: &'static str,
    line: &(dyn Fn(&str) + Sync),
) -> Result<String, ImageError> {
    run_until(command, what, remedy, line, Signal::SIGKILL).await
}

/// The same for a program that has to tidy up when it is ended, with the signal for it.
pub(super) async fn run_until(
    mut command: Command,
    what: &str,
    remedy: &'static str,
    line: &(dyn Fn(&str) + Sync),
    end: Signal,
) -> Result<String, ImageError> {
    let failed = |status: String, words: &[u8]| ImageError::Build {
        what: what.to_owned(),
        status,
        remedy,
        words: last_words(words),
    };
    let child = command.process_group(0).spawn();
    let child = child.map_err(|why| failed(format!("cannot be started: {why}"), b""))?;
    let mut group = Group(child, end);
    let (stdout, stderr) = (group.0.stdout.take(), group.0.stderr.take());
    let answer = async {
        let mut text = Vec::new();
        if let Some(stdout) = stdout {
            let mut stdout = stdout.take(ANSWER);
            let _ = stdout.read_to_end(&mut text).await;
            let _ = tokio::io::copy(stdout.get_mut(), &mut tokio::io::sink()).await;
        }
        text
    };
    let words = async {
        let mut kept = Vec::new();
        let Some(stderr) = stderr else { return kept };
        let mut stderr = BufReader::new(stderr);
        loop {
            let mut bytes = Vec::new();
            let mut bounded = (&mut stderr).take(LINE as u64);
            if !matches!(bounded.read_until(b'\n', &mut bytes).await, Ok(1..)) {
                return kept;
            }
            line(escape(bytes.trim_ascii(), 200).as_str());
            kept.extend(bytes);
            if kept.len() > 4 * WORDS + LINE {
                kept.drain(..kept.len() - 2 * WORDS);
            }
        }
    };
    let (answer, words) = tokio::join!(answer, words);
    let status = group.0.wait().await.map_err(|why| failed(why.to_string(), &words))?;
    if !status.success() {
        let said = [answer.as_slice(), words.as_slice()].concat();
        return Err(failed(status.to_string(), &said));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut sh = command("sh");
        sh.args(["-c", script]);
        sh
    }

    #[tokio::test]
    async fn a_program_is_heard_and_its_failure_told_with_its_last_words() {
        let lines = std::sync::Mutex::new(Vec::new());
        let hear = |line: &str| lines.lock().expect("lock").push(line.to_owned());
        let answer = run(sh("echo one >&2; printf two"), "it", "", &hear)
            .await
            .expect("runs");
        assert_eq!(
            (answer.as_str(), lines.lock().expect("lock").as_slice()),
            ("two", &["one".to_owned()][..])
        );
        let why = run(
            sh("printf 'one\\n\\ntwo \\033[2J\\n' >&2; exit 3"),
            "it",
            "; try this",
            &|_| {},
        )
        .await
        .expect_err("fails")
        .to_string();
        assert!(
            why.starts_with("it failed (exit status: 3); try this") && why.ends_with(r"one | two \u{1b}[2J"),
            "{why}"
        );
    }

    #[tokio::test]
    async fn all_of_it_ends_when_nobody_waits_any_more() {
        let dir = tempfile::tempdir().expect("tempdir");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        let (sent, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let hear = move |_: &str| sent.send(()).unwrap_or(());
        // The grandchild holds the pipe's writing end; its end is the pipe's.
        let script = format!("(exec 3>{0}; echo ready >&2; sleep 600) & wait", fifo.display());
        let reader = tokio::task::spawn_blocking(move || std::fs::read(fifo));
        tokio::select! {
            done = run(sh(&script), "it", "", &hear) => panic!("{done:?}"),
            _ = begun.recv() => {}
        }
        assert_eq!(reader.await.expect("joins").expect("reads"), b"");
    }
}
