//! The picture of a run on a terminal: where it stands, what is being done, the last lines
//! that the running command printed, what is spent of what may be.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Caps, face::Secrets, html::words, reading::visible};

/// Between two pictures.
const TICK: Duration = Duration::from_millis(120);
/// Between two looks at what a command printed.
const LOOK: Duration = Duration::from_millis(250);
/// Lines of it that are shown.
const TAIL: usize = 3;
/// Bytes at its end that are looked at.
const WINDOW: u64 = 4_096;
/// Characters of one line; the terminal cuts it to its width.
const WIDTH: usize = 300;
/// Repetitions of one command that are looked for.
const TRIES: u32 = 50;

/// The picture, as long as it lives.
pub(super) struct Live {
    all: MultiProgress,
    head: ProgressBar,
    /// The other lines; none before a run has begun.
    lines: Mutex<Option<Lines>>,
    watched: Arc<Watched>,
}

struct Lines {
    doing: ProgressBar,
    spent: ProgressBar,
    caps: Caps,
    iteration: u64,
    calls: u64,
    tokens: u64,
}

/// The output that is looked at, and where it is shown.
struct Watched {
    secrets: Arc<Secrets>,
    state: Mutex<Watching>,
    changed: Condvar,
}

#[derive(Default)]
struct Watching {
    /// The run's directory.
    run: PathBuf,
    /// The command's files, by the beginning of their names; nothing between commands.
    output: Option<PathBuf>,
    bars: Vec<ProgressBar>,
    over: bool,
}

impl Live {
    /// Begins with one line.
    pub fn new(secrets: Arc<Secrets>) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let head = all.add(ProgressBar::new_spinner());
        style(&head, "{spinner} {elapsed:>4} {prefix} {wide_msg}");
        head.enable_steady_tick(TICK);
        let watched = Watched {
            secrets,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        Self {
            all,
            head,
            lines: Mutex::new(None),
            watched: Arc::new(watched),
        }
    }

