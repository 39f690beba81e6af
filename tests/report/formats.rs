//! Formats, held against their own schemas and their own packages.

use std::{fs, path::Path, process::Command};

use boon::{Compiler, Schemas};
use serde_json::Value;

use crate::{
    hostile, kit,
    made::Made,
    program::{expect, program},
};

pub fn told(verb: &str, run: &Path, format: &str, to: &Path) {
    let mut command = program();
    command.arg(verb).arg(run).args(["--format", format, "-o"]).arg(to);
    expect(command, 0);
}

/// Runs of every kind: passed, failed, broken off, hostile.
pub fn runs() -> Vec<(Option<Made>, std::path::PathBuf)> {
    let mut all: Vec<(Option<Made>, std::path::PathBuf)> = Vec::new();
    for (reason, exit) in [
        ("DONE", 0),
        ("MAX_ITERS", 1),
        ("SANDBOX_ERROR", 7),
        ("INTERRUPTED", 130),
    ] {
        let mut made = Made::new();
        (1..=4).for_each(|number| made.iteration(number));
        made.end(reason, exit, 4);
        let path = made.path().to_owned();
        all.push((Some(made), path));
    }
    all.extend(hostile::run().map(|run| (None, run.clone())));
    all
}

/// What is wrong with a document by a schema.
fn findings(schema: &Path, document: &Path) -> String {
    let json = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).expect("read")).expect("json") };
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.add_resource("urn:schema", json(schema)).expect("a resource");
    let index = compiler
        .compile("urn:schema", &mut schemas)
        .unwrap_or_else(|why| panic!("{why:#}"));
    match schemas.validate(&json(document), index) {
        Ok(()) => String::new(),
        Err(why) => format!("{why:#}"),
    }
}

#[test]
fn ctrf_and_sarif_hold_to_their_schemas() {
    for (format, schema) in [("ctrf", "ctrf.json"), ("sarif", "sarif.json")] {
        let Some(schema) = kit::part(schema) else { continue };
        let dir = tempfile::tempdir().expect("tempdir");
        let document = dir.path().join("document");
        for (_made, run) in runs() {
            told("report", &run, format, &document);
            assert_eq!(findings(&schema, &document), "", "{format} of {}", run.display());
        }
        // The control: the schema does refuse.
        fs::write(&document, "{\"version\": \"2.1.0\", \"runs\": 7, \"results\": 7}").expect("write");
        assert_ne!(findings(&schema, &document), "");
    }
}

#[test]
fn junit_holds_to_the_usual_schema() {
    let Some(schema) = kit::part("junit.xsd").filter(|_| kit::tool("xmllint")) else {
        return;
    };
    let dir = tempfile::tempdir().expect("tempdir");
    let document = dir.path().join("junit.xml");
    let valid = || {
        let mut command = Command::new("xmllint");
        // A network for a schema is what nobody needs here.
        command
            .args(["--nonet", "--noout", "--huge", "--schema"])
            .arg(&schema)
            .arg(&document);
        let output = command.output().expect("xmllint");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for (_made, run) in runs() {
        told("report", &run, "junit", &document);
        let (holds, why) = valid();
        assert!(holds, "{}: {why}", run.display());
    }
    fs::write(&document, "<testsuites><testcase/></testsuites>").expect("write");
    assert!(!valid().0, "the control");
}

/// Reads each document with the package that its format belongs to.
const READ: &str = r#"
import json, sys
from harbor.models.trajectories import Trajectory
from inspect_ai.log import read_eval_log
dir = sys.argv[1]
atif = Trajectory.model_validate(json.load(open(dir + "/atif.json")))
log = read_eval_log(dir + "/inspect.json")
sample = log.samples[0]
rows = {name: [json.loads(line) for line in open(f"{dir}/{name}.jsonl")] for name in ("sharegpt", "trl", "verl")}
for row in rows["sharegpt"]:
    assert row["conversations"][0]["from"] == "human", row
for row in rows["trl"]:
    assert [m["role"] for m in row["prompt"]] == ["user"] and all(m["role"] in ("assistant", "tool") for m in row["completion"]), row
for row in rows["verl"]:
    assert row["messages"][0]["role"] == "user", row
print(json.dumps({
    "steps": len(atif.steps), "calls": sum(len(s.tool_calls or []) for s in atif.steps), "sources": sorted({s.source for s in atif.steps}),
    "status": log.status, "messages": len(sample.messages), "scored": bool(sample.scores),
    "rows": {name: len(all) for name, all in rows.items()}, "rewards": [row["reward"] for row in rows["trl"]],
}))
"#;

#[test]
fn trajectories_load_in_the_packages_that_they_are_for() {
    let Some(python) = kit::part("python/bin/python") else {
        return;
    };
    let read = |run: &Path| -> Value {
        let dir = tempfile::tempdir().expect("tempdir");
        for (format, name) in [
            ("atif", "atif.json"),
            ("inspect", "inspect.json"),
            ("sharegpt", "sharegpt.jsonl"),
            ("trl", "trl.jsonl"),
            ("verl", "verl.jsonl"),
        ] {
            told("export", run, format, &dir.path().join(name));
        }
        let output = Command::new(&python)
            .args(["-c", READ])
            .arg(dir.path())
            .output()
            .expect("python");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("json")
    };
    for (made, run) in runs() {
        let seen = read(&run);
        if made.is_none() {
            // The hostile run: its first try was taken back, the second one's work failed, what repaired it passed.
            let rewards: Vec<_> = seen["rewards"]
                .as_array()
                .expect("rewards")
                .iter()
                .map(Value::as_f64)
                .collect();
            assert_eq!(rewards[..4], [None, Some(0.0), Some(0.0), None], "{seen}");
            assert!(seen["calls"].as_u64() >= Some(3), "{seen}");
            continue;
        }
        assert_eq!(
            seen["rows"],
            serde_json::json!({"sharegpt": 8, "trl": 8, "verl": 8}),
            "{seen}"
        );
        // A prompt and four messages a turn, of twelve calls; and four verifications.
        assert_eq!(
            (&seen["steps"], &seen["calls"]),
            (&(8 * 5 + 4).into(), &(8 * 12).into()),
            "{seen}"
        );
        let scored = !["SANDBOX_ERROR", "INTERRUPTED"].contains(&reason(&run).as_str());
        assert_eq!(
            seen["scored"], scored,
            "what failed for another than the agent has no score: {seen}"
        );
    }
}

fn reason(run: &Path) -> String {
    let summary = fs::read(run.join("summary.json")).expect("read");
    let summary: Value = serde_json::from_slice(&summary).expect("json");
    summary["exit_reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn a_run_without_an_agent_has_no_trajectory() {
    let mut made = Made::new();
    made.end("VERIFIED", 0, 0);
    let mut command = program();
    command.arg("export").arg(made.path()).args(["--format", "atif"]);
    let refused = expect(command, 2);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("no agent took part"),
        "{refused:?}"
    );
}
