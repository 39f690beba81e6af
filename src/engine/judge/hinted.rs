//! An evaluation without code of the repository (`evaluation.generic`): commands that the target
//! documents are run, and their output is read.
//!
//! Hints are taken from the target as it was copied, before anybody worked on it, so that no
//! agent writes one. Each is an ordinary command of the stage: the same policy, caps, redaction
//! and record. Metrics, `hints_run.json` and `hints_used.json` are made here of what was executed,
//! and never read from the tree; what lies there under these names is removed. Where nothing
//! was executed, the mean reward of the samples is the score, as they were when the rollout was judged.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};

use super::{
    Judge, StageSummary,
    audit::Accepted,
    millis,
    outputs::{HINTS_RUN, HINTS_USED, ROLLOUT, below, path},
    session::Session,
};
use crate::{
    contract::{self, AuditedTree, GenericEvaluation, HintUse, Stage, StageName},
    engine::{EngineError, caps::StageCaps, command::CommandResult, workspace::Workspace},
    fsm::Blame,
    hints::{
        self, Hint, HintKind, Skip, Surroundings,
        score::{self, NoScore, Score, Stream},
    },
    names::RelPath,
    record::audit::Digest,
    report::{Happening, escape},
    sandbox::Found,
    tree::TreeEdits,
};

/// Says which of its arguments are programs that the shell finds.
const FIND: &str = r#"for name; do command -v -- "$name" >/dev/null 2>&1 && printf '%s\n' "$name"; done; :"#;
/// Says the interpreter's version, and which of its arguments are modules that it finds.
const ASK: &str = "import sys, importlib.util\nprint('%d.%d' % sys.version_info[:2])\nfor name in sys.argv[1:]:\n    try:\n        found = importlib.util.find_spec(name)\n    except Exception:\n        found = None\n    if found:\n        print(name)\n";
/// Bytes of a report that are read.
const REPORT_MAX: u64 = score::OUTPUT_MAX as u64;

/// What a generic evaluation is to run.
pub(super) struct Hinted {
    /// Best first, each with why it is passed over whatever the sandbox has.
    hints: Vec<(Hint, Option<&'static str>)>,
    /// Files of the state that is judged: no report is one of them.
    files: Vec<RelPath>,
}

/// What a generic evaluation came to, as bytes that nobody else writes.
pub(super) struct Evidence {
    /// `hints_run.json`
    pub run: Vec<u8>,
    /// `hints_used.json`
    pub used: Vec<u8>,
    /// The metrics.
    pub metrics: Vec<u8>,
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
        let prefix = format!("{own}_cmd{:02}_try01", tried.attempts.len() + 1);
        self.judge.reporter.say(Happening::StageStarted {
            stage: stage.name.to_string(),
            command: escape(command.as_bytes(), 200),
            output: Some(prefix.clone()),
        });
        let cwd = self.sandbox.inside().workspace.clone();
        let result = self.command(stage, command, &prefix, caps, &cwd, None).await?;
        summary.count(&result, command, result.reason(command), &prefix);
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

    async fn read_score(
        &self,
        command: &str,
        prefix: &str,
        result: &CommandResult,
        reports: &[RelPath],
        said: &mut Value,
    ) -> Result<Result<Score, NoScore>, EngineError> {
        let truncated = [result.stdout_truncated, result.stderr_truncated];
        let mut outputs: Vec<Vec<u8>> = Vec::new();
        for (at, name) in ["stdout", "stderr"].into_iter().enumerate() {
            // The record is what was printed, redacted; of more than it takes there is the end.
            let kept = std::fs::read(self.judge.run.path().join(format!("{prefix}_{name}.txt"))).unwrap_or_default();
            said[format!("{name}_sha256")] = json!(Digest::of(&kept));
            outputs.push(match truncated[at] {
                true => self
                    .judge
                    .run
                    .redact(&String::from_utf8_lossy(&result.tails[at]))
                    .into_bytes(),
                false => kept,
            });
        }
        let streams: Vec<Stream<'_>> = ["stdout", "stderr"]
            .into_iter()
            .enumerate()
            .map(|(at, name)| Stream {
                name,
                bytes: &outputs[at],
                whole: !truncated[at],
            })
            .collect();
        let printed = score::of_output(&streams, &score::formats(command));
        let mut reported: Option<Result<Score, NoScore>> = None;
        for path in reports {
            let Found::File(bytes) = self.sandbox.read(path, REPORT_MAX).await? else {
                continue;
            };
            let bytes = self.judge.run.redact(&String::from_utf8_lossy(&bytes)).into_bytes();
            let ending = if path.as_bytes().ends_with(b".xml") {
                "xml"
            } else {
                "json"
            };
            self.judge.run.write(&format!("{prefix}_report.{ending}"), &bytes)?;
            reported.get_or_insert(score::of_report(&path.to_string(), &bytes));
        }
        Ok(match (printed, reported) {
            (Ok(printed), Some(Ok(reported)))
                if reported.unit != score::Unit::None && printed.score.to_bits() != reported.score.to_bits() =>
            {
                Err(NoScore::Ambiguous(vec![
                    format!("{}: {}", printed.place, printed.summary),
                    format!("{}: {}", reported.place, reported.summary),
                ]))
            }
            (Err(NoScore::NoSummary), Some(reported)) => reported,
            (printed, _) => printed,
        })
    }

