//! What stages leave behind: removed before their stage, read and judged after it.
//!
//! A declared output is read between its stage and the next one, while every process
//! inside is stopped. By then the stage's own leftovers are dead; what may still live
//! are the deployment's services, and a service that rewrites the file could otherwise
//! be caught in the middle, or show the judge one file and the record another. The
//! file is read once, through the guest, as its owner and through no link, and the
//! bytes that are judged are the bytes that are kept.

use super::{Judge, Verification, hinted::Evidence, session::Session};
use crate::{
    contract::{self, MAX_DOCUMENT, Measurement, Pipeline, StageName},
    engine::{EngineError, workspace::Workspace},
    fsm::Blame,
    names::RelPath,
    sandbox::{Found, SandboxError},
    tree::{self, EntryKind, Place},
};

/// Most bytes of samples that a sealed or a generic evaluation is handed.
const SAMPLES_MAX: u64 = 64 << 20;
pub(super) const ROLLOUT: &str = ".aider_fsm/rollout.json";
pub(super) const RUNTIME_ENV: &str = ".aider_fsm/runtime_env.json";
pub(super) const HINTS_USED: &str = ".aider_fsm/hints_used.json";
pub(super) const HINTS_RUN: &str = ".aider_fsm/hints_run.json";

/// What one stage is to leave behind.
pub(super) enum Declared<'a> {
    /// `rollout.json`, checked where it is there.
    Rollout,
    /// `runtime_env.json`, which belongs to the whole deployment: removed before its
    /// first stage, checked after its last.
    RuntimeEnv { before: bool, after: bool },
    /// The files of the evaluation.
    Evaluation(&'a Measurement),
    /// The benchmark's metrics.
    Benchmark(&'a Measurement),
}

impl<'a> Declared<'a> {
    /// What a stage declares.
    pub fn of(pipeline: &'a Pipeline, stage: StageName) -> Option<Self> {
        let deploy = pipeline.deploy.as_ref();
        let sets_up = deploy.is_some_and(|deploy| !deploy.setup.cmds.is_empty());
        let waits = deploy.is_some_and(|deploy| !deploy.health.cmds.is_empty());
        match stage {
            StageName::DeploySetup => Some(Self::RuntimeEnv {
                before: true,
                after: !waits,
            }),
            StageName::DeployHealth => Some(Self::RuntimeEnv {
                before: !sets_up,
                after: true,
            }),
            StageName::Rollout => Some(Self::Rollout),
            StageName::Evaluation => pipeline.evaluation.as_ref().map(Self::Evaluation),
            StageName::Benchmark => pipeline.benchmark.as_ref().map(Self::Benchmark),
            StageName::Bootstrap | StageName::Auth | StageName::Tests | StageName::DeployTeardown => None,
        }
    }

    /// Every path that any stage declares, and those that are declared by their name.
    pub fn all(pipeline: &Pipeline) -> Vec<RelPath> {
        let mut paths: Vec<RelPath> = [ROLLOUT, RUNTIME_ENV, HINTS_USED, HINTS_RUN].map(path).to_vec();
        let measurements = [&pipeline.evaluation, &pipeline.benchmark];
        paths.extend(
            measurements
                .into_iter()
                .flatten()
                .filter_map(|m| m.metrics_path.clone()),
        );
        paths
    }

    /// What is removed immediately before the stage.
    pub fn paths(&self) -> Vec<RelPath> {
        match self {
            Self::Rollout => vec![path(ROLLOUT)],
            Self::RuntimeEnv { before: true, .. } => vec![path(RUNTIME_ENV)],
            Self::RuntimeEnv { before: false, .. } => Vec::new(),
            Self::Evaluation(evaluation) => {
                let mut paths = vec![path(HINTS_USED), path(HINTS_RUN)];
                paths.extend(evaluation.metrics_path.clone());
                paths
            }
            Self::Benchmark(benchmark) => benchmark.metrics_path.iter().cloned().collect(),
        }
    }

    /// Whether it is judged even where the stage has no commands: an evaluation whose
    /// metrics an earlier stage of the same verification writes.
    pub fn without_commands(&self) -> bool {
        matches!(self, Self::Evaluation(evaluation) if evaluation.metrics_path.is_some())
    }
}

impl Session<'_> {
    /// Reads and judges what a stage left.
    pub async fn judge_outputs(&mut self, declared: Declared<'_>) -> Result<(), EngineError> {
        // What we wrote ourselves is as we wrote it, whatever lies there now.
        let ours = matches!(declared, Declared::Rollout) && self.judge.pipeline.performs(StageName::Rollout);
        if ours || matches!(declared, Declared::RuntimeEnv { after: false, .. }) {
            return Ok(());
        }
        let offers = matches!(declared, Declared::RuntimeEnv { .. });
        match self.sandbox.freeze().await {
            Ok(()) => {}
            Err(SandboxError::Guest { step, why, .. }) => {
                // Only services can be alive here, and they do not hold still.
                let reason = format!("what the deployment left running cannot be stopped: {step}: {why}");
                self.out.fail("deploy_setup", reason, Blame::Verifier, None);
                return Ok(());
            }
            Err(other) => return Err(other.into()),
        }
        match declared {
            Declared::Rollout => {
                let rollout = self.typed(ROLLOUT, "rollout", contract::validate_rollout).await?;
                self.hand_rollout(rollout).await?;
            }
            Declared::RuntimeEnv { .. } => {
                let stage = match &self.judge.pipeline.deploy {
                    Some(deploy) if !deploy.health.cmds.is_empty() => "deploy_health",
                    _ => "deploy_setup",
                };
                self.handed.runtime_env = self.typed(RUNTIME_ENV, stage, contract::validate_runtime_env).await?;
            }
            Declared::Evaluation(evaluation) => {
                // What we measured ourselves is not read from where anybody could have written it.
                match self.measured.take() {
                    Some(own) => self.own(evaluation, own)?,
                    None => {
                        self.typed(HINTS_RUN, "evaluation", contract::validate_hints_run)
                            .await?;
                        let used = self.read(&path(HINTS_USED)).await?;
                        self.hints(evaluation, used)?;
                        let metrics = match &evaluation.metrics_path {
                            Some(path) if self.out.ok => Some(self.read(path).await?),
                            _ => None,
                        };
                        self.metrics(StageName::Evaluation, evaluation, metrics)?;
                    }
                }
            }
            Declared::Benchmark(benchmark) => {
                let metrics = match &benchmark.metrics_path {
                    Some(path) if self.out.ok => Some(self.read(path).await?),
                    _ => None,
                };
                self.metrics(StageName::Benchmark, benchmark, metrics)?;
            }
        }
        self.sandbox.thaw().await?;
        if offers && self.out.ok {
            self.name_the_model().await?;
        }
        Ok(())
    }

    /// A file under `.aider_fsm/` that is checked where it is there, and its bytes where they hold.
    async fn typed(
        &mut self,
        file: &str,
        stage: &str,
        validate: fn(&[u8]) -> Result<serde_json::Value, Vec<String>>,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let name = file.rsplit('/').next().unwrap_or(file);
        let subject = name.trim_end_matches(".json");
        let (findings, kept) = match self.read(&path(file)).await? {
            Found::Nothing => return Ok(None),
            Found::File(bytes) => {
                let kept = format!("{}/{name}", self.name);
                self.judge.run.keep(&kept, &bytes)?;
                match validate(&bytes) {
                    Ok(_) => return Ok(Some(bytes)),
                    Err(findings) => (findings, Some(kept)),
                }
            }
            Found::Refused(why) => (vec![format!("{subject}.failed_to_read: {why}")], None),
            Found::TooLarge => (
                vec![format!("{subject}.too_large: more than {MAX_DOCUMENT} bytes")],
                None,
            ),
        };
        self.found(stage, &findings, kept);
        Ok(None)
    }

    /// The proof that hints were used, where the evaluation's environment demands it.
    fn hints(&mut self, evaluation: &Measurement, found: Found) -> Result<(), EngineError> {
        let env = self.environment(&evaluation.stage);
        let mut kept = None;
        if let Found::File(bytes) = &found {
            let name = format!("{}/hints_used.json", self.name);
            self.judge.run.keep(&name, bytes)?;
            kept = Some(name);
        }
        if !self.out.ok || !env.get("AIDER_FSM_REQUIRE_HINTS").is_some_and(contract::truthy) {
            return Ok(());
        }
        let proof = match found {
            Found::File(bytes) => contract::hint_proof(&bytes, env.get("AIDER_FSM_HINT_ANCHORS_JSON")),
            Found::Nothing => Err(format!("missing_hints_used_json: {HINTS_USED}")),
            Found::Refused(why) => Err(format!("hints_used_json_failed_to_read: {why}")),
            Found::TooLarge => Err(format!("hints_used_json_too_large: more than {MAX_DOCUMENT} bytes")),
        };
        if let Err(reason) = proof {
            let name = format!("{}/hints_requirement_error.txt", self.name);
            self.judge.run.keep(&name, format!("{reason}\n").as_bytes())?;
            let finding = format!("evaluation.hints_requirement_failed: {reason}");
            self.out.metrics_errors.push(finding.clone());
            self.found("evaluation", &[finding], kept.or(Some(name)));
        }
        Ok(())
    }

    /// Judges what a generic evaluation came to.
    fn own(&mut self, evaluation: &Measurement, own: Evidence) -> Result<(), EngineError> {
        self.judge
            .run
            .keep(&format!("{}/hints_run.json", self.name), &own.run)?;
        self.hints(evaluation, Found::File(own.used))?;
        self.metrics(StageName::Evaluation, evaluation, Some(Found::File(own.metrics)))
    }

    /// The metrics of an evaluation or a benchmark.
    fn metrics(
        &mut self,
        stage: StageName,
        measurement: &Measurement,
        found: Option<Found>,
    ) -> Result<(), EngineError> {
        let (Some(path), Some(found)) = (&measurement.metrics_path, found.filter(|_| self.out.ok)) else {
            return Ok(());
        };
        let mut kept = None;
        let judged = match found {
            Found::File(bytes) => {
                let name = format!("{}/metrics_{stage}.json", self.name);
                self.judge.run.keep(&name, &bytes)?;
                kept = Some(name);
                contract::validate_metrics(stage, path, Some(&bytes), &measurement.required_keys)
            }
            Found::Nothing => contract::validate_metrics(stage, path, None, &measurement.required_keys),
            Found::Refused(why) => Err(vec![format!("{stage}.failed_to_read: {path}: {why}")]),
            Found::TooLarge => Err(vec![format!(
                "{stage}.metrics_too_large: {path} has more than {MAX_DOCUMENT} bytes"
            )]),
        };
        match judged {
            // The evaluation's metrics are the primary ones where there are both.
            Ok(metrics) if self.out.metrics.is_none() => {
                let value = serde_json::Value::Object(metrics.value);
                self.judge
                    .run
                    .keep_json(&format!("{}/metrics.json", self.name), &value)?;
                self.out.metrics = Some(value);
            }
            Ok(_) => {}
            Err(findings) => {
                self.out.metrics_errors.extend(findings.iter().cloned());
                self.found("metrics", &findings, kept);
            }
        }
        Ok(())
    }

    /// Keeps a rollout for a sealed evaluation, with the samples that it names.
    async fn hand_rollout(&mut self, rollout: Option<Vec<u8>>) -> Result<(), EngineError> {
        self.handed.rollout.clear();
        let evaluation = StageName::Evaluation;
        let wanted = self.judge.seals(evaluation) || self.judge.pipeline.performs(evaluation);
        let Some(bytes) = rollout.filter(|_| wanted) else {
            return Ok(());
        };
        let samples = serde_json::from_slice::<serde_json::Value>(&bytes)
            .ok()
            .and_then(|rollout| Some(rollout["paths"]["samples_jsonl"].as_str()?.to_owned()));
        self.handed.rollout.push((path(ROLLOUT), bytes));
        let Some(samples) = samples else { return Ok(()) };
        let below = below(&self.sandbox.inside().workspace, &samples);
        // What is not in the repository no reader of a rollout finds, sealed or not.
        let Some(place) = below.and_then(|below| RelPath::new(below).ok()) else {
            return Ok(());
        };
        let findings = match self.sandbox.read(&place, SAMPLES_MAX).await? {
            Found::Nothing => return Ok(()),
            Found::File(bytes) => {
                self.handed.rollout.push((place, bytes));
                return Ok(());
            }
            Found::Refused(why) => format!("rollout.failed_to_read: {place}: {why}"),
            Found::TooLarge => format!(
                "rollout.samples_too_large: a sealed evaluation is handed at most {SAMPLES_MAX} bytes, and {place} has more"
            ),
        };
        self.found("rollout", &[findings], None);
        Ok(())
    }

    async fn read(&self, path: &RelPath) -> Result<Found, EngineError> {
        Ok(self.sandbox.read(path, MAX_DOCUMENT as u64).await?)
    }

    fn found(&mut self, stage: &str, findings: &[String], kept: Option<String>) {
        let place = kept.unwrap_or_else(|| format!("{}/summary.json", self.name));
        if self.out.ok {
            self.out.evidence.text = self.judge.run.redact(&findings.join("\n"));
        }
        self.out.fail(stage, findings.join("; "), Blame::Verifier, Some(place));
    }
}

