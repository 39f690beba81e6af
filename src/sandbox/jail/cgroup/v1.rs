//! The old hierarchies, one a controller (`cgroup-v1/cgroups.rst`).

use std::{collections::HashMap, fs, path::PathBuf};

/// Where each controller is mounted (`/proc/self/mounts`, proc_pid_mounts(5)).
pub(super) fn hierarchies() -> HashMap<String, PathBuf> {
    parse(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

fn parse(mounts: &str) -> HashMap<String, PathBuf> {
    let mut found = HashMap::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(dir), Some("cgroup"), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        for option in options.split(',') {
            found.entry(option.to_owned()).or_insert_with(|| PathBuf::from(dir));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_found_where_they_are_mounted() {
        let found = parse(
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nosuid 0 0\n\
             cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n\
             cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n",
        );
        assert_eq!(found["memory"], PathBuf::from("/sys/fs/cgroup/memory"));
        assert_eq!(found["cpu"], PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        assert!(!found.contains_key("pids"));
    }
}
