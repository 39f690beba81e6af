//! What the events of a turn come to. Every one of them is hostile input.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::TurnEnd;
use crate::report::escape;

/// Characters of the final text that are kept.
const TEXT_CHARS: usize = 20_000;
/// Messages, calls and refusals that are told apart in one turn; OpenCode sends far fewer.
const DISTINCT: usize = 10_000;

/// Whether an event is about the session `id`.
pub(super) fn is_of(event: &Value, id: &str) -> bool {
    let properties = &event["properties"];
    [
        &properties["sessionID"],
        &properties["info"]["sessionID"],
        &properties["part"]["sessionID"],
    ]
    .into_iter()
    .any(|of| of == id)
}

/// What one message cost.
#[derive(Clone, Copy, Default)]
pub(super) struct Spent {
    pub input: u64,
    pub output: u64,
    pub cost: f64,
}

/// What a turn's events came to so far.
#[derive(Default)]
pub(super) struct Seen {
    pub spent: BTreeMap<String, Spent>,
    pub calls: BTreeSet<String>,
    pub failed: BTreeSet<String>,
    pub refused: Vec<String>,
    /// The text parts of the last message that had any, in order.
    pub text: (String, BTreeMap<String, String>),
    pub prompted: Option<String>,
    pub error: Option<TurnEnd>,
}

/// What to do after an event.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Go(Option<String>),
    Refuse { path: String, body: Value, line: String },
    Idle,
}

impl Seen {
    pub fn take(&mut self, event: &Value) -> Next {
        let properties = &event["properties"];
        match event["type"].as_str().unwrap_or_default() {
            "message.updated" => self.message(&properties["info"]),
            "message.part.updated" => return Next::Go(self.part(&properties["part"])),
            "permission.asked" => return self.ask(properties, "permission", "reply"),
            "question.asked" => return self.ask(properties, "question", "reject"),
            "session.error" => self.fail(&properties["error"]),
            "session.status" if properties["status"]["type"] == "retry" => {
                let message = properties["status"]["message"].as_str().unwrap_or_default();
                return Next::Go(Some(format!(
                    "the provider is tried again: {}",
                    escape(message.as_bytes(), 200)
                )));
            }
            "session.idle" => return Next::Idle,
            _ => {}
        }
        Next::Go(None)
    }

    fn message(&mut self, info: &Value) {
        let Some(id) = info["id"].as_str() else { return };
        if info["role"] == "user" {
            self.prompted = Some(id.to_owned());
        } else if info["role"] == "assistant" && (self.spent.len() < DISTINCT || self.spent.contains_key(id)) {
            let tokens = &info["tokens"];
            let count = |value: &Value| value.as_u64().unwrap_or(0);
            let spent = Spent {
                input: count(&tokens["input"]).saturating_add(count(&tokens["cache"]["read"])),
                output: count(&tokens["output"]).saturating_add(count(&tokens["reasoning"])),
                cost: info["cost"].as_f64().filter(|cost| cost.is_finite()).unwrap_or(0.0),
            };
            self.spent.insert(id.to_owned(), spent);
        }
    }

