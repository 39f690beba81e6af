//! The witness: forbidden acts as a command's identity, before any command.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opencode_fsm::{
    engine::{self, Audit, Caps, EngineError, NetworkOptions, Stop, TargetOptions, Trial, Unattended, WallOptions},
    policy::{BackendChoice, Isolation, Limits, Policy, Tier},
    probe::WITNESS,
    report::{Face, Reporter},
    sandbox::{Attribution, Backend, Layer, Sandbox, SandboxError, bare::Bare},
    source::{Endpoints, FetchOptions, Target},
};
use support::{PROGRAM, Scratch, backend, in_docker, plan};

async fn sandbox(label: &str, off: &[Layer]) -> (Scratch, Backend, Sandbox) {
    let dir = Scratch::new();
    let backend = backend(off).await;
    let sandbox = backend.create(&plan(dir.path(), label)).await.expect("a sandbox");
    (dir, backend, sandbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_act_is_refused_and_most_refusals_tell_who_it_was() {
    let (_dir, _backend, mut sandbox) = sandbox("witness", &[]).await;
    sandbox.witness().await.expect("the walls hold");
    let report = sandbox.walls().witness.clone().expect("a report");
    assert_eq!(report.denials.len(), WITNESS.len());
    for denial in &report.denials {
        println!("{} {} {:?}", denial.act, denial.errno, denial.by);
    }
    println!("{} us", report.micros);
    let by = |act: &str| report.denials.iter().find(|d| d.act == act).expect("an act").by;
    for (act, layer) in [
        ("mount", Layer::Seccomp),
        ("unshare-user-namespace", Layer::Seccomp),
        ("vsock", Layer::Seccomp),
        ("raw-socket", Layer::Seccomp),
        ("keyring", Layer::Seccomp),
        ("bpf", Layer::Seccomp),
        ("io-uring", Layer::Seccomp),
        ("make-device", Layer::Landlock),
        ("read-host-file", Layer::Root),
        ("make-in-read-only", Layer::ReadOnly),
        ("signal-host-process", Layer::PidNamespace),
        ("connect-to-host", Layer::NetworkNamespace),
        ("connect-outside", Layer::NetworkNamespace),
        ("have-capabilities", Layer::Capabilities),
        ("run-without-no-new-privs", Layer::NoNewPrivs),
        ("raise-limits", Layer::Rlimits),
    ] {
        assert_eq!(by(act), Attribution::Layer(layer), "{act}");
    }
    // Whose refusal it was depends on who the supervisor is.
    let told = report
        .denials
        .iter()
        .filter(|d| d.by != Attribution::Unattributed)
        .count();
    assert!(told >= 20, "{report:?}");
    // A command runs after it as ever.
    assert_eq!(support::text(&support::run(&sandbox, "echo on").await), "on\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_that_does_not_stand_is_seen() {
    for (off, act) in [
        (Layer::Seccomp, "io-uring"),
        (Layer::Landlock, if in_docker() { "" } else { "signal-supervisor" }),
    ] {
        let (_dir, _backend, mut sandbox) = sandbox(&format!("witness-{off}"), &[off]).await;
        match sandbox.witness().await {
            Err(SandboxError::Witness(done)) => {
                assert!(done.iter().any(|done| done.starts_with(act)), "{off}: {done:?}");
                assert!(sandbox.walls().witness.is_none());
            }
            // In a container the supervisor is another id, which is a wall of its own.
            other => assert!(act.is_empty() && other.is_ok(), "{off}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_namespaces_rules_refuse_the_same() {
    let dir = Scratch::new();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).expect("chmod");
    let mut plan = plan(dir.path(), "witness-bare");
    plan.min_tier = Tier::Landlock;
    plan.limits.processes = 4096;
    let bare = Bare::with_program(PROGRAM.as_ref(), "left off by a test");
    let mut sandbox = bare.create(&plan).await.expect("a sandbox");
    sandbox.witness().await.expect("the rules hold");
    let report = sandbox.walls().witness.clone().expect("a report");
    for denial in &report.denials {
        println!("{} {} {:?}", denial.act, denial.errno, denial.by);
    }
    let by = |act: &str| report.denials.iter().find(|d| d.act == act).expect("an act").by;
    assert_eq!(by("read-host-file"), Attribution::Layer(Layer::Landlock));
    assert_eq!(by("connect-to-host"), Attribution::Layer(Layer::Landlock));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_costs_few_milliseconds() {
    let (_dir, _backend, mut sandbox) = sandbox("witness-cost", &[]).await;
    let mut took = Vec::new();
    for _ in 0..15 {
        let began = Instant::now();
        sandbox.witness().await.expect("the walls hold");
        took.push(began.elapsed());
    }
    took.sort_unstable();
    println!("{took:?}");
    // One of the faster: a machine that does something else meanwhile is slow now and then.
    assert!(took[took.len() / 4].as_millis() <= 15, "{took:?}");
}

/// A verification of a target that leaves a trace when it runs.
async fn verify(without: &[Layer]) -> (tempfile::TempDir, Result<engine::Outcome, EngineError>) {
    let dir = tempfile::tempdir().expect("tempdir");
    let target = dir.path().join("repo");
    std::fs::create_dir(&target).expect("mkdir");
    std::fs::write(target.join("pipeline.yml"), "version: 1\ntests: {cmd: echo it ran}\n").expect("write");
    let options = TargetOptions {
        target: Target::Directory(target),
        fetch: FetchOptions::default(),
        endpoints: Endpoints::of(|_| None).expect("the defaults"),
        network: NetworkOptions::default(),
        isolation: Isolation::Shared,
        audit: Audit::Off,
        policy: Arc::new(Policy::shipped().expect("the shipped policy")),
        signer: None,
        test_cmd: None,
        pipeline: opencode_fsm::contract::default_path(),
        require_pipeline: true,
        artifacts_dir: Some(dir.path().join("runs")),
        walls: WallOptions {
            backend: BackendChoice::Jail,
            image: None,
            docker_runtime: None,
            min_tier: Tier::Namespaces,
            trial: Some(Trial {
                program: PROGRAM.into(),
                without: without.to_vec(),
            }),
        },
        jobs: 0,
        limits: Limits {
            memory_bytes: 1 << 30,
            processes: 256,
            ..Limits::default()
        },
        disk_bytes: 1 << 28,
        caps: Caps {
            max_run: Some(Duration::from_secs(120)),
            ..Caps::default()
        },
        unattended: Unattended::Strict,
        grants: Vec::new(),
    };
    let (_stopper, stop) = Stop::pair();
    let done = engine::verify(&options, "verify", &Reporter::new(Face::Json, 0), stop).await;
    (dir, done)
}

/// All that a run wrote, by path.
fn written(dir: &std::path::Path) -> Vec<(std::path::PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo = vec![dir.join("runs")];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(&at).expect("ls").flatten() {
            match entry.file_type().expect("a type").is_dir() {
                true => todo.push(entry.path()),
                false => found.push((
                    entry.path(),
                    String::from_utf8_lossy(&std::fs::read(entry.path()).expect("read")).into_owned(),
                )),
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_behind_a_wall_that_does_not_stand_ends_before_its_first_command() {
    // The control: with all walls the command runs, and the receipt has what was refused.
    let (dir, done) = verify(&[]).await;
    let outcome = done.expect("a verification");
    assert_eq!(outcome.summary.exit_code, 0, "{:?}", outcome.summary);
    let witness = outcome.summary.walls.expect("walls").witness.expect("a witness");
    assert_eq!(witness.denials.len(), WITNESS.len());
    let all = written(dir.path());
    assert!(
        all.iter()
            .any(|(path, text)| path.ends_with("verify/tests_cmd01_try01_stdout.txt") && text == "it ran\n")
    );
    let summary = all
        .iter()
        .find(|(path, _)| path.ends_with("summary.json"))
        .expect("a receipt");
    assert!(summary.1.contains("\"act\": \"io-uring\""), "{}", summary.1);

    let (dir, done) = verify(&[Layer::Seccomp]).await;
    let why = done.expect_err("an abort");
    assert_eq!(why.exit_code(), 7);
    assert!(why.to_string().contains("io-uring: the call succeeded"), "{why}");
    let all = written(dir.path());
    assert!(
        !all.iter()
            .any(|(_, text)| text.contains("it ran\n") && !text.contains("echo")),
        "{all:?}"
    );
    assert!(
        all.iter().any(|(path, text)| path.ends_with("journal.jsonl")
            && text.contains("verification-refused")
            && text.contains("io-uring: the call succeeded")),
        "{all:?}"
    );
}
