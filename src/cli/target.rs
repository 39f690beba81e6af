//! Flags about a target: what it is, what is granted to it, and the walls around it.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};

use super::{fetch::FetchArgs, reports::Ci};
use crate::{
    engine::{Audit, EngineError, Unattended},
    names::RelPath,
    policy::{BackendChoice, HostRule, Isolation, NAMES_PORT, NetworkMode, Tier, parse_size},
};

/// What builds the walls, and how strong they have to be.
#[derive(Clone, Debug, Args)]
pub(super) struct WallArgs {
    /// What builds the walls [env: OPENCODE_FSM_SANDBOX].
    #[arg(long, value_enum, default_value = "auto")]
    pub sandbox: BackendChoice,
    /// The image that containers start from; the engine must have it [env: OPENCODE_FSM_IMAGE; default: the runner image, built where it is missing].
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// A runtime of the Docker engine, for instance runsc or kata [default: the engine's].
    #[arg(long, value_name = "NAME")]
    pub docker_runtime: Option<String>,
    /// The weakest acceptable walls: landlock, namespaces-no-proc, namespaces or namespaces-cgroup.
    #[arg(long, value_name = "TIER", default_value = "namespaces")]
    pub min_tier: Tier,
}

#[derive(Clone, Debug, Args)]
pub(super) struct TargetArgs {
    /// A directory, an archive, a URL of either, a git URL, OWNER/REPO of GitHub, or hf:NAME; copied, and never written.
    #[arg(default_value = ".")]
    target: PathBuf,
    /// The same as TARGET.
    #[arg(long, value_name = "TARGET", conflicts_with = "target")]
    repo: Option<PathBuf>,
    /// Acceptance command; wins over the contract's tests.
    #[arg(long, value_name = "COMMAND")]
    pub test_cmd: Option<String>,
    /// The contract, relative to the target; a target without the named one is refused [default: pipeline.yml].
    #[arg(long, value_name = "PATH")]
    pub pipeline: Option<RelPath>,
    /// Refuse a target without a contract.
    #[arg(long)]
    pub require_pipeline: bool,
    /// Variables for this program, one NAME=VALUE a line; a file that is named is for the stages, too; "" for none [default: .env].
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub env_file: Option<PathBuf>,
    /// The file's variables come before those of the environment.
    #[arg(long)]
    pub env_override: bool,
    /// A variable for the stages, without =VALUE as the environment has it; redacted in the record; may be repeated.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Whether the auth stage may ask on the terminal.
    #[arg(long, value_enum, default_value = "strict")]
    pub unattended: Unattended,
    /// Directory that holds run directories [default: the XDG state directory].
    #[arg(long, value_name = "DIR")]
    pub artifacts_dir: Option<PathBuf>,
    /// Sign the receipt with this key (PEM, ed25519: `openssl genpkey -algorithm ed25519`).
    #[arg(long, value_name = "FILE")]
    pub sign_key: Option<PathBuf>,
    /// Show every setting, redacted, and where it comes from; run nothing.
    #[arg(long)]
    pub print_config: bool,
    /// What this host allows, on top of its own files: a policy's name or path (`policy list`).
    #[arg(long, value_name = "NAME|FILE")]
    pub policy: Option<String>,
    #[command(flatten)]
    pub walls: WallArgs,
    /// Where evaluation and benchmark run: with the stages before them, or each in a fresh sandbox of the accepted state; a contract may ask for sealed, too, and never undo it.
    #[arg(long, value_enum, value_name = "WHERE", default_value = "shared")]
    pub isolation: Isolation,
    /// What becomes of findings about how a score came about: hard-coded ones, measurements that execute nothing, tests that write rewards [default: warn-only for run and verify, else on].
    #[arg(long, value_enum)]
    pub audit: Option<Audit>,
    /// What programs inside reach: nothing; the model, which is the agent's server's alone; or that and the hosts of --allow-host [default: model for a model at an endpoint, else none].
    #[arg(long, value_enum, value_name = "MODE")]
    pub network: Option<NetworkMode>,
    /// A host that programs inside may reach, for instance pypi.org or *.example.org:443; the blocks are the addresses that the name may lead to, where they are private; may be repeated.
    #[arg(long = "allow-host", value_name = "HOST[:PORT,…][@BLOCK,…]")]
    pub allow_hosts: Vec<HostRule>,
    /// A name server for the names of --allow-host [default: those of this host].
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = name_server)]
    pub resolver: Option<SocketAddr>,
    /// Runs of this host that go on side by side; further ones wait; 0 for any number [env: OPENCODE_FSM_JOBS; default: two a processor, at least 4].
    #[arg(long, value_name = "N")]
    pub jobs: Option<u32>,
    /// Memory of one sandbox.
    #[arg(long, value_name = "BYTES", default_value = "4G", value_parser = parse_size)]
    pub memory: u64,
    /// Processes of one sandbox.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..))]
    pub processes: u64,
    /// Longest command of a stage; comes before the contract's `max_cmd_seconds` [env: AIDER_FSM_MAX_CMD_SECONDS; default: the contract's, else 1800].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub max_cmd: Option<Duration>,
    /// Longest stage; comes before the contract's `max_total_seconds` [env: AIDER_FSM_MAX_TOTAL_SECONDS; default: the contract's, else 7200].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub max_total: Option<Duration>,
    /// Longest run [env: AIDER_FSM_MAX_RUN_SECONDS; default: 86400].
    #[arg(long, visible_alias = "timeout", value_name = "SECONDS", value_parser = seconds)]
    pub max_run: Option<Duration>,
    /// Longest time in which a command prints nothing [env: AIDER_FSM_MAX_SILENCE_SECONDS; default: 1800].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub max_silence: Option<Duration>,
    /// What one sandbox may write to its workspace.
    #[arg(long, value_name = "BYTES", default_value = "4G", value_parser = parse_size)]
    pub disk: u64,
    /// Whether a job of a CI service is told at the end: annotations on standard error, a summary in its file.
    #[arg(long, value_enum, default_value = "auto")]
    pub ci: Ci,
    #[command(flatten)]
    pub fetch: FetchArgs,
}

impl TargetArgs {
    /// The target, as it was written.
    pub fn target(&self) -> &Path {
        self.repo.as_deref().unwrap_or(&self.target)
    }

    /// The same flags about another target.
    pub fn with_target(&self, target: PathBuf) -> Self {
        Self {
            target,
            repo: None,
            ..self.clone()
        }
    }

    /// Refuses a target, for a verb that gets its own elsewhere.
    ///
    /// # Errors
    /// [`EngineError::Usage`] for one that is given; `instead` says where it goes.
    pub fn refuse_target(&self, instead: &str) -> Result<(), EngineError> {
        match self.repo.is_none() && self.target == Path::new(".") {
            true => Ok(()),
            false => Err(EngineError::Usage(format!("{}: {instead}", self.target().display()))),
        }
    }
}

/// Seconds, at least one.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("a whole number of seconds above 0 is expected".to_owned()),
    }
}

/// An address, at the port of names unless it says another.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let alone = || {
        text.parse::<IpAddr>()
            .map(|address| SocketAddr::new(address, NAMES_PORT))
    };
    text.parse().or_else(|_| alone()).map_err(|_| {
        "an address, or one with a port, is expected: 192.0.2.1, 192.0.2.1:5353, [2001:db8::1]:53".to_owned()
    })
}
