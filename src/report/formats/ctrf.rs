//! CTRF (Common Test Report Format), a JSON of test results.

use serde_json::{Map, Value, json};

use super::cases::{Case, Suite, Verdict, suites, whole_text};
use crate::report::reading::{Preview, RunView};

/// Lines of one stream.
const LINES: usize = 200;

/// The run as CTRF. What has no verdict about the repository is `other`, never `failed`.
pub fn ctrf(run: &RunView) -> Value {
    let suites = suites(run);
    let count = |verdict| suites.iter().map(|suite| suite.count(verdict)).sum::<usize>();
    let start = run.began_ms.unwrap_or(0);
    let took = i64::try_from(run.outcome.ms.unwrap_or(0)).unwrap_or(i64::MAX);
    let tests: Vec<Value> = suites
        .iter()
        .flat_map(|suite| suite.cases.iter().map(|case| test(run, suite, case)))
        .collect();
    json!({
        "reportFormat": "CTRF",
        "specVersion": "0.0.0",
        "runId": run.id,
        "generatedBy": "opencode-fsm",
        "results": {
            "tool": {"name": "opencode-fsm", "version": run.tool_version.as_deref().unwrap_or("unknown")},
            "summary": {
                "tests": tests.len(),
                "passed": count(Verdict::Passed),
                "failed": count(Verdict::Failed),
                "skipped": 0,
                "pending": 0,
                "other": count(Verdict::Broken),
                "suites": suites.len(),
                "start": start,
                "stop": start.saturating_add(took),
                "duration": took,
                "extra": {"reason": run.outcome.reason, "target": run.target},
            },
            "tests": tests,
        },
    })
}

fn test(run: &RunView, suite: &Suite, case: &Case) -> Value {
    let (status, raw) = match case.verdict {
        Verdict::Passed => ("passed", "passed"),
        Verdict::Failed => ("failed", "failed"),
        Verdict::Broken => ("other", "error"),
    };
    let mut test = Map::new();
    let mut put = |name: &str, value: Value| test.insert(name.to_owned(), value);
    put("name", json!(case.name));
    put("status", json!(status));
    put("rawStatus", json!(raw));
    put("duration", json!(case.ms));
    put("suite", json!([suite.name]));
    if !run.contract.is_empty() {
        put("filePath", json!(run.contract));
    }
    if case.verdict != Verdict::Passed {
        put("message", json!(case.message));
    }
    if case.retries > 0 {
        put("retries", json!(case.retries));
        put("flaky", json!(case.verdict == Verdict::Passed));
    }
    for (name, text) in [("stdout", &case.stdout), ("stderr", &case.stderr)] {
        if let Some(text) = text {
            put(name, json!(lines(text)));
        }
    }
    Value::Object(test)
}

fn lines(text: &Preview) -> Vec<String> {
    let text = whole_text(text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(LINES)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}
