//! Evaluations without code of the repository, as a user runs them (`verify`, real jails): what
//! is documented is run, its output gives the score, and nothing that lies in the tree does.

#[path = "hints/distributions.rs"]
mod distributions;
#[path = "support/program.rs"]
mod program;
#[path = "support/sdists.rs"]
mod sdists;

use std::{fs, process::Command};

use program::{Bench, json_file};
use serde_json::{Value, json};

const GENERIC: &str = "version: 1\nevaluation:\n  generic: true\n  required_keys: [ok, score]\n";
/// Three of four pass.
const TESTS: &str = "import unittest\n\nclass T(unittest.TestCase):\n    def test_a(self):\n        pass\n    def test_b(self):\n        pass\n    def test_c(self):\n        pass\n    def test_d(self):\n        self.fail('it is wrong')\n";
const README: &str = "# It\n\n```console\n$ pip install .[dev]\n$ python -m unittest tests.test_it\nOK\n```\n";

/// A verification that has ended.
struct Came {
    bench: Bench,
    code: Option<i32>,
    shown: String,
}

impl Came {
    fn json(&self, name: &str) -> Value {
        let path = self.bench.the_run().join("verify").join(name);
        assert!(path.is_file(), "{name} is not there: {:?}\n{}", self.code, self.shown);
        json_file(&path)
    }

    fn record(&self) -> Value {
        self.json("summary.json")
    }

    fn score(&self) -> Value {
        self.record()["metrics"]["score"].clone()
    }

    /// Demands that the evaluation failed, and gives why.
    fn why(&self) -> String {
        let record = self.record();
        assert_eq!(
            (self.code, &record["failed_stage"]),
            (Some(3), &json!("evaluation")),
            "{record}\n{}",
            self.shown
        );
        assert_eq!(record["metrics"], Value::Null);
        record["reason"].as_str().expect("a reason").to_owned()
    }
}

fn verify(contract: &str, files: &[(&str, &str)]) -> Came {
    let bench = Bench::new();
    bench.file("pipeline.yml", contract);
    for (name, text) in files {
        bench.file(name, text);
    }
    let output = bench.command(&["verify"], "repo").output().expect("starts");
    let shown = [output.stdout, output.stderr].concat();
    Came {
        bench,
        code: output.status.code(),
        shown: String::from_utf8_lossy(&shown).into_owned(),
    }
}

#[test]
fn what_is_documented_is_run_and_its_output_is_the_score() {
    for isolation in ["shared", "sealed"] {
        let contract = format!("{GENERIC}verify:\n  isolation: {isolation}\n");
        // Files of these names that lie there are nobody's evidence.
        let forged = r#"{"ok": true, "score": 1.0, "used_anchors": ["forged"], "commands": ["forged"]}"#;
        let came = verify(
            &contract,
            &[
                ("README.md", README),
                ("tests/__init__.py", ""),
                ("tests/test_it.py", TESTS),
                (".aider_fsm/metrics.json", forged),
                (".aider_fsm/hints_run.json", forged),
                (".aider_fsm/hints_used.json", forged),
            ],
        );
        let record = came.record();
        assert_eq!(
            (came.code, &record["ok"]),
            (Some(0), &json!(true)),
            "{record}\n{}",
            came.shown
        );
        assert_eq!((came.score(), &record["evaluation_rc"]), (json!(0.75), &json!(1)));
        let own = Command::new("/usr/bin/env")
            .args(["python3", "-m", "unittest", "tests.test_it"])
            .current_dir(came.bench.path("repo"))
            .output();
        let own = String::from_utf8_lossy(&own.expect("python3").stderr).into_owned();
        assert!(
            own.contains("Ran 4 tests") && own.contains("FAILED (failures=1)"),
            "{own}"
        );

        let run = came.json("hints_run.json");
        let command = "python3 -m unittest tests.test_it";
        assert!(
            run["chosen_command"] == command || run["chosen_command"] == "python -m unittest tests.test_it",
            "{run}"
        );
        assert_eq!(
            (&run["score"], &run["executed_attempts"]),
            (&json!(0.75), &json!(1)),
            "{run}"
        );
        let tried = run["attempts"]
            .as_array()
            .expect("attempts")
            .last()
            .expect("one")
            .clone();
        assert_eq!(
            (&tried["hint"]["file"], &tried["hint"]["line"]),
            (&json!("README.md"), &json!(5)),
            "{run}"
        );
        // It is the record of the command that was executed.
        let prefix = "evaluation_cmd01_try01";
        assert_eq!(tried["result"], format!("{prefix}_result.json"));
        assert_eq!(came.json(&format!("{prefix}_result.json"))["rc"], tried["rc"]);
        let stderr = fs::read(came.bench.the_run().join("verify").join(format!("{prefix}_stderr.txt"))).expect("kept");
        assert_eq!(
            tried["stderr_sha256"],
            json!(opencode_fsm::record::audit::Digest::of(&stderr))
        );
        let used = came.json("hints_used.json");
        assert_eq!(
            (&used["used_anchors"], &used["commands"]),
            (&json!(["unittest"]), &json!([run["chosen_command"]])),
            "{used}"
        );
        assert!(!run["used_anchors"].to_string().contains("forged"));
        assert!(
            came.json("metrics.json")["source"]["summary"]
                .as_str()
                .expect("a line")
                .contains("FAILED")
        );
    }
}

