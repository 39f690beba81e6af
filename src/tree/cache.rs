//! The content-addressed cache of pristine trees.
//!
//! ```text
//! <root>/trees/<digest>/tree      the copy
//!                      /manifest  what it holds; its BLAKE3 hash is <digest>
//!                      /size      the bytes that it takes, once somebody has measured them
//!                      /lock      flock(2): shared by users, exclusive to prune; its mtime is the last use
//!       /layers/<key>/          what was made over such a tree (see `layers`)
//!       /sources/<hash of path>   fingerprint of a source -> digest, so that an unchanged source is not read again
//!       /tmp/<uuid>               a copy under way; its `lock` is held, so what is not locked is debris
//! ```
//! A tree appears by one rename(2), whole. Nothing is synced: a tree lost with the
//! power is copied again, and a manifest that does not hash to its name is thrown away.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{
    Content, CopyLimits, CopyProgress, Pristine, TreeError, at, content::shown, ingest, manifest, remove_all,
    survey::Survey,
};
use crate::names::RelPath;

/// How often a source that changes under the copy is tried again.
const ATTEMPTS: u32 = 3;

/// The content-addressed cache of pristine trees.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(super) root: PathBuf,
    pub(super) owner: at::Owner,
}

/// What is remembered of a source.
#[derive(Serialize, Deserialize)]
struct Remembered {
    fingerprint: String,
    digest: Content,
    skipped: Vec<(RelPath, String)>,
}

impl Cache {
    /// Opens the cache at `root`, making it where it is missing, and removes what
    /// copies of dead processes left. `owner`: uid/gid that the copies get when we
    /// are root (the jail's id); `None` leaves them ours.
    ///
    /// # Errors
    /// When its directories cannot be made or read.
    pub fn open(root: &Path, owner: Option<(u32, u32)>) -> Result<Self, TreeError> {
        // The jail's id must be able to pass through to the trees; nobody lists them.
        let mode = if owner.is_some() { 0o711 } else { 0o700 };
        let root = std::path::absolute(root).map_err(TreeError::io("find", shown(root)))?;
        let inner = ["trees", "layers", "sources", "tmp", "making"].map(|name| root.join(name));
        for dir in [root.clone()].into_iter().chain(inner) {
            fs::create_dir_all(&dir).map_err(TreeError::io("make", shown(&dir)))?;
            fs::set_permissions(&dir, Permissions::from_mode(mode))
                .map_err(TreeError::io("set the mode of", shown(&dir)))?;
        }
        let cache = Self { root, owner };
        cache.remove_debris()?;
        Ok(cache)
    }

    /// The pristine copy of `source`, from the cache when the source is as it was.
    ///
    /// # Errors
    /// [`TreeError::Limit`] when it is larger than `limits`; [`TreeError::Refused`]
    /// when it does not hold still; when it cannot be read or copied.
    pub fn pristine(
        &self,
        source: &Path,
        limits: &CopyLimits,
        progress: CopyProgress<'_>,
    ) -> Result<Pristine, TreeError> {
        let source = fs::canonicalize(source).map_err(TreeError::io("find", shown(source)))?;
        if self.root.starts_with(&source) {
            let (cache, source) = (shown(&self.root), shown(&source));
            return Err(TreeError::Refused(format!(
                "the cache {cache} lies inside the target {source}; put it elsewhere"
            )));
        }
        let from = at::open_root(&source).map_err(TreeError::io("open", shown(&source)))?;
        let note = self.note(source.as_os_str().as_bytes());
        for _ in 0..ATTEMPTS {
            let start = SystemTime::now();
            let survey = Survey::of(&from, limits)?;
            let fingerprint = survey.fingerprint().to_hex().to_string();
            if let Some(known) = remembered(&note).filter(|known| known.fingerprint == fingerprint)
                && let Some(pristine) = self.find(known.digest, known.skipped)?
            {
                return Ok(pristine);
            }
            let Some(pristine) = self.copy(&from, &survey, progress)? else {
                continue;
            };
            let again = Survey::of(&from, limits)?;
            if again.fingerprint().to_hex().as_str() != fingerprint {
                continue;
            }
            if !survey.is_racy(start) {
                let skipped = pristine.skipped.clone();
                let digest = pristine.digest;
                remember(
                    &note,
                    &Remembered {
                        fingerprint,
                        digest,
                        skipped,
                    },
                )?;
            }
            return Ok(pristine);
        }
        let source = shown(&source);
        Err(TreeError::Refused(format!(
            "{source} kept changing while it was copied; stop what writes to it and run again"
        )))
    }

