//! What the user asked for, as plain values.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{agent::BashMode, broker::Budget, names::RelPath, policy::Tier, record::Secret};

/// Where model calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelChoice {
    /// An OpenAI-compatible endpoint.
    Endpoint {
        /// Its base URL, for instance `https://host/v1`.
        base_url: String,
        /// The provider's name as the user gave it.
        provider: String,
        /// The model id that it is asked for.
        model: String,
    },
    /// `cassette:FILE`: recorded answers.
    Cassette(PathBuf),
    /// A cassette that is part of this program.
    Bundled(&'static str),
}

impl fmt::Display for ModelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelChoice::Endpoint { provider, model, .. } => write!(f, "{provider}/{model}"),
            ModelChoice::Cassette(path) => write!(f, "cassette:{}", path.display()),
            ModelChoice::Bundled(_) => f.write_str("cassette"),
        }
    }
}

/// Whether anybody is there to answer a stage (`--unattended`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Unattended {
    /// Nobody: a stage that asks is ended.
    Strict,
    /// A person at the terminal: the auth stage may ask, where the contract says so.
    Guided,
}

/// Options that `run` and `verify` share.
#[derive(Clone, Debug)]
pub struct TargetOptions {
    /// The repository: a local directory.
    pub target: PathBuf,
    /// Acceptance command; wins over the contract's tests.
    pub test_cmd: Option<String>,
    /// The contract's path in the tree.
    pub pipeline: RelPath,
    /// Whether a missing contract is an error.
    pub require_pipeline: bool,
    /// Variables of the user's that stages get; their values are redacted in the record.
    pub grants: Vec<(String, Secret)>,
    /// Whether a stage may ask on the terminal.
    pub unattended: Unattended,
    /// Directory that holds run directories; `None` is the XDG state directory.
    pub artifacts_dir: Option<PathBuf>,
    /// The weakest acceptable walls.
    pub min_tier: Tier,
    /// Memory of one sandbox, bytes.
    pub memory_bytes: u64,
    /// Processes of one sandbox.
    pub processes: u64,
    /// What a sandbox may write to its workspace, bytes.
    pub disk_bytes: u64,
}

/// Options of `run`.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The shared ones.
    pub target: TargetOptions,
    /// Goal text, used when the plan must be created.
    pub goal: String,
    /// The plan's path in the tree.
    pub plan: RelPath,
    /// The model.
    pub model: ModelChoice,
    /// The endpoint's key.
    pub api_key: Option<Secret>,
    /// Record the model traffic as a cassette here.
    pub record_cassette: Option<PathBuf>,
    /// The OpenCode binary, if named.
    pub opencode_bin: Option<PathBuf>,
    /// Shell permission of the agent.
    pub bash: BashMode,
    /// Wall cap of one turn.
    pub turn_wall: Duration,
    /// Silence after which a turn is aborted.
    pub stall: Duration,
    /// Iterations.
    pub max_iters: u64,
    /// Fix turns for one failing step.
    pub max_fix: u32,
    /// Text files for every snapshot.
    pub seeds: Vec<PathBuf>,
    /// Withheld paths that the user allows by name.
    pub allow_repo_config: Vec<RelPath>,
    /// Model budget of the run; its wall is the whole run's wall.
    pub run_budget: Budget,
    /// Model budget of one turn.
    pub turn_budget: Budget,
    /// Bring the changes to the target when the run ends as `DONE`.
    pub apply: bool,
}