#[test]
fn a_summary_that_is_only_printed_is_no_score() {
    let wins = "==== 5 passed in 0.01s ====";
    let readme = |block: &str| format!("```sh\n{block}\n```\n");
    let make = format!("test:\n\t@echo '{wins}'\n");
    let package = format!("{{\"scripts\": {{\"test\": \"echo '{wins}'\"}}}}");
    let script = format!("echo '{wins}'\n");
    for (name, files) in [
        (
            "a script",
            vec![
                ("README.md", readme("sh run_tests.sh")),
                ("run_tests.sh", script.clone()),
            ],
        ),
        ("a target", vec![("README.md", readme("make test")), ("Makefile", make)]),
        ("a package's script", vec![("package.json", package)]),
        (
            "no command at all",
            vec![("README.md", readme(&format!("echo '{wins}'")))],
        ),
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let came = verify(GENERIC, &files);
        let why = came.why();
        assert!(
            why.starts_with("all_hints_skipped") || why.starts_with("no_hints"),
            "{name}: {why}"
        );
        assert_eq!(came.json("hints_run.json")["executed_attempts"], 0, "{name}");
    }
    // The control: the same summary of a program that could have measured.
    let honest = format!("print({wins:?})\nimport unittest\n");
    let came = verify(
        GENERIC,
        &[("README.md", &readme("python run_tests.py")), ("run_tests.py", &honest)],
    );
    assert_eq!(came.score(), json!(1.0), "{}", came.shown);
}

#[test]
fn an_exit_code_is_no_score_and_one_that_contradicts_the_counts_is_told() {
    let readme = "```sh\npython run_tests.py\nsh also/test.sh\n```\n";
    let silent = "import unittest\n";
    let came = verify(
        GENERIC,
        &[
            ("README.md", readme),
            ("run_tests.py", silent),
            ("also/test.sh", "make -v\n"),
        ],
    );
    let why = came.why();
    assert!(why.starts_with("all_hints_no_real_score"), "{why}");
    assert_eq!(came.json("hints_run.json")["executed_attempts"], 2);

    let contradicts = "import sys, unittest\nprint('3 passed in 0.1s')\nsys.exit(1)\n";
    let files = [("README.md", readme), ("run_tests.py", contradicts)];
    let came = verify("evaluation:\n  generic: true\n  required_keys: [score]\n", &files);
    assert_eq!(
        (came.score(), came.record()["metrics"]["ok"].clone()),
        (json!(1.0), json!(false)),
        "{}",
        came.shown
    );
    let came = verify(GENERIC, &files);
    assert_eq!(came.record()["metrics_errors"], json!(["evaluation.ok_not_true"]));
}

#[test]
fn without_hints_rewards_are_averaged_and_what_is_missing_is_named() {
    let rollout = "import json, os\nos.makedirs('.aider_fsm', exist_ok=True)\nwith open('samples.jsonl', 'w') as out:\n    for reward in (1, 0, 1, 1):\n        print(json.dumps({'prompt': 'p', 'completion': 'c', 'reward': reward}), file=out)\njson.dump({'ok': True, 'paths': {'samples_jsonl': 'samples.jsonl'}}, open('.aider_fsm/rollout.json', 'w'))\n";
    for isolation in ["shared", "sealed"] {
        let contract = format!("rollout:\n  run_cmd: python3 roll.py\n{GENERIC}verify:\n  isolation: {isolation}\n");
        let contract = contract.replace("version: 1\n", "");
        let came = verify(&contract, &[("roll.py", rollout)]);
        let metrics = came.record()["metrics"].clone();
        assert_eq!(
            (came.score(), &metrics["reason"]),
            (json!(0.75), &json!("reward_average")),
            "{}",
            came.shown
        );
    }
    let why = verify(GENERIC, &[("a.txt", "a")]).why();
    assert_eq!(why, "no_hints; missing_rollout_json: .aider_fsm/rollout.json");
    let contract = "rollout:\n  run_cmd: python3 roll.py\nevaluation:\n  generic: {hints: require}\n";
    assert_eq!(verify(contract, &[("roll.py", rollout)]).why(), "no_hints");
    let contract = "evaluation:\n  generic: true\n  env: {AIDER_FSM_REQUIRE_HINTS: '1'}\n";
    assert_eq!(verify(contract, &[("a.txt", "a")]).why(), "no_hints");
}

#[test]
fn policy_and_caps_hold_for_documented_commands() {
    let readme = "```sh\nsudo pytest\npython run_tests.py\n```\n";
    let hangs = "import time, unittest\nprint('3 passed in 0.1s', flush=True)\ntime.sleep(600)\n";
    let contract = "evaluation:\n  generic: true\n  required_keys: [score, ok]\n  timeout_seconds: 2\n";
    let came = verify(contract, &[("README.md", readme), ("run_tests.py", hangs)]);
    let run = came.json("hints_run.json");
    let attempts = run["attempts"].as_array().expect("attempts");
    let of = |word: &str| {
        attempts
            .iter()
            .find(|tried| {
                tried["hint"]["command"]
                    .as_str()
                    .is_some_and(|command| command.contains(word))
            })
            .cloned()
    };
    assert!(of("sudo").expect("tried")["skipped"].is_string(), "{run}");
    let hung = of("run_tests").expect("tried");
    assert_eq!((&hung["rc"], &hung["ok"]), (&json!(124), &json!(false)), "{run}");
    assert_eq!(came.record()["metrics_errors"], json!(["evaluation.ok_not_true"]));
}
