//! What an agent's tools did in a turn, read from its events. Every one of them is hostile
//! input.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::escape;

/// Most calls of one turn.
const CALLS: usize = 500;
/// Most of the events that are read, in bytes.
const BYTES: u64 = 16 << 20;
/// Characters of one call's input.
const INPUT: usize = 400;

/// One call of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// The tool.
    pub tool: String,
    /// `completed`, `error`, or where it was left.
    pub status: String,
    /// What it was given, as JSON, escaped and cut.
    pub input: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// The calls of a turn, in their order; what cannot be read is left out.
pub(super) fn read(events: &Path) -> Vec<Call> {
    let Ok(file) = File::open(events) else {
        return Vec::new();
    };
    let (mut order, mut calls) = (Vec::new(), BTreeMap::new());
    for line in BufReader::new(file.take(BYTES)).split(b'\n').map_while(Result::ok) {
        let Ok(event) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        let part = &event["properties"]["part"];
        let (Some(id), true) = (part["id"].as_str(), part["type"] == "tool") else {
            continue;
        };
        if !calls.contains_key(id) {
            if order.len() >= CALLS {
                continue;
            }
            order.push(id.to_owned());
        }
        calls.insert(id.to_owned(), call(part));
    }
    order.iter().filter_map(|id| calls.remove(id)).collect()
}

fn call(part: &Value) -> Call {
    let state = &part["state"];
    let text = |value: &Value, most: usize| escape(value.as_str().unwrap_or_default().as_bytes(), most);
    Call {
        tool: text(&part["tool"], 40),
        status: text(&state["status"], 20),
        input: escape(state["input"].to_string().as_bytes(), INPUT),
        error: state["error"].is_string().then(|| text(&state["error"], INPUT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_each_call_counts_and_nonsense_is_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("events.jsonl");
        let part = |id: &str, status: &str| {
            serde_json::json!({"type": "message.part.updated", "properties": {"part": {"id": id, "type": "tool",
                "tool": "bash\u{1b}", "state": {"status": status, "input": {"command": "ls"}, "error": "no"}}}})
        };
        let lines = [
            part("b", "running").to_string(),
            "nonsense".to_owned(),
            part("a", "completed").to_string(),
            part("b", "error").to_string(),
        ];
        std::fs::write(&path, lines.join("\n")).expect("write");
        let calls = read(&path);
        let told: Vec<_> = calls
            .iter()
            .map(|call| (call.tool.as_str(), call.status.as_str()))
            .collect();
        assert_eq!(told, [("bash\\u{1b}", "error"), ("bash\\u{1b}", "completed")]);
        assert!(calls[0].input.contains("ls") && calls[0].error.as_deref() == Some("no"));
        assert!(read(&dir.path().join("none")).is_empty());
    }
}
