//! Checkpoints: frozen states of the workspace.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::fcntl::OFlag;

use super::{
    Change, Entry, EntryKind, Pristine, TreeEdits, TreeError, at, content,
    content::shown,
    layer::{self, Source},
    state::{self, Diff, State},
};
use crate::names::RelPath;

/// A frozen state of the workspace: one overlay layer over the pristine tree,
/// cumulative, plus the difference from the pristine tree in memory.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The frozen layer in overlay upper format (a valid lower); never changes.
    pub layer: PathBuf,
    pub(super) diff: Arc<Diff>,
    /// See [`Checkpoint::left_out`].
    pub(super) left_out: Arc<Vec<(RelPath, String)>>,
}

impl Checkpoint {
    /// The state that equals the pristine tree: an empty layer made at `dir`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn empty(dir: &Path) -> Result<Self, TreeError> {
        std::fs::create_dir(dir).map_err(TreeError::io("make", shown(dir)))?;
        Ok(Self::new(dir, Diff::new(), Vec::new()))
    }

    pub(super) fn new(layer: &Path, diff: Diff, left_out: Vec<(RelPath, String)>) -> Self {
        Self {
            layer: layer.to_path_buf(),
            diff: Arc::new(diff),
            left_out: Arc::new(left_out),
        }
    }

    /// What the workspace held and this state does not, and why: specials, set-id
    /// bits, things too deep or too large. Their entries say [`EntryKind::Special`] or keep the bits.
    pub fn left_out(&self) -> &[(RelPath, String)] {
        &self.left_out
    }

    /// What this state holds at `path`, whether from the layer or the pristine tree.
    pub fn entry(&self, pristine: &Pristine, path: &RelPath) -> Option<Entry> {
        state::get(&pristine.manifest, &self.diff, path).cloned()
    }

    /// The bytes at `path`; `None` when there is no regular file. Never follows links.
    ///
    /// # Errors
    /// [`TreeError::Limit`] when the file has more than `max` bytes; when it cannot be read.
    pub fn read(&self, pristine: &Pristine, path: &RelPath, max: u64) -> Result<Option<Vec<u8>>, TreeError> {
        let Some(EntryKind::File { size, .. }) = state::get(&pristine.manifest, &self.diff, path).map(|e| &e.kind)
        else {
            return Ok(None);
        };
        let mut file = self.open(pristine, path)?;
        content::read_bounded(&mut file, *size, max, path).map(Some)
    }

    /// Opens the regular file that holds the bytes of `path`.
    pub(super) fn open(&self, pristine: &Pristine, path: &RelPath) -> Result<std::fs::File, TreeError> {
        if !self.diff.contains_key(path) {
            return pristine.open(path);
        }
        let root = at::open_root(&self.layer).map_err(TreeError::io("open", shown(&self.layer)))?;
        let opened = at::open_beneath(&root, path, OFlag::O_RDONLY).and_then(at::regular);
        Ok(opened.map_err(TreeError::io("read", path))?.0)
    }

    /// Every path that differs, in O(both layers); deleted directories are expanded to their contents.
    pub fn changes_since(&self, pristine: &Pristine, earlier: &Checkpoint) -> Vec<Change> {
        state::changes(&pristine.manifest, &earlier.diff, &self.diff)
    }

    /// The edits that turn this state back into `earlier` at `paths` (and below).
    ///
    /// # Errors
    /// When an old file cannot be read, or the edits exceed [`TreeEdits::MAX_BYTES`].
    pub fn edits_back(
        &self,
        pristine: &Pristine,
        earlier: &Checkpoint,
        paths: &[RelPath],
    ) -> Result<TreeEdits, TreeError> {
        self.edits_back_masked(pristine, earlier, paths, &[])
    }

    /// As [`Checkpoint::edits_back`] for a sandbox that was made without the `hidden`
    /// paths: what appeared there is removed, and what they hide is not brought back.
    ///
    /// # Errors
    /// As there.
    pub fn edits_back_masked(
        &self,
        pristine: &Pristine,
        earlier: &Checkpoint,
        paths: &[RelPath],
        hidden: &[RelPath],
    ) -> Result<TreeEdits, TreeError> {
        let mut edits = super::edits::EditsWriter::default();
        let manifest = &pristine.manifest;
        let is_hidden = |path: &RelPath| hidden.iter().any(|h| path.starts_with(h));
        for top in state::cover(manifest, &earlier.diff, &self.diff, paths) {
            if state::get(manifest, &self.diff, &top).is_some() {
                edits.remove(top.clone());
            }
            let old: Vec<(&RelPath, &Entry)> = state::paths_below(manifest, &earlier.diff, &top)
                .into_iter()
                .filter_map(|path| Some((path, state::get(manifest, &earlier.diff, path)?)))
                .collect();
            let mut parents = Vec::new();
            // Where there was nothing, nothing has to be there to hold it.
            let mut up = top.parent().filter(|_| !old.is_empty());
            while let Some(parent) = up.filter(|p| !state::get(manifest, &self.diff, p).is_some_and(Entry::is_dir)) {
                up = parent.parent();
                parents.push(parent);
            }
            let above = parents
                .iter()
                .rev()
                .filter_map(|path| Some((path, state::get(manifest, &earlier.diff, path)?)));
            for (path, entry) in above.chain(old.iter().copied()).filter(|(path, _)| !is_hidden(path)) {
                edits.put(path, entry, || earlier.open(pristine, path))?;
            }
        }
        edits.finish()
    }

    /// A new cumulative layer at `dir` equal to this state with `paths` (and below) as in `earlier`.
    ///
    /// # Errors
    /// When the layer cannot be written.
    pub fn with_reverted(
        &self,
        pristine: &Pristine,
        earlier: &Checkpoint,
        paths: &[RelPath],
        dir: &Path,
    ) -> Result<Self, TreeError> {
        let mut state = self.state(pristine);
        let tops = state::cover(&pristine.manifest, &earlier.diff, &self.diff, paths);
        tops.iter().for_each(|top| state.revert(&earlier.diff, top));
        let ours = at::open_root(&self.layer).map_err(TreeError::io("open", shown(&self.layer)))?;
        let old = at::open_root(&earlier.layer).map_err(TreeError::io("open", shown(&earlier.layer)))?;
        let reverted = |path: &RelPath| tops.iter().any(|top| path.starts_with(top));
        layer::write(pristine, &state.diff, dir, &|path| {
            Source::Frozen(if reverted(path) { &old } else { &ours })
        })?;
        let left_out = self
            .left_out
            .iter()
            .filter(|(path, _)| !reverted(path))
            .cloned()
            .collect();
        Ok(Self::new(dir, state.diff, left_out))
    }

    /// The same changes over another base: what `onto` has already is no change any
    /// more, and directories that only `from` had are made.
    ///
    /// # Errors
    /// When the layer cannot be written.
    pub fn over(&self, from: &Pristine, onto: &Pristine, dir: &Path) -> Result<Self, TreeError> {
        let mut state = State {
            pristine: &onto.manifest,
            diff: Diff::new(),
        };
        for (path, entry) in self.diff.iter() {
            match entry {
                Some(entry) => {
                    state.parents(path, |dir| state::get(&from.manifest, &self.diff, dir).cloned());
                    state.replace(path.clone(), entry.clone());
                }
                None => state.remove(path),
            }
        }
        let ours = at::open_root(&self.layer).map_err(TreeError::io("open", shown(&self.layer)))?;
        layer::write(onto, &state.diff, dir, &|_| Source::Frozen(&ours))?;
        Ok(Self::new(dir, state.diff, self.left_out.to_vec()))
    }

    /// A new cumulative layer at `dir` equal to this state with one regular file
    /// written (mode 0644 when new); a link at `path` is replaced, not followed.
    ///
    /// # Errors
    /// [`TreeError::Refused`] when a directory is at `path`, or something else than a directory above it.
    pub fn with_file(&self, pristine: &Pristine, path: &RelPath, bytes: &[u8], dir: &Path) -> Result<Self, TreeError> {
        let mut state = self.state(pristine);
        let mode = match state.get(path) {
            Some(entry) if entry.is_dir() => return Err(TreeError::Refused(format!("{path} is a directory"))),
            Some(Entry {
                kind: EntryKind::File { .. },
                mode,
            }) => *mode & 0o777,
            _ => 0o644,
        };
        let mut up = path.parent();
        while let Some(parent) = up {
            match state.get(&parent) {
                Some(entry) if entry.is_dir() => break,
                Some(_) => return Err(TreeError::Refused(format!("{parent} is not a directory"))),
                None => state.set(parent.clone(), Some(Entry::dir(0o755))),
            }
            up = parent.parent();
        }
        state.set(path.clone(), Some(Entry::file(bytes, mode)));
        let ours = at::open_root(&self.layer).map_err(TreeError::io("open", shown(&self.layer)))?;
        layer::write(pristine, &state.diff, dir, &|at| {
            if at == path {
                Source::Bytes(bytes)
            } else {
                Source::Frozen(&ours)
            }
        })?;
        Ok(Self::new(dir, state.diff, self.left_out.to_vec()))
    }

    fn state<'a>(&self, pristine: &'a Pristine) -> State<'a> {
        State {
            pristine: &pristine.manifest,
            diff: Diff::clone(&self.diff),
        }
    }
}
