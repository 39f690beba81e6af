//! Spans in the JSON encoding of OTLP, one `TracesData` on one line, as a collector's file
//! receiver reads it: hexadecimal ids, lowerCamelCase names, 64-bit numbers as strings, enums as
//! numbers (opentelemetry-proto, "JSON Protobuf Encoding"). Names of agents and tools are those of
//! the semantic conventions for generative AI.
//!
//! Ids follow from the run's: the same run gives the same spans.

use std::cell::RefCell;

use serde_json::{Value, json};

use crate::{
    record::audit::Digest,
    report::{
        escape,
        reading::{Call, Ending, Folder, Iteration, Part, RunView, Session, Span, SpanKind, TurnView, sessions},
    },
};

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;
/// `STATUS_CODE_OK`, `STATUS_CODE_ERROR`.
const OK: u8 = 1;
const ERROR: u8 = 2;
/// Longest text of an attribute that comes out of the sandbox.
const SHOWN: usize = 200;

/// The run as a trace.
pub fn otlp(folder: &Folder, run: &RunView) -> Value {
    let trace = Trace::of(run);
    let mut spans = vec![trace.run(run)];
    spans.extend(run.iterations.iter().map(|one| trace.iteration(one)));
    let turns: Vec<&TurnView> = run.iterations.iter().flat_map(|one| &one.turns).collect();
    let phases = (0..).zip(&run.timeline);
    spans.extend(phases.map(|(at, span)| trace.phase(at, span, run, &turns)));
    let tools = RefCell::new(Vec::new());
    let of = |session: Session<'_>| tools.borrow_mut().extend(trace.tools(&session, run));
    sessions(folder, run, of, |_, _| {});
    spans.extend(tools.into_inner());
    let version = run.tool_version.as_deref().unwrap_or("unknown");
    let resource = attributes([
        text("service.name", "opencode-fsm"),
        text("service.version", version),
        text("service.instance.id", &run.id),
    ]);
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "opencode-fsm", "version": version}, "spans": spans}],
    }]})
}

/// What all spans of a run share.
struct Trace {
    id: String,
    /// Milliseconds since 1970.
    began: u64,
    /// From the beginning to the end, milliseconds.
    ms: u64,
}

