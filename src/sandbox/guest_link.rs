//! The host's end of a guest's socket.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::unix::AsyncFd,
    sync::{Mutex, MutexGuard},
};

use crate::{
    names::RelPath,
    policy::Inside,
    sandbox::{
        ExecSpec, Running, SandboxError, WallReport, WitnessReport,
        denied::{EventCount, EventFile},
        doors::{Doors, StageNames},
        exec::{Counts, Kept},
        output::{async_fd, nonblocking},
        owner,
    },
    tree::{Place, TreeError},
    wire::{self, ExecRequest, FrameError, Hello, LeakedProcess, Leftovers, PROTOCOL, Removal, Reply, Request},
};

/// Longest wait for an answer of the guest.
const ANSWER: Duration = Duration::from_secs(60);

/// How a back end ends a sandbox that it made.
pub trait Teardown: Send + Sync {
    /// Kills everything inside at once, without waiting.
    fn kill(&mut self);
    /// Waits (boundedly, blocking) until nothing is left and removes what was made for it.
    ///
    /// # Errors
    /// What could not be removed.
    fn finish(&mut self) -> Result<(), SandboxError>;
}

/// The cap on what a sandbox writes to its workspace.
#[derive(Clone, Debug)]
pub struct DiskCap {
    /// The directory whose contents count.
    pub dir: PathBuf,
    /// Bytes.
    pub max_bytes: u64,
    /// Inodes.
    pub max_inodes: u64,
}

/// A request that was sent.
pub(super) struct Asked<'a>(MutexGuard<'a, Link>);

impl Asked<'_> {
    pub async fn answer(mut self) -> Result<(Reply, Vec<OwnedFd>), SandboxError> {
        let answer = answer(&self.0.socket).await?;
        self.0.owed -= 1;
        match answer {
            (Reply::Failed { step, errno, why }, _) => Err(SandboxError::Guest { step, errno, why }),
            answer => Ok(answer),
        }
    }
}

/// Looks at what a sandbox has written, from one command to the next.
struct DiskWatch {
    cap: DiskCap,
    /// Bytes and inodes above which a command is killed; unknown after one was, because
    /// what it left above the cap may still be removed by the next: then only growth
    /// beyond it counts.
    allowed: std::sync::Mutex<Option<(u64, u64)>>,
}

impl DiskWatch {
    fn new(cap: DiskCap) -> Self {
        let allowed = std::sync::Mutex::new(Some((cap.max_bytes, cap.max_inodes)));
        Self { cap, allowed }
    }

    /// Before a command.
    fn begin(&self) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if allowed.is_none() {
            let (bytes, inodes) = crate::tree::usage(&self.cap.dir, u64::MAX).unwrap_or_default();
            *allowed = Some((bytes.max(self.cap.max_bytes), inodes.max(self.cap.max_inodes)));
        }
    }

    /// While it runs.
    fn exceeded(&self) -> bool {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((most, nodes)) = *allowed else { return false };
        let over = match crate::tree::usage(&self.cap.dir, u64::MAX) {
            Ok((bytes, inodes)) => bytes > most || inodes > nodes,
            // A tree that cannot be measured is over any cap.
            Err(why) => matches!(why, TreeError::Limit(_)),
        };
        if over {
            *allowed = None;
        }
        over
    }
}

/// What a back end knows of a sandbox that it made.
pub struct Premises {
    /// The walls that stand.
    pub walls: WallReport,
    /// Where things are inside.
    pub inside: Inside,
    /// Where the workspace is on the host.
    pub place: Place,
    /// The cap on its workspace, where the host has to see to it.
    pub disk: Option<DiskCap>,
    /// The file in which the kernel counts its kills for memory, if it bounds the memory.
    pub oom_events: Option<PathBuf>,
    /// The file in which it counts the processes that it did not start, if it bounds them.
    pub fork_events: Option<PathBuf>,
}

/// The guest's socket: strictly one answer a request.
pub(super) struct Link {
    socket: AsyncFd<OwnedFd>,
    /// Answers that nobody waits for any more, because the wait was abandoned half-way.
    /// They come before the answer to what is asked next.
    owed: u32,
}

/// A live sandbox. Dropping it kills everything inside; [`Sandbox::destroy`]
/// does so and waits until nothing is left.
pub struct Sandbox {
    pub(super) link: Arc<Mutex<Link>>,
    disk: Option<Arc<DiskWatch>>,
    ooms: Option<EventFile>,
    forks: Option<EventFile>,
    premises: Premises,
    /// Whose the pipes of its commands are.
    owner: Option<u32>,
    stages: AtomicU64,
    /// Stages whose leftovers live on.
    kept: Kept,
    /// What each stage is called.
    pub(super) names: StageNames,
    /// What serves on sockets of the inside.
    pub(super) doors: Doors,
    teardown: Option<Box<dyn Teardown>>,
}

