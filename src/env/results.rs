//! What a call comes to, under the predecessor's names.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::{
    contract::StageName,
    engine::{CommandLine, ModelUse, Ran, StageSummary},
    fsm::Blame,
};

/// One stage.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct StageResult {
    /// It passed.
    pub ok: bool,
    /// Its commands, repetitions included, the last 200 of them; their files lie in the
    /// call's directory.
    pub results: Vec<CommandLine>,
    /// The command that failed, from 0.
    pub failed_index: Option<usize>,
    /// How many ran, repetitions included.
    pub total_results: usize,
}

impl StageResult {
    /// `prefix` is the call's directory in the run.
    fn of(stage: &StageSummary, prefix: &str) -> Self {
        let below = |line: &CommandLine| CommandLine {
            files: line.files.strip_prefix(prefix).unwrap_or(&line.files).to_owned(),
            ..line.clone()
        };
        Self {
            ok: stage.ok,
            results: stage.results.iter().map(below).collect(),
            failed_index: stage.failed_index,
            total_results: stage.total_results,
        }
    }
}

/// All stages of a call.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct VerificationResult {
    /// Every one passed, and what they left holds.
    pub ok: bool,
    /// The first that did not: a stage, `metrics`, or `prepare`.
    pub failed_stage: Option<String>,
    /// Why, in one line.
    pub reason: Option<String>,
    /// Who failed.
    pub blame: Option<Blame>,
    /// The cap that ended it.
    pub cap: Option<String>,
    /// The stages that ran.
    pub bootstrap: Option<StageResult>,
    /// As above.
    pub auth: Option<StageResult>,
    /// As above; not part of a session's calls.
    pub tests: Option<StageResult>,
    /// As above.
    pub deploy_setup: Option<StageResult>,
    /// As above.
    pub deploy_health: Option<StageResult>,
    /// As above.
    pub rollout: Option<StageResult>,
    /// As above.
    pub evaluation: Option<StageResult>,
    /// As above; not part of a session's calls.
    pub benchmark: Option<StageResult>,
    /// The metrics, on the host.
    pub metrics_path: Option<PathBuf>,
    /// What they hold.
    pub metrics: Option<Value>,
    /// What is wrong with them.
    pub metrics_errors: Vec<String>,
    /// What the call used of its model; nothing where it has no door to one.
    pub model: Option<ModelUse>,
    /// How long it took, milliseconds.
    pub wall_ms: u64,
}

impl VerificationResult {
    /// `name` is the call's directory in the run, `artifacts` where a caller finds it.
    pub(super) fn of(ran: &Ran, name: &str, artifacts: &Path) -> Self {
        let found = &ran.verification;
        let prefix = format!("{name}/");
        let stage = |name: StageName| {
            let stages = found.stages.iter().find(|stage| stage.stage == name);
            stages.map(|stage| StageResult::of(stage, &prefix))
        };
        Self {
            ok: found.ok,
            failed_stage: found.failed_stage.clone(),
            reason: found.reason.clone(),
            blame: found.blame,
            cap: found.cap.clone(),
            bootstrap: stage(StageName::Bootstrap),
            auth: stage(StageName::Auth),
            tests: stage(StageName::Tests),
            deploy_setup: stage(StageName::DeploySetup),
            deploy_health: stage(StageName::DeployHealth),
            rollout: stage(StageName::Rollout),
            evaluation: stage(StageName::Evaluation),
            benchmark: stage(StageName::Benchmark),
            metrics_path: found.metrics.as_ref().map(|_| artifacts.join("metrics.json")),
            metrics: found.metrics.clone(),
            metrics_errors: found.metrics_errors.clone(),
            model: ran.model,
            wall_ms: found.wall_ms,
        }
    }
}

/// A deployment.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct DeployCallResult {
    /// It stands.
    pub ok: bool,
    /// The call's artifacts.
    pub artifacts_dir: PathBuf,
    /// What it offers, on the host, where it says so (`runtime_env.json`). Its addresses
    /// are those of the sandbox's own loopback.
    pub runtime_env_path: Option<PathBuf>,
    /// What that file holds.
    pub runtime_env: Option<Value>,
    /// Its stages.
    pub verify: VerificationResult,
}

/// A rollout.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct RolloutCallResult {
    /// It passed, and its samples hold where they are demanded.
    pub ok: bool,
    /// The call's artifacts.
    pub artifacts_dir: PathBuf,
    /// `rollout.json` on the host, in which `paths.samples_jsonl` names the samples there.
    pub rollout_path: Option<PathBuf>,
    /// What is wrong with the samples, where they were demanded; or why they could not be
    /// brought out.
    pub samples_errors: Vec<String>,
    /// Its stages.
    pub verify: VerificationResult,
}

/// An evaluation.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct EvaluationCallResult {
    /// It passed, and its metrics say `ok: true` where that is demanded.
    pub ok: bool,
    /// The call's artifacts.
    pub artifacts_dir: PathBuf,
    /// The metrics, on the host.
    pub metrics_path: Option<PathBuf>,
    /// What they hold.
    pub metrics: Option<Value>,
    /// Why it is not ok, in one line.
    pub reason: Option<String>,
    /// Its stages.
    pub verify: VerificationResult,
}
