//! Archives of our own: the same files always come to the same bytes, and every byte of an
//! archive is accounted for when it is read.
//!
//! POSIX ustar blocks with GNU long names: members sorted by the components of their paths,
//! files (mode 0644) and links only, owner 0:0 without names, time 0, zeros for padding, two
//! blocks of zeros at the end and nothing after them. An archive that departs from that in
//! any bit is refused, with the offset: the reader makes each header anew and compares.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
};

use tar::{EntryType, Header};

use super::Item;
use crate::names::RelPath;

/// Bytes of a block.
const BLOCK: u64 = 512;
/// Longest name or link target: `PATH_MAX` and its NUL, rounded up.
const MAX_NAME: u64 = 4096;
/// Most members.
const MAX_MEMBERS: usize = 4_000_000;
/// What GNU tar calls a member that holds the name of the next.
const LONG: &[u8] = b"././@LongLink";

/// Why bytes are no archive of ours.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not as it was written.
    #[error("at byte {at}: {why}")]
    Damaged {
        /// Where, in bytes from the beginning.
        at: u64,
        /// What is wrong there.
        why: String,
    },
}

/// Writes an archive.
pub struct ArchiveWriter<W> {
    out: W,
    last: Option<RelPath>,
}

impl<W: Write> ArchiveWriter<W> {
    /// An archive that begins here.
    pub fn new(out: W) -> Self {
        Self { out, last: None }
    }

    /// Adds a file of exactly `size` bytes. Paths must come in order.
    ///
    /// # Errors
    /// When it has fewer bytes, when the path does not come after the one before, or when
    /// it cannot be written.
    pub fn file(&mut self, path: &RelPath, size: u64, from: impl Read) -> io::Result<()> {
        self.in_order(path)?;
        self.out.write_all(&head(path.as_bytes(), &Item::File(size)))?;
        let copied = io::copy(&mut from.take(size), &mut self.out)?;
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.out.write_all(&[0; 512][..padding(size)])
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As [`ArchiveWriter::file`].
    pub fn link(&mut self, path: &RelPath, target: &[u8]) -> io::Result<()> {
        self.in_order(path)?;
        self.out.write_all(&head(path.as_bytes(), &Item::Link(target.to_vec())))
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 1024])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn in_order(&mut self, path: &RelPath) -> io::Result<()> {
        if self.last.as_ref().is_some_and(|last| last >= path) {
            return Err(io::Error::other(format!("{path} comes out of order")));
        }
        self.last = Some(path.clone());
        Ok(())
    }
}

/// Zeros after so many bytes.
fn padding(size: u64) -> usize {
    // Below one block.
    usize::try_from((BLOCK - size % BLOCK) % BLOCK).unwrap_or(0)
}

/// All blocks before a member's bytes.
fn head(path: &[u8], item: &Item) -> Vec<u8> {
    let mut out = Vec::new();
    let (kind, size, target): (_, _, &[u8]) = match item {
        Item::File(size) => (EntryType::Regular, *size, b""),
        Item::Link(target) => (EntryType::Symlink, 0, target),
        Item::Other => (EntryType::Regular, 0, b""),
    };
    for (long, kind) in [(target, EntryType::GNULongLink), (path, EntryType::GNULongName)] {
        if long.len() > 100 {
            out.extend(block(kind, LONG, b"", long.len() as u64 + 1));
            out.extend(long);
            out.extend(&[0; 513][..1 + padding(long.len() as u64 + 1)]);
        }
    }
    out.extend(block(kind, path, target, size));
    out
}

fn block(kind: EntryType, name: &[u8], target: &[u8], size: u64) -> [u8; 512] {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    let old = header.as_old_mut();
    for (field, bytes) in [(&mut old.name, name), (&mut old.linkname, target)] {
        let length = bytes.len().min(field.len());
        field[..length].copy_from_slice(&bytes[..length]);
    }
    header.set_cksum();
    *header.as_bytes()
}

/// An archive, looked through: where each member's bytes lie.
#[derive(Debug)]
pub struct Archive {
    file: File,
    members: BTreeMap<RelPath, (Item, u64)>,
}

