//! Contracts that are written where there is none.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    endpoint::{Answer, Endpoint},
    program::{Bench, expect, json_file, opencode, program},
    repository::{CONTRACT, authors, by, records, shell, stages, text, without_contract, writes},
};

const BAD: &str = "version: 1\nstages:\n  rollout: sh x.sh\n";

/// A bad contract with a change of the code beside it, then a good one.
fn in_two_attempts(bench: &mut Bench) {
    let bad = writes(&[
        ("pipeline.yml", BAD),
        ("app.py", "hacked\n"),
        (".aider_fsm/policy.yml", "hacked\n"),
    ]);
    bench
        .say("scaffold_contract_attempt_1", 1, 1, &[shell(&bad)])
        .say("scaffold_contract_attempt_1", 1, 2, &[]);
    let mut files = stages();
    files.push(("pipeline.yml", CONTRACT));
    bench
        .say("scaffold_contract_attempt_2", 1, 1, &[shell(&writes(&files))])
        .say("scaffold_contract_attempt_2", 1, 2, &[]);
}

#[test]
fn the_agent_is_told_what_is_wrong_until_its_contract_holds() {
    if !opencode() {
        return;
    }
    let mut bench = without_contract();
    in_two_attempts(&mut bench);
    let model = bench.cassette();
    let output = expect(bench.command(&["evaluate", "--model", &model], "repo"), 0);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let metrics: serde_json::Value = serde_json::from_str(said.lines().last().expect("a line")).expect("json");
    assert_eq!(
        metrics,
        json!({"ok": true, "score": 0.75}),
        "what the repository's own check says"
    );

    let run = bench.the_run();
    // The second attempt was told the place of the error, and what was put back.
    let second = text(&run, "turns/0002-scaffold_contract_attempt_2.prompt.md");
    assert!(second.contains("pipeline.yml:2:1: unknown key `stages`"), "{second}");
    assert!(second.contains("put back: `app.py`"), "{second}");
    assert!(second.contains("put back: `.aider_fsm/policy.yml`"), "{second}");
    assert!(text(&run, "scaffold/scaffold_pipeline_validation_error_attempt_01.txt").contains("pipeline.yml:2:1"));
    assert_eq!(text(&run, "scaffold/attempt_01/pipeline.yml"), BAD);
    assert!(
        !run.join("scaffold/scaffold_pipeline_validation_error_attempt_02.txt")
            .exists()
    );
    // The code was put back, which is evidence like any other.
    let guard = records(&run, "guard");
    assert_eq!((guard.len(), &guard[0]["phase"]), (1, &json!("scaffold")), "{guard:?}");
    assert!(text(&run, "guard/0001-scaffold_contract_attempt_1.patch").contains("+hacked"));
    // Who wrote what.
    let provenance = json_file(&run.join("scaffold/scaffold_provenance.json"));
    assert_eq!(
        (&provenance["by"], &provenance["asked"]),
        (&json!("agent"), &json!("agent-or-generic"))
    );
    assert_eq!(provenance["summary"]["agent"], 5);
    assert_eq!(provenance["turns"][0]["trace"][0]["tool"], "bash", "{provenance}");
    let files = [
        ".aider_fsm/stages/deploy_setup.sh",
        ".aider_fsm/stages/evaluation.sh",
        ".aider_fsm/stages/rollout.sh",
        ".aider_fsm/stages/score.py",
        "pipeline.yml",
    ];
    assert_eq!(authors(&json_file(&run.join("receipt.json"))), by("agent", &files));
    assert_eq!(records(&run, "scaffold-attempt").len(), 2);
    assert_eq!(records(&run, "scaffolded")[0]["by"], "agent");
    let mut audit = program();
    audit.args(["audit", "verify"]).arg(&run);
    expect(audit, 0);
    // The contract is the run's change, and `apply` brings it to the repository, where it is a person's.
    assert!(!bench.path("repo/pipeline.yml").exists());
    let mut apply = program();
    apply.arg("apply").arg(&run);
    expect(apply, 0);
    assert_eq!(
        fs::read_to_string(bench.path("repo/pipeline.yml")).expect("applied"),
        CONTRACT
    );
    fs::remove_dir_all(bench.path("runs")).expect("remove");
    expect(bench.command(&["evaluate"], "repo"), 0);
    assert_eq!(
        authors(&json_file(&bench.the_run().join("receipt.json"))),
        by("human", &files)
    );
}

