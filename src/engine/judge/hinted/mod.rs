//! An evaluation without code of the repository (`evaluation.generic`): commands that the target
//! documents are run, and their output is read.
//!
//! Hints are taken from the target as it was copied, before anybody worked on it, so that no
//! agent writes one. Each is an ordinary command of the stage: the same policy, caps, redaction
//! and record. Metrics, `hints_run.json` and `hints_used.json` are made here of what was executed,
//! and never read from the tree; what lies there under these names is removed. Where nothing
//! was executed, the mean reward of the samples is the score, as they were when the rollout was judged.

mod evidence;
mod reading;

use std::time::Instant;

use serde_json::{Value, json};

pub(super) use evidence::Evidence;
use evidence::hinted_metrics;

use super::{
    Judge, StageSummary,
    audit::Accepted,
    millis,
    outputs::{ROLLOUT, below},
    session::Session,
};
use crate::{
    contract::{self, AuditedTree, GenericEvaluation, HintUse, Stage, StageName},
    engine::{EngineError, caps::StageCaps, workspace::Workspace},
    fsm::Blame,
    hints::{
        self, Hint, HintKind, Skip,
        score::{self, Score},
    },
    names::RelPath,
    report::{Happening, escape},
    tree::TreeEdits,
};

/// What a generic evaluation is to run.
pub(in crate::engine::judge) struct Hinted {
    /// Best first, each with why it is passed over whatever the sandbox has.
    hints: Vec<(Hint, Option<&'static str>)>,
    /// Files of the state that is judged: no report is one of them.
    files: Vec<RelPath>,
}

/// A command that was run, and its score.
struct Measured {
    hint: Hint,
    command: String,
    result: String,
    rc: i32,
    ok: bool,
    score: Score,
}

/// What became of the hints.
#[derive(Default)]
struct Tried {
    attempts: Vec<Value>,
    executed: usize,
    commands: Vec<String>,
    /// The one that decides.
    chosen: Option<Measured>,
    /// Why there is none, of the last that was passed over or gave no score.
    why: Option<String>,
}

impl Judge<'_> {
    /// Reads the target's hints, where a generic evaluation is wanted.
    pub(super) fn prepare_evaluation(
        &self,
        workspace: &Workspace,
        session: &mut Session<'_>,
        wanted: &dyn Fn(StageName) -> bool,
    ) -> Result<(), EngineError> {
        let evaluation = StageName::Evaluation;
        if !wanted(evaluation) || !self.pipeline.performs(evaluation) {
            return Ok(());
        }
        let accepted = Accepted(workspace);
        let looked = |hint: Hint| {
            // What a script says in the state that is judged is what would run.
            let why = (!hints::measures(&hint.command, &accepted)).then_some("prints_only");
            (hint, why)
        };
        session.hinted = Some(std::sync::Arc::new(Hinted {
            hints: hints::rank(hints::extract(workspace.copied()))
                .into_iter()
                .map(looked)
                .collect(),
            files: accepted.files(),
        }));
        Ok(())
    }
}

