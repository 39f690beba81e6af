//! What an archive may put into a directory, whatever its format.
//!
//! Names go through [`RelPath`], links may only point inward, everything is
//! counted before it is written; nothing is written through a link or twice.

use std::{
    collections::BTreeMap,
    fs::{File, Permissions},
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::stat::{Mode, fchmod, mkdirat},
    unistd::symlinkat,
};

use super::{Content, Entry, EntryKind, Manifest, TreeError, at, content::shown, export::make_parents, link};
use crate::names::{RelPath, RelPathError};

/// Most refusals, and most notes, that are listed.
const MAX_LISTED: usize = 1000;
/// Longest target of a symbolic link (PATH_MAX).
pub(super) const MAX_TARGET: u64 = 4096;
/// Longest comment of an archive that is kept.
pub(super) const MAX_COMMENT: usize = 100;

/// Bounds on an archive.
#[derive(Clone, Debug)]
pub struct ArchiveLimits {
    /// Entries of every kind, extension headers included.
    pub max_entries: u64,
    /// Bytes in regular files, together.
    pub max_bytes: u64,
    /// Names that differ only in case may lie side by side, as they may on this
    /// system; where they may not, all but the first are refused.
    pub case_matters: bool,
}

/// What came out of an archive.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// What was written.
    pub manifest: Manifest,
    /// What was not (the name escaped), and why; at most 1000.
    pub refused: Vec<(String, String)>,
    /// What was written otherwise than the archive says, likewise.
    pub notes: Vec<(String, String)>,
    /// What the archive says of itself: a comment, where it holds one of at most 100 bytes.
    pub comment: Option<String>,
}

/// What an archive wants to put under a name.
pub(super) enum Wanted {
    /// A file of so many bytes.
    File(u64),
    Dir,
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// Another name for a file that came before.
    HardLink(Vec<u8>),
    /// Something that is none of these.
    Other,
}

/// An archive under way into an empty directory.
pub(super) struct Unpacker {
    root: OwnedFd,
    pub out: Unpacked,
    /// Names as a case-insensitive file system compares them, and who took each.
    names: BTreeMap<String, RelPath>,
    bytes_left: u64,
    case_matters: bool,
}

impl Unpacker {
    pub fn new(dir: &Path, limits: &ArchiveLimits) -> Result<Self, TreeError> {
        Ok(Self {
            root: at::open_root(dir).map_err(TreeError::io("open", shown(dir)))?,
            out: Unpacked::default(),
            names: BTreeMap::new(),
            bytes_left: limits.max_bytes,
            case_matters: limits.case_matters,
        })
    }

    /// Writes one entry, or lists why not. `bytes` are a file's.
    pub fn place(&mut self, name: &[u8], wanted: Wanted, mode: u32, bytes: &mut dyn Read) -> Result<(), TreeError> {
        let path = match RelPath::new(name) {
            Ok(path) => path,
            // `./` stands for the directory itself.
            Err(RelPathError::Empty) => return Ok(()),
            Err(error) => return self.refuse(name, error.to_string()),
        };
        let mut linked = None;
        let (kind, mode) = match wanted {
            Wanted::File(size) => (self.file_kind(size, &path)?, mode),
            Wanted::Dir => (EntryKind::Dir, mode),
            Wanted::Symlink(target) => (EntryKind::Symlink { target }, mode),
            Wanted::HardLink(target) => match self.hard_link(&target) {
                Ok((from, size, mode)) => {
                    linked = Some(from);
                    (self.file_kind(size, &path)?, mode)
                }
                Err(why) => return self.refuse(name, why),
            },
            Wanted::Other => return self.refuse(name, "it is no file, directory or link".into()),
        };
        if let Some(why) = self.objection(&path, &kind) {
            return self.refuse(name, why);
        }
        if mode & 0o6000 != 0 && kind != EntryKind::Dir {
            note(&mut self.out.notes, name, "its setuid or setgid bit was cleared".into());
        }
        let mode = Entry::kept_mode(&kind, mode & 0o777);
        let written = match linked {
            Some(mut from) => self.write(&path, kind, mode, &mut from)?,
            None => self.write(&path, kind, mode, bytes)?,
        };
        self.remember(&path, written);
        Ok(())
    }

    /// Lists what is not written.
    pub fn refuse(&mut self, name: &[u8], why: String) -> Result<(), TreeError> {
        note(&mut self.out.refused, name, why);
        Ok(())
    }

