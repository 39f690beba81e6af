//! The model door: keys, budgets, cassettes.
#![forbid(unsafe_code)]

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// Where model calls go.
#[derive(Clone)]
pub enum Upstream {
    /// An OpenAI-compatible endpoint. `key` reaches only its `Authorization` header.
    Http {
        base_url: String,
        key: Option<crate::record::Secret>,
    },
    /// A recorded cassette.
    Cassette(PathBuf),
}

/// Caps; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    pub calls: Option<u64>,
    pub tokens: Option<u64>,
    pub wall: Option<Duration>,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// What the door is made of.
#[derive(Clone)]
pub struct DoorConfig {
    pub upstream: Upstream,
    /// The model id that upstream is asked for, whatever the inside names.
    pub model: String,
    pub per_run: Budget,
    pub per_turn: Budget,
    /// `model.jsonl`: one line a call (digests, tokens, status, never a key).
    pub ledger: PathBuf,
    /// Record a cassette here.
    pub record_to: Option<PathBuf>,
}

/// Why a turn or the run was cut off by the door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exhausted {
    TurnCalls,
    TurnTokens,
    TurnTime,
    RunCalls,
    RunTokens,
    RunTime,
    /// The cassette holds no answer for this call.
    CassetteEnded,
}

/// Why the door cannot open.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("{0}")]
    Config(String),
    #[error("cassette {path}:{line}: {why}")]
    Cassette { path: String, line: usize, why: String },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

/// The open door. One a run; it outlives agent sandboxes (`serve` again after a restart).
pub struct ModelDoor {
    _private: (),
}

impl ModelDoor {
    /// Opens ledger, cassette and HTTP client.
    pub fn open(_config: DoorConfig) -> Result<Self, BrokerError> {
        unimplemented!()
    }
    /// Serves on a listener handed out by a sandbox, replacing any earlier one.
    pub fn serve(&self, _listener: tokio::net::TcpListener) {
        unimplemented!()
    }
    /// A new turn begins: its label picks the cassette's answers, its counters start at zero.
    pub fn begin_turn(&self, _label: &str) {
        unimplemented!()
    }
    /// Usage of the turn and of the run.
    pub fn usage(&self) -> (Usage, Usage) {
        unimplemented!()
    }
    /// The first cap hit since the turn began.
    pub fn exhausted(&self) -> Option<Exhausted> {
        unimplemented!()
    }
    /// Stops serving, flushes ledger and cassette (fsync).
    pub async fn close(self) -> Result<Usage, BrokerError> {
        unimplemented!()
    }
}
