use serde_json::json;

use super::*;
use crate::fsm::Limits;

/// Records one second apart; a life that is taken up comes an hour later.
fn found(records: &[(&str, serde_json::Value)]) -> Found {
    let (mut found, mut second) = (Found::default(), 0_i64);
    for (number, (event, fields)) in (0..).zip(records) {
        second += if *event == RESUMED { 3_600 } else { 1 };
        let ts = Timestamp::from_second(second).expect("a time").to_string();
        found.take(number, &ts, event, &fields.to_string()).expect("a record");
    }
    found
}

fn turn(number: u32) -> serde_json::Value {
    let command = Command::Turn {
        purpose: Purpose::PlanUpdate,
        try_number: number,
        findings: Vec::new(),
    };
    json!({"machine": Machine::new(Limits::default()), "command": command})
}

#[test]
fn a_run_stands_where_its_last_transition_left_it_and_nobody_lives_between_two_lives() {
    let (begin, snapshot) = (json!(Event::Begin), json!(Event::SnapshotTaken));
    let mut records = vec![
        (
            "run",
            json!({"verb": "run", "target": "/t", "policy": "p", "inputs": {}}),
        ),
        ("event", begin),
        ("command", turn(1)),
        ("turn", json!({})),
        ("resumed", json!({"from": 3})),
        ("continued", json!({"from": 3})),
        ("turn", json!({})),
    ];
    let one = found(&records);
    assert_eq!(one.lives, 1);
    assert_eq!(one.lived, Duration::from_secs(5), "and not the hour between");
    assert!(matches!(
        one.stand(),
        Some((Some(_), At::Command(Command::Turn { .. })))
    ));
    let door = one.door(Duration::ZERO);
    let label = "plan_update_attempt_1".to_owned();
    assert_eq!(
        door.cut_off,
        Some((label.clone(), 1)),
        "it begins anew under its number"
    );
    assert_eq!(door.turns.get(&label), Some(&0));

    // An event that nobody decided on yet is told once more, and is no turn that goes on.
    records.push(("event", snapshot));
    let two = found(&records);
    assert!(matches!(two.stand(), Some((Some(_), At::Told(Event::SnapshotTaken)))));
    let door = two.door(Duration::ZERO);
    assert_eq!((door.cut_off, door.turns.get(&label)), (None, Some(&1)));

    // One that ended for its sandbox goes back to what it was doing.
    let end = json!({"reason": "SANDBOX_ERROR", "detail": "", "blame": null, "evidence": null});
    let ended = json!({"machine": Machine::new(Limits::default()), "command": {"do": "end", "what": end}});
    records.push(("command", ended));
    records.push((
        "closed",
        json!({"receipt": {"outcome": {"reason": "SANDBOX_ERROR", "exit": 7}}}),
    ));
    let mut three = found(&records);
    assert_eq!(three.closed.as_ref().map(|ended| ended.exit), Some(7));
    three.before_its_end();
    assert!(matches!(three.stand(), Some((_, At::Command(Command::Turn { .. })))));
    assert_eq!(three.transitions.last().map(|(number, _)| *number), Some(2));
}
