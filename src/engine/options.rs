//! What the user asked for, as plain values.

use std::{ffi::OsStr, fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    agent::Server,
    broker::Budget,
    contract,
    engine::{EngineError, Scaffold, StepOf},
    names::RelPath,
    policy::{
        BackendChoice, BashMode, Isolation, Limits, NetworkMode, NetworkRules, Policy, SettingName, SettingValue, Tier,
    },
    record::{self, Secret, audit::Signer},
    sandbox::Layer,
    source::{Endpoints, FetchOptions, Target},
    tree::ExportCaps,
};

/// Caps on time from the user's side. Nothing that a repository, its contract or an
/// agent writes can lift them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Caps {
    /// Longest time of one command; takes the place of the contract's `security.max_cmd_seconds`.
    pub max_cmd: Option<Duration>,
    /// Longest time of one stage; takes the place of the contract's
    /// `security.max_total_seconds`, and of 7200 s where neither is given.
    pub max_total: Option<Duration>,
    /// Longest time of the whole run; 24 h where it is not given.
    pub max_run: Option<Duration>,
    /// Longest time without a byte of output of one command; 1800 s where it is not given.
    pub max_silence: Option<Duration>,
    /// What the host's policy says of commands and stages where the user does not.
    pub policy: StageTime,
}

/// The time of commands and stages by the host's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StageTime {
    /// Longest command.
    pub command: Duration,
    /// Longest stage.
    pub stage: Duration,
    /// Whether a contract may ask for more: then these hold where it does not.
    pub contract_may_raise: bool,
}

impl Default for StageTime {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(1800),
            stage: Duration::from_secs(7200),
            contract_may_raise: true,
        }
    }
}

/// Whether somebody is there (`--unattended`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Unattended {
    /// Nobody: what would wait for a person is refused.
    #[default]
    Strict,
    /// Somebody may look in: `auth` with `interactive: true` gets the terminal.
    Guided,
}

/// What becomes of findings about how a score came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Audit {
    /// They fail the evaluation.
    #[default]
    On,
    /// Nobody looks.
    Off,
    /// They are told.
    WarnOnly,
}

/// Options about walls.
#[derive(Clone, Debug)]
pub struct WallOptions {
    /// What builds them.
    pub backend: BackendChoice,
    /// The image of containers; `None` is the runner image.
    pub image: Option<String>,
    /// A runtime of the engine; `None` is its default.
    pub docker_runtime: Option<String>,
    /// The weakest acceptable ones.
    pub min_tier: Tier,
    /// For tests that show what a wall is worth.
    pub trial: Option<Trial>,
}

/// A jail with layers left off, which a test sees fail. Only who calls this library can ask
/// for it: no flag, variable or file does, and the report on the walls says `absent`.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The program that is launcher and guest.
    pub program: PathBuf,
    /// What is left off.
    pub without: Vec<Layer>,
}

/// What of the network the host's side allows.
#[derive(Clone, Debug, Default)]
pub struct NetworkOptions {
    /// The mode and the rules.
    pub rules: NetworkRules,
    /// A name server in place of those of this host.
    pub resolver: Option<SocketAddr>,
    /// The secrets that rules name, by their names.
    pub secrets: Vec<(String, Secret)>,
}

impl NetworkOptions {
    /// How much programs inside may see.
    pub fn mode(&self) -> NetworkMode {
        self.rules.mode.unwrap_or_default()
    }
}

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
    /// What a server outside asks of its own providers; its own choice where none is named.
    OfTheServer(Option<(String, String)>),
}

/// An agent that works outside every sandbox, by the user's word.
#[derive(Clone, Debug)]
pub struct OutsideAgent {
    /// Its server.
    pub server: Server,
    /// The server's user.
    pub user: String,
    /// The password, where it has one.
    pub password: Option<Secret>,
}

impl fmt::Display for ModelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelChoice::Endpoint { provider, model, .. } => write!(f, "{provider}/{model}"),
            ModelChoice::Cassette(path) => write!(f, "cassette:{}", path.display()),
            ModelChoice::Bundled(_) => f.write_str("cassette"),
            ModelChoice::OfTheServer(Some((provider, model))) => write!(f, "{provider}/{model}"),
            ModelChoice::OfTheServer(None) => f.write_str("the server's own"),
        }
    }
}

