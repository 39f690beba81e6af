//! An engine that is killed in the middle of a run, and comes back: in the middle of a stage, and
//! at any moment (`RESUME_KILLS=50` for fifty of them, see `cut_off`).

#[path = "support/cut_off.rs"]
mod cut_off;
#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/private_engine.rs"]
mod private_engine;
#[path = "support/program.rs"]
mod program;

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use bollard::query_parameters::{ListContainersOptions, ListVolumesOptions};
use cut_off::{Moments, asked_once, begin_with, came_to, resume, same_end, steady, three_steps};
use opencode_fsm::sandbox::docker::PREFIX;
use private_engine::{PrivateEngine, wait_for};
use program::{Bench, expect, json_file, opencode, program};
use serde_json::{Value, json};

const PLAN: &str = "# PLAN\n\n## Goal\n- test\n\n## Acceptance\n- [ ] TEST_CMD passes: `sh check.sh`\n\n\
    ## Next (exactly ONE item)\n- [ ] (STEP_ID=001) step\n\n## Backlog\n\n## Done\n\n## Notes\n-\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_engine_dies_says_so_and_leaves_nothing_once_it_is_back() {
    if !opencode() {
        return;
    }
    let Some(mut engine) = PrivateEngine::start().await else {
        return;
    };
    let image = engine.import().await;
    in_the_middle_of_a_stage(&mut engine, &image).await;
    at_any_moment(&mut engine, &image).await;
}

