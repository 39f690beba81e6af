//! The new mount API (mount_setattr(2), open_tree(2), move_mount(2), fsopen(2)),
//! which neither libc nor nix wraps. No "locked flag" dance: attributes are added.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::errno::Errno;

/// `MOUNT_ATTR_*` (mount_setattr(2)).
pub(super) const RDONLY: u64 = 0x1;
pub(super) const NOSUID: u64 = 0x2;
pub(super) const NODEV: u64 = 0x4;

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn c(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn fd(result: libc::c_long) -> io::Result<OwnedFd> {
    let raw = Errno::result(result)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as i32) })
}

/// A detached copy of the mounts at and below `path`.
pub(super) fn open_tree(path: &Path) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as u32;
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and outlives the call.
    fd(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Adds attributes to a mount, and to those below it when `recursive`.
pub(super) fn set_attributes(mount: &OwnedFd, set: u64, recursive: bool) -> io::Result<()> {
    attributes(
        mount.as_raw_fd(),
        c"",
        set,
        libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 },
    )
}

/// Adds attributes to the mount at `path`, not below.
pub(super) fn set_attributes_at(path: &CStr, set: u64) -> io::Result<()> {
    attributes(libc::AT_FDCWD, path, set, 0)
}

fn attributes(dir: i32, path: &CStr, set: u64, flags: i32) -> io::Result<()> {
    let attr = MountAttr {
        set,
        clear: 0,
        propagation: 0,
        userns: 0,
    };
    // SAFETY: path and struct outlive the call; the size is the struct's (MOUNT_ATTR_SIZE_VER0).
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            flags,
            &attr,
            std::mem::size_of::<MountAttr>(),
        )
    };
    Errno::result(done)?;
    Ok(())
}

/// Attaches a detached mount at `target`.
pub(super) fn attach(mount: &OwnedFd, target: &Path) -> io::Result<()> {
    const FROM_EMPTY_PATH: u32 = 0x4;
    let target = c(target)?;
    // SAFETY: both paths are NUL-terminated and outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            FROM_EMPTY_PATH,
        )
    };
    Errno::result(done)?;
    Ok(())
}

/// One option of a new file system.
pub(super) enum Opt<'a> {
    /// A bare word.
    Flag(&'a CStr),
    /// A key and its text.
    Text(&'a CStr, &'a CStr),
}

/// Makes a file system and gives its detached mount.
pub(super) fn make(kind: &CStr, options: &[Opt<'_>], attributes: u64) -> io::Result<OwnedFd> {
    const CLOEXEC: u32 = 1;
    const SET_FLAG: u32 = 0;
    const SET_STRING: u32 = 1;
    const CREATE: u32 = 6;
    // SAFETY: `kind` is NUL-terminated.
    let context = fd(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) })?;
    let configure = |command: u32, key: *const libc::c_char, value: *const libc::c_char| {
        // SAFETY: key and value are NUL-terminated or null, as the command asks (fsconfig(2)).
        let done = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) };
        Errno::result(done).map(|_| ())
    };
    for option in options {
        match option {
            Opt::Flag(key) => configure(SET_FLAG, key.as_ptr(), std::ptr::null())?,
            Opt::Text(key, value) => configure(SET_STRING, key.as_ptr(), value.as_ptr())?,
        }
    }
    configure(CREATE, std::ptr::null(), std::ptr::null())?;
    // SAFETY: plain numbers.
    fd(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, attributes) })
}
