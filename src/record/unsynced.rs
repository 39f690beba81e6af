//! Files that are written and not yet safe from a power failure.
//!
//! One fsync(2) after the other costs a commit of the file system's journal each; many
//! at once share one. So what nothing follows from yet is made durable together.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::RecordError;

/// Files that may wait; with one more they are synced.
const WAITING: usize = 512;
/// Calls of fsync(2) under way at once.
const AT_ONCE: usize = 16;

/// Files that wait to be synced.
#[derive(Default)]
pub(super) struct Unsynced(Mutex<Vec<PathBuf>>);

impl Unsynced {
    /// Takes in a file that was written.
    ///
    /// # Errors
    /// When too many wait and cannot be synced.
    pub fn add(&self, path: PathBuf) -> Result<(), RecordError> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(path);
        if waiting.len() < WAITING {
            return Ok(());
        }
        sync(std::mem::take(&mut waiting))
    }

    /// Syncs all of them, and the directories that name them.
    ///
    /// # Errors
    /// The first that cannot be synced.
    pub fn sync(&self) -> Result<(), RecordError> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sync(std::mem::take(&mut waiting))
    }
}

fn sync(files: Vec<PathBuf>) -> Result<(), RecordError> {
    let parents: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    let places: Vec<&Path> = files.iter().map(PathBuf::as_path).chain(parents).collect();
    let next = AtomicUsize::new(0);
    let some = || -> Result<(), (usize, io::Error)> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(place) = places.get(at) else { return Ok(()) };
            let synced = File::open(place).and_then(|file| file.sync_all());
            synced.map_err(|why| (at, why))?;
        }
    };
    let failed = std::thread::scope(|scope| {
        // This thread works as well: a host that has none to spare makes it slower, no more.
        let threads: Vec<_> = (1..AT_ONCE.min(places.len()))
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, some).ok())
            .collect();
        let own = some();
        let others = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(own)
            .chain(others.collect::<Vec<_>>())
            .filter_map(Result::err)
            .min_by_key(|(at, _)| *at)
    });
    match failed {
        Some((at, why)) => Err(RecordError::io("sync", places[at])(why)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_waits_is_synced_and_what_is_gone_is_named() {
        let dir = tempfile::tempdir().expect("tempdir");
        let unsynced = Unsynced::default();
        unsynced.sync().expect("nothing waits");
        for at in 0..WAITING + 40 {
            let path = dir.path().join(at.to_string());
            std::fs::write(&path, "x").expect("write");
            unsynced.add(path).expect("add");
        }
        assert_eq!(unsynced.0.lock().expect("lock").len(), 40);
        unsynced.sync().expect("sync");
        assert!(unsynced.0.lock().expect("lock").is_empty());
        unsynced.add(dir.path().join("gone")).expect("add");
        let why = unsynced.sync().expect_err("it is not there").to_string();
        assert!(why.contains("gone"), "{why}");
        unsynced.sync().expect("told once");
    }
}
