//! `evaluate`, and the env API for programs in other languages.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, Subcommand};

use super::{
    invocation::Invocation,
    model, reports,
    scaffold::{self, ScaffoldArgs},
    settings, show,
    target::TargetArgs,
    target_options, warn,
};
use crate::{
    engine::{EngineError, Stop, TargetOptions},
    env::{
        AgentSettings, CallOptions, Endpoint, EnvError, Evaluation, Llm, SetupOptions,
        serve::{self, SetupParams},
    },
    policy::BashMode,
    record::Secret,
    report::Reporter,
};

#[derive(Debug, Subcommand)]
pub(super) enum EnvVerb {
    /// Speak JSON lines on stdin and stdout until stdin ends (docs/env_api.md).
    Serve(Box<ServeArgs>),
}

/// Where the models of stages are.
#[derive(Clone, Debug, Args)]
pub(super) struct EndpointArgs {
    /// Base URL of the OpenAI-compatible endpoint of remote models; the key stays outside [env: OPENAI_BASE_URL, OPENAI_API_BASE].
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
}

#[derive(Debug, Args)]
#[command(mut_arg("target", |target| target.hide(true)), mut_arg("repo", |repo| repo.hide(true)))]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub endpoint: EndpointArgs,
}

#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// A model for the stages: an endpoint's id, or a directory [default: none].
    #[arg(long, value_name = "MODEL")]
    pub llm: Option<String>,
    #[command(flatten)]
    pub endpoint: EndpointArgs,
    /// A directory with a trained model; the same as --llm DIRECTORY.
    #[arg(long, value_name = "DIR", conflicts_with = "llm")]
    pub trained_model_dir: Option<PathBuf>,
    /// What the target is told of the extent: smoke, full, or what else it knows (AIDER_EVAL_MODE).
    #[arg(long, value_name = "MODE", default_value = "smoke")]
    pub eval_mode: String,
    /// Demand `ok: true` of the metrics; so it is without the flag.
    #[arg(long, overrides_with = "no_require_metrics")]
    require_metrics: bool,
    /// Take metrics as they are, and a contract without any.
    #[arg(long)]
    no_require_metrics: bool,
    /// Demand samples of the rollout, each with prompt, completion and a finite reward.
    #[arg(long)]
    pub require_samples: bool,
    /// Run the contract's teardown by its policy; so it is without the flag.
    #[arg(long, overrides_with = "no_teardown")]
    teardown: bool,
    /// Leave the teardown out; what was deployed ends with its sandbox all the same.
    #[arg(long)]
    no_teardown: bool,
    /// Repairs of what the contract runs, by the agent, each followed by another attempt.
    #[arg(long, value_name = "N", default_value_t = 3)]
    repair_iters: u32,
    /// The model of the agent that writes and repairs contracts, `provider/model` at the endpoint, or `cassette:FILE` [env: AIDER_FSM_MODEL; default: no agent].
    #[arg(long, value_name = "MODEL", default_value = "", hide_default_value = true)]
    model: String,
    #[command(flatten)]
    scaffold: ScaffoldArgs,
    /// The agent, and never the generic contract in its place.
    #[arg(long)]
    strict_opencode: bool,
    /// The OpenCode executable [default: $OPENCODE_BIN, PATH, ~/.opencode/bin, the tool's cache].
    #[arg(long, value_name = "FILE")]
    opencode_bin: Option<PathBuf>,
    /// Abort a turn of the agent that is silent for this long, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    opencode_timeout: u64,
    /// A flag of the predecessor: a server of the user's, where the agent would work outside.
    #[arg(long, hide = true, value_name = "URL", default_value = "")]
    opencode_url: String,
    /// A flag of the predecessor: the agent's shell in phases that an evaluation has none of.
    #[arg(long, hide = true, value_enum)]
    opencode_bash: Option<BashMode>,
}

