//! The command line's grammar (clap), and how it becomes the engine's options.

use std::{env, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    agent::BashMode,
    broker::Budget,
    engine::{Caps, EngineError, ModelChoice, RunOptions, TargetOptions, Unattended},
    names::RelPath,
    policy::Tier,
    record::Secret,
};

/// Where the provider `openai` is.
const OPENAI: &str = "https://api.openai.com/v1";

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
    /// Run a repository's contract once, without an agent.
    Verify(TargetArgs),
    /// Watch a whole run on a small bundled repository; needs no key and no network.
    Demo(DemoArgs),
    /// Bring the changes of a finished run to a tree.
    Apply(ApplyArgs),
    /// Show what this host can give, and what to do about what it cannot.
    Doctor,
    /// Find OpenCode, or install the pinned version with npm into the tool's own cache.
    Setup,
}

/// Which back end builds the walls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Backend {
    /// Namespaces, landlock and seccomp, without Docker.
    Jail,
}

#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// The repository: a local directory. It is copied; nothing in it is ever written.
    #[arg(default_value = ".")]
    pub target: PathBuf,
    /// Acceptance command; wins over the contract's tests.
    #[arg(long, value_name = "COMMAND")]
    pub test_cmd: Option<String>,
    /// The contract, relative to the target.
    #[arg(long, value_name = "PATH", default_value = "pipeline.yml")]
    pub pipeline: RelPath,
    /// Refuse a target without a contract.
    #[arg(long)]
    pub require_pipeline: bool,
    /// Directory that holds run directories [default: the XDG state directory].
    #[arg(long, value_name = "DIR")]
    pub artifacts_dir: Option<PathBuf>,
    /// Whether somebody is there: `guided` gives an interactive `auth` the terminal.
    #[arg(long, value_enum, default_value = "strict")]
    pub unattended: Unattended,
    /// What builds the walls.
    #[arg(long, value_enum, default_value = "jail")]
    pub sandbox: Backend,
    /// The weakest acceptable walls: landlock, namespaces-no-proc, namespaces or namespaces-cgroup.
    #[arg(long, value_name = "TIER", default_value = "namespaces")]
    pub min_tier: Tier,
    /// Memory of one sandbox.
    #[arg(long, value_name = "BYTES", default_value = "4G", value_parser = size)]
    pub memory: u64,
    /// Processes of one sandbox.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..))]
    pub processes: u64,
    /// What one sandbox may write to its workspace.
    #[arg(long, value_name = "BYTES", default_value = "4G", value_parser = size)]
    pub disk: u64,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// What to achieve; goes into the plan when the target has none.
    #[arg(long, default_value = "")]
    pub goal: String,
    /// The plan, relative to the target.
    #[arg(long, value_name = "PATH", default_value = "PLAN.md")]
    pub plan: RelPath,
    /// `provider/model`, or `cassette:FILE` to play recorded answers.
    #[arg(long, env = "AIDER_FSM_MODEL")]
    pub model: String,
    /// Base URL of an OpenAI-compatible endpoint [env: OPENAI_BASE_URL or OPENAI_API_BASE].
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// Record the model traffic as a cassette.
    #[arg(long, value_name = "FILE")]
    pub record_cassette: Option<PathBuf>,
    /// The OpenCode executable [default: $OPENCODE_BIN, PATH, ~/.opencode/bin, the tool's cache].
    #[arg(long, value_name = "FILE")]
    pub opencode_bin: Option<PathBuf>,
    /// An OpenCode server outside the sandbox: refused by this version.
    #[arg(long, value_name = "URL", hide = true)]
    pub opencode_url: Option<String>,
    /// What the agent's shell may run; the walls and the guard hold either way.
    #[arg(long, value_enum, default_value = "restricted")]
    pub opencode_bash: BashMode,
    /// Longest turn of the agent, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1800", value_parser = seconds)]
    pub turn_timeout: Duration,
    /// Abort a turn that is silent for this long, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub stall_timeout: Duration,
    /// Longest run, in seconds [default: no limit].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
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
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// The run: `latest`, its id, the beginning of one, or a path.
    #[arg(default_value = "latest")]
    pub run: String,
    /// The tree to change [default: the run's target].
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Directory that holds run directories [default: the XDG state directory].
    #[arg(long, value_name = "DIR")]
    pub artifacts_dir: Option<PathBuf>,
}

impl TargetArgs {
    pub fn options(&self) -> Result<TargetOptions, EngineError> {
        let Backend::Jail = self.sandbox;
        Ok(TargetOptions {
            target: self.target.clone(),
            test_cmd: self.test_cmd.clone().filter(|command| !command.trim().is_empty()),
            pipeline: self.pipeline.clone(),
            require_pipeline: self.require_pipeline,
            artifacts_dir: self.artifacts_dir.clone(),
            min_tier: self.min_tier,
            memory_bytes: self.memory,
            processes: self.processes,
            disk_bytes: self.disk,
            caps: caps()?,
            unattended: self.unattended,
            grants: Vec::new(),
        })
    }
}

