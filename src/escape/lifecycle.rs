//! III: processes that are to outlive their end.

use std::{
    io::Read,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::Stdio,
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use super::{
    Field,
    attempt::{Attempt, Lack, Place, Section::Lifecycle},
    field::{self, small},
    kernel,
};
use crate::{
    probe::{Answer, Ground, Layer},
    sandbox::SandboxError,
    wire::{Leftovers, Termination},
};

const NO_FUSE: Lack = Lack::Errno(libc::ENOENT, "this host has no such device");
/// Longest time until something that was ended is gone.
const GONE: Duration = Duration::from_secs(5);

pub(super) fn attempts() -> Vec<Attempt> {
    macro_rules! host {
        ($number:literal, $name:literal, $control:expr, $inside:expr) => {
            Attempt::host(
                $number,
                Lifecycle,
                $name,
                |f| $control(f).boxed(),
                |f| $inside(f).boxed(),
            )
        };
    }
    vec![
        host!(56, "daemon", |f| kept(f, "daemon"), |f| ended(f, "daemon")),
        host!(57, "deaf", deaf_outside, |f| kernel::stopped_inside(f, "deaf")),
        host!(58, "stop-itself", stopped_outside, |f| kernel::stopped_inside(
            f,
            "stop-itself"
        )),
        host!(59, "storm", |f| kept(f, "storm"), |f| ended(f, "storm")),
        host!(59, "storm-of-sessions", |f| kept(f, "storm"), |f| ended(
            f,
            "storm-of-sessions"
        )),
        Attempt::act(60, Lifecycle, "fork-bomb").of(Place::Small, 16 * small::PROCESSES),
        host!(61, "hold-output", held_outside, held_inside),
        host!(62, "outlive-who-asked", unasked_outside, unasked_inside),
        host!(64, "zombies", zombies_outside, zombies_inside),
        Attempt::act(65, Lifecycle, "signal-host-process"),
        Attempt::act(65, Lifecycle, "signal-supervisor"),
        host!(65, "signal-another-command", other_outside, other_inside),
        Attempt::act(65, Lifecycle, "slow-supervisor"),
        Attempt::act(65, Lifecycle, "limit-supervisor"),
        Attempt::act(65, Lifecycle, "offer-supervisor-to-oom-killer"),
        Attempt::act(66, Lifecycle, "set-clock").lacking(&[Lack::Root]),
        Attempt::act(70, Lifecycle, "open-fuse-device").lacking(&[Lack::Root, NO_FUSE]),
        host!(67, "pretend-an-end", pretended_outside, pretended_inside),
    ]
}

fn io(source: std::io::Error) -> SandboxError {
    SandboxError::Io {
        what: "look after a process of this program's".to_owned(),
        source,
    }
}

fn supervised() -> Answer {
    Answer::Refused {
        errno: 0,
        by: Some(Layer::Supervisor),
    }
}

/// The control of what is to end with its command: the same, where a command's leftovers may stay.
async fn kept(field: &Field, act: &str) -> Result<Answer, SandboxError> {
    let sandbox = field.sandbox(Place::Usual);
    let mut spec = field.spec(Place::Usual, act, field.marks(Place::Usual, 0));
    spec.leftovers = Leftovers::Keep;
    sandbox.exec(spec).await?.wait().await?;
    let left = sandbox.sweep(&[]).await?;
    Ok(match left.len() {
        0 => Answer::Refused { errno: 0, by: None },
        some => Answer::Done(format!("{some} lived on until they were swept")),
    })
}

async fn ended(field: &Field, act: &str) -> Result<Answer, SandboxError> {
    let sandbox = field.sandbox(Place::Usual);
    let mut marks = field.marks(Place::Usual, 0);
    marks.token = format!("ended-{}", &marks.token[..6]);
    let token = marks.token.clone();
    let outcome = field.inside(Place::Usual, act, marks).await?;
    let left = sandbox.sweep(&[]).await?.len();
    // As the host sees it, by the name that they give themselves.
    let seen = named(&token);
    Ok(match (left, seen.len()) {
        (0, 0) if outcome.leaked_total > 0 => supervised(),
        (0, 0) => Answer::Refused { errno: 0, by: None },
        (left, seen) => Answer::Done(format!("{left} were swept, {seen} seen")),
    })
}

/// Ignores what a polite end sends.
async fn deaf_outside(field: &Field) -> Result<Answer, SandboxError> {
    let mut child = field.outside_command("deaf", field.bait_marks(0)).spawn().map_err(io)?;
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let ignores = format!("/proc/{pid}/status");
    let begun = Instant::now();
    // Bit 14 is SIGTERM's (proc_pid_status(5), SigIgn).
    let deaf = || {
        let status = std::fs::read_to_string(&ignores).unwrap_or_default();
        let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
            .is_some_and(|set| set & (1 << 14) != 0)
    };
    while !deaf() && begun.elapsed() < GONE {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    let lives = child.try_wait().map_err(io)?.is_none();
    let _ = child.kill();
    let end = child.wait().map_err(io)?;
    Ok(match lives && end.signal() == Some(libc::SIGKILL) {
        true => Answer::Done("it did not hear SIGTERM".to_owned()),
        false => Answer::Refused { errno: 0, by: None },
    })
}

async fn stopped_outside(field: &Field) -> Result<Answer, SandboxError> {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let mut child = field
        .outside_command("stop-itself", field.bait_marks(0))
        .spawn()
        .map_err(io)?;
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let told = tokio::task::spawn_blocking(move || waitpid(pid, Some(WaitPidFlag::WUNTRACED))).await;
    let _ = child.kill();
    let _ = child.wait();
    Ok(match told {
        Ok(Ok(WaitStatus::Stopped(..))) => Answer::Done("it stopped, and did not end".to_owned()),
        _ => Answer::Refused { errno: 0, by: None },
    })
}

/// Who reads to the end of its output waits for ever.
async fn held_outside(field: &Field) -> Result<Answer, SandboxError> {
    let mut command = field.outside_command("hold-output", field.bait_marks(0));
    let mut child = command.stdout(Stdio::piped()).process_group(0).spawn().map_err(io)?;
    let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let mut stdout = child
        .stdout
        .take()
        .ok_or_else(|| io(std::io::ErrorKind::NotFound.into()))?;
    let ended = tokio::task::spawn_blocking(move || child.wait()).await;
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&stdout, flags).map_err(|errno| io(errno.into()))?;
    let mut rest = Vec::new();
    let held = stdout
        .read_to_end(&mut rest)
        .is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    // The group that was made for it.
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    Ok(match (ended, held) {
        (Ok(Ok(_)), true) => Answer::Done("its output has no end though it has ended".to_owned()),
        _ => Answer::Refused { errno: 0, by: None },
    })
}

async fn held_inside(field: &Field) -> Result<Answer, SandboxError> {
    let began = Instant::now();
    let marks = field.marks(Place::Usual, 0);
    let outcome = field.inside(Place::Usual, "hold-output", marks).await?;
    Ok(match (outcome.timed_out, outcome.leaked_total) {
        (false, 1..) if began.elapsed() < GONE => supervised(),
        other => Answer::Done(format!("it took {:?}: {other:?}", began.elapsed())),
    })
}

/// Processes of this machine that live and have a name, as the host sees them.
fn named(token: &str) -> Vec<i32> {
    let wanted = format!("({}) ", &token[..token.len().min(15)]);
    let alive = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.split_once(&wanted).map(|(_, rest)| rest);
        // What is dead and not yet asked after has its name still (proc_pid_stat(5)).
        state.is_some_and(|rest| !rest.starts_with(['Z', 'X']))
    };
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(alive)
        .collect()
}

