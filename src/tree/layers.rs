//! Layers of a base: what was made once over a pristine copy, kept and shared.
//!
//! ```text
//! <root>/layers/<key>/tree      the layer, in overlay upper format
//!                    /manifest  its difference from the copy, after the BLAKE3 hash of that
//!                    /note      what its maker wrote down
//!                    /lock      as that of a copy
//!       /making/<key>           flock(2): exclusive while somebody makes it
//! ```
//! The key is the maker's: a digest of all that the layer depends on.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    Cache, Change, Checkpoint, Content, Entry, Pristine, TreeError, at, cache,
    content::shown,
    layer::{self, Source},
    manifest,
    state::{self, Diff, State},
};
use crate::names::RelPath;

/// A read-only layer over a pristine copy (see [`Pristine::with_layer`]).
#[derive(Clone, Debug)]
pub struct BaseLayer {
    pub(super) root: PathBuf,
    /// What it changes in the copy.
    pub(super) diff: Arc<Diff>,
    owned: Arc<BTreeSet<RelPath>>,
    pub(super) lock: Option<Arc<Flock<File>>>,
}

impl BaseLayer {
    /// What changed between two states over `pristine`, as a layer at `dir` that
    /// stands on `pristine` alone: directories that only `below` had are made.
    /// What [`BaseLayer::contested`] names must have been reverted in `found`.
    ///
    /// # Errors
    /// When the layer cannot be written.
    pub fn between(pristine: &Pristine, below: &Checkpoint, found: &Checkpoint, dir: &Path) -> Result<Self, TreeError> {
        let mut state = State {
            pristine: &pristine.manifest,
            diff: Diff::new(),
        };
        let changes = found.changes_since(pristine, below);
        for change in &changes {
            let after = change.after.as_ref().and_then(Entry::carried);
            if after.is_some() {
                state.parents(&change.path, |dir| {
                    state::get(&pristine.manifest, &below.diff, dir).cloned()
                });
            }
            state.set(change.path.clone(), after);
        }
        let bytes = at::open_root(&found.layer).map_err(TreeError::io("open", shown(&found.layer)))?;
        layer::write(pristine, &state.diff, dir, &|_| Source::Frozen(&bytes))?;
        Ok(Self {
            root: dir.to_path_buf(),
            owned: Arc::new(owned(&changes)),
            diff: Arc::new(state.diff),
            lock: None,
        })
    }

    /// What changed between two states and cannot be part of a layer over `pristine`
    /// alone: paths that `below` has changed itself, and what lies where it put a
    /// directory in the place of something else.
    pub fn contested(pristine: &Pristine, below: &Checkpoint, found: &Checkpoint) -> Vec<RelPath> {
        let is_no_dir = |path: &RelPath| pristine.manifest.get(path).is_some_and(|entry| !entry.is_dir());
        found
            .changes_since(pristine, below)
            .into_iter()
            .map(|change| change.path)
            .filter(|path| {
                let mut above = std::iter::successors(path.parent(), RelPath::parent);
                below.diff.contains_key(path) || above.any(|dir| below.diff.contains_key(&dir) && is_no_dir(&dir))
            })
            .collect()
    }

    /// What it changes in the copy that it stands on.
    pub fn changes(&self, pristine: &Pristine) -> Vec<Change> {
        state::changes(&pristine.manifest, &Diff::new(), &self.diff)
    }

    /// The paths that are the layer's own: what it put, replaced or took away. Of a
    /// directory that it made all that is below counts; of one whose mode it changed, nothing.
    pub fn owned(&self) -> &BTreeSet<RelPath> {
        &self.owned
    }
}

/// See [`BaseLayer::owned`].
fn owned(changes: &[Change]) -> BTreeSet<RelPath> {
    let is_dir = |entry: &Option<Entry>| entry.as_ref().is_some_and(Entry::is_dir);
    let mut owned: BTreeSet<RelPath> = BTreeSet::new();
    for change in changes.iter().filter(|c| !(is_dir(&c.before) && is_dir(&c.after))) {
        // In order, so what is above a path came before it.
        let above = owned.range(..=&change.path).next_back();
        if !above.is_some_and(|above| change.path.starts_with(above)) {
            owned.insert(change.path.clone());
        }
    }
    owned
}

