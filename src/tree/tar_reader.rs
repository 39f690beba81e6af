//! Unpacking a tar stream that nobody trusts.
//!
//! Names go through [`RelPath`], links may only point inward, everything is
//! counted before it is written. Extension headers (GNU long names, pax) are read
//! here and not by the tar crate, which would take any length into memory.

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
use tar::EntryType;

use super::{Content, Entry, EntryKind, Manifest, TreeError, at, content::shown, export::make_parents, link};
use crate::names::RelPath;

/// Longest extension header that is read: a name of `PATH_MAX` bytes and some keys.
const MAX_EXTENSION: u64 = 16 << 10;
/// Most refusals that are listed.
const MAX_LISTED: usize = 1000;

/// Bounds on an archive.
#[derive(Clone, Debug)]
pub struct TarLimits {
    /// Entries of every kind, extension headers included.
    pub max_entries: u64,
    /// Bytes in regular files, together.
    pub max_bytes: u64,
}

/// What came out of an archive.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// What was written.
    pub manifest: Manifest,
    /// What was not (the name escaped), and why; at most 1000.
    pub refused: Vec<(String, String)>,
}

/// Unpacks a tar stream into the empty directory `dir`. Entries that climb, lead
/// out, collide, or are no files, directories or links are refused and listed.
///
/// # Errors
/// [`TreeError::Limit`] when a bound is hit; [`TreeError::Refused`] when the
/// stream is no tar; what was unpacked before stays for the caller to remove.
pub fn unpack(stream: impl Read, limits: &TarLimits, dir: &Path) -> Result<Unpacked, TreeError> {
    let root = at::open_root(dir).map_err(TreeError::io("open", shown(dir)))?;
    let mut unpacker = Unpacker {
        root,
        out: Unpacked::default(),
        names: BTreeMap::new(),
        bytes_left: limits.max_bytes,
        long: Extension::default(),
    };
    // Each entry may add a header, padding and an extension.
    let overhead = limits
        .max_entries
        .saturating_mul(1024 + MAX_EXTENSION)
        .saturating_add(1 << 20);
    let mut archive = tar::Archive::new(stream.take(limits.max_bytes.saturating_add(overhead)));
    let damaged =
        |error: io::Error| TreeError::Refused(format!("the archive is damaged: {}", error.to_string().escape_debug()));
    let entries = archive.entries().map_err(damaged)?.raw(true);
    for (count, entry) in (1u64..).zip(entries) {
        if count > limits.max_entries {
            return Err(TreeError::Limit(format!(
                "the archive has more than {} entries",
                limits.max_entries
            )));
        }
        unpacker.entry(&mut entry.map_err(damaged)?)?;
    }
    Ok(unpacker.out)
}

/// Name and link target from extension headers, for the entry that follows them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    why_not: Option<&'static str>,
}

struct Unpacker {
    root: OwnedFd,
    out: Unpacked,
    /// Names as a case-insensitive file system compares them, and who took each.
    names: BTreeMap<String, RelPath>,
    bytes_left: u64,
    long: Extension,
}

impl Unpacker {
    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), TreeError> {
        let kind = entry.header().entry_type();
        if matches!(
            kind,
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
        ) {
            return self.extension(kind, entry);
        }
        let long = std::mem::take(&mut self.long);
        let name = long.name.unwrap_or_else(|| entry.header().path_bytes().into_owned());
        let target = long
            .target
            .or_else(|| entry.header().link_name_bytes().map(|name| name.into_owned()));
        if let Some(why) = long.why_not {
            return self.refuse(&name, why.into());
        }
        let path = match RelPath::new(&name) {
            Ok(path) => path,
            // `./` stands for the directory itself.
            Err(crate::names::RelPathError::Empty) => return Ok(()),
            Err(error) => return self.refuse(&name, error.to_string()),
        };
        let mode = entry.header().mode().unwrap_or(0o644);
        let wanted = match kind {
            EntryType::Regular | EntryType::Continuous => self.file_kind(entry.size(), &path)?,
            EntryType::Directory => EntryKind::Dir,
            EntryType::Symlink => EntryKind::Symlink {
                target: target.unwrap_or_default(),
            },
            _ => return self.refuse(&name, "it is no file, directory or symbolic link".into()),
        };
        if let Some(why) = self.objection(&path, &wanted) {
            return self.refuse(&name, why);
        }
        if mode & 0o6000 != 0 && wanted != EntryKind::Dir {
            self.refuse(&name, "its setuid or setgid bit was cleared".into())?;
        }
        let mode = Entry::kept_mode(&wanted, mode & 0o777);
        let written = self.write(&path, wanted, mode, entry)?;
        self.remember(&path, written);
        Ok(())
    }

    fn extension(&mut self, kind: EntryType, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), TreeError> {
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        if entry.size() > MAX_EXTENSION {
            self.long.why_not = Some("its extended header is too long");
            return Ok(());
        }
        let mut bytes = Vec::new();
        let read = entry.take(MAX_EXTENSION).read_to_end(&mut bytes);
        read.map_err(|error| TreeError::Refused(format!("the archive is damaged: {error}")))?;
        match kind {
            EntryType::GNULongName => self.long.name = Some(until_nul(&bytes)),
            EntryType::GNULongLink => self.long.target = Some(until_nul(&bytes)),
            _ => {
                for pair in tar::PaxExtensions::new(&bytes) {
                    let Ok(pair) = pair else {
                        self.long.why_not = Some("its extended header is damaged");
                        break;
                    };
                    match pair.key_bytes() {
                        b"path" => self.long.name = Some(pair.value_bytes().to_vec()),
                        b"linkpath" => self.long.target = Some(pair.value_bytes().to_vec()),
                        b"size" => self.long.why_not = Some("its size is in an extended header"),
                        key if key.starts_with(b"GNU.sparse") => self.long.why_not = Some("it is a sparse file"),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
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
            if let Some(taken) = self.names.get(&link::folded(&at)).filter(|taken| **taken != at) {
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
        bytes: &mut tar::Entry<'_, impl Read>,
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

    fn refuse(&mut self, name: &[u8], why: String) -> Result<(), TreeError> {
        if self.out.refused.len() < MAX_LISTED {
            let name = String::from_utf8_lossy(&name[..name.len().min(512)])
                .escape_debug()
                .to_string();
            self.out.refused.push((name, why));
        }
        Ok(())
    }
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

fn pour(from: &mut impl Read, to: &mut File, size: u64) -> io::Result<Content> {
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
