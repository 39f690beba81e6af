//! The OpenCode agent: configuration, server, sessions, turns. Everything it says is hostile input.
#![forbid(unsafe_code)]

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{guard::Phase, names::RelPath, sandbox::Sandbox};

/// The OpenCode release that this version is verified against.
pub const OPENCODE_VERSION: &str = "1.18.33";
/// Port of `opencode serve` inside.
pub const SERVER_PORT: u16 = 4096;
/// Port of the model door inside.
pub const MODEL_PORT: u16 = 4097;

/// Shell permission of the agent (`--opencode-bash`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BashMode {
    Restricted,
    Full,
}

/// Where the server runs.
#[derive(Clone, Debug)]
pub enum Server {
    /// Inside the sandbox, at this path inside.
    Inside { binary: PathBuf },
    /// An existing server outside (`--opencode-url`): not contained.
    External {
        url: String,
        username: String,
        password: Option<crate::record::Secret>,
    },
}

#[derive(Clone, Debug)]
pub struct AgentConfig {
    pub server: Server,
    pub bash: BashMode,
    pub plan: RelPath,
    /// `provider/model` as shown to OpenCode (always our own provider name inside).
    pub model: String,
    pub turn_wall: Duration,
    /// Abort when no event came for this long.
    pub stall: Duration,
    /// Logs, turns' events: `<dir>/server.log`, `<dir>/turns/NNNN-<label>.jsonl`.
    pub artifacts: PathBuf,
}

/// One prompt in a session of its own.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Purpose name, for instance `execute_step`; also the session's title.
    pub label: String,
    pub phase: Phase,
    pub prompt: String,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", content = "why", rename_all = "kebab-case")]
pub enum TurnEnd {
    Completed,
    /// Wall cap; aborted.
    TimedOut,
    /// No event for the stall time; aborted.
    Stalled,
    /// The model's provider failed for good.
    Provider(String),
    /// The server answered with an error or nonsense.
    Agent(String),
    /// The server process is gone; [`Agent::restart`] may help.
    ServerDied(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TurnReport {
    pub label: String,
    #[serde(flatten)]
    pub end: TurnEnd,
    /// The final text, bounded.
    pub text: String,
    pub tool_calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost: f64,
    /// `ask`s that were refused.
    pub refused_asks: Vec<String>,
    pub wall_ms: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("{0}")]
    NotFound(String),
    #[error("the OpenCode server did not come up: {0}")]
    NotHealthy(String),
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::SandboxError),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

/// A running server.
pub struct Agent {
    _private: (),
}

impl Agent {
    /// Starts `opencode serve` inside (or connects to the external one) and waits until it is healthy.
    pub async fn start(_sandbox: &Sandbox, _config: AgentConfig) -> Result<Self, AgentError> {
        unimplemented!()
    }
    /// The stage whose main process is the server (to be spared by sweeps); none when external.
    pub fn stage(&self) -> Option<u64> {
        unimplemented!()
    }
    /// One session, one prompt, until idle. `on_event` gets short, escaped progress lines.
    pub async fn turn(
        &mut self,
        _sandbox: &Sandbox,
        _turn: &Turn,
        _on_event: &(dyn Fn(&str) + Sync),
    ) -> Result<TurnReport, AgentError> {
        unimplemented!()
    }
    /// Starts the server again after it died.
    pub async fn restart(&mut self, _sandbox: &Sandbox) -> Result<(), AgentError> {
        unimplemented!()
    }
    /// Ends the server.
    pub async fn stop(self, _sandbox: &Sandbox) -> Result<(), AgentError> {
        unimplemented!()
    }
}

/// Finds the binary: `explicit`, `$OPENCODE_BIN`, `PATH`, `~/.opencode/bin`, the tool's own cache.
pub fn find_binary(_explicit: Option<&std::path::Path>) -> Result<PathBuf, AgentError> {
    unimplemented!()
}

/// Installs the pinned version with npm into the tool's own cache.
pub async fn install(_progress: &(dyn Fn(&str) + Sync)) -> Result<PathBuf, AgentError> {
    unimplemented!()
}
