use serde_json::Value;

use super::*;
use crate::{fsm::Limits, names::RunId, record::Secret};

fn json(run: &RunDir, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(run.path().join(name)).expect(name)).expect("json")
}

fn lines(run: &RunDir) -> Vec<Value> {
    let text = std::fs::read_to_string(run.path().join(format!("logs/run_{}.jsonl", run.id()))).expect("log");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect()
}

#[test]
fn state_and_log_follow_the_machine() {
    let dir = tempfile::tempdir().expect("tempdir");
    let run = RunDir::create(dir.path(), &RunId::fresh(), &[]).expect("create");
    let subject = Subject {
        repo: "/r".into(),
        plan_path: "PLAN.md".into(),
        pipeline_path: "pipeline.yml".into(),
        model: "p/m".into(),
        test_cmd: "make test".into(),
    };
    let mut chronicle = Chronicle::begin(&run, subject, None).expect("begin");
    assert_eq!(json(&run, "state.json")["fsm_state"], "S0_BOOTSTRAP");
    assert_eq!(json(&run, "versions.json")["opencode"], Value::Null);
    let mut machine = Machine::new(Limits::default());
    let mut tell = |chronicle: &mut Chronicle<'_>, event: Event| {
        chronicle.happened(&machine, &event).expect("log");
        machine.advance(event);
        chronicle.moved(&machine).expect("state");
    };
    let over = |plan| Event::TurnOver {
        result: TurnResult::Completed,
        violations: vec![],
        plan,
    };
    tell(&mut chronicle, Event::Begin);
    tell(&mut chronicle, Event::SnapshotTaken);
    tell(&mut chronicle, over(PlanView::Broken(vec!["bad_next_line: 3".into()])));
    let step = crate::fsm::Step {
        id: "001".into(),
        text: "go".into(),
    };
    tell(
        &mut chronicle,
        over(PlanView::Parsed {
            next: Some(step),
            backlog_open: 0,
        }),
    );
    assert_eq!(json(&run, "state.json")["fsm_state"], "S3_EXECUTE_STEP");
    tell(&mut chronicle, over(PlanView::Broken(vec![])));
    let codes = [("tests".to_owned(), 1)].into_iter().collect();
    let judgement = Judgement {
        directory: "iter_0001",
        ok: false,
        failed_stage: Some("tests"),
        codes,
    };
    chronicle.verified(judgement).expect("log");
    tell(&mut chronicle, Event::Interrupted { signal: 2 });
    let state = json(&run, "state.json");
    for (field, value) in [
        ("version", Value::from(1)),
        ("repo", "/r".into()),
        ("iter_idx", 1.into()),
        ("fsm_state", "S4_VERIFY".into()),
        ("current_step_id", "001".into()),
        ("current_step_text", "go".into()),
        ("last_test_rc", 1.into()),
        ("last_rollout_rc", Value::Null),
        ("last_metrics_ok", true.into()),
        ("last_exit_reason", "INTERRUPTED".into()),
    ] {
        assert_eq!(state[field], value, "{field}");
    }
    let lines = lines(&run);
    let events: Vec<_> = lines.iter().map(|l| (l["seq"].as_u64(), l["event"].as_str())).collect();
    assert_eq!(
        events,
        [
            (Some(0), Some("snapshot")),
            (Some(1), Some("plan_parse_error")),
            (Some(2), Some("verify_pipeline"))
        ]
    );
    assert_eq!(
        (&lines[1]["fsm_state"], &lines[1]["iter_idx"]),
        (&"S2_PLAN_UPDATE".into(), &1.into())
    );
}

#[test]
fn previews_are_the_end_of_the_text_without_any_part_of_a_secret() {
    let dir = tempfile::tempdir().expect("tempdir");
    let secret = "sk-0123456789abcdef";
    let run = RunDir::create(dir.path(), &RunId::fresh(), &[Secret::new(secret)]).expect("create");
    let mut chronicle = Chronicle::begin(&run, Subject::default(), None).expect("begin");
    // The cut would go through the secret's middle.
    let text = format!("{}{secret}{}", "a".repeat(50), "\u{e9}".repeat(PREVIEW_CHARS - 9));
    chronicle.asked("execute_step", &text).expect("log");
    let answer = Answer {
        text: &text,
        tool_calls: 3,
        failed_calls: &[],
        wall_ms: 5,
    };
    chronicle.answered("execute_step", answer).expect("log");
    let lines = lines(&run);
    for (line, field) in [(&lines[0], "prompt_preview"), (&lines[1], "assistant_preview")] {
        let shown = line[field].as_str().expect("preview");
        assert_eq!(shown.chars().count(), PREVIEW_CHARS);
        assert!(shown.ends_with("\u{e9}\u{e9}") && !shown.contains("9abcdef"), "{shown}");
    }
    assert_eq!(
        (&lines[1]["phase"], &lines[1]["tool_calls"]),
        (&"response".into(), &3.into())
    );
}
