//! Running a command inside, seen from the host.

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::io::unix::AsyncFd;

use crate::{
    sandbox::SandboxError,
    wire::{self, Argv, Control, FrameError, LeakedProcess, Leftovers, Progress, ResourceUse, Termination},
};

/// What the host waits beyond a command's wall cap before it gives the guest up.
const GRACE: Duration = Duration::from_secs(20);

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
    /// Fate of leftovers.
    pub leftovers: Leftovers,
    /// Where and how much of stdout is kept.
    pub stdout: OutputCaps,
    /// Where and how much of stderr is kept.
    pub stderr: OutputCaps,
}

/// Bounds on one output stream. Beyond them bytes are read and dropped, so a
/// flood costs the host no memory and never blocks the stage.
#[derive(Clone, Debug, Default)]
pub struct OutputCaps {
    /// Bytes kept in memory: the last ones.
    pub tail_bytes: usize,
    /// A file that gets the first bytes, as they come.
    pub sink: Option<OutputSink>,
}

/// A capped file for one output stream.
#[derive(Clone, Debug)]
pub struct OutputSink {
    /// The file, created anew.
    pub path: PathBuf,
    /// Bytes it may take; past them a marker line is appended and the rest dropped.
    pub max_bytes: u64,
}

/// What was kept of one stream.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// The last bytes.
    pub tail: Vec<u8>,
    /// Bytes that came in all.
    pub total_bytes: u64,
    /// Whether the sink lacks something.
    pub truncated: bool,
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
    watcher: Option<tokio::task::JoinHandle<()>>,
    kept: Option<Kept>,
}

/// Where the control sockets of kept stages are held.
pub(super) type Kept = Arc<Mutex<Vec<OwnedFd>>>;

