//! An engine that is killed in the middle of a run, and comes back.

#[path = "support/private_engine.rs"]
mod private_engine;
#[path = "support/program.rs"]
mod program;

use std::{collections::HashMap, fs, path::Path, process::Stdio};

use bollard::query_parameters::{ListContainersOptions, ListVolumesOptions};
use opencode_fsm::sandbox::docker::PREFIX;
use private_engine::{PrivateEngine, wait_for};
use program::{Bench, json_file, opencode};
use serde_json::Value;

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
    let command = bench.run(&["--sandbox", "docker", "--image", &image]);
    let mut child = engine
        .inside(&command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_for("the middle of a stage", || {
        assert!(child.try_wait().expect("wait").is_none(), "it ended too early");
        says(&bench.path("runs"), "in the middle")
    });
    assert!(!of_ours(&engine).await.is_empty(), "control: containers are seen");
    engine.kill();
    let output = child.wait_with_output().expect("wait");
    eprintln!(
        "{}\n--\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let run = bench.the_run();
    eprintln!("{}", fs::read_to_string(run.join("journal.jsonl")).expect("read"));
    eprintln!("{}", json_file(&run.join("summary.json")));
    eprintln!("{:?}", engine.processes());
    engine.come_back().await;
    eprintln!("{:?}", of_ours(&engine).await);
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
