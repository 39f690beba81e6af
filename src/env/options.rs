//! What a session and a call are asked for.

use std::path::PathBuf;

use super::{AgentSettings, Endpoint, EnvError};
use crate::{
    engine::{Audit, Stop, TargetOptions},
    record::Secret,
    report::{Face, Reporter},
};

/// What a session is asked for.
#[derive(Clone)]
pub struct SetupOptions {
    /// The target, its contract, walls, caps, and where the run's directory is made.
    pub target: TargetOptions,
    /// Whether an evaluation without `ok: true` in its metrics has failed.
    pub require_metrics: bool,
    /// What becomes of findings about how a score came about.
    pub audit: Audit,
    /// For an agent that writes or repairs a contract.
    pub agent: AgentSettings,
    /// Where remote models are, unless a call's variables say otherwise.
    pub endpoint: Option<Endpoint>,
    /// Whether the contract's teardown runs, by its policy, before a sandbox ends; what was
    /// deployed ends with it in any case.
    pub teardown: bool,
    /// What is redacted in all that is written and shown.
    pub secrets: Vec<Secret>,
    /// Who is told what happens.
    pub reporter: Reporter,
    /// Ends the copying of the target.
    pub stop: Stop,
}

impl SetupOptions {
    /// A session on `target` with what this host allows by itself and no flag.
    ///
    /// # Errors
    /// When a policy of this host cannot be used, or the name is none of a target.
    pub fn of_host(target: impl AsRef<std::ffi::OsStr>) -> Result<Self, EnvError> {
        Ok(Self::new(TargetOptions::of_host(target)?))
    }

    /// A session by these options.
    pub fn new(target: TargetOptions) -> Self {
        Self {
            target,
            require_metrics: true,
            audit: Audit::default(),
            agent: AgentSettings::default(),
            endpoint: None,
            teardown: true,
            secrets: Vec::new(),
            reporter: Reporter::new(Face::Human, 0),
            stop: Stop::never(),
        }
    }
}

/// What a call is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOptions {
    /// `smoke`, `full` or what else the target knows: `AIDER_EVAL_MODE`.
    pub mode: String,
    /// Variables over those of the contract.
    pub env: Vec<(String, String)>,
    /// A directory that gets a copy of the call's artifacts.
    pub artifacts_dir: Option<PathBuf>,
    /// How often an agent may repair the contract after a call that failed: a call is at most
    /// one attempt more.
    pub repair_iters: u32,
    /// Whether a rollout without valid samples has failed.
    pub require_samples: bool,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            mode: "smoke".to_owned(),
            env: Vec::new(),
            artifacts_dir: None,
            repair_iters: 3,
            require_samples: false,
        }
    }
}
