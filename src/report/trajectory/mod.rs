//! What a run's agent saw and did, for programs that learn from it or look at it.
//!
//! | file | holds |
//! |---|---|
//! | `atif` | the Agent Trajectory Interchange Format, version 1.7 |
//! | `inspect` | a log of Inspect, version 2, as JSON |
//! | `otlp` | spans for OpenTelemetry, without what was said |
//! | `rows` | one row a turn: ShareGPT, TRL, verl |
//! | `reward` | what a turn is worth, where something measured it |
//!
//! Only what the run's directory holds is told: there are no token ids and no
//! probabilities, since the door does not keep them.

mod atif;
mod inspect;
mod otlp;
mod reward;
mod rows;

use serde_json::{Value, json};

use super::reading::Call;

pub use atif::atif;
pub use inspect::inspect;
pub use otlp::otlp;
pub use rows::{Shape, rows};

/// A call's arguments as an object.
fn arguments(call: &Call) -> Value {
    match &call.input {
        Value::Object(_) => call.input.clone(),
        Value::Null => json!({}),
        other => json!({"input": other}),
    }
}

/// What a call gave back.
fn result(call: &Call) -> &str {
    call.error.as_deref().or(call.output.as_deref()).unwrap_or_default()
}

/// A moment as RFC 3339.
fn moment(ms: i64) -> Option<String> {
    Some(jiff::Timestamp::from_millisecond(ms).ok()?.to_string())
}