/// Options that `run` and `verify` share.
#[derive(Clone, Debug)]
pub struct TargetOptions {
    /// What it is about.
    pub target: Target,
    /// How that is fetched.
    pub fetch: FetchOptions,
    /// Servers that short names mean, and their keys.
    pub endpoints: Endpoints,
    /// Acceptance command; wins over the contract's tests.
    pub test_cmd: Option<String>,
    /// The contract's path in the tree.
    pub pipeline: RelPath,
    /// Whether a missing contract is an error.
    pub require_pipeline: bool,
    /// Directory that holds run directories; `None` is the XDG state directory.
    pub artifacts_dir: Option<PathBuf>,
    /// What the walls are to be.
    pub walls: WallOptions,
    /// Where a verification measures, unless the contract asks for what is narrower.
    pub isolation: Isolation,
    /// What becomes of what an audit finds about scores.
    pub audit: Audit,
    /// What of the network is allowed.
    pub network: NetworkOptions,
    /// Runs of this host and user that go on side by side; 0 is any number.
    pub jobs: u32,
    /// Resources of one sandbox.
    pub limits: Limits,
    /// What a sandbox may write to its workspace, bytes.
    pub disk_bytes: u64,
    /// Caps on time.
    pub caps: Caps,
    /// Whether somebody is there.
    pub unattended: Unattended,
    /// Variables that stages get by the user's word; redacted by value in all that is written.
    pub grants: Vec<(String, Secret)>,
    /// What this host allows, the user's flags included.
    pub policy: Arc<Policy>,
    /// The key that signs the receipt.
    pub signer: Option<Arc<Signer>>,
}

impl TargetOptions {
    /// These, as far as a policy that is narrower leaves them.
    pub(super) fn narrowed(&self, policy: Policy) -> Self {
        let number = |name| policy.number(name);
        let least = |own: u64, name| number(name).map_or(own, |cap| own.min(cap));
        let time = |own: Option<Duration>, name| match (own, number(name).map(Duration::from_secs)) {
            (Some(own), Some(cap)) => Some(own.min(cap)),
            (own, cap) => own.or(cap),
        };
        let seconds = |own: Duration, name| number(name).map_or(own, |cap| own.min(Duration::from_secs(cap)));
        let cpu = number(SettingName::Cpu).and_then(|millis| u32::try_from(millis).ok());
        let tier = match policy.setting(SettingName::MinTier).map(|said| said.value) {
            Some(SettingValue::Tier(tier)) => self.walls.min_tier.max(tier),
            _ => self.walls.min_tier,
        };
        Self {
            walls: WallOptions {
                min_tier: tier,
                ..self.walls.clone()
            },
            limits: Limits {
                memory_bytes: least(self.limits.memory_bytes, SettingName::Memory),
                processes: least(self.limits.processes, SettingName::Processes),
                cpu: match (self.limits.cpu, cpu) {
                    (Some(own), Some(cap)) => Some(own.min(cap)),
                    (own, cap) => own.or(cap),
                },
                file_bytes: least(self.limits.file_bytes, SettingName::FileSize),
                open_files: least(self.limits.open_files, SettingName::OpenFiles),
                ..self.limits.clone()
            },
            disk_bytes: least(self.disk_bytes, SettingName::Disk),
            caps: Caps {
                // A cap of the user's on commands takes the place of the policy's.
                max_cmd: self.caps.max_cmd.map(|own| seconds(own, SettingName::Command)),
                max_total: self.caps.max_total.map(|own| seconds(own, SettingName::Stage)),
                max_run: time(self.caps.max_run, SettingName::Run),
                max_silence: time(self.caps.max_silence, SettingName::Silence),
                policy: StageTime {
                    command: seconds(self.caps.policy.command, SettingName::Command),
                    stage: seconds(self.caps.policy.stage, SettingName::Stage),
                    contract_may_raise: policy.is_on(SettingName::ContractMayRaise),
                },
            },
            policy: Arc::new(policy),
            ..self.clone()
        }
    }

