//! The launcher: a single-threaded process that forks jails for one host process.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, so jails cannot be
//! forked from the host's thread pool. When the host goes, however it goes, the
//! socket ends, the launcher ends, and with it (by that signal) every jail.
#![allow(unsafe_code)]

use std::{
    collections::HashMap,
    os::fd::{AsFd, FromRawFd, OwnedFd},
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
    spec::{JailSpec, Launched},
};
use crate::wire;

/// The launcher's whole life; its socket is descriptor 0.
pub fn launcher_main() -> ExitCode {
    // SAFETY: the host put its socket there for us and nothing else uses it.
    let socket = unsafe { OwnedFd::from_raw_fd(0) };
    let Ok(kept) = nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3)) else {
        return ExitCode::from(70);
    };
    // SAFETY: the kernel has just made this descriptor for us.
    let host = unsafe { OwnedFd::from_raw_fd(kept) };
    drop(socket);
    // Descriptors 0 to 2 stay taken, so that nothing received ever lands there.
    if std::fs::File::open("/dev/null").map(std::mem::forget).is_err() {
        return ExitCode::from(70);
    }
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
        live: HashMap::new(),
        gone: Vec::new(),
    };
    loop {
        let mut fds = [
            PollFd::new(host.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let wait = if jails.gone.is_empty() {
            PollTimeout::NONE
        } else {
            PollTimeout::from(20u8)
        };
        let _ = poll(&mut fds, wait);
        let asked = fds[0].any().unwrap_or(false);
        // A terminal's Ctrl-C reaches us too: the host decides, not the signal.
        while let Ok(Some(_)) = signals.read_signal() {}
        jails.reap();
        if asked {
            match wire::recv::<JailSpec>(host.as_fd()) {
                Ok((spec, fds)) => jails.launch(&spec, fds, &host),
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
    live: HashMap<i32, Cgroups>,
    /// cgroups whose last process is just leaving.
    gone: Vec<Cgroups>,
}

impl Jails {
    fn launch(&mut self, spec: &JailSpec, fds: Vec<OwnedFd>, host: &OwnedFd) {
        let Ok([guest, reply]) = <[OwnedFd; 2]>::try_from(fds) else {
            return;
        };
        let launcher = getpid();
        let Ok((go, go_tell)) = std::io::pipe() else { return };
        // SAFETY: this process is single-threaded, so the child may do anything.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                drop(go_tell);
                let _ = nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(host));
                let mut told = String::new();
                let _ = std::io::Read::read_to_string(&mut { go }, &mut told);
                let cgroups = told.split_whitespace().map(str::to_owned).collect();
                init::build(spec, guest, reply, cgroups, launcher);
                // SAFETY: leaves without running anything of the parent's.
                unsafe { libc::_exit(0) }
            }
            Ok(ForkResult::Parent { child }) => {
                drop(go);
                let cgroups = Cgroups::join(spec, &self.owner, child);
                let _ = std::io::Write::write_all(&mut { go_tell }, cgroups.bounded.join(" ").as_bytes());
                self.live.insert(child.as_raw(), cgroups);
            }
            Err(errno) => {
                let failed = Launched::Failed {
                    step: "fork".to_owned(),
                    errno: errno as i32,
                };
                let _ = wire::send(reply.as_fd(), &failed, &[]);
            }
        }
    }

    fn reap(&mut self) {
        while let Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) =
            waitpid(None, Some(WaitPidFlag::WNOHANG))
        {
            self.gone.extend(self.live.remove(&pid.as_raw()));
        }
        self.gone.retain_mut(|cgroups| !cgroups.remove());
    }

    /// Kills every jail and removes what was made for it; bounded.
    fn end(&mut self) {
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
