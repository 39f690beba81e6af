//! Bringing accepted changes to the user's own tree.

use std::{collections::BTreeSet, fs::File, io, os::fd::OwnedFd, path::Path};

use nix::{
    errno::Errno,
    fcntl::{OFlag, renameat},
    sys::stat::{FileStat, Mode, SFlag, fchmod},
    unistd::{UnlinkatFlags, geteuid, symlinkat, unlinkat},
};

use super::{
    Change, Entry, EntryKind, TreeError, at, content,
    content::shown,
    export::make_parents,
    layer::is_sparse,
    link,
    walk::{Sight, Walk},
};
use crate::names::RelPath;

/// Brings `changes` to the user's tree: every path must still be as `before` says,
/// else nothing at all is written; then all of it, each file by temp + rename.
/// `files` is a directory that [`super::export`] wrote; a change that it refused
/// must not be in `changes`. No link in the target is followed; a directory that
/// still holds something of the user's stays.
///
/// # Errors
/// [`TreeError::MovedOn`] with every path that is not as it was;
/// [`TreeError::Refused`] for a change that may not be brought (nothing is written
/// then); a failing system call midway leaves whole files, some old, some new.
pub fn apply_to(target: &Path, files: &Path, changes: &[Change]) -> Result<(), TreeError> {
    let root = at::open_root(target).map_err(TreeError::io("open", shown(target)))?;
    let files = at::open_root(files).map_err(TreeError::io("open", shown(files)))?;
    let mut buffer = content::buffer();
    let mut moved = Vec::new();
    let named: BTreeSet<&RelPath> = changes.iter().map(|change| &change.path).collect();
    for change in changes {
        let path = &change.path;
        if let Some(why) = objection(change) {
            return Err(TreeError::Refused(format!(
                "{path} is not brought to the target: {why}"
            )));
        }
        let refuse = |why: &str| TreeError::Refused(format!("{path}: {why}"));
        if let Some(after) = &change.after
            && !after.is_dir()
            && look(&files, path, &mut buffer)?.as_ref().map(|entry| &entry.kind) != Some(&after.kind)
        {
            return Err(refuse("the exported copy is missing or is not what was recorded"));
        }
        let as_before = look(&root, path, &mut buffer)? == change.before;
        let gives_way =
            change.before.as_ref().is_some_and(Entry::is_dir) && change.after.as_ref().is_some_and(|e| !e.is_dir());
        if !as_before || (gives_way && holds_more(&root, path, &named)?) {
            moved.push(path.clone());
        }
    }
    if !moved.is_empty() {
        return Err(TreeError::MovedOn(moved));
    }
    // Contents before their directories, then directories before their contents.
    for change in changes.iter().rev() {
        let gone = change.before.as_ref().filter(|before| match &change.after {
            None => true,
            Some(after) => before.is_dir() != after.is_dir(),
        });
        if let Some(before) = gone {
            remove(&root, &change.path, before).map_err(TreeError::io("remove", &change.path))?;
        }
    }
    for change in changes {
        if let Some(after) = &change.after {
            put(&root, &files, change, after, &mut buffer).map_err(TreeError::io("write", &change.path))?;
        }
    }
    Ok(())
}

fn objection(change: &Change) -> Option<&'static str> {
    if link::is_git_metadata(&change.path) {
        return Some("it belongs to git");
    }
    match &change.after.as_ref()?.kind {
        EntryKind::Symlink { target } => link::outward(&change.path, target),
        EntryKind::Special => Some("it is no file"),
        EntryKind::File { .. } | EntryKind::Dir => None,
    }
}

/// What a tree holds at `path`, with modes as manifests keep them; something
/// that a path with links leads to is nothing.
fn look(root: &OwnedFd, path: &RelPath, buffer: &mut [u8]) -> Result<Option<Entry>, TreeError> {
    let nothing = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP));
    let fail = |what| TreeError::io::<io::Error>(what, path);
    let dir = match at::open_dir(root, path.parent().as_ref()) {
        Ok(dir) => dir,
        Err(error) if nothing(&error) => return Ok(None),
        Err(error) => return Err(fail("open the directory of")(error)),
    };
    let Some(stat) = at::stat_name(&dir, path.file_name()).map_err(fail("stat"))? else {
        return Ok(None);
    };
    let kind = match at::kind_of(&stat) {
        SFlag::S_IFDIR => EntryKind::Dir,
        SFlag::S_IFLNK => EntryKind::Symlink {
            target: at::read_link(&dir, path.file_name()).map_err(fail("read link"))?,
        },
        SFlag::S_IFREG => {
            let opened = at::open_name(&dir, path.file_name(), OFlag::O_RDONLY, 0).and_then(at::regular);
            let (mut file, stat) = opened.map_err(fail("open"))?;
            let size = stat.st_size.cast_unsigned();
            let content = content::copy(&mut file, size, is_sparse(&stat), None, buffer).map_err(fail("read"))?;
            EntryKind::File { content, size }
        }
        _ => EntryKind::Special,
    };
    // Set-id bits are the user's business: pristine trees never hold them.
    let mode = Entry::kept_mode(&kind, stat.st_mode & 0o777);
    Ok(Some(Entry { kind, mode }))
}

