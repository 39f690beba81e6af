//! What a probe is, and how one is asked in one sandbox.

use std::{fmt, fs, os::unix::fs::MetadataExt, path::Path};

use opencode_fsm::{
    names::RelPath,
    policy::Inside,
    sandbox::{ExecOutcome, ExecSpec, Found, Sandbox, SandboxError},
    wire::{Argv, Termination},
};

use crate::support::{sh, text};

/// Longest verdict.
const SHORT: usize = 160;

/// What a probe is about; each group has a sandbox of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Files,
    Ids,
    Limits,
    Network,
    Calls,
    Environment,
    Time,
    Codes,
    Signals,
    Output,
    Copies,
}

impl Group {
    pub const ALL: [Self; 11] = [
        Self::Files,
        Self::Ids,
        Self::Limits,
        Self::Network,
        Self::Calls,
        Self::Environment,
        Self::Time,
        Self::Codes,
        Self::Signals,
        Self::Output,
        Self::Copies,
    ];
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "files",
            Self::Ids => "ids",
            Self::Limits => "limits",
            Self::Network => "network",
            Self::Calls => "system calls",
            Self::Environment => "environment",
            Self::Time => "time caps",
            Self::Codes => "exit codes",
            Self::Signals => "signals",
            Self::Output => "output caps",
            Self::Copies => "copy in and out",
        })
    }
}

/// One question to a sandbox. Its name is unique.
pub struct Probe {
    pub group: Group,
    pub name: &'static str,
    pub act: Act,
}

/// How a command's outcome becomes a verdict.
pub type Verdict = Box<dyn Fn(&ExecOutcome) -> String>;

/// What is done.
pub enum Act {
    /// A command.
    Exec(ExecSpec, Verdict),
    /// A change of the workspace by the host, then what a script prints.
    Put {
        removals: &'static [&'static str],
        tar: Vec<u8>,
        then: &'static str,
    },
    /// A script, then a file of the workspace as the host reads it through the guest.
    Read {
        first: &'static str,
        path: &'static str,
        max: u64,
    },
    /// A script, then what the host finds of it in the upper layer.
    Upper { first: &'static str, path: &'static str },
    /// The host listens inside, and a perl program that gets the port in `PORT` speaks to it.
    Door(&'static str),
}

/// What a command printed, its lines in one.
pub fn said() -> Verdict {
    Box::new(|outcome| match outcome.end {
        Termination::Code(0) => one_line(&text(outcome)),
        _ => format!("{} [{}]", one_line(&text(outcome)), end(outcome)),
    })
}

/// How a command ended.
pub fn ended() -> Verdict {
    Box::new(end)
}

/// How its main process ended, where a supervisor that is killed at once may not have told of it.
pub fn ended_as() -> Verdict {
    Box::new(|outcome| termination(outcome.end))
}

fn termination(end: Termination) -> String {
    match end {
        Termination::Code(code) => format!("code {code}"),
        Termination::Signal(signal) => format!("signal {signal}"),
    }
}