impl Archive {
    /// Looks a whole archive through, but for the bytes of its files.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] where it is not as [`ArchiveWriter`] writes it.
    pub fn open(file: File) -> Result<Self, ArchiveError> {
        let mut index = Index {
            length: file.metadata()?.len(),
            file: &file,
            at: 0,
        };
        let mut members: BTreeMap<RelPath, (Item, u64)> = BTreeMap::new();
        while let Some((path, item)) = index.member()? {
            let start = index.at;
            let begun = index.at;
            if members.last_key_value().is_some_and(|(last, _)| *last >= path) {
                return Err(damaged(begun, format!("{path} comes out of order")));
            }
            if members.len() == MAX_MEMBERS {
                return Err(damaged(begun, format!("there are more than {MAX_MEMBERS} members")));
            }
            if let Item::File(size) = item {
                index.skip(size, &path)?;
            }
            members.insert(path, (item, start));
        }
        Ok(Self { file, members })
    }

    /// Its members.
    pub fn members(&self) -> impl Iterator<Item = (&RelPath, &Item)> {
        self.members.iter().map(|(path, (item, _))| (path, item))
    }

    /// The bytes of a file; `None` where there is none of that path.
    pub fn read(&self, path: &RelPath) -> Option<Section<'_>> {
        let (Item::File(size), at) = self.members.get(path)? else {
            return None;
        };
        Some(Section {
            file: &self.file,
            at: *at,
            left: *size,
        })
    }
}

/// The bytes of one member.
pub struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read_at(&mut buffer[..most], self.at)?;
        if got == 0 && most > 0 {
            // It was there when the archive was looked through.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

fn damaged(at: u64, why: impl Into<String>) -> ArchiveError {
    let why = why.into();
    ArchiveError::Damaged { at, why }
}

struct Index<'a> {
    file: &'a File,
    length: u64,
    at: u64,
}

