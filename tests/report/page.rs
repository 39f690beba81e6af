//! The page: its size, its bounds, its words.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    made::Made,
    program::{PROGRAM, expect, program},
};

fn report(run: &std::path::Path, more: &[&str]) -> Command {
    let mut command = program();
    command.arg("report").arg(run).args(more);
    command
}

/// A page on standard output.
fn page(run: &std::path::Path, more: &[&str]) -> String {
    let output = expect(report(run, &[more, &["-o", "-"]].concat()), 0);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The bounds of issue 7: 2 000 iterations, under 3 s and under 5 MB, in little memory.
#[test]
fn a_run_of_two_thousand_iterations_is_a_small_page_made_soon_in_little_memory() {
    let mut made = Made::new();
    for number in 1..=2_000 {
        made.iteration(number);
    }
    made.end("MAX_ITERS", 1, 2_000);
    let out = made.path().join("page.html");
    // Address space in KiB: what is not to grow with the run.
    let script = "ulimit -v 400000; exec \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh", PROGRAM, "report"])
        .arg(made.path())
        .arg("-o")
        .arg(&out);
    let began = Instant::now();
    expect(command, 0);
    let took = began.elapsed();
    let text = fs::read_to_string(&out).expect("a page");
    eprintln!("2000 iterations: {} ms, {} bytes", took.as_millis(), text.len());
    assert!(text.len() < 5_000_000, "{} bytes", text.len());
    // A build without optimisations on a busy machine has more time.
    let most = if cfg!(debug_assertions) { 15 } else { 3 };
    assert!(took < Duration::from_secs(most), "{took:?}");
    // Paging: sheets of a hundred, details of a few, others by name.
    assert_eq!(text.matches("<details class=\"page\"").count(), 20);
    assert!(text.contains("id=\"i1\"") && text.contains("id=\"i1234\"") && text.contains("id=\"i2000\""));
    let shown = text.matches("<details class=\"it\"").count();
    assert!((10..=60).contains(&shown), "{shown}");
    assert!(!text.contains("<details class=\"it\" id=\"i1234\""));
    assert!(page(made.path(), &["--iterations", "1230-1236"]).contains("<details class=\"it\" id=\"i1234\""));
}

#[test]
fn what_is_missing_broken_or_of_another_type_is_said_and_never_fatal() {
    // A directory that holds nothing but a journal's beginning.
    let made = Made::new();
    made.file(
        "journal.jsonl",
        "{\"seq\":0,\"ts\":\"2026-11-26T00:00:00Z\",\"event\":\"run\",\"fields\":{\"id\":\"made\"}}\n{\"cut",
    );
    let text = page(made.path(), &[]);
    assert!(
        text.contains("Not ended") && text.contains("1 lines are too long or no JSON"),
        "{text}"
    );
    // Every known file with something else in it.
    let mut made = Made::new();
    made.iteration(1);
    made.end("DONE", 0, 1);
    let files = [
        "summary.json",
        "state.json",
        "versions.json",
        "turns/0001-plan_update_attempt_1.json",
        "iter_0001/summary.json",
        "iter_0001/tests_cmd01_try01_result.json",
        "turns/0002-execute_step.events.jsonl",
        "model.jsonl",
        "egress.jsonl",
        "guard/0001-x.json",
    ];
    let wrong = [
        json!(null),
        json!([1, 2]),
        json!("x"),
        json!({"stages": 7, "ok": "yes", "metrics": [[]], "plan": 3, "refused": {"a": 1}, "walls": [],
        "exit_code": -1, "usage": "much", "properties": {"part": {"type": "tool", "id": 1}}, "port": "x", "wall_ms": 1e300}),
    ];
    for file in files {
        for value in &wrong {
            let before = fs::read(made.path().join(file)).ok();
            made.json(file, value);
            for format in ["html", "junit", "ctrf", "sarif", "github", "markdown", "json"] {
                let mut command = report(made.path(), &["--format", format, "-o", "-"]);
                command.env_remove("GITHUB_STEP_SUMMARY");
                expect(command, 0);
            }
            match before {
                Some(bytes) => drop(made.file(file, bytes)),
                None => fs::remove_file(made.path().join(file)).expect("remove"),
            }
        }
    }
}

