//! Removing and measuring trees that an untrusted process filled.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, renameat},
    sys::stat::SFlag,
    unistd::{UnlinkatFlags, unlinkat},
};

use super::{
    TreeError, at,
    content::shown,
    walk::{Sight, Walk},
};

/// Removes a directory whatever an untrusted process left in it: directories of
/// mode 000, any depth, any number of entries. A link at `dir` itself is removed,
/// not followed. Nothing else may be writing to it.
///
/// Depth is undone by moving every sub-directory that is not empty up to the top
/// before it is looked into, so no descriptor, stack or path grows with it.
///
/// # Errors
/// The first thing that could not be removed (a mount point, somebody else's file).
pub fn remove_all(dir: &Path) -> Result<(), TreeError> {
    let fail = |error: io::Error| TreeError::io("remove", shown(dir))(error);
    let (parent, name) = (
        dir.parent().unwrap_or(Path::new("/")),
        dir.file_name().unwrap_or_default(),
    );
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let parent = at::open_root(parent).map_err(fail)?;
    let name = std::os::unix::ffi::OsStrExt::as_bytes(name);
    match at::stat_name(&parent, name).map_err(fail)? {
        None => return Ok(()),
        Some(stat) if at::kind_of(&stat) != SFlag::S_IFDIR => {
            return unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir).map_err(|error| fail(error.into()));
        }
        Some(_) => {}
    }
    let top = open_to_empty(&parent, name).map_err(fail)?;
    Remover { top: &top, moved: 0 }.run().map_err(fail)?;
    unlinkat(&parent, name, UnlinkatFlags::RemoveDir).map_err(|error| fail(error.into()))
}

/// Opens a directory whose entries are to be removed, and gives its owner the right to.
fn open_to_empty(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let handle = at::open_name(parent.as_fd(), name, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
    let mode = nix::sys::stat::fstat(&handle)?.st_mode;
    if mode & 0o700 != 0o700 {
        at::chmod_handle(&handle, 0o700)?;
    }
    at::open_name(parent, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)
}

struct Remover<'a> {
    top: &'a OwnedFd,
    moved: u64,
}

impl Remover<'_> {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let names = at::names(self.top)?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                if !remove_one(self.top, &name)? {
                    let dir = open_to_empty(self.top, &name)?;
                    for inner in at::names(&dir)? {
                        if !remove_one(&dir, &inner)? {
                            self.move_up(&dir, &inner)?;
                        }
                    }
                    unlinkat(self.top, name.as_slice(), UnlinkatFlags::RemoveDir)?;
                }
            }
        }
    }

    /// Moves a sub-directory to the top under a name that nothing else has.
    fn move_up(&mut self, dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
        // Moving a directory rewrites its `..`, for which it must be writable (rename(2)).
        drop(open_to_empty(dir, name)?);
        loop {
            let new = format!("{}", self.moved);
            self.moved += 1;
            match renameat(dir, name, self.top, new.as_bytes()) {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Removes a non-directory or an empty directory; `false` for a directory with something in it.
fn remove_one(dir: &OwnedFd, name: &[u8]) -> io::Result<bool> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(true),
        // Linux says EISDIR where POSIX says EPERM.
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    match unlinkat(dir, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Bytes on disk and inodes below a directory, for polling the cap of a live
/// workspace: entries that vanish meanwhile are not counted, and the walk ends as
/// soon as the bytes exceed `stop_after_bytes`. A hard-linked file counts once per name.
///
/// # Errors
/// [`TreeError::Limit`] where the tree is deeper than the kernel can name or holds
/// too many entries to count: no honest workspace is, so it counts as over the cap.
pub fn usage(dir: &Path, stop_after_bytes: u64) -> Result<(u64, u64), TreeError> {
    let root = at::open_root(dir).map_err(TreeError::io("open", shown(dir)))?;
    let (mut bytes, mut inodes) = (0u64, 0u64);
    let walk = Walk {
        max_entries: 16_000_000,
        force: true,
    };
    walk.run(&root, &mut |sight| match sight {
        Sight::Thing { stat, .. } => {
            inodes += 1;
            bytes = bytes.saturating_add(stat.st_blocks.cast_unsigned().saturating_mul(512));
            Ok(bytes <= stop_after_bytes)
        }
        Sight::Closed { error, .. } if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Sight::Closed { path, error } => Err(TreeError::Limit(format!("{path} cannot be measured: {error}"))),
    })?;
    Ok((bytes, inodes))
}