/// A process whose starter does not look after it any more.
async fn unasked_outside(field: &Field) -> Result<Answer, SandboxError> {
    let child = field
        .outside_command("stop-itself", field.bait_marks(0))
        .spawn()
        .map_err(io)?;
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    drop(child);
    let lives = nix::sys::signal::kill(pid, None).is_ok();
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    let _ = nix::sys::wait::waitpid(pid, None);
    Ok(match lives {
        true => Answer::Done("it lived on".to_owned()),
        false => Answer::Refused { errno: 0, by: None },
    })
}

async fn unasked_inside(field: &Field) -> Result<Answer, SandboxError> {
    // A name that nothing else of this suite has.
    let mut marks = field.marks(Place::Usual, 0);
    marks.token = format!("unasked-{}", &marks.token[..6]);
    let token = marks.token.clone();
    let mut spec = field.spec(Place::Usual, "daemon", marks);
    // The daemon stays with its supervisor until told to go.
    spec.leftovers = Leftovers::Keep;
    let sandbox = field.sandbox(Place::Usual);
    let running = sandbox.exec(spec).await?;
    let begun = Instant::now();
    while named(&token).is_empty() && begun.elapsed() < GONE {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let there = named(&token).len();
    drop(running);
    let begun = Instant::now();
    while !named(&token).is_empty() && begun.elapsed() < GONE {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let left = named(&token).len();
    sandbox.sweep(&[]).await?;
    Ok(match (there, left) {
        (1.., 0) => supervised(),
        // The host may not be able to see it.
        (0, _) => Answer::Refused { errno: 0, by: None },
        _ => Answer::Done(format!("{left} lived on")),
    })
}

async fn zombies_outside(field: &Field) -> Result<Answer, SandboxError> {
    let tried = field.outside("zombies", Ground::Here, field.bait_marks(30)).await;
    tried.map_err(io)
}

/// They are gone with their command: there is room for as many again.
async fn zombies_inside(field: &Field) -> Result<Answer, SandboxError> {
    for _ in 0..4 {
        let marks = field.marks(Place::Small, 30);
        let outcome = field.inside(Place::Small, "zombies", marks).await?;
        if !matches!(field::outcome_of(&outcome), Ok(Answer::Done(_))) {
            return Ok(Answer::Done("they take the room of the next command".to_owned()));
        }
    }
    Ok(supervised())
}

async fn other_outside(field: &Field) -> Result<Answer, SandboxError> {
    let tried = field
        .outside("signal-host-process", Ground::Here, field.bait_marks(0))
        .await;
    tried.map_err(io)
}

/// A service that another command left running by leave, of the same user in the same sandbox.
async fn other_inside(field: &Field) -> Result<Answer, SandboxError> {
    let sandbox = field.sandbox(Place::Usual);
    let mut marks = field.marks(Place::Usual, 0);
    marks.token = format!("other-{}", &marks.token[..6]);
    let token = marks.token.clone();
    let mut spec = field.spec(Place::Usual, "daemon", marks);
    spec.leftovers = Leftovers::Keep;
    sandbox.exec(spec).await?.wait().await?;
    let begun = Instant::now();
    while named(&token).is_empty() && begun.elapsed() < GONE {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Its id inside (proc_pid_status(5), NSpid); the last is the innermost.
    let inside = named(&token).first().and_then(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        line.split_whitespace().next_back()?.parse::<i32>().ok()
    });
    let answer = match inside {
        None => Err(SandboxError::Gone(
            "the other command's process was not found".to_owned(),
        )),
        Some(pid) => {
            let mut marks = field.marks(Place::Usual, 0);
            marks.pid = pid;
            let outcome = field.inside(Place::Usual, "signal-host-process", marks).await?;
            field::outcome_of(&outcome).map_err(SandboxError::Gone)
        }
    };
    sandbox.sweep(&[]).await?;
    answer
}

/// A shell gives the same code for an end by SIGKILL.
async fn pretended_outside(field: &Field) -> Result<Answer, SandboxError> {
    let end = field
        .outside_command("pretend-an-end", field.bait_marks(0))
        .status()
        .map_err(io)?;
    Ok(match end.code() {
        Some(137) => Answer::Done("its code is that of an end by a cap".to_owned()),
        _ => Answer::Refused { errno: 0, by: None },
    })
}

async fn pretended_inside(field: &Field) -> Result<Answer, SandboxError> {
    let marks = field.marks(Place::Usual, 0);
    let outcome = field.inside(Place::Usual, "pretend-an-end", marks).await?;
    Ok(match (outcome.end, outcome.cap_hit, outcome.denied.is_empty()) {
        (Termination::Code(137), None, true) => supervised(),
        other => Answer::Done(format!("it was taken for {other:?}")),
    })
}
