//! What is left when a run is stopped: by a signal, and by `kill -9` at any moment.
//!
//! One test, alone in its process: it looks for whatever is left on the whole machine.

#[path = "support/left.rs"]
mod left;
#[path = "support/program.rs"]
mod program;

use std::{
    os::unix::process::ExitStatusExt,
    process::{Child, Command},
    time::{Duration, Instant},
};

use left::{Scene, cgroups, left, nothing_left};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use program::{Bench, opencode, program};

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
