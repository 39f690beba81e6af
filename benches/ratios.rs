//! Speed as ratios against a peer, measured in one run on one machine: `cargo bench`,
//! or some of it: `cargo bench --bench ratios -- jails changes`.
//!
//! Prints a Markdown table (docs/performance.md holds one). Ours and the peer's take
//! turns, and the figures are medians, because machines are noisy.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use opencode_fsm::{
    sandbox::jail::Jail,
    tree::{Checkpoint, Survey},
};
use support::{PROGRAM, Wanted, median, own, plan, pristine, quietly, row, run_true, timed, tree};

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let jail = Jail::with_launcher(Path::new(PROGRAM)).expect("launcher");
    let wanted = Wanted::new();
    runtime.block_on(async {
        if let Some(dir) = wanted.part("jails") {
            jails(&jail, &dir).await;
        }
        if let Some(dir) = wanted.part("execs") {
            execs(&jail, &dir).await;
        }
        if let Some(dir) = wanted.part("commands") {
            commands(&dir);
        }
        if let Some(dir) = wanted.part("copies") {
            copies(&jail, &dir).await;
        }
        if let Some(dir) = wanted.part("changes") {
            changes(&dir);
        }
        if let Some(dir) = wanted.part("bootstrap") {
            bootstrap(&dir);
        }
        if let Some(dir) = wanted.part("suites") {
            suites(&dir);
        }
        if let Some(dir) = wanted.part("iterations") {
            iterations(&dir);
        }
    });
}

/// A jail made, used once and removed, against bubblewrap and against no walls at all:
/// with its layer in memory, as bubblewrap has none on a disk, and with its layer there.
async fn jails(jail: &Jail, dir: &Path) {
    let memory = tempfile::tempdir_in("/dev/shm").expect("tempdir");
    fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
    jails_on(jail, memory.path(), "in memory").await;
    jails_on(jail, dir, "on disk").await;
}

async fn jails_on(jail: &Jail, dir: &Path, medium: &str) {
    let lower = dir.join("lower");
    fs::create_dir_all(&lower).expect("mkdir");
    own(&lower);
    let (mut ours, mut bwrap, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..60 {
        let began = Instant::now();
        let sandbox = jail
            .create(&plan(&lower, &dir.join(format!("{round}"))))
            .await
            .expect("jail");
        run_true(&sandbox).await;
        sandbox.destroy().await.expect("destroy");
        ours.push(began.elapsed());
        bwrap.push(quietly("bwrap", &["--unshare-all", "--ro-bind", "/", "/", "/bin/true"]));
        plain.push(quietly("/bin/true", &[]));
    }
    let ours = median(ours);
    let what = format!("jail, its layer {medium}: create, run `true`, destroy");
    row(&what, ours, "`bwrap --unshare-all true`", median(bwrap));
    row(&what, ours, "fork and exec of `true`", median(plain));
}

/// One more command in a live jail.
async fn execs(jail: &Jail, dir: &Path) {
    let lower = dir.join("lower");
    fs::create_dir_all(&lower).expect("mkdir");
    own(&lower);
    let sandbox = jail.create(&plan(&lower, &dir.join("layer"))).await.expect("jail");
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let began = Instant::now();
        run_true(&sandbox).await;
        ours.push(began.elapsed());
        plain.push(quietly("/bin/true", &[]));
    }
    sandbox.destroy().await.expect("destroy");
    row(
        "`true` in a live jail",
        median(ours),
        "fork and exec of `true`",
        median(plain),
    );
}

/// How many commands the contract of [`commands`] has.
const COMMANDS: u32 = 500;

