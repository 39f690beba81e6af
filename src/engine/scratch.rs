//! Scratch directories: where a run's layers lie, leased so that what a killed run
//! left is found and removed by the next one.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use crate::{engine::EngineError, names::RunId, tree};

/// One run's scratch directory; removed by [`Scratch::remove`], or by the next run.
pub(super) struct Scratch {
    dir: PathBuf,
    lease: PathBuf,
    /// Held while the run lives: flock(2) goes with the process, however it ends.
    _held: Flock<File>,
}

impl Scratch {
    /// Makes `<base>/<id>` and removes what dead runs left in `base`.
    pub fn make(base: &Path, id: &RunId) -> Result<Self, EngineError> {
        open_directory(base)?;
        // Making and collecting exclude each other, so a lease is never seen unheld
        // while its run is being born.
        let _turn = lock(&base.join("lock"), FlockArg::LockExclusive)?;
        collect(base)?;
        let lease = base.join(format!("{id}.lease"));
        let held = lock(&lease, FlockArg::LockExclusiveNonblock)?;
        let dir = base.join(id.as_str());
        open_directory(&dir)?;
        Ok(Self {
            dir,
            lease,
            _held: held,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Removes the directory, then the lease.
    pub fn remove(mut self) -> Result<(), EngineError> {
        self.clear()
    }

    fn clear(&mut self) -> Result<(), EngineError> {
        if self.dir.exists() {
            tree::remove_all(&self.dir)?;
        }
        match fs::remove_file(&self.lease) {
            Err(why) if why.kind() != ErrorKind::NotFound => Err(io("remove", &self.lease)(why)),
            _ => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A run that could not begin: what stays is the next run's to collect.
        if let Err(why) = self.clear() {
            tracing::warn!("{why}");
        }
    }
}

/// Removes the directories whose lease nobody holds.
fn collect(base: &Path) -> Result<(), EngineError> {
    for entry in fs::read_dir(base).map_err(io("read", base))? {
        let path = entry.map_err(io("read", base))?.path();
        if path.extension().is_none_or(|extension| extension != "lease") {
            continue;
        }
        if lock(&path, FlockArg::LockExclusiveNonblock).is_ok() {
            let dir = path.with_extension("");
            if dir.exists() {
                tree::remove_all(&dir)?;
            }
            fs::remove_file(&path).map_err(io("remove", &path))?;
        }
    }
    Ok(())
}

/// The lock of a file that is made where it is missing.
pub(super) fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>, EngineError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(io("open", path))?;
    Flock::lock(file, how).map_err(|(_, errno)| io("lock", path)(errno.into()))
}

/// Makes a directory that sandboxes, which run as another user when we are root,
/// may pass through and not list.
pub(super) fn open_directory(dir: &Path) -> Result<(), EngineError> {
    fs::create_dir_all(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o711)))
        .map_err(io("make", dir))
}

fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    let what = format!("{what} {}", path.display());
    move |source| EngineError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_runs_directory_goes_and_a_live_ones_stays() {
        let base = tempfile::tempdir().expect("tempdir");
        let (live, dead) = (RunId::fresh(), RunId::fresh());
        let one = Scratch::make(base.path(), &live).expect("make");
        let other = Scratch::make(base.path(), &dead).expect("make");
        fs::write(other.path().join("file"), "x").expect("write");
        // As after kill -9: the lock goes, the directory stays.
        let left = other.path().to_path_buf();
        let other = std::mem::ManuallyDrop::new(other);
        nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(&*other._held)).expect("close");
        assert!(left.exists());
        let third = Scratch::make(base.path(), &RunId::fresh()).expect("make");
        assert!(!left.exists() && one.path().exists());
        third.remove().expect("remove");
        one.remove().expect("remove");
        assert_eq!(
            fs::read_dir(base.path()).expect("ls").count(),
            1,
            "only the common lock is left"
        );
    }
}
