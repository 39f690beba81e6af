//! What everything of a run stands on: read-only layers with one manifest.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use nix::fcntl::{Flock, OFlag};

use super::{BaseLayer, Content, Manifest, TreeError, at, content::shown, manifest};
use crate::names::RelPath;

/// A read-only base in the cache: a pristine copy, and layers over it. It never
/// changes, is shared by every sandbox, and holds shared locks against pruning
/// while it lives.
#[derive(Clone, Debug)]
pub struct Pristine {
    /// Its layers, lowest first. The first is the copy, the others are in overlay
    /// upper format and hold whiteouts only where the manifest below has something.
    pub roots: Vec<PathBuf>,
    /// What all of them together hold.
    pub manifest: Manifest,
    /// The BLAKE3 digest of the copy's manifest, or of that and the layers'.
    pub digest: Content,
    /// Names of the source that were not copied and why (specials, unreadable…).
    pub skipped: Vec<(RelPath, String)>,
    /// Owner that layers over this base get.
    pub(super) owner: at::Owner,
    pub(super) _locks: Vec<Arc<Flock<File>>>,
}

impl Pristine {
    /// This base with one more layer on top, in O(this manifest).
    pub fn with_layer(&self, layer: &BaseLayer) -> Pristine {
        let mut base = self.clone();
        for (path, entry) in layer.diff.iter() {
            match entry {
                Some(entry) => base.manifest.insert(path.clone(), entry.clone()),
                None => base.manifest.remove(path),
            };
        }
        let mut seal = self.digest.0.to_vec();
        seal.extend(Content::of(&manifest::encode_diff(&layer.diff)).0);
        base.digest = Content::of(&seal);
        base.roots.push(layer.root.clone());
        base._locks.extend(layer.lock.clone());
        base
    }

    /// The bytes of a regular file of the manifest; `None` where it has more than `most`.
    ///
    /// # Errors
    /// [`TreeError`] where there is no such file, or it cannot be read.
    pub fn read(&self, path: &RelPath, most: u64) -> Result<Option<Vec<u8>>, TreeError> {
        let mut bytes = Vec::new();
        self.open(path)?
            .take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(TreeError::io("read", path))?;
        Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= most))
    }

    /// Opens a regular file of the manifest. The topmost layer that has the path has
    /// its bytes: what a layer hides is not in the manifest.
    pub(super) fn open(&self, path: &RelPath) -> Result<File, TreeError> {
        for home in self.roots.iter().rev() {
            let root = at::open_root(home).map_err(TreeError::io("open", shown(home)))?;
            match at::open_beneath(&root, path, OFlag::O_RDONLY).and_then(at::regular) {
                Ok((file, _)) => return Ok(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(TreeError::io("read", path)(error)),
            }
        }
        Err(TreeError::io("read", path)(io::Error::from(io::ErrorKind::NotFound)))
    }
}

impl crate::contract::AuditedTree for Pristine {
    fn read(&self, path: &RelPath, most: usize) -> Option<String> {
        let bytes = Pristine::read(self, path, most as u64).ok().flatten()?;
        String::from_utf8(bytes).ok()
    }

    fn files(&self) -> Vec<RelPath> {
        let files = self.manifest.iter().filter(|(_, entry)| !entry.is_dir());
        files.map(|(path, _)| path.clone()).collect()
    }
}
