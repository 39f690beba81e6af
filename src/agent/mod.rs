//! The OpenCode agent: executable, server, sessions, turns. Everything it says is hostile input.
//!
//! | file | holds |
//! |---|---|
//! | `binary` | finding and installing the executable |
//! | `config` | environment, configuration and permissions of the server |
//! | `server` | [`Agent`]: one `opencode serve` inside a sandbox, or one of the user's |
//! | `desk` | where that is, and where it finds the tree |
//! | `http`, `events` | bounded requests and the event stream |
//! | `turn` | one prompt until the agent is idle, with its caps |
//! | `seen`, `recorder` | what a turn's events come to, and their keeping |
//!
//! The API is the server's first (`GET /doc` of a running server describes it).
#![forbid(unsafe_code)]

mod binary;
mod config;
mod desk;
mod events;
mod http;
mod recorder;
mod seen;
mod server;
mod turn;

use std::{path::PathBuf, time::Duration};

use crate::{names::RelPath, policy::BashMode, record::Secret};

pub use binary::{find_binary, install, reachable, version_of};
pub use desk::{Desk, Server};
pub use server::{Agent, mounts};
pub use turn::{Turn, TurnEnd, TurnReport};

/// The OpenCode release that this version is verified against.
pub const OPENCODE_VERSION: &str = "1.18.33";

/// How the server runs and what a turn may do.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Shell permission.
    pub bash: BashMode,
    /// The plan: editable in plan phases.
    pub plan: RelPath,
    /// The contract itself: editable where one is written.
    pub pipeline: RelPath,
    /// The contract and what it runs: editable in no other phase.
    pub contract: Vec<RelPath>,
    /// Wall cap of a turn.
    pub turn_wall: Duration,
    /// A turn is aborted when no event came for this long.
    pub stall: Duration,
    /// Where the server's output is kept.
    pub logs: PathBuf,
    /// The model that a server outside is asked for, by provider and id; its own choice
    /// where none is named. Inside it is always the door's.
    pub outside_model: Option<(String, String)>,
    /// What the model door wants to be shown; worth nothing elsewhere.
    pub door_key: Secret,
    /// Variables for the agent's shell. What the server and its runtime read of the
    /// environment themselves cannot be set here; the rest of such a list is dropped.
    pub env: Vec<(String, String)>,
}

/// Why the agent cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The executable is not there.
    #[error("{0}")]
    NotFound(String),
    /// The server did not come up.
    #[error("the OpenCode server did not come up: {0}")]
    NotHealthy(String),
    /// The sandbox failed under it.
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::SandboxError),
    /// No place for its files.
    #[error(transparent)]
    Record(#[from] crate::record::RecordError),
    /// A host-side operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The error.
        source: std::io::Error,
    },
}
