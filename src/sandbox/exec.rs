//! Running a command inside, seen from the host.

use std::{path::PathBuf, time::Duration};

use crate::{
    sandbox::SandboxError,
    wire::{Argv, LeakedProcess, Leftovers, ResourceUse, Termination},
};

/// One command for a sandbox.
#[derive(Clone, Debug)]
pub struct ExecSpec {
    /// What to run.
    pub argv: Argv,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Absolute directory inside.
    pub cwd: String,
    /// Wall cap; the guest enforces it, the host a second later.
    pub wall: Duration,
    /// Fate of leftovers.
    pub leftovers: Leftovers,
    /// Fed to stdin; `None` is `/dev/null`.
    pub stdin: Option<Vec<u8>>,
    /// Where and how much of stdout is kept.
    pub stdout: OutputCaps,
    /// Where and how much of stderr is kept.
    pub stderr: OutputCaps,
}

/// Bounds on one output stream. Beyond them bytes are read and dropped, so a
/// flood costs the host no memory and never blocks the stage.
#[derive(Clone, Debug)]
pub struct OutputCaps {
    /// Bytes kept in memory: the last ones.
    pub tail_bytes: usize,
    /// A file that gets the first bytes, as they come.
    pub sink: Option<OutputSink>,
}

/// A capped file for one output stream.
#[derive(Clone, Debug)]
pub struct OutputSink {
    /// The file, created anew.
    pub path: PathBuf,
    /// Bytes it may take; past them a marker line is appended and the rest dropped.
    pub max_bytes: u64,
}

/// What was kept of one stream.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// The last bytes.
    pub tail: Vec<u8>,
    /// Bytes that came in all.
    pub total_bytes: u64,
    /// Whether the tail lacks something.
    pub truncated: bool,
}

/// A finished command.
#[derive(Clone, Debug)]
pub struct ExecOutcome {
    /// How the main process ended.
    pub end: Termination,
    /// The wall cap killed it.
    pub timed_out: bool,
    /// A cap other than time that killed it (`memory`, `disk`), named.
    pub cap_hit: Option<String>,
    /// Resources.
    pub usage: ResourceUse,
    /// Processes killed at its end (at most 32 listed).
    pub leaked: Vec<LeakedProcess>,
    /// How many there were.
    pub leaked_total: u64,
    /// Stdout.
    pub stdout: Captured,
    /// Stderr.
    pub stderr: Captured,
}

/// A command under way. Dropping it kills its tree.
pub struct Running {
    _private: (),
}

impl Running {
    /// The host's number for this stage (see [`crate::wire::Request::Sweep`]).
    pub fn stage(&self) -> u64 {
        unimplemented!()
    }

    /// Asks the stage supervisor to kill the tree; [`Running::wait`] then returns.
    pub fn kill(&self) {
        unimplemented!()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`SandboxError::Gone`] when the sandbox died meanwhile; [`SandboxError::Guest`] when a wall could not be built.
    pub async fn wait(self) -> Result<ExecOutcome, SandboxError> {
        unimplemented!()
    }
}