impl Judge<'_> {
    /// Copies out what the stages wrote below `.aider_fsm/` and the contract's own
    /// directory, from the dead judge's layer, to the directory `outputs` of the run.
    pub(super) fn copy_out(
        &self,
        workspace: &mut Workspace,
        place: &Place,
        outputs: &str,
        out: &mut Verification,
    ) -> Result<(), EngineError> {
        let after = workspace.judge_outputs(place)?;
        let pristine = workspace.base();
        let own = self.pipeline.out_dir.as_ref().map(RelPath::as_bytes);
        let below = |path: &RelPath, dir: &[u8]| {
            let rest = path.as_bytes().strip_prefix(dir);
            rest.is_some_and(|rest| rest.starts_with(b"/"))
        };
        let written: Vec<_> = after
            .changes_since(pristine, workspace.current())
            .into_iter()
            .filter(|change| change.after.is_some())
            .filter(|change| below(&change.path, b".aider_fsm") || own.is_some_and(|own| below(&change.path, own)))
            .collect();
        let files = self.run.path().join(outputs);
        let refused = tree::export(pristine, &after, &written, &files, self.options.outputs_caps())?;
        let came_out = |path: &RelPath| !refused.iter().any(|(refused, _)| refused == path);
        for change in written.iter().filter(|_| self.run.redacts()) {
            // Whatever the stages were given may stand in what they wrote.
            let is_file = change
                .after
                .as_ref()
                .is_some_and(|entry| matches!(entry.kind, EntryKind::File { .. }));
            if came_out(&change.path) && is_file {
                self.run.adopt(&format!("{outputs}/{}", change.path))?;
            }
        }
        out.refused_outputs.extend(refused);
        Ok(())
    }
}

/// A path as stages name it, relative to the workspace; `None` for an absolute one outside of it.
pub(super) fn below<'p>(workspace: &str, path: &'p str) -> Option<&'p str> {
    match path.strip_prefix(workspace).map(|rest| rest.strip_prefix('/')) {
        Some(below) => below,
        None => Some(path),
    }
}

pub(super) fn path(constant: &str) -> RelPath {
    // Constants of plain names, which RelPath accepts.
    RelPath::new(constant).unwrap_or_else(|_| unreachable!("a constant path"))
}
