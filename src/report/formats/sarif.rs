//! SARIF 2.1.0 (OASIS): the findings of the guard and of policy.

use serde_json::{Map, Value, json};

use super::findings::{Finding, Level, RULES, findings};
use crate::report::reading::{Ending, RunView};

/// The run as SARIF.
pub fn sarif(run: &RunView) -> Value {
    let (found, more) = findings(run);
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "name": rule.name,
                "shortDescription": {"text": rule.about},
                "defaultConfiguration": {"level": level(rule.level)},
            })
        })
        .collect();
    let mut invocation = Map::new();
    invocation.insert(
        "executionSuccessful".to_owned(),
        json!(run.outcome.ending == Ending::Passed),
    );
    if let Some(code) = run.outcome.exit_code {
        invocation.insert("exitCode".to_owned(), json!(code));
        invocation.insert("exitCodeDescription".to_owned(), json!(run.outcome.reason));
    }
    if let Some(began) = &run.began {
        invocation.insert("startTimeUtc".to_owned(), json!(began));
    }
    let results: Vec<Value> = found.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "opencode-fsm",
                "version": run.tool_version.as_deref().unwrap_or("unknown"),
                "rules": rules,
            }},
            "automationDetails": {"id": format!("opencode-fsm/{}", run.id)},
            "invocations": [invocation],
            "columnKind": "unicodeCodePoints",
            "results": results,
            "properties": {"target": run.target, "findingsLeftOut": more},
        }],
    })
}

fn result(finding: &Finding) -> Value {
    let index = RULES.iter().position(|rule| rule.id == finding.rule.id);
    let mut location = Map::new();
    if let Some(file) = &finding.file {
        let mut place = json!({"artifactLocation": {"uri": uri(file), "uriBaseId": "%SRCROOT%"}});
        if let Some(line) = finding.line {
            place["region"] = json!({"startLine": line});
        }
        location.insert("physicalLocation".to_owned(), place);
    }
    if let Some(subject) = &finding.subject {
        location.insert(
            "logicalLocations".to_owned(),
            json!([{"name": subject, "kind": "resource"}]),
        );
    }
    let locations: Vec<Value> = if location.is_empty() {
        Vec::new()
    } else {
        vec![Value::Object(location)]
    };
    let told = [
        finding.rule.id,
        finding.file.as_deref().unwrap_or_default(),
        finding.subject.as_deref().unwrap_or_default(),
        &finding.message,
    ];
    json!({
        "ruleId": finding.rule.id,
        "ruleIndex": index,
        "level": level(finding.rule.level),
        "message": {"text": finding.message},
        "locations": locations,
        // The same finding of another run is the same finding.
        "partialFingerprints": {"opencodeFsm/v1": blake3::hash(told.join("\0").as_bytes()).to_hex().as_str()},
        "properties": {"evidence": finding.evidence},
    })
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

/// A path as a relative reference (RFC 3986, 4.2).
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
