//! Contracts that are repaired after they failed.

use serde_json::json;

use crate::{
    program::{expect, json_file, opencode},
    repository::{CONTRACT, authors, records, shell, stages, text, without_contract, writes},
};

#[test]
fn what_a_contract_runs_is_repaired_a_worse_repair_is_rolled_back_and_nothing_else_changes() {
    if !opencode() {
        return;
    }
    let mut bench = without_contract();
    bench.file("pipeline.yml", CONTRACT);
    for (path, content) in stages() {
        bench.file(path, content);
    }
    bench.file(".aider_fsm/stages/rollout.sh", "echo cannot roll out >&2; exit 4\n");
    // The first repair breaks the deployment, and reaches for what is not its own.
    let worse = writes(&[
        (".aider_fsm/stages/deploy_setup.sh", "exit 9\n"),
        ("pipeline.yml", "hacked\n"),
        ("app.py", "hacked\n"),
    ]);
    bench
        .say("repair_contract_attempt_1", 1, 1, &[shell(&worse)])
        .say("repair_contract_attempt_1", 1, 2, &[]);
    // The second finds the deployment as it was, and mends the rollout.
    let mends = format!(
        "grep -q 'test -f' .aider_fsm/stages/deploy_setup.sh && {}",
        "printf 'set -eu\\npython3 check.py\\n' > .aider_fsm/stages/rollout.sh"
    );
    bench
        .say("repair_contract_attempt_2", 1, 1, &[shell(&mends)])
        .say("repair_contract_attempt_2", 1, 2, &[]);
    let model = bench.cassette();
    let output = expect(bench.command(&["evaluate", "--model", &model], "repo"), 0);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.lines().last().is_some_and(|line| line.contains("0.75")), "{said}");

    let run = bench.the_run();
    // Each attempt in a folder of its own, torn down before the repair.
    let failed = |attempt: u32| {
        json_file(&run.join(format!("rollout_evaluation_attempt_{attempt:02}/summary.json")))["failed_stage"].clone()
    };
    assert_eq!(
        [1, 2, 3].map(failed),
        [json!("rollout"), json!("deploy_setup"), json!(null)]
    );
    let first = text(&run, "turns/0001-repair_contract_attempt_1.prompt.md");
    assert!(
        first.contains("failed in `rollout`") && first.contains("cannot roll out"),
        "{first}"
    );
    let second = text(&run, "turns/0002-repair_contract_attempt_2.prompt.md");
    assert!(
        second.contains("rolled back") && second.contains("put back: `pipeline.yml`"),
        "{second}"
    );
    assert_eq!(records(&run, "contract-restored").len(), 1);
    let repairs = records(&run, "repair");
    assert_eq!((repairs.len(), &repairs[0]["kept"]), (2, &json!(true)), "{repairs:?}");
    // Of two repairs one file is left that is the agent's.
    let files = authors(&json_file(&run.join("receipt.json")));
    let agents: Vec<_> = files
        .iter()
        .filter(|(_, by)| by == "agent")
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(agents, [".aider_fsm/stages/rollout.sh"], "{files:?}");
    assert_eq!(bench.summary()["changes"].as_array().map(Vec::len), Some(1));
    let provenance = json_file(&run.join("repair_01/repair_provenance.json"));
    assert_eq!(provenance["failed_stage"], "rollout");
    assert_eq!(
        provenance["turn"]["taken_back"].as_array().map(Vec::len),
        Some(2),
        "{provenance}"
    );
}

#[test]
fn without_an_agent_nothing_is_repaired_which_is_said() {
    let bench = without_contract();
    bench.file("pipeline.yml", CONTRACT);
    for (path, content) in stages() {
        bench.file(path, content);
    }
    bench.file(".aider_fsm/stages/rollout.sh", "exit 4\n");
    let output = expect(bench.command(&["evaluate"], "repo"), 1);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no model is named for the agent"), "{said}");
    assert!(!bench.the_run().join("rollout_evaluation_attempt_02").exists());
    let output = expect(bench.command(&["evaluate", "--repair-iters", "0"], "repo"), 1);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("no model is named"));
}
