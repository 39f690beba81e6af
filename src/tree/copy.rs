//! A workspace that is a copy: the same layers, laid over one another by hand.

use std::{
    fs::File,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat},
    unistd::symlinkat,
};

use super::{
    TreeError, at, content,
    content::shown,
    freeze,
    ingest::OpenDir,
    layer::{give_root, is_sparse, keep_mtime, make_dir, staged},
    remove_all,
    walk::{Sight, Walk},
};
use crate::names::RelPath;

/// Copies what `lowers` (lowest first, in overlay upper format) show together to `dir`,
/// which appears there whole or not at all. `owner`: who gets it when we are root.
///
/// # Errors
/// When a layer cannot be read or the copy not be written.
pub fn lay_copy(lowers: &[PathBuf], dir: &Path, owner: Option<(u32, u32)>) -> Result<(), TreeError> {
    staged(dir, |part| {
        give_root(part, owner)?;
        let root = at::open_root(part).map_err(TreeError::io("open", shown(part)))?;
        let mut copy = Copy {
            part,
            root,
            owner,
            parent: OpenDir::default(),
            buffer: content::buffer(),
            over: false,
        };
        for lower in lowers {
            copy.lay(lower)?;
            copy.over = true;
        }
        Ok(())
    })
}

/// A copy under way. Nobody else writes to it or to the layers.
struct Copy<'a> {
    part: &'a Path,
    root: OwnedFd,
    owner: at::Owner,
    parent: OpenDir,
    buffer: Vec<u8>,
    /// Something may be there already, from a layer below.
    over: bool,
}

impl Copy<'_> {
    fn lay(&mut self, lower: &Path) -> Result<(), TreeError> {
        let from = at::open_root(lower).map_err(TreeError::io("open", shown(lower)))?;
        let walk = Walk {
            max_entries: freeze::MAX_ENTRIES,
            force: false,
        };
        walk.run(&from, &mut |sight| match sight {
            Sight::Thing { path, stat, .. } if at::is_whiteout(stat) => self.remove(path).map(|()| false),
            Sight::Thing { dir, path, stat } => self.put(dir, path, stat),
            Sight::Closed { path, error } => Err(TreeError::io::<std::io::Error>("read", path)(error)),
        })
    }

    fn remove(&mut self, path: &RelPath) -> Result<(), TreeError> {
        match self.over {
            // All above it are directories here, as they are in the layer.
            true => remove_all(&self.part.join(path.as_path())),
            false => Ok(()),
        }
    }

    /// Whether it is a directory to be entered.
    fn put(&mut self, dir: BorrowedFd<'_>, path: &RelPath, stat: &FileStat) -> Result<bool, TreeError> {
        let fail = |what| TreeError::io::<std::io::Error>(what, path);
        let name = path.file_name();
        let kind = at::kind_of(stat);
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o777);
        let is_dir = kind == SFlag::S_IFDIR;
        let hides = is_dir && freeze::is_opaque(dir, path)?;
        let there = if self.over {
            let parent = self.parent.of(&self.root, path).map_err(fail("open the parent of"))?;
            at::stat_name(parent, name).map_err(fail("look at"))?
        } else {
            None
        };
        let merges = there.is_some_and(|there| is_dir && !hides && at::kind_of(&there) == SFlag::S_IFDIR);
        if there.is_some() && !merges {
            self.remove(path)?;
        }
        let owner = self.owner;
        let parent = self.parent.of(&self.root, path).map_err(fail("open the parent of"))?;
        match kind {
            SFlag::S_IFDIR if merges => {
                fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink)
                    .map_err(TreeError::io("set the mode of", path))?;
            }
            SFlag::S_IFDIR => make_dir(parent, name, mode.bits(), owner).map_err(fail("make"))?,
            SFlag::S_IFLNK => {
                let target = at::read_link(dir, name).map_err(fail("read link"))?;
                symlinkat(target.as_slice(), parent, name).map_err(TreeError::io("link", path))?;
                at::give(parent, name, owner).map_err(fail("give away"))?;
            }
            SFlag::S_IFREG => {
                let opened = at::open_name(dir, name, OFlag::O_RDONLY, 0).and_then(at::regular);
                let (mut from, stat) = opened.map_err(fail("open"))?;
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
                let mut to = File::from(at::open_name(parent, name, flags, 0o600).map_err(fail("create"))?);
                if is_sparse(&stat) {
                    let size = stat.st_size.cast_unsigned();
                    content::copy(&mut from, size, true, Some(&mut to), &mut self.buffer).map_err(fail("copy"))?;
                } else {
                    // By the kernel where it can: copy_file_range(2), shared blocks.
                    std::io::copy(&mut from, &mut to).map_err(fail("copy"))?;
                }
                at::give(parent, name, owner).map_err(fail("give away"))?;
                fchmod(&to, mode).map_err(TreeError::io("set the mode of", path))?;
                keep_mtime(&to, &stat).map_err(fail("set the time of"))?;
            }
            // No layer of ours holds any other kind.
            _ => {}
        }
        Ok(is_dir)
    }
}
