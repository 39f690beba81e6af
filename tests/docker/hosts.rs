//! Hosts that hold many sandboxes and are killed: nothing of theirs stays, and what a
//! living one holds does.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use bollard::Docker;
use opencode_fsm::wire::Termination;
use serde_json::json;

use crate::{
    BUSYBOX, containers,
    engine::engine,
    images::{Image, ingredients},
    inside_of,
    program::PROGRAM,
    support::{self, Scratch, docker, plan, run},
    until, volumes,
};

/// Set for a host: `DIRECTORY LABEL IMAGE COUNT`.
const HOLD: &str = "OPENCODE_FSM_TEST_HOLD";
/// How long its sandboxes may live.
const LEASE: Duration = Duration::from_secs(600);
/// Longest time that dead hosts' sandboxes may take to go by themselves: seconds for each
/// of a hundred, on a busy machine.
const GONE: Duration = Duration::from_secs(180);

/// No test: what [`Host::start`] runs in a process of its own. It makes its sandboxes, says
/// so, and answers every line by the number of those that serve.
#[tokio::test]
async fn host() {
    let Ok(task) = std::env::var(HOLD) else { return };
    let words: Vec<&str> = task.split(' ').collect();
    let [dir, label, image, count] = words[..] else {
        panic!("{task}")
    };
    let docker = docker(image).await;
    let mut sandboxes = Vec::new();
    for number in 0..count.parse().expect("a number") {
        let dir = Path::new(dir).join(format!("{number}"));
        let mut plan = plan(&dir, "");
        plan.label = format!("{label}-{number}");
        plan.lease = LEASE;
        plan.limits.memory_bytes = 32 << 20;
        plan.limits.scratch_bytes = 1 << 20;
        sandboxes.push(docker.create(&plan).await.expect("a sandbox"));
    }
    println!("\nHOLDS");
    let mut lines = std::io::stdin().lines();
    while let Some(Ok(_)) = lines.next() {
        let mut serving = 0;
        for sandbox in &sandboxes {
            let outcome = run(sandbox, "test -f hello").await;
            serving += u32::from(outcome.end == Termination::Code(0));
        }
        println!("\nSERVES {serving}");
    }
    for sandbox in sandboxes {
        sandbox.destroy().await.expect("destroyed");
    }
}

/// A process that holds sandboxes.
struct Host {
    child: Child,
    say: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
}

