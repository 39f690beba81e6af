//! Containers against the engine's own command line, measured in one run on one machine:
//! `cargo bench --bench containers`, or some of it: `cargo bench --bench containers -- lives`.
//!
//! Needs a Docker engine and the runner image (`opencode-fsm image build`).

mod support;

use std::{fs, path::Path, process::Command, time::Instant};

use opencode_fsm::{
    image::{self, Variant},
    sandbox::docker::{Docker, Engine, PREFIX, Start},
    tree::{Checkpoint, Survey},
};
use support::{PROGRAM, Wanted, median, own, plan, pristine, quietly, row, run_true, timed, tree};

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let wanted = Wanted::new();
    runtime.block_on(async {
        let engine = Engine::reach().await.expect("a Docker engine");
        let found = image::ready(&engine.client, Variant::Full).await.expect("images");
        let image = found.expect("the runner image: opencode-fsm image build").id;
        let start = Start {
            program: PROGRAM.into(),
            image: image.clone(),
            runtime: None,
        };
        let docker = Docker::new(engine, start).await.expect("an image");
        if let Some(dir) = wanted.part("lives") {
            lives(&docker, &image, &dir).await;
        }
        if let Some(dir) = wanted.part("execs") {
            execs(&docker, &image, &dir).await;
        }
        if let Some(dir) = wanted.part("copies") {
            copies(&docker, &image, &dir).await;
        }
        if let Some(dir) = wanted.part("changes") {
            changes(&docker, &image, &dir).await;
        }
    });
}

/// A container of the engine's command line that runs until it is removed.
struct Peer(String);

impl Peer {
    fn start(image: &str) -> Self {
        let mut command = Command::new("docker");
        command.args(["run", "--detach", "--network", "none", image, "sleep", "600"]);
        let id = command.output().expect("docker").stdout;
        Self(String::from_utf8(id).expect("UTF-8").trim().to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        quietly("docker", &["rm", "--force", "--volumes", &self.0]);
    }
}

/// From nothing to the end of a first command, and to the end of everything.
async fn lives(docker: &Docker, image: &str, dir: &Path) {
    let lower = dir.join("lower");
    fs::create_dir_all(&lower).expect("mkdir");
    own(&lower);
    let [mut first, mut whole, mut peer] = [const { Vec::new() }; 3];
    for round in 0..15 {
        let began = Instant::now();
        let sandbox = docker
            .create(&plan(&lower, &dir.join(round.to_string())))
            .await
            .expect("a container");
        run_true(&sandbox).await;
        first.push(began.elapsed());
        sandbox.destroy().await.expect("destroyed");
        whole.push(began.elapsed());
        peer.push(quietly("docker", &["run", "--rm", "--network", "none", image, "true"]));
    }
    let peer = median(peer);
    let theirs = "`docker run --rm --network none IMAGE true`";
    row("container: create to the end of `true`", median(first), theirs, peer);
    row("container: the same, and removed", median(whole), theirs, peer);
}

/// One more command, and what its supervisor takes of memory.
async fn execs(docker: &Docker, image: &str, dir: &Path) {
    let lower = dir.join("lower");
    fs::create_dir_all(&lower).expect("mkdir");
    own(&lower);
    let sandbox = docker
        .create(&plan(&lower, &dir.join("layer")))
        .await
        .expect("a container");
    let peer = Peer::start(image);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..200 {
        let began = Instant::now();
        run_true(&sandbox).await;
        ours.push(began.elapsed());
        if round % 8 == 0 {
            theirs.push(quietly("docker", &["exec", &peer.0, "true"]));
        }
    }
    row(
        "`true` in a live container",
        median(ours),
        "`docker exec`",
        median(theirs),
    );
    println!(
        "| resident memory of an idle container's guest | {} KiB | | | |",
        resident()
    );
    sandbox.destroy().await.expect("destroyed");
}

/// What the guest of the only container of ours has resident (proc_pid_status(5)).
fn resident() -> u64 {
    let text = |command: &mut Command| String::from_utf8(command.output().expect("docker").stdout).expect("UTF-8");
    let filter = format!("label={PREFIX}sandbox");
    let id = text(Command::new("docker").args(["ps", "--quiet", "--latest", "--filter", &filter]));
    let pid = text(Command::new("docker").args(["inspect", "--format", "{{.State.Pid}}", id.trim()]));
    // Idle is who has had nothing to do for a while.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).expect("status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A target of 20 000 files with 400 MB in all brought in, and a second sandbox on it.
async fn copies(docker: &Docker, image: &str, dir: &Path) {
    let source = dir.join("source");
    tree(&source, 20_000, 20_000);
    let from = format!("{}/.", source.display());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let cache = dir.join(format!("cache-{round}"));
        fs::create_dir_all(&cache).expect("mkdir");
        let began = Instant::now();
        let kept = pristine(&cache, &source);
        let sandbox = docker
            .create(&plan(&kept.roots[0], &dir.join(format!("first-{round}"))))
            .await
            .expect("a container");
        ours.push(began.elapsed());
        sandbox.destroy().await.expect("destroyed");
        let peer = Peer::start(image);
        theirs.push(quietly("docker", &["cp", &from, &format!("{}:/workspace", peer.0)]));
    }
    row(
        "20 000 files, 400 MB brought in",
        median(ours),
        "`docker cp`",
        median(theirs),
    );
    let kept = pristine(&dir.join("cache-0"), &source);
    let empty = dir.join("empty");
    fs::create_dir_all(&empty).expect("mkdir");
    own(&empty);
    let (mut second, mut bare) = (Vec::new(), Vec::new());
    for round in 0..15 {
        for (lower, name, times) in [(&kept.roots[0], "second", &mut second), (&empty, "bare", &mut bare)] {
            let began = Instant::now();
            let sandbox = docker.create(&plan(lower, &dir.join(format!("{name}-{round}")))).await;
            times.push(began.elapsed());
            sandbox.expect("a container").destroy().await.expect("destroyed");
        }
    }
    row(
        "a second container on them",
        median(second),
        "one on an empty tree",
        median(bare),
    );
}

/// The changes after an edit of 100 files in a tree of 20 000.
async fn changes(docker: &Docker, image: &str, dir: &Path) {
    let source = dir.join("source");
    tree(&source, 20_000, 2_000);
    let cache = dir.join("cache");
    fs::create_dir_all(&cache).expect("mkdir");
    let kept = pristine(&cache, &source);
    let plan = plan(&kept.roots[0], &dir.join("layer"));
    let sandbox = docker.create(&plan).await.expect("a container");
    let peer = Peer::start(image);
    quietly(
        "docker",
        &[
            "cp",
            &format!("{}/.", source.display()),
            &format!("{}:/workspace", peer.0),
        ],
    );
    let edit = "for n in $(seq 0 99); do echo more >> /workspace/$(printf %04d $n)/${n}00; done";
    support::run_script(&sandbox, edit).await;
    quietly("docker", &["exec", &peer.0, "sh", "-c", edit]);
    let upper = plan.workspace.scratch.join("upper");
    let start = Checkpoint::empty(&dir.join("start")).expect("start");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        ours.push(timed(|| {
            let found = Survey::of_upper(&kept, Some(&start), &upper).expect("a survey");
            assert_eq!(found.changes_since(&kept, &start).len(), 100);
        }));
        theirs.push(quietly("docker", &["diff", &peer.0]));
    }
    row(
        "changes of 100 files among 20 000",
        median(ours),
        "`docker diff`",
        median(theirs),
    );
    sandbox.destroy().await.expect("destroyed");
}
