//! `changes.patch`: a diff in git's extended format (git-diff(1), "Generating patch
//! text with -p"), written without git and without touching a repository.
#![forbid(unsafe_code)]

mod binary;
mod hunks;
mod quote;

use sha1::{Digest, Sha1};

use super::{Change, Checkpoint, Content, Entry, EntryKind, Pristine, TreeError};
use crate::names::RelPath;

/// Largest file that is put into a patch; a larger one is named in a comment.
const MAX_FILE_BYTES: u64 = 128 << 20;
/// Git's own test for binary content: a NUL in this many first bytes (xdiff-interface.c).
const BINARY_PROBE: usize = 8000;

/// One side of a change, as git sees it.
struct Blob {
    mode: u32,
    bytes: Vec<u8>,
}

/// The git patch for `changes` between two states. Directories, set-id bits and
/// specials do not exist for git; text is diffed by lines, all else travels whole.
///
/// # Errors
/// When a file of either state cannot be read.
pub fn patch(
    pristine: &Pristine,
    from: &Checkpoint,
    to: &Checkpoint,
    changes: &[Change],
) -> Result<Vec<u8>, TreeError> {
    let read = |state: &Checkpoint, path: &RelPath| {
        let bytes = state.read(pristine, path, MAX_FILE_BYTES)?;
        Ok(bytes.unwrap_or_default())
    };
    patch_of(changes, &|path, _| read(from, path), &|path, _| read(to, path))
}

/// Reads the bytes that a path has in one of two states, by its content.
pub(super) type ReadBlob<'a> = &'a dyn Fn(&RelPath, &Content) -> Result<Vec<u8>, TreeError>;

/// The git patch for `changes`, their bytes read from wherever they are.
pub(super) fn patch_of(changes: &[Change], from: ReadBlob<'_>, to: ReadBlob<'_>) -> Result<Vec<u8>, TreeError> {
    let mut out = Vec::new();
    let mut later = Vec::new();
    for change in changes {
        if let Some(size) = too_large(change) {
            let path = &change.path;
            out.extend_from_slice(format!("# left out, too large for a patch: {path} ({size} bytes)\n").as_bytes());
            continue;
        }
        let old = blob(from, &change.path, change.before.as_ref())?;
        let new = blob(to, &change.path, change.after.as_ref())?;
        match (old, new) {
            (Some(old), Some(new)) if (old.mode ^ new.mode) & 0o170_000 != 0 => {
                // A change of type is a deletion and a creation.
                one(&mut out, &change.path, Some(&old), None);
                one(&mut later, &change.path, None, Some(&new));
            }
            (Some(old), None) => one(&mut out, &change.path, Some(&old), None),
            (old, Some(new)) => one(&mut later, &change.path, old.as_ref(), Some(&new)),
            (None, None) => {}
        }
    }
    // Deletions first, so that a directory can take the place of a file.
    out.append(&mut later);
    Ok(out)
}

fn too_large(change: &Change) -> Option<u64> {
    let size = |entry: &Option<Entry>| match entry.as_ref().map(|entry| &entry.kind) {
        Some(EntryKind::File { size, .. }) => *size,
        _ => 0,
    };
    Some(size(&change.before).max(size(&change.after))).filter(|size| *size > MAX_FILE_BYTES)
}

fn blob(read: ReadBlob<'_>, path: &RelPath, entry: Option<&Entry>) -> Result<Option<Blob>, TreeError> {
    let Some(entry) = entry else { return Ok(None) };
    let (mode, bytes) = match &entry.kind {
        EntryKind::File { content, .. } => {
            let mode = if entry.mode & 0o100 != 0 { 0o100_755 } else { 0o100_644 };
            (mode, read(path, content)?)
        }
        EntryKind::Symlink { target } => (0o120_000, target.clone()),
        EntryKind::Dir | EntryKind::Special => return Ok(None),
    };
    Ok(Some(Blob { mode, bytes }))
}

/// The name of a blob in git's object store.
fn blob_id(blob: Option<&Blob>) -> String {
    let Some(blob) = blob else { return "0".repeat(40) };
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", blob.bytes.len()).as_bytes());
    hasher.update(&blob.bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn one(out: &mut Vec<u8>, path: &RelPath, old: Option<&Blob>, new: Option<&Blob>) {
    let same_bytes = match (old, new) {
        (Some(old), Some(new)) => Content::of(&old.bytes) == Content::of(&new.bytes),
        _ => false,
    };
    let same_mode = match (old, new) {
        (Some(old), Some(new)) => old.mode == new.mode,
        _ => false,
    };
    if same_bytes && same_mode {
        return;
    }
    let mut line = |parts: &[&[u8]]| {
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.push(b'\n');
    };
    let (a, b) = (quote::name(b"a/", path), quote::name(b"b/", path));
    line(&[b"diff --git ", &a, b" ", &b]);
    match (old, new) {
        (None, Some(new)) => line(&[format!("new file mode {:o}", new.mode).as_bytes()]),
        (Some(old), None) => line(&[format!("deleted file mode {:o}", old.mode).as_bytes()]),
        (Some(old), Some(new)) if !same_mode => {
            line(&[format!("old mode {:o}\nnew mode {:o}", old.mode, new.mode).as_bytes()]);
        }
        _ => {}
    }
    if same_bytes {
        return;
    }
    let mode = match new {
        Some(new) if same_mode => format!(" {:o}", new.mode),
        _ => String::new(),
    };
    line(&[format!("index {}..{}{mode}", blob_id(old), blob_id(new)).as_bytes()]);
    let bytes = |blob: Option<&Blob>| blob.map_or_else(Vec::new, |blob| blob.bytes.clone());
    let (before, after) = (bytes(old), bytes(new));
    if is_binary(&before) || is_binary(&after) {
        line(&[b"GIT binary patch"]);
        binary::literal(out, &after);
        binary::literal(out, &before);
        return;
    }
    if before.is_empty() && after.is_empty() {
        return;
    }
    // A tab ends a name that holds a space, or what follows it would be taken for a date.
    let tab: &[u8] = if path.as_bytes().contains(&b' ') { b"\t" } else { b"" };
    let null: &[u8] = b"/dev/null";
    match old {
        Some(_) => line(&[b"--- ", &a, tab]),
        None => line(&[b"--- ", null]),
    }
    match new {
        Some(_) => line(&[b"+++ ", &b, tab]),
        None => line(&[b"+++ ", null]),
    }
    hunks::write(out, &before, &after);
}

fn is_binary(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(BINARY_PROBE)].contains(&0)
}
