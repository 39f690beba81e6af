//! One run's directory.
//!
//! ```text
//! <runs>/<id>/lock            held (flock(2)) while the run lives
//!            /journal.jsonl   the audit chain: one record a line, fsynced before anything follows from it
//!            /…               artifacts, each whole or absent
//! ```
//!
//! Artifacts that are only [kept](RunDir::keep) may be lost to a power failure until the
//! next line of the journal or the next artifact that is [written](RunDir::write), which
//! wait until they are safe: nothing of them ever names what is not. A record that is only
//! [noted](RunDir::note) is in the file at once, and may outlive an artifact that it names.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde_json::Value;

use super::{RecordError, Redactor, Secret, journal::Journal, unsynced::Unsynced};
use crate::names::RunId;

/// The file whose lock a run holds while it lives.
pub(super) const LOCK: &str = "lock";

/// How files are called that are written as their bytes come.
const STREAMS: [&str; 3] = ["_stdout.txt", "_stderr.txt", ".events.jsonl"];

/// One run's directory, held with an exclusive lock while the run lives.
pub struct RunDir {
    path: PathBuf,
    id: RunId,
    redactor: RwLock<Redactor>,
    secrets: Mutex<Vec<Secret>>,
    journal: Mutex<Journal>,
    unsynced: Unsynced,
    /// How much of each ledger the journal has bound.
    pub(super) bound: Mutex<BTreeMap<String, u64>>,
    _lock: Flock<File>,
}

/// The directory of a run that no process writes to, and nobody takes up meanwhile.
pub struct Held {
    pub(super) path: PathBuf,
    lock: Flock<File>,
}

impl Held {
    /// Takes the lock that a run holds while it lives.
    ///
    /// # Errors
    /// [`RecordError::Alive`] where another process holds it; when it cannot be opened.
    pub fn take(run: &Path) -> Result<Self, RecordError> {
        let lock = run.join(LOCK);
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&lock);
        let opened = opened.map_err(RecordError::io("open", &lock))?;
        let lock = Flock::lock(opened, FlockArg::LockExclusiveNonblock)
            .map_err(|_| RecordError::Alive(run.display().to_string()))?;
        let path = run.to_path_buf();
        Ok(Self { path, lock })
    }
}

