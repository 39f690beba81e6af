//! One turn: a session of its own, one prompt, and its events until it is idle.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Agent, AgentError, Desk, config,
    events::Events,
    http::{Client, HttpError},
    recorder::Recorder,
    seen::{Next, Seen, Spent, is_of},
};
use crate::guard::Phase;

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
        // The stream first: it does not repeat what was missed. That of the turn before goes on.
        let before = self.events.take().filter(|(of, _)| *of == directory);
        let mut events = match before.and_then(|(_, events)| events.caught_up()) {
            Some(events) => events,
            None => {
                let path = format!("/event?{directory}");
                let stream = client.open(desk, Method::GET, &path, None).await?;
                if !stream.status().is_success() {
                    return Ok(TurnEnd::Agent(format!("the event stream answered {}", stream.status())));
                }
                Events::new(stream.into_body())
            }
        };
        let rules = config::permissions(turn.phase, &self.config, desk);
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
                    self.events = Some((directory, events));
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
