//! `evaluate`, the model door for stages, and the session from Rust.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    endpoint::{Answer, Endpoint},
    program::{Bench, expect, holding, json_file},
    target::{KEY, alive, completion, with_model},
};

fn last_line(output: &[u8]) -> Value {
    let text = String::from_utf8_lossy(output).into_owned();
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn run_id(bench: &Bench) -> String {
    let run = bench.the_run();
    run.file_name().expect("a name").to_string_lossy().into_owned()
}

fn evaluate(bench: &Bench, more: &[&str]) -> Command {
    bench.command(&[&["evaluate"], more].concat(), "repo")
}

#[test]
fn the_metrics_are_the_last_line_and_what_was_deployed_is_gone() {
    let bench = Bench::new();
    bench.examples();
    let output = expect(evaluate(&bench, &[]), 0);
    let metrics = json!({"ok": true, "score": 1.0, "eval": {"samples": 20}});
    assert_eq!(last_line(&output.stdout), metrics);
    let summary = bench.summary();
    assert_eq!(
        (&summary["exit_reason"], &summary["metrics"]),
        (&json!("EVALUATED"), &metrics)
    );
    let run = bench.the_run();
    let torn = fs::read_to_string(run.join("teardown_attempt_01/deploy_teardown_stdout.txt")).expect("text");
    assert!(torn.starts_with("stopped "), "{torn}");
    assert_eq!(alive(&run_id(&bench)), 0);
    // As JSON lines it is the last one, too.
    let again = Bench::new();
    again.examples();
    let output = expect(evaluate(&again, &["--json", "--require-samples"]), 0);
    assert_eq!(last_line(&output.stdout), metrics);
    // The rollout, as a training program finds it.
    let host = json_file(&again.the_run().join("rollout_evaluation_attempt_01/host/rollout.json"));
    let samples = fs::read_to_string(host["paths"]["samples_jsonl"].as_str().expect("a path")).expect("samples");
    assert_eq!(samples.lines().count(), 20);
}

/// The evaluation runs where nothing of the deployment is, and asks the service all the same.
#[test]
fn a_sealed_evaluation_is_led_to_what_was_deployed() {
    let bench = Bench::new();
    bench.examples();
    let output = expect(evaluate(&bench, &["--isolation", "sealed"]), 0);
    assert_eq!(last_line(&output.stdout)["score"], 1.0);
    let run = bench.the_run();
    let attempt = run.join("rollout_evaluation_attempt_01");
    assert_eq!(json_file(&attempt.join("summary.json"))["isolation"], "sealed");
    assert!(attempt.join("outputs_evaluation/.aider_fsm/metrics.json").is_file());
    assert!(!attempt.join("outputs/.aider_fsm/metrics.json").exists());
    let journal = fs::read_to_string(run.join("journal.jsonl")).expect("a journal");
    let sealed = journal
        .lines()
        .find(|line| line.contains("\"event\":\"sealed\""))
        .expect("a record");
    let sealed: serde_json::Value = serde_json::from_str(sealed).expect("json");
    let ports = sealed["fields"]["ports"].as_array().expect("ports");
    assert!(!ports.is_empty(), "{sealed}");
    let handed = sealed["fields"]["handed"].to_string();
    assert!(
        handed.contains("runtime_env.json") && handed.contains("rollout.json"),
        "{handed}"
    );
    assert_eq!(alive(&run_id(&bench)), 0);
}

#[test]
fn exit_codes_say_who_failed() {
    let contract = |rollout: &str, metrics: &str| {
        let measure = format!("mkdir -p .aider_fsm; echo '{metrics}' > .aider_fsm/metrics.json");
        format!(
            "rollout:\n  run_cmd: {rollout}\nevaluation:\n  run_cmd: {}\n  metrics_path: .aider_fsm/metrics.json\n",
            json!(measure)
        )
    };
    for (text, more, code) in [
        (contract("'true'", r#"{"ok": true}"#), &[][..], 0),
        (contract("exit 4", r#"{"ok": true}"#), &[], 1),
        (contract("'true'", r#"{"ok": false, "score": 1}"#), &[], 1),
        (contract("'true'", r#"{"score": 1}"#), &[], 1),
        (contract("'true'", r#"{"score": 1}"#), &["--no-require-metrics"], 0),
        (contract("'true'", r#"{"ok": true}"#), &["--require-samples"], 1),
        (contract("sudo true", r#"{"ok": true}"#), &[], 10),
        ("tests: 5\n".to_owned(), &[], 2),
        (contract("'true'", "{}"), &["--env", "=x"], 2),
        (contract("'true'", "{}"), &["--trained-model-dir", "/no/such"], 2),
        (contract("'true'", "{}"), &["--repair-iters", "-1"], 2),
    ] {
        let bench = Bench::new();
        bench.file("pipeline.yml", &text);
        // These targets measure nothing, and say so.
        expect(evaluate(&bench, &[&["--audit", "off"], more].concat()), code);
    }
    // A number that nothing earned is none, unless the user wants it.
    let bench = Bench::new();
    bench.file("pipeline.yml", &contract("'true'", r#"{"ok": true, "score": 1}"#));
    let output = expect(evaluate(&bench, &[]), 1);
    assert!(
        bench.summary()["metrics"].is_null(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let audit = &bench.summary()["audit"];
    assert_eq!(
        (&audit[0]["rule"], &audit[0]["file"], &audit[0]["line"]),
        (&json!("hard-coded-score"), &json!("pipeline.yml"), &json!(4)),
        "{audit}"
    );
    let bench = Bench::new();
    let output = expect(evaluate(&bench, &[]), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the target has no `pipeline.yml`"));
}

#[test]
fn a_trained_model_is_shown_read_only_and_named_in_the_runtime_env() {
    let bench = Bench::new();
    let offer = "mkdir -p .aider_fsm; echo '{\"inference\": {\"model\": \"mine\"}}' > .aider_fsm/runtime_env.json";
    let look = "cd \"$AIDER_TRAINED_MODEL_DIR\" && cat config.json && echo \"$AIDER_LLM_KIND $AIDER_LLM_MODEL.\" && ! touch x && echo \"$A $B\"";
    bench.file(
        "pipeline.yml",
        &format!(
            "deploy:\n  setup_cmd: {}\nrollout:\n  run_cmd: {}\n  env: {{A: contract, B: contract}}\n\
             evaluation:\n  run_cmd: cp \"$AIDER_RUNTIME_ENV_PATH\" .aider_fsm/metrics.json\n  metrics_path: .aider_fsm/metrics.json\n  required_keys: [inference.model_dir]\n",
            json!(offer),
            json!(look)
        ),
    );
    let model = bench.path("model");
    fs::create_dir(&model).expect("mkdir");
    fs::write(model.join("config.json"), "{\"weights\": 7}\n").expect("write");
    fs::set_permissions(&model, fs::Permissions::from_mode(0o755)).expect("chmod");
    let shown = model.display().to_string();
    let flags = [
        "--no-require-metrics",
        "--audit",
        "off",
        "--trained-model-dir",
        &shown,
        "--env",
        "A=given",
    ];
    let output = expect(evaluate(&bench, &flags), 0);
    assert_eq!(
        last_line(&output.stdout),
        json!({"inference": {"model": "mine", "model_dir": "/opt/model", "type": "local_hf"}})
    );
    let call = bench.the_run().join("rollout_evaluation_attempt_01");
    let said = fs::read_to_string(call.join("rollout_stdout.txt")).expect("text");
    assert_eq!(said, "{\"weights\": 7}\nlocal_hf .\ngiven contract\n");
    assert_eq!(
        json_file(&call.join("runtime_env.json"))["inference"]["type"],
        "local_hf"
    );
    assert_eq!(
        fs::read_dir(&model).expect("ls").count(),
        1,
        "nothing was written there"
    );
}

#[test]
fn stages_reach_the_model_through_the_door_and_the_key_stays_outside() {
    let endpoint = Endpoint::start(Box::new(|_, _| {
        Answer::Raw(200, "application/json", completion("four"))
    }));
    let bench = with_model();
    let flags = [
        "--llm",
        "org/model-7",
        "--base-url",
        &endpoint.base_url,
        "--require-samples",
    ];
    let mut command = evaluate(&bench, &flags);
    command.env("OPENAI_API_KEY", KEY);
    let output = expect(command, 0);
    assert_eq!(last_line(&output.stdout), json!({"ok": true, "score": 1.0}));
    let requests = endpoint.requests.lock().expect("lock").clone();
    assert_eq!(requests.len(), 3);
    for (head, body) in &requests {
        let head = head.to_ascii_lowercase();
        assert!(head.contains(&format!("authorization: bearer {KEY}")), "{head}");
        assert!(body.contains("\"org/model-7\"") && !body.contains(KEY), "{body}");
    }
    let run = bench.the_run();
    assert_eq!(holding(&run, KEY), Vec::<std::path::PathBuf>::new());
    let said = fs::read_to_string(run.join("rollout_evaluation_attempt_01/rollout_stdout.txt")).expect("text");
    assert!(
        said.contains("('OPENAI_BASE_URL', 'http://127.0.0.1:4097/v1')"),
        "the control: {said}"
    );
    assert!(said.contains("('AIDER_LLM_KIND', 'remote')") && said.contains("('OPENAI_MODEL', 'org/model-7')"));
    let usage = &bench.summary()["usage"];
    assert_eq!((&usage["calls"], &usage["input_tokens"]), (&json!(3), &json!(15)));
}

#[test]
fn a_provider_that_fails_is_to_blame_and_not_the_target() {
    let endpoint = Endpoint::start(Box::new(|_, _| Answer::Raw(503, "application/json", "{}")));
    let bench = with_model();
    expect(evaluate(&bench, &["--llm", "m", "--base-url", &endpoint.base_url]), 8);
    assert_eq!(bench.summary()["blame"], "provider");
    assert!(
        endpoint.requests.lock().expect("lock").len() <= 2,
        "the door does not ask by itself"
    );
    // The control: an answer that the target cannot use is its own affair.
    let endpoint = Endpoint::start(Box::new(|_, _| {
        Answer::Raw(200, "application/json", r#"{"choices": []}"#)
    }));
    let bench = with_model();
    expect(evaluate(&bench, &["--llm", "m", "--base-url", &endpoint.base_url]), 1);
    assert_eq!(bench.summary()["blame"], "verifier");
}

#[test]
fn the_example_in_rust_runs() {
    // <target>/<triple>/<profile>/opencode-fsm: the example goes beside it.
    let profile = Path::new(crate::program::PROGRAM).parent().expect("a directory");
    let target = profile.ancestors().nth(2).expect("a directory");
    let name = profile.file_name().expect("a name").to_string_lossy().into_owned();
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--quiet", "--locked", "--example", "session", "--profile"])
        .arg(if name == "debug" { "dev" } else { &name })
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    expect(build, 0);
    let example = profile.join("examples/session");
    let bench = Bench::new();
    bench.examples();
    let mut command = Command::new(&example);
    command
        .arg(bench.path("repo"))
        .env("XDG_STATE_HOME", bench.path("state"))
        .env("XDG_CACHE_HOME", bench.cache())
        .env("XDG_CONFIG_HOME", bench.path("config"));
    let output = expect(command, 0);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let metrics = r#"{"ok":true,"score":1.0,"eval":{"samples":20}}"#;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("rollout true Some("), "{said}");
    assert_eq!(
        lines[1..4],
        [
            format!("evaluation true {metrics}"),
            format!("evaluation true {metrics}"),
            "teardown true".to_owned()
        ]
    );
}