impl RunDir {
    /// Creates `<runs>/<id>/` (mode 0700). `secrets` are redacted by value in
    /// everything written through here.
    ///
    /// # Errors
    /// When it exists already or cannot be made.
    pub fn create(runs: &Path, id: &RunId, secrets: &[Secret]) -> Result<Self, RecordError> {
        let path = runs.join(id.as_str());
        fs::create_dir_all(runs).map_err(RecordError::io("make", runs))?;
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(RecordError::io("make", &path))?;
        let lock = path.join(LOCK);
        let opened = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&lock);
        let lock = Flock::lock(
            opened.map_err(RecordError::io("make", &lock))?,
            FlockArg::LockExclusiveNonblock,
        )
        .map_err(|(_, errno)| RecordError::io("lock", &path)(errno.into()))?;
        let journal = Mutex::new(Journal::create(&path)?);
        sync_dir(&path)
            .and_then(|()| sync_dir(runs))
            .map_err(RecordError::io("sync", &path))?;
        Ok(Self {
            path,
            id: id.clone(),
            redactor: RwLock::new(Redactor::new(secrets)),
            secrets: Mutex::new(secrets.to_vec()),
            journal,
            unsynced: Unsynced::default(),
            bound: Mutex::default(),
            _lock: lock,
        })
    }

    /// Opens the directory of a run that was cut off, to go on with it; its chain was
    /// verified. A record that was being written is taken away: the second value is how many
    /// bytes of it there were.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reopen(held: Held, id: &RunId) -> Result<(Self, u64), RecordError> {
        let Held { path, lock } = held;
        let (journal, torn) = Journal::reopen(&path)?;
        let run = Self {
            path,
            id: id.clone(),
            redactor: RwLock::default(),
            secrets: Mutex::default(),
            journal: Mutex::new(journal),
            unsynced: Unsynced::default(),
            bound: Mutex::default(),
            _lock: lock,
        };
        Ok((run, torn))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// From now on `more` are redacted, too. What is written already stays as it is.
    pub fn hide(&self, more: &[Secret]) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.extend_from_slice(more);
        *self.redactor.write().unwrap_or_else(PoisonError::into_inner) = Redactor::new(&secrets);
    }

    fn redactor(&self) -> RwLockReadGuard<'_, Redactor> {
        self.redactor.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends one record to `journal.jsonl` and fsyncs it, and all before it.
    ///
    /// # Errors
    /// When it cannot be written: then nothing that depends on it may happen.
    pub fn journal<T: Serialize>(&self, event: &str, fields: &T) -> Result<(), RecordError> {
        let fields = self.clean(fields, "the journal")?;
        let mut journal = self.writer();
        self.unsynced.sync()?;
        journal.append(event, &fields)?;
        journal.sync()
    }

    /// Appends one record from which nothing follows yet: it becomes durable with the next
    /// that is [journalled](RunDir::journal).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note<T: Serialize>(&self, event: &str, fields: &T) -> Result<(), RecordError> {
        let fields = self.clean(fields, "the journal")?;
        self.writer().append(event, &fields)
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an artifact whole (see [`durable_write`]), redacted; parents are made.
    ///
    /// # Errors
    /// When it cannot be written; what was there before is then still there.
    pub fn write(&self, relative: &str, bytes: &[u8]) -> Result<PathBuf, RecordError> {
        let path = self.path.join(relative);
        self.unsynced.sync()?;
        durable_write(&path, self.redactor().redact(bytes).as_deref().unwrap_or(bytes))?;
        Ok(path)
    }

    /// Makes the directory of an artifact that somebody else is about to write.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_parents(&self, relative: &str) -> Result<(), RecordError> {
        let path = self.path.join(relative);
        make_parents(&path)
            .map(|_| ())
            .map_err(RecordError::io("make the directory of", &path))
    }

    /// Writes an artifact whole, redacted, from which nothing follows yet: it becomes
    /// durable with what is written next. Parents are made.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, relative: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let path = self.path.join(relative);
        let clean = self.redactor().redact(bytes);
        replace(&path, clean.as_deref().unwrap_or(bytes), Synced::Later).map_err(RecordError::io("write", &path))?;
        self.unsynced.add(path)
    }

    /// As [`RunDir::keep`], and as it is: what a stranger compares by its hash.
    ///
    /// # Errors
    /// As there.
    pub(super) fn keep_whole(&self, relative: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let path = self.path.join(relative);
        replace(&path, bytes, Synced::Later).map_err(RecordError::io("write", &path))?;
        self.unsynced.add(path)
    }

    /// Sees to it that a file that somebody else wrote becomes durable like what is kept.
    pub(super) fn sync_later(&self, path: PathBuf) -> Result<(), RecordError> {
        self.unsynced.add(path)
    }

    /// As [`RunDir::write`], pretty JSON.
    ///
    /// # Errors
    /// As there.
    pub fn write_json<T: Serialize>(&self, relative: &str, value: &T) -> Result<PathBuf, RecordError> {
        self.write(relative, &self.pretty(relative, value)?)
    }

    /// As [`RunDir::keep`], pretty JSON.
    ///
    /// # Errors
    /// As there.
    pub fn keep_json<T: Serialize>(&self, relative: &str, value: &T) -> Result<(), RecordError> {
        self.keep(relative, &self.pretty(relative, value)?)
    }

    /// Makes durable what was only kept.
    ///
    /// # Errors
    /// When a file cannot be synced.
    pub fn sync(&self) -> Result<(), RecordError> {
        self.unsynced.sync()
    }

    /// Appends one JSON line to an artifact, redacted; parents are made. Unlike the
    /// journal's, a line is not fsynced: nothing follows from it.
    ///
    /// # Errors
    /// When it cannot be encoded or written.
    pub fn append<T: Serialize>(&self, relative: &str, value: &T) -> Result<(), RecordError> {
        let path = self.path.join(relative);
        let mut bytes = serde_json::to_vec(&self.clean(value, relative)?).map_err(encode(relative))?;
        bytes.push(b'\n');
        let append = || -> io::Result<()> {
            make_parents(&path)?;
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
            file.write_all(&bytes)
        };
        append().map_err(RecordError::io("append to", &path))
    }

    /// Takes over a file that a stream was written to as it came: redacts it, and sees to
    /// it that it becomes durable like what is [kept](RunDir::keep).
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn adopt(&self, relative: &str) -> Result<(), RecordError> {
        let path = self.path.join(relative);
        if self.redactor().is_empty() {
            return self.unsynced.add(path);
        }
        let bytes = fs::read(&path).map_err(RecordError::io("read", &path))?;
        if let Some(clean) = self.redactor().redact(&bytes) {
            replace(&path, &clean, Synced::Later).map_err(RecordError::io("write", &path))?;
        }
        self.unsynced.add(path)
    }

    /// Redacts what streams left behind that nobody could adopt, because the run was cut
    /// off. Each file is replaced: what still writes to one writes to a file without a name.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub fn settle(&self) -> Result<(), RecordError> {
        let mut left = vec![self.path.clone()];
        while let Some(dir) = left.pop().filter(|_| !self.redactor().is_empty()) {
            let entries = fs::read_dir(&dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            for entry in entries.map_err(RecordError::io("read", &dir))? {
                let (path, kind) = (entry.path(), entry.file_type());
                let name = entry.file_name();
                let kind = kind.map_err(RecordError::io("look at", &path))?;
                if kind.is_dir() {
                    left.push(path);
                } else if kind.is_file()
                    && STREAMS
                        .iter()
                        .any(|end| name.as_encoded_bytes().ends_with(end.as_bytes()))
                {
                    let bytes = fs::read(&path).map_err(RecordError::io("read", &path))?;
                    durable_write(&path, self.redactor().redact(&bytes).as_deref().unwrap_or(&bytes))?;
                }
            }
        }
        Ok(())
    }

    /// Lets an artifact be found under a second name as well, in place of what had it before.
    ///
    /// # Errors
    /// When there is no such artifact or it cannot be linked.
    pub fn alias(&self, relative: &str, name: &str) -> Result<(), RecordError> {
        let (from, to) = (self.path.join(relative), self.path.join(name));
        match fs::remove_file(&to) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(RecordError::io("replace", &to)(why)),
            _ => {}
        }
        // Not every file system has links.
        fs::hard_link(&from, &to)
            .or_else(|_| fs::copy(&from, &to).map(|_| ()))
            .map_err(RecordError::io("link", &to))
    }

    /// What takes the run's secrets out, for whoever writes beside the record.
    pub fn redactor_now(&self) -> Redactor {
        self.redactor().clone()
    }

    /// Whether there is anything that is redacted.
    pub fn redacts(&self) -> bool {
        !self.redactor().is_empty()
    }

    /// A text without any secret.
    pub fn redact(&self, text: &str) -> String {
        self.redactor().text(text).into_owned()
    }

    /// Whether a secret is in it, which writing it takes out.
    pub fn holds_secret(&self, bytes: &[u8]) -> bool {
        self.redactor().redact(bytes).is_some()
    }

    /// A value as JSON without any secret.
    fn clean<T: Serialize>(&self, value: &T, what: &str) -> Result<Value, RecordError> {
        let encoded = serde_json::to_value(value).map_err(encode(what))?;
        Ok(self.redactor().value(encoded))
    }

    fn pretty<T: Serialize>(&self, relative: &str, value: &T) -> Result<Vec<u8>, RecordError> {
        let value = self.clean(value, relative)?;
        let mut bytes = serde_json::to_vec_pretty(&value).map_err(encode(relative))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn encode(what: &str) -> impl FnOnce(serde_json::Error) -> RecordError {
    let what = what.to_owned();
    move |source| RecordError::Encode { what, source }
}

/// Writes a file so that a crash at any moment leaves the old one or the new one
/// whole: a temporary name, fsync(2), rename(2), fsync of the directory. Mode 0600.
///
/// # Errors
/// When any of that fails.
pub fn durable_write(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    replace(path, bytes, Synced::Now).map_err(RecordError::io("write", path))
}

#[derive(PartialEq, Eq)]
enum Synced {
    Now,
    Later,
}

/// Makes the directory of a file, where it is not there; gives it.
fn make_parents(path: &Path) -> io::Result<&Path> {
    let dir = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    Ok(dir)
}

fn replace(path: &Path, bytes: &[u8], synced: Synced) -> io::Result<()> {
    let begin = |dir: &Path| tempfile::Builder::new().prefix(".writing-").tempfile_in(dir);
    let dir = path.parent().unwrap_or(Path::new("."));
    // It is there nearly always.
    let mut file = match begin(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => begin(make_parents(path)?)?,
        begun => begun?,
    };
    file.write_all(bytes)?;
    if synced == Synced::Later {
        file.persist(path)?;
        return Ok(());
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
#[path = "run_dir_tests.rs"]
mod tests;
