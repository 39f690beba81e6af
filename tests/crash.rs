//! What is left when a run is stopped: by a signal, and by `kill -9` at any moment.
//!
//! One test, alone in its process: it looks for whatever is left on the whole machine.

#[path = "support/program.rs"]
mod program;

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use program::{Bench, PROGRAM, opencode, program};

/// Longest time that anything may be left after the host process is gone.
const LEFT: Duration = Duration::from_secs(5);
/// Kills, spread over the time that a whole demonstration takes.
const KILLS: u32 = 20;

fn demo(bench: &Bench, round: u32) -> Command {
    let mut command = program();
    command
        .args(["demo", "--json", "--artifacts-dir"])
        .arg(bench.path("runs"));
    command.arg("--dir").arg(bench.path(&format!("demo-{round}")));
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    command
}

fn in_docker() -> bool {
    std::env::var_os("OPENCODE_FSM_SANDBOX").is_some_and(|name| name == "docker")
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
fn left(scene: &Scene) -> Vec<String> {
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
fn nothing_left(scene: &Scene, what: &str) {
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
