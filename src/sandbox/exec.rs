//! Running a command inside, seen from the host.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::io::unix::AsyncFd;

use crate::{
    probe::Layer,
    sandbox::{
        Captured, Denied, OutputCaps, SandboxError,
        denied::EventCount,
        output::{Heard, Stream, async_fd, nonblocking},
    },
    wire::{self, Argv, Control, FrameError, LeakedProcess, Leftovers, Progress, Reach, ResourceUse, Termination},
};

/// What the host waits beyond a command's wall cap before it gives the guest up.
const GRACE: Duration = Duration::from_secs(20);

/// Between two looks at what a command takes of disk and memory.
const TICK: Duration = Duration::from_millis(200);

/// One command for a sandbox.
#[derive(Clone, Debug)]
pub struct ExecSpec {
    /// What to run.
    pub argv: Argv,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Absolute directory inside.
    pub cwd: String,
    /// Wall cap; the guest enforces it, the host somewhat later.
    pub wall: Duration,
    /// Time without a byte on either stream after which it is killed (`max_silence_seconds`).
    pub silence: Option<Duration>,
    /// The user's terminal in place of stdin and both streams, of which nothing is then
    /// kept. The command gets no controlling terminal with it, and the filter of system
    /// calls keeps it from typing there (`TIOCSTI`); it can read what is typed and write
    /// whatever the terminal obeys.
    pub terminal: Option<Arc<OwnedFd>>,
    /// Fate of leftovers.
    pub leftovers: Leftovers,
    /// Whom it may signal.
    pub reach: Reach,
    /// Where and how much of stdout is kept.
    pub stdout: OutputCaps,
    /// Where and how much of stderr is kept.
    pub stderr: OutputCaps,
}

impl ExecSpec {
    /// A command that is ours to ask something by: it leaves nothing behind, and the last
    /// `tail_bytes` of each of its streams are kept in memory alone.
    pub fn question(argv: Argv, cwd: &str, wall: Duration, tail_bytes: usize) -> Self {
        let caps = OutputCaps { tail_bytes, sink: None };
        Self {
            argv,
            env: Vec::new(),
            cwd: cwd.to_owned(),
            wall,
            silence: None,
            terminal: None,
            leftovers: Leftovers::Kill,
            reach: Reach::Own,
            stdout: caps.clone(),
            stderr: caps,
        }
    }
}

/// A finished command.
#[derive(Clone, Debug)]
pub struct ExecOutcome {
    /// How the main process ended.
    pub end: Termination,
    /// The wall cap killed it.
    pub timed_out: bool,
    /// A cap other than time that killed it (`memory`, `disk`), named.
    pub cap_hit: Option<String>,
    /// What was refused to it and what ended it, as far as that was seen from outside.
    pub denied: Vec<Denied>,
    /// Resources.
    pub usage: ResourceUse,
    /// Processes killed at its end (at most 32 listed).
    pub leaked: Vec<LeakedProcess>,
    /// How many there were.
    pub leaked_total: u64,
    /// Stdout.
    pub stdout: Captured,
    /// Stderr.
    pub stderr: Captured,
}

/// A command under way. Dropping it kills its tree.
pub struct Running {
    stage: u64,
    wall: Duration,
    control: AsyncFd<OwnedFd>,
    killed_for: Arc<Mutex<Option<String>>>,
    stdout: Stream,
    stderr: Stream,
    heard: Heard,
    silence: Option<Duration>,
    counts: Counts,
    /// Answers the name of a cap that is exceeded; asked from [`TICK`] on.
    exceeded: Option<Exceeded>,
    watcher: Option<tokio::task::JoinHandle<()>>,
    kept: Option<Kept>,
}

type Exceeded = Box<dyn FnMut() -> Option<&'static str> + Send>;

/// What the kernel counts for a sandbox, where its cgroups do.
#[derive(Clone, Default)]
pub(super) struct Counts {
    /// Processes killed for memory.
    pub ooms: Option<EventCount>,
    /// Processes not started.
    pub forks: Option<EventCount>,
}

/// The stages whose leftovers live on.
pub(super) type Kept = Arc<Mutex<Vec<KeptStage>>>;

/// A stage whose leftovers live on.
pub(super) struct KeptStage {
    /// Closing it ends them.
    _control: OwnedFd,
    /// Takes their output to the capped files, until the last of them has ended.
    output: tokio::task::JoinHandle<()>,
}

impl KeptStage {
    /// Waits until all of their output is in the files; they must be dead.
    pub async fn settle(self) {
        let _ = tokio::time::timeout(Duration::from_secs(5), self.output).await;
    }
}

impl Running {
    pub(super) fn new(
        stage: u64,
        spec: &ExecSpec,
        control: OwnedFd,
        [stdout, stderr]: [std::io::PipeReader; 2],
        counts: Counts,
        kept: Option<Kept>,
    ) -> std::io::Result<Self> {
        nonblocking(control.as_fd())?;
        let heard = Heard::now();
        Ok(Self {
            stage,
            wall: spec.wall,
            control: async_fd(control)?,
            killed_for: Arc::default(),
            stdout: Stream::new(stdout, &spec.stdout, &heard)?,
            stderr: Stream::new(stderr, &spec.stderr, &heard)?,
            heard,
            silence: spec.silence,
            counts,
            exceeded: None,
            watcher: None,
            kept,
        })
    }

    /// The host's number for this stage (see [`crate::wire::Request::Sweep`]).
    pub fn stage(&self) -> u64 {
        self.stage
    }

