//! Who refused or ended something of a command, as it was seen from outside of it.

use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::Arc};

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

/// Most bytes of a file of events that are read; the kernel's have a hundred or two.
const EVENTS: usize = 4096;

/// A count of the kernel's that a sandbox's cgroups keep.
#[derive(Clone)]
pub(super) struct EventFile {
    file: Arc<File>,
    name: &'static str,
}

impl EventFile {
    /// Processes that were killed for the sandbox's memory (`oom_kill` in `memory.events` of
    /// cgroup v2 and in `memory.oom_control` of v1); `None` where it cannot be opened.
    pub fn oom_kills(file: &Path) -> Option<Self> {
        Self::open(file, "oom_kill ")
    }

    /// Processes that were not started for want of room (`max` in `pids.events` of both).
    pub fn refused_forks(file: &Path) -> Option<Self> {
        Self::open(file, "max ")
    }

    fn open(file: &Path, name: &'static str) -> Option<Self> {
        let file = Arc::new(File::open(file).ok()?);
        Some(Self { file, name })
    }

    /// What is counted from now on.
    pub fn begin(&self) -> EventCount {
        EventCount {
            events: self.clone(),
            before: self.now(),
        }
    }

    /// The kernel writes such a file anew for each read at its beginning.
    fn now(&self) -> u64 {
        let mut text = [0; EVENTS];
        let length = self.file.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..length]);
        let count = text.lines().find_map(|line| line.strip_prefix(self.name));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

/// Such a count, and what it was before a command.
#[derive(Clone)]
pub(super) struct EventCount {
    events: EventFile,
    before: u64,
}

impl EventCount {
    /// Whether there was one since.
    pub fn grew(&self) -> bool {
        self.events.now() > self.before
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
        let [kills, forks] =
            [EventFile::oom_kills(&file), EventFile::refused_forks(&file)].map(|events| events.expect("open").begin());
        assert!(!kills.grew() && !forks.grew());
        std::fs::write(&file, "low 9\nmax 5\noom_kill 1\n").expect("write");
        assert!(!kills.grew() && forks.grew());
        assert!(!forks.events.begin().grew());
        assert!(EventFile::oom_kills(&dir.path().join("none")).is_none());
    }

    #[test]
    fn a_signal_that_a_program_can_send_itself_is_laid_to_nobody() {
        let denied = Denied::signal(Termination::Signal(libc::SIGSYS)).expect("a denial");
        assert_eq!(denied.by, Attribution::Unattributed);
        assert!(Denied::signal(Termination::Signal(libc::SIGKILL)).is_none());
        assert!(Denied::signal(Termination::Code(159)).is_none());
    }
}