/// Whether the directory holds anything that the changes do not name.
fn holds_more(root: &OwnedFd, path: &RelPath, named: &BTreeSet<&RelPath>) -> Result<bool, TreeError> {
    let dir = at::open_dir(root, Some(path)).map_err(TreeError::io("open", path))?;
    let mut more = false;
    let walk = Walk {
        max_entries: u64::MAX,
        force: false,
    };
    walk.run(&dir, &mut |sight| {
        let (Sight::Thing { path: inner, .. } | Sight::Closed { path: inner, .. }) = sight;
        more |= !path.join(inner.as_bytes()).is_ok_and(|full| named.contains(&full));
        Ok(!more)
    })?;
    Ok(more)
}

fn remove(root: &OwnedFd, path: &RelPath, before: &Entry) -> io::Result<()> {
    let dir = at::open_dir(root, path.parent().as_ref())?;
    let flag = if before.is_dir() {
        UnlinkatFlags::RemoveDir
    } else {
        UnlinkatFlags::NoRemoveDir
    };
    match unlinkat(&dir, path.file_name(), flag) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        // Something of the user's that was never copied (a socket, an unreadable file) is in it.
        Err(Errno::ENOTEMPTY | Errno::EEXIST) if before.is_dir() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn put(root: &OwnedFd, files: &OwnedFd, change: &Change, after: &Entry, buffer: &mut [u8]) -> io::Result<()> {
    let path = &change.path;
    let name = path.file_name();
    let dir = make_parents(root, path)?;
    let there = at::stat_name(&dir, name)?;
    let home = nix::sys::stat::fstat(&dir)?;
    // Where only the content changed the user's own mode stays as it is.
    let same_mode = change
        .before
        .as_ref()
        .is_some_and(|before| before.mode == after.mode && before.is_dir() == after.is_dir());
    let mode = match there {
        Some(stat) if same_mode => stat.st_mode & 0o777,
        _ => after.mode & 0o777,
    };
    let mode = Mode::from_bits_truncate(mode);
    let owner = owner_like(there.as_ref().unwrap_or(&home));
    if after.is_dir() {
        if there.is_none() {
            nix::sys::stat::mkdirat(&dir, name, mode)?;
            at::give(&dir, name, owner)?;
        }
        let opened = at::open_name(&dir, name, OFlag::O_DIRECTORY | OFlag::O_RDONLY, 0)?;
        return Ok(fchmod(opened, mode)?);
    }
    let temp = format!(".opencode-fsm-{}", uuid::Uuid::now_v7().simple()).into_bytes();
    let written = match &after.kind {
        EntryKind::Symlink { target } => symlinkat(target.as_slice(), &dir, temp.as_slice())
            .map_err(io::Error::from)
            .and_then(|()| at::give(&dir, &temp, owner)),
        _ => write_temp(files, path, &dir, &temp, mode, owner, buffer),
    };
    let placed = written.and_then(|()| Ok(renameat(&dir, temp.as_slice(), &dir, name)?));
    if placed.is_err() {
        // The error to tell is the first one; the temporary file may not even exist.
        let _ = unlinkat(&dir, temp.as_slice(), UnlinkatFlags::NoRemoveDir);
    }
    placed
}

fn write_temp(
    files: &OwnedFd,
    path: &RelPath,
    dir: &OwnedFd,
    temp: &[u8],
    mode: Mode,
    owner: at::Owner,
    buffer: &mut [u8],
) -> io::Result<()> {
    let (mut from, stat) = at::open_beneath(files, path, OFlag::O_RDONLY).and_then(at::regular)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let mut to = File::from(at::open_name(dir, temp, flags, 0o600)?);
    content::copy(
        &mut from,
        stat.st_size.cast_unsigned(),
        is_sparse(&stat),
        Some(&mut to),
        buffer,
    )?;
    at::give(dir, temp, owner)?;
    fchmod(&to, mode)?;
    to.sync_all()
}

/// As root: the owner of what is replaced, or of the directory, so that the user keeps his files.
fn owner_like(stat: &FileStat) -> at::Owner {
    geteuid().is_root().then_some((stat.st_uid, stat.st_gid))
}
