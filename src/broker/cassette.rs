//! Cassettes: model traffic as JSON lines, keyed by turn, occurrence and call.
//!
//! The first line is `{"cassette":1}`. An entry holds either what was recorded
//! (`recorded`) or, in one written by hand, what the model is to say (`reply`),
//! from which the event stream of a chat completion is made.

use std::{collections::HashMap, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{BrokerError, meter::CallId};

/// Largest cassette.
const MAX_BYTES: u64 = 256 << 20;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub cassette: u32,
}

/// One line: the first is the header.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "for its schema")]
pub(super) enum Line {
    Header(Header),
    Entry(Box<Entry>),
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub turn: String,
    #[serde(default = "one")]
    pub occurrence: u32,
    #[serde(default = "one")]
    pub call: u32,
    /// Texts that the request must hold: a cassette that no longer fits says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

fn one() -> u32 {
    1
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    #[serde(default)]
    pub text: String,
    #[serde(default)]
    pub tools: Vec<Tool>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tool {
    pub name: String,
    pub arguments: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// A cassette that is being played.
pub(super) struct Player(HashMap<CallId, Entry>);

impl Player {
    pub fn open(path: &Path) -> Result<Self, BrokerError> {
        let io = |why: std::io::Error| BrokerError::Config(format!("cassette {}: {why}", path.display()));
        if std::fs::metadata(path).map_err(io)?.len() > MAX_BYTES {
            return Err(BrokerError::Config(format!(
                "{} is larger than {MAX_BYTES} bytes",
                path.display()
            )));
        }
        Self::parse(&path.display().to_string(), &std::fs::read_to_string(path).map_err(io)?)
    }

    pub fn parse(path: &str, text: &str) -> Result<Self, BrokerError> {
        let fault = |line: usize, why: String| BrokerError::Cassette {
            path: path.to_owned(),
            line,
            why,
        };
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().ok_or_else(|| fault(1, "it is empty".to_owned()))?;
        let header: Header = serde_json::from_str(first).map_err(|e| fault(1, e.to_string()))?;
        if header.cassette != 1 {
            return Err(fault(1, format!("version {} is not 1", header.cassette)));
        }
        let mut entries = HashMap::new();
        for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let entry: Entry = serde_json::from_str(line).map_err(|e| fault(at + 1, e.to_string()))?;
            if entry.reply.is_some() == entry.recorded.is_some() {
                return Err(fault(
                    at + 1,
                    "exactly one of `reply` and `recorded` is needed".to_owned(),
                ));
            }
            let id = CallId {
                turn: entry.turn.clone(),
                occurrence: entry.occurrence,
                call: entry.call,
            };
            if entries.insert(id, entry).is_some() {
                return Err(fault(at + 1, "the same call stands there twice".to_owned()));
            }
        }
        Ok(Self(entries))
    }

    /// The answer to a call, or why there is none.
    pub fn play(&self, id: &CallId, request: &[u8]) -> Result<Recorded, String> {
        let CallId { turn, occurrence, call } = id;
        let entry = self
            .0
            .get(id)
            .ok_or_else(|| format!("the cassette holds no call {call} of `{turn}` number {occurrence}"))?;
        let shown = String::from_utf8_lossy(request);
        // The request is JSON: what is expected is compared in its escaped form too.
        let missing = entry.expect.iter().find(|text| {
            let escaped = Value::String((*text).clone()).to_string();
            !shown.contains(text.as_str()) && !shown.contains(escaped.trim_matches('"'))
        });
        match (missing, &entry.recorded, &entry.reply) {
            (Some(text), ..) => Err(format!("call {call} of `{turn}` number {occurrence} lacks `{text}`")),
            (None, Some(recorded), _) => Ok(recorded.clone()),
            (None, None, Some(reply)) => Ok(speak(id, reply)),
            (None, None, None) => Err("an empty entry".to_owned()),
        }
    }
}

/// A chat completion as an event stream, the way OpenAI's API sends one.
fn speak(id: &CallId, reply: &Reply) -> Recorded {
    let name = format!("{}-{}-{}", id.turn, id.occurrence, id.call);
    let mut body = String::new();
    let mut chunk = |delta: Value, finish: Value| {
        let event = json!({
            "id": format!("chatcmpl-{name}"), "object": "chat.completion.chunk", "created": 0, "model": "cassette",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        body.push_str(&format!("data: {event}\n\n"));
    };
    chunk(json!({"role": "assistant", "content": reply.text}), Value::Null);
    for (index, tool) in reply.tools.iter().enumerate() {
        let call = json!({
            "index": index, "id": format!("call_{name}_{index}"), "type": "function",
            "function": {"name": tool.name, "arguments": tool.arguments.to_string()},
        });
        chunk(json!({"tool_calls": [call]}), Value::Null);
    }
    chunk(
        json!({}),
        json!(if reply.tools.is_empty() { "stop" } else { "tool_calls" }),
    );
    let usage = json!({
        "id": format!("chatcmpl-{name}"), "object": "chat.completion.chunk", "created": 0, "model": "cassette",
        "choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    });
    body.push_str(&format!("data: {usage}\n\ndata: [DONE]\n\n"));
    Recorded {
        status: 200,
        content_type: "text/event-stream".to_owned(),
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(turn: &str, call: u32) -> CallId {
        CallId {
            turn: turn.to_owned(),
            occurrence: 1,
            call,
        }
    }

    #[test]
    fn a_written_reply_becomes_an_event_stream_and_expectations_are_checked() {
        let text = "{\"cassette\":1}\n\
            {\"turn\":\"t\",\"expect\":[\"say \\\"hi\\\"\"],\"reply\":{\"text\":\"ok\",\"tools\":[{\"name\":\"write\",\"arguments\":{\"a\":1}}]}}\n";
        let player = Player::parse("c", text).expect("parses");
        let answer = player.play(&id("t", 1), br#"{"content":"say \"hi\""}"#).expect("plays");
        assert!(answer.body.contains(r#""finish_reason":"tool_calls""#) && answer.body.ends_with("data: [DONE]\n\n"));
        assert!(
            player
                .play(&id("t", 1), b"{}")
                .expect_err("another request")
                .contains("lacks")
        );
        assert!(
            player
                .play(&id("t", 2), b"{}")
                .expect_err("no such call")
                .contains("no call 2")
        );
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line) in [
            ("", 1),
            ("{\"cassette\":2}", 1),
            ("{\"cassette\":1}\n\n{\"turn\":\"t\"}", 3),
            (
                "{\"cassette\":1}\n{\"turn\":\"t\",\"reply\":{}}\n{\"turn\":\"t\",\"reply\":{}}",
                3,
            ),
            ("{\"cassette\":1}\n{\"turn\":\"t\",\"replies\":{}}", 2),
        ] {
            match Player::parse("c", text).map(|_| ()) {
                Err(BrokerError::Cassette { line: at, .. }) => assert_eq!(at, line, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
