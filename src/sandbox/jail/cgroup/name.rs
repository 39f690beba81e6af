//! Whose a cgroup is: `<pid>-<start time>-<label>` of the launcher that made it.

use std::{ffi::OsStr, fs};

/// A launcher, told from a later process with its pid by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Owner {
    pid: u32,
    /// Clock ticks since boot.
    started: u64,
}

impl Owner {
    /// The calling process.
    pub fn this() -> Option<Self> {
        let pid = std::process::id();
        started(pid).map(|started| Self { pid, started })
    }

    /// The name of its cgroup for `label`; one path component, whatever the label.
    pub fn directory(&self, label: &str) -> String {
        format!("{}-{}-{}", self.pid, self.started, label.replace('/', "_"))
    }

    /// Who made the cgroup of that name; `None` when it is none of ours.
    pub fn of(directory: &OsStr) -> Option<Self> {
        let mut parts = directory.to_str()?.splitn(3, '-');
        let (pid, started, _label) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        })
    }

    /// Whether it still runs.
    pub fn alive(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// Field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, parentheses included: the last one ends it,
    // and what follows begins with field 3.
    let close = stat.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_owner_and_that_he_lives() {
        let this = Owner::this().expect("we run");
        let name = this.directory("run/../../etc-1");
        assert!(!name.contains('/'), "{name}");
        assert_eq!(Owner::of(OsStr::new(&name)), Some(this));
        assert!(this.alive());
    }

    #[test]
    fn a_later_process_with_the_same_pid_is_another() {
        let this = Owner::this().expect("we run");
        let earlier = Owner {
            started: this.started.wrapping_sub(1),
            ..this
        };
        assert!(!earlier.alive());
    }

    #[test]
    fn foreign_names_have_no_owner() {
        for name in ["run-agent-1", "12-agent", "12", "", "1-x-y", "-1-2-x"] {
            assert_eq!(Owner::of(OsStr::new(name)), None, "{name}");
        }
    }
}
