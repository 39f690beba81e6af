//! The bounded walk that every scan of an untrusted tree uses.
//!
//! Iterative, one directory descriptor at a time (so no depth exhausts
//! descriptors or the stack), never through a link, and bounded in entries and
//! in bytes of names. What lies deeper than the kernel can name in one path
//! (`PATH_MAX`) is reported, not entered.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    fcntl::OFlag,
    sys::stat::{FileStat, SFlag},
};

use super::{TreeError, at};
use crate::names::RelPath;

/// Most bytes of paths that one walk may bring up: memory, not disk.
const MAX_PATH_BYTES: u64 = 1 << 30;

/// What the walk comes across.
pub(super) enum Sight<'a> {
    /// Something by its name; a directory comes before its contents.
    Thing {
        /// The directory that holds it.
        dir: BorrowedFd<'a>,
        /// Where it is.
        path: &'a RelPath,
        /// lstat(2) of it.
        stat: &'a FileStat,
    },
    /// A directory that could not be listed, or whose contents cannot be named.
    Closed {
        /// The directory.
        path: &'a RelPath,
        /// Why.
        error: io::Error,
    },
}

/// How a walk goes.
pub(super) struct Walk {
    /// Most entries seen before the walk ends with [`TreeError::Limit`].
    pub max_entries: u64,
    /// Lend ourselves permissions that the owner took away (see [`at::open_name_forced`]).
    pub force: bool,
}

/// A directory under way and its sub-directories still to come.
struct Frame {
    dir: Option<RelPath>,
    pending: std::vec::IntoIter<Vec<u8>>,
}

impl Walk {
    /// Walks below `root`. `visit` says whether a directory is entered (its answer counts for nothing else).
    pub(super) fn run(
        &self,
        root: &OwnedFd,
        visit: &mut dyn FnMut(Sight<'_>) -> Result<bool, TreeError>,
    ) -> Result<(), TreeError> {
        let mut entries = 0;
        let mut path_bytes = 0;
        let top = at::open_dir(root, None).map_err(TreeError::io("open", "the root of the tree"))?;
        let mut stack = vec![self.list(top, None, &mut entries, &mut path_bytes, visit)?];
        while let Some(frame) = stack.last_mut() {
            let Some(name) = frame.pending.next() else {
                stack.pop();
                continue;
            };
            // Names that did not fit a path were reported when their directory was listed.
            let Ok(path) = joined(frame.dir.as_ref(), &name) else {
                continue;
            };
            let opened = self.open(root, frame.dir.as_ref(), &path, &name);
            match opened {
                Ok(dir) => stack.push(self.list(dir, Some(path), &mut entries, &mut path_bytes, visit)?),
                Err(error) => {
                    visit(Sight::Closed { path: &path, error })?;
                }
            }
        }
        Ok(())
    }

    fn open(&self, root: &OwnedFd, parent: Option<&RelPath>, path: &RelPath, name: &[u8]) -> io::Result<OwnedFd> {
        match at::open_dir(root, Some(path)) {
            Err(error) if self.force && error.raw_os_error() == Some(libc::EACCES) => {
                let parent = at::open_dir(root, parent)?;
                at::open_name_forced(&parent, name, OFlag::O_DIRECTORY | OFlag::O_RDONLY)
            }
            other => other,
        }
    }

    fn list(
        &self,
        dir: OwnedFd,
        path: Option<RelPath>,
        entries: &mut u64,
        path_bytes: &mut u64,
        visit: &mut dyn FnMut(Sight<'_>) -> Result<bool, TreeError>,
    ) -> Result<Frame, TreeError> {
        let mut pending = Vec::new();
        let here = |path: &Option<RelPath>| path.as_ref().map_or(".".into(), ToString::to_string);
        for name in at::names(&dir).map_err(TreeError::io("list", here(&path)))? {
            *entries += 1;
            if *entries > self.max_entries {
                return Err(TreeError::Limit(format!(
                    "the tree holds more than {} entries",
                    self.max_entries
                )));
            }
            let full = match joined(path.as_ref(), &name) {
                Ok(full) => full,
                Err(_) => {
                    if let Some(path) = &path {
                        let error = io::Error::from_raw_os_error(libc::ENAMETOOLONG);
                        visit(Sight::Closed { path, error })?;
                    }
                    continue;
                }
            };
            *path_bytes += full.as_bytes().len() as u64;
            if *path_bytes > MAX_PATH_BYTES {
                return Err(TreeError::Limit(format!(
                    "the names in the tree exceed {MAX_PATH_BYTES} bytes"
                )));
            }
            let stat = match at::stat_name(&dir, &name) {
                Ok(Some(stat)) => stat,
                Ok(None) => continue,
                // A directory that may be listed but not searched.
                Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
                    visit(Sight::Closed { path: &full, error })?;
                    continue;
                }
                Err(error) => return Err(TreeError::io("stat", &full)(error)),
            };
            let enter = visit(Sight::Thing {
                dir: dir.as_fd(),
                path: &full,
                stat: &stat,
            })?;
            if enter && at::kind_of(&stat) == SFlag::S_IFDIR {
                pending.push(name);
            }
        }
        Ok(Frame {
            dir: path,
            pending: pending.into_iter(),
        })
    }
}

fn joined(dir: Option<&RelPath>, name: &[u8]) -> Result<RelPath, crate::names::RelPathError> {
    match dir {
        Some(dir) => dir.join(name),
        None => RelPath::new(name),
    }
}
