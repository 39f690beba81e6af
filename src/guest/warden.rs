//! A stage's own supervisor: subreaper, clock, and the end of its tree.
#![allow(unsafe_code)]

use std::{
    collections::HashSet,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        resource::{UsageWho, getrusage},
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::WaitStatus,
    },
    unistd::{ForkResult, Pid, fork, getpid},
};

use super::{
    Failure, memory, payload,
    process::{self, Process},
};
use crate::wire::{
    self, Confinement, Control, ExecRequest, FrameError, Leftovers, Progress, Reach, ResourceUse, Termination,
};

/// How many leaked processes are named.
pub(super) const NAMED_LEAKS: usize = 32;
/// Between two looks at the tree's memory.
const MEMORY_TICK: Duration = Duration::from_millis(100);

/// Longest look where no deadline bounds it.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// What a warden is made with, before its command is known.
pub(super) struct Post<'a> {
    pub confinement: &'a Confinement,
    pub nested: Option<BorrowedFd<'a>>,
    /// Whom the command will be able to signal.
    pub reach: Reach,
    /// Where the command comes from, with the stage's control socket; its end of file
    /// says that none will.
    pub orders: OwnedFd,
    /// The main process's end of the same: the command again, with its stdio.
    pub main_orders: OwnedFd,
    /// Where the main process's pid is told to the supervisor.
    pub pid_to: std::io::PipeWriter,
}

/// The whole life of a warden; the caller exits afterwards.
pub(super) fn live(post: Post<'_>) {
    let Post {
        confinement,
        nested,
        reach,
        orders,
        main_orders,
        mut pid_to,
    } = post;
    let started = prepare().and_then(|signals| {
        let (main, walled) = start(confinement, nested, reach, main_orders, &orders)?;
        Ok((signals, main, walled))
    });
    let main = started.as_ref().map_or(0, |(_, main, _)| main.as_raw());
    let _ = pid_to.write_all(&main.to_ne_bytes());
    drop(pid_to);
    let Ok((request, fds)) = wire::recv::<ExecRequest>(orders.as_fd()) else {
        return;
    };
    let Ok([control]) = <[OwnedFd; 1]>::try_from(fds) else {
        return;
    };
    drop(orders);
    let began = Instant::now();
    let started = started.and_then(|(signals, main, walled)| walled.wait(main).map(|()| (signals, main)));
    let (signals, main) = match started {
        Ok(started) => started,
        Err(Failure { step, errno, why }) => {
            let _ = wire::send(control.as_fd(), &Progress::Refused { step, errno, why }, &[]);
            return;
        }
    };
    let mut tree = Tree { main, end: None };
    let deadline = began + Duration::from_millis(request.wall_ms);
    let why = tree.watch(&control, &signals, deadline, memory::Cap::of(confinement));
    let (timed_out, cap_hit) = match why {
        Why::Ended => (false, None),
        Why::Killed => (false, Some("killed".to_owned())),
        Why::Time => (true, None),
        Why::Memory => (false, Some("memory".to_owned())),
        Why::HostGone => {
            tree.kill();
            return;
        }
    };
    let leaked = if why == Why::Ended && request.leftovers == Leftovers::Keep {
        Vec::new()
    } else {
        tree.kill()
    };
    let mut usage = used();
    usage.wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let leaked: Vec<_> = leaked
        .iter()
        .filter(|p| p.pid != main.as_raw())
        .map(Process::leaked)
        .collect();
    let ended = Progress::Ended {
        end: tree.end.unwrap_or(Termination::Signal(Signal::SIGKILL as i32)),
        timed_out,
        cap_hit,
        usage,
        leaked_total: leaked.len() as u64,
        leaked: leaked.into_iter().take(NAMED_LEAKS).collect(),
    };
    let _ = wire::send(control.as_fd(), &ended, &[]);
    if request.leftovers == Leftovers::Keep {
        tree.keep(&control, &signals, memory::Cap::of(confinement));
    }
}

fn prepare() -> Result<SignalFd, Failure> {
    prctl::set_child_subreaper(true).map_err(|e| Failure::new("PR_SET_CHILD_SUBREAPER", e))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| Failure::new("PR_SET_PDEATHSIG", e))?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(|e| Failure::new("signalfd", e))
}

/// Where a main process says what went wrong on its way to its command; the end of file
/// says that it is there, since nothing else closes it.
struct Walled(std::io::PipeReader);

impl Walled {
    /// Waits until the main process has become its command.
    fn wait(mut self, main: Pid) -> Result<(), Failure> {
        let mut report = Vec::new();
        let _ = self.0.by_ref().take(4096).read_to_end(&mut report);
        if report.is_empty() {
            return Ok(());
        }
        let _ = nix::sys::wait::waitpid(main, None);
        match serde_json::from_slice::<(String, Option<i32>, String)>(&report) {
            Ok((step, errno, why)) => Err(Failure { step, errno, why }),
            Err(why) => Err(Failure::plain("start the command", why)),
        }
    }
}

