//! `suite`: many targets, one document.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use serde_json::json;

use super::{
    environment::{EndpointArgs, engine_error},
    invocation::Invocation,
    model,
    scaffold::ScaffoldArgs,
    settings,
    target::TargetArgs,
    target_options, warn,
};
use crate::{
    engine::{EngineError, Stop},
    env::{AgentSettings, CallOptions, Evaluation, Llm, SetupOptions},
    report::Reporter,
    suite::{self, Settings, Suite, SuiteError},
};

#[derive(Debug, Args)]
#[command(mut_arg("target", |target| target.hide(true)), mut_arg("repo", |repo| repo.hide(true)))]
pub(super) struct SuiteArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// A target; may be repeated.
    #[arg(long = "targets", value_name = "TARGET")]
    targets: Vec<String>,
    /// A file with a target a line; `#` begins a comment.
    #[arg(long, value_name = "FILE")]
    targets_file: Option<PathBuf>,
    /// The model of the stages: an endpoint's id, or a directory.
    #[arg(long, value_name = "MODEL")]
    llm: String,
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// What targets are told of the extent: smoke, full, or what else they know (AIDER_EVAL_MODE).
    #[arg(long, value_name = "MODE", default_value = "full")]
    eval_mode: String,
    /// Demand samples of each rollout.
    #[arg(long)]
    require_samples: bool,
    /// Further trials of a target that came to no verdict: sandbox, provider, this program.
    #[arg(long, value_name = "N", default_value_t = 2)]
    retries: u32,
    /// Go on with a suite that was interrupted: `latest`, its id, or its directory; with the same flags.
    #[arg(long, value_name = "SUITE")]
    resume: Option<String>,
    /// Repairs of what a contract runs, by the agent, each followed by another attempt.
    #[arg(long, value_name = "N", default_value_t = 3)]
    repair_iters: u32,
    /// The model of the agent that writes and repairs contracts, `provider/model` at the endpoint, or `cassette:FILE` [env: AIDER_FSM_MODEL; default: no agent].
    #[arg(long, value_name = "MODEL", default_value = "", hide_default_value = true)]
    opencode_model: String,
    /// The model of the one that repairs [default: that one].
    #[arg(long, value_name = "MODEL")]
    opencode_repair_model: Option<String>,
    #[command(flatten)]
    scaffold: ScaffoldArgs,
    /// Abort a turn of the agent that is silent for this long, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    opencode_timeout_seconds: u64,
    /// The same while it repairs; 0: as the former.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    opencode_repair_timeout_seconds: u64,
    /// The agent, and never the generic contract in its place; so it is without the flag.
    #[arg(long, overrides_with = "no_strict_opencode")]
    strict_opencode: bool,
    /// Take the generic contract where the agent comes to none.
    #[arg(long)]
    no_strict_opencode: bool,
    /// The OpenCode executable [default: $OPENCODE_BIN, PATH, ~/.opencode/bin, the tool's cache].
    #[arg(long, value_name = "FILE")]
    opencode_bin: Option<PathBuf>,
    /// A flag of the predecessor: a server of the user's, where the agent would work outside.
    #[arg(long, hide = true, value_name = "URL", default_value = "")]
    opencode_url: String,
    #[arg(long, hide = true, value_name = "DIR")]
    clones_dir: Option<PathBuf>,
}

