//! Files that are written and not yet safe from a power failure.
//!
//! One fsync(2) after the other costs a commit of the file system's journal each; many
//! at once share one. So what nothing follows from yet is made durable together, and while
//! more of it comes.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use super::RecordError;

/// Files that wait before a thread begins to sync them.
const BATCH: usize = 128;
/// Files that may wait while one is at it.
const WAITING: usize = 4 * BATCH;
/// Calls of fsync(2) under way at once.
const AT_ONCE: usize = 16;

/// Files that wait to be synced.
#[derive(Default)]
pub(super) struct Unsynced(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    files: Vec<PathBuf>,
    /// A batch that is being synced meanwhile.
    under_way: Option<JoinHandle<Result<(), RecordError>>>,
}

impl Unsynced {
    /// Takes in a file that was written.
    ///
    /// # Errors
    /// When too many wait, or those before cannot be synced.
    pub fn add(&self, path: PathBuf) -> Result<(), RecordError> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.files.push(path);
        let busy = waiting.under_way.as_ref().is_some_and(|thread| !thread.is_finished());
        if waiting.files.len() < if busy { WAITING } else { BATCH } {
            return Ok(());
        }
        waiting.settle()?;
        waiting.begin()
    }

    /// Syncs all of them, and the directories that name them.
    ///
    /// # Errors
    /// The first that cannot be synced.
    pub fn sync(&self) -> Result<(), RecordError> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = waiting.settle();
        let synced = sync(std::mem::take(&mut waiting.files));
        settled.and(synced)
    }
}

impl Waiting {
    /// Waits for the batch under way.
    fn settle(&mut self) -> Result<(), RecordError> {
        self.under_way.take().map_or(Ok(()), |thread| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Begins to sync what waits: whoever writes goes on meanwhile.
    fn begin(&mut self) -> Result<(), RecordError> {
        let files = std::mem::take(&mut self.files);
        let batch = files.clone();
        match std::thread::Builder::new().spawn(move || sync(batch)) {
            Ok(thread) => {
                self.under_way = Some(thread);
                Ok(())
            }
            // A host without a thread to spare makes it slower, no more.
            Err(_) => sync(files),
        }
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
        // This thread works as well, and alone where the host has no other to spare.
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
        unsynced.sync().expect("sync");
        assert!(unsynced.0.lock().expect("lock").files.is_empty());
        unsynced.add(dir.path().join("gone")).expect("add");
        let why = unsynced.sync().expect_err("it is not there").to_string();
        assert!(why.contains("gone"), "{why}");
        unsynced.sync().expect("told once");
        // Of a batch that is synced meanwhile, too.
        let told = (0..2 * WAITING).find_map(|at| unsynced.add(dir.path().join(format!("gone{at}"))).err());
        let why = told
            .or_else(|| unsynced.sync().err())
            .expect("none is there")
            .to_string();
        assert!(why.contains("gone"), "{why}");
    }
}
