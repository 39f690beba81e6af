//! Runs against a real endpoint on the loopback: where the key goes, what is recorded, what bounds it.

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/program.rs"]
mod program;

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use endpoint::{Answer, Endpoint};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use program::{Bench, expect, holding, init_with, json_file, opencode, process_status};
use serde_json::{Value, json};

const KEY: &str = "sk-test-0123456789abcdefghijkl";

/// A repository whose one step wants the file `made`.
fn repository() -> Bench {
    let bench = Bench::new();
    bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: test -f made\n").file(
        "PLAN.md",
        "# PLAN\n\n## Goal\n- x\n\n## Acceptance\n- [ ] TEST_CMD passes: `test -f made`\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID=001) make it\n\n## Backlog\n\n## Done\n\n## Notes\n-\n",
    );
    bench
}

fn run(bench: &Bench, endpoint: &Endpoint, more: &[&str]) -> Command {
    let fixed = [
        "run",
        "--json",
        "--opencode-bash",
        "full",
        "--model",
        "test/model-7",
        "--base-url",
        &endpoint.base_url,
    ];
    let mut command = bench.command(&[&fixed[..], more].concat(), "repo");
    command.env("OPENAI_API_KEY", KEY);
    command
}

#[test]
fn the_key_reaches_the_endpoint_and_nothing_else_and_the_recording_plays() {
    if !opencode() {
        return;
    }
    let endpoint = Endpoint::start(Box::new(|_, body| {
        // The agent looks for a key wherever it can, and shows what it finds.
        let search = "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; grep -r sk-test /home /tmp /workspace 2>/dev/null; touch made";
        let is_step = body.contains("Carry out one step") && !body.contains("\"role\":\"tool\"");
        let tool = is_step.then(|| ("bash", json!({"command": search, "description": "look"})));
        Answer::Say("done", tool)
    }));
    let bench = repository();
    let cassette = bench.path("recorded.jsonl");
    let record = cassette.display().to_string();
    expect(
        run(
            &bench,
            &endpoint,
            &["--record-cassette", &record, "--max-iters", "2", "--max-fix", "1"],
        ),
        0,
    );
    let requests = endpoint.requests.lock().expect("lock").clone();
    assert!(requests.len() >= 4, "{}", requests.len());
    for (head, body) in &requests {
        assert!(
            head.to_ascii_lowercase()
                .contains(&format!("authorization: bearer {KEY}")),
            "{head}"
        );
        assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
        assert!(
            body.contains("\"model-7\"") && !body.contains(KEY),
            "the model is the user's, the key is not in the body"
        );
    }
    let run_dir = bench.the_run();
    assert_eq!(
        holding(&run_dir, KEY),
        Vec::<std::path::PathBuf>::new(),
        "no file of the run holds the key"
    );
    assert_eq!(
        holding(&bench.path("recorded.jsonl"), KEY),
        Vec::<std::path::PathBuf>::new()
    );
    assert!(
        !holding(&run_dir.join("turns"), "OPENCODE_SERVER_PASSWORD").is_empty(),
        "the control: the search did find the environment"
    );
    let usage = &bench.summary()["usage"];
    assert_eq!(usage["calls"], requests.len());
    assert_eq!(usage["input_tokens"], 70 * requests.len());

    // Played back, without the endpoint, the run comes to the same.
    let again = repository();
    let model = format!("cassette:{record}");
    expect(
        again.command(&["run", "--json", "--opencode-bash", "full", "--model", &model], "repo"),
        0,
    );
    assert_eq!(again.summary()["changes"], bench.summary()["changes"]);
    assert_eq!(requests.len(), endpoint.requests.lock().expect("lock").len());
}

#[test]
fn an_answer_that_is_no_event_stream_costs_a_bounded_number_of_calls() {
    if !opencode() {
        return;
    }
    let endpoint = Endpoint::start(Box::new(|_, _| Answer::Raw(200, "text/html", "<html>Sign in</html>")));
    let bench = repository();
    expect(run(&bench, &endpoint, &[]), 8);
    let calls = endpoint.requests.lock().expect("lock").len();
    assert!((1..=12).contains(&calls), "three failed turns, {calls} calls");
    let summary = bench.summary();
    assert_eq!(summary["exit_reason"], "AGENT_ERROR");
    assert_eq!(
        (&summary["blame"], blamed(&bench)),
        (&json!("provider"), vec![json!("provider"); 3])
    );
    assert_eq!(summary["evidence"], "model.jsonl");
}

#[test]
fn a_model_that_never_stops_is_stopped_by_the_budget() {
    if !opencode() {
        return;
    }
    let endpoint = Endpoint::start(Box::new(|_, _| {
        Answer::Say(
            "again",
            Some(("bash", json!({"command": "date +%N", "description": "x"}))),
        )
    }));
    let bench = repository();
    expect(run(&bench, &endpoint, &["--max-calls", "7"]), 6);
    assert_eq!(
        endpoint.requests.lock().expect("lock").len(),
        7,
        "the eighth call was never made"
    );
    assert_eq!(bench.summary()["exit_reason"], "BUDGET");
    // The same for one turn: it is aborted, tried again, and given up.
    let endpoint = Endpoint::start(Box::new(|_, _| {
        Answer::Say(
            "again",
            Some(("bash", json!({"command": "date +%N", "description": "x"}))),
        )
    }));
    let bench = repository();
    expect(run(&bench, &endpoint, &["--turn-max-calls", "3"]), 6);
    assert_eq!(
        endpoint.requests.lock().expect("lock").len(),
        9,
        "three turns of three calls"
    );
    let summary = bench.summary();
    assert_eq!(summary["exit_reason"], "TURN_TIMEOUT");
    assert_eq!(
        (&summary["blame"], blamed(&bench)),
        (&json!("budget"), vec![json!("budget"); 3])
    );
}