impl Running {
    pub(super) fn new(
        stage: u64,
        spec: &ExecSpec,
        control: OwnedFd,
        stdout: std::io::PipeReader,
        stderr: std::io::PipeReader,
        kept: Option<Kept>,
    ) -> std::io::Result<Self> {
        nonblocking(control.as_fd())?;
        Ok(Self {
            stage,
            wall: spec.wall,
            control: async_fd(control)?,
            killed_for: Arc::default(),
            stdout: Stream::open(stdout, &spec.stdout)?,
            stderr: Stream::open(stderr, &spec.stderr)?,
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

    /// A watcher that kills the tree when `exceeded` answers the name of a cap.
    pub(super) fn watch(&mut self, mut exceeded: impl FnMut() -> Option<&'static str> + Send + 'static) {
        let Ok(control) = self.control.get_ref().try_clone() else {
            return;
        };
        let killed_for = self.killed_for.clone();
        self.watcher = Some(tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tick.tick().await;
                if let Some(cap) = exceeded() {
                    *killed_for.lock().unwrap_or_else(PoisonError::into_inner) = Some(cap.to_owned());
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
        let limit = tokio::time::Instant::now() + self.wall + GRACE;
        let ended = loop {
            let progress = tokio::select! {
                progress = next(&self.control) => progress?,
                () = self.stdout.pump(), if self.stdout.pipe.is_some() => continue,
                () = self.stderr.pump(), if self.stderr.pipe.is_some() => continue,
                () = tokio::time::sleep_until(limit) => {
                    return Err(SandboxError::Gone("a stage's supervisor did not answer in time".to_owned()));
                }
            };
            match progress {
                Progress::Started { .. } => {}
                Progress::Refused { step, errno, why } => return Err(SandboxError::Guest { step, errno, why }),
                ended @ Progress::Ended { .. } => break ended,
            }
        };
        // What the pipes hold now is all that counts: a daemon that keeps the
        // other end open must not keep us.
        self.stdout.drain();
        self.stderr.drain();
        let Progress::Ended {
            end,
            timed_out,
            cap_hit,
            usage,
            leaked,
            leaked_total,
        } = ended
        else {
            return Err(SandboxError::Gone("protocol".to_owned()));
        };
        let (stdout, stderr) = (self.stdout.captured(), self.stderr.captured());
        if let Some(kept) = self.kept.take()
            && let Ok(control) = self.control.get_ref().try_clone()
        {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(control);
            let (mut out, mut err) = (self.stdout.take(), self.stderr.take());
            // What daemons go on to say lands in the capped files.
            tokio::spawn(async move { tokio::join!(out.pump(), err.pump()) });
        }
        let named = self.killed_for.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(ExecOutcome {
            end,
            timed_out,
            cap_hit: named.or(cap_hit),
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

pub(super) fn nonblocking(fd: std::os::fd::BorrowedFd<'_>) -> std::io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Registers a descriptor with the runtime.
#[allow(unsafe_code)]
pub(super) fn async_fd<T: AsFd + AsRawFd>(inner: T) -> std::io::Result<AsyncFd<T>> {
    // SAFETY: every `T` that is given here owns its one descriptor and never exchanges it.
    Ok(unsafe { AsyncFd::register(inner) }?)
}

/// One output pipe and what is kept of it.
struct Stream {
    pipe: Option<AsyncFd<std::io::PipeReader>>,
    tail: VecDeque<u8>,
    tail_bytes: usize,
    file: Option<(File, u64)>,
    total: u64,
    truncated: bool,
    buffer: Vec<u8>,
}

impl Stream {
    fn open(pipe: std::io::PipeReader, caps: &OutputCaps) -> std::io::Result<Self> {
        nonblocking(pipe.as_fd())?;
        let file = match &caps.sink {
            Some(sink) => Some((File::create(&sink.path)?, sink.max_bytes)),
            None => None,
        };
        Ok(Self {
            pipe: Some(async_fd(pipe)?),
            tail: VecDeque::new(),
            tail_bytes: caps.tail_bytes,
            file,
            total: 0,
            truncated: false,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Reads until the pipe ends; cancelling loses nothing.
    async fn pump(&mut self) {
        loop {
            let Some(pipe) = &self.pipe else {
                return std::future::pending().await;
            };
            let Ok(mut ready) = pipe.readable().await else { return };
            match ready.try_io(|pipe| pipe.get_ref().read(&mut self.buffer)) {
                Ok(Ok(0) | Err(_)) => {
                    self.pipe = None;
                    return;
                }
                Ok(Ok(n)) => self.keep(n),
                Err(_) => {}
            }
        }
    }

    /// What is there right now, bounded by what a pipe can hold.
    fn drain(&mut self) {
        for _ in 0..64 {
            let Some(pipe) = &self.pipe else { return };
            match pipe.get_ref().read(&mut self.buffer) {
                Ok(n) if n > 0 => self.keep(n),
                _ => return,
            }
        }
    }

    fn keep(&mut self, n: usize) {
        self.total += n as u64;
        let new = &self.buffer[..n];
        if let Some((file, left)) = &mut self.file {
            let fits = usize::try_from(*left).unwrap_or(usize::MAX).min(n);
            // A full disk on our side loses output, never the run.
            let _ = file.write_all(&new[..fits]);
            *left -= fits as u64;
            if fits < n && !self.truncated {
                self.truncated = true;
                let _ = file.write_all(b"\n[output truncated here]\n");
            }
        }
        let new = &new[n.saturating_sub(self.tail_bytes)..];
        let excess = (self.tail.len() + new.len()).saturating_sub(self.tail_bytes);
        self.tail.drain(..excess.min(self.tail.len()));
        self.tail.extend(new);
    }

    /// Moves the open pipe and the file out, for reading on.
    fn take(&mut self) -> Self {
        Self {
            pipe: self.pipe.take(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            file: self.file.take(),
            total: self.total,
            truncated: self.truncated,
            buffer: vec![0; 64 * 1024],
        }
    }

    fn captured(&mut self) -> Captured {
        Captured {
            tail: std::mem::take(&mut self.tail).into(),
            total_bytes: self.total,
            truncated: self.truncated,
        }
    }
}
