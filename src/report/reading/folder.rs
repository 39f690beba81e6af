//! Files below one directory.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

use nix::{
    dir::{Dir, Type},
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
};
use serde_json::Value;

use super::text::{Preview, line};

/// Largest JSON document that is read.
const DOCUMENT: u64 = 16 << 20;
/// Longest line of a file of JSON lines; a longer one is skipped.
const LINE: usize = 4 << 20;
/// Most names of one directory.
const NAMES: usize = 100_000;
/// Most notes; a directory full of broken files has no more to say.
const NOTES: usize = 40;

/// A name, as it may be shown, and what it is of.
type Named = (Vec<u8>, Type);

/// A directory, and what could not be read in it. No link is ever followed below it, and
/// only regular files are read.
pub struct Folder {
    path: PathBuf,
    root: OwnedFd,
    notes: RefCell<Vec<String>>,
}

impl Folder {
    /// Opens a directory.
    ///
    /// # Errors
    /// When it is none, or may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        Ok(Self {
            path: path.to_path_buf(),
            root: open(path, flags, Mode::empty())?,
            notes: RefCell::default(),
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A regular file, open for reading, and its length.
    ///
    /// # Errors
    /// When there is none, or the way to it leads through a link or out.
    pub fn file(&self, name: impl AsRef<[u8]>) -> io::Result<(File, u64)> {
        let file = File::from(self.beneath(name.as_ref(), OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        Ok((file, meta.len()))
    }

    /// The names in a directory below, sorted, each with whether it is a directory; names
    /// that are no UTF-8 come escaped and lead nowhere. `more` is how many are left out.
    ///
    /// # Errors
    /// When there is none.
    pub fn entries(&self, name: impl AsRef<[u8]>) -> io::Result<(Vec<Named>, usize)> {
        let handle = self.beneath(name.as_ref(), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let (mut names, mut more) = (Vec::new(), 0);
        for entry in Dir::from_fd(handle)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == NAMES {
                more += 1;
                continue;
            }
            names.push((name.to_vec(), entry.file_type().unwrap_or(Type::Socket)));
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok((names, more))
    }

    /// The names of regular files or directories that are UTF-8, sorted; none where there is no such directory.
    pub(super) fn names(&self, directory: &str, wanted: Type) -> Vec<String> {
        let Ok((entries, more)) = self.entries(directory) else {
            return Vec::new();
        };
        if more > 0 {
            self.note(format!("{directory}: {more} names more than are read"));
        }
        entries
            .into_iter()
            .filter(|(_, kind)| *kind == wanted)
            .filter_map(|(name, _)| String::from_utf8(name).ok())
            .collect()
    }

    /// A JSON document; null where there is none, with a note where it is broken.
    pub(super) fn json(&self, name: &str) -> Value {
        let Some(bytes) = self.bytes(name, DOCUMENT) else {
            return Value::Null;
        };
        serde_json::from_slice(&bytes).unwrap_or_else(|why| {
            self.note(format!("{name} is no JSON: {why}"));
            Value::Null
        })
    }

    /// A whole file of at most `max` bytes.
    pub(super) fn bytes(&self, name: &str, max: u64) -> Option<Vec<u8>> {
        let (file, length) = self.existing(name)?;
        if length > max {
            self.note(format!("{name} is not read: {length} bytes are more than {max}"));
            return None;
        }
        let mut bytes = Vec::new();
        match file.take(max).read_to_end(&mut bytes) {
            Ok(_) => Some(bytes),
            Err(why) => {
                self.note(format!("{name}: {why}"));
                None
            }
        }
    }

    /// Both ends of a file.
    pub(super) fn preview(&self, name: &str, head: usize, tail: usize) -> Option<Preview> {
        let (file, length) = self.existing(name)?;
        let read = |at: u64, most: usize| -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; most];
            let mut got = 0;
            while got < most {
                match file.read_at(&mut bytes[got..], at + got as u64)? {
                    0 => break,
                    n => got += n,
                }
            }
            bytes.truncate(got);
            Ok(bytes)
        };
        let whole = length <= (head + tail) as u64;
        let ends = if whole {
            read(0, head + tail).map(|bytes| Preview::of(&bytes, head, tail))
        } else {
            read(0, head).and_then(|first| {
                let last = read(length - tail as u64, tail)?;
                Ok(Preview::cut(&first, &last, length))
            })
        };
        match ends {
            Ok(preview) => Some(Preview {
                file: Some(line(name, 300)),
                ..preview
            }),
            Err(why) => {
                self.note(format!("{name}: {why}"));
                None
            }
        }
    }

    /// Every line of a file of JSON lines, in order, as long as `take` says so; at most `max`
    /// bytes of the file. Lines that are too long or no JSON are skipped and counted.
    pub(super) fn lines(&self, name: &str, max: u64, mut take: impl FnMut(Value) -> bool) {
        let Some((file, length)) = self.existing(name) else {
            return;
        };
        let mut reader = BufReader::with_capacity(256 << 10, file.take(max));
        let (mut buffer, mut broken) = (Vec::new(), 0_u64);
        loop {
            buffer.clear();
            match (&mut reader).take(LINE as u64).read_until(b'\n', &mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(why) => {
                    self.note(format!("{name}: {why}"));
                    break;
                }
            }
            if buffer.len() == LINE && buffer.last() != Some(&b'\n') {
                broken += 1;
                if reader.skip_until(b'\n').is_err() {
                    break;
                }
                continue;
            }
            match serde_json::from_slice(&buffer) {
                Ok(value) => {
                    if !take(value) {
                        break;
                    }
                }
                Err(_) if buffer.iter().all(u8::is_ascii_whitespace) => {}
                Err(_) => broken += 1,
            }
        }
        if broken > 0 {
            self.note(format!("{name}: {broken} lines are too long or no JSON"));
        }
        if length > max {
            self.note(format!("{name}: only the first {max} of {length} bytes are read"));
        }
    }

    /// Says something about what could not be read.
    pub(super) fn note(&self, text: String) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < NOTES {
            notes.push(line(&text, 300));
        }
    }