impl Index<'_> {
    /// The next member; `None` at the end.
    fn member(&mut self) -> Result<Option<(RelPath, Item)>, ArchiveError> {
        let start = self.at;
        let (mut name, mut target) = (None, None);
        loop {
            let block = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                return self.end(start).map(|()| None);
            }
            let header = Header::from_byte_slice(&block);
            let odd = |what: &str| damaged(start, format!("a header {what}"));
            let size = header.entry_size().map_err(|_| odd("has no size"))?;
            let long = match header.entry_type() {
                EntryType::GNULongName if name.is_none() => &mut name,
                EntryType::GNULongLink if target.is_none() => &mut target,
                EntryType::Regular | EntryType::Symlink => {
                    let field = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
                    let old = header.as_old();
                    let name = name.unwrap_or_else(|| field(&old.name));
                    let item = match header.entry_type() {
                        EntryType::Regular => Item::File(size),
                        _ => Item::Link(target.unwrap_or_else(|| field(&old.linkname))),
                    };
                    return self.checked(start, &name, item).map(Some);
                }
                _ => return Err(odd("is of a kind that is never written")),
            };
            if size == 0 || size > MAX_NAME {
                return Err(odd("announces a name of impossible length"));
            }
            let length = usize::try_from(size).unwrap_or(0);
            let mut bytes = vec![0; length + padding(size)];
            self.fill(&mut bytes)?;
            // Its NUL, and what is compared with the rest of the header.
            bytes.truncate(length - 1);
            *long = Some(bytes);
        }
    }

    /// A member whose header is byte for byte what it should be.
    fn checked(&self, start: u64, name: &[u8], item: Item) -> Result<(RelPath, Item), ArchiveError> {
        let path = RelPath::new(name).map_err(|why| damaged(start, why.to_string()))?;
        let expected = head(path.as_bytes(), &item);
        let mut found = vec![0; usize::try_from(self.at - start).unwrap_or(0)];
        self.file.read_exact_at(&mut found, start)?;
        if found == expected {
            return Ok((path, item));
        }
        let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        Err(damaged(
            start + same as u64,
            format!("the header of {path} is not as it is written"),
        ))
    }

    /// Passes over a file's bytes and the zeros after them.
    fn skip(&mut self, size: u64, path: &RelPath) -> Result<(), ArchiveError> {
        let end = self.at.checked_add(size).filter(|end| *end <= self.length);
        self.at = end.ok_or_else(|| damaged(self.length, format!("it ends in the middle of {path}")))?;
        let mut zeros = vec![0; padding(size)];
        self.fill(&mut zeros)?;
        match zeros.iter().position(|byte| *byte != 0) {
            Some(at) => {
                let at = self.at - zeros.len() as u64 + at as u64;
                Err(damaged(at, format!("the padding after {path} is not empty")))
            }
            None => Ok(()),
        }
    }

    /// After one block of zeros: another one, and nothing more.
    fn end(&mut self, start: u64) -> Result<(), ArchiveError> {
        let second = self.block()?;
        if let Some(at) = second.iter().position(|byte| *byte != 0) {
            return Err(damaged(start + BLOCK + at as u64, "the end is not empty"));
        }
        match self.at == self.length {
            true => Ok(()),
            false => Err(damaged(self.at, "something comes after the end")),
        }
    }

    fn block(&mut self) -> Result<[u8; 512], ArchiveError> {
        let mut block = [0; 512];
        self.fill(&mut block)?;
        Ok(block)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ArchiveError> {
        if self.length - self.at < bytes.len() as u64 {
            return Err(damaged(self.length, "it ends too early"));
        }
        self.file.read_exact_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    fn path(text: impl AsRef<[u8]>) -> RelPath {
        RelPath::new(text).expect("a path")
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("tempfile");
        file.write_all(bytes).expect("write");
        file.seek(SeekFrom::Start(0)).expect("seek");
        file
    }

    fn sample() -> Vec<u8> {
        let mut writer = ArchiveWriter::new(Vec::new());
        writer.file(&path("a"), 3, &b"abc"[..]).expect("a");
        writer.file(&path("a.b"), 0, &b""[..]).expect("a.b");
        writer.link(&path(b"l\xffnk"), b"a").expect("link");
        writer.link(&path("m"), &[b'x'; 300]).expect("long link");
        writer.file(&path([b'n'; 200]), 512, &[7; 512][..]).expect("long name");
        writer.finish().expect("finish")
    }

    #[test]
    fn what_is_written_is_read_back_and_other_programs_read_it_too() {
        let bytes = sample();
        assert_eq!(bytes, sample());
        let archive = Archive::open(file_of(&bytes)).expect("open");
        let items: Vec<_> = archive
            .members()
            .map(|(path, item)| (path.clone(), item.clone()))
            .collect();
        assert_eq!(items[2], (path(b"l\xffnk"), Item::Link(b"a".to_vec())));
        assert_eq!(items[3].1, Item::Link(vec![b'x'; 300]));
        assert_eq!(items[4], (path([b'n'; 200]), Item::File(512)));
        let mut text = String::new();
        archive
            .read(&path("a"))
            .expect("a")
            .read_to_string(&mut text)
            .expect("read");
        assert_eq!(text, "abc");
        assert!(archive.read(&path("m")).is_none() && archive.read(&path("z")).is_none());
        let mut read = tar::Archive::new(bytes.as_slice());
        let names: Vec<_> = read
            .entries()
            .expect("entries")
            .map(|e| e.expect("entry").path_bytes().into_owned())
            .collect();
        assert_eq!(
            names,
            items
                .iter()
                .map(|(path, _)| path.as_bytes().to_vec())
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn every_bit_outside_of_the_files_counts() {
        let bytes = sample();
        let named = |archive: &Archive| -> Vec<_> {
            archive
                .members()
                .map(|(path, item)| (path.clone(), item.clone()))
                .collect()
        };
        let whole = Archive::open(file_of(&bytes)).expect("open");
        // The bytes of `a` and of the long name are files' own.
        let own = |at: usize| (512..515).contains(&at) || (bytes.len() - 1024 - 512..bytes.len() - 1024).contains(&at);
        for at in (0..bytes.len()).filter(|at| !own(*at)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            match Archive::open(file_of(&flipped)) {
                Err(ArchiveError::Damaged { at: found, .. }) => assert!(found <= bytes.len() as u64),
                // The end of a long name or target: what it says is then something else.
                Ok(other) => assert_ne!(named(&other), named(&whole), "byte {at}"),
                other => panic!("byte {at}: {other:?}"),
            }
        }
        for cut in 0..bytes.len() {
            assert!(Archive::open(file_of(&bytes[..cut])).is_err(), "cut at {cut}");
        }
        let more = [&bytes[..], &[0; 512]].concat();
        assert!(Archive::open(file_of(&more)).is_err());
    }

    #[test]
    fn members_out_of_order_are_refused() {
        let mut writer = ArchiveWriter::new(Vec::new());
        writer.file(&path("b"), 0, &b""[..]).expect("b");
        assert!(writer.file(&path("a"), 0, &b""[..]).is_err());
        assert!(writer.file(&path("c"), 2, &b"1"[..]).is_err());
        let swapped = [&head(b"b", &Item::File(0))[..], &head(b"a", &Item::File(0)), &[0; 1024]].concat();
        let why = Archive::open(file_of(&swapped)).expect_err("order").to_string();
        assert!(why.contains("out of order"), "{why}");
    }
}
