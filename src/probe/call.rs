//! Raw system calls, and who it was that refused one.
#![allow(unsafe_code)]

use std::ffi::CString;

use super::{Answer, Layer};

/// Makes a system call; the error is its `errno`.
///
/// Arguments that are addresses are those of live values of the caller, or addresses at which
/// nothing is, which the kernel refuses. An act is run in a process that is thrown away.
pub(super) fn call(number: libc::c_long, args: &[usize]) -> Result<usize, i32> {
    let at = |index: usize| args.get(index).copied().unwrap_or(0);
    // SAFETY: see above; every caller in this room names what it passes.
    let got = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    usize::try_from(got).map_err(|_| last_errno())
}

/// The `errno` of the call before.
pub(super) fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The `errno` of an error.
pub(super) fn errno_of(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// A path for the kernel; one with a NUL byte names nothing.
pub(super) fn c(path: &str) -> CString {
    CString::new(path).unwrap_or_default()
}

/// The address of a string or a buffer that the kernel reads, as an argument.
pub(super) fn at<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).cast::<u8>() as usize
}

/// The address of a buffer that the kernel may write to.
pub(super) fn at_mut<T: ?Sized>(value: &mut T) -> usize {
    std::ptr::from_mut(value).cast::<u8>() as usize
}

/// An address at which nothing is.
pub(super) const NOWHERE: usize = 1;

/// Tries a call that a filter is to refuse. To tell the filter from the kernel behind it the
/// call is made once more with arguments (`wrong`) that the kernel itself refuses in another
/// way before it asks who is calling: a filter does not look at them.
pub(super) fn filtered(number: libc::c_long, args: &[usize], wrong: &[usize]) -> Answer {
    match call(number, args) {
        Ok(_) => Answer::Done("the call succeeded".to_owned()),
        Err(errno) if call(number, wrong) == Err(errno) => Answer::by(errno, Layer::Seccomp),
        Err(errno) => Answer::refused(errno),
    }
}

/// Which layer kept a file from being opened or changed: `mode` is what was wanted of it
/// (access(2)). Landlock does not mediate access(2), so what that allows and open(2) does not
/// is landlock's refusal.
pub(super) fn file_refusal(path: &str, errno: i32, mode: libc::c_int) -> Answer {
    let allowed = || {
        let path = c(path);
        call(
            libc::SYS_faccessat,
            &[libc::AT_FDCWD as usize, path.as_ptr() as usize, mode as usize],
        )
    };
    let by = match errno {
        libc::ENOENT | libc::ENOTDIR => Some(Layer::Root),
        libc::EROFS => Some(Layer::ReadOnly),
        libc::EACCES => match allowed() {
            Ok(_) => Some(Layer::Landlock),
            Err(libc::EROFS) => Some(Layer::ReadOnly),
            Err(libc::EACCES) => Some(Layer::Ids),
            Err(_) => None,
        },
        _ => None,
    };
    Answer::Refused { errno, by }
}

/// Who refused to let a process be signalled: the kernel asks for its ids first, and landlock
/// only where they allow it (kill(2)).
pub(super) fn signal_refusal(pid: i32, errno: i32) -> Answer {
    let by = match errno {
        libc::ESRCH => Some(Layer::PidNamespace),
        libc::EPERM if owner_of(pid).is_some_and(|owner| owner == own_uid()) => Some(Layer::Landlock),
        libc::EPERM => Some(Layer::Ids),
        _ => None,
    };
    Answer::Refused { errno, by }
}

/// This process's user id.
pub(super) fn own_uid() -> u32 {
    // SAFETY: no arguments (getuid(2)).
    unsafe { libc::geteuid() }
}

/// The user id of a process, as `/proc` tells it (proc_pid_status(5)).
fn owner_of(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}
