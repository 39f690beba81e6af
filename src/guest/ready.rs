//! A stage that waits for its command.
#![allow(unsafe_code)]

use std::{
    io::{PipeReader, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    sched::{CpuSet, sched_getaffinity},
    sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
    unistd::{ForkResult, Pid, fork},
};

use super::{
    Failure, payload,
    warden::{self, Post},
};
use crate::wire::{self, Confinement, ExecRequest, Reach};

/// A stage without its command: its warden and main process exist, walled in or about to
/// be, and are given to the next command with the same reach. It is used once; dropped, it
/// ends.
pub(super) struct Ready {
    warden: Pid,
    reach: Reach,
    /// To the warden: the command and the stage's control socket.
    orders: OwnedFd,
    /// To the main process: the command and its stdio.
    main_orders: OwnedFd,
    pid_from: PipeReader,
    main: Option<i32>,
}

impl Ready {
    /// Forks the warden, who forks the main process; `leave_behind` runs in the warden
    /// first, to close what is the supervisor's alone. The caller is single-threaded.
    pub fn make(
        confinement: &Confinement,
        nested: Option<BorrowedFd<'_>>,
        reach: Reach,
        leave_behind: impl FnOnce(),
    ) -> Result<Self, Failure> {
        let pair = || {
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|e| Failure::new("socketpair", e))
        };
        let (orders, orders_in) = pair()?;
        let (main_orders, main_orders_in) = pair()?;
        let (pid_from, pid_to) = std::io::pipe().map_err(|e| Failure::io("pipe", &e))?;
        // SAFETY: this process is single-threaded, so the child may do anything.
        match unsafe { fork() }.map_err(|e| Failure::new("fork", e))? {
            ForkResult::Child => {
                drop((orders, main_orders, pid_from));
                leave_behind();
                warden::live(Post {
                    confinement,
                    nested,
                    reach,
                    orders: orders_in,
                    main_orders: main_orders_in,
                    pid_to,
                });
                // SAFETY: leaves without running anything of the parent's.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => Ok(Self {
                warden: child,
                reach,
                orders,
                main_orders,
                pid_from,
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

    /// The pid of its main process; 0 where there is none. Waits until it is known.
    fn main(&mut self) -> i32 {
        let pid_from = &mut self.pid_from;
        *self.main.get_or_insert_with(|| {
            let mut main = [0; 4];
            pid_from.read_exact(&mut main).map_or(0, |()| i32::from_ne_bytes(main))
        })
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

    /// Gives it its command, with the stage's control socket and its stdio, and tells the
    /// pid of the main process.
    pub fn give(mut self, request: &ExecRequest, control: &OwnedFd, stdio: &[OwnedFd; 3]) -> Result<i32, Failure> {
        // What the main process does not take it could not: its warden tells why.
        let _ = wire::send(self.main_orders.as_fd(), request, &stdio.each_ref().map(AsFd::as_fd));
        wire::send(self.orders.as_fd(), request, &[control.as_fd()])
            .map_err(|why| Failure::plain("start the command", why))?;
        Ok(self.main())
    }
}

/// Policy and processors of a process, which others of its user can change (sched(7)).
fn scheduling(pid: i32) -> Option<(i32, CpuSet)> {
    // SAFETY: numbers only; -1 is an error.
    let policy = unsafe { libc::sched_getscheduler(pid) };
    (policy >= 0).then_some((policy, sched_getaffinity(Pid::from_raw(pid)).ok()?))
}