impl Sandbox {
    /// Takes over a guest's socket and agrees on the protocol; what the guest says of
    /// itself comes with it.
    ///
    /// # Errors
    /// When the guest is of another version or gone.
    pub async fn connect(
        socket: OwnedFd,
        premises: Premises,
        teardown: Box<dyn Teardown>,
    ) -> Result<(Self, Hello), SandboxError> {
        let io = |source| SandboxError::Io {
            what: "take over the guest's socket".to_owned(),
            source,
        };
        nonblocking(socket.as_fd()).map_err(io)?;
        let sandbox = Self {
            link: Arc::new(Mutex::new(Link {
                socket: async_fd(socket).map_err(io)?,
                owed: 0,
            })),
            disk: premises.disk.clone().map(|cap| Arc::new(DiskWatch::new(cap))),
            ooms: premises.oom_events.as_deref().and_then(EventFile::oom_kills),
            forks: premises.fork_events.as_deref().and_then(EventFile::refused_forks),
            premises,
            owner: owner(),
            stages: AtomicU64::new(1),
            kept: Arc::default(),
            names: StageNames::default(),
            doors: Doors::default(),
            teardown: Some(teardown),
        };
        let introduced = answer(&sandbox.link.lock().await.socket).await?;
        match introduced {
            (Reply::Hello(hello), _) if hello.protocol == PROTOCOL => Ok((sandbox, hello)),
            (Reply::Failed { step, errno, why }, _) => Err(SandboxError::Guest { step, errno, why }),
            (other, _) => Err(SandboxError::Gone(format!("the guest introduced itself as {other:?}"))),
        }
    }

    /// What became of the walls, where that was seen only after the guest came.
    pub(super) fn set_walls(&mut self, walls: WallReport) {
        self.premises.walls = walls;
    }

    /// Adds what a witness found to the report on the walls.
    pub fn set_witness(&mut self, report: WitnessReport) {
        self.premises.walls.witness = Some(report);
    }

    /// The walls that stand.
    pub fn walls(&self) -> &WallReport {
        &self.premises.walls
    }

    /// Where things are inside.
    pub fn inside(&self) -> &Inside {
        &self.premises.inside
    }

    /// Where the workspace is on the host.
    pub fn place(&self) -> &Place {
        &self.premises.place
    }

    pub(super) async fn ask(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Vec<OwnedFd>), SandboxError> {
        self.tell(request, fds).await?.answer().await
    }

    /// Sends a request; until it is answered nobody else can ask.
    async fn tell(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Asked<'_>, SandboxError> {
        tell(&self.link, request, fds).await
    }

    /// Starts a command.
    ///
    /// # Errors
    /// When the guest is gone or refuses.
    pub async fn exec(&self, spec: ExecSpec) -> Result<Running, SandboxError> {
        let io = |source| SandboxError::Io {
            what: "prepare a command".to_owned(),
            source,
        };
        let stage = self.stages.fetch_add(1, Ordering::Relaxed);
        let (control, theirs) = wire::pair().map_err(io)?;
        let null = std::fs::File::open("/dev/null").map_err(io)?;
        let (stdout, out) = std::io::pipe().map_err(io)?;
        let (stderr, err) = std::io::pipe().map_err(io)?;
        if let Some(id) = self.owner {
            // A pipe is its maker's: who is another could not open it anew (`/dev/stderr`).
            for pipe in [&out, &err] {
                std::os::unix::fs::fchown(pipe, Some(id), Some(id)).map_err(io)?;
            }
        }
        let kept = (spec.leftovers == Leftovers::Keep).then(|| self.kept.clone());
        let request = Request::Exec(Box::new(ExecRequest {
            stage,
            argv: spec.argv.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            wall_ms: u64::try_from(spec.wall.as_millis()).unwrap_or(u64::MAX),
            leftovers: spec.leftovers,
            reach: spec.reach,
        }));
        let counts = Counts {
            ooms: self.ooms.as_ref().map(EventFile::begin),
            forks: self.forks.as_ref().map(EventFile::begin),
        };
        let ooms = counts.ooms.clone();
        let disk = self.disk.clone();
        if let Some(disk) = &disk {
            disk.begin();
        }
        let stdio = match &spec.terminal {
            Some(terminal) => [terminal.as_fd(); 3],
            None => [null.as_fd(), out.as_fd(), err.as_fd()],
        };
        let asked = self
            .tell(&request, &[theirs.as_fd(), stdio[0], stdio[1], stdio[2]])
            .await?;
        // The files that take its output are made while the guest starts it.
        let mut running = Running::new(stage, &spec, control, [stdout, stderr], counts, kept).map_err(io)?;
        if let Err(why) = asked.answer().await {
            // A guest that dies before it answers may have started the command, which may
            // have spoken.
            running.drain();
            return Err(why);
        }
        if disk.is_some() || ooms.is_some() {
            running.watch(move || {
                // The kernel has killed something of it: what is left goes on with a part missing.
                if ooms.as_ref().is_some_and(EventCount::grew) {
                    return Some("memory");
                }
                disk.as_ref()?.exceeded().then_some("disk")
            });
        }
        Ok(running)
    }

