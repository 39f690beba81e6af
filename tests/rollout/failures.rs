//! Model calls that fail: made again, then `infra`; and what of a half-done rollout is kept.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    endpoint::{Answer, Endpoint},
    program::{Bench, expect, program},
    target::{KEY, call, dataset, evaluate, hens, right, rollout, samples},
};

const JSON: &str = "application/json";

#[test]
fn calls_that_fail_in_passing_are_made_again() {
    let endpoint = Endpoint::start(Box::new(|number, body| match number {
        0 => Answer::Raw(429, JSON, "{}"),
        1 => Answer::Raw(200, "text/html", "<html>Sign in</html>"),
        2 => Answer::Raw(200, JSON, r#"{"choices": []}"#),
        4 => {
            // Longer than a call may take.
            std::thread::sleep(Duration::from_secs(4));
            Answer::Raw(200, JSON, "{}")
        }
        6 => Answer::Raw(503, JSON, "busy"),
        _ => Answer::Raw(200, JSON, right(body)),
    }));
    let bench = dataset(
        3,
        "rollout:\n  generic: {concurrency: 1, retries: 3, call_seconds: 3}\n",
    );
    expect(evaluate(&bench, &endpoint.base_url, &["--require-samples"]), 0);
    let tries: Vec<Value> = samples(&call(&bench))
        .iter()
        .map(|sample| sample["meta"]["tries"].clone())
        .collect();
    assert_eq!(tries, [4, 2, 2], "three of all kinds, a slow one, and a busy one");
    assert_eq!(rollout(&call(&bench))["counts"]["errors"], 0);
    // What fails after it is not the provider's.
    let endpoint = Endpoint::start(Box::new(|number, body| match number {
        0 => Answer::Raw(429, JSON, "{}"),
        _ => Answer::Raw(200, JSON, right(body)),
    }));
    let bench = dataset(1, "rollout:\n  generic: true\n");
    bench.file("evaluate.py", "raise SystemExit(4)\n");
    expect(evaluate(&bench, &endpoint.base_url, &[]), 1);
    assert_eq!(bench.summary()["blame"], "verifier");
}

#[test]
fn a_provider_that_fails_for_good_is_to_blame_and_nothing_is_worth_0() {
    let endpoint = Endpoint::start(Box::new(|_, body| match hens(body) {
        2 => Answer::Raw(500, JSON, "{}"),
        _ => Answer::Raw(200, JSON, right(body)),
    }));
    let bench = dataset(4, "rollout:\n  generic: {retries: 1}\n");
    expect(evaluate(&bench, &endpoint.base_url, &[]), 8);
    let summary = bench.summary();
    assert_eq!(
        (&summary["blame"], &summary["metrics"]),
        (&json!("provider"), &Value::Null)
    );
    assert!(!call(&bench).join("samples.jsonl").exists());
    let place = summary["evidence"].as_str().expect("a place");
    let errors = fs::read_to_string(bench.the_run().join(place)).expect("errors");
    assert!(
        errors.contains("status 500") && errors.contains("\"tries\":2"),
        "{errors}"
    );
    // A contract may take some of it: what failed is counted, and no sample.
    let bench = dataset(4, "rollout:\n  generic: {retries: 0, max_errors: 1}\n");
    expect(evaluate(&bench, &endpoint.base_url, &[]), 0);
    assert_eq!(
        rollout(&call(&bench))["counts"],
        json!({"samples": 3, "correct": 3, "errors": 1, "resumed": 0})
    );
    assert_eq!(
        bench.summary()["metrics"]["score"],
        1.0,
        "the mean is over what was answered"
    );
    assert!(samples(&call(&bench)).iter().all(|sample| sample["reward"] == 1.0));
    // Where nothing is answered there is no rollout, whatever may fail.
    let endpoint = Endpoint::start(Box::new(|_, _| {
        Answer::Raw(401, JSON, r#"{"error": {"message": "no such key"}}"#)
    }));
    let bench = dataset(2, "rollout:\n  generic: {max_errors: 100}\n");
    expect(evaluate(&bench, &endpoint.base_url, &[]), 8);
    assert_eq!(
        endpoint.requests.lock().expect("lock").len(),
        2,
        "a key that is refused is refused again"
    );
}

#[test]
fn without_a_model_it_is_the_users_affair() {
    let bench = dataset(2, "rollout:\n  generic: true\n");
    expect(evaluate(&bench, "", &[]), 1);
    let summary = bench.summary();
    assert_eq!(summary["blame"], "user");
    assert!(
        summary["detail"].as_str().expect("text").contains("missing_model"),
        "{summary}"
    );
    let bench = dataset(2, "rollout:\n  generic: true\n");
    expect(
        evaluate(&bench, "http://127.0.0.1:1/v1", &["--env", "AIDER_EVAL_LIMIT=some"]),
        1,
    );
    assert_eq!(bench.summary()["blame"], "user");
}

#[test]
fn a_budget_of_calls_ends_it_as_a_budget() {
    let endpoint = Endpoint::start(Box::new(|_, body| Answer::Raw(200, JSON, right(body))));
    let bench = dataset(8, "rollout:\n  generic: true\n");
    let policy = bench.path("policy.yml");
    fs::write(&policy, "version: 1\nagent:\n  calls: 3\n").expect("write");
    let shown = policy.display().to_string();
    expect(evaluate(&bench, &endpoint.base_url, &["--policy", &shown]), 1);
    assert_eq!(bench.summary()["blame"], "budget");
    assert_eq!(endpoint.requests.lock().expect("lock").len(), 3);
}

/// A session, spoken to by hand.
struct Session {
    child: Child,
    stdout: BufReader<ChildStdout>,
    id: u64,
}

impl Session {
    fn start(bench: &Bench, base_url: &str) -> Self {
        let mut command = program();
        command
            .args(["env", "serve", "--base-url", base_url, "--artifacts-dir"])
            .arg(bench.path("runs"))
            .env("XDG_CACHE_HOME", bench.cache())
            .env("OPENAI_API_KEY", KEY);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut session = Self { child, stdout, id: 0 };
        let target = bench.path("repo").display().to_string();
        let set_up = session.ask("setup", json!({"target": target}));
        assert_eq!(set_up["session"], "s1");
        session
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        let request = json!({"id": self.id, "method": method, "params": params});
        writeln!(self.child.stdin.as_mut().expect("open"), "{request}").expect("write");
        loop {
            let mut line = String::new();
            assert!(
                self.stdout.read_line(&mut line).expect("read") > 0,
                "the server is gone"
            );
            let reply: Value = serde_json::from_str(&line).expect("json");
            if reply.get("event").is_none() && reply["id"] == self.id {
                assert!(reply["error"].is_null(), "{reply}");
                return reply["result"].clone();
            }
        }
    }

    fn rollout(&mut self) -> Value {
        self.ask(
            "rollout",
            json!({"session": "s1", "llm": {"id": "m"}, "require_samples": true}),
        )
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn counts(result: &Value) -> Value {
    let path = result["rollout_path"].as_str().expect("a path");
    let text = fs::read(path).expect("a rollout");
    serde_json::from_slice::<Value>(&text).expect("json")["counts"].clone()
}

#[test]
fn a_half_done_rollout_is_gone_on_with_and_a_complete_one_is_not() {
    let failing_from = Arc::new(AtomicUsize::new(3));
    let from = failing_from.clone();
    let endpoint = Endpoint::start(Box::new(move |number, body| {
        match number >= from.load(Ordering::SeqCst) {
            true => Answer::Raw(503, JSON, "{}"),
            false => Answer::Raw(200, JSON, right(body)),
        }
    }));
    let bench = dataset(8, "rollout:\n  generic: {concurrency: 1, retries: 0}\n");
    let mut session = Session::start(&bench, &endpoint.base_url);
    let first = session.rollout();
    assert_eq!(
        (&first["ok"], &first["verify"]["blame"]),
        (&json!(false), &json!("provider")),
        "{first}"
    );
    let asked = || endpoint.requests.lock().expect("lock").len();
    assert_eq!(asked(), 4, "none is begun after one has failed");
    failing_from.store(usize::MAX, Ordering::SeqCst);
    let second = session.rollout();
    assert_eq!(second["ok"], true, "{second}");
    assert_eq!(
        counts(&second),
        json!({"samples": 8, "correct": 8, "errors": 0, "resumed": 3})
    );
    assert_eq!(asked(), 4 + 5, "only what was missing");
    // The control: a model may have learned since.
    let third = session.rollout();
    assert_eq!(
        counts(&third),
        json!({"samples": 8, "correct": 8, "errors": 0, "resumed": 0})
    );
    assert_eq!(asked(), 4 + 5 + 8);
}
