//! From a quiescent workspace to a checkpoint.

use std::{
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::sys::stat::{FileStat, SFlag};

use super::{
    Change, Checkpoint, Entry, EntryKind, Manifest, Pristine, TreeError, at, content,
    content::shown,
    layer::{self, Source, is_sparse},
    state::{self, Diff, State},
    walk::{Sight, Walk},
};
use crate::names::RelPath;

/// Most entries in a layer (the workspace's own inode cap comes first).
pub(super) const MAX_ENTRIES: u64 = 4_000_000;
/// Most bytes in the files of a layer, holes counted: a sparse file costs no disk but all the time to hash it.
const MAX_BYTES: u64 = 64 << 30;
/// Marks a directory that hides what lies below it (`userxattr` mounts).
const OPAQUE: &std::ffi::CStr = c"user.overlay.opaque";
/// Attributes under which an upper entry is not what it seems. We never mount with
/// the options that make them, so they are a sign of tampering.
const MISLEADING: [&std::ffi::CStr; 3] = [
    c"user.overlay.redirect",
    c"user.overlay.metacopy",
    c"user.overlay.whiteout",
];

/// Where a sandbox's workspace lies on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An overlay: what was changed lies in this upper directory.
    Overlay(PathBuf),
    /// A copy ([`super::lay_copy`]): the whole tree is this directory.
    Copy(PathBuf),
}

impl Checkpoint {
    /// Freezes the (quiescent) upper into a new layer at `dir`, in O(changes).
    /// `upper` is a sandbox's `scratch/upper`; the sandbox's lowers were
    /// `[pristine, base.layer?]`, base being the checkpoint it was started on, so
    /// the new layer is again cumulative. What was copied up and is equal is dropped.
    ///
    /// # Errors
    /// [`TreeError::Limit`] for too many entries, [`TreeError::Refused`] for a layer
    /// that overlay mounted with our options cannot have written, or that changes meanwhile.
    pub fn freeze(pristine: &Pristine, base: Option<&Checkpoint>, upper: &Path, dir: &Path) -> Result<Self, TreeError> {
        let (scan, root) = Scan::of_upper(pristine, base, upper)?;
        let open = |base: &Checkpoint| at::open_root(&base.layer).map_err(TreeError::io("open", shown(&base.layer)));
        let below = base.map(open).transpose()?;
        layer::write(pristine, &scan.state.diff, dir, &|path| match &below {
            Some(below) if !scan.fresh.contains(path) => Source::Frozen(below),
            _ => Source::Upper(&root),
        })?;
        Ok(Self::new(dir, scan.state.diff, scan.left_out))
    }

    /// As [`Checkpoint::freeze`] where overlay could not be had: `tree_dir` holds the
    /// whole workspace, made without the `hidden` paths (which count as unchanged
    /// unless something appeared there).
    ///
    /// # Errors
    /// As there.
    pub fn freeze_copy(
        pristine: &Pristine,
        tree_dir: &Path,
        hidden: &[RelPath],
        dir: &Path,
    ) -> Result<Self, TreeError> {
        let (scan, root) = Scan::of_copy(pristine, tree_dir, hidden)?;
        layer::write(pristine, &scan.state.diff, dir, &|_| Source::Upper(&root))?;
        Ok(Self::new(dir, scan.state.diff, scan.left_out))
    }

    /// [`Checkpoint::freeze`] or [`Checkpoint::freeze_copy`], as the workspace is.
    /// `base` and `hidden` are what the sandbox was started on, and without.
    ///
    /// # Errors
    /// As there.
    pub fn freeze_place(
        pristine: &Pristine,
        base: &Checkpoint,
        place: &Place,
        hidden: &[RelPath],
        dir: &Path,
    ) -> Result<Self, TreeError> {
        match place {
            Place::Overlay(upper) => Self::freeze(pristine, Some(base), upper, dir),
            Place::Copy(tree) => Self::freeze_copy(pristine, tree, hidden, dir),
        }
    }

