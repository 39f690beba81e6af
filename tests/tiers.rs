//! Hosts that cannot build the whole jail: what they are told, and with which exit code.

#[path = "support/program.rs"]
mod program;

use std::process::Command;

use program::{Bench, PROGRAM};

/// Runs the program where no user namespace can be made: in one that forbids more.
fn without_user_namespaces(bench: &Bench, arguments: &str) -> (Option<i32>, String) {
    let id = nix::unistd::geteuid();
    let mut command = Command::new("unshare");
    if id.is_root() {
        command.arg("--map-root-user");
    } else {
        command.args([&format!("--map-user={id}"), "--keep-caps"]);
    }
    let script = format!("echo 0 > /proc/sys/user/max_user_namespaces && exec {PROGRAM} {arguments}");
    let output = command
        .args(["--user", "sh", "-c", &script])
        .env("XDG_CACHE_HOME", bench.path("cache"))
        .env("XDG_STATE_HOME", bench.path("state"))
        .output()
        .expect("unshare");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_host_without_user_namespaces_is_refused_by_name_with_the_remedy() {
    let bench = Bench::new();
    bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: touch ran; test -f ran\n");
    let target = bench.path("repo").display().to_string();
    let (code, text) = without_user_namespaces(&bench, &format!("verify {target}"));
    assert_eq!(code, Some(5), "{text}");
    assert!(
        text.contains("`landlock`") && text.contains("max_user_namespaces"),
        "{text}"
    );
    // Accepted by name, it still does not pretend: that tier is not built.
    let (code, text) = without_user_namespaces(&bench, &format!("verify --min-tier landlock {target}"));
    assert_eq!(code, Some(7), "{text}");
    assert!(text.contains("does not build this tier"), "{text}");
    let (code, text) = without_user_namespaces(&bench, "doctor");
    assert_eq!(code, Some(5), "{text}");
    assert!(
        text.contains("user namespace") && text.contains("MISSING") && text.contains("sysctl -w"),
        "{text}"
    );
    // The control: with user namespaces the same command passes.
    let mut command = bench.command(&["verify"], "repo");
    assert!(command.output().expect("starts").status.success());
}

#[test]
fn a_tier_that_the_host_does_not_reach_is_refused() {
    let bench = Bench::new();
    bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: \"true\"\n");
    let output = bench
        .command(&["verify", "--min-tier", "namespaces-cgroup"], "repo")
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Root can make cgroups here, an ordinary user cannot; neither is a silent weakening.
    match output.status.code() {
        Some(0) => assert!(text.contains("namespaces-cgroup ("), "{text}"),
        Some(5) => assert!(text.contains("--min-tier namespaces"), "{text}"),
        other => panic!("{other:?}: {text}"),
    }
}
