//! The launcher: a single-threaded process that forks jails for one host process.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, so jails cannot be
//! forked from the host's thread pool. When the host goes, however it goes, the
//! socket ends, the launcher ends, and with it (by that signal) every jail.
//!
//! One is always kept ready, built as far as it can be without a plan, so that whoever asks
//! for one waits only for what the plan decides.
#![allow(unsafe_code)]

use std::{
    collections::HashMap,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getpid},
};

use super::{
    cgroup::{self, Cgroups, Owner},
    init,
    root::Own,
    spec::{Assignment, Bounds, JailSpec, Launched, StepError},
};
use crate::{
    probe::Layer,
    sandbox::{self, inherited_socket},
    wire,
};

/// Nothing is asked for this long: the jail made last has had the processors for itself. A new
/// one is put into its cgroups, which holds up whoever forks or ends (cgroups(7)).
const QUIET_MS: u8 = 20;

/// The launcher's whole life; its socket is descriptor 0.
pub fn launcher_main() -> ExitCode {
    let Ok(host) = inherited_socket() else {
        return ExitCode::from(70);
    };
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.add(Signal::SIGINT);
    mask.add(Signal::SIGTERM);
    if mask.thread_block().is_err() {
        return ExitCode::from(70);
    }
    let Ok(signals) = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK) else {
        return ExitCode::from(70);
    };
    let Some(owner) = Owner::this() else {
        return ExitCode::from(70);
    };
    cgroup::remove_stale();
    let mut jails = Jails {
        owner,
        serial: 0,
        ready: None,
        wanted: false,
        live: HashMap::new(),
        gone: Vec::new(),
    };
    // While whoever started us brings what the first one is for.
    jails.ready = jails.prepare(&[]).ok();
    loop {
        let mut fds = [
            PollFd::new(host.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let wait = if jails.wanted {
            PollTimeout::from(QUIET_MS)
        } else if jails.gone.is_empty() {
            PollTimeout::NONE
        } else {
            PollTimeout::from(20u8)
        };
        let quiet = poll(&mut fds, wait) == Ok(0);
        let (asked, died) = (fds[0].any().unwrap_or(false), fds[1].any().unwrap_or(false));
        // A terminal's Ctrl-C reaches us too: the host decides, not the signal.
        while let Ok(Some(_)) = signals.read_signal() {}
        jails.reap();
        // Where none is left nobody is held up.
        let idle = died && jails.live.is_empty();
        if (quiet || idle) && !asked && std::mem::take(&mut jails.wanted) {
            jails.ready = jails.prepare(&[]).ok();
        }
        if asked {
            match wire::recv::<JailSpec>(host.as_fd()) {
                Ok((spec, fds)) => jails.launch(spec, fds),
                Err(_) => break,
            }
        }
    }
    jails.end();
    ExitCode::SUCCESS
}

struct Jails {
    /// Who answers for the cgroups: this process.
    owner: Owner,
    serial: u64,
    /// A jail that waits for its plan.
    ready: Option<Ready>,
    /// Such a one is to be made when all is quiet.
    wanted: bool,
    live: HashMap<i32, Cgroups>,
    /// cgroups whose last process is just leaving.
    gone: Vec<Cgroups>,
}

/// A jail that is built as far as it can be without a plan.
struct Ready {
    /// The child that waits for its PID 1.
    child: Pid,
    cgroups: Cgroups,
    /// Takes the [`Assignment`].
    socket: OwnedFd,
}

impl Jails {
    fn launch(&mut self, spec: JailSpec, fds: Vec<OwnedFd>) {
        let Ok([guest, reply]) = <[OwnedFd; 2]>::try_from(fds) else {
            return;
        };
        if let Err(StepError { step, errno }) = self.assign(spec, &guest, &reply) {
            let _ = wire::send(reply.as_fd(), &Launched::Failed { step, errno }, &[]);
        }
        self.wanted = self.ready.is_none();
    }

    /// Gives a waiting jail its plan.
    fn assign(&mut self, spec: JailSpec, guest: &OwnedFd, reply: &OwnedFd) -> Result<(), StepError> {
        let own = match sandbox::owner() {
            Some(_) => Some(Own::gather(&spec)?),
            None => None,
        };
        let mut fds: Vec<BorrowedFd<'_>> = vec![reply.as_fd(), guest.as_fd()];
        fds.extend(own.iter().flat_map(Own::fds));
        let mut assignment = Assignment {
            spec,
            bounds: Bounds::default(),
        };
        // One that has died waiting is replaced, once.
        for _ in 0..2 {
            // What waits has all its walls.
            let ready = match self.ready.take_if(|_| assignment.spec.off.is_empty()) {
                Some(ready) => ready,
                None => self.prepare(&assignment.spec.off)?,
            };
            assignment.bounds = ready.cgroups.limit(&assignment.spec);
            let sent = wire::send(ready.socket.as_fd(), &assignment, &fds);
            self.live.insert(ready.child.as_raw(), ready.cgroups);
            match sent {
                Ok(()) => return Ok(()),
                Err(wire::FrameError::TooLarge) => return Err(failed("send the plan", libc::EMSGSIZE)),
                Err(_) => {}
            }
        }
        Err(failed("start PID 1", libc::ECHILD))
    }

    /// Starts a jail that waits for its plan; `off` is what it leaves off.
    fn prepare(&mut self, off: &[Layer]) -> Result<Ready, StepError> {
        let no = |step: &str, e: std::io::Error| failed(step, e.raw_os_error().unwrap_or(libc::EIO));
        let (ours, theirs) = wire::pair().map_err(|e| no("socketpair", e))?;
        let (go, go_tell) = std::io::pipe().map_err(|e| no("pipe", e))?;
        let launcher = getpid();
        // SAFETY: this process is single-threaded, so the child may do anything.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                keep_only(go.as_fd(), theirs.as_fd());
                // It is put into its cgroups before it makes anything.
                let _ = std::io::Read::read(&mut { go }, &mut [0]);
                init::build(theirs, launcher, off);
                // SAFETY: leaves without running anything of the parent's.
                unsafe { libc::_exit(0) }
            }
            Ok(ForkResult::Parent { child }) => {
                self.serial += 1;
                let cgroups = if off.contains(&Layer::Cgroup) {
                    Cgroups::default()
                } else {
                    Cgroups::join(&self.owner, &self.serial.to_string(), child)
                };
                drop(go_tell);
                Ok(Ready {
                    child,
                    cgroups,
                    socket: ours,
                })
            }
            Err(errno) => Err(failed("fork", errno as i32)),
        }
    }

    fn reap(&mut self) {
        while let Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) =
            waitpid(None, Some(WaitPidFlag::WNOHANG))
        {
            self.gone.extend(self.live.remove(&pid.as_raw()));
            if let Some(ready) = self.ready.take_if(|ready| ready.child == pid) {
                self.gone.push(ready.cgroups);
            }
        }
        self.gone.retain_mut(|cgroups| !cgroups.remove());
    }

    /// Kills every jail and removes what was made for it; bounded.
    fn end(&mut self) {
        if let Some(ready) = self.ready.take() {
            self.live.insert(ready.child.as_raw(), ready.cgroups);
        }
        for pid in self.live.keys() {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        let give_up = Instant::now() + Duration::from_secs(4);
        while !(self.live.is_empty() && self.gone.is_empty()) && Instant::now() < give_up {
            self.reap();
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn failed(step: &str, errno: i32) -> StepError {
    StepError {
        step: step.to_owned(),
        errno,
    }
}

/// Closes what a child has inherited but stdio and these two (close_range(2)).
fn keep_only(one: BorrowedFd<'_>, other: BorrowedFd<'_>) {
    let mut kept = [one.as_raw_fd(), other.as_raw_fd()].map(|fd| fd.unsigned_abs());
    kept.sort_unstable();
    let gaps = [(3, kept[0] - 1), (kept[0] + 1, kept[1] - 1), (kept[1] + 1, u32::MAX)];
    for (first, last) in gaps.into_iter().filter(|(first, last)| first <= last) {
        // SAFETY: plain numbers; the child uses no other descriptor that is its own.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}
