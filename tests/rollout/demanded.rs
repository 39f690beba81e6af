//! Samples that are demanded, of a repository's own rollout over a data set.

use serde_json::json;

use crate::{
    program::{Bench, expect},
    target::{dataset, evaluate, pair},
};

/// Writes samples whose prompts are given, and says what it counted.
const ROLLOUT: &str = r#"
import json, os
os.makedirs(".aider_fsm", exist_ok=True)
prompts = json.load(open("prompts.json"))
with open("samples.jsonl", "w") as file:
    for prompt in prompts:
        file.write(json.dumps({"prompt": prompt, "completion": "1", "reward": 0.0}) + "\n")
counts = json.loads(os.environ.get("COUNTS", "{}"))
json.dump({"counts": counts, "paths": {"samples_jsonl": "samples.jsonl"}}, open(".aider_fsm/rollout.json", "w"))
"#;

fn with_prompts(prompts: &[String], counts: &str) -> Bench {
    let bench = dataset(
        40,
        &format!("rollout:\n  run_cmd: python3 rollout.py\n  env: {{COUNTS: '{counts}'}}\n"),
    );
    bench
        .file("rollout.py", ROLLOUT)
        .file("prompts.json", &json!(prompts).to_string());
    bench
}

fn questions(from: usize, count: usize) -> Vec<String> {
    (from..from + count)
        .map(|number| format!("Please: {}", pair(number).0.to_uppercase()))
        .collect()
}

#[test]
fn samples_have_to_be_enough_diverse_and_of_the_data_sets_own_questions() {
    let foreign: Vec<String> = (0..12)
        .map(|number| format!("What is {number} and {number} in all?"))
        .collect();
    let repeated: Vec<String> = questions(1, 5).into_iter().cycle().take(12).collect();
    for (prompts, counts, code) in [
        (questions(1, 11), "{}", "hf_qa_samples_too_few"),
        (repeated, "{}", "hf_qa_prompts_not_diverse"),
        (foreign, "{}", "hf_qa_prompts_not_anchored"),
        (
            questions(1, 12),
            r#"{"samples": 12, "errors": 12}"#,
            "rollout_counts_all_errors",
        ),
        (Vec::new(), "{}", "samples_jsonl_empty"),
    ] {
        let bench = with_prompts(&prompts, counts);
        let flags = ["--require-samples", "--env", "AIDER_EVAL_LIMIT=12"];
        expect(evaluate(&bench, "http://127.0.0.1:1/v1", &flags), 1);
        let detail = bench.summary()["detail"].as_str().expect("text").to_owned();
        assert!(detail.contains(code), "{code}: {detail}");
    }
    // The predecessor knew the first twenty questions alone.
    let bench = with_prompts(&questions(29, 12), r#"{"samples": 12, "errors": 0}"#);
    let flags = ["--require-samples", "--env", "AIDER_EVAL_LIMIT=12"];
    expect(evaluate(&bench, "http://127.0.0.1:1/v1", &flags), 0);
    // Nobody asked for it.
    let bench = with_prompts(&questions(1, 2), "{}");
    expect(evaluate(&bench, "http://127.0.0.1:1/v1", &[]), 0);
}