    /// The file that a hard link means, its size and mode. It becomes a copy: what is
    /// changed under one name is nobody's business under another.
    fn hard_link(&self, target: &[u8]) -> Result<(File, u64, u32), String> {
        let target = RelPath::new(target).map_err(|why| format!("a hard link to elsewhere: {why}"))?;
        let Some(entry) = self.out.manifest.get(&target) else {
            return Err(format!("a hard link to {target}, which did not come before it"));
        };
        let EntryKind::File { size, .. } = entry.kind else {
            return Err(format!("a hard link to {target}, which is no file"));
        };
        let opened = at::open_beneath(&self.root, &target, OFlag::O_RDONLY).and_then(at::regular);
        match opened {
            Ok((file, _)) => Ok((file, size, entry.mode)),
            Err(why) => Err(format!("a hard link to {target}, which cannot be read: {why}")),
        }
    }

    fn file_kind(&self, size: u64, path: &RelPath) -> Result<EntryKind, TreeError> {
        if size > self.bytes_left {
            return Err(TreeError::Limit(format!(
                "the archive holds more bytes than allowed, at {path}"
            )));
        }
        let content = Content::of(&[]);
        Ok(EntryKind::File { content, size })
    }

    fn objection(&self, path: &RelPath, kind: &EntryKind) -> Option<String> {
        let there = self.out.manifest.get(path);
        if there.is_some_and(|entry| !(entry.is_dir() && *kind == EntryKind::Dir)) {
            return Some("the name comes twice".into());
        }
        let mut up = Some(path.clone());
        while let Some(at) = up {
            let taken = match self.case_matters {
                true => None,
                false => self.names.get(&link::folded(&at)).filter(|taken| **taken != at),
            };
            if let Some(taken) = taken {
                return Some(format!("its name differs from {taken} only in case"));
            }
            up = at.parent();
            if let Some(parent) = &up
                && self.out.manifest.get(parent).is_some_and(|entry| !entry.is_dir())
            {
                return Some(format!("{parent} is not a directory"));
            }
        }
        match kind {
            EntryKind::Symlink { target } => link::outward(path, target).map(str::to_string),
            _ => None,
        }
    }

    fn write(
        &mut self,
        path: &RelPath,
        kind: EntryKind,
        mode: u32,
        bytes: &mut (impl Read + ?Sized),
    ) -> Result<Entry, TreeError> {
        let fail = |what| TreeError::io::<io::Error>(what, path);
        let dir = make_parents(&self.root, path).map_err(fail("make the directory of"))?;
        let name = path.file_name();
        let bits = Mode::from_bits_truncate(mode);
        let kind = match kind {
            EntryKind::File { size, .. } => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
                let mut to = File::from(at::open_name(&dir, name, flags, 0o600).map_err(fail("create"))?);
                let content = pour(bytes, &mut to, size).map_err(fail("unpack"))?;
                fchmod(&to, bits).map_err(TreeError::io("set the mode of", path))?;
                self.bytes_left -= size;
                EntryKind::File { content, size }
            }
            EntryKind::Dir => {
                match mkdirat(&dir, name, bits) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(fail("make")(error.into())),
                }
                let made = at::open_name(&dir, name, OFlag::O_DIRECTORY | OFlag::O_RDONLY, 0).map_err(fail("open"))?;
                File::from(made)
                    .set_permissions(Permissions::from_mode(mode))
                    .map_err(fail("set the mode of"))?;
                EntryKind::Dir
            }
            EntryKind::Symlink { target } => {
                symlinkat(target.as_slice(), &dir, name).map_err(TreeError::io("link", path))?;
                EntryKind::Symlink { target }
            }
            EntryKind::Special => EntryKind::Special,
        };
        Ok(Entry { kind, mode })
    }

    /// Enters what was written, and the parents that were made for it.
    fn remember(&mut self, path: &RelPath, entry: Entry) {
        let mut up = path.parent();
        self.names.insert(link::folded(path), path.clone());
        self.out.manifest.insert(path.clone(), entry);
        while let Some(parent) = up.filter(|parent| !self.out.manifest.contains_key(parent)) {
            self.names.insert(link::folded(&parent), parent.clone());
            self.out.manifest.insert(parent.clone(), Entry::dir(0o755));
            up = parent.parent();
        }
    }
}

fn note(list: &mut Vec<(String, String)>, name: &[u8], why: String) {
    if list.len() < MAX_LISTED {
        let name = String::from_utf8_lossy(&name[..name.len().min(512)])
            .escape_debug()
            .to_string();
        list.push((name, why));
    }
}

fn pour(from: &mut (impl Read + ?Sized), to: &mut File, size: u64) -> io::Result<Content> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = [0; 16 << 10];
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
        let got = from.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&buffer[..got]);
        to.write_all(&buffer[..got])?;
        left -= got as u64;
    }
    Ok(Content(*hasher.finalize().as_bytes()))
}
