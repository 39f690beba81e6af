//! `replay`: a run is done again by what was recorded, judged again, or held against another policy.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{audit::told, resume::AgainArgs, runs::RunsArgs, show, surroundings::Surroundings};
use crate::{
    engine::{Denied, Elsewhere, EngineError, Judged, Recorded, Replayed, Stop},
    policy::{BackendChoice, Policy},
    record,
    report::{Reporter, escape},
    source::Endpoints,
};

/// The exit code of a run that went another way.
const ANOTHER: u8 = 13;
/// The exit code where a policy would have refused something.
const REFUSED: u8 = 10;

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A run (`latest`, its id, the beginning of one), a run's directory anywhere, or a bundle.
    #[arg(default_value = "latest")]
    run: String,
    /// Judge the final tree again by its contract, and do nothing else.
    #[arg(long, conflicts_with = "policy")]
    verify_only: bool,
    /// Say what this policy would have refused of the commands and hosts of the run; nothing is run.
    #[arg(long, value_name = "NAME|FILE")]
    policy: Option<String>,
    /// What builds the walls [default: as recorded].
    #[arg(long, value_enum)]
    sandbox: Option<BackendChoice>,
    /// The image that containers start from, with --sandbox docker.
    #[arg(long, value_name = "IMAGE", requires = "sandbox")]
    image: Option<String>,
    /// A copy of the target as it was, where it has changed since, or never was on this machine.
    #[arg(long, value_name = "DIR")]
    target: Option<PathBuf>,
    #[command(flatten)]
    again: AgainArgs,
    #[command(flatten)]
    runs: RunsArgs,
}

/// Performs `replay`.
pub(super) async fn perform(
    args: &ReplayArgs,
    around: &Surroundings,
    reporter: &Reporter,
    stop: Stop,
) -> Result<u8, EngineError> {
    let path = match args.runs.find(&args.run) {
        Err(_) if Path::new(&args.run).exists() => PathBuf::from(&args.run),
        found => found?,
    };
    let recorded = Recorded::open(&path)?;
    if let Some(name) = &args.policy {
        let policy = Policy::alone(name, &record::policy_places())?;
        return Ok(refused(&recorded.denied(&policy)?, name, reporter));
    }
    let endpoints = Endpoints::of(|name| around.variable(name).map(|setting| setting.value))?;
    let given = args.again.given(around, reporter)?;
    let how = Elsewhere {
        artifacts_dir: args.runs.artifacts_dir(),
        backend: args.sandbox,
        image: args.image.clone(),
        target: args.target.clone(),
    };
    match args.verify_only {
        true => Ok(judged(
            &recorded.judge(endpoints, &given, &how, reporter, stop).await?,
            reporter,
        )),
        false => Ok(replayed(
            &recorded.replay(endpoints, &given, &how, reporter, stop).await?,
            reporter,
        )),
    }
}

fn replayed(replayed: &Replayed, reporter: &Reporter) -> u8 {
    let Replayed { outcome, comparison } = replayed;
    let same = comparison.course.is_none();
    reporter.print(&show::run(outcome));
    let verdict = if same { "REPLAYED" } else { "WENT ANOTHER WAY" };
    reporter.result(
        &json!({"run": outcome.artifacts, "same": same, "differences": comparison}),
        &format!("{verdict}\n{}", told(comparison)),
    );
    if same { 0 } else { ANOTHER }
}

fn judged(judged: &Judged, reporter: &Reporter) -> u8 {
    let Judged { outcome, recorded } = judged;
    let now = outcome.summary.verified;
    reporter.print(&show::verification(outcome));
    let word = |passed: bool| if passed { "passed" } else { "did not pass" };
    reporter.result(
        &json!({"run": outcome.artifacts, "same": now == *recorded, "verified": now, "recorded": recorded}),
        &format!(
            "the final tree {}; the run's last verification {}",
            word(now),
            word(*recorded)
        ),
    );
    if now == *recorded { 0 } else { ANOTHER }
}

fn refused(found: &[Denied], policy: &str, reporter: &Reporter) -> u8 {
    let lines: String = found
        .iter()
        .map(|Denied { at, what, rule }| {
            let shown = |text: &str| escape(text.as_bytes(), 200);
            format!("{}\n  {}\n  {}\n", shown(at), shown(what), shown(rule))
        })
        .collect();
    let policy = escape(policy.as_bytes(), 100);
    reporter.result(
        &json!({"policy": policy, "refused": found}),
        &format!("{lines}{policy} would have refused {} of what the run did", found.len()),
    );
    if found.is_empty() { 0 } else { REFUSED }
}
