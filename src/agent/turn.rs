//! One turn: a session of its own, one prompt, and its events until it is idle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Agent, AgentError, Desk, config,
    events::Events,
    http::{Client, HttpError},
};
use crate::{guard::Phase, report::escape};

/// Bytes of one turn's events that are kept.
const EVENTS_BYTES: u64 = 16 << 20;
/// Characters of the final text that are kept.
const TEXT_CHARS: usize = 20_000;
/// Messages, calls and refusals that are told apart in one turn; OpenCode sends far fewer.
const DISTINCT: usize = 10_000;
/// Longest wait for an aborted session to fall idle.
const ABORTED: Duration = Duration::from_secs(10);

/// One prompt in a session of its own.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Purpose name, for instance `execute_step`; also the session's title.
    pub label: String,
    /// Which permissions it has.
    pub phase: Phase,
    /// What is asked.
    pub prompt: String,
    /// Where its events are kept, as JSON lines.
    pub events: PathBuf,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "end", content = "why", rename_all = "kebab-case")]
pub enum TurnEnd {
    /// The agent said that it is done.
    Completed,
    /// Wall cap; aborted.
    TimedOut,
    /// No event for the stall time; aborted.
    Stalled,
    /// The model's provider failed for good.
    Provider(String),
    /// The server answered with an error or nonsense.
    Agent(String),
    /// The server process is gone.
    ServerDied(String),
    /// A cap on the sandbox's memory or disk ended the server.
    OverCap(String),
    /// The sandbox is gone, and the server with it.
    SandboxGone(String),
}

/// What became of a turn.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TurnReport {
    /// The turn's label.
    pub label: String,
    /// How it ended.
    #[serde(flatten)]
    pub end: TurnEnd,
    /// The final text, escaped and bounded.
    pub text: String,
    /// Tool calls made.
    pub tool_calls: u64,
    /// Tool calls that failed or were denied, as `tool: reason`.
    pub failed_calls: Vec<String>,
    /// Tokens sent, as the agent reports them.
    pub input_tokens: u64,
    /// Tokens received, as the agent reports them.
    pub output_tokens: u64,
    /// Cost in the provider's currency, as the agent reports it.
    pub cost: f64,
    /// Questions and permission requests that were answered with a refusal.
    pub refused_asks: Vec<String>,
    /// How long it took, milliseconds.
    pub wall_ms: u64,
}

