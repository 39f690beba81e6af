//! `verify`: one verification of a target, without an agent.

use std::{sync::OnceLock, time::Instant};

use crate::{
    engine::{
        EngineError, Outcome, Stop, Summary, TargetOptions,
        bootstrap::Bootstrap,
        evidence::Evidence,
        judge::{Judge, Overrides},
        site::{self, Site},
    },
    fsm::Blame,
    guard,
    names::RelPath,
    record::Chronicle,
    report::{Happening, Reporter},
};

/// Runs the target's contract once, in a judge of its own; `name` is the verification's
/// directory in the run.
///
/// # Errors
/// When it cannot be run; a contract that is not met is an [`Outcome`].
pub async fn verify(
    options: &TargetOptions,
    name: &str,
    reporter: &Reporter,
    stop: Stop,
) -> Result<Outcome, EngineError> {
    let mut evidence = Evidence::new("verify", options);
    let ended = perform(options, name, reporter, stop, &mut evidence).await;
    evidence.close(ended)
}

async fn perform(
    options: &TargetOptions,
    name: &str,
    reporter: &Reporter,
    mut stop: Stop,
    evidence: &mut Evidence,
) -> Result<Outcome, EngineError> {
    let began = Instant::now();
    let secrets: Vec<_> = options.grants.iter().map(|(_, value)| value.clone()).collect();
    let mut site = Site::prepare(options, &secrets, None, None, evidence, reporter, &mut stop).await?;
    let narrowed = site.narrowed(options, evidence)?;
    let options = narrowed.as_ref().unwrap_or(options);
    // No agent ever looks at it; what a bootstrap may write is the same as in a run.
    let plan = RelPath::new("PLAN.md").map_err(|e| EngineError::Usage(e.to_string()))?;
    let mut workspace = site.workspace(options, &plan, guard::withheld(), Vec::new())?;
    let pipeline = site::contract_of(options, &workspace, &site.run)?;
    evidence.receipt.isolation = Some(pipeline.verify.isolation);
    let bootstrap = Bootstrap::of(&workspace, options)?;
    site::warn(&pipeline, bootstrap.as_ref(), reporter);
    let actions = guard::actions_path();
    if workspace.copied().manifest.contains_key(&actions) {
        let text = format!("`{actions}` is for a run: a verification does not perform it");
        reporter.say(Happening::Warning { text });
    }
    evidence.lock(&site.run, &workspace, None)?;
    let mut chronicle = Chronicle::begin(&site.run, site.subject(options, &plan, &pipeline), None)?;
    chronicle.preflight()?;
    let judge = Judge {
        backend: &site.backend,
        run: &site.run,
        reporter,
        pipeline: &pipeline,
        bootstrap: bootstrap.as_ref(),
        cache: &site.cache,
        options,
        deadline: options.caps.deadline(began),
        overrides: &Overrides::default(),
        python: OnceLock::new(),
    };
    let verification = tokio::select! {
        verification = judge.verify(&mut workspace, name) => match verification {
            Ok(verification) => verification,
            Err(why) => {
                chronicle.ended("ERROR")?;
                site.run.settle()?;
                return Err(why);
            }
        },
        signal = stop.requested() => {
            chronicle.ended("INTERRUPTED")?;
            site.run.settle()?;
            drop(workspace);
            site.scratch.remove()?;
            return Err(EngineError::Interrupted(signal));
        }
    };
    if let Some(report) = verification.walls.clone() {
        reporter.say(Happening::Walls { report });
    }
    chronicle.verified(verification.judgement(name))?;
    let mut summary = Summary::new(&site);
    let (reason, exit) = match (verification.blame, verification.cap.as_deref()) {
        (None, _) => ("VERIFIED", 0),
        (Some(Blame::Sandbox), _) => ("SANDBOX_ERROR", 7),
        (_, Some("max_run_seconds")) => ("BUDGET", 6),
        _ => ("VERIFICATION_FAILED", 3),
    };
    (summary.exit_reason, summary.exit_code) = (reason.to_owned(), exit);
    summary.blame = verification.blame;
    chronicle.ended(&summary.exit_reason)?;
    summary.detail = match (&verification.failed_stage, &verification.reason) {
        (Some(stage), Some(reason)) => format!("{stage}: {reason}"),
        _ => "every stage passed".to_owned(),
    };
    summary.judged(verification);
    summary.wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    evidence.take(&workspace)?;
    drop(workspace);
    site.close_egress(reporter).await?;
    site.scratch.remove()?;
    summary.conclude(&site.run, reporter)
}