/// Performs `suite`.
pub(super) async fn perform(
    args: &SuiteArgs,
    invocation: &Invocation,
    reporter: &Reporter,
    mut stop: Stop,
) -> Result<u8, EngineError> {
    args.target
        .refuse_target("targets of a suite are named with --targets or --targets-file")?;
    let around = &invocation.around;
    let grants = around.grants(&args.target.env)?;
    if args.target.print_config {
        let (value, table) = settings::shown(invocation, &grants, None)?;
        reporter.result(&value, &table);
        return Ok(0);
    }
    let mut warnings = Vec::new();
    let endpoint = model::of_stages(args.endpoint.base_url.as_deref(), around, &mut warnings).await;
    let (targets, doubled) = args.all_targets()?;
    warnings.extend(
        doubled
            .iter()
            .map(|target| format!("{target} is named more than once, and run once")),
    );
    if args.clones_dir.is_some() {
        warnings.push("--clones-dir has no effect: what is fetched lies in the cache, and is used again".to_owned());
    }
    warn(&warnings, reporter);
    reporter.hide(&around.secrets());
    let variables: Vec<(String, String)> = grants
        .iter()
        .map(|(name, value)| (name.value.clone(), value.expose().to_owned()))
        .collect();
    let policy = invocation.policy(&args.target, None)?;
    let llm = Llm::parse(&args.llm).map_err(engine_error)?;
    let base = match &args.target.artifacts_dir {
        Some(dir) => std::path::absolute(dir).map_err(|source| EngineError::Io {
            what: format!("--artifacts-dir {}", dir.display()),
            source,
        })?,
        None => suite::default_dir().map_err(of_suite)?,
    };
    let resume = args.resume.as_deref().map(|name| suite::find(&base, name));
    let call = CallOptions {
        mode: args.eval_mode.clone(),
        // What is granted comes before what a contract says, too.
        env: variables.clone(),
        artifacts_dir: None,
        repair_iters: args.repair_iters,
        require_samples: args.require_samples,
    };
    let audit = args.target.audit.unwrap_or_default();
    let suite = Suite {
        settings: Settings {
            targets,
            llm: args.llm.clone(),
            eval_mode: args.eval_mode.clone(),
            require_samples: args.require_samples,
            audit,
            variables: variables.into_iter().map(|(name, _)| name).collect(),
        },
        base,
        resume: resume.transpose().map_err(of_suite)?,
        jobs: args.target.side_by_side() as usize,
        retries: args.retries,
        try_target: {
            let (target, agent) = (args.target.clone(), args.scaffold.of_session(args.agent(), around)?);
            let around = around.clone();
            Arc::new(move |name: &str, runs: PathBuf| {
                let mut args = target.with_target(name.into());
                args.artifacts_dir = Some(runs);
                let reporter = Reporter::to(|_| {});
                let options = target_options(&args, grants.clone(), policy.clone(), &around, &reporter);
                let evaluation = options.map(|options| Evaluation {
                    setup: SetupOptions {
                        audit,
                        agent: agent.clone(),
                        endpoint: endpoint.clone(),
                        secrets: around.secrets(),
                        reporter,
                        ..SetupOptions::new(options)
                    },
                    llm: llm.clone(),
                    call: call.clone(),
                });
                Box::pin(async move { evaluation?.run().await })
            })
        },
    };
    let (document, dir) = suite::run(&suite, reporter, &mut stop).await.map_err(of_suite)?;
    // Serialising what was made of JSON never fails.
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    reporter.result(&json!({"suite": document, "directory": dir}), &text);
    Ok(u8::from(!document.ok))
}

fn of_suite(why: SuiteError) -> EngineError {
    match why {
        SuiteError::Usage(why) => EngineError::Usage(why),
        SuiteError::Interrupted(signal) => EngineError::Interrupted(signal),
        SuiteError::Record(why) => EngineError::Record(why),
        SuiteError::Io { what, source } => EngineError::Io { what, source },
    }
}

impl SuiteArgs {
    /// The targets, each once, and those that were named more often.
    fn all_targets(&self) -> Result<(Vec<String>, Vec<String>), EngineError> {
        let mut all = self.targets.clone();
        if let Some(path) = &self.targets_file {
            let text = std::fs::read_to_string(path)
                .map_err(|why| EngineError::Usage(format!("--targets-file {}: {why}", path.display())))?;
            all.extend(suite::parse(&text));
        }
        let (mut once, mut doubled) = (Vec::new(), Vec::new());
        for target in all {
            match once.contains(&target) {
                true => doubled.push(target),
                false => once.push(target),
            }
        }
        Ok((once, doubled))
    }

    fn agent(&self) -> AgentSettings {
        AgentSettings {
            opencode_model: self.opencode_model.clone(),
            opencode_repair_model: self.opencode_repair_model.clone(),
            opencode_url: self.opencode_url.clone(),
            opencode_timeout_seconds: Some(self.opencode_timeout_seconds),
            opencode_repair_timeout_seconds: Some(self.opencode_repair_timeout_seconds).filter(|seconds| *seconds > 0),
            strict_opencode: Some(!self.no_strict_opencode),
            opencode_bin: self.opencode_bin.clone(),
            ..AgentSettings::default()
        }
    }
}