    /// What the sandbox has of what hints ask for, with the stage's own variables.
    async fn surroundings(&self, stage: &Stage, hints: &[Hint]) -> Result<Surroundings, EngineError> {
        let wanted = hints::wanted(hints);
        let env = self.environment(stage);
        let value = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| env.get(name))
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
        };
        let mut around = Surroundings {
            model: value(&["AIDER_LLM_MODEL", "OPENAI_MODEL"]),
            base_url: value(&["OPENAI_BASE_URL", "OPENAI_API_BASE"]),
            ..Surroundings::default()
        };
        let env = env.finish(
            self.sandbox.inside(),
            stage.name.as_str(),
            self.judge.run.id(),
            &self.base,
            &self.artifacts,
        );
        let ask = ["/bin/sh", "-c", FIND, "sh"];
        let names = wanted.programs.iter().map(String::as_str);
        let found = self
            .ask(&ask.into_iter().chain(names).collect::<Vec<_>>(), env.clone())
            .await?;
        around.programs = found.unwrap_or_default().lines().map(str::to_owned).collect();
        let python = ["python3", "python"]
            .into_iter()
            .find(|name| around.programs.contains(*name));
        if let Some(python) = python {
            let ask = ["/bin/sh", "-c", r#"exec "$@""#, "sh", python, "-c", ASK];
            let names = wanted.modules.iter().map(String::as_str);
            let found = self
                .ask(&ask.into_iter().chain(names).collect::<Vec<_>>(), env)
                .await?
                .unwrap_or_default();
            let mut lines = found.lines().map(str::to_owned);
            around.python_version = lines.next();
            around.modules = lines.collect();
            around.python = Some(python.to_owned());
        }
        Ok(around)
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

    /// Leaves what the evaluation came to in the tree and for whoever judges it; `false` where
    /// the tree does not let us.
    async fn conclude(&mut self, tried: &Tried, came: &Result<Value, String>) -> Result<bool, EngineError> {
        let chosen = tried.chosen.as_ref();
        let used: Vec<String> = chosen
            .map(|chosen| matched(&chosen.hint, &chosen.command))
            .unwrap_or_default();
        let mut run = json!({
            "ok": chosen.is_some(),
            "used_anchors": used,
            "executed_attempts": tried.executed,
            "attempts": tried.attempts,
            "reason": match came {
                Ok(metrics) => metrics["reason"].clone(),
                Err(why) => json!(why),
            },
        });
        if let Some(chosen) = chosen {
            run["score"] = json!(chosen.score.score);
            run["chosen_command"] = json!(chosen.command);
        }
        let used = json!({"ok": chosen.is_some(), "used_anchors": used, "commands": tried.commands});
        let mut texts = BTreeMap::new();
        let bytes = |value: &Value| -> Vec<u8> {
            let text = serde_json::to_string_pretty(value).unwrap_or_default();
            format!("{}\n", self.judge.run.redact(&text)).into_bytes()
        };
        texts.insert(path(HINTS_RUN), bytes(&run));
        texts.insert(path(HINTS_USED), bytes(&used));
        let evaluation = self.judge.pipeline.evaluation.as_ref();
        let metrics_path = evaluation.and_then(|it| it.metrics_path.clone());
        let metrics = came.as_ref().map(&bytes).unwrap_or_default();
        if let (Some(path), false) = (metrics_path, metrics.is_empty()) {
            texts.insert(path, metrics.clone());
        }
        self.judge
            .run
            .write(&format!("{}/hints_run.json", self.name), &texts[&path(HINTS_RUN)])?;
        let evidence = Evidence {
            run: texts[&path(HINTS_RUN)].clone(),
            used: texts[&path(HINTS_USED)].clone(),
            metrics,
        };
        for (path, text) in &texts {
            let mut edits = TreeEdits::write_file(path, text, 0o644);
            edits.removals.push(path.clone());
            if !self.edit(&edits, StageName::Evaluation.as_str()).await? {
                return Ok(false);
            }
        }
        self.measured = came.is_ok().then_some(evidence);
        Ok(true)
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

/// Anchors of a hint that occur in what was run.
fn matched(hint: &Hint, command: &str) -> Vec<String> {
    let mut anchors = hints::anchors(&hint.command);
    anchors.retain(|anchor| command.contains(anchor.as_str()));
    anchors
}

fn hinted_metrics(chosen: &Measured) -> Value {
    json!({
        "ok": chosen.ok,
        "score": chosen.score.score,
        "reason": "hint",
        "passed": chosen.score.counts.passed,
        "failed": chosen.score.counts.failed,
        "errors": chosen.score.counts.errors,
        "skipped": chosen.score.counts.skipped,
        "source": {
            "command": chosen.command,
            "file": chosen.hint.file,
            "line": chosen.hint.line,
            "result": chosen.result,
            "rc": chosen.rc,
            "format": chosen.score.format,
            "unit": chosen.score.unit,
            "place": chosen.score.place,
            "summary": chosen.score.summary,
        },
    })
}
