//! The transitions.

use serde::{Deserialize, Serialize};

use super::{
    blame::Blame,
    state::{
        Command, End, EndReason, Event, Limits, PlanEdit, PlanView, Position, Purpose, Step, TurnFailure, TurnResult,
        Verdict,
    },
};

/// The machine: its whole state is this value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    limits: Limits,
    position: Position,
    iteration: u64,
    step: Option<Step>,
    /// Fix turns spent on `step`; starts anew with another step.
    fixes: u32,
    turn_failures: u32,
    /// Turns in a row whose sandbox failed.
    #[serde(default)]
    sandbox_failures: u32,
    signal: Option<i32>,
}

impl Machine {
    /// A machine at the beginning of a run.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            position: Position::Ready,
            iteration: 0,
            step: None,
            fixes: 0,
            turn_failures: 0,
            sandbox_failures: 0,
            signal: None,
        }
    }

    /// Where it stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The iteration, from 1; 0 before the first.
    pub fn iteration(&self) -> u64 {
        self.iteration
    }

    /// The step being worked on.
    pub fn step(&self) -> Option<&Step> {
        self.step.as_ref()
    }

    /// Fix turns spent on the step.
    pub fn fixes(&self) -> u32 {
        self.fixes
    }

    /// The exit code once ended.
    pub fn exit_code(&self) -> Option<u8> {
        match &self.position {
            Position::Ended(end) => Some(end.reason.exit_code(self.signal)),
            _ => None,
        }
    }

    /// Takes one event and says what to do next. An event that does not belong
    /// to the position (a bug of the engine, or a forged journal) ends the run
    /// as a sandbox error rather than being guessed at.
    pub fn advance(&mut self, event: Event) -> Command {
        if let Position::Ended(end) = &self.position {
            return Command::End(end.clone());
        }
        match (self.position.clone(), event) {
            (_, Event::Interrupted { signal }) => {
                self.signal = Some(signal);
                self.end(EndReason::Interrupted, format!("signal {signal}"))
            }
            (_, Event::SandboxFailed(why)) => self.end(EndReason::SandboxError, why),
            (_, Event::BudgetExhausted(what)) => self.end(EndReason::Budget, what),
            (Position::Ready, Event::Begin) => self.next_iteration(),
            (Position::Snapshot, Event::SnapshotTaken) => self.turn(Purpose::PlanUpdate, 1, Vec::new()),
            (
                Position::Turn { purpose, try_number },
                Event::TurnOver {
                    result,
                    violations,
                    plan,
                },
            ) => self.turn_over(purpose, try_number, result, violations, plan),
            (Position::Verify, Event::Verified(verdict)) => self.decide(verdict),
            (Position::RewritePlan, Event::PlanRewritten) => self.next_iteration(),
            (position, event) => {
                let name = position.name();
                self.end(
                    EndReason::SandboxError,
                    format!("the engine reported {event:?} in {name}"),
                )
            }
        }
    }

    fn turn_over(
        &mut self,
        purpose: Purpose,
        try_number: u32,
        result: TurnResult,
        violations: Vec<String>,
        plan: PlanView,
    ) -> Command {
        if !violations.is_empty() {
            let reason = match purpose.phase() {
                crate::guard::Phase::PlanUpdate => EndReason::PlanUpdateTouchedCode,
                _ => EndReason::StepTouchedProtected,
            };
            return self.try_again(purpose, try_number, violations, reason);
        }
        if let TurnResult::Failed(failure) = result {
            return self.turn_failed(purpose, try_number, failure);
        }
        (self.turn_failures, self.sandbox_failures) = (0, 0);
        match purpose {
            Purpose::PlanUpdate => match plan {
                PlanView::Broken(errors) => self.try_again(purpose, try_number, errors, EndReason::PlanParseError),
                PlanView::Parsed { next: Some(step), .. } => {
                    if self.step.as_ref().map(|s| &s.id) != Some(&step.id) {
                        self.fixes = 0;
                    }
                    self.step = Some(step);
                    self.turn(Purpose::ExecuteStep, 1, Vec::new())
                }
                PlanView::Parsed {
                    next: None,
                    backlog_open: 0,
                } => {
                    self.step = None;
                    self.fixes = 0;
                    self.verify()
                }
                PlanView::Parsed {
                    next: None,
                    backlog_open,
                } => {
                    let finding = format!(
                        "missing_next_step: `## Next` is empty while {backlog_open} open item(s) wait in `## Backlog`; move exactly one of them to `## Next`"
                    );
                    self.try_again(purpose, try_number, vec![finding], EndReason::MissingNextStep)
                }
            },
            Purpose::ExecuteStep => self.verify(),
            Purpose::FixOrReplan { .. } | Purpose::ReplanWithoutSteps => self.next_iteration(),
        }
    }

    fn try_again(&mut self, purpose: Purpose, try_number: u32, findings: Vec<String>, reason: EndReason) -> Command {
        if try_number >= self.limits.max_tries {
            let shown = findings.first().cloned().unwrap_or_default();
            return self.end(reason, format!("{try_number} tries in a row; the last: {shown}"));
        }
        self.turn(purpose, try_number + 1, findings)
    }

    fn turn_failed(&mut self, purpose: Purpose, try_number: u32, failure: TurnFailure) -> Command {
        let TurnFailure { blame, why, evidence } = failure;
        let (count, most, reason) = match blame {
            Blame::Sandbox => (
                &mut self.sandbox_failures,
                self.limits.max_sandbox_failures,
                EndReason::SandboxError,
            ),
            Blame::Budget => (
                &mut self.turn_failures,
                self.limits.max_turn_failures,
                EndReason::TurnTimeout,
            ),
            _ => (
                &mut self.turn_failures,
                self.limits.max_turn_failures,
                EndReason::AgentError,
            ),
        };
        *count += 1;
        if *count >= most {
            let detail = format!("{count} turns in a row failed; the last, by the {blame}: {why}");
            return self.end_with(End {
                reason,
                detail,
                blame: Some(blame),
                evidence,
            });
        }
        self.turn(purpose, try_number, Vec::new())
    }

    fn decide(&mut self, verdict: Verdict) -> Command {
        if verdict.ok {
            self.fixes = 0;
            return match self.step {
                Some(_) => self.rewrite(PlanEdit::MarkDone),
                None => self.end(EndReason::Done, "no step is left and verification passes".to_owned()),
            };
        }
        if verdict.blame == Some(Blame::Sandbox) {
            // It was repeated already; the step is not to blame.
            return self.end_with(End {
                reason: EndReason::SandboxError,
                detail: verdict.reason.unwrap_or_else(|| "no reason was given".to_owned()),
                blame: verdict.blame,
                evidence: verdict.evidence,
            });
        }
        if self.step.is_none() {
            return self.turn(Purpose::ReplanWithoutSteps, 1, Vec::new());
        }
        self.fixes += 1;
        if self.fixes <= self.limits.max_fix {
            return self.turn(Purpose::FixOrReplan { fix: self.fixes }, 1, Vec::new());
        }
        let tries = self.limits.max_fix;
        self.fixes = 0;
        let stage = verdict.failed_stage.unwrap_or_else(|| "verification".to_owned());
        let reason = verdict.reason.unwrap_or_else(|| "no reason was given".to_owned());
        self.rewrite(PlanEdit::Block {
            why: format!("{stage} still fails after {tries} fix attempts: {reason}"),
        })
    }

    fn next_iteration(&mut self) -> Command {
        if self.iteration >= self.limits.max_iters {
            return self.end(
                EndReason::MaxIters,
                format!("{} iterations are used up", self.iteration),
            );
        }
        self.iteration += 1;
        self.position = Position::Snapshot;
        Command::Snapshot
    }

    fn turn(&mut self, purpose: Purpose, try_number: u32, findings: Vec<String>) -> Command {
        self.position = Position::Turn { purpose, try_number };
        Command::Turn {
            purpose,
            try_number,
            findings,
        }
    }

    fn verify(&mut self) -> Command {
        self.position = Position::Verify;
        Command::Verify
    }

    fn rewrite(&mut self, edit: PlanEdit) -> Command {
        self.position = Position::RewritePlan;
        Command::RewritePlan(edit)
    }

    fn end(&mut self, reason: EndReason, detail: String) -> Command {
        let blame = reason.blame();
        self.end_with(End {
            reason,
            detail,
            blame,
            evidence: None,
        })
    }

    fn end_with(&mut self, end: End) -> Command {
        self.position = Position::Ended(end.clone());
        Command::End(end)
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