/// A whole verification of a contract with many short commands, its records included,
/// against the same commands by `sh -c` from here, and by one Python program: as it is,
/// and with the four files that the predecessor kept of each command.
fn commands(dir: &Path) {
    const PYTHON: &str = "import json, subprocess, sys\n\
        for n, line in enumerate(open(sys.argv[1])):\n\
        \x20   done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)\n\
        \x20   if len(sys.argv) == 2: continue\n\
        \x20   kept = {'cmd.txt': line, 'stdout.txt': done.stdout, 'stderr.txt': done.stderr,\n\
        \x20       'result.json': json.dumps({'rc': done.returncode, 'timed_out': False})}\n\
        \x20   for name, text in kept.items():\n\
        \x20       with open(f'{sys.argv[2]}/{n}_{name}', 'w') as file: file.write(text)\n";
    let scripts: Vec<String> = (0..COMMANDS).map(|n| format!("test {n} -ge 0 && echo {n}")).collect();
    let target = dir.join("target");
    fs::create_dir_all(&target).expect("mkdir");
    let list: String = scripts.iter().map(|script| format!("    - {script}\n")).collect();
    fs::write(target.join("pipeline.yml"), format!("tests:\n  cmds:\n{list}")).expect("write");
    let lines = dir.join("lines");
    fs::write(&lines, scripts.join("\n")).expect("write");
    fs::create_dir_all(dir.join("kept")).expect("mkdir");
    let shown = |path: &Path| path.display().to_string();
    let (target, lines, runs, kept) = (
        shown(&target),
        shown(&lines),
        shown(&dir.join("runs")),
        shown(&dir.join("kept")),
    );
    let [mut ours, mut plain, mut python, mut keeping] = [const { Vec::new() }; 4];
    for _ in 0..7 {
        ours.push(quietly(
            PROGRAM,
            &[
                "verify",
                "--json",
                "--sandbox",
                "jail",
                "--artifacts-dir",
                &runs,
                &target,
            ],
        ));
        plain.push(timed(|| {
            for script in &scripts {
                let done = Command::new("/bin/sh")
                    .args(["-c", script])
                    .stdin(Stdio::null())
                    .output();
                assert!(done.expect("sh").status.success(), "{script}");
            }
        }));
        python.push(quietly("python3", &["-c", PYTHON, &lines]));
        keeping.push(quietly("python3", &["-c", PYTHON, &lines, &kept]));
    }
    let [ours, plain, python, keeping] = [ours, plain, python, keeping].map(median);
    for (peer, theirs) in [
        ("`sh -c` for each", plain),
        ("one Python program, `subprocess.run` for each", python),
        ("the same, and four files for each", keeping),
    ] {
        row("a contract of 500 short commands", ours, peer, theirs);
    }
    let over = (ours.as_secs_f64() - plain.as_secs_f64()) * 1e3 / f64::from(COMMANDS);
    println!("| its own time a command, over `sh -c` | {over:.2} ms | | | |");
}

/// How many targets the suite of [`suites`] has.
const TARGETS: u32 = 40;

/// A suite of small targets, its records and documents included, against the same stages by
/// `sh -c` in each target's directory; one at a time and eight side by side.
fn suites(dir: &Path) {
    const ROLLOUT: &str = "mkdir -p .aider_fsm; echo '{}' > .aider_fsm/rollout.json";
    const EVALUATION: &str = "echo '{\"ok\": true, \"score\": 1}' > .aider_fsm/metrics.json";
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let contract = format!(
        "rollout:\n  run_cmd: {}\nevaluation:\n  run_cmd: {}\n  metrics_path: .aider_fsm/metrics.json\n",
        quoted(ROLLOUT),
        quoted(EVALUATION)
    );
    let targets: Vec<_> = (0..TARGETS)
        .map(|number| dir.join(format!("target-{number}")))
        .collect();
    for target in &targets {
        fs::create_dir_all(target).expect("mkdir");
        fs::write(target.join("pipeline.yml"), &contract).expect("write");
    }
    let list: Vec<String> = targets.iter().map(|target| target.display().to_string()).collect();
    let (file, out) = (dir.join("list"), dir.join("suites"));
    fs::write(&file, list.join("\n")).expect("write");
    let shown = |path: &Path| path.display().to_string();
    let (file, out) = (shown(&file), shown(&out));
    for jobs in ["1", "8"] {
        let [mut ours, mut plain] = [const { Vec::new() }; 2];
        for _ in 0..5 {
            let fixed = [
                "suite",
                "--json",
                "--llm",
                "m",
                // Its scores are written down, which an audit does not take.
                "--audit",
                "off",
                "--sandbox",
                "jail",
                "--base-url",
                "http://127.0.0.1:9/v1",
            ];
            let more = ["--jobs", jobs, "--targets-file", &file, "--artifacts-dir", &out];
            ours.push(quietly(PROGRAM, &[&fixed[..], &more].concat()));
            plain.push(timed(|| {
                for target in &targets {
                    for script in [ROLLOUT, EVALUATION] {
                        let done = Command::new("/bin/sh")
                            .args(["-c", script])
                            .current_dir(target)
                            .status();
                        assert!(done.expect("sh").success(), "{script}");
                    }
                }
            }));
        }
        let (ours, plain) = (median(ours), median(plain));
        row(
            &format!("a suite of {TARGETS} targets, {jobs} at a time"),
            ours,
            "its stages by `sh -c`, one by one",
            plain,
        );
        let over = (ours.as_secs_f64() - plain.as_secs_f64()) * 1e3 / f64::from(TARGETS);
        println!("| its own time a target, {jobs} at a time | {over:.2} ms | | | |");
    }
}

/// The pristine copy of 20 000 files with 400 MB in all, and a sandbox on it.
async fn copies(jail: &Jail, dir: &Path) {
    let source = dir.join("source");
    tree(&source, 20_000, 20_000);
    let (mut ours, mut cp) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let cache = dir.join(format!("cache-{round}"));
        fs::create_dir_all(&cache).expect("mkdir");
        ours.push(timed(|| drop(pristine(&cache, &source))));
        let copy = dir.join(format!("copy-{round}"));
        cp.push(quietly(
            "cp",
            &["-a", &source.display().to_string(), &copy.display().to_string()],
        ));
        fs::remove_dir_all(copy).expect("rm");
        if round > 0 {
            fs::remove_dir_all(cache).expect("rm");
        }
    }
    row(
        "pristine copy of 20 000 files, 400 MB",
        median(ours),
        "`cp -a`",
        median(cp),
    );
    let cache = dir.join("cache-0");
    let kept = pristine(&cache, &source);
    let (mut second, mut again) = (Vec::new(), Vec::new());
    for round in 0..20 {
        let began = Instant::now();
        let sandbox = jail
            .create(&plan(&kept.roots[0], &dir.join(format!("layer-{round}"))))
            .await
            .expect("jail");
        second.push(began.elapsed());
        sandbox.destroy().await.expect("destroy");
        again.push(quietly("/bin/true", &[]));
    }
    row(
        "a second sandbox on that copy",
        median(second),
        "fork and exec of `true`",
        median(again),
    );
}

