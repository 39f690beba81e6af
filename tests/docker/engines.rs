//! Engines that cannot be used, and what of an engine cannot be had.

use std::os::unix::net::UnixListener;

use crate::{engine::engine, program::Bench};

/// Exit code and both streams of a verification of a small target.
fn verify(bench: &Bench, docker_host: Option<&str>, arguments: &[&str]) -> (Option<i32>, String) {
    bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: \"true\"\n");
    let mut command = bench.command(&[&["verify"], arguments].concat(), "repo");
    if let Some(host) = docker_host {
        command.env("DOCKER_HOST", host);
    }
    let done = command.output().expect("starts");
    let text = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// A socket that was listened on once.
fn deserted(bench: &Bench) -> String {
    let path = bench.path("deserted.sock");
    drop(UnixListener::bind(&path).expect("bind"));
    format!("unix://{}", path.display())
}

#[test]
fn engines_that_cannot_be_used_are_refused_with_the_remedy() {
    let bench = Bench::new();
    for remote in ["tcp://127.0.0.1:2375", "ssh://somebody@host"] {
        let (code, text) = verify(&bench, Some(remote), &["--sandbox", "docker"]);
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains(&format!("DOCKER_HOST={remote}: a remote engine is not supported")),
            "{text}"
        );
        assert!(text.contains("DOCKER_HOST=unix:///var/run/docker.sock"), "{text}");
    }
    let missing = format!("unix://{}", bench.path("missing.sock").display());
    for host in [deserted(&bench), missing] {
        let (code, text) = verify(&bench, Some(&host), &["--sandbox", "docker"]);
        assert_eq!(code, Some(7), "{text}");
        assert!(
            text.contains("no Docker engine answers at") && text.contains("apt-get install docker.io"),
            "{text}"
        );
    }
}

#[test]
fn auto_takes_the_jail_where_no_engine_can_be_used_and_says_so() {
    let bench = Bench::new();
    let why = [
        (deserted(&bench), "sandbox   jail (no Docker engine answers at"),
        ("tcp://127.0.0.1:2375".to_owned(), "a remote engine is not supported"),
    ];
    for (host, why) in why {
        let (code, text) = verify(&bench, Some(&host), &["--sandbox", "auto"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("sandbox   jail (") && text.contains(why), "{text}");
        std::fs::remove_dir_all(bench.path("runs")).expect("rm");
        let _ = std::fs::remove_file(bench.path("deserted.sock"));
    }
}

#[test]
fn gc_without_an_engine_still_removes_directories_and_says_what_is_missing() {
    let bench = Bench::new();
    let scratch = bench.path("cache/opencode-fsm/scratch");
    std::fs::create_dir_all(scratch.join("dead/upper")).expect("mkdir");
    std::fs::write(scratch.join("dead.lease"), "").expect("write");
    let gc = |host: &str| {
        let mut command = crate::program::program();
        command
            .arg("gc")
            .env("DOCKER_HOST", host)
            .env("XDG_CACHE_HOME", bench.path("cache"));
        let done = command.output().expect("starts");
        let text = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = gc(&deserted(&bench));
    assert_eq!(code, Some(7), "{text}");
    assert!(text.contains("removed 1 leftovers of dead runs"), "{text}");
    assert!(
        text.contains("no Docker engine answers at") && text.contains("apt-get install docker.io"),
        "{text}"
    );
    assert!(!scratch.join("dead").exists() && !scratch.join("dead.lease").exists());
    let (code, text) = gc("tcp://127.0.0.1:2375");
    assert_eq!(code, Some(2), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runtimes_and_images_that_the_engine_lacks_are_named() {
    let Some(_) = engine().await else { return };
    let bench = Bench::new();
    let image = crate::support::runner_image().await;
    let runtime = ["--sandbox", "docker", "--image", &image, "--docker-runtime", "nope"];
    let (code, text) = verify(&bench, None, &runtime);
    assert_eq!(code, Some(7), "{text}");
    assert!(
        text.contains("none named `nope`") && text.contains("takes one of:") && text.contains("runc"),
        "{text}"
    );
    let (code, text) = verify(&bench, None, &["--sandbox", "docker", "--image", "nope"]);
    assert_eq!(code, Some(7), "{text}");
    assert!(
        text.contains("find the image `nope`") && text.contains("docker pull"),
        "{text}"
    );
}
