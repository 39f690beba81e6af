//! What a directory of records holds: its files and links, in order, and their bytes.
//!
//! The directory may come from anybody: nothing is entered or opened through a link.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, fs::File, path::Path};

use nix::{fcntl::OFlag, sys::stat::SFlag};

use super::{
    TreeError, at,
    content::shown,
    walk::{Sight, Walk},
};
use crate::names::RelPath;

/// Most entries of a directory of records.
const MAX_ENTRIES: u64 = 4_000_000;

/// One thing in a directory of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A regular file of so many bytes.
    File(u64),
    /// A symbolic link to this target.
    Link(Vec<u8>),
    /// Something that no record is: a device, a pipe, what cannot be entered.
    Other,
}

/// Everything below `dir` that is no directory, by its path.
///
/// # Errors
/// When it cannot be read, or holds more than four million entries.
pub fn inventory(dir: &Path) -> Result<BTreeMap<RelPath, Item>, TreeError> {
    let root = at::open_root(dir).map_err(TreeError::io("open", shown(dir)))?;
    let mut items = BTreeMap::new();
    let walk = Walk {
        max_entries: MAX_ENTRIES,
        force: false,
    };
    walk.run(&root, &mut |sight| {
        let (path, item) = match sight {
            Sight::Closed { path, .. } => (path, Item::Other),
            Sight::Thing { dir, path, stat } => match at::kind_of(stat) {
                SFlag::S_IFDIR => return Ok(true),
                SFlag::S_IFREG => (path, Item::File(stat.st_size.cast_unsigned())),
                SFlag::S_IFLNK => {
                    let target = at::read_link(dir, path.file_name()).map_err(TreeError::io("read link", path))?;
                    (path, Item::Link(target))
                }
                _ => (path, Item::Other),
            },
        };
        items.insert(path.clone(), item);
        Ok(true)
    })?;
    Ok(items)
}

/// Opens a regular file below `dir`, through no link.
///
/// # Errors
/// When it is none, or cannot be opened.
pub fn open_record(dir: &Path, path: &RelPath) -> Result<File, TreeError> {
    let root = at::open_root(dir).map_err(TreeError::io("open", shown(dir)))?;
    let opened = at::open_beneath(&root, path, OFlag::O_RDONLY).and_then(at::regular);
    Ok(opened.map_err(TreeError::io("read", path))?.0)
}