    /// The copy that [`Cache::keep`] remembered under a name; `None` when there is none
    /// (any more).
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn recall(&self, name: &str) -> Result<Option<Pristine>, TreeError> {
        match remembered(&self.note(name.as_bytes())) {
            Some(known) => self.find(known.digest, known.skipped),
            None => Ok(None),
        }
    }

    /// A copy of a directory of our own, to which nothing writes, remembered under a name
    /// that says all of what it holds: the same name never means anything else.
    ///
    /// # Errors
    /// As [`Cache::pristine`].
    pub fn keep(
        &self,
        name: &str,
        dir: &Path,
        limits: &CopyLimits,
        progress: CopyProgress<'_>,
    ) -> Result<Pristine, TreeError> {
        let from = at::open_root(dir).map_err(TreeError::io("open", shown(dir)))?;
        let survey = Survey::of(&from, limits)?;
        let Some(pristine) = self.copy(&from, &survey, progress)? else {
            let dir = shown(dir);
            return Err(TreeError::Refused(format!("{dir} changed while it was copied")));
        };
        let what = Remembered {
            fingerprint: String::new(),
            digest: pristine.digest,
            skipped: pristine.skipped.clone(),
        };
        remember(&self.note(name.as_bytes()), &what)?;
        Ok(pristine)
    }

    /// Where something is remembered of what goes by this name.
    fn note(&self, name: &[u8]) -> PathBuf {
        self.root.join("sources").join(Content::of(name).to_string())
    }

