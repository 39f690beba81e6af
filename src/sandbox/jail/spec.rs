//! What the launcher is asked to build: a plan, compiled for the jail.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{probe::Layer, wire::Confinement};

/// One jail, for the launcher. The guest's end of the socket travels with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct JailSpec {
    /// Layers, lowest first.
    pub lowers: Vec<PathBuf>,
    /// Holds `upper/` and `work/`.
    pub scratch: PathBuf,
    /// Host path and absolute path inside.
    pub read_only: Vec<(PathBuf, PathBuf)>,
    /// Whether names are asked for at the loopback, where the answer is no.
    pub asks_for_names: bool,
    pub scratch_bytes: u64,
    pub scratch_inodes: u64,
    pub memory_bytes: u64,
    pub processes: u64,
    pub cpu_millis: Option<u32>,
    pub confinement: Confinement,
    /// Layers that are left off (tests of the other layers only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<Layer>,
}

/// A plan for a jail that waits for one. The host's reply socket, the guest's socket
/// and, where the launcher is root, [`Own`](super::root::Own) travel with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    pub spec: JailSpec,
    /// What the jail's cgroups do already.
    pub bounds: Bounds,
}

/// The launcher's answer; init's pidfd travels with `Built`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Launched {
    /// The jail stands and its guest serves.
    Built {
        /// What its cgroups do.
        bounds: Bounds,
        /// The kernel's landlock ABI; 0 is none.
        landlock_abi: u32,
    },
    /// A step failed.
    Failed {
        /// The step.
        step: String,
        /// `errno`.
        errno: i32,
    },
}

/// What a jail's cgroups do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Bounds {
    /// Controllers that bound it.
    pub controllers: Vec<String>,
    /// The file that counts the kernel's kills for memory, where memory is bounded.
    pub oom_events: Option<PathBuf>,
    /// The file that counts processes which were not started, where they are bounded.
    pub fork_events: Option<PathBuf>,
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
