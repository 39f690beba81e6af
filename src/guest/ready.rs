//! A stage that waits for its command.
#![allow(unsafe_code)]

use std::{
    io::PipeWriter,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::{
    sched::{CpuSet, sched_getaffinity},
    sys::{
        signal::{Signal, kill},
        socket::{setsockopt, sockopt::ReceiveTimeout},
        time::TimeVal,
    },
    unistd::{ForkResult, Pid, fork},
};

use super::{
    Failure, payload,
    warden::{self, Order, Post},
};
use crate::wire::{self, Argv, Confinement, ExecRequest, Reach};

/// Longest wait for the pid of a main process, which whoever may signal it can stop.
const TOLD: TimeVal = TimeVal::new(5, 0);

/// A stage without its command: its warden and main process exist, walled in or about to
/// be, and are given to the next command with the same reach.
pub(super) struct Ready {
    warden: Pid,
    reach: Reach,
    /// To the warden: its [`Order`] and the stage's control socket.
    orders: OwnedFd,
    /// To the main process: the command and its stdio. It tells its pid there.
    main_orders: OwnedFd,
    /// That of the process that waits, once it was told.
    main: Option<i32>,
}

impl Ready {
    /// Forks the warden, who makes the main process; `leave_behind` runs in the warden
    /// first, to close what is the supervisor's alone, and `freed` is where it says that its
    /// stage is over and it waits again. The caller is single-threaded.
    pub fn make(
        confinement: &Confinement,
        nested: Option<BorrowedFd<'_>>,
        reach: Reach,
        freed: &PipeWriter,
        leave_behind: impl FnOnce(),
    ) -> Result<Self, Failure> {
        let pair = || wire::pair().map_err(|e| Failure::io("socketpair", &e));
        let (orders, orders_in) = pair()?;
        let (main_orders, main_orders_in) = pair()?;
        setsockopt(&main_orders, ReceiveTimeout, &TOLD).map_err(|e| Failure::new("SO_RCVTIMEO", e))?;
        // SAFETY: this process is single-threaded, so the child may do anything.
        match unsafe { fork() }.map_err(|e| Failure::new("fork", e))? {
            ForkResult::Child => {
                drop((orders, main_orders));
                leave_behind();
                let post = Post {
                    confinement,
                    nested,
                    reach,
                    orders: orders_in,
                    main_orders: main_orders_in,
                    freed,
                };
                // A panic must not go on as the supervisor that this process is a copy of.
                let lived = catch_unwind(AssertUnwindSafe(|| warden::live(post)));
                // SAFETY: leaves without running anything of the parent's.
                unsafe { libc::_exit(i32::from(lived.is_err())) }
            }
            ForkResult::Parent { child } => Ok(Self {
                warden: child,
                reach,
                orders,
                main_orders,
                main: None,
            }),
        }
    }

    /// Its supervisor.
    pub fn warden(&self) -> Pid {
        self.warden
    }

    /// Whom its command will be able to signal.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// The next pid that is told; 0 where none is. Waits until it is known.
    fn told(&self) -> i32 {
        wire::recv(self.main_orders.as_fd()).map_or(0, |(pid, _)| pid)
    }

    /// The pid of its main process; 0 where there is none.
    fn main(&mut self) -> i32 {
        let main = self.main.unwrap_or_else(|| self.told());
        *self.main.insert(main)
    }

    /// Whether no command has changed how the scheduler treats it, to harm the next: what
    /// was taken from a process of no privilege cannot be given back to it.
    pub fn untouched(&mut self) -> bool {
        // SAFETY: numbers only; an error reads as -1, which no process here has.
        let nice = |pid: i32| unsafe { libc::getpriority(libc::PRIO_PROCESS, pid.unsigned_abs()) };
        let main = self.main();
        // It may still be on its way behind its supervisors.
        main == 0 || (scheduling(main) == scheduling(0) && [nice(0), nice(0) + payload::BEHIND].contains(&nice(main)))
    }

    /// Ends it. To close its sockets would be too little where its main process was stopped.
    pub fn end(self) {
        // It is our child and was not waited for, so nobody else has its pid; its main process
        // goes with it (PR_SET_PDEATHSIG(2const)), or at the end of its orders.
        let _ = kill(self.warden, Signal::SIGKILL);
    }

    /// Gives it its command, as the frame in which that came, with the stage's control socket
    /// and its stdio, and tells the pid of the main process. `again` as in [`Order`].
    pub fn give(
        &mut self,
        (request, frame): (&ExecRequest, &[u8]),
        again: bool,
        control: &OwnedFd,
        stdio: &[OwnedFd; 3],
    ) -> Result<i32, Failure> {
        // What the main process does not take it could not: its warden tells why.
        let _ = wire::forward(self.main_orders.as_fd(), frame, &stdio.each_ref().map(AsFd::as_fd));
        let order = Order {
            wall_ms: request.wall_ms,
            leftovers: request.leftovers,
            again,
        };
        wire::send(self.orders.as_fd(), &order, &[control.as_fd()])
            .map_err(|why| Failure::plain("start the command", why))?;
        let main = self.main();
        // The one after it will be another.
        self.main = None;
        Ok(match request.argv {
            // What is no program is done by a process of its own.
            Argv::Witness(_) | Argv::Rows(_) if main != 0 => self.told(),
            _ => main,
        })
    }
}

/// Policy and processors of a process, which others of its user can change (sched(7)).
fn scheduling(pid: i32) -> Option<(i32, CpuSet)> {
    // SAFETY: numbers only; -1 is an error.
    let policy = unsafe { libc::sched_getscheduler(pid) };
    (policy >= 0).then_some((policy, sched_getaffinity(Pid::from_raw(pid)).ok()?))
}
