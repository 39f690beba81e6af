//! The loop over the host's socket.
#![allow(unsafe_code)]

use std::{
    collections::{HashMap, HashSet},
    io::{PipeReader, PipeWriter, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        time::TimeSpec,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpid},
};

use super::{
    Failure, GuestStart, door, doors, kin, land, owner, peers,
    process::{self, Dead, Passes, Process},
    ready::Ready,
    tap, text, tree, warden,
};
use crate::wire::{
    self, Confinement, ExecRequest, FrameError, Hello, Identity, PROTOCOL, Progress, Reach, Reply, Request,
    ResourceUse, Termination,
};

/// Longest sleep.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// After so long without anything to do, memory that waiting does not need is given back.
const IDLE: Duration = Duration::from_millis(100);

/// A stage under way: its warden and its main process.
struct Watched {
    stage: u64,
    main: i32,
    /// What it is when it is over and nothing of it is left.
    ready: Ready,
    /// The warden's end of the stage's socket, for when the warden cannot speak any more.
    control: OwnedFd,
    began: Instant,
}

impl Watched {
    /// Tells the host of the end of a stage whose warden is dead, and of what was left of it.
    fn report(&self, killed: &[Process]) {
        let left: Vec<_> = killed.iter().filter(|p| p.pid != self.main).collect();
        let ended = Progress::Ended {
            end: Termination::Signal(Signal::SIGKILL as i32),
            timed_out: false,
            cap_hit: None,
            usage: ResourceUse {
                wall_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                ..ResourceUse::default()
            },
            leaked_total: left.len() as u64,
            leaked: left
                .into_iter()
                .take(warden::NAMED_LEAKS)
                .map(Process::leaked)
                .collect(),
        };
        let _ = wire::send(self.control.as_fd(), &ended, &[]);
    }
}

pub(super) struct Supervisor {
    socket: OwnedFd,
    confinement: Confinement,
    nested: Option<OwnedFd>,
    lease: Option<Instant>,
    signals: SignalFd,
    wardens: HashMap<i32, Watched>,
    ready: Option<Ready>,
    /// The pids of wardens whose stages are over and left nothing, four bytes each.
    freed: (PipeReader, PipeWriter),
    /// A command that may signal any other ([`Reach::Sandbox`], or a kernel without scopes)
    /// could end one that waits, which would look like the end of the command given to it.
    unscoped: bool,
}

