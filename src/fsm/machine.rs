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
        self.turn_failures = 0;
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
        self.turn_failures += 1;
        let blame = failure.blame();
        let (reason, why) = match failure {
            TurnFailure::Provider(why) => (EndReason::AgentError, format!("the model's provider failed: {why}")),
            TurnFailure::Agent(why) => (EndReason::AgentError, format!("the agent failed: {why}")),
            TurnFailure::Time(why) => (EndReason::TurnTimeout, why),
        };
        if self.turn_failures >= self.limits.max_turn_failures {
            let detail = format!("{} turns in a row failed; the last: {why}", self.turn_failures);
            return self.end_with(End {
                reason,
                detail,
                blame: Some(blame),
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
            let why = verdict.reason.unwrap_or_else(|| "no reason was given".to_owned());
            return self.end(EndReason::SandboxError, why);
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
        self.end_with(End { reason, detail, blame })
    }

    fn end_with(&mut self, end: End) -> Command {
        self.position = Position::Ended(end.clone());
        Command::End(end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step(id: &str) -> PlanView {
        PlanView::Parsed {
            next: Some(Step {
                id: id.into(),
                text: "do it".into(),
            }),
            backlog_open: 0,
        }
    }

    fn empty() -> PlanView {
        PlanView::Parsed {
            next: None,
            backlog_open: 0,
        }
    }

    fn over(plan: PlanView) -> Event {
        Event::TurnOver {
            result: TurnResult::Completed,
            violations: vec![],
            plan,
        }
    }

    fn verdict(ok: bool) -> Event {
        Event::Verified(Verdict {
            ok,
            failed_stage: (!ok).then(|| "tests".into()),
            reason: None,
            blame: (!ok).then_some(Blame::Verifier),
            evidence: None,
        })
    }

    fn reason(command: Command) -> EndReason {
        match command {
            Command::End(end) => end.reason,
            other => panic!("not ended: {other:?}"),
        }
    }

    /// A machine that has reached `S3_EXECUTE_STEP` of step 001.
    fn executing(limits: Limits) -> Machine {
        let mut machine = Machine::new(limits);
        assert_eq!(machine.advance(Event::Begin), Command::Snapshot);
        assert!(matches!(
            machine.advance(Event::SnapshotTaken),
            Command::Turn {
                purpose: Purpose::PlanUpdate,
                ..
            }
        ));
        assert!(matches!(
            machine.advance(over(step("001"))),
            Command::Turn {
                purpose: Purpose::ExecuteStep,
                ..
            }
        ));
        machine
    }

    #[test]
    fn a_passing_step_is_marked_done_and_an_empty_passing_plan_ends_the_run() {
        let mut m = executing(Limits::default());
        assert_eq!(m.advance(over(step("001"))), Command::Verify);
        assert_eq!(m.advance(verdict(true)), Command::RewritePlan(PlanEdit::MarkDone));
        assert_eq!(m.advance(Event::PlanRewritten), Command::Snapshot);
        m.advance(Event::SnapshotTaken);
        assert_eq!(m.advance(over(empty())), Command::Verify);
        assert_eq!(reason(m.advance(verdict(true))), EndReason::Done);
        assert_eq!(m.exit_code(), Some(0));
    }

    #[test]
    fn a_failing_step_is_fixed_up_to_the_limit_and_then_blocked() {
        let mut m = executing(Limits {
            max_fix: 1,
            ..Limits::default()
        });
        m.advance(over(step("001")));
        assert!(matches!(
            m.advance(verdict(false)),
            Command::Turn {
                purpose: Purpose::FixOrReplan { fix: 1 },
                try_number: 1,
                ..
            }
        ));
        assert_eq!(m.advance(over(step("001"))), Command::Snapshot);
        m.advance(Event::SnapshotTaken);
        m.advance(over(step("001")));
        m.advance(over(step("001")));
        match m.advance(verdict(false)) {
            Command::RewritePlan(PlanEdit::Block { why }) => assert!(why.contains("tests"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(m.fixes(), 0);
    }

    #[test]
    fn another_step_gets_its_own_fixes() {
        let mut m = executing(Limits {
            max_fix: 1,
            ..Limits::default()
        });
        m.advance(over(step("001")));
        m.advance(verdict(false));
        m.advance(over(step("002")));
        m.advance(Event::SnapshotTaken);
        m.advance(over(step("002")));
        m.advance(over(step("002")));
        assert!(matches!(
            m.advance(verdict(false)),
            Command::Turn {
                purpose: Purpose::FixOrReplan { fix: 1 },
                ..
            }
        ));
    }

    #[test]
    fn violations_repeat_the_phase_with_the_finding_and_end_it_in_the_end() {
        let mut m = executing(Limits::default());
        let bad = || Event::TurnOver {
            result: TurnResult::Completed,
            violations: vec!["pipeline.yml is the contract".into()],
            plan: step("001"),
        };
        match m.advance(bad()) {
            Command::Turn {
                purpose: Purpose::ExecuteStep,
                try_number: 2,
                findings,
            } => {
                assert_eq!(findings, ["pipeline.yml is the contract"]);
            }
            other => panic!("{other:?}"),
        }
        m.advance(bad());
        assert_eq!(reason(m.advance(bad())), EndReason::StepTouchedProtected);
        assert_eq!(m.exit_code(), Some(4));
    }

    #[test]
    fn a_broken_plan_and_a_missing_next_step_are_told_to_the_agent() {
        let mut m = Machine::new(Limits::default());
        m.advance(Event::Begin);
        m.advance(Event::SnapshotTaken);
        match m.advance(over(PlanView::Broken(vec!["bad_next_line".into()]))) {
            Command::Turn {
                try_number: 2,
                findings,
                ..
            } => assert_eq!(findings, ["bad_next_line"]),
            other => panic!("{other:?}"),
        }
        m.advance(over(PlanView::Parsed {
            next: None,
            backlog_open: 2,
        }));
        assert_eq!(
            reason(m.advance(over(PlanView::Parsed {
                next: None,
                backlog_open: 2
            }))),
            EndReason::MissingNextStep
        );
    }

    #[test]
    fn failed_turns_are_repeated_and_the_count_starts_anew_after_a_good_one() {
        let mut m = executing(Limits::default());
        let failed = || Event::TurnOver {
            result: TurnResult::Failed(TurnFailure::Provider("503".into())),
            violations: vec![],
            plan: step("001"),
        };
        assert!(matches!(
            m.advance(failed()),
            Command::Turn {
                purpose: Purpose::ExecuteStep,
                try_number: 1,
                ..
            }
        ));
        m.advance(failed());
        assert_eq!(m.clone().advance(over(step("001"))), Command::Verify);
        let Command::End(end) = m.advance(failed()) else {
            panic!("not ended")
        };
        assert_eq!((end.reason, end.blame), (EndReason::AgentError, Some(Blame::Provider)));
        assert_eq!(m.exit_code(), Some(8));
    }

    #[test]
    fn a_sandbox_that_failed_is_not_counted_against_the_step() {
        let mut m = executing(Limits::default());
        m.advance(over(step("001")));
        let failed = Event::Verified(Verdict {
            ok: false,
            failed_stage: Some("tests".into()),
            reason: Some("the sandbox's supervisor is gone".into()),
            blame: Some(Blame::Sandbox),
            evidence: None,
        });
        let Command::End(end) = m.advance(failed) else {
            panic!("not ended")
        };
        assert_eq!((end.reason, end.blame), (EndReason::SandboxError, Some(Blame::Sandbox)));
        assert_eq!((m.fixes(), m.exit_code()), (0, Some(7)));
    }

    #[test]
    fn signals_give_128_plus_n() {
        for (signal, code) in [(2, 130), (15, 143)] {
            let mut m = executing(Limits::default());
            assert_eq!(reason(m.advance(Event::Interrupted { signal })), EndReason::Interrupted);
            assert_eq!(m.exit_code(), Some(code));
        }
    }

    fn any_plan() -> impl Strategy<Value = PlanView> {
        prop_oneof![
            Just(empty()),
            "[0-9]{3}".prop_map(|id| step(&id)),
            Just(PlanView::Parsed {
                next: None,
                backlog_open: 1
            }),
            Just(PlanView::Broken(vec!["bad_next_line".into()])),
        ]
    }

    fn any_turn() -> impl Strategy<Value = Event> {
        (any_plan(), 0..6u8).prop_map(|(plan, luck)| match luck {
            0 => Event::TurnOver {
                result: TurnResult::Completed,
                violations: vec!["no".into()],
                plan,
            },
            1 => Event::TurnOver {
                result: TurnResult::Failed(TurnFailure::Time("slow".into())),
                violations: vec![],
                plan,
            },
            _ => over(plan),
        })
    }

    proptest! {
        /// Whatever agent and repository do, the run ends within a bound known from its limits alone.
        #[test]
        fn every_run_ends(turns in prop::collection::vec(any_turn(), 1..64), oks in prop::collection::vec(any::<bool>(), 1..16)) {
            let limits = Limits { max_iters: 5, max_fix: 2, max_tries: 3, max_turn_failures: 3 };
            let mut m = Machine::new(limits);
            let mut command = m.advance(Event::Begin);
            let (mut t, mut v) = (0, 0);
            // Per iteration: a snapshot, three kinds of turn with at most
            // tries x failures of each, one verification, one rewrite.
            for _ in 0..limits.max_iters * (3 * 3 * 3 + 3) + 2 {
                command = match command {
                    Command::End(_) => break,
                    Command::Snapshot => m.advance(Event::SnapshotTaken),
                    Command::Turn { .. } => { t += 1; m.advance(turns[t % turns.len()].clone()) }
                    Command::Verify => { v += 1; m.advance(verdict(oks[v % oks.len()])) }
                    Command::RewritePlan(_) => m.advance(Event::PlanRewritten),
                };
            }
            prop_assert!(matches!(command, Command::End(_)), "{command:?}");
            prop_assert!(m.iteration() <= limits.max_iters);
        }

        /// Only a verification that passed with no step left says DONE.
        #[test]
        fn done_needs_a_passing_verification(events in prop::collection::vec(prop_oneof![
            any_turn(), any::<bool>().prop_map(verdict), Just(Event::SnapshotTaken), Just(Event::PlanRewritten), Just(Event::Begin)
        ], 0..40)) {
            let mut m = Machine::new(Limits::default());
            for event in events {
                let before = m.clone();
                let passes = matches!(&event, Event::Verified(v) if v.ok);
                if let Command::End(End { reason: EndReason::Done, .. }) = m.advance(event) {
                    let was_done = matches!(before.position(), Position::Ended(_));
                    prop_assert!(was_done || (passes && before.step().is_none() && *before.position() == Position::Verify));
                }
            }
        }
    }
}
