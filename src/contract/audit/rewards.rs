//! Tests, and what a test runner loads by itself, that write what they are measured by.

use super::{
    AuditFinding, AuditRule, AuditedTree, FILES_MAX, finding,
    python::{FILE_MAX, Kind, Token, tokens},
};
use crate::contract::Pipeline;

/// Reward files by habit.
const REWARDS: [&str; 3] = ["reward.txt", "reward.json", "metrics.json"];
/// Names by which a file writes.
const WRITES: [&str; 8] = [
    "dump",
    "open",
    "rename",
    "replace",
    "symlink_to",
    "write",
    "write_bytes",
    "write_text",
];
/// Files that an interpreter or a test runner loads by themselves.
const LOADED: [&str; 3] = ["conftest.py", "sitecustomize.py", "usercustomize.py"];

/// Looks into every test of a tree.
pub(super) fn look(pipeline: &Pipeline, tree: &dyn AuditedTree, findings: &mut Vec<AuditFinding>) {
    let measurements = [&pipeline.evaluation, &pipeline.benchmark].into_iter().flatten();
    let paths: Vec<String> = measurements
        .filter_map(|measurement| measurement.metrics_path.as_ref())
        .map(|path| last_of(&path.to_string()).to_owned())
        .collect();
    if paths.is_empty() {
        return;
    }
    let tests = tree
        .files()
        .into_iter()
        .filter(|path| is_test(last_of(&path.to_string())));
    for path in tests.take(FILES_MAX) {
        let Some(text) = tree.read(&path, FILE_MAX) else {
            continue;
        };
        let tokens = tokens(&text);
        let writes = tokens
            .iter()
            .any(|token| token.kind == Kind::Name && WRITES.contains(&token.text));
        for (at, token) in tokens.iter().enumerate() {
            let named = last_of(token.text);
            let reward = token.kind == Kind::Text
                && writes
                && (REWARDS.contains(&named) || paths.iter().any(|path| path == named));
            if reward {
                let text = format!("it writes, and names `{}`", token.text);
                findings.push(finding(AuditRule::RewardByTests, &path, token.line, &text));
            }
            if let Some(text) = verdict(&tokens[at..]) {
                findings.push(finding(AuditRule::RewardByTests, &path, token.line, text));
            }
        }
    }
}

/// What `.outcome = "passed"` and `.exitstatus = 0` say.
fn verdict(tokens: &[Token<'_>]) -> Option<&'static str> {
    let [dot, name, equals, value, ..] = tokens else {
        return None;
    };
    let assigned = dot.text == "." && equals.text == "=" && equals.kind == Kind::Operator;
    match (assigned, name.text, value.kind, value.text) {
        (true, "outcome", Kind::Text, "passed") => Some("it sets the outcome of a test itself"),
        (true, "exitstatus", Kind::Number, "0") => Some("it sets the exit status of the test run itself"),
        _ => None,
    }
}

fn is_test(name: &str) -> bool {
    LOADED.contains(&name) || (name.ends_with(".py") && (name.starts_with("test_") || name.ends_with("_test.py")))
}

fn last_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
