//! What a source tree holds, by lstat(2) alone: cheap, and enough to see that nothing changed.

use std::{os::fd::OwnedFd, time::SystemTime};

use nix::sys::stat::{FileStat, SFlag};

use super::{
    CopyLimits, TreeError, at,
    walk::{Sight, Walk},
};
use crate::names::RelPath;

/// Specials and unreadable things are counted against the files too, so a tree of fifos has a bound.
pub(super) struct Survey {
    /// Everything that is to be copied, parents first.
    pub found: Vec<(RelPath, FileStat)>,
    /// What is not, and why.
    pub skipped: Vec<(RelPath, String)>,
    /// Bytes in regular files.
    pub bytes: u64,
}

impl Survey {
    /// Walks the source.
    ///
    /// # Errors
    /// [`TreeError::Limit`] when it is larger than the limits allow.
    pub(super) fn of(root: &OwnedFd, limits: &CopyLimits) -> Result<Self, TreeError> {
        let mut survey = Self {
            found: Vec::new(),
            skipped: Vec::new(),
            bytes: 0,
        };
        let walk = Walk {
            max_entries: limits.max_files,
            force: false,
        };
        walk.run(root, &mut |sight| {
            match sight {
                Sight::Thing { path, stat, .. } => match at::kind_of(stat) {
                    SFlag::S_IFREG => {
                        survey.bytes = survey.bytes.saturating_add(stat.st_size.cast_unsigned());
                        if survey.bytes > limits.max_bytes {
                            let max = limits.max_bytes;
                            return Err(TreeError::Limit(format!(
                                "the target holds more than {max} bytes, at {path}"
                            )));
                        }
                        survey.found.push((path.clone(), *stat));
                    }
                    SFlag::S_IFDIR | SFlag::S_IFLNK => survey.found.push((path.clone(), *stat)),
                    _ => survey.skipped.push((path.clone(), "a fifo, socket or device".into())),
                },
                Sight::Closed { path, error } => {
                    survey
                        .skipped
                        .push((path.clone(), format!("its contents cannot be read: {error}")));
                }
            }
            Ok(true)
        })?;
        survey.found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(survey)
    }

    /// One digest over every name, size, time, inode and mode.
    pub(super) fn fingerprint(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for (path, stat) in &self.found {
            hasher.update(&(path.as_bytes().len() as u64).to_le_bytes());
            hasher.update(path.as_bytes());
            for number in [
                stat.st_size,
                stat.st_mtime,
                stat.st_mtime_nsec,
                stat.st_ctime,
                stat.st_ctime_nsec,
                stat.st_ino.cast_signed(),
                stat.st_dev.cast_signed(),
                i64::from(stat.st_mode),
            ] {
                hasher.update(&number.to_le_bytes());
            }
        }
        for (path, _) in &self.skipped {
            hasher.update(b"\0skipped\0");
            hasher.update(path.as_bytes());
        }
        hasher.finalize()
    }

    /// Whether something changed so shortly before `start` that a further change
    /// could leave all its times as they are (the clock of a file system ticks
    /// every few milliseconds).
    pub(super) fn is_racy(&self, start: SystemTime) -> bool {
        const TICK_NANOS: u128 = 20_000_000;
        let start = start
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        self.found.iter().any(|(_, stat)| {
            let seconds = u128::try_from(stat.st_ctime).unwrap_or(0);
            let nanos = u128::try_from(stat.st_ctime_nsec).unwrap_or(0);
            seconds * 1_000_000_000 + nanos + TICK_NANOS > start
        })
    }
}
