//! Labelled commands, and what the shipped rules say of them.

use std::fmt::Write as _;

use opencode_fsm::policy::{
    Policy,
    shell::{Judge, Ruling},
};

const COMMANDS: &str = include_str!("policy/commands.txt");

/// The label and the command of each line.
fn labelled() -> impl Iterator<Item = (&'static str, String)> {
    COMMANDS
        .lines()
        .filter(|line| !(line.is_empty() || line.starts_with('#')))
        .map(|line| {
            let (label, command) = line.split_once('\t').expect("a label, a tab and a command");
            (label, command.replace('⏎', "\n"))
        })
}

#[test]
fn every_labelled_command_gets_its_verdict() {
    let judge = &Judge::new(&Policy::shipped().expect("shipped"));
    let mut wrong = String::new();
    let mut count = 0;
    for (label, command) in labelled() {
        count += 1;
        let verdict = judge.verdict(&command);
        let right = match label {
            "allow" => verdict.verdict == Ruling::Allow,
            "deny" => verdict.verdict == Ruling::Deny,
            "hidden" => verdict.verdict != Ruling::Allow,
            "open" => verdict.verdict == Ruling::Undecided,
            other => panic!("no such label: {other}"),
        };
        if !right {
            let _ = writeln!(
                wrong,
                "{label}, but {}: {command:?} [{}: {}]",
                verdict.verdict.name(),
                verdict.rule,
                verdict.because
            );
        }
    }
    assert!(count >= 450, "{count} commands");
    assert!(wrong.is_empty(), "\n{wrong}");
}
