//! Suites: side by side, interrupted and resumed, and whose each outcome is.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    endpoint::{Answer, Endpoint},
    program::{Bench, expect, json_file, program},
    target::{completion, until},
};

/// A suite of small targets.
struct Targets {
    bench: Bench,
}

impl Targets {
    fn new() -> Self {
        Self { bench: Bench::new() }
    }

    fn add(&self, name: &str, rollout: &str, metrics: &str) -> &Self {
        let dir = self.bench.path("targets").join(name);
        fs::create_dir_all(&dir).expect("mkdir");
        let contract = format!(
            "rollout:\n  run_cmd: {}\nevaluation:\n  run_cmd: {}\n  metrics_path: .aider_fsm/metrics.json\n  required_keys: [ok, score]\n",
            json!(rollout),
            json!(format!(
                "mkdir -p .aider_fsm; echo '{metrics}' > .aider_fsm/metrics.json"
            ))
        );
        fs::write(dir.join("pipeline.yml"), contract).expect("write");
        self
    }

    /// Forty of them: most pass, some fail, one has no contract.
    fn forty() -> Self {
        let targets = Self::new();
        for number in 0..40 {
            let name = format!("t{number:02}");
            match number {
                7 => targets.add(&name, "exit 3", "{}"),
                17 => targets.add(&name, "true", r#"{"ok": false, "score": 0.5}"#),
                27 => targets.add(&name, "sudo true", "{}"),
                _ => targets.add(
                    &name,
                    "true",
                    &format!(r#"{{"ok": true, "score": {}}}"#, f64::from(number) / 64.0),
                ),
            };
        }
        fs::remove_file(targets.bench.path("targets/t37/pipeline.yml")).expect("rm");
        targets
    }

    fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut list: Vec<String> = fs::read_dir(self.bench.path("targets"))
            .expect("ls")
            .map(|entry| entry.expect("entry").path().display().to_string())
            .collect();
        list.sort();
        fs::write(self.bench.path("list"), format!("# targets\n{}\n", list.join("\n"))).expect("write");
        let mut command = program();
        command
            // These targets measure nothing, and say so.
            .args(["suite", "--llm", "m", "--jobs", "8", "--audit", "off", "--targets-file"])
            .arg(self.bench.path("list"))
            .arg("--artifacts-dir")
            .arg(self.bench.path(out))
            .args(more)
            .env("XDG_CACHE_HOME", self.bench.cache())
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL")
            .env_remove("OPENAI_API_BASE")
            .stdin(Stdio::null());
        command
    }

    /// The only suite below a directory.
    fn suite(&self, out: &str) -> PathBuf {
        let mut suites = fs::read_dir(self.bench.path(out)).expect("suites");
        let suite = suites.next().expect("a suite").expect("entry").path();
        assert!(suites.next().is_none(), "one suite");
        suite
    }
}

/// A document without what differs from one run to the next: times, ids, places.
fn result(mut document: Value) -> Value {
    for field in ["suite_id", "ts"] {
        document[field].take();
    }
    for entry in document["results"].as_array_mut().expect("results") {
        for field in ["artifacts_dir", "wall_ms"] {
            entry[field].take();
        }
    }
    document
}

fn done(record: &PathBuf) -> usize {
    let text = fs::read_to_string(record).unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with(r#"{"line":"target""#))
        .count()
}

#[test]
fn a_suite_that_is_killed_and_resumed_comes_to_what_an_undisturbed_one_does() {
    let targets = Targets::forty();
    let output = expect(targets.command("undisturbed", &[]), 1);
    let undisturbed: Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(
        undisturbed["totals"],
        json!({"targets": 40, "passed": 36, "failed": 4, "infra": 0, "retried": 0})
    );
    assert_eq!(undisturbed, json_file(&targets.suite("undisturbed").join("suite.json")));
    let whose: BTreeMap<String, &Value> = undisturbed["results"]
        .as_array()
        .expect("results")
        .iter()
        .filter(|entry| entry["ok"] == false)
        .map(|entry| {
            (
                entry["target"].as_str().expect("a name")[..]
                    .rsplit('/')
                    .next()
                    .expect("a name")
                    .to_owned(),
                &entry["attribution"],
            )
        })
        .collect();
    let expected = [
        ("t07", "verifier"),
        ("t17", "agent"),
        ("t27", "policy"),
        ("t37", "verifier"),
    ];
    assert_eq!(
        whose,
        expected
            .map(|(name, whose)| (name.to_owned(), whose))
            .iter()
            .map(|(n, w)| (n.clone(), Box::leak(Box::new(json!(w))) as &Value))
            .collect()
    );
    // Killed three times, each after a few more targets; a fourth time it goes to its end.
    let mut suite = None;
    for kills in 1..=3 {
        let more: &[&str] = if kills == 1 { &[] } else { &["--resume", "latest"] };
        let mut child = targets
            .command("killed", more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let before = suite.as_ref().map_or(0, done);
        until("a few targets", || {
            if suite.is_none() && targets.bench.path("killed").is_dir() {
                let found = fs::read_dir(targets.bench.path("killed")).expect("ls").next();
                suite = found.map(|entry| entry.expect("entry").path().join("suite.jsonl"));
            }
            suite.as_ref().map_or(0, done) >= before + 5
        });
        kill(
            Pid::from_raw(i32::try_from(child.id()).expect("a pid")),
            Signal::SIGKILL,
        )
        .expect("kill");
        child.wait().expect("ends");
    }
    assert!(!targets.suite("killed").join("suite.json").exists(), "it is not done");
    let output = expect(targets.command("killed", &["--resume", "latest"]), 1);
    let resumed: Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(result(resumed), result(undisturbed));
    assert_eq!(
        done(&targets.suite("killed").join("suite.jsonl")),
        40,
        "each is counted once"
    );
    // What is done is not run again.
    let output = expect(targets.command("killed", &["--resume", "latest"]), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("40 of them done"));
    assert_eq!(done(&targets.suite("killed").join("suite.jsonl")), 40);
    let refused = expect(
        targets.command("killed", &["--resume", "latest", "--eval-mode", "smoke"]),
        2,
    );
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--eval-mode full"));
}

#[test]
fn a_signal_ends_a_suite_in_order_and_what_was_under_way_does_not_count() {
    let targets = Targets::new();
    targets.add("a", "true", r#"{"ok": true, "score": 1}"#).add(
        "b",
        "test -n \"$GO\" || sleep 1000",
        r#"{"ok": true, "score": 0}"#,
    );
    let child = targets
        .command("out", &["--env", "GO="])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    until("the first target", || {
        let suites = fs::read_dir(targets.bench.path("out")).into_iter().flatten().flatten();
        suites
            .into_iter()
            .any(|suite| done(&suite.path().join("suite.jsonl")) == 1)
    });
    kill(
        Pid::from_raw(i32::try_from(child.id()).expect("a pid")),
        Signal::SIGTERM,
    )
    .expect("kill");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(143));
    let output = expect(targets.command("out", &["--env", "GO=1", "--resume", "latest"]), 0);
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(document["score"], json!({"count": 2, "mean": 0.5}));
}

#[test]
fn what_says_nothing_about_a_target_is_tried_again_and_reported_apart_from_scores() {
    let ask = "python3 -c 'import json, os, urllib.request as u; \
        r = u.Request(os.environ[\"OPENAI_BASE_URL\"] + \"/chat/completions\", json.dumps({\"model\": \"m\"}).encode(), \
        {\"Authorization\": \"Bearer \" + os.environ[\"OPENAI_API_KEY\"]}); print(u.urlopen(r).read())'";
    let targets = Targets::new();
    targets
        .add("asks", ask, r#"{"ok": true, "score": 1}"#)
        .add("plain", "true", r#"{"ok": true, "score": 0.5}"#);
    // Busy the first time, there the second.
    let endpoint = Endpoint::start(Box::new(|number, _| match number {
        0 => Answer::Raw(429, "application/json", "{}"),
        _ => Answer::Raw(200, "application/json", completion("x")),
    }));
    let output = expect(targets.command("once", &["--base-url", &endpoint.base_url]), 0);
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(document["totals"]["retried"], 1);
    let asks = &document["results"][0];
    assert_eq!(asks["retried"][0]["attribution"], "provider", "{asks}");
    assert_eq!((&asks["outcome"], &asks["score"]), (&json!("passed"), &json!(1.0)));
    // Busy for good: no verdict, and no part of the score.
    let endpoint = Endpoint::start(Box::new(|_, _| Answer::Raw(429, "application/json", "{}")));
    let output = expect(
        targets.command("never", &["--base-url", &endpoint.base_url, "--retries", "1"]),
        1,
    );
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(
        document["totals"],
        json!({"targets": 2, "passed": 1, "failed": 0, "infra": 1, "retried": 1})
    );
    assert_eq!(document["score"], json!({"count": 1, "mean": 0.5}));
    let asks = &document["results"][0];
    assert_eq!(
        (&asks["outcome"], &asks["attribution"], &asks["score"]),
        (&json!("infra"), &json!("provider"), &Value::Null)
    );
}