    /// A run began: there is more to show than one line.
    pub fn begin(&self, run: &Path) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_some() {
            return;
        }
        let below = |template: &str| {
            let bar = self.all.add(ProgressBar::new_spinner());
            style(&bar, template);
            bar
        };
        let doing = below("       {wide_msg}");
        let bars = (0..TAIL).map(|_| below("       {wide_msg:.dim}")).collect();
        *lines = Some(Lines {
            doing,
            spent: below("       {wide_msg:.dim}"),
            caps: Caps::default(),
            iteration: 0,
            calls: 0,
            tokens: 0,
        });
        let mut state = self.watched.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.run, state.bars) = (run.to_path_buf(), bars);
        let watched = Arc::downgrade(&self.watched);
        // It ends with the picture.
        let _ = std::thread::Builder::new()
            .name("live".to_owned())
            .spawn(move || watch(&watched));
    }

    /// What the run may use up.
    pub fn caps(&self, caps: &Caps) {
        self.spent(|lines| lines.caps = caps.clone());
    }

    /// Where the machine stands.
    pub fn state(&self, iteration: u64, text: String) {
        self.head.set_prefix(text);
        self.head.set_message("");
        self.watch(None);
        self.spent(|lines| lines.iteration = iteration);
    }

    /// What the model has cost so far.
    pub fn model(&self, calls: u64, tokens: u64) {
        self.spent(|lines| (lines.calls, lines.tokens) = (calls, tokens));
    }

    /// What is being done; the next one replaces it.
    pub fn doing(&self, text: String) {
        match &*self.lines.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(lines) => lines.doing.set_message(text),
            None => self.head.set_message(text),
        }
    }

    /// Whose output is shown meanwhile, relative to the run.
    pub fn watch(&self, output: Option<&str>) {
        let mut state = self.watched.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.output = output.map(|output| state.run.join(output));
        state.bars.iter().for_each(|bar| bar.set_message(""));
        self.watched.changed.notify_all();
    }

    /// A line that stays, above the picture.
    pub fn line(&self, text: &str) {
        self.all.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }

    /// Away from the terminal.
    pub fn aside(&self) {
        self.head.disable_steady_tick();
        self.all.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// And back.
    pub fn back(&self) {
        self.all.set_draw_target(ProgressDrawTarget::stderr());
        self.head.enable_steady_tick(TICK);
    }

    /// The picture goes.
    pub fn clear(&self) {
        self.watch(None);
        if let Some(lines) = self.lines.lock().unwrap_or_else(PoisonError::into_inner).take() {
            lines.doing.finish_and_clear();
            lines.spent.finish_and_clear();
        }
        let mut state = self.watched.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.over = true;
        state.bars.drain(..).for_each(|bar| bar.finish_and_clear());
        self.watched.changed.notify_all();
        self.head.finish_and_clear();
    }

    fn spent(&self, change: impl FnOnce(&mut Lines)) {
        if let Some(lines) = &mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner) {
            change(lines);
            lines.spent.set_message(meters(lines));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// What is spent, each of what may be where there is a limit.
fn meters(lines: &Lines) -> String {
    let of = |spent: u64, most: Option<u64>, what: &str| match most {
        Some(most) => format!("{} of {} {what}", words::short(spent), words::short(most)),
        None => format!("{} {what}", words::short(spent)),
    };
    let caps = &lines.caps;
    let mut parts = vec![
        of(lines.iteration, caps.iterations, "iterations"),
        of(lines.calls, caps.calls, "calls"),
        of(lines.tokens, caps.tokens, "tokens"),
    ];
    if let Some(seconds) = caps.seconds {
        parts.push(format!("at most {}", words::dur(seconds.saturating_mul(1_000))));
    }
    parts.join(", ")
}

/// Looks at the output until the picture is gone.
fn watch(watched: &Weak<Watched>) {
    while let Some(watched) = watched.upgrade() {
        let state = watched.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = watched
            .changed
            .wait_timeout(state, LOOK)
            .unwrap_or_else(PoisonError::into_inner);
        if state.over {
            return;
        }
        if let Some(output) = &state.output {
            let lines = tail(output, &watched.secrets);
            let blank = TAIL.saturating_sub(lines.len());
            let shown = lines.into_iter().chain((0..blank).map(|_| String::new()));
            for (bar, line) in state.bars.iter().zip(shown) {
                bar.set_message(line);
            }
        }
    }
}

/// The last whole lines of what the latest try of a command printed, whichever stream was last.
fn tail(output: &Path, secrets: &Secrets) -> Vec<String> {
    let output = output.to_string_lossy();
    let (base, first) = output.rsplit_once("_try").unwrap_or((&output, "01"));
    let first: u32 = first.parse().unwrap_or(1);
    let tries = (first..first + TRIES).map(|number| format!("{base}_try{number:02}"));
    let there = tries.take_while(|prefix| Path::new(&format!("{prefix}_stdout.txt")).exists());
    let Some(prefix) = there.last() else { return Vec::new() };
    let streams = ["stdout", "stderr"].map(|stream| format!("{prefix}_{stream}.txt"));
    let newest = streams
        .iter()
        .filter_map(|path| {
            Some((
                std::fs::metadata(path)
                    .ok()
                    .filter(|meta| meta.len() > 0)?
                    .modified()
                    .ok()?,
                path,
            ))
        })
        .max_by_key(|(modified, _)| *modified);
    newest
        .and_then(|(_, path)| last_lines(path, secrets).ok())
        .unwrap_or_default()
}

/// Only whole lines: half of a secret would not be known for one.
fn last_lines(path: &str, secrets: &Secrets) -> io::Result<Vec<String>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(WINDOW);
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or(0)];
    let got = file.read_at(&mut bytes, from)?;
    bytes.truncate(got);
    let begin = if from == 0 {
        0
    } else {
        bytes.iter().position(|b| *b == b'\n').map_or(got, |at| at + 1)
    };
    let end = bytes.iter().rposition(|b| *b == b'\n').unwrap_or(0).max(begin);
    let text = secrets.clean(&String::from_utf8_lossy(&bytes[begin..end])).into_owned();
    let lines: Vec<String> = visible(text.as_bytes())
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.replace('\t', "    ").chars().take(WIDTH).collect())
        .collect();
    Ok(lines[lines.len().saturating_sub(TAIL)..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Secret;

    #[test]
    fn only_whole_lines_without_secrets_or_anything_that_a_terminal_obeys_are_shown() {
        let dir = tempfile::tempdir().expect("tempdir");
        let prefix = dir.path().join("tests_cmd01_try01");
        let secrets = Secrets::default();
        secrets.hide(&[Secret::new("hunter-22")]);
        assert!(tail(&prefix, &secrets).is_empty(), "nothing is there yet");
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("write");
        write(
            "tests_cmd01_try01_stdout.txt",
            b"first\nsecond\n\n\x1b[2Jthird\thunter-22 \xff\n\x1b[31mfourth\x1b[0m\nhunter-2",
        );
        assert_eq!(
            tail(&prefix, &secrets),
            ["second", "\u{241b}[2Jthird    [redacted] \u{fffd}", "fourth"]
        );
        // A line without end, longer than what is looked at.
        write("tests_cmd01_try01_stdout.txt", &[b'x'; 100_000]);
        assert!(tail(&prefix, &secrets).is_empty());
        write("tests_cmd01_try02_stdout.txt", b"again\n");
        assert_eq!(tail(&prefix, &secrets), ["again"]);
    }

    #[test]
    fn meters_say_what_is_spent_of_what_may_be() {
        let bar = ProgressBar::hidden;
        let lines = Lines {
            doing: bar(),
            spent: bar(),
            caps: Caps {
                iterations: Some(200),
                calls: Some(2_000),
                tokens: None,
                seconds: Some(86_400),
            },
            iteration: 3,
            calls: 17,
            tokens: 45_678,
        };
        let plain = meters(&lines).replace('\u{202f}', " ");
        assert_eq!(
            plain,
            "3 of 200 iterations, 17 of 2 000 calls, 45.6 k tokens, at most 24 h 00 min"
        );
    }
}