    /// Stops every process inside; the tree holds still until [`Sandbox::thaw`].
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn freeze(&self) -> Result<(), SandboxError> {
        self.ask(&Request::Freeze, &[]).await.map(|_| ())
    }

    /// Continues what [`Sandbox::freeze`] stopped.
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn thaw(&self) -> Result<(), SandboxError> {
        self.ask(&Request::Thaw, &[]).await.map(|_| ())
    }

    /// Kills every process that is not the main process of a stage in `keep`.
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn sweep(&self, keep: &[u64]) -> Result<Vec<LeakedProcess>, SandboxError> {
        match self
            .ask(
                &Request::Sweep {
                    keep: keep.to_vec(),
                    mains_only: true,
                },
                &[],
            )
            .await?
        {
            (Reply::Swept { leaked }, _) => Ok(leaked),
            (other, _) => Err(SandboxError::Gone(format!("an answer out of turn: {other:?}"))),
        }
    }

    /// Changes the workspace through the guest: removals first, then a tar stream.
    ///
    /// # Errors
    /// When an entry cannot be written; the workspace may then be half changed
    /// and the caller drops the layer.
    pub async fn put(&self, removals: &[RelPath], tar: Vec<u8>) -> Result<(), SandboxError> {
        let removals = removals.iter().map(|path| Removal { path: path.clone() }).collect();
        let io = |source| SandboxError::Io {
            what: "send a tree".to_owned(),
            source,
        };
        let mut stream = tempfile::tempfile().map_err(io)?;
        std::io::Write::write_all(&mut stream, &tar).map_err(io)?;
        std::io::Seek::rewind(&mut stream).map_err(io)?;
        self.ask(&Request::Put { removals }, &[stream.as_fd()])
            .await
            .map(|_| ())
    }

    /// Kills everything, waits until nothing is left, removes what was made for it.
    ///
    /// # Errors
    /// When something could not be removed; it names it.
    pub async fn destroy(mut self) -> Result<(), SandboxError> {
        let Some(mut teardown) = self.teardown.take() else {
            return Ok(());
        };
        teardown.kill();
        self.doors.close();
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        drop(self);
        let finished = tokio::task::spawn_blocking(move || teardown.finish())
            .await
            .unwrap_or_else(|why| Err(SandboxError::Gone(why.to_string())));
        for stage in kept {
            stage.settle().await;
        }
        finished
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.doors.close();
        if let Some(mut teardown) = self.teardown.take() {
            teardown.kill();
            // Dropped on an error path: what is left is removed off the hot path.
            std::thread::spawn(move || teardown.finish());
        }
    }
}

/// Sends a request; until it is answered nobody else can ask.
pub(super) async fn tell<'a>(
    link: &'a Mutex<Link>,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> Result<Asked<'a>, SandboxError> {
    let mut link = link.lock().await;
    while link.owed > 0 {
        answer(&link.socket).await?;
        link.owed -= 1;
    }
    wire::send(link.socket.as_fd(), request, fds).map_err(gone)?;
    link.owed += 1;
    Ok(Asked(link))
}

/// The guest's next frame.
async fn answer(socket: &AsyncFd<OwnedFd>) -> Result<(Reply, Vec<OwnedFd>), SandboxError> {
    let answer = async {
        loop {
            let mut ready = socket.readable().await.map_err(|e| SandboxError::Gone(e.to_string()))?;
            match wire::recv::<Reply>(socket.as_fd()) {
                Ok(answer) => return Ok(answer),
                Err(FrameError::WouldBlock) => ready.clear_ready(),
                Err(why) => return Err(gone(why)),
            }
        }
    };
    tokio::time::timeout(ANSWER, answer)
        .await
        .unwrap_or_else(|_| Err(SandboxError::Gone("it did not answer in time".to_owned())))
}

fn gone(why: FrameError) -> SandboxError {
    match why {
        FrameError::TooLarge => SandboxError::Guest {
            step: "take the request".to_owned(),
            errno: None,
            why: FrameError::TooLarge.to_string(),
        },
        why => SandboxError::Gone(why.to_string()),
    }
}

pub(super) fn only(fds: Vec<OwnedFd>) -> Result<OwnedFd, SandboxError> {
    fds.into_iter()
        .next()
        .ok_or_else(|| SandboxError::Gone("a socket was promised and none came".to_owned()))
}

#[cfg(test)]
#[path = "guest_link_tests.rs"]
mod tests;