/// A part of the time, in milliseconds since the run began.
type Time = (u64, u64);
/// Name and value.
type Attribute = Option<(&'static str, Value)>;

impl Trace {
    fn of(run: &RunView) -> Self {
        let last = run.timeline.iter().map(|span| span.at + span.ms.unwrap_or(0)).max();
        Self {
            id: hex(&run.id, 32),
            began: run.began_ms.and_then(|began| u64::try_from(began).ok()).unwrap_or(0),
            ms: run.outcome.ms.unwrap_or(0).max(last.unwrap_or(0)),
        }
    }

    fn run(&self, run: &RunView) -> Value {
        let outcome = &run.outcome;
        let status = match outcome.ending {
            Ending::Open => json!({}),
            Ending::Passed => json!({"code": OK}),
            Ending::Failed | Ending::Broken => {
                json!({"code": ERROR, "message": format!("{}: {}", outcome.reason, outcome.detail)})
            }
        };
        let about = [
            text("opencode_fsm.target", &run.target),
            maybe("opencode_fsm.policy", run.policy_digest.as_deref()),
            maybe("opencode_fsm.tier", run.tier.as_deref()),
            maybe("opencode_fsm.backend", run.backend.as_deref()),
            text("opencode_fsm.reason", &outcome.reason),
            outcome
                .exit_code
                .and_then(|code| number("opencode_fsm.exit_code", code)),
            flag("opencode_fsm.verified", outcome.verified),
            number("opencode_fsm.model_calls", run.totals.calls),
            maybe("error.type", outcome.blame.as_deref()),
        ];
        self.span(("run", None), "run", (0, self.ms), &about, status)
    }

    fn iteration(&self, one: &Iteration) -> Value {
        let step = one.step.as_ref();
        let about = [
            number("opencode_fsm.iteration", one.number),
            step.and_then(|step| text("opencode_fsm.step.id", &step.id)),
            step.and_then(|step| text("opencode_fsm.step.text", &step.text)),
        ];
        let key = format!("iteration {}", one.number);
        self.span((&key, Some("run")), &key, (one.at, one.at + one.ms), &about, json!({}))
    }

    /// Something that the machine did, a turn of the agent among them.
    fn phase(&self, at: u64, span: &Span, run: &RunView, turns: &[&TurnView]) -> Value {
        let turn = span
            .turn
            .and_then(|number| turns.iter().find(|turn| turn.number == number));
        let status = match span.ok {
            None => json!({}),
            Some(true) => json!({"code": OK}),
            Some(false) => json!({"code": ERROR, "message": span.note.as_deref().unwrap_or_default()}),
        };
        let kind = match span.kind {
            SpanKind::Prepare => "prepare",
            SpanKind::Snapshot => "snapshot",
            SpanKind::Plan => "plan",
            SpanKind::Step => "step",
            SpanKind::Fix => "fix",
            SpanKind::Verify => "verify",
            SpanKind::Decide => "decide",
        };
        let mut about = vec![
            text("opencode_fsm.phase", kind),
            number("opencode_fsm.iteration", span.iteration),
            maybe("opencode_fsm.step.id", span.step.as_deref()),
        ];
        let (key, name) = match turn {
            Some(turn) => {
                about.extend([
                    text("gen_ai.operation.name", "invoke_agent"),
                    text("gen_ai.agent.name", "opencode"),
                    maybe("gen_ai.agent.version", run.opencode_version.as_deref()),
                    text("gen_ai.request.model", &run.model),
                    number("gen_ai.usage.input_tokens", turn.input_tokens),
                    number("gen_ai.usage.output_tokens", turn.output_tokens),
                    text("opencode_fsm.turn", &turn.label),
                    number("opencode_fsm.model_calls", turn.calls),
                    flag("opencode_fsm.guard", turn.guard.is_some()),
                    maybe("error.type", turn.blame.as_deref()),
                ]);
                (turn_key(turn.number), "invoke_agent opencode")
            }
            None => (format!("phase {at}"), kind),
        };
        let above = format!("iteration {}", span.iteration);
        let known = run.iterations.iter().any(|one| one.number == span.iteration);
        let above = if known { above.as_str() } else { "run" };
        // What has no end lasted as long as the run.
        let end = span.ms.map_or(self.ms, |ms| span.at + ms);
        self.span((&key, Some(above)), name, (span.at, end), &about, status)
    }

    /// The tools that were called in a turn. Their times are the agent's word, and kept inside of it.
    fn tools(&self, session: &Session<'_>, run: &RunView) -> Vec<Value> {
        let turn = session.turn;
        let Some(span) = run.timeline.iter().find(|span| span.turn == Some(turn.number)) else {
            return Vec::new();
        };
        let of_turn = (span.at, span.ms.map_or(self.ms, |ms| span.at + ms));
        let parts = session.talk.messages.iter().flat_map(|message| &message.parts);
        let calls = parts.filter_map(|part| match part {
            Part::Tool(call) => Some(&**call),
            Part::Text(_) | Part::Reasoning(_) => None,
        });
        (0..)
            .zip(calls)
            .map(|(at, call)| self.tool(turn.number, at, call, of_turn))
            .collect()
    }

    fn tool(&self, turn: u64, at: u64, call: &Call, (from, to): Time) -> Value {
        let moment = |said: Option<i64>, otherwise: u64| {
            let said = said.and_then(|ms| u64::try_from(ms).ok());
            said.map_or(otherwise, |ms| ms.saturating_sub(self.began).clamp(from, to))
        };
        let began = moment(call.time.0, from);
        let time = (began, moment(call.time.1, to).max(began));
        let tool = escape(call.tool.as_bytes(), SHOWN);
        let about = [
            text("gen_ai.operation.name", "execute_tool"),
            text("gen_ai.tool.name", &tool),
            text("gen_ai.tool.call.id", &escape(call.id.as_bytes(), SHOWN)),
            call.exit.and_then(|exit| number("process.exit.code", exit)),
            (call.status == "error").then_some(("error.type", json!({"stringValue": "agent"}))),
        ];
        let status = match call.status.as_str() {
            "completed" => json!({"code": OK}),
            "error" => {
                let why = call.error.as_deref().unwrap_or_default();
                json!({"code": ERROR, "message": escape(why.as_bytes(), SHOWN)})
            }
            _ => json!({}),
        };
        let keys = (&*format!("{}, call {at}", turn_key(turn)), Some(&*turn_key(turn)));
        self.span(keys, &format!("execute_tool {tool}"), time, &about, status)
    }

    /// One span; the first of its keys is its own, the other that of the span that it is a part of.
    fn span(
        &self,
        (own, above): (&str, Option<&str>),
        name: &str,
        (from, to): Time,
        about: &[Attribute],
        status: Value,
    ) -> Value {
        let id = |key: &str| hex(&format!("{} {key}", self.id), 16);
        let nanos = |ms: u64| (u128::from(self.began) + u128::from(ms)) * 1_000_000;
        let mut span = json!({
            "traceId": self.id,
            "spanId": id(own),
            "name": name,
            "kind": INTERNAL,
            "startTimeUnixNano": nanos(from).to_string(),
            "endTimeUnixNano": nanos(to).to_string(),
            "attributes": attributes(about.iter().cloned()),
            "status": status,
        });
        if let Some(above) = above {
            span["parentSpanId"] = json!(id(above));
        }
        span
    }
}

fn turn_key(number: u64) -> String {
    format!("turn {number}")
}

/// The first digits of a text's SHA-256.
fn hex(text: &str, digits: usize) -> String {
    Digest::of(text.as_bytes()).to_string().chars().take(digits).collect()
}

fn attributes(about: impl IntoIterator<Item = Attribute>) -> Value {
    let pair = |(key, value)| json!({"key": key, "value": value});
    about.into_iter().flatten().map(pair).collect()
}

/// An attribute; what is empty is none.
fn text(key: &'static str, value: &str) -> Attribute {
    (!value.is_empty()).then(|| (key, json!({"stringValue": value})))
}

fn maybe(key: &'static str, value: Option<&str>) -> Attribute {
    value.and_then(|value| text(key, value))
}

fn number(key: &'static str, value: impl ToString) -> Attribute {
    Some((key, json!({"intValue": value.to_string()})))
}

fn flag(key: &'static str, value: bool) -> Attribute {
    Some((key, json!({"boolValue": value})))
}
