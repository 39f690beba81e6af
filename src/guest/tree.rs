//! The workspace changed and read as its owner, by a child that has dropped to it.
//!
//! No path is ever followed through a link: every parent is opened with
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` (openat2(2)).

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};

use super::Failure;
use crate::{
    names::RelPath,
    wire::{GET, Removal},
};

/// Removes, then unpacks an uncompressed tar stream.
pub(super) fn put(workspace: &Path, removals: &[Removal], stream: OwnedFd) -> Result<(), Failure> {
    let root = open_root(workspace)?;
    for removal in removals {
        remove(&root, &removal.path).map_err(|e| Failure::io(&format!("remove `{}`", removal.path), &e))?;
    }
    let mut archive = tar::Archive::new(File::from(stream));
    for entry in archive.entries().map_err(|e| Failure::io("read the stream", &e))? {
        let mut entry = entry.map_err(|e| Failure::io("read the stream", &e))?;
        let path = RelPath::new(&*entry.path_bytes()).map_err(|e| Failure::plain("read the stream", e))?;
        write(&root, &path, &mut entry).map_err(|e| Failure::io(&format!("write `{path}`"), &e))?;
    }
    Ok(())
}

/// Writes the named paths (all of the workspace when none is) as a tar stream.
pub(super) fn get(workspace: &Path, paths: &[RelPath], stream: OwnedFd) -> Result<(), Failure> {
    let root = open_root(workspace)?;
    let mut archive = tar::Builder::new(io::BufWriter::new(File::from(stream)));
    archive.follow_symlinks(false);
    // Holes are written out, so that what a file says of its size is what comes.
    archive.sparse(false);
    let failed = |e: &io::Error| Failure::io(GET, e);
    if paths.is_empty() {
        archive.append_dir_all(".", workspace).map_err(|e| failed(&e))?;
    }
    for path in paths {
        let parent = open_parent(&root, path, false).map_err(|e| failed(&e))?;
        let there = within(&parent, path);
        let kind = fs::symlink_metadata(&there).map_err(|e| failed(&e))?;
        if kind.is_dir() {
            archive.append_dir_all(path.as_path(), &there).map_err(|e| failed(&e))?;
        } else if kind.is_symlink() {
            archive
                .append_path_with_name(&there, path.as_path())
                .map_err(|e| failed(&e))?;
        } else {
            // What is there may be another by now: it is opened as what it was taken for.
            let mut file = fs::OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&there)
                .map_err(|e| failed(&e))?;
            if !file.metadata().map_err(|e| failed(&e))?.is_file() {
                return Err(failed(&io::Error::other("a fifo, a socket or a device")));
            }
            archive.append_file(path.as_path(), &mut file).map_err(|e| failed(&e))?;
        }
    }
    archive
        .into_inner()
        .and_then(|mut out| out.flush())
        .map_err(|e| failed(&e))
}

fn open_root(workspace: &Path) -> Result<OwnedFd, Failure> {
    nix::fcntl::open(
        workspace,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| Failure::new("open the workspace", e))
}

fn beneath(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(root, path, how)?)
}

/// The directory that holds `path`, made when `make`.
fn open_parent(root: &OwnedFd, path: &RelPath, make: bool) -> io::Result<OwnedFd> {
    let Some(parent) = path.parent() else {
        return root.try_clone();
    };
    match beneath(root, parent.as_path()) {
        Err(e) if make && e.kind() == io::ErrorKind::NotFound => {
            let above = open_parent(root, &parent, true)?;
            fs::DirBuilder::new().mode(0o755).create(within(&above, &parent))?;
            beneath(root, parent.as_path())
        }
        other => other,
    }
}

/// A name in an open directory, as a path that resolves only the name.
fn within(parent: &OwnedFd, path: &RelPath) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(std::ffi::OsStr::from_bytes(path.file_name()))
}

fn remove(root: &OwnedFd, path: &RelPath) -> io::Result<()> {
    let parent = match open_parent(root, path, false) {
        Ok(parent) => parent,
        // Nothing is there, or something that is no directory stands above it.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => return Ok(()),
        Err(e) => return Err(e),
    };
    remove_at(&within(&parent, path))
}

fn remove_at(there: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(there) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    if !meta.is_dir() {
        return fs::remove_file(there);
    }
    // Mode 000 directories are the agent's to make and ours to remove.
    fs::set_permissions(there, Permissions::from_mode(0o700))?;
    match fs::remove_dir_all(there) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            for entry in fs::read_dir(there)? {
                remove_at(&entry?.path())?;
            }
            fs::remove_dir(there)
        }
        other => other,
    }
}

fn write(root: &OwnedFd, path: &RelPath, entry: &mut tar::Entry<'_, File>) -> io::Result<()> {
    let parent = open_parent(root, path, true)?;
    let there = within(&parent, path);
    let mode = entry.header().mode()? & 0o777;
    match entry.header().entry_type() {
        tar::EntryType::Directory => {
            if !fs::symlink_metadata(&there).is_ok_and(|m| m.is_dir()) {
                remove_at(&there)?;
                fs::create_dir(&there)?;
            }
            fs::set_permissions(&there, Permissions::from_mode(mode))
        }
        tar::EntryType::Regular => {
            remove_at(&there)?;
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&there)?;
            io::copy(entry, &mut file)?;
            file.set_permissions(Permissions::from_mode(mode))
        }
        tar::EntryType::Symlink => {
            use std::os::unix::ffi::OsStrExt;
            let target = entry
                .link_name_bytes()
                .ok_or_else(|| io::Error::other("a symlink without target"))?;
            remove_at(&there)?;
            std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&target), &there)
        }
        other => Err(io::Error::other(format!("an entry of type {other:?}"))),
    }
}