fn end(outcome: &ExecOutcome) -> String {
    let mut parts = vec![termination(outcome.end)];
    parts.extend(outcome.timed_out.then(|| "timed out".to_owned()));
    parts.extend(outcome.cap_hit.iter().map(|cap| format!("cap {cap}")));
    // How far a command had come when a cap ended it is nothing to compare.
    let by_itself = !outcome.timed_out && outcome.cap_hit.is_none();
    parts.extend((by_itself && outcome.leaked_total > 0).then(|| format!("{} left", outcome.leaked_total)));
    parts.join(", ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Probe {
    /// The verdict of one sandbox, whose upper layer is `upper`.
    pub async fn ask(&self, sandbox: &Sandbox, upper: &Path) -> String {
        let verdict = match &self.act {
            Act::Exec(spec, verdict) => exec(sandbox, spec.clone(), verdict).await,
            Act::Put { removals, tar, then } => {
                let removals: Vec<RelPath> = removals.iter().map(|path| rel(path)).collect();
                let put = sandbox.put(&removals, tar.clone()).await;
                let after = exec(sandbox, sh(then), &said()).await;
                match put {
                    Ok(()) => after,
                    Err(why) => format!("{}; {after}", refusal(&why)),
                }
            }
            Act::Read { first, path, max } => {
                exec(sandbox, sh(first), &said()).await;
                match sandbox.read(&rel(path), *max).await {
                    Ok(Found::Nothing) => "nothing".to_owned(),
                    Ok(Found::TooLarge) => "too large".to_owned(),
                    Ok(Found::Refused(why)) => format!("refused: {why}"),
                    Ok(Found::File(bytes)) if bytes.len() <= 32 => String::from_utf8_lossy(&bytes).into_owned(),
                    Ok(Found::File(bytes)) => format!("{} bytes", bytes.len()),
                    Err(why) => refusal(&why),
                }
            }
            Act::Upper { first, path } => {
                let ran = exec(sandbox, sh(first), &said()).await;
                format!("{ran} {}", in_upper(&upper.join(path)))
            }
            Act::Door(program) => door(sandbox, program).await,
        };
        let verdict = one_line(&as_private(sandbox, &verdict));
        assert!(verdict.len() <= SHORT, "`{}` says too much: {verdict}", self.name);
        verdict
    }
}

fn rel(path: &str) -> RelPath {
    RelPath::new(path.as_bytes()).expect("a path below the workspace")
}

/// A refusal without what differs from run to run.
fn refusal(why: &SandboxError) -> String {
    match why {
        SandboxError::Guest { step, why, .. } => format!("refused: {step}: {why}"),
        other => format!("failed: {other}"),
    }
}

/// Where places are in a sandbox with a root of its own, by which probes name them, and here.
fn places(sandbox: &Sandbox) -> [(String, String); 3] {
    let (private, here) = (Inside::private(), sandbox.inside().clone());
    // The longer names first: what stands for one must not be taken for another.
    [
        (private.workspace, here.workspace),
        (private.home, here.home),
        (private.tmp, here.tmp),
    ]
}

/// A probe's words at the places of this sandbox.
fn here(sandbox: &Sandbox, text: &str) -> String {
    let places = places(sandbox);
    let mark = |at: usize| format!("\u{1}{at}\u{1}");
    let marked = (0..)
        .zip(&places)
        .fold(text.to_owned(), |text, (at, (name, _))| text.replace(name, &mark(at)));
    (0..)
        .zip(&places)
        .fold(marked, |text, (at, (_, place))| text.replace(&mark(at), place))
}

/// What is said of this sandbox's places, in the words of the probes.
fn as_private(sandbox: &Sandbox, text: &str) -> String {
    places(sandbox)
        .iter()
        .fold(text.to_owned(), |text, (name, place)| text.replace(place, name))
}

async fn exec(sandbox: &Sandbox, spec: ExecSpec, verdict: &Verdict) -> String {
    let at = |text: &String| here(sandbox, text);
    let spec = ExecSpec {
        argv: match &spec.argv {
            Argv::Shell(script) => Argv::Shell(at(script)),
            Argv::Direct(words) => Argv::Direct(words.iter().map(at).collect()),
            Argv::Witness(marks) => Argv::Witness(marks.clone()),
            Argv::Rows(ask) => Argv::Rows(ask.clone()),
        },
        env: spec.env.iter().map(|(name, value)| (name.clone(), at(value))).collect(),
        cwd: at(&spec.cwd),
        ..spec
    };
    let running = match sandbox.exec(spec).await {
        Ok(running) => running,
        Err(why) => return refusal(&why),
    };
    match running.wait().await {
        Ok(outcome) => verdict(&outcome),
        Err(why) => refusal(&why),
    }
}

/// Kind, mode and whose it is.
fn in_upper(path: &Path) -> String {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return "nothing".to_owned();
    };
    let owned = opencode_fsm::sandbox::owner().unwrap_or_else(|| nix::unistd::geteuid().as_raw());
    let kind = match meta.mode() & libc::S_IFMT {
        libc::S_IFREG => "file",
        libc::S_IFDIR => "directory",
        libc::S_IFLNK => "link",
        libc::S_IFCHR if meta.rdev() == 0 => "whiteout",
        libc::S_IFIFO => "fifo",
        _ => "special",
    };
    let whose = if meta.uid() == owned && meta.gid() == owned {
        "the sandbox's"
    } else {
        "somebody else's"
    };
    if kind == "whiteout" {
        return kind.to_owned();
    }
    format!("{kind} {:o}, {whose}", meta.mode() & 0o7777)
}

/// What a perl program inside and the host say to each other through a listener of the host's.
async fn door(sandbox: &Sandbox, program: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = match sandbox.listen(0).await {
        Ok(listener) => listener,
        Err(why) => return refusal(&why),
    };
    let port = listener.local_addr().expect("an address").port().to_string();
    let mut spec = sh("");
    spec.argv = Argv::Direct(["/usr/bin/perl", "-e", program].map(str::to_owned).into());
    spec.env.push(("PORT".to_owned(), port));
    let host = async {
        let (mut accepted, _) = listener.accept().await?;
        let mut asked = [0; 4];
        accepted.read_exact(&mut asked).await?;
        accepted.write_all(&asked).await
    };
    let verdict = said();
    let inside = exec(sandbox, spec, &verdict);
    tokio::pin!(inside);
    tokio::select! {
        said = &mut inside => said,
        spoke = host => match spoke {
            Ok(()) => inside.await,
            Err(why) => format!("failed: {why}"),
        },
    }
}