#[test]
fn a_turn_that_hangs_is_aborted_at_its_cap_and_what_it_ran_is_gone() {
    if !opencode() {
        return;
    }
    let endpoint = Endpoint::start(Box::new(|number, body| {
        let hang = number == 0 && !body.contains("\"role\":\"tool\"");
        let made = body.contains("Carry out one step") && !body.contains("\"role\":\"tool\"");
        let command = if hang {
            "touch half; setsid sleep 1000 & sleep 1000"
        } else {
            "touch made"
        };
        Answer::Say(
            "x",
            (hang || made).then(|| ("bash", json!({"command": command, "description": "x"}))),
        )
    }));
    let bench = repository();
    expect(run(&bench, &endpoint, &["--stall-timeout", "15"]), 0);
    let summary = bench.summary();
    let changed: Vec<_> = summary["changes"]
        .as_array()
        .expect("list")
        .iter()
        .map(|c| c["path"].clone())
        .collect();
    assert_eq!(changed, ["PLAN.md", "made"], "what the aborted turn did was taken back");
    assert!(!holding(&bench.the_run().join("turns"), "\"end\": \"stalled\"").is_empty());
    assert_eq!(blamed(&bench)[..2], [json!("budget"), Value::Null]);
}

/// Whom each turn's record names, in order; each named one with evidence that is there.
fn blamed(bench: &Bench) -> Vec<Value> {
    let turns = fs::read_dir(bench.the_run().join("turns")).expect("turns");
    let mut records: Vec<_> = turns
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    records.sort();
    let named = |record: Value| {
        if !record["blame"].is_null() {
            let place = record["evidence"].as_str().expect("a place");
            assert!(bench.the_run().join(place).is_file(), "{record}");
            assert!(record["reason"].is_string(), "{record}");
        }
        record["blame"].clone()
    };
    records.iter().map(|path| named(json_file(path))).collect()
}

/// A run under whose agent the sandbox is killed during the first `times` model calls.
fn with_a_sandbox_that_dies(bench: &Bench, times: usize, more: &[&str]) -> Option<i32> {
    let host = Arc::new(AtomicU32::new(0));
    let victim = host.clone();
    let endpoint = Endpoint::start(Box::new(move |number, body| {
        if number < times {
            let serves = |pid| process_status(pid, "Name:").is_some_and(|name| name.starts_with("opencode"));
            let init = init_with(victim.load(Ordering::Relaxed), &serves).expect("the agent's sandbox");
            kill(init, Signal::SIGKILL).expect("kill");
        }
        let step = body.contains("Carry out one step") && !body.contains("\"role\":\"tool\"");
        Answer::Say(
            "x",
            step.then(|| ("bash", json!({"command": "touch made", "description": "x"}))),
        )
    }));
    let mut child = run(bench, &endpoint, more).spawn().expect("starts");
    host.store(child.id(), Ordering::Relaxed);
    child.wait().expect("ends").code()
}

#[test]
fn a_sandbox_that_dies_under_a_turn_is_replaced_and_counts_against_nothing() {
    if !opencode() {
        return;
    }
    let bench = repository();
    // One fix and one failed turn would be one too many.
    let code = with_a_sandbox_that_dies(&bench, 2, &["--max-iters", "2", "--max-fix", "0"]);
    let summary = bench.summary();
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!((&summary["guard_events"], &summary["blame"]), (&json!(0), &Value::Null));
    let blamed = blamed(&bench);
    assert_eq!(blamed[..3], [json!("sandbox"), json!("sandbox"), Value::Null]);
    assert!(blamed[3..].iter().all(Value::is_null), "{blamed:?}");
}

#[test]
fn sandboxes_that_keep_dying_end_the_run_as_the_sandboxes_fault() {
    if !opencode() {
        return;
    }
    let bench = repository();
    let code = with_a_sandbox_that_dies(&bench, usize::MAX, &[]);
    let summary = bench.summary();
    assert_eq!(
        (code, &summary["exit_reason"]),
        (Some(7), &json!("SANDBOX_ERROR")),
        "{summary}"
    );
    assert_eq!(
        (&summary["blame"], blamed(&bench)),
        (&json!("sandbox"), vec![json!("sandbox"); 3])
    );
    let place = summary["evidence"].as_str().expect("a place");
    assert!(bench.the_run().join(place).is_file(), "{summary}");
}

#[test]
fn a_turn_that_is_broken_off_says_by_whom() {
    if !opencode() {
        return;
    }
    let broken_off = |interrupt: bool, more: &[&str]| {
        let bench = repository();
        let host = Arc::new(AtomicU32::new(0));
        let ours = host.clone();
        let endpoint = Endpoint::start(Box::new(move |_, _| {
            if interrupt {
                let pid = i32::try_from(ours.load(Ordering::Relaxed)).expect("a pid");
                kill(Pid::from_raw(pid), Signal::SIGINT).expect("kill");
            }
            Answer::Say(
                "x",
                Some(("bash", json!({"command": "sleep 1000", "description": "x"}))),
            )
        }));
        let mut child = run(&bench, &endpoint, more).spawn().expect("starts");
        host.store(child.id(), Ordering::Relaxed);
        let code = child.wait().expect("ends").code();
        (code, bench.summary()["blame"].clone(), blamed(&bench))
    };
    let user = json!("user");
    assert_eq!(broken_off(true, &[]), (Some(130), user.clone(), vec![user]));
    let budget = json!("budget");
    assert_eq!(
        broken_off(false, &["--timeout", "8"]),
        (Some(6), budget.clone(), vec![budget])
    );
}