    /// A target with what this host allows by itself: its policies, and no flag.
    ///
    /// # Errors
    /// When a policy cannot be used, or the name is none of a target.
    pub fn of_host(target: impl AsRef<OsStr>) -> Result<Self, EngineError> {
        let endpoints = Endpoints::of(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))?;
        let named = Target::parse(target.as_ref(), &endpoints)?;
        let policy = Policy::of_host(&record::policy_places(), None)?;
        let number = |name| policy.number(name);
        let seconds = |name| number(name).map(Duration::from_secs);
        let (limits, time) = (Limits::default(), StageTime::default());
        Ok(Self {
            network: NetworkOptions {
                rules: policy.network(),
                resolver: None,
                secrets: Default::default(),
            },
            target: named.target,
            fetch: FetchOptions::default(),
            endpoints,
            test_cmd: None,
            pipeline: contract::default_path(),
            require_pipeline: false,
            artifacts_dir: None,
            walls: WallOptions {
                backend: match policy.setting(SettingName::Backend).map(|said| said.value) {
                    Some(SettingValue::Backend(backend)) => backend,
                    _ => BackendChoice::Auto,
                },
                image: None,
                docker_runtime: None,
                min_tier: match policy.setting(SettingName::MinTier).map(|said| said.value) {
                    Some(SettingValue::Tier(tier)) => tier,
                    _ => Tier::Namespaces,
                },
                trial: None,
            },
            jobs: 0,
            limits: Limits {
                memory_bytes: number(SettingName::Memory).unwrap_or(limits.memory_bytes),
                processes: number(SettingName::Processes).unwrap_or(limits.processes),
                cpu: number(SettingName::Cpu).and_then(|millis| u32::try_from(millis).ok()),
                file_bytes: number(SettingName::FileSize).unwrap_or(limits.file_bytes),
                open_files: number(SettingName::OpenFiles).unwrap_or(limits.open_files),
                ..limits
            },
            disk_bytes: number(SettingName::Disk).unwrap_or(4 << 30),
            caps: Caps {
                max_run: seconds(SettingName::Run),
                max_silence: seconds(SettingName::Silence),
                policy: StageTime {
                    command: seconds(SettingName::Command).unwrap_or(time.command),
                    stage: seconds(SettingName::Stage).unwrap_or(time.stage),
                    contract_may_raise: policy.is_on(SettingName::ContractMayRaise),
                },
                ..Caps::default()
            },
            unattended: Unattended::default(),
            audit: Audit::default(),
            isolation: match policy.setting(SettingName::Isolation).map(|said| said.value) {
                Some(SettingValue::Isolation(isolation)) => isolation,
                _ => Isolation::default(),
            },
            grants: Vec::new(),
            policy: Arc::new(policy),
            signer: None,
        })
    }

    /// What the stages of one verification may bring out.
    pub(super) fn outputs_caps(&self) -> ExportCaps {
        self.export(SettingName::Bytes, SettingName::Files)
    }

    /// What a run may bring out of what it changed.
    pub(super) fn changes_caps(&self) -> ExportCaps {
        self.export(SettingName::ChangesBytes, SettingName::ChangesFiles)
    }

    fn export(&self, bytes: SettingName, files: SettingName) -> ExportCaps {
        // The shipped default gives both.
        ExportCaps {
            bytes: self.policy.number(bytes).unwrap_or_default(),
            files: self.policy.number(files).unwrap_or_default(),
        }
    }
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
    /// The user's server, where the agent is to work there.
    pub outside: Option<OutsideAgent>,
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
    /// Model budget of the run.
    pub run_budget: Budget,
    /// Model budget of one turn.
    pub turn_budget: Budget,
    /// Bring the changes to the target when the run ends as `DONE`.
    pub apply: bool,
    /// The step of an earlier run to go on from.
    pub from: Option<StepOf>,
    /// How a contract is come by where the target has none.
    pub scaffold: Scaffold,
}

impl RunOptions {
    /// These, with what a narrower policy leaves of the target's.
    pub(super) fn narrowed(&self, target: TargetOptions) -> Self {
        let policy = &target.policy;
        let least = |own: Option<u64>, name| match (own, policy.number(name)) {
            (Some(own), Some(cap)) => Some(own.min(cap)),
            (own, cap) => own.or(cap),
        };
        let time = |own: Duration, name| policy.number(name).map_or(own, |cap| own.min(Duration::from_secs(cap)));
        let bash = match policy.setting(SettingName::Bash).map(|said| said.value) {
            Some(SettingValue::Bash(bash)) => self.bash.min(bash),
            _ => self.bash,
        };
        let turn_wall = time(self.turn_wall, SettingName::Turn);
        Self {
            bash,
            turn_wall,
            run_budget: Budget {
                calls: least(self.run_budget.calls, SettingName::Calls),
                tokens: least(self.run_budget.tokens, SettingName::Tokens),
                wall: self
                    .run_budget
                    .wall
                    .or(target.caps.max_run)
                    .map(|own| time(own, SettingName::Run)),
            },
            turn_budget: Budget {
                calls: least(self.turn_budget.calls, SettingName::TurnCalls),
                tokens: least(self.turn_budget.tokens, SettingName::TurnTokens),
                wall: self.turn_budget.wall.map(|own| own.min(turn_wall)),
            },
            target,
            ..self.clone()
        }
    }
}
