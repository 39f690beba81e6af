//! A stage's own supervisor: subreaper, clock, and the end of its tree. Where nothing is left of
//! a stage it sees to another.
#![allow(unsafe_code)]

use std::{
    collections::HashSet,
    io::{PipeWriter, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        socket::{Shutdown, shutdown},
        wait::WaitStatus,
    },
    unistd::{Pid, getpid},
};
use serde::{Deserialize, Serialize};

use super::{
    Failure, memory,
    payload::{self, Left},
    process::{self, Dead, Process, Used},
    vfork::Stack,
};
use crate::wire::{self, Confinement, Control, FrameError, Leftovers, Progress, Reach, ResourceUse, Termination};

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
    /// Where [`Order`]s come from, each with its stage's control socket; its end of file
    /// says that no more will.
    pub orders: OwnedFd,
    /// The main process's end of the same: the command itself, with its stdio.
    pub main_orders: OwnedFd,
    /// Where it says, by its pid, that nothing of its stage is left and it waits for the next.
    pub freed: &'a PipeWriter,
}

/// What a warden has to know of its command.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    pub wall_ms: u64,
    pub leftovers: Leftovers,
    /// Whether it may see to another stage, where nothing is left of this one.
    pub again: bool,
}

/// The whole life of a warden, one stage after the other; the caller exits afterwards.
pub(super) fn live(post: Post<'_>) {
    let mut begun = prepare();
    while let Some(next) = stage(&post, begun) {
        begun = Ok(next);
    }
}

/// What a warden keeps from one stage to the next.
struct Kept {
    signals: SignalFd,
    stack: Stack,
}

fn prepare() -> Result<Kept, Failure> {
    prctl::set_child_subreaper(true).map_err(|e| Failure::new("PR_SET_CHILD_SUBREAPER", e))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| Failure::new("PR_SET_PDEATHSIG", e))?;
    // All of them are blocked here; what a main process would ignore is what was ignored where
    // this program was started.
    let not = [libc::SIGKILL, libc::SIGSTOP, libc::SIGPIPE];
    payload::heed((1..=64).filter(|signal| !not.contains(signal)))?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|e| Failure::new("signalfd", e))?;
    let stack = Stack::map()?;
    Ok(Kept { signals, stack })
}

/// One stage; `None` where it was the last that this warden can see to.
fn stage(post: &Post<'_>, begun: Result<Kept, Failure>) -> Option<Kept> {
    let started = begun.and_then(|mut kept| start(post, &mut kept.stack).map(|main| (kept, main)));
    if started.is_err() {
        // Whoever waits to hear of a main process hears that there is none (shutdown(2)).
        let _ = shutdown(post.main_orders.as_raw_fd(), Shutdown::Both);
    }
    let (order, fds) = wire::recv::<Order>(post.orders.as_fd()).ok()?;
    let [control] = <[OwnedFd; 1]>::try_from(fds).ok()?;
    match started {
        Ok((kept, main)) => see_to(post, &kept, main, &order, &control).then_some(kept),
        Err(Failure { step, errno, why }) => {
            let _ = wire::send(control.as_fd(), &Progress::Refused { step, errno, why }, &[]);
            None
        }
    }
}

/// From a command's beginning to the end of its stage; whether the warden can see to another.
fn see_to(post: &Post<'_>, kept: &Kept, main: Pid, order: &Order, control: &OwnedFd) -> bool {
    let began = Instant::now();
    let memory = memory::Cap::of(post.confinement);
    let mut tree = Tree::of(main);
    let deadline = began + Duration::from_millis(order.wall_ms);
    let why = tree.watch(control, &kept.signals, deadline, memory);
    let (timed_out, cap_hit) = match why {
        Why::Ended => (false, None),
        Why::Killed => (false, Some("killed".to_owned())),
        Why::Time => (true, None),
        Why::Memory => (false, Some("memory".to_owned())),
        Why::HostGone => {
            tree.kill();
            return false;
        }
    };
    let keeps = order.leftovers == Leftovers::Keep;
    let leaked = if why == Why::Ended && keeps {
        Vec::new()
    } else {
        tree.kill()
    };
    let mut usage = tree.usage();
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
        leaked: leaked.iter().take(NAMED_LEAKS).cloned().collect(),
    };
    // Whoever is a child of nobody here is nobody's descendant: there are none.
    let again = order.again && why == Why::Ended && !keeps && leaked.is_empty() && !tree.reap();
    // Told before the host can ask for what comes next.
    let mut freed = post.freed;
    let again = again && freed.write_all(&getpid().as_raw().to_ne_bytes()).is_ok();
    let _ = wire::send(control.as_fd(), &ended, &[]);
    if keeps {
        tree.keep(control, &kept.signals, memory);
    }
    again
}

/// Makes the main process, and waits until it has become its command or somebody does that
/// in its place; gives the pid of that.
fn start(post: &Post<'_>, stack: &mut Stack) -> Result<Pid, Failure> {
    let mut left = Left::default();
    let main = stack.run(|| {
        let orders = post.main_orders.as_fd();
        payload::become_next(post.confinement, post.nested, post.reach, orders, &mut left)
    })?;
    if !left.whole() {
        // SAFETY: leaves without using memory that may be half-changed; the supervisor reports
        // what becomes of the stage (_exit(2)).
        unsafe { libc::_exit(1) }
    }
    match left.failure {
        Some(failure) => {
            let _ = nix::sys::wait::waitpid(main, None);
            Err(failure)
        }
        None => Ok(left.stand_in.unwrap_or(main)),
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
    /// What the dead have used.
    used: Used,
}

impl Tree {
    fn of(main: Pid) -> Self {
        Self {
            main,
            end: None,
            used: Used::default(),
        }
    }

    fn usage(&self) -> ResourceUse {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        ResourceUse {
            wall_ms: 0,
            user_ms: ms(self.used.user),
            system_ms: ms(self.used.system),
            max_rss_bytes: self.used.max_rss_bytes,
        }
    }

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
        process::reap(&mut |dead| self.note(dead))
    }

    fn kill(&mut self) -> Vec<Process> {
        // Whoever loses its parent becomes a child of this subreaper: without a child
        // there is nobody below it, and `/proc` need not be asked.
        if !self.reap() {
            return Vec::new();
        }
        let killed = process::kill_below(getpid(), &HashSet::new(), &mut |dead| self.note(dead));
        let give_up = Instant::now() + Duration::from_secs(5);
        // A child that is left may be one that no pass over /proc has met: kill on.
        while self.reap() && Instant::now() < give_up {
            process::kill_below(getpid(), &HashSet::new(), &mut |dead| self.note(dead));
            std::thread::yield_now();
        }
        killed
    }

    fn note(&mut self, dead: &Dead) {
        self.used.add(&dead.used);
        if dead.pid == self.main {
            self.end = match dead.status {
                WaitStatus::Exited(_, code) => Some(Termination::Code(code)),
                WaitStatus::Signaled(_, signal, _) => Some(Termination::Signal(signal as i32)),
                _ => self.end,
            };
        }
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
