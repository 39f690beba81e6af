//! The command line's grammar (clap).

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use super::{
    audit::{AuditVerb, BundleArgs},
    containers::{GcArgs, ImageVerb},
    environment::{EnvVerb, EvaluateArgs},
    escape_test::EscapeArgs,
    paper::{CompletionsArgs, ManArgs},
    policy::PolicyVerb,
    replay::ReplayArgs,
    reports::{ExportArgs, ReportArgs, ViewArgs},
    resume::ResumeArgs,
    retired::RetiredArgs,
    runs::{CheckoutArgs, DiffArgs, RunsArgs, RunsVerb},
    scaffold::ScaffoldArgs,
    suite::SuiteArgs,
    target::{TargetArgs, WallArgs, seconds},
};
use crate::{names::RelPath, policy::BashMode};

/// Keys of the host's configuration: flags that describe a host or a user and not one
/// run, with `_` for `-`.
pub(super) const CONFIG_KEYS: [&str; 34] = [
    "model",
    "base_url",
    "opencode_bin",
    "opencode_bash",
    "unattended",
    "artifacts_dir",
    "sandbox",
    "image",
    "docker_runtime",
    "jobs",
    "min_tier",
    "isolation",
    "network",
    "resolver",
    "memory",
    "processes",
    "disk",
    "max_iters",
    "max_fix",
    "turn_timeout",
    "stall_timeout",
    "max_cmd",
    "max_total",
    "max_run",
    "max_silence",
    "max_calls",
    "max_tokens",
    "turn_max_calls",
    "turn_max_tokens",
    "fetch_timeout",
    "fetch_max_bytes",
    "fetch_max_unpacked",
    "hf_max_total",
    "hf_max_file",
];
/// Those of them that are paths; relative ones would mean another place in every directory.
pub(super) const PATH_KEYS: [&str; 2] = ["opencode_bin", "artifacts_dir"];

