//! What is remembered of targets that were fetched, and what came of files so far.
//!
//! ```text
//! <root>/notes/<digest of a name>   JSON; written whole or not at all
//!       /turns/<digest of a name>   flock(2): whoever fetches it
//!       /parts/<digest of a name>   a file under way, locked by whoever writes it; its mtime is the last use
//!             /<…>.json             what tells whether the server still means the same file
//! ```
//! The trees themselves lie in the cache of trees, which forgets the least recently used.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::SourceError;
use crate::tree::Content;

/// Bytes that files under way may take together, once nobody writes to them.
const MAX_PARTS: u64 = 4 << 30;
/// How long a file that nobody goes on with is kept.
const MAX_AGE: Duration = Duration::from_secs(7 * 86_400);
/// Between two looks at a lock that another process holds.
const LOOK: Duration = Duration::from_millis(100);

/// The shelf of one cache.
#[derive(Debug)]
pub(super) struct Shelf {
    root: PathBuf,
}

/// The right to fetch one target; it goes with the process, however that ends.
pub(super) struct Turn(#[expect(dead_code, reason = "held for its lock")] Flock<File>);

impl Shelf {
    /// Opens the shelf, making it where it is missing, and removes what nobody goes on with.
    pub fn open(root: &Path) -> Result<Self, SourceError> {
        for dir in ["notes", "turns", "parts"].map(|name| root.join(name)) {
            fs::create_dir_all(&dir)
                .and_then(|()| fs::set_permissions(&dir, Permissions::from_mode(0o700)))
                .map_err(SourceError::io(format!("make {}", dir.display())))?;
        }
        let shelf = Self {
            root: root.to_path_buf(),
        };
        shelf.prune(MAX_PARTS, MAX_AGE)?;
        Ok(shelf)
    }

    fn place(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(Content::of(name.as_bytes()).to_string())
    }

    /// What was noted under a name; nothing where it cannot be read any more.
    pub fn note<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.place("notes", name)).ok()?).ok()
    }

    /// Notes something under a name.
    pub fn remember(&self, name: &str, what: &impl Serialize) -> Result<(), SourceError> {
        write_whole(&self.place("notes", name), what)
    }

    /// Waits until no other process fetches what goes by this name; `told` is called once
    /// if there is one.
    pub async fn turn(&self, name: &str, told: impl FnOnce()) -> Result<Turn, SourceError> {
        let path = self.place("turns", name);
        let shown = path.display().to_string();
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(SourceError::io(format!("open {shown}")))?;
        let mut told = Some(told);
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Turn(held)),
                Err((file, nix::Error::EWOULDBLOCK)) => file,
                Err((_, why)) => return Err(SourceError::io(format!("lock {shown}"))(why.into())),
            };
            if let Some(told) = told.take() {
                told();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The file under way of a name.
    pub fn part(&self, name: &str) -> Result<Part, SourceError> {
        let path = self.place("parts", name);
        let shown = path.display().to_string();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(SourceError::io(format!("open {shown}")))?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, why)| {
            let what = format!("lock {shown}, which another process writes");
            SourceError::io(what)(why.into())
        })?;
        let told = path.with_extension("json");
        let about = fs::read(&told)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Part { path, file, about })
    }

    /// Removes files under way that nobody writes and nobody went on with, and the least
    /// recently used of the others until `max_bytes` are left.
    fn prune(&self, max_bytes: u64, max_age: Duration) -> Result<(), SourceError> {
        let dir = self.root.join("parts");
        let fail = || SourceError::io(format!("look through {}", dir.display()));
        let mut parts = Vec::new();
        for entry in fs::read_dir(&dir).map_err(fail())? {
            let path = entry.map_err(fail())?.path();
            // Somebody else may remove it meanwhile.
            let (None, Ok(meta)) = (path.extension(), fs::symlink_metadata(&path)) else {
                continue;
            };
            parts.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len(), path));
        }
        parts.sort();
        let mut total: u64 = parts.iter().map(|(_, bytes, _)| bytes).sum();
        for (used, bytes, path) in parts {
            let old = used.elapsed().is_ok_and(|age| age > max_age);
            if !old && total <= max_bytes {
                continue;
            }
            if let Ok(file) = File::open(&path)
                && let Ok(_held) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            {
                remove(&path);
                total -= bytes;
            }
        }
        Ok(())
    }
}

/// What tells whether a server still means the same file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    etag: String,
}

/// A file under way. What is there stays when it is dropped, and is gone on with later.
pub(super) struct Part {
    path: PathBuf,
    file: Flock<File>,
    about: Option<About>,
}

impl Part {
    /// How much is there, bytes.
    pub fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// The tag of what it is a part of.
    pub fn etag(&self) -> Option<&str> {
        self.about.as_ref().map(|about| about.etag.as_str())
    }

    /// How much is there that can be gone on with, because a tag tells what it is a part of.
    pub fn begun(&self) -> Option<u64> {
        self.etag()?;
        Some(self.length()).filter(|length| *length > 0)
    }