/// Kills a run that prints JSON lines when one of them says a text.
fn killed_at(mut command: Command, text: &str) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let said = lines.map_while(Result::ok).any(|line| line.contains(text));
    assert!(said, "it never said {text}");
    child.kill().expect("kill");
    child.wait().expect("wait");
}

#[test]
fn a_run_goes_on_with_the_contract_that_its_agent_wrote_and_keeps_it_from_it() {
    if !opencode() {
        return;
    }
    let mut bench = without_contract();
    let contract = format!("{CONTRACT}tests:\n  cmd: python3 -c 'import app; assert app.add(1, 2) == 4'\n");
    bench
        .say(
            "scaffold_contract_attempt_1",
            1,
            1,
            &[shell(&writes(&[("pipeline.yml", BAD)]))],
        )
        .say("scaffold_contract_attempt_1", 1, 2, &[]);
    let mut files = stages();
    files.push(("pipeline.yml", &contract));
    bench
        .say("scaffold_contract_attempt_2", 1, 1, &[shell(&writes(&files))])
        .say("scaffold_contract_attempt_2", 1, 2, &[]);
    let plan = "# PLAN\n\n## Goal\n- test\n\n## Acceptance\n- [ ] TEST_CMD passes\n\n## Next (exactly ONE item)\n\
        - [ ] (STEP_ID=001) add\n\n## Backlog\n\n## Done\n\n## Notes\n-\n";
    bench.shell("plan_update_attempt_1", 1, &writes(&[("PLAN.md", plan)]));
    bench.say("plan_update_attempt_1", 2, 1, &[]);
    // What it wrote itself is the contract now, and not its own to change.
    bench.shell(
        "execute_step",
        1,
        &writes(&[(".aider_fsm/stages/score.py", "hacked\n")]),
    );
    bench.shell(
        "execute_step",
        2,
        "printf 'def add(a, b):\\n    return a + b + (a == 1 and b == 2)\\n' > app.py",
    );
    // Cut off while the contract is being written, and again when it stands.
    killed_at(
        bench.run(&["--scaffold-contract", "opencode"]),
        "scaffold attempt 1 does not hold",
    );
    let resume = || {
        let mut command = program();
        command
            .args(["resume", "--json", "--artifacts-dir"])
            .arg(bench.path("runs"));
        command
    };
    killed_at(resume(), "S3_EXECUTE_STEP");
    expect(resume(), 0);
    let run = bench.the_run();
    let summary = bench.summary();
    assert_eq!(summary["exit_reason"], "DONE");
    assert_eq!(summary["guard_events"], 1, "{summary}");
    let changes = summary["changes"].as_array().expect("changes");
    let changed: Vec<_> = changes.iter().map(|line| line["path"].clone()).collect();
    assert!(
        changed.contains(&json!("pipeline.yml")) && changed.contains(&json!("app.py")),
        "{changed:?}"
    );
    assert_eq!(bench.brought_out("pipeline.yml"), contract);
    let receipt = json_file(&run.join("receipt.json"));
    assert!(authors(&receipt).iter().all(|(_, by)| by == "agent"), "{receipt}");
    // The same again, by what was recorded and without a model.
    let mut replay = program();
    replay
        .arg("replay")
        .arg(&run)
        .arg("--artifacts-dir")
        .arg(bench.path("again"));
    expect(replay, 0);
}