/// Runs an untrusted repository's own agent loop inside a sandbox, and brings out what can be believed.
#[derive(Debug, Parser)]
#[command(
    name = "opencode-fsm",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(super) struct Cli {
    /// JSON lines on stdout, nothing else there.
    #[arg(long, global = true)]
    pub json: bool,
    /// Show what the agent does and every wall; twice: the program's own log.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Let the agent work on a repository, step by step, judged by its contract.
    Run(Box<RunArgs>),
    /// Go on with a run that was cut off, at the phase that it was cut off in.
    Resume(ResumeArgs),
    /// Do a run again by what was recorded of it, without a model, and say where it first goes another way (exit 13).
    Replay(ReplayArgs),
    /// Run a repository's contract once, without an agent.
    Verify(Box<TargetArgs>),
    /// Watch a whole run on a small bundled repository; needs no key and no network.
    Demo(DemoArgs),
    /// Deploy a repository, roll out and evaluate by its contract; the metrics are the last line on stdout.
    Evaluate(Box<EvaluateArgs>),
    /// Evaluate many targets side by side; one result document, and it can go on after an interruption.
    Suite(Box<SuiteArgs>),
    /// Serve the env API to a program in another language.
    #[command(subcommand)]
    Env(EnvVerb),
    /// Bring the changes of a finished run to a tree.
    Apply(ApplyArgs),
    /// Check the record of a run, show it, or compare two.
    #[command(subcommand)]
    Audit(AuditVerb),
    /// Pack a finished run into one file that can be checked anywhere.
    Bundle(BundleArgs),
    /// List, show or remove the runs of this host.
    #[command(subcommand)]
    Runs(RunsVerb),
    /// Print what differs between two steps of a run, as a git patch.
    Diff(DiffArgs),
    /// Lay out the tree of a step of a run.
    Checkout(CheckoutArgs),
    /// Show what a run did: a page to read, or a file for another program.
    Report(ReportArgs),
    /// Bring out what the agent saw and did, for programs that learn from it.
    Export(ExportArgs),
    /// Show a run in the browser: its page and its files, on the loopback only.
    View(ViewArgs),
    /// Write a commented contract for a repository that has none, after a look at its files.
    Init(InitArgs),
    /// Show what this host can give, and what to do about what it cannot.
    Doctor,
    /// Print the JSON Schema of a contract or a record; without a name, the names.
    Schema(SchemaArgs),
    /// Ask what this host allows, and why.
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Build, list or prune the images that containers begin with.
    #[command(subcommand)]
    Image(ImageVerb),
    /// Remove what dead runs left behind: containers, volumes, scratch directories.
    Gc(GcArgs),
    /// Try to get out of a sandbox on this host, in every way of a list, each with its control.
    EscapeTest(EscapeArgs),
    /// Print the completions of a shell.
    Completions(CompletionsArgs),
    /// Write the manual pages into a directory; without one, print the first.
    Man(ManArgs),
    /// Find OpenCode, or install the pinned version with npm into the tool's own cache.
    Setup,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// What to achieve; goes into the plan when the target has none.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub goal: String,
    /// The plan, relative to the target.
    #[arg(long, visible_alias = "plan-path", value_name = "PATH", default_value = "PLAN.md")]
    pub plan: RelPath,
    /// Bootstrap and one verification, as `verify` does; no agent and no model.
    #[arg(long)]
    pub preflight_only: bool,
    /// `provider/model`, or `cassette:FILE` [env: AIDER_FSM_MODEL, OPENAI_MODEL, LITELLM_CHAT_MODEL].
    #[arg(long)]
    pub model: Option<String>,
    /// Base URL of an OpenAI-compatible endpoint [env: OPENAI_BASE_URL, OPENAI_API_BASE].
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// Record the model traffic as a cassette.
    #[arg(long, value_name = "FILE")]
    pub record_cassette: Option<PathBuf>,
    /// The OpenCode executable [default: $OPENCODE_BIN, PATH, ~/.opencode/bin, the tool's cache].
    #[arg(long, value_name = "FILE")]
    pub opencode_bin: Option<PathBuf>,
    /// An OpenCode server of this host that runs already: THE AGENT THEN RUNS OUTSIDE THE SANDBOX; needs --allow-unsandboxed-agent [env: OPENCODE_SERVER_USERNAME, OPENCODE_SERVER_PASSWORD].
    #[arg(long, value_name = "URL")]
    pub opencode_url: Option<String>,
    /// Accept that what --opencode-url names runs without any wall.
    #[arg(long)]
    pub allow_unsandboxed_agent: bool,
    /// What the agent's shell may run; the walls and the guard hold either way.
    #[arg(long, value_enum, default_value = "restricted")]
    pub opencode_bash: BashMode,
    /// Longest turn of the agent, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1800", value_parser = seconds)]
    pub turn_timeout: Duration,
    /// Abort a turn that is silent for this long, in seconds.
    #[arg(long, visible_alias = "opencode-timeout", value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub stall_timeout: Duration,
    /// Model calls of the run.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub max_calls: u64,
    /// Tokens of the run [default: no limit].
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
    /// Model calls of one turn.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub turn_max_calls: u64,
    /// Tokens of one turn [default: no limit].
    #[arg(long, value_name = "N")]
    pub turn_max_tokens: Option<u64>,
    /// Iterations before the run gives up.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_iters: u64,
    /// Fix turns for one failing step before it is blocked.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub max_fix: u32,
    /// A text file to show the agent in every snapshot; may be repeated.
    #[arg(long = "seed", value_name = "FILE")]
    pub seeds: Vec<PathBuf>,
    /// A path that OpenCode loads code or settings from, to be shown to it all the same; may be repeated.
    #[arg(long, value_name = "PATH")]
    pub allow_repo_config: Vec<RelPath>,
    /// Bring the changes to the target when the run ends as DONE.
    #[arg(long)]
    pub apply: bool,
    /// Go on from a step of an earlier run, on its target as it was then: `RUN:3`; without a number from the last.
    #[arg(long, value_name = "RUN[:STEP]", conflicts_with_all = ["target", "repo", "preflight_only"])]
    pub from: Option<String>,
    #[command(flatten)]
    pub scaffold: ScaffoldArgs,
    #[command(flatten)]
    pub retired: RetiredArgs,
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where the demonstration repository is written [default: a new directory beside the runs].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Directory that holds run directories [default: the XDG state directory].
    #[arg(long, value_name = "DIR")]
    pub artifacts_dir: Option<PathBuf>,
    /// The OpenCode executable; installed with npm when none is found.
    #[arg(long, value_name = "FILE")]
    pub opencode_bin: Option<PathBuf>,
    #[command(flatten)]
    pub walls: WallArgs,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// The run: `latest`, its id, the beginning of one, or a path.
    #[arg(default_value = "latest")]
    pub run: String,
    /// The tree to change [default: the run's target].
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    #[command(flatten)]
    pub runs: RunsArgs,
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The repository; nothing of it is run, and nothing in it is overwritten.
    #[arg(default_value = ".")]
    pub target: PathBuf,
    /// Acceptance command, in place of what is recognised.
    #[arg(long, value_name = "COMMAND")]
    pub test_cmd: Option<String>,
    /// The contract, relative to the target.
    #[arg(long, value_name = "PATH", default_value = "pipeline.yml")]
    pub pipeline: RelPath,
}

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Which.
    pub name: Option<String>,
}

impl Verb {
    /// What the verb runs by: the host's policy, and the one that is named on top of it.
    pub fn policy(&self) -> Option<Option<&str>> {
        match self {
            Verb::Demo(_) => Some(None),
            verb => verb.target().map(|target| target.policy.as_deref()),
        }
    }

    /// The flags about a target, where the verb has them.
    pub fn target(&self) -> Option<&TargetArgs> {
        match self {
            Verb::Run(args) => Some(&args.target),
            Verb::Verify(args) => Some(args),
            Verb::Evaluate(args) => Some(&args.target),
            Verb::Env(EnvVerb::Serve(args)) => Some(&args.target),
            Verb::Suite(args) => Some(&args.target),
            _ => None,
        }
    }

    /// Whether it is about one target, which it was started for.
    pub fn has_one_target(&self) -> bool {
        matches!(self, Verb::Run(_) | Verb::Verify(_) | Verb::Evaluate(_))
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