    /// Opens a frozen layer of an earlier process again. Specials and set-id bits
    /// that it once recorded are not in it, so they are forgotten.
    ///
    /// # Errors
    /// As [`Checkpoint::freeze`].
    pub fn open_layer(pristine: &Pristine, layer: &Path) -> Result<Self, TreeError> {
        let (scan, _) = Scan::of_upper(pristine, None, layer)?;
        Ok(Self::new(layer, scan.state.diff, scan.left_out))
    }
}

/// What a quiescent upper makes of the tree, read and not frozen: for a look that
/// decides something and keeps nothing.
#[derive(Clone, Debug)]
pub struct Survey(Diff);

impl Survey {
    /// Reads the upper of a sandbox that was started on `base`, in O(changes).
    ///
    /// # Errors
    /// As [`Checkpoint::freeze`].
    pub fn of_upper(pristine: &Pristine, base: Option<&Checkpoint>, upper: &Path) -> Result<Self, TreeError> {
        let (scan, _) = Scan::of_upper(pristine, base, upper)?;
        Ok(Self(scan.state.diff))
    }

    /// Reads a (quiescent) workspace wherever it is; arguments as for
    /// [`Checkpoint::freeze_place`].
    ///
    /// # Errors
    /// As [`Checkpoint::freeze`].
    pub fn of_place(
        pristine: &Pristine,
        base: &Checkpoint,
        place: &Place,
        hidden: &[RelPath],
    ) -> Result<Self, TreeError> {
        match place {
            Place::Overlay(upper) => Self::of_upper(pristine, Some(base), upper),
            Place::Copy(tree) => Ok(Self(Scan::of_copy(pristine, tree, hidden)?.0.state.diff)),
        }
    }

    /// As [`Checkpoint::changes_since`].
    pub fn changes_since(&self, pristine: &Pristine, earlier: &Checkpoint) -> Vec<Change> {
        state::changes(&pristine.manifest, &earlier.diff, &self.0)
    }
}

