//! The course of a run in the predecessor's files: `state.json`, `logs/run_<id>.jsonl`
//! and `versions.json`. The journal says what the machine was told and decided; these
//! say the same to programs that read the predecessor's records.

use std::collections::BTreeMap;

use super::{
    RecordError, RunDir,
    log_line::{LogLine, SnapshotOf},
    state::{State, Subject},
    versions::{OpenCode, Versions},
};
use crate::{
    fsm::{Event, Machine, PlanView, Position, Purpose, TurnFailure, TurnResult},
    guard::{Judged, Phase, Ruling},
};

/// Characters of a prompt or an answer that are shown, the last ones.
const PREVIEW_CHARS: usize = 1200;
/// Characters of an error, the last ones.
const ERROR_CHARS: usize = 2000;
/// Paths of one event.
const LISTED_PATHS: usize = 200;

/// What a turn of the agent came to.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The agent's final text.
    pub text: &'a str,
    /// Tool calls made.
    pub tool_calls: u64,
    /// Those that failed or were denied.
    pub failed_calls: &'a [String],
    /// How long it took, milliseconds.
    pub wall_ms: u64,
}

/// What a verification came to.
#[derive(Clone, Debug)]
pub struct Judgement<'a> {
    /// Its directory in the run.
    pub directory: &'a str,
    /// Whether every stage passed.
    pub ok: bool,
    /// The first that did not.
    pub failed_stage: Option<&'a str>,
    /// Exit codes by stage.
    pub codes: BTreeMap<String, i32>,
}

/// The course of one run.
pub struct Chronicle<'a> {
    run: &'a RunDir,
    state: State,
    lines: u64,
}

