//! A run that was cut off, and is gone on with in its own directory.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::DirBuilderExt,
    sync::PoisonError,
};

use super::{RecordError, RunDir, audit};

impl RunDir {
    /// What the chain has bound of each ledger so far.
    pub fn has_bound(&self, ledgers: BTreeMap<String, u64>) {
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = ledgers;
    }

    /// Takes away what only a closed chain has, before it is gone on with.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn unseal(&self) -> Result<(), RecordError> {
        for name in [audit::ENVELOPE, audit::RECEIPT] {
            let path = self.path().join(name);
            match fs::remove_file(&path) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => {
                    return Err(RecordError::io("take away", &path)(why));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves what lies at `path`, if anything does, below the directory `to`.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn set_aside(&self, path: &str, to: &str) -> Result<(), RecordError> {
        let (from, to) = (self.path().join(path), self.path().join(to).join(path));
        if fs::symlink_metadata(&from).is_err() {
            return Ok(());
        }
        let home = to.parent().unwrap_or(self.path());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(home)
            .and_then(|()| fs::rename(&from, &to))
            .map_err(RecordError::io("set aside", &from))
    }

    /// The names in one of the run's directories.
    ///
    /// # Errors
    /// When it cannot be read; one that is not there is empty.
    pub fn names_in(&self, relative: &str) -> Result<Vec<String>, RecordError> {
        let path = self.path().join(relative);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(why) => return Err(RecordError::io("read", &path)(why)),
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        let mut names = names
            .collect::<io::Result<Vec<_>>>()
            .map_err(RecordError::io("read", &path))?;
        names.sort_unstable();
        Ok(names)
    }

    /// How many lines an artifact of lines has; one that was being written is taken away.
    pub(super) fn whole_lines(&self, relative: &str) -> Result<u64, RecordError> {
        let path = self.path().join(relative);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(why) => return Err(RecordError::io("read", &path)(why)),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            let opened = OpenOptions::new().write(true).open(&path);
            opened
                .and_then(|file| file.set_len(whole as u64))
                .map_err(RecordError::io("cut off what is torn of", &path))?;
        }
        Ok(bytes[..whole].iter().filter(|byte| **byte == b'\n').count() as u64)
    }
}
