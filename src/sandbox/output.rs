//! The output of a command: read as it comes, bounded, and when it last came.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::io::unix::AsyncFd;

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

/// When a byte last came on either stream.
#[derive(Clone)]
pub(super) struct Heard(Arc<Mutex<Instant>>);

impl Heard {
    pub fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn something(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Resolves once nothing came for `silence`; never without one.
    pub async fn nothing_for(&self, silence: Option<Duration>) {
        let Some(silence) = silence else {
            return std::future::pending().await;
        };
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match silence.checked_sub(last.elapsed()) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ => return,
            }
        }
    }
}

thread_local! {
    /// Where bytes arrive: new memory of that size for each stream would cost more than
    /// a short command's output.
    static ARRIVAL: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

/// One output pipe and what is kept of it.
pub(super) struct Stream {
    pipe: Option<AsyncFd<std::io::PipeReader>>,
    tail: VecDeque<u8>,
    tail_bytes: usize,
    file: Option<(File, u64)>,
    total: u64,
    truncated: bool,
    heard: Heard,
}

impl Stream {
    pub fn new(pipe: std::io::PipeReader, caps: &OutputCaps, heard: &Heard) -> std::io::Result<Self> {
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
            heard: heard.clone(),
        })
    }

    /// Whether its pipe has not ended yet.
    pub fn open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads until the pipe ends; cancelling loses nothing.
    pub async fn pump(&mut self) {
        loop {
            let Some(pipe) = &self.pipe else {
                return std::future::pending().await;
            };
            let Ok(mut ready) = pipe.readable().await else { return };
            match ready.try_io(|pipe| ARRIVAL.with_borrow_mut(|buffer| pipe.get_ref().read(buffer))) {
                Ok(Ok(0) | Err(_)) => {
                    self.pipe = None;
                    return;
                }
                Ok(Ok(n)) => self.keep(n),
                Err(_) => {}
            }
        }
    }

    /// As [`Stream::pump`], and done at once where the pipe has ended already.
    pub async fn pump_to_end(&mut self) {
        if self.open() {
            self.pump().await;
        }
    }

    /// What is there right now, bounded by what a pipe can hold.
    pub fn drain(&mut self) {
        for _ in 0..64 {
            let Some(pipe) = &self.pipe else { return };
            match ARRIVAL.with_borrow_mut(|buffer| pipe.get_ref().read(buffer)) {
                Ok(n) if n > 0 => self.keep(n),
                _ => return,
            }
        }
    }

    /// Keeps the first `n` bytes of what has just arrived.
    fn keep(&mut self, n: usize) {
        ARRIVAL.with_borrow(|buffer| self.keep_bytes(&buffer[..n]));
    }

    fn keep_bytes(&mut self, new: &[u8]) {
        let n = new.len();
        self.heard.something();
        self.total += n as u64;
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
    pub fn take(&mut self) -> Self {
        Self {
            pipe: self.pipe.take(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            file: self.file.take(),
            total: self.total,
            truncated: self.truncated,
            heard: self.heard.clone(),
        }
    }

    pub fn captured(&mut self) -> Captured {
        Captured {
            tail: std::mem::take(&mut self.tail).into(),
            total_bytes: self.total,
            truncated: self.truncated,
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