impl<'a> Chronicle<'a> {
    /// Begins with `versions.json` and the first `state.json`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn begin(run: &'a RunDir, subject: Subject, opencode: Option<OpenCode>) -> Result<Self, RecordError> {
        run.write_json("versions.json", &Versions::of_host(opencode))?;
        let state = State::new(run.id().as_str(), subject);
        let mut begun = Self { run, state, lines: 0 };
        begun.save()?;
        Ok(begun)
    }

    /// Goes on where a run was cut off.
    ///
    /// # Errors
    /// When its log cannot be read, or `state.json` not be written.
    pub fn again(run: &'a RunDir, state: State) -> Result<Self, RecordError> {
        let lines = run.whole_lines(&log_of(run))?;
        let mut again = Self { run, state, lines };
        again.save()?;
        Ok(again)
    }

    /// What `state.json` says.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A verification without an agent is about to begin.
    ///
    /// # Errors
    /// When `state.json` cannot be written.
    pub fn preflight(&mut self) -> Result<(), RecordError> {
        self.state.fsm_state = "PREFLIGHT".to_owned();
        self.save()
    }

    /// The machine, as it now stands.
    ///
    /// # Errors
    /// When `state.json` cannot be written.
    pub fn moved(&mut self, machine: &Machine) -> Result<(), RecordError> {
        let state = &mut self.state;
        state.iter_idx = machine.iteration();
        state.current_step_id = machine.step().map(|step| step.id.clone());
        state.current_step_text = machine.step().map(|step| step.text.clone());
        state.fix_attempts = machine.fixes();
        match machine.position() {
            // The state in which it ended says more than that it ended.
            Position::Ended(end) => state.last_exit_reason = Some(end.reason.to_string()),
            position => state.fsm_state = position.name().to_owned(),
        }
        self.save()
    }

    /// An event that the machine, as it stands before it, is about to be told.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn happened(&mut self, machine: &Machine, event: &Event) -> Result<(), RecordError> {
        match (machine.position(), event) {
            (_, Event::SnapshotTaken) => {
                let snapshot = Some(SnapshotOf {
                    repo: self.state.repo.clone(),
                    plan_path: self.state.plan_path.clone(),
                });
                self.log(
                    "snapshot",
                    LogLine {
                        snapshot,
                        ..LogLine::default()
                    },
                )
            }
            (
                Position::Turn { purpose, .. },
                Event::TurnOver {
                    result,
                    violations,
                    plan,
                },
            ) => match result {
                TurnResult::Failed(failure) => self.failed(failure),
                TurnResult::Completed if violations.is_empty() && *purpose == Purpose::PlanUpdate => self.plan(plan),
                TurnResult::Completed => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn failed(&mut self, failure: &TurnFailure) -> Result<(), RecordError> {
        let error = Some(self.last(&failure.why, ERROR_CHARS));
        self.log(
            "agent_error",
            LogLine {
                error,
                ..LogLine::default()
            },
        )
    }

    fn plan(&mut self, plan: &PlanView) -> Result<(), RecordError> {
        match plan {
            PlanView::Broken(errors) => {
                let errors = Some(errors.clone());
                self.log(
                    "plan_parse_error",
                    LogLine {
                        errors,
                        ..LogLine::default()
                    },
                )
            }
            PlanView::Parsed {
                next: None,
                backlog_open,
            } if *backlog_open > 0 => {
                let backlog_open_count = Some(*backlog_open);
                self.log(
                    "plan_inconsistent_missing_next",
                    LogLine {
                        backlog_open_count,
                        ..LogLine::default()
                    },
                )
            }
            PlanView::Parsed { .. } => Ok(()),
        }
    }

    /// What the guard took back after a phase.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn guarded(&mut self, phase: Phase, judged: &[&Judged]) -> Result<(), RecordError> {
        let (name, others) = match phase {
            Phase::PlanUpdate => ("plan_update", "plan_update_revert_non_plan_files"),
            Phase::ExecuteStep => ("execute", "execute_revert_protected_files"),
            Phase::FixOrReplan => ("fix_or_replan", "fix_or_replan_revert_protected_files"),
            Phase::Scaffold => ("scaffold_contract", "scaffold_contract_revert_other_files"),
            Phase::Repair => ("repair_contract", "repair_contract_revert_other_files"),
        };
        let violations = judged.iter().filter(|judged| judged.ruling == Ruling::Violation);
        let paths: Vec<String> = violations.map(|judged| judged.change.path.to_string()).collect();
        let (plan, contract) = (self.state.plan_path.clone(), self.state.pipeline_path.clone());
        if paths.contains(&contract) {
            let pipeline_path = Some(contract.clone());
            let event = format!("{name}_touched_pipeline_reverted");
            self.log(
                &event,
                LogLine {
                    pipeline_path,
                    ..LogLine::default()
                },
            )?;
        }
        if paths.contains(&plan) {
            self.log(&format!("{name}_touched_plan_reverted"), LogLine::default())?;
        }
        let others_touched: Vec<String> = paths
            .into_iter()
            .filter(|path| *path != plan && *path != contract)
            .take(LISTED_PATHS)
            .collect();
        if others_touched.is_empty() {
            return Ok(());
        }
        let illegal_files = Some(others_touched);
        self.log(
            others,
            LogLine {
                illegal_files,
                ..LogLine::default()
            },
        )
    }

    /// A prompt that the agent is about to get, in the turn `label`.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn asked(&mut self, label: &str, prompt: &str) -> Result<(), RecordError> {
        let line = LogLine {
            phase: Some("prompt".to_owned()),
            prompt_preview: Some(self.last(prompt, PREVIEW_CHARS)),
            ..LogLine::default()
        };
        self.log(label, line)
    }

    /// What the agent answered.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn answered(&mut self, label: &str, answer: Answer<'_>) -> Result<(), RecordError> {
        let line = LogLine {
            phase: Some("response".to_owned()),
            assistant_preview: Some(self.last(answer.text, PREVIEW_CHARS)),
            tool_calls: Some(answer.tool_calls),
            failed_calls: Some(answer.failed_calls.to_vec()),
            wall_ms: Some(answer.wall_ms),
            ..LogLine::default()
        };
        self.log(label, line)
    }

    /// What the agent asked for in `actions.yml` was performed, once.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn acted(&mut self, ok: bool, actions_rc: Option<i32>) -> Result<(), RecordError> {
        self.log(
            "actions_executed",
            LogLine {
                ok: Some(ok),
                actions_rc,
                ..LogLine::default()
            },
        )
    }

    /// A verification is over.
    ///
    /// # Errors
    /// When the log or `state.json` cannot be written.
    pub fn verified(&mut self, judgement: Judgement<'_>) -> Result<(), RecordError> {
        let event = match &self.state {
            state if state.fsm_state == "PREFLIGHT" => "preflight_verify",
            State {
                current_step_id: None, ..
            } => "verify_pipeline_no_steps",
            _ => "verify_pipeline",
        };
        let line = LogLine {
            ok: Some(judgement.ok),
            failed_stage: judgement.failed_stage.map(str::to_owned),
            artifacts_dir: Some(judgement.directory.to_owned()),
            ..LogLine::default()
        };
        let metrics_ok = judgement.ok || judgement.failed_stage != Some("metrics");
        self.state.verified(&judgement.codes, metrics_ok);
        self.log(event, line)?;
        self.save()
    }

    /// The run ended, for a reason that the machine does not know of.
    ///
    /// # Errors
    /// When `state.json` cannot be written.
    pub fn ended(&mut self, reason: &str) -> Result<(), RecordError> {
        self.state.last_exit_reason = Some(reason.to_owned());
        self.save()?;
        self.run.sync()
    }

    fn save(&mut self) -> Result<(), RecordError> {
        self.state.updated_at = jiff::Timestamp::now().to_string();
        self.run.keep_json("state.json", &self.state)
    }

    fn log(&mut self, event: &str, mut line: LogLine) -> Result<(), RecordError> {
        line.seq = self.lines;
        line.ts = jiff::Timestamp::now().to_string();
        line.iter_idx = self.state.iter_idx;
        line.fsm_state.clone_from(&self.state.fsm_state);
        line.event = event.to_owned();
        self.lines += 1;
        self.run.append(&log_of(self.run), &line)
    }

    /// The last characters of a text. Secrets go first: half of one would not be found any more.
    fn last(&self, text: &str, chars: usize) -> String {
        let clean = self.run.redact(text);
        let skip = clean.chars().count().saturating_sub(chars);
        clean.chars().skip(skip).collect()
    }
}

/// The log of a run.
fn log_of(run: &RunDir) -> String {
    format!("logs/run_{}.jsonl", run.id())
}

#[cfg(test)]
#[path = "chronicle_tests.rs"]
mod tests;
