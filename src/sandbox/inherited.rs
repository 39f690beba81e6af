//! What a process of ours is started with.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
};

/// Takes the host's socket from descriptor 0, where the host put it for a process of
/// this program that it started. To be called once, before anything else is opened.
///
/// # Errors
/// When there is none.
pub(super) fn inherited_socket() -> io::Result<OwnedFd> {
    // SAFETY: the host put its socket there for us and nothing else uses it.
    let socket = unsafe { OwnedFd::from_raw_fd(0) };
    let kept = nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    drop(socket);
    // Descriptors 0 to 2 stay taken, so that nothing received ever lands there.
    std::fs::File::open("/dev/null").map(std::mem::forget)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(kept) })
}
