//! A data set is asked, judged and scored; a target without one is asked about its own words.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    endpoint::{Answer, Endpoint},
    program::{Bench, Forbidden, expect, holding, program},
    target::{KEY, SPLIT, call, dataset, evaluate, hens, pair, right, rollout, samples, says},
};

/// The predecessor gave every answer of such a data set the reward 0.
#[test]
fn a_data_set_is_asked_and_its_answers_are_worth_what_they_are() {
    let endpoint = Endpoint::start(Box::new(|_, body| {
        let answer = match hens(body) {
            // Right, however it is said.
            1 => says("FINAL: 1"),
            2 => says("so \\boxed{4}"),
            3 => says("The answer is 9.0 eggs."),
            4 => says("**Final answer:** 16"),
            5 => says("#### 25"),
            // Wrong.
            6 => says("FINAL: 35"),
            7 => says("I do not know."),
            _ => says("FINAL: 64 or 65"),
        };
        Answer::Raw(200, "application/json", answer)
    }));
    let bench = dataset(12, "rollout:\n  generic: true\n");
    let output = expect(evaluate(&bench, &endpoint.base_url, &["--require-samples"]), 0);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let metrics: Value = serde_json::from_str(said.lines().last().expect("a line")).expect("json");
    assert_eq!(metrics, json!({"ok": true, "score": 0.625, "samples": 8}));
    let call = call(&bench);
    let found = samples(&call);
    for (number, sample) in (1..).zip(&found) {
        let prompt = sample["prompt"].as_str().expect("text");
        assert!(
            prompt.starts_with(&pair(number).0),
            "in the order of the rows: {prompt}"
        );
        assert_eq!(sample["meta"]["rule"]["expected"], (number * number).to_string());
    }
    assert_eq!(found[1]["meta"]["rule"]["said"], "boxed");
    let told = rollout(&call);
    assert_eq!(
        told["counts"],
        json!({"samples": 8, "correct": 5, "errors": 0, "resumed": 0})
    );
    assert_eq!(told["dataset"], json!({"id": "acme/hens", "file": SPLIT, "rows": 8}));
    let requests = endpoint.requests.lock().expect("lock").clone();
    assert_eq!(requests.len(), 8);
    for (head, body) in &requests {
        assert!(
            head.to_ascii_lowercase()
                .contains(&format!("authorization: bearer {KEY}")),
            "{head}"
        );
        let body: Value = serde_json::from_str(body).expect("json");
        assert_eq!(
            (&body["model"], &body["temperature"], &body["max_tokens"]),
            (&json!("org/model-7"), &json!(0.0), &json!(256))
        );
    }
    let run = bench.the_run();
    assert_eq!(holding(&run, KEY), Vec::<PathBuf>::new(), "the key stays outside");
    let ledger = fs::read_to_string(run.join("model.jsonl")).expect("a ledger");
    assert_eq!(ledger.lines().count(), 8);
    assert!(ledger.contains("\"turn\":\"rollout_evaluation_attempt_01/"), "{ledger}");
    assert!(
        call.join("rollout_rows_try01_result.json").is_file(),
        "the reading is on the record"
    );
    assert!(!run.join("rollout_partial.jsonl").exists(), "it is complete");
}

#[test]
fn limits_seeds_and_temperatures_reach_the_model_and_sealed_evaluations_get_the_samples() {
    let endpoint = Endpoint::start(Box::new(|_, body| Answer::Raw(200, "application/json", right(body))));
    let rollout_section = "rollout:\n  generic: {limit: 2, concurrency: 8, seed: 7, temperature: 0.5, max_tokens: 64}\n  env: {AIDER_FSM_MAX_TOKENS: 99}\n";
    let bench = dataset(5, rollout_section);
    let flags = [
        "--isolation",
        "sealed",
        "--env",
        "AIDER_EVAL_LIMIT=3",
        "--require-samples",
    ];
    expect(evaluate(&bench, &endpoint.base_url, &flags), 0);
    assert_eq!(
        bench.summary()["metrics"],
        json!({"ok": true, "score": 1.0, "samples": 3})
    );
    let requests = endpoint.requests.lock().expect("lock").clone();
    for (_, body) in &requests {
        let body: Value = serde_json::from_str(body).expect("json");
        assert_eq!(
            (&body["seed"], &body["temperature"], &body["max_tokens"]),
            (&json!(7), &json!(0.5), &json!(99))
        );
    }
}

