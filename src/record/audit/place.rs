//! Where evidence lies: a run's directory, or a bundle.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{AuditError, Break};
use crate::{
    names::RelPath,
    record::run_dir::LOCK,
    tree::{self, Archive, ArchiveError, Item, TreeError},
};

/// Where evidence lies.
pub enum Place {
    /// A run's directory.
    Directory(PathBuf),
    /// A bundle, and the directory that its members lie in.
    Bundle {
        /// It.
        archive: Archive,
        /// That directory: the run's id.
        top: RelPath,
    },
}

impl Place {
    /// A directory, or a file that is a bundle.
    ///
    /// # Errors
    /// [`AuditError::Broken`] for a file that is no bundle; when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        if path.is_dir() {
            return Ok(Self::Directory(path.to_path_buf()));
        }
        let io = |source| AuditError::io("read", path, source);
        let archive = Archive::open(File::open(path).map_err(io)?).map_err(|why| match why {
            ArchiveError::Io(source) => AuditError::io("read", path, source),
            ArchiveError::Damaged { at, why } => AuditError::broken(Break {
                offset: Some(at),
                found: why,
                ..Break::at("the bundle", "the bytes of an archive as `bundle` writes it")
            }),
        })?;
        let mut tops: Vec<RelPath> = archive.members().filter_map(|(path, _)| top(path)).collect();
        tops.dedup();
        match tops.as_slice() {
            [top] if archive.members().all(|(path, _)| path.parent().is_some()) => {
                let top = top.clone();
                Ok(Self::Bundle { archive, top })
            }
            _ => Err(AuditError::broken(Break {
                found: format!("{} of them", tops.len()),
                ..Break::at("the bundle", "one directory, called as its run")
            })),
        }
    }

    /// Whether it is a bundle.
    pub fn is_bundle(&self) -> bool {
        matches!(self, Self::Bundle { .. })
    }

    /// What the place is called.
    pub(super) fn top(&self) -> Option<&RelPath> {
        match self {
            Self::Directory(_) => None,
            Self::Bundle { top, .. } => Some(top),
        }
    }

    /// Whether a run holds the directory's lock.
    pub(super) fn is_held(&self) -> bool {
        match self {
            Self::Directory(dir) => is_held(dir),
            Self::Bundle { .. } => false,
        }
    }

    /// Everything that lies there.
    pub(super) fn items(&self) -> Result<BTreeMap<RelPath, Item>, AuditError> {
        match self {
            Self::Directory(dir) => Ok(tree::inventory(dir)?),
            Self::Bundle { archive, top } => Ok(archive
                .members()
                .filter_map(|(path, item)| Some((below(path, top)?, item.clone())))
                .collect()),
        }
    }

    /// The bytes of a file from `from` on; `None` where there is no such file.
    pub(super) fn read(&self, path: &RelPath, from: u64) -> Result<Option<Box<dyn Read + '_>>, AuditError> {
        match self {
            Self::Directory(dir) => match tree::open_record(dir, path) {
                Ok(mut file) => {
                    file.seek(SeekFrom::Start(from))
                        .map_err(|source| AuditError::io("read", &path.under(dir), source))?;
                    Ok(Some(Box::new(file)))
                }
                Err(TreeError::Io { source, .. }) if missing(&source) => Ok(None),
                Err(other) => Err(other.into()),
            },
            Self::Bundle { archive, top } => {
                let Some(mut section) = top.join(path.as_bytes()).ok().and_then(|path| archive.read(&path)) else {
                    return Ok(None);
                };
                io::copy(&mut (&mut section).take(from), &mut io::sink())
                    .map_err(|source| AuditError::io("read", path.as_path(), source))?;
                Ok(Some(Box::new(section)))
            }
        }
    }

    /// The whole of a small file, one byte more than `most` at the most.
    pub(super) fn small(&self, path: &RelPath, most: u64) -> Result<Option<Vec<u8>>, AuditError> {
        let Some(stream) = self.read(path, 0)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        stream
            .take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| AuditError::io("read", path.as_path(), source))?;
        Ok(Some(bytes))
    }
}

/// Whether a run holds the lock of its directory.
pub fn is_held(dir: &Path) -> bool {
    File::open(dir.join(LOCK)).is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
}

/// What is no file of its own: nothing there, or something else.
fn missing(why: &io::Error) -> bool {
    why.kind() == io::ErrorKind::NotFound
        || matches!(
            why.raw_os_error(),
            None | Some(libc::ELOOP | libc::ENOTDIR | libc::ENXIO)
        )
}

fn top(path: &RelPath) -> Option<RelPath> {
    RelPath::new(path.names().next()?).ok()
}

fn below(path: &RelPath, top: &RelPath) -> Option<RelPath> {
    let rest = path.as_bytes().strip_prefix(top.as_bytes())?;
    RelPath::new(rest.strip_prefix(b"/")?).ok()
}
