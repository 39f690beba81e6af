//! Copying what changed to a directory of the user's, strictly.

use std::{collections::BTreeMap, fs::File, os::fd::OwnedFd, path::Path};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::stat::{Mode, fchmod, mkdirat},
    unistd::symlinkat,
};

use super::{Change, Checkpoint, Content, Entry, EntryKind, Pristine, TreeError, at, content, content::shown, link};
use crate::names::RelPath;

/// How much may come out at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportCaps {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Files and links.
    pub files: u64,
}

/// Copies regular files, directories and inward symlinks of `changes` from the
/// checkpoint to `dir` (made where missing); returns what was refused and why:
/// specials, set-id bits (cleared), links that lead out, git's own files, names
/// that only differ in case, and what is beyond `most` in all. The rest comes out.
///
/// # Errors
/// When `dir` cannot be written or the checkpoint cannot be read.
pub fn export(
    pristine: &Pristine,
    from: &Checkpoint,
    changes: &[Change],
    dir: &Path,
    most: ExportCaps,
) -> Result<Vec<(RelPath, String)>, TreeError> {
    std::fs::create_dir_all(dir).map_err(TreeError::io("make", shown(dir)))?;
    let mut export = Export {
        root: at::open_root(dir).map_err(TreeError::io("open", shown(dir)))?,
        left: most,
        names: BTreeMap::new(),
        refused: Vec::new(),
        buffer: content::buffer(),
    };
    for change in changes {
        if let Some(entry) = &change.after {
            export.one(&change.path, entry, || from.open(pristine, &change.path))?;
        }
    }
    Ok(export.refused)
}

struct Export {
    root: OwnedFd,
    left: ExportCaps,
    /// Folded names (parents too) and the true one that took each.
    names: BTreeMap<String, RelPath>,
    refused: Vec<(RelPath, String)>,
    buffer: Vec<u8>,
}

impl Export {
    fn one(
        &mut self,
        path: &RelPath,
        entry: &Entry,
        open: impl FnOnce() -> Result<File, TreeError>,
    ) -> Result<(), TreeError> {
        if let Some(why) = self.objection(path, entry) {
            self.refused.push((path.clone(), why));
            return Ok(());
        }
        let fail = |what| TreeError::io::<std::io::Error>(what, path);
        let dir = make_parents(&self.root, path).map_err(fail("make the directory of"))?;
        let name = path.file_name();
        let mode = Mode::from_bits_truncate(entry.mode & 0o777);
        match &entry.kind {
            EntryKind::Dir => match mkdirat(&dir, name, mode) {
                Ok(()) | Err(Errno::EEXIST) => Ok(()),
                Err(error) => Err(fail("make")(error.into())),
            },
            EntryKind::Symlink { target } => {
                symlinkat(target.as_slice(), &dir, name).map_err(TreeError::io("link", path))
            }
            EntryKind::File { content, size } => {
                let mut from = open()?;
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
                let mut to = File::from(at::open_name(&dir, name, flags, 0o600).map_err(fail("create"))?);
                let copied: Content =
                    content::copy(&mut from, *size, true, Some(&mut to), &mut self.buffer).map_err(fail("copy"))?;
                if copied != *content {
                    return Err(TreeError::Refused(format!("the frozen copy of {path} is damaged")));
                }
                fchmod(&to, mode).map_err(TreeError::io("set the mode of", path))
            }
            EntryKind::Special => Ok(()),
        }
    }

    /// Why this must not come out; a set-id bit is noted and cleared, which is no objection.
    fn objection(&mut self, path: &RelPath, entry: &Entry) -> Option<String> {
        if link::is_git_metadata(path) {
            return Some("git's own files are not exported".into());
        }
        let refused = match &entry.kind {
            EntryKind::Special => Some("a fifo, socket, device or something too deep or too large".to_string()),
            EntryKind::File { .. } | EntryKind::Symlink { .. } if self.left.files == 0 => {
                Some("there are more files than the cap allows".to_string())
            }
            EntryKind::File { size, .. } if *size > self.left.bytes => {
                Some(format!("its {size} bytes are more than what is left of the cap"))
            }
            EntryKind::Symlink { target } => link::outward(path, target).map(str::to_string),
            EntryKind::File { .. } | EntryKind::Dir => None,
        };
        if refused.is_some() {
            return refused;
        }
        let mut up = Some(path.clone());
        while let Some(at) = up {
            let taken = self.names.entry(link::folded(&at)).or_insert_with(|| at.clone());
            if *taken != at {
                return Some(format!("its name differs from {taken} only in case"));
            }
            up = at.parent();
        }
        if let EntryKind::File { size, .. } = entry.kind {
            self.left.bytes -= size;
        }
        self.left.files -= u64::from(!entry.is_dir());
        if entry.has_set_id() {
            self.refused
                .push((path.clone(), "its setuid or setgid bit was cleared".into()));
        }
        None
    }
}

/// Opens the directory of `path` below `root`, making what is missing, through no link.
pub(super) fn make_parents(root: &OwnedFd, path: &RelPath) -> std::io::Result<OwnedFd> {
    let parent = path.parent();
    match at::open_dir(root, parent.as_ref()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut dir = at::open_dir(root, None)?;
    for name in parent.iter().flat_map(RelPath::names) {
        match mkdirat(&dir, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        dir = at::open_name(&dir, name, OFlag::O_DIRECTORY | OFlag::O_RDONLY, 0)?;
    }
    Ok(dir)
}
