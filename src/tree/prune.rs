//! What goes from the cache: what was not used for longest, what is damaged, and what dead
//! processes left.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nix::fcntl::{Flock, FlockArg};

use super::{Cache, TreeError, content::shown, remove_all, usage};

impl Cache {
    /// Removes least recently used trees and layers until the rest has at most
    /// `max_bytes`; what is in use stays. Returns how many bytes are left.
    ///
    /// # Errors
    /// When the cache cannot be read or a tree cannot be removed.
    pub fn prune(&self, max_bytes: u64) -> Result<u64, TreeError> {
        let mut trees = Vec::new();
        let (copies, layers) = (self.root.join("trees"), self.root.join("layers"));
        for dir in children(&copies)?.into_iter().chain(children(&layers)?) {
            let used = fs::metadata(dir.join("lock"))
                .and_then(|m| m.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH);
            match size(&dir) {
                Ok(bytes) => trees.push((used, bytes, dir)),
                Err(error) if dir.exists() => return Err(error),
                // Somebody else has just removed it.
                Err(_) => {}
            }
        }
        trees.sort();
        let mut total: u64 = trees.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, dir) in trees {
            if total <= max_bytes {
                break;
            }
            if self.discard(&dir)? {
                total -= bytes;
            }
        }
        Ok(total)
    }

    /// Removes one tree unless somebody uses it: it is renamed away under its
    /// exclusive lock, so nobody can begin to use what is being removed.
    pub(super) fn discard(&self, home: &Path) -> Result<bool, TreeError> {
        let Ok(lock) = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(home.join("lock"))
        else {
            return Ok(false);
        };
        let Ok(_lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else {
            return Ok(false);
        };
        let away = self.root.join("tmp").join(uuid::Uuid::now_v7().to_string());
        match fs::rename(home, &away) {
            Ok(()) => remove_locked(&away).map(|()| true),
            // Another had the lock before us, and was done when we got it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(TreeError::io("move away", shown(home))(error)),
        }
    }

    /// Removes copies whose process is dead: their lock can be had.
    pub(super) fn remove_debris(&self) -> Result<(), TreeError> {
        for dir in children(&self.root.join("tmp"))? {
            let path = dir.join("lock");
            let lock = match File::open(&path) {
                Ok(lock) => lock,
                // A lock that is not in its place yet comes in a moment, and a directory whose
                // lock has just gone goes with it; half a minute is plenty.
                Err(_) if untouched(&dir).is_none_or(|time| time.as_secs() <= 30) => continue,
                Err(_) => match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
                    Ok(lock) => lock,
                    Err(_) => continue,
                },
            };
            // Held while it is removed, so that only one of us does so.
            if let Ok(_lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
                match remove_locked(&dir) {
                    // Its owner lives and removes it as well: a copy that somebody else
                    // had finished first.
                    Err(TreeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
            }
        }
        Ok(())
    }
}

/// Removes a directory whose lock is held: the lock goes last, or somebody else would
/// take what is left for debris and remove it as well.
fn remove_locked(dir: &Path) -> Result<(), TreeError> {
    if !dir.exists() {
        // Somebody else removed it before we had the lock.
        return Ok(());
    }
    for inner in children(dir)? {
        if inner.file_name().is_some_and(|name| name != "lock") {
            remove_all(&inner)?;
        }
    }
    remove_all(dir)
}

/// How long ago an entry of a directory was last made or removed.
fn untouched(dir: &Path) -> Option<Duration> {
    fs::symlink_metadata(dir).ok()?.modified().ok()?.elapsed().ok()
}

/// Bytes that a tree or layer takes. It never changes, so it is measured once: a cache may
/// hold millions of files, and every run asks.
fn size(home: &Path) -> Result<u64, TreeError> {
    let note = home.join("size");
    let noted = fs::read_to_string(&note).ok();
    // Without its newline it was cut short.
    if let Some(bytes) = noted.and_then(|text| text.strip_suffix('\n')?.parse().ok()) {
        return Ok(bytes);
    }
    let (bytes, _) = usage(home, u64::MAX)?;
    // Where it cannot be noted it is measured again.
    let _ = fs::write(&note, format!("{bytes}\n"));
    Ok(bytes)
}

fn children(dir: &Path) -> Result<Vec<PathBuf>, TreeError> {
    let listed = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(TreeError::io("list", shown(dir)))
}