/// Performs `env`.
pub(super) async fn perform(verb: &EnvVerb, invocation: &Invocation, stop: Stop) -> Result<u8, EngineError> {
    let EnvVerb::Serve(args) = verb;
    args.target
        .refuse_target("`env serve` gets its targets by its protocol")?;
    let mut warnings = Vec::new();
    let endpoint = model::of_stages(args.endpoint.base_url.as_deref(), &invocation.around, &mut warnings).await;
    for text in warnings {
        tracing::warn!("{text}");
    }
    let around = invocation.around.clone();
    let grants = around.grants(&args.target.env)?;
    let policy = invocation.policy(&args.target, None)?;
    let base = args.target.clone();
    let setup = move |params: SetupParams, reporter: Reporter| -> Result<SetupOptions, EnvError> {
        let mut target = base.with_target(params.target.into());
        target.pipeline = params.pipeline_rel.or(target.pipeline);
        target.artifacts_dir = params.artifacts_dir.or(target.artifacts_dir);
        target.unattended = params.unattended.map_or(target.unattended, Into::into);
        let options = target_options(&target, grants.clone(), policy.clone(), &around, &reporter)?;
        Ok(SetupOptions {
            require_metrics: params.require_metrics.unwrap_or(true),
            audit: params.audit,
            agent: scaffold::of_session(params.agent, &around)?,
            endpoint: endpoint.clone(),
            secrets: around.secrets(),
            reporter,
            ..SetupOptions::new(options)
        })
    };
    let signal = serve::serve(tokio::io::stdin(), tokio::io::stdout(), Arc::new(setup), stop).await;
    Ok(signal.map_or(0, |signal| u8::try_from(128 + signal).unwrap_or(1)))
}

/// Performs `evaluate`.
pub(super) async fn evaluate(
    args: &EvaluateArgs,
    invocation: &Invocation,
    reporter: &Reporter,
    mut stop: Stop,
) -> Result<u8, EngineError> {
    let around = &invocation.around;
    let grants = around.grants(&args.target.env)?;
    if args.target.print_config {
        let (value, table) = settings::shown(invocation, &grants, None)?;
        reporter.result(&value, &table);
        return Ok(0);
    }
    let mut warnings = Vec::new();
    let endpoint = model::of_stages(args.endpoint.base_url.as_deref(), around, &mut warnings).await;
    warn(&warnings, reporter);
    let policy = invocation.policy(&args.target, None)?;
    let options = target_options(&args.target, grants, policy, around, reporter)?;
    let agent = args.scaffold.of_session(args.agent(), around)?;
    let plan = args.plan(options, agent, endpoint, reporter.clone(), around.secrets())?;
    let evaluated = tokio::select! {
        evaluated = plan.run() => evaluated,
        signal = stop.requested() => return Err(EngineError::Interrupted(signal)),
    };
    let evaluated = evaluated.map_err(engine_error)?;
    reporter.print(&show::verification(&evaluated.outcome));
    reports::tell_ci(args.target.ci, &evaluated.outcome.artifacts, reporter);
    let metrics = evaluated.evaluation.metrics.unwrap_or_default();
    if !metrics.is_null() {
        // Whatever else is said: the last line is the metrics, for a program that reads it.
        reporter.result(&metrics, &metrics.to_string());
    }
    Ok(evaluated.outcome.summary.exit_code)
}

/// The errors that the verbs of the command line end with.
pub(super) fn engine_error(why: EnvError) -> EngineError {
    match why {
        EnvError::Engine(why) | EnvError::ContractMissing(why) | EnvError::ScaffoldFailed(why) => why,
        why if why.exit_code() == 2 => EngineError::Usage(why.to_string()),
        why => EngineError::Io {
            what: why.code().to_owned(),
            source: std::io::Error::other(why.to_string()),
        },
    }
}

impl EvaluateArgs {
    fn agent(&self) -> AgentSettings {
        AgentSettings {
            opencode_model: self.model.clone(),
            opencode_url: self.opencode_url.clone(),
            opencode_timeout_seconds: Some(self.opencode_timeout),
            opencode_bash: self.opencode_bash,
            strict_opencode: Some(self.strict_opencode),
            opencode_bin: self.opencode_bin.clone(),
            ..AgentSettings::default()
        }
    }

    fn plan(
        &self,
        target: TargetOptions,
        agent: AgentSettings,
        endpoint: Option<Endpoint>,
        reporter: Reporter,
        secrets: Vec<Secret>,
    ) -> Result<Evaluation, EngineError> {
        let llm = match (&self.trained_model_dir, &self.llm) {
            (Some(dir), _) => Some(Llm::directory(dir)),
            (None, Some(text)) => Some(Llm::parse(text)),
            (None, None) => None,
        };
        // What is granted comes before what the contract says, too: `--env` is an override here.
        let env = target
            .grants
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect();
        let call = CallOptions {
            mode: self.eval_mode.clone(),
            env,
            artifacts_dir: None,
            repair_iters: self.repair_iters,
            require_samples: self.require_samples,
        };
        Ok(Evaluation {
            llm: llm.transpose().map_err(engine_error)?.unwrap_or(Llm::None),
            setup: SetupOptions {
                require_metrics: !self.no_require_metrics,
                audit: self.target.audit.unwrap_or_default(),
                agent,
                endpoint,
                teardown: !self.no_teardown,
                secrets,
                reporter,
                ..SetupOptions::new(target)
            },
            call,
        })
    }
}