    fn part(&mut self, part: &Value) -> Option<String> {
        let (id, message) = (part["id"].as_str()?, part["messageID"].as_str()?);
        match part["type"].as_str()? {
            "text" if self.prompted.as_deref() != Some(message) => {
                if self.text.0 != message {
                    self.text = (message.to_owned(), BTreeMap::new());
                }
                let text: String = part["text"].as_str()?.chars().take(TEXT_CHARS).collect();
                if self.text.1.len() < 100 || self.text.1.contains_key(id) {
                    self.text.1.insert(id.to_owned(), text);
                }
                None
            }
            "tool" => {
                let tool = escape(part["tool"].as_str()?.as_bytes(), 40);
                let state = &part["state"];
                if self.calls.len() < DISTINCT {
                    self.calls.insert(id.to_owned());
                }
                match state["status"].as_str()? {
                    "error" => {
                        let why = format!(
                            "{tool}: {}",
                            escape(state["error"].as_str().unwrap_or_default().as_bytes(), 300)
                        );
                        if self.failed.len() < 100 {
                            self.failed.insert(why.clone());
                        }
                        Some(format!("failed: {why}"))
                    }
                    "completed" => {
                        let title = state["title"].as_str().unwrap_or_default();
                        Some(format!("{tool} {}", escape(title.as_bytes(), 120)))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Nothing ever waits on an ask: it is refused, with a reason that lets the model go on.
    fn ask(&mut self, asked: &Value, what: &str, verb: &str) -> Next {
        let Some(id) = asked["id"]
            .as_str()
            .filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        else {
            return Next::Go(None);
        };
        let about = escape(asked["permission"].as_str().unwrap_or(what).as_bytes(), 80);
        let patterns = escape(asked["patterns"].to_string().as_bytes(), 200);
        if self.refused.len() < 100 {
            self.refused.push(format!("{about} {patterns}"));
        }
        Next::Refuse {
            path: format!("/{what}/{id}/{verb}"),
            body: json!({"reply": "reject", "message": "Nobody is here to answer; go on without it."}),
            line: format!("refused: {about} {patterns}"),
        }
    }

    fn fail(&mut self, error: &Value) {
        let name = error["name"].as_str().unwrap_or("an error");
        let message = error["data"]["message"].as_str().unwrap_or_default();
        let why = escape(format!("{name}: {message}").as_bytes(), 500);
        let provider = [
            "APIError",
            "ProviderAuthError",
            "ContextOverflowError",
            "ContentFilterError",
            "MessageOutputLengthError",
        ];
        self.error = Some(if provider.contains(&name) {
            TurnEnd::Provider(why)
        } else {
            TurnEnd::Agent(why)
        });
    }

    pub fn end(&mut self) -> TurnEnd {
        self.error.take().unwrap_or(TurnEnd::Completed)
    }

    pub fn final_text(&self) -> String {
        let text = self.text.1.values().cloned().collect::<Vec<_>>().join("\n");
        text.lines()
            .map(|line| escape(line.as_bytes(), TEXT_CHARS))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from)
        ];
        let key = prop_oneof![
            Just("info"),
            Just("part"),
            Just("id"),
            Just("role"),
            Just("tokens"),
            Just("state"),
            Just("status"),
            Just("type"),
            Just("tool"),
            Just("messageID"),
            Just("error"),
            Just("text"),
            Just("sessionID"),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_event_breaks_the_reader(kind in prop_oneof![
            Just("message.updated"), Just("message.part.updated"), Just("permission.asked"), Just("question.asked"),
            Just("session.error"), Just("session.status"), Just("session.idle")], properties in json_value()) {
            let mut seen = Seen::default();
            let event = json!({"type": kind, "properties": properties});
            let _ = is_of(&event, "ses_1");
            if let Next::Refuse { path, .. } = seen.take(&event) {
                prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_".contains(&b)), "{}", path);
            }
            let shown = seen.final_text();
            prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
        }
    }

    #[test]
    fn a_turn_is_read_from_its_events() {
        let mut seen = Seen::default();
        let part = |part: Value| json!({"type": "message.part.updated", "properties": {"part": part}});
        let message = |info: Value| json!({"type": "message.updated", "properties": {"info": info}});
        seen.take(&message(json!({"id": "m0", "role": "user"})));
        seen.take(&part(
            json!({"id": "p0", "messageID": "m0", "type": "text", "text": "the prompt"}),
        ));
        seen.take(&message(
            json!({"id": "m1", "role": "assistant", "tokens": {"input": 5, "output": 1}}),
        ));
        seen.take(&message(json!({"id": "m1", "role": "assistant", "cost": 0.5, "tokens": {"input": 10, "output": 2, "reasoning": 1, "cache": {"read": 3}}})));
        let call = |status: &str| {
            part(
                json!({"id": "p1", "messageID": "m1", "type": "tool", "tool": "edit", "state": {"status": status, "title": "a.rs", "error": "denied"}}),
            )
        };
        assert_eq!(seen.take(&call("running")), Next::Go(None));
        assert_eq!(seen.take(&call("completed")), Next::Go(Some("edit a.rs".to_owned())));
        assert_eq!(
            seen.take(&call("error")),
            Next::Go(Some("failed: edit: denied".to_owned()))
        );
        seen.take(&part(
            json!({"id": "p2", "messageID": "m1", "type": "text", "text": "done\u{1b}[2J"}),
        ));
        assert!(
            matches!(seen.take(&json!({"type": "permission.asked", "properties": {"id": "per_1", "permission": "bash"}})), Next::Refuse { path, .. } if path == "/permission/per_1/reply")
        );
        assert_eq!(
            seen.take(&json!({"type": "session.idle", "properties": {}})),
            Next::Idle
        );
        assert_eq!(seen.final_text(), "done\\u{1b}[2J");
        assert_eq!(
            (seen.calls.len(), seen.spent["m1"].input, seen.spent["m1"].output),
            (1, 13, 3)
        );
        assert_eq!(seen.end(), TurnEnd::Completed);
        seen.take(
            &json!({"type": "session.error", "properties": {"error": {"name": "APIError", "data": {"message": "no"}}}}),
        );
        assert_eq!(seen.end(), TurnEnd::Provider("APIError: no".to_owned()));
    }
}