impl Session<'_> {
    /// Performs the evaluation. Its summary is that of the command that gave the score.
    pub async fn generic_evaluation(&mut self, stage: &Stage) -> Result<StageSummary, EngineError> {
        let began = Instant::now();
        let mut summary = StageSummary::new(stage.name);
        let evaluation = self.judge.pipeline.evaluation.as_ref();
        let generic = evaluation.and_then(|it| it.generic.clone()).unwrap_or_default();
        let asked = self
            .environment(stage)
            .get("AIDER_FSM_REQUIRE_HINTS")
            .is_some_and(contract::truthy);
        let required = generic.hints == HintUse::Require || asked;
        let mut tried = Tried::default();
        if generic.hints != HintUse::Off {
            self.try_hints(stage, &generic, &mut tried, &mut summary).await?;
        }
        let came = match &tried.chosen {
            Some(chosen) => Ok(hinted_metrics(chosen)),
            None if tried.executed > 0 || required => Err(unmeasured(&tried)),
            None => self.reward_average().map_err(|why| match generic.hints {
                HintUse::Off => why,
                _ => format!("{}; {why}", unmeasured(&tried)),
            }),
        };
        let metrics = self.conclude(&tried, &came).await?;
        match came {
            Ok(_) if metrics => {
                summary.ok = true;
                summary.rc = tried.chosen.as_ref().map(|chosen| chosen.rc);
                (summary.reason, summary.cap, summary.blame, summary.evidence) = (None, None, None, None);
            }
            Ok(_) => summary.ok = false,
            Err(why) => {
                summary.ok = false;
                self.out.evidence.text = self.judge.run.redact(&why);
                summary.reason = Some(self.judge.run.redact(&why));
                summary.blame = Some(summary.blame.unwrap_or(Blame::Verifier));
                summary.evidence = Some(format!("{}/hints_run.json", self.name));
            }
        }
        summary.wall_ms = millis(began.elapsed());
        Ok(summary)
    }

    /// Runs hints, best first, until one gives a score, at most as many as the contract says.
    async fn try_hints(
        &mut self,
        stage: &Stage,
        generic: &GenericEvaluation,
        tried: &mut Tried,
        summary: &mut StageSummary,
    ) -> Result<(), EngineError> {
        let Some(hinted) = self.hinted.clone() else {
            return Ok(());
        };
        let usable: Vec<Hint> = hinted.hints.iter().map(|(hint, _)| hint.clone()).collect();
        let around = self.surroundings(stage, &usable).await?;
        let (options, security) = (self.judge.options, &self.judge.pipeline.security);
        let caps = StageCaps::new(stage.timeout, security, &options.caps, self.judge.deadline);
        let mut errors_only: Option<Measured> = None;
        for (hint, prints) in &hinted.hints {
            if tried.chosen.is_some() || tried.executed == generic.max_attempts {
                break;
            }
            let adapted = match (prints, hint.kind) {
                (_, HintKind::Run) => Err(Skip::MeasuresNothing.to_string()),
                (Some(why), _) => Err((*why).to_owned()),
                (None, _) => hints::adapt(hint, &around).map_err(|skip| skip.to_string()),
            };
            let mut said = json!({"hint": hint});
            match adapted {
                Err(why) => tried.passed_over(hint, &why, &mut said),
                Ok(adapted) => {
                    said["command"] = json!(adapted.command);
                    said["changes"] = json!(adapted.changes);
                    let measured = self
                        .attempt(stage, &caps, hint, &adapted.command, tried, summary, &mut said)
                        .await?;
                    match measured {
                        Some(measured) if only_errors(&measured.score) => {
                            errors_only.get_or_insert(measured);
                        }
                        other => tried.chosen = other,
                    }
                }
            }
            tried.attempts.push(said);
        }
        if tried.chosen.is_none() {
            tried.chosen = errors_only;
        }
        Ok(())
    }

    /// Runs one command, and reads what it printed and reported.
    #[expect(
        clippy::too_many_arguments,
        reason = "one command, its stage, and where both are told"
    )]
    async fn attempt(
        &mut self,
        stage: &Stage,
        caps: &StageCaps,
        hint: &Hint,
        command: &str,
        tried: &mut Tried,
        summary: &mut StageSummary,
        said: &mut Value,
    ) -> Result<Option<Measured>, EngineError> {
        let mut reports = score::reports(command);
        // A report that lies there from before proves nothing; what the tree has is none.
        let known = self.hinted.as_ref().map(|hinted| &hinted.files);
        reports.retain(|path| !known.is_some_and(|files| files.contains(path)));
        let edits = TreeEdits {
            removals: reports.clone(),
            ..TreeEdits::default()
        };
        if !reports.is_empty() && !self.edit(&edits, stage.name.as_str()).await? {
            return Ok(None);
        }
        let own = self.files_of(stage.name);
        let prefix = format!("{own}_cmd{:02}_try01", summary.total_results + 1);
        self.judge.reporter.say(Happening::StageStarted {
            stage: stage.name.to_string(),
            command: escape(command.as_bytes(), 200),
            output: Some(prefix.clone()),
        });
        let cwd = self.sandbox.inside().workspace.clone();
        let result = self.command(stage, command, &prefix, caps, &cwd, None).await?;
        summary.count(&result, command, result.reason(command), &prefix);
        self.record()?;
        self.judge.alias(&prefix, &own)?;
        let name = prefix.rsplit('/').next().unwrap_or(&prefix);
        said["result"] = json!(format!("{name}_result.json"));
        said["rc"] = json!(result.rc);
        if result.rule.is_some() {
            let why = escape(result.tails[1].trim_ascii(), 300);
            tried.passed_over(hint, &why, said);
            return Ok(None);
        }
        tried.executed += 1;
        tried.commands.push(command.to_owned());
        let score = self.read_score(command, &prefix, &result, &reports, said).await?;
        Ok(match score {
            Ok(score) => {
                let ok = score.agrees(result.rc) && result.cap.is_none() && result.signal.is_none();
                said["score"] = json!(score);
                said["ok"] = json!(ok);
                let (hint, command, result, rc) = (
                    hint.clone(),
                    command.to_owned(),
                    format!("{name}_result.json"),
                    result.rc,
                );
                Some(Measured {
                    hint,
                    command,
                    result,
                    rc,
                    ok,
                    score,
                })
            }
            Err(why) => {
                said["no_score"] = json!(why);
                tried.why = Some(format!("{}:{}: {why}", hint.file, hint.line));
                None
            }
        })
    }

    /// The mean reward of the rollout's samples, as they were judged.
    fn reward_average(&self) -> Result<Value, String> {
        let mut handed = self.handed.rollout.iter();
        let (_, rollout) = handed
            .next()
            .ok_or_else(|| format!("missing_rollout_json: {ROLLOUT}"))?;
        let rollout: Value = serde_json::from_slice(rollout).map_err(|_| "rollout_json_not_object".to_owned())?;
        let paths = rollout
            .get("paths")
            .and_then(Value::as_object)
            .ok_or("rollout_json_missing_paths")?;
        let named = paths
            .get("samples_jsonl")
            .and_then(Value::as_str)
            .ok_or("rollout_json_missing_paths.samples_jsonl")?;
        let place = below(&self.sandbox.inside().workspace, named).unwrap_or(named);
        let (place, bytes) = handed
            .next()
            .ok_or_else(|| format!("samples_jsonl_not_found: {place}"))?;
        let samples = contract::validate_samples(bytes)
            .map_err(|findings| format!("no_valid_reward_samples: {}", findings.join("; ")))?;
        Ok(json!({
            "ok": true,
            "score": samples.mean_reward,
            "reason": "reward_average",
            "source": {"samples": samples.count, "file": place},
        }))
    }
}

impl Tried {
    fn passed_over(&mut self, hint: &Hint, why: &str, said: &mut Value) {
        said["skipped"] = json!(why);
        // What is not for measuring says nothing about why nothing was measured.
        if !why.starts_with("measures_nothing") && self.executed == 0 {
            self.why
                .get_or_insert_with(|| format!("{}:{}: {why}", hint.file, hint.line));
        }
    }
}

/// Why no hint gave a score.
fn unmeasured(tried: &Tried) -> String {
    let code = match (tried.attempts.is_empty(), tried.executed) {
        (true, _) => "no_hints",
        (false, 0) => "all_hints_skipped",
        (false, _) => "all_hints_no_real_score",
    };
    match &tried.why {
        Some(why) => format!("{code}: {why}"),
        None => code.to_owned(),
    }
}

/// Nothing but errors is most often the wrong place to run from: another hint may know better.
fn only_errors(score: &Score) -> bool {
    score.unit != score::Unit::None && score.counts.passed + score.counts.failed == 0
}