#[test]
fn a_target_without_a_data_set_is_asked_about_its_own_words() {
    let endpoint = Endpoint::start(Box::new(|_, _| {
        Answer::Raw(200, "application/json", says("It is a thing."))
    }));
    let bench = Bench::new();
    bench
        .file(
            "README.md",
            "# Hens\n\nThis project counts the hens of a farm.\n\nRun it with the name of a farm.\n\n\
             ```sh\npytest tests/evaluation\n```\n",
        )
        .file(
            "pipeline.yml",
            "rollout:\n  generic: true\nevaluation:\n  run_cmd: 'true'\n",
        );
    expect(
        evaluate(
            &bench,
            &endpoint.base_url,
            &["--no-require-metrics", "--require-samples", "--audit", "off"],
        ),
        0,
    );
    let found = samples(&call(&bench));
    assert_eq!(found.len(), 3);
    let prompt = |number: usize| found[number]["prompt"].as_str().expect("text").to_owned();
    assert!(
        prompt(0).contains("pytest tests/evaluation"),
        "what it documents: {}",
        prompt(0)
    );
    assert!(prompt(1).contains("counts the hens"));
    assert_eq!(
        (&found[0]["reward"], &found[0]["meta"]["rule"]),
        (&json!(0.0), &json!("none"))
    );
    // Where a data set is demanded, there is nothing to fall back to.
    let bench = Bench::new();
    bench.file("pipeline.yml", "rollout:\n  generic: {prompts: dataset}\n");
    expect(evaluate(&bench, &endpoint.base_url, &["--no-require-metrics"]), 1);
    assert!(
        bench.summary()["detail"]
            .as_str()
            .expect("text")
            .contains("data/hf_manifest.json")
    );
}

#[test]
fn policy_audit_names_the_stage() {
    let bench = Bench::new();
    bench.file("pipeline.yml", "rollout:\n  generic: {limit: 5}\n");
    let mut command = program();
    command
        .args(["policy", "audit", "--json", "--repo"])
        .arg(bench.path("repo"))
        .env("XDG_CACHE_HOME", bench.cache());
    let output = command.output().expect("starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("generic rollout: no command; at most 5 prompts"),
        "{said}"
    );
}

/// A data set needs no code at all: what its questions are worth is its score.
#[test]
fn a_contract_of_generic_stages_alone_scores_a_data_set() {
    let endpoint = Endpoint::start(Box::new(|_, body| {
        let answer = if hens(body) > 6 { says("FINAL: 0") } else { right(body) };
        Answer::Raw(200, "application/json", answer)
    }));
    let bench = dataset(9, "rollout:\n  generic: true\n");
    bench.file(
        "pipeline.yml",
        "version: 1\nrollout:\n  generic: true\nevaluation:\n  generic: true\n",
    );
    fs::remove_file(bench.path("repo/evaluate.py")).expect("remove");
    expect(evaluate(&bench, &endpoint.base_url, &["--require-samples"]), 0);
    let metrics = &bench.summary()["metrics"];
    assert_eq!(
        (&metrics["ok"], &metrics["score"]),
        (&json!(true), &json!(0.75)),
        "{metrics}"
    );
}

/// The reader is the guest's own program, whatever the walls are made of.
#[test]
fn without_namespaces_it_is_the_same() {
    if std::env::var("OPENCODE_FSM_SANDBOX").is_ok_and(|name| name != "jail") {
        eprintln!("SKIPPED: containers need namespaces");
        return;
    }
    let endpoint = Endpoint::start(Box::new(|_, body| Answer::Raw(200, "application/json", right(body))));
    let bench = dataset(3, "rollout:\n  generic: true\n");
    let flags = ["--min-tier", "landlock", "--require-samples"];
    let child = Forbidden::Own.spawn(&evaluate(&bench, &endpoint.base_url, &flags));
    let output = child.wait_with_output().expect("ends");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        bench.summary()["metrics"],
        json!({"ok": true, "score": 1.0, "samples": 3})
    );
    assert_eq!(bench.summary()["walls"]["tier"], "landlock", "the control");
}
