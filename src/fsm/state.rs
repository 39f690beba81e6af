//! The machine's vocabulary.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::blame::Blame;
use crate::guard::Phase;

/// Bounds of a run, from the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Iterations before the run gives up (`--max-iters`).
    pub max_iters: u64,
    /// Fix turns for one failing step before it is blocked (`--max-fix`).
    pub max_fix: u32,
    /// Tries of one phase that the guard or the plan's grammar refuses.
    pub max_tries: u32,
    /// Failed turns in a row (provider, server, time) before the run gives up.
    pub max_turn_failures: u32,
    /// Turns in a row whose sandbox failed before the run gives up; they count against
    /// nothing else.
    pub max_sandbox_failures: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_iters: 200,
            max_fix: 10,
            max_tries: 3,
            max_turn_failures: 3,
            max_sandbox_failures: 3,
        }
    }
}

/// One step of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `STEP_ID`, digits as written.
    pub id: String,
    /// Its text.
    pub text: String,
}

/// What the machine knows of the plan: it was parsed by the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanView {
    /// The plan holds to its grammar.
    Parsed {
        /// The one open step of `Next`.
        next: Option<Step>,
        /// Open items of `Backlog`.
        backlog_open: usize,
    },
    /// It does not; each error as a line for the agent.
    Broken(Vec<String>),
}

/// Where the machine stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum Position {
    /// Nothing happened yet.
    Ready,
    /// Waiting for the snapshot.
    Snapshot,
    /// Waiting for a turn of this purpose; `try_number` counts from 1.
    Turn {
        /// What the turn is for.
        purpose: Purpose,
        /// Which try this is.
        try_number: u32,
    },
    /// Waiting for a verification.
    Verify,
    /// Waiting for the plan to be rewritten by the machine.
    RewritePlan,
    /// Over.
    Ended(End),
}

impl Position {
    /// The predecessor's name of the state, for `state.json` and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Position::Ready => "S0_BOOTSTRAP",
            Position::Snapshot => "S1_SNAPSHOT",
            Position::Turn {
                purpose: Purpose::PlanUpdate,
                ..
            } => "S2_PLAN_UPDATE",
            Position::Turn {
                purpose: Purpose::ExecuteStep,
                ..
            } => "S3_EXECUTE_STEP",
            Position::Verify => "S4_VERIFY",
            Position::Turn { .. } | Position::RewritePlan | Position::Ended(_) => "S5_DECIDE",
        }
    }
}

/// What an agent's turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Bring the plan in order.
    PlanUpdate,
    /// Carry out the one step of `Next`.
    ExecuteStep,
    /// Repair or re-plan after a failed verification.
    FixOrReplan {
        /// Which fix this is for the step, from 1.
        fix: u32,
    },
    /// The plan is empty and verification fails: ask for one repairing step.
    ReplanWithoutSteps,
}

impl Purpose {
    /// The write-set that the guard applies.
    pub fn phase(self) -> Phase {
        match self {
            Purpose::PlanUpdate | Purpose::ReplanWithoutSteps => Phase::PlanUpdate,
            Purpose::ExecuteStep => Phase::ExecuteStep,
            Purpose::FixOrReplan { .. } => Phase::FixOrReplan,
        }
    }

    /// The purpose's name as the predecessor logged it.
    pub fn label(self, try_number: u32) -> String {
        match self {
            Purpose::PlanUpdate => format!("plan_update_attempt_{try_number}"),
            Purpose::ExecuteStep => "execute_step".to_owned(),
            Purpose::FixOrReplan { fix } => format!("fix_or_replan_attempt_{fix}"),
            Purpose::ReplanWithoutSteps => "plan_update_due_to_failing_tests_no_steps".to_owned(),
        }
    }
}

/// What the engine is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", content = "what", rename_all = "kebab-case")]
pub enum Command {
    /// Collect the facts for the next prompts and parse the plan.
    Snapshot,
    /// Let the agent work; then judge its changes.
    Turn {
        /// What for.
        purpose: Purpose,
        /// Which try.
        try_number: u32,
        /// What was wrong with the try before: shown to the agent.
        findings: Vec<String>,
    },
    /// Verify in a fresh judge.
    Verify,
    /// Rewrite the plan.
    RewritePlan(PlanEdit),
    /// Stop.
    End(End),
}

/// Edits of the plan that the machine makes itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanEdit {
    /// The step passed: tick it, move it to `Done`, promote the next.
    MarkDone,
    /// The step failed too often: take it out, note why, promote the next.
    Block {
        /// One line of reason.
        why: String,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "happened", content = "what", rename_all = "kebab-case")]
pub enum Event {
    /// The run begins.
    Begin,
    /// The snapshot was taken.
    SnapshotTaken,
    /// A turn is over, its changes judged, and what was not allowed taken back.
    TurnOver {
        /// How the turn itself went.
        result: TurnResult,
        /// Violations; when there are any, the whole phase was reverted.
        violations: Vec<String>,
        /// The plan as it now stands.
        plan: PlanView,
    },
    /// A verification is over.
    Verified(Verdict),
    /// The plan was rewritten.
    PlanRewritten,
    /// The sandbox failed for good.
    SandboxFailed(String),
    /// A budget of the whole run is used up.
    BudgetExhausted(String),
    /// A signal came.
    Interrupted {
        /// Its number.
        signal: i32,
    },
}

