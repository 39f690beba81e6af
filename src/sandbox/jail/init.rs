//! From a launcher's child to PID 1 of a jail: this order is the documentation.
//!
//!  1. \[root\] detached copies of the layers, while they can be reached
//!  2. \[root\] supplementary groups dropped, ids set to [`JAIL_UID`](super::spec::JAIL_UID)
//!  3. `PR_SET_PDEATHSIG`, after the ids because changing them clears it
//!  4. `unshare(2)`: the user namespace; one id mapped to 0 inside, `setgroups`
//!     denied: the host's root never appears
//!  5. `unshare(2)`: mount, pid, network, ipc, uts and cgroup namespaces, one by
//!     one, so that a refusal names the one
//!  6. \[not root\] detached copies of the layers
//!  7. fork: the child is PID 1
//!  8. new root, workspace overlay, `/proc`, `pivot_root` (`root.rs`)
//!  9. host name, loopback up, a session keyring of its own, umask
//! 10. the guest supervisor serves
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal, wait::waitpid},
    unistd::{
        ForkResult, Gid, Pid, Uid, fork, getegid, geteuid, getppid, setgroups, sethostname, setresgid, setresuid,
    },
};

use super::{
    root::{self, Pieces},
    spec::{JailSpec, Launched, Step, StepError, owner},
};
use crate::{
    guest::{self, Guest, GuestStart},
    wire,
};

/// Lives in the launcher's child: builds the jail, reports on `reply`, waits for
/// its init and returns.
pub(super) fn build(spec: &JailSpec, guest: OwnedFd, reply: OwnedFd, cgroups: Vec<String>, launcher: Pid) {
    let fail = |e: StepError| {
        let _ = wire::send(
            reply.as_fd(),
            &Launched::Failed {
                step: e.step,
                errno: e.errno,
            },
            &[],
        );
    };
    let pieces = match prepare(spec, launcher) {
        Ok(pieces) => pieces,
        Err(e) => return fail(e),
    };
    let (ready, ready_tell) = match wire::pair() {
        Ok(pair) => pair,
        Err(e) => {
            return fail(StepError {
                step: "socketpair".to_owned(),
                errno: e.raw_os_error().unwrap_or(0),
            });
        }
    };
    // SAFETY: this process is single-threaded, so the child may do anything.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            drop((ready, reply));
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(i32::from(init(spec, guest, pieces, ready_tell))) }
        }
        Ok(ForkResult::Parent { child }) => {
            drop((guest, ready_tell, pieces));
            match wire::recv::<Launched>(ready.as_fd()) {
                Ok((Launched::Failed { step, errno }, _)) => fail(StepError { step, errno }),
                Ok((Launched::Built { landlock_abi, .. }, _)) => match pidfd(child) {
                    Ok(fd) => {
                        let built = Launched::Built { cgroups, landlock_abi };
                        let _ = wire::send(reply.as_fd(), &built, &[fd.as_fd()]);
                    }
                    Err(e) => fail(e),
                },
                Err(_) => fail(StepError {
                    step: "start PID 1".to_owned(),
                    errno: libc::ECHILD,
                }),
            }
            drop(reply);
            let _ = waitpid(child, None);
        }
        Err(errno) => fail(StepError {
            step: "fork PID 1".to_owned(),
            errno: errno as i32,
        }),
    }
}

fn prepare(spec: &JailSpec, launcher: Pid) -> Result<Pieces, StepError> {
    let early = match owner() {
        Some(id) => {
            let pieces = Pieces::gather(spec)?;
            let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
            setgroups(&[]).step("setgroups")?;
            setresgid(gid, gid, gid).step("setresgid")?;
            setresuid(uid, uid, uid).step("setresuid")?;
            // Changing ids hid /proc/self from us; the maps are written there.
            prctl::set_dumpable(true).step("PR_SET_DUMPABLE")?;
            Some(pieces)
        }
        None => None,
    };
    die_with(launcher)?;
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).step("unshare user namespace")?;
    std::fs::write("/proc/self/setgroups", "deny").step("write setgroups")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).step("write uid_map")?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).step("write gid_map")?;
    for (namespace, flag) in [
        ("mount", CloneFlags::CLONE_NEWNS),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("network", CloneFlags::CLONE_NEWNET),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ] {
        unshare(flag).step(&format!("unshare {namespace} namespace"))?;
    }
    match early {
        Some(pieces) => Ok(pieces),
        None => Pieces::gather(spec),
    }
}

/// SIGKILL when the parent goes; a parent that is gone already is an error.
fn die_with(parent: Pid) -> Result<(), StepError> {
    prctl::set_pdeathsig(Signal::SIGKILL).step("PR_SET_PDEATHSIG")?;
    if getppid() != parent {
        return Err(StepError {
            step: "find the parent alive".to_owned(),
            errno: libc::ESRCH,
        });
    }
    Ok(())
}

fn init(spec: &JailSpec, guest: OwnedFd, pieces: Pieces, ready: OwnedFd) -> u8 {
    let built = settle(spec, pieces).and_then(|sysctl_user| {
        let start = GuestStart {
            socket: guest,
            confinement: spec.confinement.clone(),
            sysctl_user: Some(sysctl_user),
        };
        Guest::new(start).map_err(|refused| StepError {
            step: refused.step,
            errno: refused.errno.unwrap_or(libc::EIO),
        })
    });
    let (told, guest) = match built {
        Ok(guest) => {
            let landlock_abi = guest::landlock_abi();
            let cgroups = Vec::new();
            (Launched::Built { cgroups, landlock_abi }, Some(guest))
        }
        Err(StepError { step, errno }) => (Launched::Failed { step, errno }, None),
    };
    let _ = wire::send(ready.as_fd(), &told, &[]);
    drop(ready);
    guest.map_or(1, Guest::serve)
}

fn settle(spec: &JailSpec, pieces: Pieces) -> Result<OwnedFd, StepError> {
    // In a new pid namespace the parent's pid reads as 0.
    die_with(Pid::from_raw(0))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let sysctl_user = root::enter(spec, pieces)?;
    sethostname("sandbox").step("sethostname")?;
    loopback_up().step("bring the loopback up")?;
    // SAFETY: numbers and a null pointer (KEYCTL_JOIN_SESSION_KEYRING(2const)).
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0usize) };
    match Errno::result(joined) {
        // A kernel without keyrings has none to inherit.
        Ok(_) | Err(Errno::ENOSYS) => {}
        Err(errno) => return Err(errno).step("join a session keyring"),
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    Ok(sysctl_user)
}

fn loopback_up() -> nix::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an all-zero ifreq is valid (netdevice(7)).
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request outlives the call and is an ifreq as SIOCSIFFLAGS wants.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })?;
    Ok(())
}

fn pidfd(pid: Pid) -> Result<OwnedFd, StepError> {
    // SAFETY: plain numbers (pidfd_open(2)).
    let raw = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) }).step("pidfd_open")?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as i32) })
}