/// The changes after an edit of 100 files in a tree of 100 000.
fn changes(dir: &Path) {
    let source = dir.join("source");
    tree(&source, 100_000, 200);
    let git = |arguments: &[&str]| {
        let source = source.display().to_string();
        let all = [&["-C", &source, "-c", "user.name=b", "-c", "user.email=b@b"], arguments].concat();
        quietly("git", &all)
    };
    let cache = dir.join("cache");
    fs::create_dir_all(&cache).expect("mkdir");
    let kept = pristine(&cache, &source);
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "b"]);
    let upper = dir.join("upper");
    for at in (0..100_000).step_by(1000) {
        let name = format!("{:04}/{at}", at / 100);
        let path = upper.join(&name);
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::write(&path, "edited\n").expect("write");
        fs::write(source.join(&name), "edited\n").expect("write");
    }
    git(&["status", "--porcelain"]);
    let start = Checkpoint::empty(&dir.join("start")).expect("start");
    let (mut listed, mut frozen, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..15 {
        listed.push(timed(|| {
            let found = Survey::of_upper(&kept, Some(&start), &upper).expect("survey");
            assert_eq!(found.changes_since(&kept, &start).len(), 100);
        }));
        let to = dir.join(format!("checkpoint-{round}"));
        frozen.push(timed(|| {
            let found = Checkpoint::freeze(&kept, Some(&start), &upper, &to).expect("freeze");
            assert_eq!(found.changes_since(&kept, &start).len(), 100);
        }));
        theirs.push(git(&["status", "--porcelain"]));
    }
    let theirs = median(theirs);
    row(
        "changes of 100 files among 100 000",
        median(listed),
        "`git status`",
        theirs,
    );
    row(
        "the same, and a checkpoint of them",
        median(frozen),
        "`git status`",
        theirs,
    );
}

/// A verification on what bootstrap made before (a virtual environment and the three
/// packages of the examples), against one of the same repository without a bootstrap.
fn bootstrap(dir: &Path) {
    const VENV: &str = "env: {VIRTUAL_ENV: '${AIDER_FSM_REPO_ROOT}/.venv'}\ncmds:\n\
        \x20 - python3 -m venv .venv || python3 -m venv --clear --without-pip .venv\n  - sh packages/install.sh\n";
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/packages");
    let repository = |name: &str| {
        let root = dir.join(name);
        fs::create_dir_all(root.join(".aider_fsm")).expect("mkdir");
        quietly(
            "cp",
            &["-R", &examples.display().to_string(), &root.display().to_string()],
        );
        fs::write(root.join("pipeline.yml"), "tests:\n  cmd: 'true'\n").expect("write");
        root
    };
    let (with, without) = (repository("with"), repository("without"));
    // What an earlier run of this benchmark made lies in the cache: this one is another.
    let new = format!("# {}\n{VENV}", dir.display());
    fs::write(with.join(".aider_fsm/bootstrap.yml"), new).expect("write");
    let verify = |target: &Path, runs: &str| {
        let (target, runs) = (target.display().to_string(), dir.join(runs).display().to_string());
        quietly(
            PROGRAM,
            &[
                "verify",
                "--json",
                "--sandbox",
                "jail",
                "--artifacts-dir",
                &runs,
                &target,
            ],
        )
    };
    let first = verify(&with, "first");
    verify(&without, "plain");
    let (mut warm, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..25 {
        warm.push(verify(&with, "warm"));
        plain.push(verify(&without, "plain"));
    }
    let plain = median(plain);
    row(
        "a verification that makes a virtual environment",
        first,
        "without bootstrap",
        plain,
    );
    row("one that finds it ready", median(warm), "without bootstrap", plain);
}

/// The engine's own time in an iteration of the demonstration, agent and stages excluded.
fn iterations(dir: &Path) {
    let mut command = Command::new(PROGRAM);
    command
        .args(["demo", "--json", "--sandbox", "jail", "--artifacts-dir"])
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(
        command.status().expect("demo").success(),
        "the demonstration fails: run it by hand"
    );
    let run = fs::read_dir(dir)
        .expect("runs")
        .next()
        .expect("a run")
        .expect("entry")
        .path();
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(run.join("summary.json")).expect("summary")).expect("JSON");
    println!(
        "| the engine's own time an iteration, agent and stages excluded | {} ms | | | |",
        summary["own_ms"][0]
    );
}