    /// Begins anew; with the tag of what comes now, where the server gives one.
    pub fn begin(&mut self, etag: Option<&str>) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.about = etag.map(|etag| About { etag: etag.to_owned() });
        let told = self.path.with_extension("json");
        match &self.about {
            Some(about) => write_whole(&told, about).map_err(io::Error::other),
            None => match fs::remove_file(&told) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
                _ => Ok(()),
            },
        }
    }

    /// Goes on behind what is there; how much that is.
    pub fn go_on(&mut self) -> io::Result<u64> {
        self.file.seek(SeekFrom::End(0))
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// The whole of it, from the start.
    pub fn file(&mut self) -> io::Result<&mut File> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(&mut self.file)
    }

    /// Its SHA-256 and, for a git blob (gitformat-pack(5)), its SHA-1, both in hex.
    pub fn digests(&mut self) -> io::Result<(String, String)> {
        use sha1::Digest as _;
        let length = self.file.metadata()?.len();
        let mut sha256 = ring::digest::Context::new(&ring::digest::SHA256);
        let mut blob = sha1::Sha1::new();
        blob.update(format!("blob {length}\0"));
        let mut buffer = vec![0; 256 << 10];
        let file = self.file()?;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((hex(sha256.finish().as_ref()), hex(&blob.finalize()))),
                got => {
                    sha256.update(&buffer[..got]);
                    blob.update(&buffer[..got]);
                }
            }
        }
    }

    /// Moves what is there to a place of the caller's on the same file system, if it can.
    pub fn move_to(mut self, to: &Path) -> io::Result<()> {
        match fs::rename(&self.path, to) {
            Err(why) if why.raw_os_error() == Some(libc::EXDEV) => {
                let mut copy = File::create_new(to)?;
                io::copy(self.file()?, &mut copy)?;
            }
            moved => moved?,
        }
        fs::set_permissions(to, Permissions::from_mode(0o644))?;
        self.remove();
        Ok(())
    }

    /// Removes it: nobody is to go on with it.
    pub fn remove(self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    // What cannot be removed now is removed when it is old.
    let _ = fs::remove_file(path);
    let _ = fs::remove_file(path.with_extension("json"));
}

fn write_whole(path: &Path, what: &impl Serialize) -> Result<(), SourceError> {
    let fail = || SourceError::io(format!("write {}", path.display()));
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path)).map_err(fail())?;
    serde_json::to_writer(&mut file, what).map_err(|why| fail()(why.into()))?;
    file.persist(path).map_err(|why| fail()(why.error))?;
    Ok(())
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_gone_on_with_only_while_its_tag_is_known() {
        let dir = tempfile::tempdir().expect("tempdir");
        let shelf = Shelf::open(dir.path()).expect("opens");
        let mut part = shelf.part("a").expect("a part");
        assert_eq!(part.begun(), None);
        part.begin(Some("\"t\"")).expect("begins");
        part.write(b"abc").expect("writes");
        assert!(shelf.part("a").is_err(), "it is being written");
        drop(part);
        let mut part = shelf.part("a").expect("again");
        assert_eq!((part.begun(), part.etag()), (Some(3), Some("\"t\"")));
        assert_eq!(part.go_on().expect("goes on"), 3);
        let (sha256, blob) = part.digests().expect("reads");
        assert_eq!(
            sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(blob, "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f");
        part.begin(None).expect("anew");
        part.write(b"x").expect("writes");
        assert_eq!(part.begun(), None, "nothing tells what it is a part of");
        part.move_to(&dir.path().join("out")).expect("moves");
        assert_eq!(fs::read(dir.path().join("out")).expect("there"), b"x");
        assert_eq!(fs::read_dir(dir.path().join("parts")).expect("ls").count(), 0);
    }

    #[test]
    fn old_and_too_many_parts_go_unless_somebody_writes_them() {
        let dir = tempfile::tempdir().expect("tempdir");
        let shelf = Shelf::open(dir.path()).expect("opens");
        let mut held = shelf.part("held").expect("a part");
        for name in ["a", "b"] {
            let mut part = shelf.part(name).expect("a part");
            part.begin(Some("t")).expect("begins");
            part.write(&[0; 100]).expect("writes");
        }
        held.begin(Some("t")).expect("begins");
        held.write(&[0; 100]).expect("writes");
        let left = || fs::read_dir(dir.path().join("parts")).expect("ls").count();
        shelf.prune(300, MAX_AGE).expect("prunes");
        assert_eq!(left(), 6);
        shelf.prune(0, MAX_AGE).expect("prunes");
        assert_eq!(left(), 2, "the one that is held, and what tells of it");
        drop(held);
        shelf.prune(1000, Duration::ZERO).expect("prunes");
        assert_eq!(left(), 0);
    }

    #[tokio::test]
    async fn one_fetches_and_the_other_waits_for_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let shelf = Shelf::open(dir.path()).expect("opens");
        let first = shelf.turn("t", || panic!("nobody else")).await.expect("free");
        let told = std::cell::Cell::new(false);
        let wait = shelf.turn("t", || told.set(true));
        let (second, ()) = tokio::join!(wait, async { drop(first) });
        assert!(second.is_ok() && told.get());
        shelf.remember("n", &7).expect("notes");
        assert_eq!(shelf.note::<u32>("n"), Some(7));
        assert_eq!(shelf.note::<u32>("m"), None);
    }
}