impl Agent {
    /// Runs a turn to its end. `tell` gets short, escaped progress lines.
    ///
    /// # Errors
    /// When its events cannot be kept; whatever the server does is in the report.
    pub async fn turn(
        &mut self,
        desk: Desk<'_>,
        turn: &Turn,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<TurnReport, AgentError> {
        let began = Instant::now();
        let mut record = Recorder::create(&turn.events)?;
        let mut seen = Seen::default();
        let end = match self.converse(desk, turn, tell, &mut record, &mut seen).await {
            Ok(end) => end,
            Err(HttpError::Unreachable(why)) => self.cause_of(why).await,
            Err(why) => TurnEnd::Agent(why.to_string()),
        };
        record.finish()?;
        let sum = |of: fn(&Spent) -> u64| seen.spent.values().map(of).fold(0, u64::saturating_add);
        Ok(TurnReport {
            label: turn.label.clone(),
            end,
            text: seen.final_text(),
            tool_calls: seen.calls.len() as u64,
            failed_calls: seen.failed.into_iter().collect(),
            input_tokens: sum(|s| s.input),
            output_tokens: sum(|s| s.output),
            cost: seen.spent.values().map(|s| s.cost).sum(),
            refused_asks: seen.refused,
            wall_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    async fn converse(
        &mut self,
        desk: Desk<'_>,
        turn: &Turn,
        tell: &(dyn Fn(&str) + Sync),
        record: &mut Recorder,
        seen: &mut Seen,
    ) -> Result<TurnEnd, HttpError> {
        let client = self.client.clone();
        let (wall, stall) = (self.config.turn_wall, self.config.stall);
        let directory = format!("directory={}", desk.inside().workspace.replace('/', "%2F"));
        // The stream first: it does not repeat what was missed.
        let stream = client
            .open(desk, Method::GET, &format!("/event?{directory}"), None)
            .await?;
        if !stream.status().is_success() {
            return Ok(TurnEnd::Agent(format!("the event stream answered {}", stream.status())));
        }
        let mut events = Events::new(stream.into_body());
        let rules = config::permissions(
            turn.phase,
            self.config.bash,
            &self.config.plan,
            &self.config.contract,
            desk,
        );
        let open = json!({"title": turn.label, "permission": rules});
        let session = client
            .ask(desk, Method::POST, &format!("/session?{directory}"), Some(&open))
            .await?;
        let id = session_id(&session).ok_or_else(|| HttpError::Nonsense {
            what: "POST /session".to_owned(),
            why: "no session id".to_owned(),
        })?;
        self.session = Some(id.clone());
        let mut prompt = json!({"parts": [{"type": "text", "text": turn.prompt}]});
        let door = (config::PROVIDER.to_owned(), config::MODEL.to_owned());
        let model = match desk {
            Desk::Inside(_) => Some(&door),
            Desk::Outside { .. } => self.config.outside_model.as_ref(),
        };
        if let Some((provider, model)) = model {
            prompt["model"] = json!({"providerID": provider, "modelID": model});
        }
        let path = format!("/session/{id}/prompt_async?{directory}");
        client.ask(desk, Method::POST, &path, Some(&prompt)).await?;

        let deadline = tokio::time::Instant::now() + wall;
        let mut silent_until = tokio::time::Instant::now() + stall;
        loop {
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                died = self.died() => return Ok(died),
                () = tokio::time::sleep_until(deadline) => {
                    abort(&client, desk, &id, &mut events, record).await;
                    return Ok(TurnEnd::TimedOut);
                }
                () = tokio::time::sleep_until(silent_until) => {
                    abort(&client, desk, &id, &mut events, record).await;
                    return Ok(TurnEnd::Stalled);
                }
            };
            let Some(event) = event else {
                return Ok(self.cause_of("its event stream ended".to_owned()).await);
            };
            // A deadline counts even while events flood in.
            if tokio::time::Instant::now() >= deadline {
                abort(&client, desk, &id, &mut events, record).await;
                return Ok(TurnEnd::TimedOut);
            }
            if !is_of(&event, &id) {
                continue;
            }
            silent_until = tokio::time::Instant::now() + stall;
            record.keep(&event);
            match seen.take(&event) {
                Next::Go(None) => {}
                Next::Go(Some(line)) => tell(&line),
                Next::Refuse { path, body, line } => {
                    tell(&line);
                    client.ask(desk, Method::POST, &path, Some(&body)).await?;
                }
                Next::Idle => {
                    self.session = None;
                    return Ok(seen.end());
                }
            }
        }
    }

    /// Ends what the server still does for a turn that was broken off. One inside ends
    /// with its sandbox; one of the user's goes on until it is told.
    pub async fn abandon(&mut self, desk: Desk<'_>) {
        let Some(id) = self.session.take() else { return };
        let (path, nothing) = (format!("/session/{id}/abort"), json!({}));
        let told = self.client.ask(desk, Method::POST, &path, Some(&nothing));
        match tokio::time::timeout(ABORTED, told).await {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => tracing::warn!("the server may still work on the turn: {why}"),
            Err(_) => tracing::warn!("the server may still work on the turn: it did not answer"),
        }
    }
}

/// Ends a session's work and waits, boundedly, until it says so.
async fn abort(client: &Client, desk: Desk<'_>, id: &str, events: &mut Events, record: &mut Recorder) {
    let path = format!("/session/{id}/abort");
    let idle = async {
        if let Err(why) = client.ask(desk, Method::POST, &path, Some(&json!({}))).await {
            tracing::warn!("abort: {why}");
            return;
        }
        while let Some(event) = events.next().await {
            if is_of(&event, id) {
                record.keep(&event);
                if event["type"] == "session.idle" {
                    return;
                }
            }
        }
    };
    // What does not stop is killed with its sandbox: the turn has failed anyway.
    let _ = tokio::time::timeout(ABORTED, idle).await;
}

/// The id of a session, if it is fit for a path of a URL.
fn session_id(session: &Value) -> Option<String> {
    let id = session["id"].as_str()?;
    let fit = id.len() <= 100 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    fit.then(|| id.to_owned())
}

/// Whether an event is about the session `id`.
fn is_of(event: &Value, id: &str) -> bool {
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
struct Spent {
    input: u64,
    output: u64,
    cost: f64,
}

/// What a turn's events came to so far.
#[derive(Default)]
struct Seen {
    spent: BTreeMap<String, Spent>,
    calls: BTreeSet<String>,
    failed: BTreeSet<String>,
    refused: Vec<String>,
    /// The text parts of the last message that had any, in order.
    text: (String, BTreeMap<String, String>),
    prompted: Option<String>,
    error: Option<TurnEnd>,
}

/// What to do after an event.
#[derive(Debug, PartialEq)]
enum Next {
    Go(Option<String>),
    Refuse { path: String, body: Value, line: String },
    Idle,
}

impl Seen {
    fn take(&mut self, event: &Value) -> Next {
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

    fn end(&mut self) -> TurnEnd {
        self.error.take().unwrap_or(TurnEnd::Completed)
    }

    fn final_text(&self) -> String {
        let text = self.text.1.values().cloned().collect::<Vec<_>>().join("\n");
        text.lines()
            .map(|line| escape(line.as_bytes(), TEXT_CHARS))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Keeps a turn's events, up to a cap.
struct Recorder {
    path: String,
    file: BufWriter<File>,
    left: u64,
    failed: Option<std::io::Error>,
}

impl Recorder {
    fn create(path: &Path) -> Result<Self, AgentError> {
        let make = || {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            File::create_new(path)
        };
        let name = path.display().to_string();
        let file = make().map_err(|source| AgentError::Io {
            what: format!("make {name}"),
            source,
        })?;
        Ok(Self {
            path: name,
            file: BufWriter::new(file),
            left: EVENTS_BYTES,
            failed: None,
        })
    }

    fn keep(&mut self, event: &Value) {
        // Deltas repeat, in pieces, what the whole part says afterwards.
        if event["type"] == "message.part.delta" || self.left == 0 {
            return;
        }
        let mut line = event.to_string();
        line.push('\n');
        if line.len() as u64 > self.left {
            self.left = 0;
            line = "{\"type\":\"truncated\"}\n".to_owned();
        } else {
            self.left -= line.len() as u64;
        }
        if let Err(why) = self.file.write_all(line.as_bytes()) {
            self.failed.get_or_insert(why);
        }
    }

    fn finish(mut self) -> Result<(), AgentError> {
        let written = match self.failed.take() {
            Some(why) => Err(why),
            None => self.file.flush(),
        };
        written.map_err(|source| AgentError::Io {
            what: format!("write {}", self.path),
            source,
        })
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