impl Supervisor {
    pub fn new(start: GuestStart) -> Result<Self, Failure> {
        let GuestStart {
            socket,
            confinement,
            nested,
            lease,
        } = start;
        let mask = SigSet::all();
        mask.thread_set_mask().map_err(|e| Failure::new("sigprocmask", e))?;
        let mut children = SigSet::empty();
        children.add(Signal::SIGCHLD);
        let signals = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|e| Failure::new("signalfd", e))?;
        if !confinement.pid1 {
            prctl::set_child_subreaper(true).map_err(|e| Failure::new("PR_SET_CHILD_SUBREAPER", e))?;
        }
        // Nobody inside may look into the supervisor (ptrace(2), "dumpable").
        prctl::set_dumpable(false).map_err(|e| Failure::new("PR_SET_DUMPABLE", e))?;
        let freed = std::io::pipe().map_err(|e| Failure::io("pipe", &e))?;
        fcntl(&freed.0, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| Failure::new("F_SETFL", e))?;
        let unscoped = confinement.landlock.is_none() || land::landlock_abi() < land::SCOPES_ABI;
        Ok(Self {
            socket,
            confinement,
            nested,
            lease,
            signals,
            wardens: HashMap::new(),
            ready: None,
            freed,
            unscoped,
        })
    }

    pub fn serve(mut self) -> u8 {
        // The host waits for it; where it does not come the host gives up.
        let _ = wire::send(self.socket.as_fd(), &Reply::Hello(hello(&self.confinement)), &[]);
        // Whoever needs one that cannot be made is told why.
        if !self.unscoped {
            self.ready = self.post(Reach::Own).ok();
        }
        let mut worked = true;
        loop {
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            let left = self.lease.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                self.end();
                return 0;
            }
            let idle = Some(IDLE).filter(|_| worked);
            let wait = [idle, left].into_iter().flatten().min();
            // A time that is up is seen in the next turn, not a nanosecond too early.
            let wait = wait.map(|wait| TimeSpec::from(wait.min(LONGEST_WAIT) + Duration::from_micros(1)));
            let heard = ppoll(&mut fds, wait, None);
            let (asked, died) = (fds[0].any().unwrap_or(false), fds[1].any().unwrap_or(false));
            if heard == Ok(0) && worked {
                text::give_back();
            }
            worked = heard != Ok(0);
            self.take_back();
            if died {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.reap();
            }
            if asked {
                let heard = wire::recv_frame(self.socket.as_fd());
                match heard.and_then(|(frame, fds)| Ok((wire::parse(&frame)?, frame, fds))) {
                    Ok((Request::Shutdown, ..)) => {
                        self.end();
                        let _ = wire::send(self.socket.as_fd(), &Reply::Done, &[]);
                        return 0;
                    }
                    Ok((request, frame, fds)) => self.answer(request, &frame, fds),
                    Err(FrameError::WouldBlock) => {}
                    Err(_) => {
                        self.end();
                        return 0;
                    }
                }
            }
        }
    }

    /// `frame` is the request as it came.
    fn answer(&mut self, request: Request, frame: &[u8], fds: Vec<OwnedFd>) {
        let (reply, attached) = match self.perform(request, frame, fds) {
            Ok(answer) => answer,
            Err(Failure { step, errno, why }) => (Reply::Failed { step, errno, why }, None),
        };
        let attached: Vec<BorrowedFd<'_>> = attached.iter().map(AsFd::as_fd).collect();
        let _ = wire::send(self.socket.as_fd(), &reply, &attached);
    }

    fn perform(
        &mut self,
        request: Request,
        frame: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<(Reply, Option<OwnedFd>), Failure> {
        let done = (Reply::Done, None);
        match request {
            Request::Exec(request) => self.exec(&request, frame, fds).map(|()| done),
            Request::Listen { port } => {
                let (port, fd) = doors::listener(port)?;
                Ok((Reply::Listening { port }, Some(fd)))
            }
            Request::Datagrams { port } => Ok((Reply::Done, Some(doors::datagrams(port)?))),
            Request::Tap => Ok((Reply::Done, Some(tap::tap()?))),
            Request::Peer(connection) => {
                let stage_of = |warden: i32| self.wardens.get(&warden).map(|watched| watched.stage);
                let found = peers::of(connection, stage_of);
                Ok((Reply::Peer { found }, None))
            }
            Request::Socket => Ok((Reply::Done, Some(doors::stream()?))),
            Request::Freeze => {
                process::stop_below(getpid(), &self.busy(), &self.waiting()).map_err(|running| {
                    let names: Vec<String> = running.iter().take(8).map(Process::shown).collect();
                    Failure::plain("stop every process", format!("still running: {}", names.join(", ")))
                })?;
                Ok(done)
            }
            Request::Thaw => {
                process::continue_below(getpid(), &self.busy(), &self.waiting());
                Ok(done)
            }
            Request::Sweep { keep, mains_only } => Ok((self.sweep(&keep, mains_only), None)),
            Request::Put { removals } => {
                let stream = one(fds)?;
                self.as_owner(|workspace| tree::put(workspace, &removals, stream))
                    .map(|()| done)
            }
            Request::Get { paths } => {
                let stream = one(fds)?;
                self.as_owner(|workspace| tree::get(workspace, &paths, stream))
                    .map(|()| done)
            }
            Request::Shutdown => Ok(done),
        }
    }

    /// The wardens of stages that are under way.
    fn busy(&self) -> HashSet<i32> {
        self.wardens.keys().copied().collect()
    }

    /// The warden that waits: nothing of a stage is below it.
    fn waiting(&self) -> HashSet<i32> {
        self.ready.iter().map(|ready| ready.warden().as_raw()).collect()
    }

    fn supervisors(&self) -> HashSet<i32> {
        &self.busy() | &self.waiting()
    }

    fn exec(&mut self, request: &ExecRequest, frame: &[u8], fds: Vec<OwnedFd>) -> Result<(), Failure> {
        let [control, stdin, stdout, stderr]: [OwnedFd; 4] = fds
            .try_into()
            .map_err(|_| Failure::plain("read the request", "four descriptors are needed"))?;
        self.unscoped |= request.reach == Reach::Sandbox;
        let fits = |ready: &mut Ready| ready.reach() == request.reach && ready.untouched();
        let mut ready = match self.ready.take_if(fits) {
            Some(ready) => ready,
            None => {
                self.ready.take().into_iter().for_each(Ready::end);
                self.post(request.reach)?
            }
        };
        let main = match ready.give((request, frame), !self.unscoped, &control, &[stdin, stdout, stderr]) {
            Ok(main) => main,
            Err(why) => {
                ready.end();
                return Err(why);
            }
        };
        let watched = Watched {
            stage: request.stage,
            main,
            ready,
            control,
            began: Instant::now(),
        };
        self.wardens.insert(watched.ready.warden().as_raw(), watched);
        Ok(())
    }

    fn post(&mut self, reach: Reach) -> Result<Ready, Failure> {
        let (socket, wardens, ready) = (self.socket.as_raw_fd(), &mut self.wardens, &mut self.ready);
        let nested = self.nested.as_ref().map(AsFd::as_fd);
        Ready::make(&self.confinement, nested, reach, &self.freed.1, || {
            // The host's socket is the supervisor's alone, and so is what speaks to others.
            let _ = nix::unistd::close(socket);
            wardens.clear();
            *ready = None;
        })
    }

    /// Takes back the wardens whose stages are over: one to be used again, the others to end.
    /// Each has told so before its host could hear of the end.
    fn take_back(&mut self) {
        let mut pid = [0; 4];
        // What is written at once is read at once (pipe(7)).
        while self.freed.0.read_exact(&mut pid).is_ok() {
            let Some(watched) = self.wardens.remove(&i32::from_ne_bytes(pid)) else {
                continue;
            };
            // Whoever may signal it could end one that waits, which would look like the end of
            // the command given to it.
            if self.unscoped || self.ready.is_some() {
                watched.ready.end();
            } else {
                self.ready = Some(watched.ready);
            }
        }
    }

    /// Takes in what became of our children. A warden that was killed or stopped was
    /// attacked by its own stage ([`wire::Reach::Sandbox`]), which is ended in its place.
    fn reap(&mut self) {
        let mut died = Vec::new();
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
                Ok(WaitStatus::Stopped(pid, _)) if self.wardens.contains_key(&pid.as_raw()) => {
                    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
                }
                Err(nix::Error::EINTR) => {}
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(status) => died.extend(status.pid().map(|pid| (pid.as_raw(), status))),
            }
        }
        while !died.is_empty() {
            let mut orphaned = Vec::new();
            for (pid, status) in std::mem::take(&mut died) {
                self.ready.take_if(|ready| ready.warden().as_raw() == pid);
                let ended_itself = matches!(status, WaitStatus::Exited(_, 0));
                orphaned.extend(self.wardens.remove(&pid).filter(|_| !ended_itself));
            }
            if !orphaned.is_empty() {
                let spare = self.supervisors();
                let note = &mut |dead: &Dead| died.push((dead.pid.as_raw(), dead.status));
                let killed = process::kill_below(getpid(), &spare, note);
                orphaned.iter().for_each(|stage| stage.report(&killed));
            }
        }
    }

    /// Kills what belongs to no kept stage; the wardens see to their own dead.
    fn sweep(&mut self, keep: &[u64], mains_only: bool) -> Reply {
        let mut first: Option<Vec<Process>> = None;
        let mut passes = Passes::begin();
        let kept = self.wardens.values().filter(|watched| keep.contains(&watched.stage));
        let mains: Vec<i32> = kept.map(|watched| watched.main).collect();
        loop {
            // Who waits for the next command belongs to no stage.
            self.take_back();
            let victims = self.victims(keep, mains_only);
            process::kill_all(&victims, &mains);
            let done = victims.is_empty() && self.swept(keep, mains_only);
            if !victims.is_empty() {
                first.get_or_insert(victims);
            }
            if done || !passes.again() {
                break;
            }
        }
        Reply::Swept {
            leaked: first.unwrap_or_default().iter().take(32).map(Process::leaked).collect(),
        }
    }

    /// Whether nobody is left whom no pass has met.
    fn swept(&self, keep: &[u64], mains_only: bool) -> bool {
        let others = self.wardens.iter().all(|(warden, watched)| {
            let kept = keep.contains(&watched.stage);
            let spare = kept.then_some(watched.main).into_iter().collect();
            (kept && !mains_only) || kin::childless(*warden, &spare)
        });
        others && kin::childless(getpid().as_raw(), &self.supervisors())
    }

    fn victims(&self, keep: &[u64], mains_only: bool) -> Vec<Process> {
        let mut spare = self.waiting();
        let mut victims = Vec::new();
        for (warden, watched) in &self.wardens {
            spare.insert(*warden);
            if keep.contains(&watched.stage) && !mains_only {
                continue;
            }
            let mut below = process::below(Pid::from_raw(*warden), &HashSet::new());
            if keep.contains(&watched.stage) {
                below.retain(|p| p.pid != watched.main);
            }
            victims.append(&mut below);
        }
        victims.append(&mut process::below(getpid(), &spare));
        victims.retain(|p| !p.gone());
        victims
    }

    fn as_owner(&self, work: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
        owner::run(&self.confinement, self.nested.as_ref().map(AsFd::as_fd), work)
    }

    /// Everything inside dies.
    fn end(&mut self) {
        if self.confinement.pid1 {
            // SAFETY: plain numbers; as PID 1 this is every process of the namespace but us (kill(2)).
            unsafe { libc::kill(-1, libc::SIGKILL) };
        }
        process::kill_below(getpid(), &HashSet::new(), &mut |_| {});
    }
}

fn hello(confinement: &Confinement) -> Hello {
    Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        landlock_abi: land::landlock_abi(),
        found: (confinement.identity == Identity::Changed).then(door::found),
    }
}

fn one(fds: Vec<OwnedFd>) -> Result<OwnedFd, Failure> {
    let [fd]: [OwnedFd; 1] = fds
        .try_into()
        .map_err(|_| Failure::plain("read the request", "one descriptor is needed"))?;
    Ok(fd)
}