    /// The tree of this digest, where it is (still) there and whole.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn held(&self, digest: Content) -> Result<Option<Pristine>, TreeError> {
        self.find(digest, Vec::new())
    }

    /// A tree that is there already; `None` when it is not, or is damaged.
    fn find(&self, digest: Content, skipped: Vec<(RelPath, String)>) -> Result<Option<Pristine>, TreeError> {
        let home = self.root.join("trees").join(digest.to_string());
        let Some(lock) = shared_lock(&home)? else {
            return Ok(None);
        };
        let bytes = match fs::read(home.join("manifest")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(TreeError::io("read", shown(&home.join("manifest")))(error)),
        };
        let manifest = (Content::of(&bytes) == digest)
            .then(|| manifest::decode(&bytes))
            .flatten();
        let Some(manifest) = manifest else {
            drop(lock);
            self.discard(&home)?;
            return Ok(None);
        };
        // The last use, for pruning; a read-only cache merely prunes less well.
        let _ = lock.set_modified(SystemTime::now());
        Ok(Some(Pristine {
            roots: vec![home.join("tree")],
            manifest,
            digest,
            skipped,
            owner: self.owner,
            _locks: vec![Arc::new(lock)],
        }))
    }

    /// Copies the source; `None` when it changed meanwhile.
    fn copy(
        &self,
        from: &std::os::fd::OwnedFd,
        survey: &Survey,
        progress: CopyProgress<'_>,
    ) -> Result<Option<Pristine>, TreeError> {
        self.in_part(|part, lock| self.copy_to(part, lock, from, survey, progress))
    }

    /// Gives `fill` a directory under way and its held lock, and removes the
    /// directory when `fill` did not move it away.
    pub(super) fn in_part<T>(
        &self,
        fill: impl FnOnce(&Path, Flock<File>) -> Result<T, TreeError>,
    ) -> Result<T, TreeError> {
        let part = self.root.join("tmp").join(uuid::Uuid::now_v7().to_string());
        let filled = self.begin(&part).and_then(|lock| fill(&part, lock));
        if part.exists() {
            // What cannot be removed now is removed at the next open.
            let _ = remove_all(&part);
        }
        filled
    }

    fn begin(&self, part: &Path) -> Result<Flock<File>, TreeError> {
        let mode = if self.owner.is_some() { 0o711 } else { 0o700 };
        // The lock is held before anybody can find it in its place: one that can be had
        // says that its owner is dead.
        let early = part.with_extension("lock");
        let lock = File::create_new(&early).map_err(TreeError::io("make", shown(&early)))?;
        let lock = Flock::lock(lock, FlockArg::LockSharedNonblock)
            .map_err(|(_, error)| TreeError::io("lock", shown(&early))(io::Error::from(error)))?;
        fs::create_dir(part).map_err(TreeError::io("make", shown(part)))?;
        fs::rename(&early, part.join("lock")).map_err(TreeError::io("move into place", shown(&early)))?;
        fs::set_permissions(part, Permissions::from_mode(mode))
            .map_err(TreeError::io("set the mode of", shown(part)))?;
        Ok(lock)
    }

    fn copy_to(
        &self,
        part: &Path,
        lock: Flock<File>,
        from: &std::os::fd::OwnedFd,
        survey: &Survey,
        progress: CopyProgress<'_>,
    ) -> Result<Option<Pristine>, TreeError> {
        let tree = part.join("tree");
        fs::create_dir(&tree).map_err(TreeError::io("make", shown(&tree)))?;
        fs::set_permissions(&tree, Permissions::from_mode(0o755))
            .map_err(TreeError::io("set the mode of", shown(&tree)))?;
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::lchown(&tree, Some(uid), Some(gid)).map_err(TreeError::io("give away", shown(&tree)))?;
        }
        let to = at::open_root(&tree).map_err(TreeError::io("open", shown(&tree)))?;
        let copied = ingest::copy(from, &to, survey, self.owner, progress)?;
        if copied.moved {
            return Ok(None);
        }
        let encoded = manifest::encode(&copied.manifest);
        let digest = Content::of(&encoded);
        fs::write(part.join("manifest"), &encoded).map_err(TreeError::io("write", shown(&part.join("manifest"))))?;
        let mut skipped = survey.skipped.clone();
        skipped.extend(copied.unreadable);
        skipped.sort();
        let home = self.root.join("trees").join(digest.to_string());
        match fs::rename(part, &home) {
            Ok(()) => Ok(Some(Pristine {
                roots: vec![home.join("tree")],
                manifest: copied.manifest,
                digest,
                skipped,
                owner: self.owner,
                _locks: vec![Arc::new(lock)],
            })),
            // Somebody has the same tree there: it is as good as ours.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => {
                drop(lock);
                self.find(digest, skipped)
            }
            Err(error) => Err(TreeError::io("move into place", shown(&home))(error)),
        }
    }
}

/// Takes a shared lock on a tree; `None` when it is not there (any more).
pub(super) fn shared_lock(home: &Path) -> Result<Option<Flock<File>>, TreeError> {
    let path = home.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(TreeError::io("open", shown(&path))(error)),
    };
    let lock = Flock::lock(file, FlockArg::LockShared)
        .map_err(|(_, error)| TreeError::io("lock", shown(&path))(io::Error::from(error)))?;
    // It may have been pruned while we waited for the lock.
    Ok(path.exists().then_some(lock))
}

fn remembered(note: &Path) -> Option<Remembered> {
    serde_json::from_slice(&fs::read(note).ok()?).ok()
}

fn remember(note: &Path, what: &Remembered) -> Result<(), TreeError> {
    let fail = |error: io::Error| TreeError::io("write", shown(note))(error);
    let home = note.parent().unwrap_or(note);
    let mut file = tempfile::NamedTempFile::new_in(home).map_err(fail)?;
    serde_json::to_writer(&mut file, what).map_err(|error| fail(error.into()))?;
    file.persist(note).map_err(|error| fail(error.error))?;
    Ok(())
}
