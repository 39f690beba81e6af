//! The user namespace that every command enters: its own id pair, no further namespaces.
#![allow(unsafe_code)]

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sched::{CloneFlags, unshare},
    sys::{stat::Mode, wait::waitpid},
    unistd::{ForkResult, fork, getegid, geteuid},
};

use super::Failure;
use crate::wire;

/// Makes it (user_namespaces(7)): one id pair mapped to the caller's, `setgroups`
/// denied, no namespaces below. It lives as long as the descriptor; the process that
/// made it is gone when this returns. `sysctl_user` is `/proc/sys/user`, opened while
/// it could be written: it acts on the namespace of whoever opens its files.
pub(crate) fn nest(uid: u32, gid: u32, sysctl_user: &OwnedFd) -> Result<OwnedFd, Failure> {
    let failed = |errno| Failure::new("nest a user namespace", errno);
    let (ours, theirs) = wire::pair().map_err(|e| Failure::io("socketpair", &e))?;
    // SAFETY: this process is single-threaded, so the child may do anything.
    match unsafe { fork() }.map_err(|e| Failure::new("fork", e))? {
        ForkResult::Child => {
            let _ = match make(uid, gid, sysctl_user) {
                Ok(namespace) => wire::send(theirs.as_fd(), &0, &[namespace.as_fd()]),
                Err(e) => wire::send(theirs.as_fd(), &e.raw_os_error().unwrap_or(libc::EIO), &[]),
            };
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(theirs);
            let told = wire::recv::<i32>(ours.as_fd());
            let _ = waitpid(child, None);
            match told {
                Ok((0, mut fds)) => fds.pop().ok_or_else(|| failed(Errno::EBADF)),
                Ok((errno, _)) => Err(failed(Errno::from_raw(errno))),
                Err(_) => Err(failed(Errno::ECHILD)),
            }
        }
    }
}

fn make(uid: u32, gid: u32, sysctl_user: &OwnedFd) -> io::Result<OwnedFd> {
    // As seen from the namespace above.
    let (outer_uid, outer_gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {outer_uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {outer_gid} 1"))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let limit = openat(sysctl_user, "max_user_namespaces", flags, Mode::empty())?;
    io::Write::write_all(&mut fs::File::from(limit), b"0")?;
    Ok(fs::File::open("/proc/self/ns/user")?.into())
}
