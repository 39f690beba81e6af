//! Writing a difference as an overlay layer (kernel, filesystems/overlayfs.rst).
//!
//! The form is canonical: only whiteouts, never opaque directories or other
//! extended attributes, so a layer means the same under every mount option.
//! Every ancestor of a changed path is there with its own mode, because overlay
//! shows a merged directory as its topmost layer has it.

use std::{
    collections::BTreeSet,
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag},
    sys::{
        stat::{FchmodatFlags, FileStat, Mode, fchmod, fchmodat, futimens, mkdirat},
        time::TimeSpec,
    },
    unistd::{linkat, symlinkat},
};

use super::{
    Content, Entry, EntryKind, Manifest, Pristine, TreeError, at, content,
    content::shown,
    remove_all,
    state::{self, Diff},
};
use crate::names::RelPath;

/// Where the bytes of a file come from.
pub(super) enum Source<'a> {
    /// A tree that may still belong to somebody else: copied and checked.
    Upper(&'a OwnedFd),
    /// A frozen layer: hard-linked, for neither side is ever written again.
    Frozen(&'a OwnedFd),
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// A file of a store, or why it is not there: copied and checked.
    Object(Result<File, TreeError>),
}

/// Writes `diff` as a new layer at `dir` (which must not exist, or be empty).
/// It appears there whole or not at all.
pub(super) fn write<'a>(
    pristine: &Pristine,
    diff: &Diff,
    dir: &Path,
    source: &dyn Fn(&RelPath) -> Source<'a>,
) -> Result<(), TreeError> {
    staged(dir, |part| {
        let root = at::open_root(part).map_err(TreeError::io("open", shown(part)))?;
        let mut writer = Writer {
            manifest: &pristine.manifest,
            diff,
            root,
            owner: pristine.owner,
            made: BTreeSet::new(),
            open: None,
            buffer: content::buffer(),
        };
        give_root(part, pristine.owner)?;
        diff.iter()
            .try_for_each(|(path, entry)| writer.put(path, entry.as_ref(), source))
    })
}

/// A layer at `dir` that hides `paths` when stacked over the pristine tree;
/// a path that the tree does not hold needs no hiding.
///
/// # Errors
/// When the layer cannot be written.
pub fn mask_layer(pristine: &Pristine, paths: &[RelPath], dir: &Path) -> Result<PathBuf, TreeError> {
    let mut hidden = state::State {
        pristine: &pristine.manifest,
        diff: Diff::new(),
    };
    paths.iter().for_each(|path| hidden.remove(path));
    write(pristine, &hidden.diff, dir, &|_| Source::Bytes(&[]))?;
    Ok(dir.to_path_buf())
}

/// Makes a directory beside `dir`, lets `fill` fill it, and renames it to `dir`.
pub(super) fn staged(dir: &Path, fill: impl FnOnce(&Path) -> Result<(), TreeError>) -> Result<(), TreeError> {
    let mut name = std::ffi::OsString::from(".part-");
    name.push(dir.file_name().unwrap_or_default());
    let part = dir.with_file_name(name);
    if std::fs::symlink_metadata(&part).is_ok() {
        remove_all(&part)?;
    }
    std::fs::create_dir(&part).map_err(TreeError::io("make", shown(&part)))?;
    let filled =
        fill(&part).and_then(|()| std::fs::rename(&part, dir).map_err(TreeError::io("move into place", shown(dir))));
    if filled.is_err() {
        // The first error is the one to tell; what is left here is removed at the next try.
        let _ = remove_all(&part);
    }
    filled
}

pub(super) fn give_root(part: &Path, owner: at::Owner) -> Result<(), TreeError> {
    use std::os::unix::fs::{PermissionsExt, lchown};
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(part, mode).map_err(TreeError::io("set the mode of", shown(part)))?;
    if let Some((uid, gid)) = owner {
        lchown(part, Some(uid), Some(gid)).map_err(TreeError::io("give away", shown(part)))?;
    }
    Ok(())
}