/// How a turn went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnResult {
    /// The agent finished.
    Completed,
    /// It did not; the phase was reverted.
    Failed(TurnFailure),
}

/// A turn that did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnFailure {
    /// Who failed.
    pub blame: Blame,
    /// One line about it.
    pub why: String,
    /// Where the evidence lies, relative to the run's directory.
    pub evidence: Option<String>,
}

/// What verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Every stage passed.
    pub ok: bool,
    /// The first that did not.
    pub failed_stage: Option<String>,
    /// One line about it.
    pub reason: Option<String>,
    /// Who failed.
    pub blame: Option<Blame>,
    /// Where the evidence lies, relative to the run's directory.
    pub evidence: Option<String>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// One line for a person.
    pub detail: String,
    /// Who failed; nobody when it is done.
    pub blame: Option<Blame>,
    /// Where the evidence lies, relative to the run's directory.
    pub evidence: Option<String>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EndReason {
    /// Nothing is left to do and verification passes.
    Done,
    /// The iterations are used up.
    MaxIters,
    /// The plan phase touched more than the plan, every time.
    PlanUpdateTouchedCode,
    /// The execute or fix phase touched what is protected, every time.
    StepTouchedProtected,
    /// The plan never parsed.
    PlanParseError,
    /// The plan has a backlog but no next step, every time.
    MissingNextStep,
    /// The agent or its provider failed too often.
    AgentError,
    /// Turns ran out of time too often.
    TurnTimeout,
    /// A budget of the run is used up.
    Budget,
    /// The sandbox failed.
    SandboxError,
    /// A signal stopped the run.
    Interrupted,
}

impl EndReason {
    /// The process exit code (README, table of exit codes).
    pub fn exit_code(self, signal: Option<i32>) -> u8 {
        match self {
            EndReason::Done => 0,
            EndReason::MaxIters | EndReason::PlanParseError | EndReason::MissingNextStep => 1,
            EndReason::PlanUpdateTouchedCode | EndReason::StepTouchedProtected => 4,
            EndReason::TurnTimeout | EndReason::Budget => 6,
            EndReason::SandboxError => 7,
            EndReason::AgentError => 8,
            EndReason::Interrupted => 128 + u8::try_from(signal.unwrap_or(2)).unwrap_or(2),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndReason::Done => "DONE",
            EndReason::MaxIters => "MAX_ITERS",
            EndReason::PlanUpdateTouchedCode => "PLAN_UPDATE_TOUCHED_CODE",
            EndReason::StepTouchedProtected => "STEP_TOUCHED_PROTECTED",
            EndReason::PlanParseError => "PLAN_PARSE_ERROR",
            EndReason::MissingNextStep => "MISSING_NEXT_STEP",
            EndReason::AgentError => "AGENT_ERROR",
            EndReason::TurnTimeout => "TURN_TIMEOUT",
            EndReason::Budget => "BUDGET",
            EndReason::SandboxError => "SANDBOX_ERROR",
            EndReason::Interrupted => "INTERRUPTED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The journal holds every one of them.
    #[test]
    fn every_event_and_command_survives_the_journal() {
        let verdict = Verdict {
            ok: false,
            failed_stage: Some("tests".to_owned()),
            reason: None,
            blame: Some(Blame::Verifier),
            evidence: Some("iter_0001/tests_result.json".to_owned()),
        };
        let failed = |failure| TurnResult::Failed(failure);
        let turn = |result| Event::TurnOver {
            result,
            violations: vec!["v".to_owned()],
            plan: PlanView::Broken(vec![]),
        };
        let end = End {
            reason: EndReason::Done,
            detail: "d".to_owned(),
            blame: None,
            evidence: None,
        };
        for event in [
            Event::Begin,
            Event::SnapshotTaken,
            turn(TurnResult::Completed),
            turn(failed(TurnFailure {
                blame: Blame::Provider,
                why: "p".to_owned(),
                evidence: Some("model.jsonl".to_owned()),
            })),
            Event::Verified(verdict),
            Event::PlanRewritten,
            Event::SandboxFailed("s".to_owned()),
            Event::BudgetExhausted("b".to_owned()),
            Event::Interrupted { signal: 2 },
        ] {
            let text = serde_json::to_string(&event).expect("written");
            assert_eq!(serde_json::from_str::<Event>(&text).expect("read"), event, "{text}");
        }
        for command in [
            Command::Snapshot,
            Command::Turn {
                purpose: Purpose::FixOrReplan { fix: 1 },
                try_number: 1,
                findings: vec![],
            },
            Command::Verify,
            Command::RewritePlan(PlanEdit::MarkDone),
            Command::RewritePlan(PlanEdit::Block { why: "w".to_owned() }),
            Command::End(end),
        ] {
            let text = serde_json::to_string(&command).expect("written");
            assert_eq!(serde_json::from_str::<Command>(&text).expect("read"), command, "{text}");
        }
    }
}