#[test]
fn nobody_writes_where_nobody_is_asked_and_what_does_not_hold_is_an_error() {
    let bench = without_contract();
    let refused = |arguments: &[&str], code: i32, says: &str| {
        let output = expect(bench.command(arguments, "repo"), code);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(says), "{arguments:?}: {said}");
    };
    refused(&["evaluate"], 2, "the target has no `pipeline.yml`");
    refused(
        &["evaluate", "--model", "cassette:none", "--scaffold-contract", "off"],
        2,
        "the target has no `pipeline.yml`",
    );
    refused(&["evaluate", "--scaffold-contract", "opencode"], 2, "no model is named");
    refused(
        &[
            "evaluate",
            "--model",
            "cassette:none",
            "--opencode-url",
            "http://127.0.0.1:1",
        ],
        2,
        "opencode_url",
    );
    refused(
        &[
            "run",
            "--model",
            "cassette:none",
            "--preflight-only",
            "--scaffold-contract",
            "opencode",
        ],
        2,
        "--preflight-only",
    );
    if !opencode() {
        return;
    }
    // One attempt, no second one, and no contract of somebody else's in its place.
    let mut bench = without_contract();
    bench
        .say(
            "scaffold_contract_attempt_1",
            1,
            1,
            &[shell(&writes(&[(
                "pipeline.yml",
                "version: 1\ntests: {cmd: 'true'}\n",
            )]))],
        )
        .say("scaffold_contract_attempt_1", 1, 2, &[]);
    let model = bench.cassette();
    let mut command = bench.command(&["evaluate", "--strict-opencode", "--model", &model], "repo");
    command.env("AIDER_OPENCODE_SCAFFOLD_ATTEMPTS", "1");
    let output = expect(command, 2);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("scaffold_contract_failed: ") && said.contains("security.max_cmd_seconds"),
        "{said}"
    );
    let run = bench.the_run();
    assert!(text(&run, "scaffold/scaffold_error.txt").contains("deploy.setup_cmds") || said.contains("more)"));
    assert!(json_file(&run.join("scaffold/scaffold_provenance.json"))["by"].is_null());
    assert!(!run.join("rollout_evaluation_attempt_01").exists(), "nothing of it ran");
}

/// The generic contract measures by what the repository documents, and says whose it is.
#[test]
fn the_generic_contract_stands_in_where_it_may_and_is_named_so() {
    let bench = documented();
    let endpoint = model();
    let evaluate = |bench: &Bench, more: &[&str]| {
        let fixed = ["evaluate", "--llm", "m", "--base-url", endpoint.base_url.as_str()];
        bench.command(&[&fixed[..], more].concat(), "repo")
    };
    let is_generic = |bench: &Bench, output: &std::process::Output| {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let metrics: serde_json::Value = serde_json::from_str(said.lines().last().expect("a line")).expect("json");
        assert_eq!(
            (&metrics["ok"], &metrics["score"]),
            (&json!(true), &json!(0.75)),
            "{said}"
        );
        let run = bench.the_run();
        assert_eq!(
            authors(&json_file(&run.join("receipt.json"))),
            by("fallback", &["pipeline.yml"])
        );
        let provenance = json_file(&run.join("scaffold/scaffold_provenance.json"));
        assert_eq!(
            (&provenance["by"], &provenance["summary"]["agent"]),
            (&json!("fallback"), &json!(0))
        );
    };
    let output = expect(evaluate(&bench, &["--scaffold-contract", "generic"]), 0);
    is_generic(&bench, &output);
    assert!(!bench.the_run().join("turns").exists(), "no agent was asked");
    if !opencode() {
        return;
    }
    // The agent came to nothing that holds; what it left is no part of what stands in.
    let mut bench = documented();
    bench
        .say(
            "scaffold_contract_attempt_1",
            1,
            1,
            &[shell(&writes(&[
                ("pipeline.yml", BAD),
                (".aider_fsm/stages/x.sh", "true\n"),
            ]))],
        )
        .say("scaffold_contract_attempt_1", 1, 2, &[]);
    let agent = bench.cassette();
    let mut command = evaluate(&bench, &["--model", &agent]);
    command.env("AIDER_OPENCODE_SCAFFOLD_ATTEMPTS", "1");
    let output = expect(command, 0);
    is_generic(&bench, &output);
    assert!(text(&bench.the_run(), "scaffold/scaffold_fallback.txt").starts_with("wrote_fallback_pipeline_yml: "));
}

/// A repository with tests, three of four of which pass.
fn documented() -> Bench {
    let bench = without_contract();
    let case = |name: &str, holds: &str| format!("    def test_{name}(self):\n        self.assertTrue({holds})\n");
    let cases = [
        ("a", "True"),
        ("b", "1 + 1 == 2"),
        ("c", "'x' in 'xyz'"),
        ("d", "False"),
    ];
    let body: String = cases.iter().map(|(name, holds)| case(name, holds)).collect();
    bench
        .file(
            "README.md",
            "# app\n\n## Tests\n\n```sh\npython3 -m unittest test_app\n```\n",
        )
        .file(
            "test_app.py",
            &format!("import unittest\n\nclass T(unittest.TestCase):\n{body}"),
        );
    bench
}

/// A model that says the same to every prompt.
fn model() -> Endpoint {
    let body = r#"{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "python3 -m unittest test_app"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}"#;
    Endpoint::start(Box::new(move |_, _| Answer::Raw(200, "application/json", body)))
}
