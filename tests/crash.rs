//! What is left when a run is stopped: by a signal, and by `kill -9` at any moment.
//!
//! One test, alone in its process, which takes in every orphan of what it started
//! (PR_SET_CHILD_SUBREAPER(2const)): whatever still lives below it is what is left,
//! whoever else runs this program on the machine.

#[path = "support/program.rs"]
mod program;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use program::{Bench, PROGRAM, opencode, process_status};

/// Longest time that anything may be left after the host process is gone.
const LEFT: Duration = Duration::from_secs(5);
/// Kills, spread over the time that a whole demonstration takes.
const KILLS: u32 = 20;

fn demo(bench: &Bench, round: u32) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["demo", "--json", "--artifacts-dir"])
        .arg(bench.path("runs"));
    command.arg("--dir").arg(bench.path(&format!("demo-{round}")));
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    command
}

/// Every cgroup that a launcher made: `<pid>-<start>-<serial>` below `opencode-fsm`.
fn cgroups() -> Vec<PathBuf> {
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
struct Scene {
    bench: Bench,
    cgroups_before: Vec<PathBuf>,
}

/// Every process below this one but the dead.
fn below() -> BTreeMap<u32, String> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some(parent) = process_status(pid, "PPid:").and_then(|parent| parent.parse().ok())
            && process_status(pid, "State:").is_some_and(|state| !state.starts_with(['Z', 'X']))
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut left) = (BTreeMap::new(), vec![std::process::id()]);
    while let Some(pid) = left.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            found.insert(child, String::from_utf8_lossy(&line).replace('\0', " "));
            left.push(child);
        }
    }
    found
}

/// What is left of any run: processes, mounts, cgroups.
fn left(scene: &Scene) -> Vec<String> {
    let bench = &scene.bench;
    let processes = below();
    let mut found: Vec<String> = processes
        .iter()
        .map(|(pid, line)| format!("process {pid} {line}"))
        .collect();
    let ids: Vec<String> = fs::read_dir(bench.path("runs"))
        .map(|runs| {
            runs.flatten()
                .map(|run| run.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    found.extend(
        mounts
            .lines()
            .filter(|line| ids.iter().any(|id| line.contains(id.as_str())))
            .map(|line| format!("mount {line}")),
    );
    found.extend(cgroups().into_iter().filter_map(|dir| {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let launcher = name.split('-').next().unwrap_or_default();
        // One whose launcher lives elsewhere is another's.
        let lives = Path::new("/proc").join(launcher).exists();
        let ours = !lives || launcher.parse().is_ok_and(|pid: u32| processes.contains_key(&pid));
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
fn nothing_left(scene: &Scene, what: &str) {
    let deadline = Instant::now() + LEFT;
    loop {
        // Orphans that came to this process and died.
        while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive) {}
        let found = left(scene);
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {found:#?}");
        std::thread::yield_now();
    }
}

fn end(mut child: Child, signal: Signal) -> std::process::ExitStatus {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    // The demonstration may have ended by itself, on a quick machine.
    let _ = kill(pid, signal);
    child.wait().expect("wait")
}

#[test]
fn nothing_is_left_however_a_run_ends() {
    if !opencode() {
        return;
    }
    let scene = Scene {
        bench: Bench::new(),
        cgroups_before: cgroups(),
    };
    nix::sys::prctl::set_child_subreaper(true).expect("a subreaper");
    let bench = &scene.bench;
    nothing_left(&scene, "before");
    let began = Instant::now();
    assert!(demo(bench, 0).status().expect("starts").success());
    let whole = began.elapsed();
    nothing_left(&scene, "after a run that ended by itself");

    // The control: while a run lives, this test does see its parts.
    let child = demo(bench, 1).spawn().expect("starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !left(&scene)
        .iter()
        .any(|found| found.contains("/opt/opencode/opencode"))
    {
        assert!(Instant::now() < deadline, "the agent never came up");
        std::thread::yield_now();
    }
    assert_eq!(end(child, Signal::SIGINT).code(), Some(130));
    nothing_left(&scene, "after SIGINT");
    let child = demo(bench, 2).spawn().expect("starts");
    while !left(&scene)
        .iter()
        .any(|found| found.contains("/opt/opencode/opencode"))
    {
        assert!(Instant::now() < deadline, "the agent never came up");
        std::thread::yield_now();
    }
    assert_eq!(end(child, Signal::SIGTERM).code(), Some(143));
    nothing_left(&scene, "after SIGTERM");

    let mut killed = 0;
    for round in 0..KILLS {
        let child = demo(bench, 10 + round).spawn().expect("starts");
        // The moment is the point of it, not a wait for something.
        let moment = whole.mul_f64(f64::from(round) / f64::from(KILLS));
        std::thread::sleep(moment);
        let status = end(child, Signal::SIGKILL);
        killed += u32::from(status.signal() == Some(9));
        nothing_left(&scene, &format!("after kill -9 at {moment:?}"));
    }
    assert!(
        killed >= KILLS / 2,
        "only {killed} of {KILLS} runs were killed before they ended"
    );
}
