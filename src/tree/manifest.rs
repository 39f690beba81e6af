//! The one encoding of a manifest: what is stored in the cache and what is hashed.
//!
//! Per entry, in order: kind (1 byte), mode (u32), path (u16 length, bytes), then
//! for a file its digest (32 bytes) and size (u64), for a link its target (u16
//! length, bytes). Integers are little-endian. A difference is encoded likewise,
//! with a kind of its own for what is gone.
#![forbid(unsafe_code)]

use super::{Content, Entry, EntryKind, Manifest, state::Diff};
use crate::names::RelPath;

const FILE: u8 = b'f';
const DIR: u8 = b'd';
const LINK: u8 = b'l';
const GONE: u8 = b'x';

/// The bytes of a manifest; specials have none, for they are never in a pristine tree.
pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut out = Vec::with_capacity(manifest.len() * 96);
    for (path, entry) in manifest {
        put(&mut out, path, Some(entry));
    }
    out
}

/// The bytes of a difference; specials have none here either.
pub(super) fn encode_diff(diff: &Diff) -> Vec<u8> {
    let mut out = Vec::with_capacity(diff.len() * 96);
    for (path, entry) in diff {
        put(&mut out, path, entry.as_ref());
    }
    out
}

fn put(out: &mut Vec<u8>, path: &RelPath, entry: Option<&Entry>) {
    let kind = match entry.map(|entry| &entry.kind) {
        None => GONE,
        Some(EntryKind::File { .. }) => FILE,
        Some(EntryKind::Dir) => DIR,
        Some(EntryKind::Symlink { .. }) => LINK,
        Some(EntryKind::Special) => return,
    };
    out.push(kind);
    out.extend_from_slice(&entry.map_or(0, |entry| entry.mode).to_le_bytes());
    put_bytes(out, path.as_bytes());
    match entry.map(|entry| &entry.kind) {
        Some(EntryKind::File { content, size }) => {
            out.extend_from_slice(&content.0);
            out.extend_from_slice(&size.to_le_bytes());
        }
        Some(EntryKind::Symlink { target }) => put_bytes(out, target),
        None | Some(EntryKind::Dir | EntryKind::Special) => {}
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // Paths and link targets are shorter than PATH_MAX.
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

/// Reads it back; `None` for anything that [`encode`] does not write.
pub(super) fn decode(bytes: &[u8]) -> Option<Manifest> {
    let entries = decode_diff(bytes)?.into_iter();
    entries.map(|(path, entry)| Some((path, entry?))).collect()
}

/// Reads a difference back; `None` for anything that [`encode_diff`] does not write.
pub(super) fn decode_diff(mut bytes: &[u8]) -> Option<Diff> {
    let mut diff = Diff::new();
    while let Some((kind, rest)) = bytes.split_first() {
        bytes = rest;
        let mode = u32::from_le_bytes(take(&mut bytes)?);
        let path = RelPath::new(take_bytes(&mut bytes)?).ok()?;
        let kind = match *kind {
            FILE => EntryKind::File {
                content: Content(take(&mut bytes)?),
                size: u64::from_le_bytes(take(&mut bytes)?),
            },
            DIR => EntryKind::Dir,
            LINK => EntryKind::Symlink {
                target: take_bytes(&mut bytes)?.to_vec(),
            },
            GONE => {
                diff.insert(path, None);
                continue;
            }
            _ => return None,
        };
        diff.insert(path, Some(Entry { kind, mode }));
    }
    Some(diff)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_le_bytes(take(bytes)?));
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}
