//! File calls relative to an open directory; no component of a path is ever followed through a link.

#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat},
    sys::stat::{FileStat, Mode, SFlag, fstatat, mknodat},
    unistd::{Gid, Uid, fchownat},
};

use crate::names::RelPath;

/// Owner and group that new files get; only root can give files away.
pub(super) type Owner = Option<(u32, u32)>;

/// Opens a directory by a path of our own (links in it are followed).
pub(super) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(
        path,
        OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

/// Opens `path` below `root` with openat2(2): no link in any component, nothing above `root`.
pub(super) fn open_beneath(root: impl AsFd, path: &RelPath, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(root, path.as_bytes(), how)?)
}

/// Opens a directory below `root` for listing; `None` is the root itself.
pub(super) fn open_dir(root: impl AsFd, path: Option<&RelPath>) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    match path {
        Some(path) => open_beneath(root, path, flags),
        None => Ok(openat(root, c".", flags, Mode::empty())?),
    }
}

/// Opens one name in `dir`, never through a link and never blocking on a fifo.
pub(super) fn open_name(dir: impl AsFd, name: &[u8], flags: OFlag, mode: u32) -> io::Result<OwnedFd> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    Ok(openat(dir, name, flags, Mode::from_bits_truncate(mode))?)
}

/// Opens one name in `dir` even where its owner has taken away his own
/// permission. The mode of a file is put back at once; a directory stays open
/// to its owner (`0700` added), or its contents could not be looked at.
pub(super) fn open_name_forced(dir: impl AsFd, name: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
    match open_name(dir.as_fd(), name, flags, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            let handle = open_name(dir.as_fd(), name, OFlag::O_PATH, 0)?;
            let before = nix::sys::stat::fstat(&handle)?.st_mode & 0o7777;
            chmod_handle(&handle, before | 0o700)?;
            let opened = open_name(dir, name, flags, 0);
            if !flags.contains(OFlag::O_DIRECTORY) {
                chmod_handle(&handle, before)?;
            }
            opened
        }
        other => other,
    }
}

/// chmod(2) of what an `O_PATH` descriptor stands for (fchmod(2) refuses those).
pub(super) fn chmod_handle(handle: &OwnedFd, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// The names in a directory, without `.` and `..`, sorted.
pub(super) fn names(dir: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    let mut listing = Dir::openat(
        dir,
        c".",
        OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    for entry in listing.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// lstat of one name; `None` when there is none.
pub(super) fn stat_name(dir: impl AsFd, name: &[u8]) -> io::Result<Option<FileStat>> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The target of the link `name`, raw.
pub(super) fn read_link(dir: impl AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(readlinkat(dir, name)?.into_vec())
}

/// The type bits of a mode.
pub(super) fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// An overlay whiteout: character device 0:0 (kernel, filesystems/overlayfs.rst).
pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    kind_of(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

/// Makes an overlay whiteout; any user may (mknod(2), Linux 5.8).
pub(super) fn make_whiteout(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(mknodat(dir, name, SFlag::S_IFCHR, Mode::empty(), 0)?)
}

/// Gives `name` itself (not what it links to) to `owner`, where there is one.
pub(super) fn give(dir: impl AsFd, name: &[u8], owner: Owner) -> io::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    Ok(fchownat(
        dir,
        name,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        flags,
    )?)
}

/// The first bytes of an extended attribute of an open file; `None` when it has none.
pub(super) fn xattr(file: impl AsFd, name: &std::ffi::CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = [0u8; 16];
    // SAFETY: the name is NUL-terminated, and the buffer is writable for the length given.
    let got = unsafe {
        libc::fgetxattr(
            file.as_fd().as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    match (usize::try_from(got), io::Error::last_os_error()) {
        (Ok(length), _) => Ok(Some(value[..length].to_vec())),
        (Err(_), error) => match error.raw_os_error() {
            Some(libc::ENODATA | libc::ENOTSUP) => Ok(None),
            // Longer than anything that we look for: present.
            Some(libc::ERANGE) => Ok(Some(Vec::new())),
            _ => Err(error),
        },
    }
}

/// The file behind a descriptor when it is a regular one.
pub(super) fn regular(fd: OwnedFd) -> io::Result<(File, FileStat)> {
    let stat = nix::sys::stat::fstat(&fd)?;
    if kind_of(&stat) != SFlag::S_IFREG {
        return Err(io::Error::other("not a regular file"));
    }
    Ok((File::from(fd), stat))
}

/// Sets an extended attribute of an open file.
#[cfg(test)]
pub(super) fn set_xattr(file: impl AsFd, name: &std::ffi::CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: the name is NUL-terminated, and the value is readable for the length given.
    let done = unsafe {
        libc::fsetxattr(
            file.as_fd().as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
