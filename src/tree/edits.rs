//! Edits for a live workspace: removals and a tar stream.
#![forbid(unsafe_code)]

use std::{
    fs::File,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Entry, EntryKind, TreeError, content};
use crate::names::RelPath;

/// Edits to send through [`crate::sandbox::Sandbox::put`]: first the removals, then the tar.
#[derive(Clone, Debug, Default)]
pub struct TreeEdits {
    /// Paths to remove, contents included.
    pub removals: Vec<RelPath>,
    /// An uncompressed tar stream (POSIX ustar with GNU long names), or nothing at all.
    pub tar: Vec<u8>,
}

impl TreeEdits {
    /// Most bytes that the tar stream of edits may have.
    pub const MAX_BYTES: u64 = 1 << 30;

    /// Edits that write one file.
    pub fn write_file(path: &RelPath, bytes: &[u8], mode: u32) -> Self {
        let mut tar = Vec::with_capacity(bytes.len() + 2048);
        // Writing to memory cannot fail, and a `RelPath` is always a legal tar name.
        let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64);
        let written = tar::Builder::new(&mut tar).append_data(&mut header, path.as_path(), bytes);
        debug_assert!(written.is_ok());
        let removals = Vec::new();
        Self { removals, tar }
    }

    /// Edits that make one directory and those above it.
    pub fn make_dir(path: &RelPath) -> Self {
        let mut tar = Vec::with_capacity(2048);
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        // As above.
        let written = tar::Builder::new(&mut tar).append_data(&mut header, path.as_path(), std::io::empty());
        debug_assert!(written.is_ok());
        let removals = Vec::new();
        Self { removals, tar }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.tar.is_empty()
    }
}

/// Collects edits.
#[derive(Default)]
pub(super) struct EditsWriter {
    removals: Vec<RelPath>,
    tar: Option<tar::Builder<Vec<u8>>>,
    bytes: u64,
}

impl EditsWriter {
    pub(super) fn remove(&mut self, path: RelPath) {
        self.removals.push(path);
    }

    /// Adds one entry; the bytes of a file come from `open`.
    pub(super) fn put(
        &mut self,
        path: &RelPath,
        entry: &Entry,
        open: impl FnOnce() -> Result<File, TreeError>,
    ) -> Result<(), TreeError> {
        let tar = self.tar.get_or_insert_with(|| tar::Builder::new(Vec::new()));
        let mode = entry.mode & 0o777;
        let written = match &entry.kind {
            EntryKind::Dir => {
                let mut header = header(tar::EntryType::Directory, mode, 0);
                tar.append_data(&mut header, path.as_path(), &[][..])
            }
            EntryKind::Symlink { target } => {
                let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                tar.append_link(
                    &mut header,
                    path.as_path(),
                    Path::new(std::ffi::OsStr::from_bytes(target)),
                )
            }
            EntryKind::File { size, .. } => {
                self.bytes += size;
                if self.bytes > TreeEdits::MAX_BYTES {
                    let max = TreeEdits::MAX_BYTES;
                    return Err(TreeError::Limit(format!(
                        "taking changes back needs more than {max} bytes, at {path}"
                    )));
                }
                let mut file = open()?;
                let mtime = file.metadata().map_err(TreeError::io("stat", path))?.mtime();
                let bytes = content::read_bounded(&mut file, *size, TreeEdits::MAX_BYTES, path)?;
                let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64);
                header.set_mtime(u64::try_from(mtime).unwrap_or(0));
                tar.append_data(&mut header, path.as_path(), bytes.as_slice())
            }
            EntryKind::Special => Ok(()),
        };
        written.map_err(TreeError::io("pack", path))
    }

    pub(super) fn finish(self) -> Result<TreeEdits, TreeError> {
        let tar = match self.tar {
            Some(tar) => tar.into_inner().map_err(TreeError::io("pack", "the edits"))?,
            None => Vec::new(),
        };
        let removals = self.removals;
        Ok(TreeEdits { removals, tar })
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    header.set_mtime(now.map_or(0, |now| now.as_secs()));
    header
}