impl RunArgs {
    pub fn options(&self) -> Result<RunOptions, EngineError> {
        if self.opencode_url.is_some() {
            let why = "--opencode-url: an agent outside the sandbox is not supported by this version; \
                       leave it out, and OpenCode runs inside";
            return Err(EngineError::Usage(why.to_owned()));
        }
        Ok(RunOptions {
            target: self.target.options()?,
            goal: self.goal.clone(),
            plan: self.plan.clone(),
            model: model(&self.model, self.base_url.as_deref())?,
            api_key: variable("OPENAI_API_KEY").map(Secret::new),
            record_cassette: self.record_cassette.clone(),
            opencode_bin: self.opencode_bin.clone(),
            bash: self.opencode_bash,
            turn_wall: self.turn_timeout,
            stall: self.stall_timeout,
            max_iters: self.max_iters,
            max_fix: self.max_fix,
            seeds: self.seeds.clone(),
            allow_repo_config: self.allow_repo_config.clone(),
            run_budget: Budget {
                calls: Some(self.max_calls),
                tokens: self.max_tokens,
                wall: self.timeout,
            },
            turn_budget: Budget {
                calls: Some(self.turn_max_calls),
                tokens: self.turn_max_tokens,
                wall: Some(self.turn_timeout),
            },
            apply: self.apply,
        })
    }
}

impl DemoArgs {
    /// The demonstration's run on the repository in `target`.
    pub fn options(&self, target: PathBuf, opencode: PathBuf) -> Result<RunOptions, EngineError> {
        let target = target.into_os_string();
        let argv = [
            "run",
            "--model",
            "bundled",
            "--goal",
            "Make the word counter count words, whatever stands between them.",
            "--require-pipeline",
        ];
        let cli = Cli::try_parse_from(["opencode-fsm"].into_iter().chain(argv).map(Into::into).chain([target]))
            .map_err(|why| EngineError::Usage(why.to_string()))?;
        let Verb::Run(run) = cli.verb else {
            return Err(EngineError::Usage("the demonstration is a run".to_owned()));
        };
        let mut options = run.options()?;
        options.target.artifacts_dir.clone_from(&self.artifacts_dir);
        options.opencode_bin = Some(opencode);
        Ok(options)
    }
}

/// The demonstration's recorded answers.
const DEMO: &str = include_str!("../../examples/demo.cassette.jsonl");

fn model(text: &str, base_url: Option<&str>) -> Result<ModelChoice, EngineError> {
    if let Some(file) = text.strip_prefix("cassette:") {
        return Ok(ModelChoice::Cassette(PathBuf::from(file)));
    }
    if text == "bundled" {
        return Ok(ModelChoice::Bundled(DEMO));
    }
    let (provider, model) = text
        .split_once('/')
        .filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
        .ok_or_else(|| {
            EngineError::Usage(format!(
                "--model {}: `provider/model` or `cassette:FILE` is expected",
                text.escape_debug()
            ))
        })?;
    let base_url = base_url
        .map(str::to_owned)
        .or_else(|| variable("OPENAI_BASE_URL"))
        .or_else(|| variable("OPENAI_API_BASE"))
        .or_else(|| (provider == "openai").then(|| OPENAI.to_owned()))
        .ok_or_else(|| {
            EngineError::Usage(format!(
                "where is provider `{}`? give --base-url or set OPENAI_BASE_URL",
                provider.escape_debug()
            ))
        })?;
    Ok(ModelChoice::Endpoint {
        base_url,
        model: model.to_owned(),
    })
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The user's caps on commands and stages.
fn caps() -> Result<Caps, EngineError> {
    let cap = |name: &str| match variable(name) {
        None => Ok(None),
        Some(text) => match seconds(text.trim()) {
            Ok(cap) => Ok(Some(cap)),
            Err(why) => Err(EngineError::Usage(format!("{name}={}: {why}", text.escape_debug()))),
        },
    };
    Ok(Caps {
        max_cmd: cap("AIDER_FSM_MAX_CMD_SECONDS")?,
        max_total: cap("AIDER_FSM_MAX_TOTAL_SECONDS")?,
        ..Caps::default()
    })
}

/// Seconds, at least one.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("a whole number of seconds above 0 is expected".to_owned()),
    }
}

/// Bytes, as a number with an optional K, M, G or T (powers of 1024).
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("expected a number of bytes, or one with K, M, G or T".to_owned()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes >= 1 << 20)
        .ok_or_else(|| "expected at least 1M and at most what 64 bits hold".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_powers_of_1024_and_bounded() {
        assert_eq!(size("4G"), Ok(4 << 30));
        assert_eq!(size("1048576"), Ok(1 << 20));
        for bad in ["", "G", "1", "-1G", "4GB", "99999999999T", "1.5G", "é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn models_name_a_provider_or_a_cassette() {
        assert_eq!(
            model("cassette:a/b", None).expect("cassette"),
            ModelChoice::Cassette("a/b".into())
        );
        let endpoint = model("local/qwen/3", Some("http://127.0.0.1:1/v1")).expect("endpoint");
        assert_eq!(
            endpoint,
            ModelChoice::Endpoint {
                base_url: "http://127.0.0.1:1/v1".to_owned(),
                model: "qwen/3".to_owned()
            }
        );
        for bad in ["gpt", "/x", "x/"] {
            assert!(
                matches!(model(bad, Some("http://x")), Err(EngineError::Usage(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_agent_outside_is_refused_by_name() {
        let cli = Cli::try_parse_from(["opencode-fsm", "run", "--model", "a/b", "--opencode-url", "http://x"])
            .expect("parses");
        let Verb::Run(run) = cli.verb else { panic!("a run") };
        assert!(
            run.options()
                .expect_err("refused")
                .to_string()
                .contains("--opencode-url")
        );
    }
}
