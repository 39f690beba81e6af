//! The doors of the inside: to the model (keys, budgets, cassettes), and out (`egress`).
//!
//! # The model door
//!
//! The inside speaks plain HTTP to its own loopback; the listening socket is
//! held here. Calls are counted and bounded before they cost anything, the real
//! key is added here and nowhere else, and every answer is either an event
//! stream or a JSON error of 400 and above (OpenCode loops without pause on a
//! 200 that is no event stream, and without end on 429 and 5xx), unless the call asked
//! for an answer in one piece.
//!
//! - `door`: the server; `forward`: one call through it; `answer`: what it says itself;
//! - `meter`: budgets and usage; `upstream`: real endpoints;
//! - `cassette`: recorded traffic, written and played; `recording`: what a run's answers
//!   are recorded by; `ledger`: one line a call; `past`: what a run that was cut off had used;
//! - `reach`: whether an endpoint is there at all.
#![forbid(unsafe_code)]

mod answer;
mod cassette;
mod door;
mod egress;
mod forward;
mod ledger;
mod meter;
mod past;
mod reach;
mod recording;
mod upstream;

use std::{collections::HashMap, path::PathBuf};

pub use door::ModelDoor;
pub use egress::{EgressConfig, EgressCount, EgressDoor, Stranger, ledger_schema as egress_schema, read_stranger};
pub use meter::{AGENT_PATIENCE, Budget, Exhausted, Usage};
pub use reach::api_base;

/// The JSON Schema of one line of the door's ledger.
pub fn ledger_schema() -> schemars::Schema {
    crate::record::schema_of::<ledger::Entry>()
}

/// The JSON Schema of one line of a cassette.
pub fn cassette_schema() -> schemars::Schema {
    crate::record::schema_of::<cassette::Line>()
}

/// Where model calls go.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// An OpenAI-compatible endpoint, for instance `https://host/v1`.
    Http {
        /// Its base URL; `/chat/completions` is appended.
        base_url: String,
        /// Reaches the `Authorization` header and nothing else.
        key: Option<crate::record::Secret>,
    },
    /// A recorded cassette.
    Cassette(PathBuf),
    /// A cassette that is part of this program.
    Bundled(&'static str),
}

/// What the door is made of.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// Where calls go.
    pub upstream: Upstream,
    /// The model id that upstream is asked for, whatever the inside names.
    pub model: String,
    /// What the inside has to show (`Authorization: Bearer`); not the provider's key.
    pub inside_key: crate::record::Secret,
    /// Caps for the whole run.
    pub per_run: Budget,
    /// Caps for one turn.
    pub per_turn: Budget,
    /// Transient errors of the provider that are passed on in one turn, before the door
    /// says that its budget is used up; [`AGENT_PATIENCE`] for an agent.
    pub patience: u32,
    /// `model.jsonl`: one line a call (digests, tokens, status, never a key).
    pub ledger: PathBuf,
    /// Record all answers here, as a cassette.
    pub record_to: Option<Recording>,
    /// What the run had come to when it was cut off, where it is gone on with.
    pub past: Option<Past>,
}

/// Where answers are recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The cassette.
    pub to: PathBuf,
    /// What is taken out of it.
    pub redactor: crate::record::Redactor,
    /// Bytes; what would be more is left out and counted.
    pub most: u64,
}

/// What went through a door before its run was cut off.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Turns that began, by their labels, without the one that was cut off.
    pub turns: HashMap<String, u32>,
    /// The turn that was cut off, and how many of its label began with it.
    pub cut_off: Option<(String, u32)>,
    /// Time that is used up.
    pub wall: std::time::Duration,
}

/// Why the door cannot open or a record could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// A cassette is malformed.
    #[error("cassette {path}:{line}: {why}")]
    Cassette {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The error.
        source: std::io::Error,
    },
}
