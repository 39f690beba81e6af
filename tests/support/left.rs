//! What is left of runs on this machine: processes, mounts, cgroups, containers, locks.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

use crate::program::{Bench, PROGRAM};

/// Longest time that anything may be left after the host process is gone.
const LEFT: Duration = Duration::from_secs(5);
pub fn in_docker() -> bool {
    std::env::var_os("OPENCODE_FSM_SANDBOX").is_some_and(|name| name == "docker")
}

/// Every cgroup that a launcher made: `<pid>-<start>-<serial>` below `opencode-fsm`.
pub fn cgroups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = directories.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if dir.file_name().is_some_and(|name| name == "opencode-fsm") {
                    found.push(entry.path());
                }
                directories.push(entry.path());
            }
        }
    }
    found
}

/// A bench, and the cgroups that were there before it.
pub struct Scene {
    pub bench: Bench,
    pub cgroups_before: Vec<PathBuf>,
}

/// Whether a process belongs to a run of this test: the program itself, something below
/// it, or something in a container that shows a run's directory. Other programs of other
/// tests may run on this machine.
fn ours(pid: &str, ids: &[String]) -> bool {
    let mut at = pid.to_owned();
    for _ in 0..64 {
        let process = Path::new("/proc").join(&at);
        if fs::read_link(process.join("exe")).is_ok_and(|exe| exe == Path::new(PROGRAM)) {
            return true;
        }
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        match status.lines().find_map(|line| line.strip_prefix("PPid:")) {
            Some(parent) if parent.trim() != "0" => at = parent.trim().to_owned(),
            _ => break,
        }
    }
    let mounts = fs::read_to_string(Path::new("/proc").join(pid).join("mountinfo")).unwrap_or_default();
    mounts.contains("/.opencode-fsm/") && ids.iter().any(|id| mounts.contains(id.as_str()))
}

/// What is left of any run: processes, mounts, cgroups, containers and their volumes.
pub fn left(scene: &Scene) -> Vec<String> {
    let bench = &scene.bench;
    let mut found = Vec::new();
    let ids: Vec<String> = fs::read_dir(bench.path("runs"))
        .map(|runs| {
            runs.flatten()
                .map(|run| run.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid.bytes().all(|b| b.is_ascii_digit()) && pid != std::process::id().to_string() && ours(&pid, &ids) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            found.push(format!("process {pid} {line}"));
        }
    }
    if in_docker() {
        for kind in ["container", "volume"] {
            let all: &[&str] = if kind == "container" { &["ls", "--all"] } else { &["ls"] };
            let mut command = Command::new("docker");
            command.arg(kind).args(all).args(["--format", "{{json .}}"]);
            let listed = command.output().expect("docker").stdout;
            let listed = String::from_utf8_lossy(&listed).into_owned();
            let ours = listed
                .lines()
                .filter(|line| ids.iter().any(|id| line.contains(id.as_str())));
            found.extend(ours.map(|line| format!("{kind} {line}")));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    found.extend(
        mounts
            .lines()
            .filter(|line| ids.iter().any(|id| line.contains(id.as_str())))
            .map(|line| format!("mount {line}")),
    );
    found.extend(cgroups().into_iter().filter_map(|dir| {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let launcher = Path::new("/proc").join(name.split('-').next().unwrap_or_default());
        // One whose launcher is another program's is another test's.
        let ours = !launcher.exists() || fs::read_link(launcher.join("exe")).is_ok_and(|exe| exe == Path::new(PROGRAM));
        (ours && !scene.cgroups_before.contains(&dir)).then(|| format!("cgroup {}", dir.display()))
    }));
    for id in &ids {
        let lock = fs::File::open(bench.path("runs").join(id).join("lock"));
        if lock.is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()) {
            found.push(format!("lock of {id}"));
        }
    }
    found
}

/// Waits until nothing is left, at most [`LEFT`].
pub fn nothing_left(scene: &Scene, what: &str) {
    let deadline = Instant::now() + LEFT;
    loop {
        let found = left(scene);
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {found:#?}");
        std::thread::yield_now();
    }
}