/// A scan under way: what was found so far, laid over what was below.
struct Scan<'a> {
    state: State<'a>,
    left_out: Vec<(RelPath, String)>,
    /// Files whose bytes are in the scanned tree.
    fresh: std::collections::BTreeSet<RelPath>,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<'a> Scan<'a> {
    fn over(pristine: &'a Manifest, diff: Diff) -> Self {
        Self {
            state: State { pristine, diff },
            left_out: Vec::new(),
            fresh: std::collections::BTreeSet::new(),
            bytes: 0,
            buffer: content::buffer(),
        }
    }

    fn of_upper(pristine: &'a Pristine, base: Option<&Checkpoint>, upper: &Path) -> Result<(Self, OwnedFd), TreeError> {
        let root = at::open_root_forced(upper).map_err(TreeError::io("open", shown(upper)))?;
        let mut scan = Self::over(&pristine.manifest, Diff::new());
        // What the sandbox was started on is the base as its layer has it.
        for (path, entry) in base.iter().flat_map(|base| base.diff.iter()) {
            scan.state.set(path.clone(), entry.as_ref().and_then(Entry::carried));
        }
        scan.walk(&root, true)?;
        Ok((scan, root))
    }

    fn of_copy(pristine: &'a Pristine, tree: &Path, hidden: &[RelPath]) -> Result<(Self, OwnedFd), TreeError> {
        let root = at::open_root_forced(tree).map_err(TreeError::io("open", shown(tree)))?;
        let mut scan = Self::over(&pristine.manifest, Diff::new());
        for path in pristine.manifest.keys() {
            if !hidden.iter().any(|hidden| path.starts_with(hidden)) {
                scan.state.diff.insert(path.clone(), None);
            }
        }
        scan.walk(&root, false)?;
        Ok((scan, root))
    }

    fn walk(&mut self, root: &OwnedFd, overlay: bool) -> Result<(), TreeError> {
        let walk = Walk {
            max_entries: MAX_ENTRIES,
            force: true,
        };
        walk.run(root, &mut |sight| match sight {
            Sight::Thing { path, stat, .. } if overlay && at::is_whiteout(stat) => {
                self.state.remove(path);
                Ok(false)
            }
            Sight::Thing { dir, path, stat } => {
                let entry = self.entry(dir, path, stat)?;
                if overlay && entry.is_dir() && is_opaque(dir, path)? {
                    self.state.remove(path);
                }
                let enter = entry.is_dir();
                self.state.replace(path.clone(), entry);
                Ok(enter)
            }
            Sight::Closed { path, error } => {
                self.leave_out(path, format!("its contents cannot be read: {error}"));
                self.state.replace(path.clone(), special());
                Ok(false)
            }
        })
    }

    fn entry(&mut self, dir: std::os::fd::BorrowedFd<'_>, path: &RelPath, stat: &FileStat) -> Result<Entry, TreeError> {
        let kind = match at::kind_of(stat) {
            SFlag::S_IFDIR => EntryKind::Dir,
            SFlag::S_IFLNK => EntryKind::Symlink {
                target: at::read_link(dir, path.file_name()).map_err(TreeError::io("read link", path))?,
            },
            SFlag::S_IFREG => match self.file(dir, path)? {
                Some(kind) => kind,
                None => return Ok(special()),
            },
            _ => {
                self.leave_out(path, "a fifo, socket or device".into());
                return Ok(special());
            }
        };
        let mode = Entry::kept_mode(&kind, stat.st_mode);
        let entry = Entry { kind, mode };
        if entry.has_set_id() {
            self.leave_out(path, "its setuid or setgid bit".into());
        }
        Ok(entry)
    }

    fn file(&mut self, dir: std::os::fd::BorrowedFd<'_>, path: &RelPath) -> Result<Option<EntryKind>, TreeError> {
        let fail = |what| TreeError::io::<std::io::Error>(what, path);
        let opened = at::open_file_forced(dir, path.file_name()).and_then(at::regular);
        let (mut file, stat): (File, FileStat) = opened.map_err(fail("open"))?;
        refuse_misleading(&file, path)?;
        let size = stat.st_size.cast_unsigned();
        if self.bytes.saturating_add(size) > MAX_BYTES {
            self.leave_out(
                path,
                format!("its {size} bytes: a checkpoint holds at most {MAX_BYTES}"),
            );
            return Ok(None);
        }
        self.bytes += size;
        let content = content::copy(&mut file, size, is_sparse(&stat), None, &mut self.buffer).map_err(fail("read"))?;
        self.fresh.insert(path.clone());
        Ok(Some(EntryKind::File { content, size }))
    }

    fn leave_out(&mut self, path: &RelPath, why: String) {
        self.left_out.push((path.clone(), why));
    }
}

fn special() -> Entry {
    let kind = EntryKind::Special;
    Entry { kind, mode: 0 }
}

pub(super) fn is_opaque(dir: std::os::fd::BorrowedFd<'_>, path: &RelPath) -> Result<bool, TreeError> {
    let fail = |what| TreeError::io::<std::io::Error>(what, path);
    let opened = at::open_dir_forced(dir, path.file_name()).map_err(fail("open"))?;
    refuse_misleading(&opened, path)?;
    match at::xattr(&opened, OPAQUE)
        .map_err(fail("read the attributes of"))?
        .as_deref()
    {
        None => Ok(false),
        Some(b"y") => Ok(true),
        Some(_) => Err(TreeError::Refused(format!(
            "{path} carries an overlay mark that our mounts never make"
        ))),
    }
}

fn refuse_misleading(file: impl std::os::fd::AsFd, path: &RelPath) -> Result<(), TreeError> {
    for name in MISLEADING {
        if at::xattr(&file, name)
            .map_err(TreeError::io("read the attributes of", path))?
            .is_some()
        {
            let name = name.to_string_lossy();
            return Err(TreeError::Refused(format!(
                "{path} carries `{name}`, which our mounts never make"
            )));
        }
    }
    Ok(())
}