/// A layer under way.
struct Writer<'a> {
    manifest: &'a Manifest,
    diff: &'a Diff,
    root: OwnedFd,
    owner: at::Owner,
    /// Directories that exist in the layer already.
    made: BTreeSet<RelPath>,
    /// The directory last written to; neighbours come one after another.
    open: Option<(Option<RelPath>, OwnedFd)>,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn put<'s>(
        &mut self,
        path: &RelPath,
        entry: Option<&Entry>,
        source: &dyn Fn(&RelPath) -> Source<'s>,
    ) -> Result<(), TreeError> {
        let carried = entry.and_then(Entry::carried);
        if !self.holds(path.parent().as_ref()) || (carried.is_none() && !self.manifest.contains_key(path)) {
            return Ok(());
        }
        let fail = |what| TreeError::io::<std::io::Error>(what, path);
        let (dir, name) = self.parent_of(path)?;
        let dir = dir.try_clone().map_err(fail("open the parent of"))?;
        let owner = self.owner;
        let Some(entry) = carried else {
            at::make_whiteout(&dir, name).map_err(fail("hide"))?;
            return at::give(&dir, name, owner).map_err(fail("give away"));
        };
        match &entry.kind {
            EntryKind::Dir => {
                make_dir(&dir, name, entry.mode, owner).map_err(fail("make"))?;
                self.made.insert(path.clone());
            }
            EntryKind::Symlink { target } => {
                symlinkat(target.as_slice(), &dir, name).map_err(TreeError::io("link", path))?;
                at::give(&dir, name, owner).map_err(fail("give away"))?;
            }
            EntryKind::File { content, size } => {
                let file = Wanted {
                    dir: &dir,
                    name,
                    path,
                    content,
                    size: *size,
                    mode: entry.mode,
                    owner,
                };
                file.write(source(path), &mut self.buffer)?;
            }
            // `carried` has none.
            EntryKind::Special => {}
        }
        Ok(())
    }

    /// Whether the new state has a directory here.
    fn holds(&self, dir: Option<&RelPath>) -> bool {
        dir.is_none_or(|dir| state::get(self.manifest, self.diff, dir).is_some_and(Entry::is_dir))
    }

    /// The open directory that will hold `path`, made with its ancestors if need be.
    fn parent_of<'p>(&mut self, path: &'p RelPath) -> Result<(&OwnedFd, &'p [u8]), TreeError> {
        let parent = path.parent();
        if self.open.as_ref().is_none_or(|(at, _)| *at != parent) {
            if let Some(parent) = &parent {
                self.make_all(parent)?;
            }
            let dir = at::open_dir(&self.root, parent.as_ref()).map_err(TreeError::io("open the parent of", path))?;
            self.open = Some((parent, dir));
        }
        match &self.open {
            Some((_, dir)) => Ok((dir, path.file_name())),
            None => Err(TreeError::Refused(format!("{path} has no parent"))),
        }
    }

    /// Makes a directory and its ancestors as the new state has them.
    fn make_all(&mut self, path: &RelPath) -> Result<(), TreeError> {
        let mut missing = Vec::new();
        let mut up = Some(path.clone());
        while let Some(dir) = up.filter(|dir| !self.made.contains(dir)) {
            up = dir.parent();
            missing.push(dir);
        }
        for dir in missing.into_iter().rev() {
            let mode = state::get(self.manifest, self.diff, &dir).map_or(0o755, |entry| entry.mode);
            let parent =
                at::open_dir(&self.root, dir.parent().as_ref()).map_err(TreeError::io("open the parent of", &dir))?;
            make_dir(&parent, dir.file_name(), mode & 0o777, self.owner).map_err(TreeError::io("make", &dir))?;
            self.made.insert(dir);
        }
        Ok(())
    }
}

