//! The container's cgroups, looked at from outside: an engine can call a container
//! gone whose processes live on.

use std::{
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = "/sys/fs/cgroup";

/// Where a container is counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Cgroups {
    /// Directories that list its processes.
    dirs: Vec<PathBuf>,
    /// The file that counts the kernel's kills for memory.
    pub oom_events: Option<PathBuf>,
    /// The file that counts processes which were not started.
    pub fork_events: Option<PathBuf>,
}

impl Cgroups {
    /// Those of a process of this host; empty where they cannot be seen from here.
    pub fn of(pid: i32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        Self::parse(&text, Path::new(ROOT))
    }

    /// Lines of `id:controllers:path` (cgroups(7)); the unified hierarchy has id 0 and
    /// no controllers.
    fn parse(text: &str, root: &Path) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let below = path.trim_start_matches('/');
            // The root group holds everybody.
            if below.is_empty() || below.split('/').any(|part| part == "..") {
                continue;
            }
            let has = |name: &str| controllers.split(',').any(|c| c == name);
            let (dir, events) = if id == "0" {
                (root.join(below), "memory.events")
            } else if has("memory") {
                (root.join("memory").join(below), "memory.oom_control")
            } else if has("pids") {
                (root.join("pids").join(below), "")
            } else {
                continue;
            };
            if !dir.is_dir() {
                continue;
            }
            let events = dir.join(events);
            if events.is_file() {
                found.oom_events = Some(events);
            }
            let forks = dir.join("pids.events");
            if forks.is_file() {
                found.fork_events = Some(forks);
            }
            found.dirs.push(dir);
        }
        found
    }

    /// The processes that are still in there.
    pub fn survivors(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self
            .dirs
            .iter()
            .flat_map(|dir| {
                let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()
            })
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Whether anything can be said from here.
    pub fn seen(&self) -> bool {
        !self.dirs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hierarchies_are_read_and_the_root_group_is_nobodys() {
        let root = tempfile::tempdir().expect("tempdir");
        for dir in ["memory/docker/x", "pids/docker/x", "docker/x"] {
            fs::create_dir_all(root.path().join(dir)).expect("mkdir");
            fs::write(root.path().join(dir).join("cgroup.procs"), "12\n13\n").expect("write");
        }
        fs::write(root.path().join("memory/docker/x/memory.oom_control"), "oom_kill 0\n").expect("write");
        let one = Cgroups::parse("4:memory:/docker/x\n3:cpu,pids:/docker/x\n0::/\n", root.path());
        assert_eq!(one.survivors(), [12, 13]);
        assert!(one.oom_events.is_some_and(|file| file.ends_with("memory.oom_control")));
        let two = Cgroups::parse("0::/docker/x\n", root.path());
        assert_eq!(two.survivors(), [12, 13]);
        for none in ["0::/\n", "4:memory:/\n", "0::/../docker/x\n", "nonsense", ""] {
            assert!(!Cgroups::parse(none, root.path()).seen(), "{none}");
        }
    }
}
