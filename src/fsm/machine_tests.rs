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

fn failure(blame: Blame) -> TurnFailure {
    TurnFailure {
        blame,
        why: "it failed".into(),
        evidence: Some("turns/0001-execute_step.json".into()),
    }
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
        result: TurnResult::Failed(failure(Blame::Provider)),
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
    assert_eq!(end.evidence, failure(Blame::Provider).evidence);
    assert_eq!(m.exit_code(), Some(8));
}

#[test]
fn turns_whose_sandbox_failed_are_repeated_within_a_budget_of_their_own() {
    let failed = |blame| Event::TurnOver {
        result: TurnResult::Failed(failure(blame)),
        violations: vec![],
        plan: step("001"),
    };
    let limits = Limits {
        max_turn_failures: 2,
        max_sandbox_failures: 3,
        ..Limits::default()
    };
    let mut m = executing(limits);
    // Neither counts for the other, and no try or fix of the step is used up.
    for blame in [Blame::Sandbox, Blame::Agent, Blame::Sandbox] {
        match m.advance(failed(blame)) {
            Command::Turn {
                purpose: Purpose::ExecuteStep,
                try_number: 1,
                ..
            } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(m.fixes(), 0);
    // A turn that comes to its end starts the count anew.
    let mut good = m.clone();
    good.advance(over(step("001")));
    good.advance(verdict(false));
    for _ in 0..2 {
        assert!(matches!(good.advance(failed(Blame::Sandbox)), Command::Turn { .. }));
    }
    assert_eq!(good.fixes(), 1);
    let Command::End(end) = m.advance(failed(Blame::Sandbox)) else {
        panic!("not ended")
    };
    assert_eq!((end.reason, end.blame), (EndReason::SandboxError, Some(Blame::Sandbox)));
    assert_eq!(m.exit_code(), Some(7));
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
        1 | 2 => Event::TurnOver {
            result: TurnResult::Failed(failure([Blame::Budget, Blame::Sandbox][usize::from(luck) - 1])),
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
        let limits = Limits { max_iters: 5, max_fix: 2, max_tries: 3, max_turn_failures: 3, max_sandbox_failures: 2 };
        let mut m = Machine::new(limits);
        let mut command = m.advance(Event::Begin);
        let (mut t, mut v) = (0, 0);
        // Per iteration: a snapshot, three kinds of turn with at most
        // tries x failures of both kinds of each, one verification, one rewrite.
        for _ in 0..limits.max_iters * (3 * 3 * (3 + 2) + 3) + 2 {
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