/// Forks the main process, which builds its walls meanwhile.
fn start(
    confinement: &Confinement,
    nested: Option<BorrowedFd<'_>>,
    reach: Reach,
    main_orders: OwnedFd,
    orders: &OwnedFd,
) -> Result<(Pid, Walled), Failure> {
    let (status, mut told) = std::io::pipe().map_err(|e| Failure::io("pipe", &e))?;
    // SAFETY: this process is single-threaded, so the child may do anything.
    match unsafe { fork() }.map_err(|e| Failure::new("fork", e))? {
        ForkResult::Child => {
            drop(status);
            let _ = nix::unistd::close(orders.as_raw_fd());
            let _ = SigSet::all().thread_unblock();
            let Err(failure) = payload::become_next(confinement, nested, reach, main_orders.as_fd());
            let report = (failure.step, failure.errno, failure.why);
            let _ = serde_json::to_vec(&report).map(|bytes| told.write_all(&bytes));
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(127) }
        }
        ForkResult::Parent { child } => Ok((child, Walled(status))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Ended,
    Killed,
    Time,
    Memory,
    HostGone,
}

struct Tree {
    main: Pid,
    end: Option<Termination>,
}

impl Tree {
    fn watch(&mut self, control: &OwnedFd, signals: &SignalFd, deadline: Instant, memory: Option<memory::Cap>) -> Why {
        // Most commands are over before there is anything to look at.
        let mut look = Instant::now() + MEMORY_TICK;
        loop {
            self.reap();
            if self.end.is_some() {
                return Why::Ended;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Why::Time;
            }
            if memory.is_some() && Instant::now() >= look {
                look = Instant::now() + MEMORY_TICK;
                if memory.is_some_and(|cap| memory::exceeds(getpid(), cap, deadline)) {
                    return Why::Memory;
                }
            }
            let wait = if memory.is_some() { left.min(MEMORY_TICK) } else { left };
            if let Some(why) = listen(control, signals, Some(wait)) {
                return why;
            }
        }
    }

    /// Stays with daemons until told to end them, until none is left, or until
    /// they hold too much memory.
    fn keep(&mut self, control: &OwnedFd, signals: &SignalFd, memory: Option<memory::Cap>) {
        // What outlives its starter is a child of ours, sooner than it is found elsewhere.
        while self.reap() {
            let until = Instant::now() + LONGEST_LOOK;
            let greedy = memory.is_some_and(|cap| memory::exceeds(getpid(), cap, until));
            if greedy || listen(control, signals, memory.map(|_| MEMORY_TICK)).is_some() {
                self.kill();
                return;
            }
        }
    }

    fn reap(&mut self) -> bool {
        let (main, end) = (self.main, &mut self.end);
        process::reap(&mut |pid, status| note(main, end, pid, status))
    }

    fn kill(&mut self) -> Vec<Process> {
        let (main, end) = (self.main, &mut self.end);
        let mut note = |pid, status| note(main, end, pid, status);
        // Whoever loses its parent becomes a child of this subreaper: without a child
        // there is nobody below it, and `/proc` need not be asked.
        if !process::reap(&mut note) {
            return Vec::new();
        }
        let killed = process::kill_below(getpid(), &HashSet::new(), &mut note);
        let give_up = Instant::now() + Duration::from_secs(5);
        // A child that is left may be one that no pass over /proc has met: kill on.
        while process::reap(&mut note) && Instant::now() < give_up {
            process::kill_below(getpid(), &HashSet::new(), &mut note);
            std::thread::yield_now();
        }
        killed
    }
}

fn note(main: Pid, end: &mut Option<Termination>, pid: Pid, status: WaitStatus) {
    if pid == main {
        *end = match status {
            WaitStatus::Exited(_, code) => Some(Termination::Code(code)),
            WaitStatus::Signaled(_, signal, _) => Some(Termination::Signal(signal as i32)),
            _ => return,
        };
    }
}

/// Waits for a signal, a control frame or the time.
fn listen(control: &OwnedFd, signals: &SignalFd, wait: Option<Duration>) -> Option<Why> {
    let timeout = wait.map_or(PollTimeout::NONE, |wait| {
        PollTimeout::try_from(wait.min(Duration::from_secs(3600)) + Duration::from_millis(1))
            .unwrap_or(PollTimeout::MAX)
    });
    let mut fds = [
        PollFd::new(control.as_fd(), PollFlags::POLLIN),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
    ];
    let _ = poll(&mut fds, timeout);
    let told = fds[0].any().unwrap_or(false);
    while let Ok(Some(_)) = signals.read_signal() {}
    if !told {
        return None;
    }
    match wire::recv::<Control>(control.as_fd()) {
        Ok((Control::Kill, _)) => Some(Why::Killed),
        Err(FrameError::WouldBlock) => None,
        Err(_) => Some(Why::HostGone),
    }
}

fn used() -> ResourceUse {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return ResourceUse::default();
    };
    let ms = |t: nix::sys::time::TimeVal| u64::try_from(t.tv_sec() * 1000 + t.tv_usec() / 1000).unwrap_or(0);
    ResourceUse {
        wall_ms: 0,
        user_ms: ms(usage.user_time()),
        system_ms: ms(usage.system_time()),
        max_rss_bytes: u64::try_from(usage.max_rss()).unwrap_or(0) * 1024,
    }
}