impl Host {
    fn start(dir: &Path, label: &str, image: &str, count: u32) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "hosts::host", "--nocapture"])
            .env(HOLD, format!("{} {label} {image} {count}", dir.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        Self {
            say: child.stdin.take(),
            hear: BufReader::new(child.stdout.take().expect("stdout")),
            child,
        }
    }

    /// The next line that begins so; a host that failed ends its output.
    fn hear(&mut self, word: &str) -> String {
        for line in (&mut self.hear).lines() {
            let line = line.expect("text");
            if line.starts_with(word) {
                return line;
            }
        }
        panic!("the host ended without `{word}`");
    }

    /// How many of its sandboxes serve.
    fn serving(&mut self) -> String {
        let say = self.say.as_mut().expect("stdin");
        say.write_all(b"?\n").expect("it lives");
        self.hear("SERVES")
    }

    /// Lets it end in order.
    fn finish(mut self) {
        self.say.take();
        assert!(self.child.wait().expect("wait").success());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `kill -9` of all of them at once.
fn kill(mut hosts: Vec<Host>) {
    for host in &mut hosts {
        host.child.kill().expect("it lives");
    }
}

/// `hosts` processes with `each` sandboxes, once all of them are up.
fn start(dir: &Path, label: &str, image: &str, hosts: u32, each: u32) -> Vec<Host> {
    let mut started: Vec<Host> = (0..hosts)
        .map(|number| {
            let dir = dir.join(format!("{label}-{number}"));
            Host::start(&dir, &format!("{label}-{number}"), image, each)
        })
        .collect();
    for host in &mut started {
        host.hear("HOLDS");
    }
    started
}

/// What is left of sandboxes: containers, volumes, processes inside, mounts on the host.
async fn left(engine: &Docker, label: &str, dir: &Path) -> [usize; 4] {
    let mark = format!("{}/{label}", dir.display());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    [
        containers(engine, label).await.len(),
        volumes(engine, label).await.len(),
        inside_of(&mark).len(),
        mounts.lines().filter(|line| line.contains(&mark)).count(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_sandboxes_of_killed_hosts_go_by_themselves_and_at_once_when_asked() {
    let Some(engine) = engine().await else { return };
    if !ingredients(&[BUSYBOX]) {
        return;
    }
    let image = Image::busybox(&engine, "hundred", json!({})).await;
    let dir = Scratch::new();
    let label = |name: &str| format!("hosts{}-{name}", std::process::id());

    let killed = label("killed");
    let began = Instant::now();
    let hosts = start(dir.path(), &killed, &image.name, 10, 10);
    let up = began.elapsed();
    let seen = left(&engine, &killed, dir.path()).await;
    assert!(seen[0] == 100 && seen[1] == 100 && seen[2] >= 100, "control: {seen:?}");
    let began = Instant::now();
    kill(hosts);
    until("the end of a hundred sandboxes", GONE, async || {
        match left(&engine, &killed, dir.path()).await {
            [0, 0, 0, 0] => Ok(()),
            some => Err(format!("{some:?} are left")),
        }
    })
    .await;
    eprintln!(
        "100 sandboxes were up after {up:?} and gone {:?} after kill -9",
        began.elapsed()
    );

    // At once, when asked; what lives is spared.
    let (killed, spared) = (label("gone"), label("spared"));
    let mut living = start(dir.path(), &spared, &image.name, 1, 10).remove(0);
    let hosts = start(dir.path(), &killed, &image.name, 9, 10);
    let seen = left(&engine, &killed, dir.path()).await;
    assert!(seen[0] == 90 && seen[1] == 90 && seen[2] >= 90, "control: {seen:?}");
    kill(hosts);
    let began = Instant::now();
    let done = Command::new(PROGRAM)
        .args(["--json", "gc"])
        .env("XDG_CACHE_HOME", dir.path().join("cache"))
        .output()
        .expect("starts");
    let took = began.elapsed();
    let seen = left(&engine, &killed, dir.path()).await;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(seen, [0; 4], "{}", String::from_utf8_lossy(&done.stdout));
    let value: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    eprintln!("gc took {took:?} and found {} of 90 still there", value["count"]);
    assert_eq!(living.serving(), "SERVES 10");
    let seen = left(&engine, &spared, dir.path()).await;
    assert!(seen[0] == 10 && seen[1] == 10, "{seen:?}");
    living.finish();
    assert_eq!(left(&engine, &spared, dir.path()).await, [0; 4]);
}

/// Orphans that nobody removes by themselves: made with labels of a dead host, never started.
#[tokio::test]
async fn gc_names_what_it_would_remove_and_why_and_then_removes_it() {
    use bollard::{models::ContainerCreateBody, query_parameters::CreateContainerOptions};

    let Some(engine) = engine().await else { return };
    if !ingredients(&[BUSYBOX]) {
        return;
    }
    let image = Image::busybox(&engine, "gc", json!({})).await;
    // The labels of a live sandbox, so that these are what the product writes.
    let dir = Scratch::new();
    let docker = docker(&image.name).await;
    let sandbox = docker
        .create(&support::plan(dir.path(), "gc"))
        .await
        .expect("a sandbox");
    let live = containers(&engine, &support::plan(dir.path(), "gc").label)
        .await
        .remove(0);
    let found = engine.inspect_container(&live, None).await.expect("inspects");
    let labels = found.config.and_then(|config| config.labels).expect("labels");
    let name = format!("gc{}", std::process::id());
    let orphan = async |entrypoint: &str, change: &[(&str, &str)]| {
        let mut labels = labels.clone();
        for (key, value) in change {
            labels.insert(format!("dev.opencode-fsm.{key}"), (*value).to_owned());
        }
        let body = ContainerCreateBody {
            image: Some(image.name.clone()),
            entrypoint: Some(vec![entrypoint.to_owned()]),
            labels: Some(labels),
            ..ContainerCreateBody::default()
        };
        let made = engine.create_container(None::<CreateContainerOptions>, body).await;
        made.expect("creates").id
    };
    // Another's lease has no proof of death but its end; it stays, for it cannot be ours.
    let foreign = orphan("/", &[("sandbox", &name), ("owner", "1 1 pid:[1]")]).await;
    let over = [
        ("sandbox", name.as_str()),
        ("owner", "1 1 pid:[1]"),
        ("lease-expires", "1"),
    ];
    let expired = orphan("/", &over).await;
    // An image may carry our labels: what a user runs of it is the user's.
    let users = orphan("/none", &over).await;

    let cache = dir.path().join("cache");
    let scratch = cache.join("opencode-fsm/scratch");
    std::fs::create_dir_all(scratch.join("dead")).expect("mkdir");
    std::fs::write(scratch.join("dead.lease"), "").expect("write");
    let gc = |arguments: &[&str]| {
        let done = Command::new(PROGRAM)
            .args(arguments)
            .env("XDG_CACHE_HOME", &cache)
            .output()
            .expect("starts");
        assert!(done.status.success(), "{done:?}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    // Others that clean up on this machine may take the expired one first, so the dry run
    // is about the directory alone where they do.
    let text = gc(&["gc", "--dry-run"]);
    let line = format!("would remove container {} of {name}: its lease is over", &expired[..12]);
    let there = engine.inspect_container(&expired, None).await.is_ok();
    assert!(!there || text.contains(&line), "{text}");
    let directory = format!(
        "would remove directory {}: its run is over",
        scratch.join("dead").display()
    );
    assert!(text.contains(&directory), "{text}");
    assert!(scratch.join("dead").exists(), "a dry run removes nothing");
    let last = text.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("would remove ") && last.ends_with(" leftovers of dead runs"),
        "{text}"
    );

    let value: serde_json::Value = serde_json::from_str(&gc(&["gc", "--json"])).expect("JSON");
    assert_eq!(value["scratch_directories"], json!([scratch.join("dead")]), "{value}");
    assert!(value["count"].as_u64() >= Some(1), "{value}");
    assert!(!scratch.join("dead").exists() && !scratch.join("dead.lease").exists());
    assert!(engine.inspect_container(&expired, None).await.is_err(), "{value}");
    for stays in [&foreign, &users, &live] {
        assert!(engine.inspect_container(stays, None).await.is_ok(), "{value}");
    }
    assert_eq!(run(&sandbox, "true").await.end, Termination::Code(0));
    sandbox.destroy().await.expect("destroyed");
    for container in [&foreign, &users] {
        engine.remove_container(container, None).await.expect("removes");
    }
}
