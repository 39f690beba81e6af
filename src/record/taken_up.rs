//! A run that was cut off, and is gone on with in its own directory.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::DirBuilderExt,
    sync::PoisonError,
};

use super::{Held, RecordError, RunDir, audit};

/// How files are called that were being written ([`super::durable_write`], objects of steps).
const WRITING: [&str; 2] = [".writing-", ".tmp"];
/// Characters that follow in such a name.
const RANDOM: usize = 6;
/// Directories with names that a repository gives.
const THEIRS: [&str; 2] = ["files", "outputs"];

impl Held {
    /// Removes what was being written when the run was cut off, and never had its name.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file not be removed.
    pub fn sweep(&self) -> Result<(), RecordError> {
        let mut left = vec![self.path.clone()];
        while let Some(dir) = left.pop() {
            let read = fs::read_dir(&dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            for entry in read.map_err(RecordError::io("read", &dir))? {
                let (path, name) = (entry.path(), entry.file_name());
                let kind = entry.file_type().map_err(RecordError::io("look at", &path))?;
                let Some(name) = name.to_str() else { continue };
                if kind.is_dir() && !THEIRS.contains(&name) {
                    left.push(path);
                } else if kind.is_file() && was_being_written(name) {
                    fs::remove_file(&path).map_err(RecordError::io("remove", &path))?;
                }
            }
        }
        Ok(())
    }
}

fn was_being_written(name: &str) -> bool {
    let random = WRITING.iter().find_map(|begin| name.strip_prefix(begin));
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::RunId;

    #[test]
    fn what_was_being_written_goes_and_a_repositorys_names_stay() {
        let dir = tempfile::tempdir().expect("tempdir");
        let run = RunDir::create(dir.path(), &RunId::fresh(), &[]).expect("create");
        let path = run.path().to_path_buf();
        assert!(matches!(Held::take(&path), Err(RecordError::Alive(_))));
        drop(run);
        for (name, stays) in [
            (".writing-aB3dEf", false),
            ("objects/ab/.tmpaB3dEf", false),
            ("turns/.writing-000000", false),
            ("files/.writing-aB3dEf", true),
            ("iter_0001/outputs/.tmpaB3dEf", true),
            (".writing-longer1", true),
            (".tmp-a.b", true),
        ] {
            let file = path.join(name);
            fs::create_dir_all(file.parent().expect("parent")).expect("mkdir");
            fs::write(&file, "x").expect("write");
            Held::take(&path).expect("held").sweep().expect("sweep");
            assert_eq!(file.exists(), stays, "{name}");
        }
    }
}