#[test]
fn the_same_run_is_told_with_the_same_words() {
    let mut made = Made::new();
    made.iteration(1);
    made.iteration(3);
    made.json("guard/0001-execute_step.json", &json!({"phase": "execute-step", "refused": [
        {"change": {"path": "pipeline.yml", "kind": "modified"}, "ruling": "violation", "because": "the contract is not the agent's"},
        {"change": {"path": ".git/HEAD", "kind": "modified"}, "ruling": "dropped", "because": "commits change nothing"}]}));
    made.file(
        "guard/0001-execute_step.patch",
        "diff --git a/pipeline.yml b/pipeline.yml\n-a\n+b\n",
    );
    made.line("guard", &json!({"evidence": "guard/0001-execute_step.patch"}));
    made.file("egress.jsonl", "{\"host\":\"evil.example\",\"port\":443,\"verdict\":\"refused\",\"reason\":\"no-rule\",\"why\":\"no rule is about the host\",\"up\":0,\"down\":0,\"repeated\":4}\n");
    made.end("MAX_ITERS", 1, 2);
    let told = |format: &str| {
        let mut command = report(made.path(), &["--format", format]);
        command.env_remove("GITHUB_STEP_SUMMARY").env_remove("GITHUB_WORKSPACE");
        String::from_utf8(expect(command, 0).stdout).expect("UTF-8")
    };
    assert_eq!(
        told("github"),
        "::error file=pipeline.yml,title=run-failed::MAX_ITERS: as made\n\
         ::error file=pipeline.yml,title=verification-failed::tests: `make test` exited 1\n\
         ::error file=pipeline.yml,title=guard-violation::modified in execute-step: the contract is not the agent's\n\
         ::warning title=policy-host-refused::evil.example:443 was asked for 5 times and refused: no rule is about the host\n\
         ::notice file=.git/HEAD,title=guard-dropped::modified in execute-step: commits change nothing\n"
    );
    let junit = told("junit");
    assert!(
        junit.contains("<testsuites name=\"opencode-fsm\" tests=\"2\" failures=\"2\" errors=\"0\""),
        "{junit}"
    );
    assert!(
        junit.contains("<failure type=\"verifier\" message=\"exited 1\">exited 1</failure>"),
        "{junit}"
    );
    let json: Value = serde_json::from_str(&told("json")).expect("json");
    let mut command = program();
    command.args(["schema", "report"]);
    let schema: Value = serde_json::from_slice(&expect(command, 0).stdout).expect("json");
    let (mut compiler, mut schemas) = (boon::Compiler::new(), boon::Schemas::new());
    compiler.add_resource("urn:schema", schema).expect("a resource");
    let index = compiler.compile("urn:schema", &mut schemas).expect("a schema");
    schemas.validate(&json, index).unwrap_or_else(|why| panic!("{why:#}"));
    assert_eq!(
        json["metrics"][0],
        json!({"name": "score", "points": [[1, 0.01], [3, 0.03]]})
    );
    assert_eq!(
        (&json["totals"]["tool_calls"], &json["totals"]["cost"]),
        (&json!(12), &json!(0.008))
    );
    assert_eq!(json["timeline"].as_array().map(Vec::len), Some(8));
    assert_eq!(json["network"]["refused"], 5);
    let page = told_page(&made);
    for words in [
        "phase repeated",
        "evil.example:443",
        "no rule is about the host",
        "exited 1",
        "4\u{202f}000 in",
        "step 3 of many",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(told("markdown").starts_with("## ❌ opencode-fsm: MAX\\_ITERS\n\nas made\n"));
}

fn told_page(made: &Made) -> String {
    page(made.path(), &[])
}