    /// Asks the stage supervisor to kill the tree; [`Running::wait`] then returns.
    pub fn kill(&self) {
        let _ = wire::send(self.control.as_fd(), &Control::Kill, &[]);
    }

    /// Takes what both streams hold now.
    pub(super) fn drain(&mut self) {
        self.stdout.drain();
        self.stderr.drain();
    }

    /// From now on the tree is killed when `exceeded` answers the name of a cap.
    pub(super) fn watch(&mut self, exceeded: impl FnMut() -> Option<&'static str> + Send + 'static) {
        self.exceeded = Some(Box::new(exceeded));
    }

    /// Begins to look; each look may take its time, and the command's output does not wait for it.
    fn begin_watch(&mut self) {
        let (Some(mut exceeded), Ok(control)) = (self.exceeded.take(), self.control.get_ref().try_clone()) else {
            return;
        };
        let killed_for = self.killed_for.clone();
        self.watcher = Some(tokio::spawn(async move {
            let mut tick = tokio::time::interval(TICK);
            loop {
                tick.tick().await;
                if let Some(cap) = exceeded() {
                    name_cap(&killed_for, cap);
                    let _ = wire::send(control.as_fd(), &Control::Kill, &[]);
                    return;
                }
            }
        }));
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`SandboxError::Gone`] when the sandbox died meanwhile;
    /// [`SandboxError::Guest`] when a wall could not be built.
    pub async fn wait(mut self) -> Result<ExecOutcome, SandboxError> {
        let began = tokio::time::Instant::now();
        let limit = began + self.wall + GRACE;
        let heard = self.heard.clone();
        let mut silence = self.silence;
        let told = loop {
            tokio::select! {
                progress = next(&self.control) => match progress {
                    Ok(progress) => break progress,
                    Err(why) => {
                        // What it said before its sandbox went is all that tells of it.
                        self.drain();
                        return Err(why);
                    }
                },
                () = self.stdout.pump(), if self.stdout.open() => {}
                () = self.stderr.pump(), if self.stderr.open() => {}
                // Most commands are over before there is anything to look at.
                () = tokio::time::sleep_until(began + TICK), if self.exceeded.is_some() => self.begin_watch(),
                () = heard.nothing_for(silence) => {
                    silence = None;
                    name_cap(&self.killed_for, "max_silence_seconds");
                    self.kill();
                }
                () = tokio::time::sleep_until(limit) => {
                    return Err(SandboxError::Gone("a stage's supervisor did not answer in time".to_owned()));
                }
            }
        };
        let (end, timed_out, cap_hit, usage, leaked, leaked_total) = match told {
            Progress::Refused { step, errno, why } => return Err(SandboxError::Guest { step, errno, why }),
            Progress::Ended {
                end,
                timed_out,
                cap_hit,
                usage,
                leaked,
                leaked_total,
            } => (end, timed_out, cap_hit, usage, leaked, leaked_total),
        };
        // What the pipes hold now is all that counts: a daemon that keeps the
        // other end open must not keep us.
        self.drain();
        let (stdout, stderr) = (self.stdout.captured(), self.stderr.captured());
        if let Some(kept) = self.kept.take()
            && let Ok(control) = self.control.get_ref().try_clone()
        {
            let (mut out, mut err) = (self.stdout.take(), self.stderr.take());
            let output = tokio::spawn(async move {
                tokio::join!(out.pump_to_end(), err.pump_to_end());
            });
            let stage = KeptStage {
                _control: control,
                output,
            };
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(stage);
        }
        let named = self.killed_for.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Counts { ooms, forks } = &self.counts;
        let [killed, refused] = [ooms, forks].map(|count| count.as_ref().is_some_and(EventCount::grew));
        let oom = || (killed && !timed_out && end != Termination::Code(0)).then(|| "memory".to_owned());
        let cap_hit = named.or(cap_hit).or_else(oom);
        let mut denied = Vec::new();
        if timed_out {
            denied.push(Denied::by(Layer::Supervisor, "time"));
        }
        denied.extend(cap_hit.as_deref().map(|cap| match cap {
            "disk" => Denied::by(Layer::Disk, cap),
            "memory" if killed => Denied::by(Layer::Cgroup, cap),
            cap => Denied::by(Layer::Supervisor, cap),
        }));
        denied.extend(refused.then(|| Denied::by(Layer::Cgroup, "processes")));
        denied.extend((stdout.truncated || stderr.truncated).then(|| Denied::by(Layer::Record, "output")));
        denied.extend(Denied::signal(end));
        Ok(ExecOutcome {
            end,
            timed_out,
            cap_hit,
            denied,
            usage,
            leaked,
            leaked_total,
            stdout,
            stderr,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }
}

/// The first cap that was hit counts.
fn name_cap(killed_for: &Mutex<Option<String>>, cap: &str) {
    let mut named = killed_for.lock().unwrap_or_else(PoisonError::into_inner);
    named.get_or_insert_with(|| cap.to_owned());
}

async fn next(control: &AsyncFd<OwnedFd>) -> Result<Progress, SandboxError> {
    loop {
        let mut ready = control
            .readable()
            .await
            .map_err(|e| SandboxError::Gone(e.to_string()))?;
        match wire::recv::<Progress>(control.as_fd()) {
            Ok((progress, _)) => return Ok(progress),
            Err(FrameError::WouldBlock) => ready.clear_ready(),
            Err(why) => return Err(SandboxError::Gone(format!("stage supervisor: {why}"))),
        }
    }
}
