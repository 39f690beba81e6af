//! Signatures to be replaced by the rooms that implement them.
use std::path::{Path, PathBuf};

use super::*;
use crate::names::RelPath;

/// The tree room's error (typed variants; every one names the path).
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: String,
        source: std::io::Error,
    },
    #[error("{0}")]
    Limit(String),
    #[error("{0}")]
    Refused(String),
}

/// Bounds on a copied target.
#[derive(Clone, Debug)]
pub struct CopyLimits {
    pub max_files: u64,
    pub max_bytes: u64,
}

/// Progress of a copy, called often.
pub type CopyProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// The content-addressed cache of pristine trees.
pub struct Cache {
    _root: PathBuf,
}

/// A pristine tree in the cache: never changes, shared by every sandbox. Holds a
/// shared lock against pruning while it lives.
pub struct Pristine {
    pub root: PathBuf,
    pub manifest: Manifest,
    pub digest: Content,
    /// Names of the source that were not copied and why (specials, unreadable…).
    pub skipped: Vec<(RelPath, String)>,
}

impl Cache {
    /// `owner`: uid/gid that the copies get when we are root (the jail's id); `None` leaves them ours.
    pub fn open(_root: &Path, _owner: Option<(u32, u32)>) -> Result<Self, TreeError> {
        unimplemented!()
    }
    pub fn pristine(
        &self,
        _source: &Path,
        _limits: &CopyLimits,
        _progress: CopyProgress<'_>,
    ) -> Result<Pristine, TreeError> {
        unimplemented!()
    }
}

/// A frozen state of the workspace: one overlay layer over the pristine tree,
/// cumulative, plus the resolved entries of every path in it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The frozen layer in overlay upper format (a valid lower); never changes.
    pub layer: PathBuf,
    // … private: entries, whiteouts
}

impl Checkpoint {
    /// The state that equals the pristine tree: an empty layer made at `dir`.
    pub fn empty(_dir: &Path) -> Result<Self, TreeError> {
        unimplemented!()
    }
    /// Freezes the (quiescent) upper into a new layer at `dir`, in O(changes):
    /// hostile names, specials, setuid bits, depth and counts bounded. `dropped`
    /// are paths (and all below) left out. `upper` is a sandbox's `scratch/upper`;
    /// the sandbox's lowers were `[pristine, base.layer?]`, base being the
    /// checkpoint it was started on, so the new layer is again cumulative.
    pub fn freeze(
        _pristine: &Pristine,
        _base: Option<&Checkpoint>,
        _upper: &Path,
        _dir: &Path,
    ) -> Result<Self, TreeError> {
        unimplemented!()
    }
    /// What this state holds at `path`, whether from the layer or the pristine tree.
    pub fn entry(&self, _pristine: &Pristine, _path: &RelPath) -> Option<Entry> {
        unimplemented!()
    }
    /// The bytes at `path` (regular files only), bounded; never follows links.
    pub fn read(&self, _pristine: &Pristine, _path: &RelPath, _max: u64) -> Result<Option<Vec<u8>>, TreeError> {
        unimplemented!()
    }
    /// Every path that differs, in O(both layers); deleted directories are expanded to their contents.
    pub fn changes_since(&self, _pristine: &Pristine, _earlier: &Checkpoint) -> Vec<Change> {
        unimplemented!()
    }
    /// The edits that turn this state back into `earlier` at `paths` (and below).
    pub fn edits_back(
        &self,
        _pristine: &Pristine,
        _earlier: &Checkpoint,
        _paths: &[RelPath],
    ) -> Result<TreeEdits, TreeError> {
        unimplemented!()
    }
    /// A new cumulative layer at `dir` equal to this state with `paths` (and below) as in `earlier`.
    pub fn with_reverted(
        &self,
        _pristine: &Pristine,
        _earlier: &Checkpoint,
        _paths: &[RelPath],
        _dir: &Path,
    ) -> Result<Self, TreeError> {
        unimplemented!()
    }
    /// A new cumulative layer at `dir` equal to this state with one regular file written (mode 0644 when new).
    pub fn with_file(
        &self,
        _pristine: &Pristine,
        _path: &RelPath,
        _bytes: &[u8],
        _dir: &Path,
    ) -> Result<Self, TreeError> {
        unimplemented!()
    }
}

/// Edits to send through [`crate::sandbox::Sandbox::put`].
#[derive(Clone, Debug, Default)]
pub struct TreeEdits {
    pub removals: Vec<RelPath>,
    pub tar: Vec<u8>,
}

impl TreeEdits {
    /// Edits that write one file.
    pub fn write_file(_path: &RelPath, _bytes: &[u8], _mode: u32) -> Self {
        unimplemented!()
    }
}

/// A whiteout layer at `dir` that hides `paths` when stacked over the pristine tree.
pub fn mask_layer(_pristine: &Pristine, _paths: &[RelPath], _dir: &Path) -> Result<PathBuf, TreeError> {
    unimplemented!()
}

/// `changes.patch`: git extended diff, binary-safe (`GIT binary patch`), applies with `git apply`.
pub fn patch(
    _pristine: &Pristine,
    _from: &Checkpoint,
    _to: &Checkpoint,
    _changes: &[Change],
) -> Result<Vec<u8>, TreeError> {
    unimplemented!()
}

/// Copies regular files, directories and inward symlinks of `changes` from the
/// checkpoint to `dir`, strictly; returns what was refused and why.
pub fn export(
    _pristine: &Pristine,
    _from: &Checkpoint,
    _changes: &[Change],
    _dir: &Path,
    _max_bytes: u64,
) -> Result<Vec<(RelPath, String)>, TreeError> {
    unimplemented!()
}

/// Brings `changes` to the user's tree: every path must still be as `before`
/// says, else nothing at all is written; then all of it, each file by temp + rename.
pub fn apply_to(_target: &Path, _files: &Path, _changes: &[Change]) -> Result<(), TreeError> {
    unimplemented!()
}

/// Removes a directory whatever an untrusted process left in it (mode 000, depth, counts), descriptor-relative.
pub fn remove_all(_dir: &Path) -> Result<(), TreeError> {
    unimplemented!()
}

/// Bytes and inodes below a directory, bounded walk (disk cap polling).
pub fn usage(_dir: &Path, _stop_after_bytes: u64) -> Result<(u64, u64), TreeError> {
    unimplemented!()
}