async fn in_the_middle_of_a_stage(engine: &mut PrivateEngine, image: &str) {
    let mut bench = Bench::new();
    bench
        .file("pipeline.yml", "version: 1\ntests:\n  cmd: sh check.sh\n")
        .file("PLAN.md", PLAN)
        // Long enough to be killed in.
        .file(
            "check.sh",
            "echo in the middle\n[ ! -f slow ] || sleep 5\necho at the end\n",
        )
        .file("slow", "");
    bench.say("plan_update_attempt_1", 1, 1, &[]);
    bench.shell("execute_step", 1, "echo done > result");
    bench.say("plan_update_attempt_1", 2, 1, &[]);
    let command = bench.run(&["--sandbox", "docker", "--image", image]);
    let mut child = engine
        .inside(&command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_for("the middle of a stage or the end of the run", || {
        child.try_wait().expect("wait").is_some() || says(&bench.path("runs"), "in the middle")
    });
    if child.try_wait().expect("wait").is_some() {
        panic!("it ended too early: {:?}", child.wait_with_output());
    }
    assert!(
        of_ours(engine).await.len() >= 4,
        "control: containers and volumes are seen"
    );
    assert!(guests(engine).len() >= 2, "control: guests are seen");
    assert!(engine.shims().len() >= 2, "control: what holds a container is seen");
    engine.kill();
    let output = child.wait_with_output().expect("wait");
    assert_eq!(output.status.code(), Some(7), "{output:?}");

    // One line that names the engine and what to do, where the user looks and in the record.
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON value a line"))
        .collect();
    let ended = lines.last().expect("an end");
    let run = bench.the_run();
    let summary = json_file(&run.join("summary.json"));
    assert_eq!(ended["summary"], summary);
    assert_eq!(summary["exit_reason"], "SANDBOX_ERROR", "{summary}");
    assert_eq!(
        (&summary["exit_code"], &summary["blame"]),
        (&json!(7), &json!("sandbox"))
    );
    let detail = summary["detail"].as_str().expect("a detail");
    for words in ["the Docker engine does not answer", "start the engine again"] {
        assert!(detail.contains(words), "{detail}");
    }
    assert!(!detail.contains('\n'), "{detail}");
    // What the stage had to say was kept though its sandbox could not be removed.
    assert!(says(&run, "at the end"), "the stage that was under way");
    assert_eq!(bench.brought_out("result"), "done\n", "what was accepted comes out");
    let journal = fs::read_to_string(run.join("journal.jsonl")).expect("read");
    assert!(journal.ends_with('\n'));
    for (at, line) in journal.lines().enumerate() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        assert_eq!(entry["seq"], at, "{line}");
    }
    assert!(
        journal.contains("sandbox-failed") && journal.contains(r#""reason":"SANDBOX_ERROR""#),
        "{journal}"
    );
    assert_eq!(
        guests(engine),
        Vec::<String>::new(),
        "whoever ran inside is gone at once"
    );

    engine.come_back().await;
    // The run goes on from before the verification that it lost, in the same directory.
    let mut resume = program();
    resume
        .args(["resume", "--json", "--artifacts-dir"])
        .arg(bench.path("runs"))
        .arg(bench.the_run());
    expect(engine.inside(&resume), 0);
    let summary = bench.summary();
    assert_eq!(
        (&summary["exit_reason"], &summary["verified"]),
        (&json!("DONE"), &json!(true)),
        "{summary}"
    );
    assert_eq!(bench.brought_out("result"), "done\n");
    let mut audit = program();
    audit.args(["audit", "verify"]).arg(bench.the_run());
    expect(audit, 0);
    // The next run finds the engine, works, and leaves nothing of either.
    fs::remove_file(bench.path("repo/slow")).expect("remove");
    let verify = bench.command(&["verify", "--json", "--sandbox", "docker", "--image", image], "repo");
    expect(engine.inside(&verify), 0);
    nothing_left(engine, "at the end").await;
}

/// A run of three steps whose engine dies: it ends as one whose engine lives.
async fn at_any_moment(engine: &mut PrivateEngine, image: &str) {
    let model = steady();
    let docker = ["--sandbox", "docker", "--image", image];
    let whole = three_steps();
    let began = Instant::now();
    expect(engine.inside(&begin_with(&model, &whole, &docker)), 0);
    let (took, (expected, tree)) = (began.elapsed(), came_to(&whole));
    for moment in Moments::sample("engines", 1).all() {
        let what = format!("engine {}, killed after {:?}", moment.number, moment.of(took));
        let bench = three_steps();
        let mut command = engine.inside(&begin_with(&model, &bench, &docker));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("starts");
        let due = Instant::now() + moment.of(took);
        // A run that has no record yet is none that could be gone on with.
        let begun = || begun(&bench.path("runs"));
        // The moment is the point of it, not a wait for something.
        wait_for("the moment", || {
            child.try_wait().expect("wait").is_some() || (Instant::now() >= due && begun())
        });
        engine.kill();
        let code = child.wait().expect("wait").code();
        assert_eq!(
            guests(engine),
            Vec::<String>::new(),
            "{what}: whoever ran inside is gone at once"
        );
        engine.come_back().await;
        println!("{what}: exit {code:?}");
        if code == Some(7) {
            expect(engine.inside(&resume(&bench)), 0);
        } else {
            assert_eq!(code, Some(0), "{what}");
        }
        let (came, files) = came_to(&bench);
        same_end(&came, &expected, &what);
        assert!(files == tree, "{what}: {:?}\n{:?}", files.keys(), tree.keys());
        asked_once(&bench.the_run());
        nothing_left(engine, &what).await;
    }
}

/// Whether the first record of a run is written.
fn begun(runs: &Path) -> bool {
    let run = fs::read_dir(runs).ok().and_then(|mut runs| runs.next()).transpose();
    let journal = run.ok().flatten().map(|run| run.path().join("journal.jsonl"));
    journal.is_some_and(|journal| fs::read(journal).is_ok_and(|text| text.contains(&b'\n')))
}

/// Waits until an engine has nothing of ours; what it lost track of goes with the next look.
async fn nothing_left(engine: &PrivateEngine, what: &str) {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let (left, running, shims) = (of_ours(engine).await, guests(engine), engine.shims());
        if left.is_empty() && running.is_empty() && shims.is_empty() {
            return;
        }
        assert!(
            Instant::now() < give_up,
            "{what}: {left:#?} {running:#?} shims {shims:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a file below `dir` holds a text; what comes and goes meanwhile is none.
fn says(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return says(&path, text);
        }
        let named = path.to_string_lossy().ends_with("_stdout.txt");
        named && fs::read_to_string(&path).is_ok_and(|said| said.contains(text))
    })
}

/// Containers and volumes with our labels.
async fn of_ours(engine: &PrivateEngine) -> Vec<String> {
    let client = engine.client();
    let label = HashMap::from([("label".to_owned(), vec![format!("{PREFIX}sandbox")])]);
    let options = ListContainersOptions {
        all: true,
        filters: Some(label.clone()),
        ..ListContainersOptions::default()
    };
    let containers = client.list_containers(Some(options)).await.expect("containers");
    let options = ListVolumesOptions { filters: Some(label) };
    let volumes = client.list_volumes(Some(options)).await.expect("volumes");
    let containers = containers
        .into_iter()
        .map(|one| format!("container {:?} {:?}", one.id, one.state));
    let volumes = volumes
        .volumes
        .unwrap_or_default()
        .into_iter()
        .map(|one| format!("volume {}", one.name));
    containers.chain(volumes).collect()
}

/// Processes in this engine's containers: their mounts are of its data.
fn guests(engine: &PrivateEngine) -> Vec<String> {
    let in_container = |pid: &i32| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        mounts.contains("/.opencode-fsm/guest") && mounts.contains(&engine.mark())
    };
    let shown = |pid: i32| format!("{pid} {:?}", fs::read_link(format!("/proc/{pid}/exe")));
    private_engine::pids()
        .into_iter()
        .filter(in_container)
        .map(shown)
        .collect()
}
