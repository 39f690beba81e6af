//! Where an image is made: one build at a time, and nothing left of those that were cut off.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::statvfs::{FsFlags, statvfs},
    unistd::geteuid,
};

use super::{ImageError, Progress};
use crate::record::default_cache_dir;

/// What a build takes at its largest, bytes: the tree, its archive and the packages.
const ROOM: u64 = 3 << 30;
const PREFIX: &str = "opencode-fsm-image-";
/// Between two looks at a lock that another process holds.
const LOOK: Duration = Duration::from_millis(250);

/// How often the removal of a build's directory is tried, and the pause between: two seconds in all.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// The right to build, against every process with the same cache.
pub(super) struct Turn(#[expect(dead_code, reason = "held for its lock")] Flock<File>);

impl Turn {
    /// Waits until no other process builds.
    pub async fn wait(progress: Progress<'_>) -> Result<Self, ImageError> {
        let cache = default_cache_dir()?;
        fs::create_dir_all(&cache).map_err(ImageError::io("make", &cache))?;
        let path = cache.join("image.lock");
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(ImageError::io("open", &path))?;
        let mut told = false;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Self(held)),
                Err((file, nix::Error::EWOULDBLOCK)) => file,
                Err((_, why)) => return Err(ImageError::io("lock", path)(why.into())),
            };
            if !told {
                progress.step("another process builds an image; waiting for it");
                told = true;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A directory for one build. It is locked as long as it is in use, and goes at the end.
pub(super) struct WorkDir {
    dir: tempfile::TempDir,
    _lock: Flock<File>,
}

impl WorkDir {
    /// In memory where there is room, which is several times faster than on a disk.
    pub fn make() -> Result<Self, ImageError> {
        let memory = Path::new("/dev/shm");
        let place = if roomy(memory) {
            memory.to_path_buf()
        } else if geteuid().is_root() {
            default_cache_dir()?
        } else {
            // The ids that it runs under may not enter the user's home.
            std::env::temp_dir()
        };
        sweep(&place);
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&place)
            .map_err(ImageError::io("make a directory in", &place))?;
        // An ordinary user's build runs under other ids. Whatever the umask is, they get in.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
            .map_err(ImageError::io("open up", dir.path()))?;
        let open = File::open(dir.path()).map_err(ImageError::io("open", dir.path()))?;
        let lock = Flock::lock(open, FlockArg::LockSharedNonblock)
            .map_err(|(_, why)| ImageError::io("lock", dir.path())(why.into()))?;
        Ok(Self { dir, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file there, for everybody to read.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, ImageError> {
        let path = self.path().join(name);
        fs::write(&path, bytes)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
            .map_err(ImageError::io("write", &path))?;
        Ok(path)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // Programs that were just killed may still be writing; what is removed as a whole stays removed.
        for _ in 0..TRIES {
            if crate::tree::remove_all(self.path()).is_ok() || !self.path().exists() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn roomy(dir: &Path) -> bool {
    let mut unfit = FsFlags::ST_NOEXEC | FsFlags::ST_RDONLY;
    if geteuid().is_root() {
        // An ordinary user's build makes no devices.
        unfit |= FsFlags::ST_NODEV;
    }
    statvfs(dir).is_ok_and(|fs| {
        !fs.flags().intersects(unfit) && fs.blocks_available().saturating_mul(fs.fragment_size()) >= ROOM
    })
}

/// Removes our directories that no build holds: those of processes that were killed.
fn sweep(place: &Path) {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        let ours = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir() && meta.uid() == geteuid().as_raw());
        let Some(open) = ours.then(|| File::open(&path).ok()).flatten() else {
            continue;
        };
        if Flock::lock(open, FlockArg::LockExclusiveNonblock).is_ok() {
            let _ = crate::tree::remove_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_build_left_is_swept_and_a_living_ones_stays() {
        let place = tempfile::tempdir().expect("tempdir");
        let [dead, alive, other] = ["dead", "alive", "other"].map(|name| match name {
            "other" => place.path().join(name),
            _ => place.path().join(format!("{PREFIX}{name}")),
        });
        for dir in [&dead, &alive, &other] {
            fs::create_dir_all(dir.join("root/usr")).expect("mkdir");
        }
        let held = Flock::lock(File::open(&alive).expect("open"), FlockArg::LockSharedNonblock).expect("lock");
        sweep(place.path());
        assert_eq!((dead.exists(), alive.exists(), other.exists()), (false, true, true));
        drop(held);
        sweep(place.path());
        assert!(!alive.exists() && other.exists());
    }
}
