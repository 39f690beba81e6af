//! What the launcher is asked to build: a plan, compiled for the jail.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::wire::Confinement;

/// The unprivileged host id that jails run as when the host process is root.
/// Never a real account: beyond every range that `/etc/subuid` hands out by default.
pub const JAIL_UID: u32 = 2_000_000_000;

/// One jail, for the launcher. The guest's end of the socket travels with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct JailSpec {
    pub label: String,
    /// Layers, lowest first.
    pub lowers: Vec<PathBuf>,
    /// Holds `upper/` and `work/`.
    pub scratch: PathBuf,
    /// Host path and absolute path inside.
    pub read_only: Vec<(PathBuf, PathBuf)>,
    pub scratch_bytes: u64,
    pub scratch_inodes: u64,
    pub memory_bytes: u64,
    pub processes: u64,
    pub cpu_millis: Option<u32>,
    pub confinement: Confinement,
}

/// The launcher's answer; init's pidfd travels with `Built`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Launched {
    /// The jail stands and its guest serves.
    Built {
        /// cgroup controllers that bound it.
        cgroups: Vec<String>,
    },
    /// A step failed.
    Failed {
        /// The step.
        step: String,
        /// `errno`.
        errno: i32,
    },
}

/// A step of building a jail that failed.
#[derive(Debug)]
pub(super) struct StepError {
    pub step: String,
    pub errno: i32,
}

/// Names the step of a failed call.
pub(super) trait Step<T> {
    fn step(self, name: &str) -> Result<T, StepError>;
}

impl<T> Step<T> for std::io::Result<T> {
    fn step(self, name: &str) -> Result<T, StepError> {
        self.map_err(|e| StepError {
            step: name.to_owned(),
            errno: e.raw_os_error().unwrap_or(libc::EIO),
        })
    }
}

impl<T> Step<T> for nix::Result<T> {
    fn step(self, name: &str) -> Result<T, StepError> {
        self.map_err(|e| StepError {
            step: name.to_owned(),
            errno: e as i32,
        })
    }
}