/// Makes a directory with exactly this mode, whatever the umask.
pub(super) fn make_dir(parent: &OwnedFd, name: &[u8], mode: u32, owner: at::Owner) -> std::io::Result<()> {
    let mode = Mode::from_bits_truncate(mode);
    mkdirat(parent, name, mode)?;
    // Just made in a directory that nobody else writes to, so it is no link.
    fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink)?;
    at::give(parent, name, owner)
}

/// A regular file to be written.
struct Wanted<'a> {
    dir: &'a OwnedFd,
    name: &'a [u8],
    path: &'a RelPath,
    content: &'a Content,
    size: u64,
    mode: u32,
    owner: at::Owner,
}

impl Wanted<'_> {
    fn write(&self, source: Source<'_>, buffer: &mut [u8]) -> Result<(), TreeError> {
        let from = match source {
            Source::Bytes(bytes) => return self.write_bytes(bytes).map_err(TreeError::io("write", self.path)),
            Source::Object(file) => {
                let file = file?;
                let stat = nix::sys::stat::fstat(&file).map_err(TreeError::io("stat", self.path))?;
                return self.copy(file, &stat, buffer);
            }
            Source::Frozen(root) => {
                let parent = at::open_dir(root, self.path.parent().as_ref())
                    .map_err(TreeError::io("open the parent of", self.path))?;
                match linkat(&parent, self.name, self.dir, self.name, AtFlags::empty()) {
                    Ok(()) => return Ok(()),
                    Err(Errno::EXDEV | Errno::EMLINK | Errno::EPERM) => root,
                    Err(error) => return Err(TreeError::io("link", self.path)(error)),
                }
            }
            Source::Upper(root) => root,
        };
        let parent =
            at::open_dir(from, self.path.parent().as_ref()).map_err(TreeError::io("open the parent of", self.path))?;
        let opened = at::open_file_forced(&parent, self.name).and_then(at::regular);
        let (from, stat) = opened.map_err(TreeError::io("read", self.path))?;
        self.copy(from, &stat, buffer)
    }

    fn copy(&self, mut from: File, stat: &FileStat, buffer: &mut [u8]) -> Result<(), TreeError> {
        let mut to = self.create().map_err(TreeError::io("create", self.path))?;
        let sparse = is_sparse(stat);
        let copied = content::copy(&mut from, self.size, sparse, Some(&mut to), buffer)
            .map_err(TreeError::io("copy", self.path))?;
        if copied != *self.content || stat.st_size.cast_unsigned() != self.size {
            return Err(TreeError::Refused(format!("{} changed while it was frozen", self.path)));
        }
        self.finish(&to, Some(stat)).map_err(TreeError::io("finish", self.path))
    }

    fn write_bytes(&self, bytes: &[u8]) -> std::io::Result<()> {
        use std::io::Write;
        let mut to = self.create()?;
        to.write_all(bytes)?;
        self.finish(&to, None)
    }

    fn create(&self) -> std::io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        Ok(File::from(at::open_name(self.dir, self.name, flags, 0o600)?))
    }

    fn finish(&self, to: &File, from: Option<&FileStat>) -> std::io::Result<()> {
        at::give(self.dir, self.name, self.owner)?;
        fchmod(to, Mode::from_bits_truncate(self.mode))?;
        from.map_or(Ok(()), |stat| keep_mtime(to, stat))
    }
}

/// Fewer blocks than bytes: there are holes worth keeping.
pub(super) fn is_sparse(stat: &FileStat) -> bool {
    stat.st_blocks.saturating_mul(512) < stat.st_size
}

/// Gives a copy the modification time of its original, for `make` and `git status`.
pub(super) fn keep_mtime(to: &File, from: &FileStat) -> std::io::Result<()> {
    let mtime = TimeSpec::new(from.st_mtime, from.st_mtime_nsec);
    Ok(futimens(to, &TimeSpec::UTIME_OMIT, &mtime)?)
}