/// The right to make the layer of one key. Held by at most one process.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _held: Flock<File>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Whoever waits for it sees that the name is gone and takes a new one; a
        // name that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

impl Cache {
    /// The layer over `pristine` that was kept under `key`, and its note; `None` when there is none, or it is damaged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn layer(&self, key: Content, pristine: &Pristine) -> Result<Option<(BaseLayer, Vec<u8>)>, TreeError> {
        let home = self.home(key);
        let Some(lock) = cache::shared_lock(&home)? else {
            return Ok(None);
        };
        let read = |name: &str| match fs::read(home.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            bytes => bytes.map_err(TreeError::io("read", shown(&home.join(name)))),
        };
        let sealed = read("manifest")?;
        let diff = sealed
            .split_first_chunk::<32>()
            .filter(|(seal, diff)| Content::of(diff).0 == **seal)
            .and_then(|(_, diff)| manifest::decode_diff(diff));
        let Some(diff) = diff else {
            drop(lock);
            self.discard(&home)?;
            return Ok(None);
        };
        let note = read("note")?;
        // The last use, for pruning; a read-only cache merely prunes less well.
        let _ = lock.set_modified(SystemTime::now());
        let layer = BaseLayer {
            root: home.join("tree"),
            owned: Arc::new(owned(&state::changes(&pristine.manifest, &Diff::new(), &diff))),
            diff: Arc::new(diff),
            lock: Some(Arc::new(lock)),
        };
        Ok(Some((layer, note)))
    }

    /// Waits until nobody makes the layer of `key`, and claims it. Blocks for as long
    /// as another process works on it; look for the layer again afterwards.
    ///
    /// # Errors
    /// When the lock cannot be had.
    pub fn claim(&self, key: Content) -> Result<Claim, TreeError> {
        self.claim_by(key, FlockArg::LockExclusive)?
            .ok_or_else(|| TreeError::Refused("a lock that was waited for is held".to_owned()))
    }

    /// As [`Cache::claim`] without waiting: `None` while somebody makes the layer.
    ///
    /// # Errors
    /// As there.
    pub fn try_claim(&self, key: Content) -> Result<Option<Claim>, TreeError> {
        self.claim_by(key, FlockArg::LockExclusiveNonblock)
    }

    fn claim_by(&self, key: Content, how: FlockArg) -> Result<Option<Claim>, TreeError> {
        let path = self.root.join("making").join(key.to_string());
        loop {
            let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            let file = opened.map_err(TreeError::io("open", shown(&path)))?;
            let held = match Flock::lock(file, how) {
                Ok(held) => held,
                Err((_, nix::errno::Errno::EAGAIN)) => return Ok(None),
                Err((_, error)) => return Err(TreeError::io("lock", shown(&path))(io::Error::from(error))),
            };
            // The one before us may have removed the name while we waited.
            let stat = nix::sys::stat::fstat(held.as_fd()).map_err(TreeError::io("stat", shown(&path)))?;
            if fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (stat.st_dev, stat.st_ino)) {
                return Ok(Some(Claim { path, _held: held }));
            }
        }
    }

    /// Keeps what changed between two states over `pristine` under the claimed key
    /// (see [`BaseLayer::between`]).
    ///
    /// # Errors
    /// When it cannot be written; then nothing is kept.
    pub fn keep_layer(
        &self,
        key: Content,
        pristine: &Pristine,
        below: &Checkpoint,
        found: &Checkpoint,
        note: &[u8],
    ) -> Result<BaseLayer, TreeError> {
        let home = self.home(key);
        self.in_part(|part, lock| {
            let mut layer = BaseLayer::between(pristine, below, found, &part.join("tree"))?;
            let diff = manifest::encode_diff(&layer.diff);
            let sealed = [&Content::of(&diff).0[..], &diff].concat();
            for (name, bytes) in [("note", note), ("manifest", &sealed)] {
                fs::write(part.join(name), bytes).map_err(TreeError::io("write", shown(&part.join(name))))?;
            }
            fs::rename(part, &home).map_err(TreeError::io("move into place", shown(&home)))?;
            layer.root = home.join("tree");
            layer.lock = Some(Arc::new(lock));
            Ok(layer)
        })
    }

    fn home(&self, key: Content) -> PathBuf {
        self.root.join("layers").join(key.to_string())
    }
}
