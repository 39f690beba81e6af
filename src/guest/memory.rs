//! What a stage's processes hold of the host's memory, where no cgroup counts it.
//!
//! Three kinds hide from a process's private resident size: shared pages that are
//! mapped, memory files (memfd_create(2)) and System V segments that nobody need map.
//! A mapped one counts as pages too, so of both sums the larger is taken.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Instant,
};

use nix::unistd::Pid;

use super::process::{self, Process};
use crate::wire::Confinement;

/// How much a stage may hold.
#[derive(Clone, Copy)]
pub(super) struct Cap {
    bytes: u64,
    /// All System V segments that there are belong to the sandbox.
    own_ipc: bool,
}

impl Cap {
    /// That of every stage of a sandbox, if there is one.
    pub fn of(confinement: &Confinement) -> Option<Self> {
        confinement.memory_bytes.map(|bytes| Self {
            bytes,
            // An ipc namespace comes with the pid namespace.
            own_ipc: confinement.pid1,
        })
    }
}

/// Whether everything below `root` holds more than `cap`, as far as can be told
/// `until` then: a stage can have more open files than anybody looks through in time.
pub(super) fn exceeds(root: Pid, cap: Cap, until: Instant) -> bool {
    let stage = process::below(root, &Default::default());
    let places: Vec<PathBuf> = stage.iter().filter_map(alive).collect();
    let (mut private, mut shared) = (0, 0);
    for place in &places {
        let status = fs::read_to_string(place.join("status")).unwrap_or_default();
        private += kilobytes(&status, "RssAnon:") + kilobytes(&status, "VmSwap:");
        shared += kilobytes(&status, "RssShmem:");
    }
    let unmapped = memory_files(&stage, until) + if cap.own_ipc { segments() } else { 0 };
    if private + shared.max(unmapped) <= cap.bytes {
        return false;
    }
    // What several processes map is one memory: their proportional shares are
    // exact, and too dear to be asked for at every look (proc_pid_smaps(5)).
    if private + unmapped <= cap.bytes {
        let share = |place: &PathBuf| fs::read_to_string(place.join("smaps_rollup")).unwrap_or_default();
        shared = places.iter().map(|place| kilobytes(&share(place), "Pss_Shmem:")).sum();
    }
    private + shared.max(unmapped) > cap.bytes
}

/// The directory of a thread that lives: that of a first thread that has ended tells nothing.
fn alive(process: &Process) -> Option<PathBuf> {
    let has_memory =
        |task: &PathBuf| fs::read_to_string(task.join("statm")).is_ok_and(|statm| !statm.starts_with("0 "));
    process.tasks().find(has_memory)
}

/// A line of `status` or `smaps_rollup`, in bytes.
fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// Blocks of every memory file that is open, each counted once.
fn memory_files(stage: &[Process], until: Instant) -> u64 {
    let mut files = HashMap::new();
    for place in stage.iter().filter_map(alive) {
        for fd in fs::read_dir(place.join("fd")).into_iter().flatten().flatten() {
            if Instant::now() >= until {
                return files.values().sum();
            }
            if fs::read_link(fd.path()).is_ok_and(|name| name.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"))
                && let Ok(file) = fs::metadata(fd.path())
            {
                files.insert(file.ino(), file.blocks() * 512);
            }
        }
    }
    files.values().sum()
}

/// Resident bytes of the sandbox's own System V segments (`rss`, proc_sysvipc(5)).
fn segments() -> u64 {
    let table = fs::read_to_string(Path::new("/proc/sysvipc/shm")).unwrap_or_default();
    resident_segments(&table)
}

fn resident_segments(table: &str) -> u64 {
    let mut lines = table.lines();
    let Some(column) = lines
        .next()
        .and_then(|names| names.split_whitespace().position(|name| name == "rss"))
    else {
        return 0;
    };
    lines
        .filter_map(|line| line.split_whitespace().nth(column)?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read_by_name() {
        let shm = "key shmid perms size cpid rss swap\n 0 1 600 9000 7 4096 0\n 0 2 600 9000 7 8192 0\n";
        assert_eq!(resident_segments(shm), 12_288);
        assert_eq!(resident_segments(""), 0);
        let status = "Name:\tx\nRssAnon:\t    3 kB\nRssShmem:\t 5 kB\n";
        assert_eq!(
            (kilobytes(status, "RssAnon:"), kilobytes(status, "RssFile:")),
            (3072, 0)
        );
    }
}
