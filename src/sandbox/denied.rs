//! Who refused or ended something of a command, as it was seen from outside of it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{probe::Layer, wire::Termination};

/// Who refused something: a layer, where the refusal itself tells it from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attribution {
    /// Several would have, and nothing tells which did.
    Unattributed,
    /// This one.
    #[serde(untagged)]
    Layer(Layer),
}

impl From<Option<Layer>> for Attribution {
    fn from(layer: Option<Layer>) -> Self {
        layer.map_or(Self::Unattributed, Self::Layer)
    }
}

/// One thing that was refused to a command, or that ended it. Only what supervisors, the
/// kernel's own counts and the host have seen; never what the command says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Denied {
    /// Who refused it.
    pub by: Attribution,
    /// What it was.
    pub what: String,
}

impl Denied {
    /// By a layer that is known.
    pub fn by(layer: Layer, what: impl Into<String>) -> Self {
        Self {
            by: Attribution::Layer(layer),
            what: what.into(),
        }
    }

    /// An end by a signal which a wall sends, and which a program can send itself as well.
    pub(super) fn signal(end: Termination) -> Option<Self> {
        let what = match end {
            Termination::Signal(libc::SIGSYS) => "ended by SIGSYS, as by the filter of system calls",
            Termination::Signal(libc::SIGXFSZ) => "ended by SIGXFSZ, as by the limit on the size of files",
            _ => return None,
        };
        Some(Self {
            by: Attribution::Unattributed,
            what: what.to_owned(),
        })
    }
}

/// A count of the kernel's that a sandbox's cgroups keep, and what it was before a command.
#[derive(Clone)]
pub(super) struct EventCount {
    file: PathBuf,
    name: &'static str,
    before: u64,
}

impl EventCount {
    /// Processes that were killed for the sandbox's memory (`oom_kill` in `memory.events` of
    /// cgroup v2 and in `memory.oom_control` of v1).
    pub fn oom_kills(file: PathBuf) -> Self {
        Self::begin(file, "oom_kill ")
    }

    /// Processes that were not started for want of room (`max` in `pids.events` of both).
    pub fn refused_forks(file: PathBuf) -> Self {
        Self::begin(file, "max ")
    }

    fn begin(file: PathBuf, name: &'static str) -> Self {
        let mut count = Self { file, name, before: 0 };
        count.before = count.now();
        count
    }

    /// Whether there was one since.
    pub fn grew(&self) -> bool {
        self.now() > self.before
    }

    fn now(&self) -> u64 {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix(self.name));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_grows_is_seen() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("events");
        std::fs::write(&file, "low 3\nmax 4\noom_kill 1\n").expect("write");
        let (kills, forks) = (
            EventCount::oom_kills(file.clone()),
            EventCount::refused_forks(file.clone()),
        );
        assert!(!kills.grew() && !forks.grew());
        std::fs::write(&file, "low 9\nmax 5\noom_kill 1\n").expect("write");
        assert!(!kills.grew() && forks.grew());
        std::fs::remove_file(&file).expect("remove");
        assert!(!kills.grew() && !forks.grew());
    }

    #[test]
    fn a_signal_that_a_program_can_send_itself_is_laid_to_nobody() {
        let denied = Denied::signal(Termination::Signal(libc::SIGSYS)).expect("a denial");
        assert_eq!(denied.by, Attribution::Unattributed);
        assert!(Denied::signal(Termination::Signal(libc::SIGKILL)).is_none());
        assert!(Denied::signal(Termination::Code(159)).is_none());
    }
}