    /// What could not be read so far.
    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }

    /// A file that need not be there; a note where it is something else.
    fn existing(&self, name: &str) -> Option<(File, u64)> {
        match self.file(name) {
            Ok(found) => Some(found),
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => {
                self.note(format!("{name}: {why}"));
                None
            }
        }
    }

    fn beneath(&self, name: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
        let name: &[u8] = if name.is_empty() { b"." } else { name };
        Ok(openat2(&self.root, name, how)?)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn nothing_outside_and_no_link_is_read() {
        let dir = tempfile::tempdir().expect("tempdir");
        let run = dir.path().join("run");
        fs::create_dir_all(run.join("a")).expect("mkdir");
        fs::write(dir.path().join("secret"), "{}").expect("write");
        fs::write(run.join("a/own.json"), "{\"x\": 1}").expect("write");
        symlink("../secret", run.join("link.json")).expect("link");
        symlink("..", run.join("up")).expect("link");
        nix::unistd::mkfifo(&run.join("fifo"), Mode::S_IRWXU).expect("fifo");
        let folder = Folder::open(&run).expect("open");
        assert_eq!(folder.json("a/own.json")["x"], 1, "the control");
        for name in [
            "../secret",
            "link.json",
            "up/secret",
            "/etc/passwd",
            "a/../../secret",
            "fifo",
            "a",
        ] {
            assert!(folder.file(name).is_err(), "{name}");
            assert_eq!(folder.json(name), Value::Null, "{name}");
        }
        assert_eq!(folder.names("", Type::Directory), ["a"]);
    }

    #[test]
    fn lines_and_previews_are_bounded() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut text = "{\"n\": 1}\nnot json\n".to_owned();
        text.push_str(&"x".repeat(10 << 20));
        text.push_str("\n{\"n\": 2}\n{\"n\": 3}");
        fs::write(dir.path().join("l"), &text).expect("write");
        let folder = Folder::open(dir.path()).expect("open");
        let mut seen = Vec::new();
        folder.lines("l", 64 << 20, |value| {
            seen.push(value["n"].as_u64());
            true
        });
        assert_eq!(seen, [Some(1), Some(2), Some(3)]);
        assert_eq!(folder.notes(), ["l: 2 lines are too long or no JSON"]);
        let preview = folder.preview("l", 8, 8).expect("there");
        assert_eq!(
            (preview.head.as_str(), preview.tail.as_str()),
            ("{\"n\": 1}", "{\"n\": 3}")
        );
        assert_eq!(preview.more, text.len() as u64 - 16);
    }
}
