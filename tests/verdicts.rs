//! Labelled commands, and what the shipped rules say of them; `policy explain` asked for them.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use opencode_fsm::policy::{
    Policy,
    shell::{Judge, Ruling},
};
use serde_json::{Value, json};

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

fn explain() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opencode-fsm"));
    // Nothing of this host's own policy.
    command
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .args(["policy", "explain", "--json"]);
    command
}

/// Asks all at once, and reads what comes back.
fn asked(input: &str) -> Vec<Value> {
    let mut program = explain()
        .arg("--stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = program.stdin.take().expect("stdin");
    let answers = thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()).expect("asked"));
        program.wait_with_output().expect("ends")
    });
    assert!(answers.status.success());
    let text = String::from_utf8(answers.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect()
}

#[test]
fn many_questions_are_answered_in_order() {
    let mut input = String::new();
    for round in 0..4000 {
        let _ = writeln!(input, "{}", json!(format!("echo {round}")));
        let _ = writeln!(input, "{}", json!(format!("rm -rf /{round}")));
    }
    let answers = asked(&input);
    assert_eq!(answers.len(), 8000);
    for (index, pair) in answers.chunks(2).enumerate() {
        assert_eq!(pair[0]["command"], format!("echo {index}"));
        assert_eq!(pair[0]["verdict"], "allow");
        assert_eq!(pair[1]["command"], format!("rm -rf /{index}"));
        assert_eq!(pair[1]["verdict"], "deny");
        let keys: Vec<&String> = pair[1].as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["command", "verdict", "rule", "because", "at"]);
    }
}

#[test]
fn a_line_that_is_no_question_has_its_place_among_the_answers() {
    let long = format!("\"{}\"", "a".repeat((1 << 20) + 1));
    let input = format!("\"ls\"\n\n[1]\n{{\nsudo x\n{long}\n\"\\ud800\"\n\"sudo \\u0078\"\n\"a\\u0000b\"\n\"ls -l\"");
    let answers = asked(&input);
    let said: Vec<String> = answers
        .iter()
        .map(|answer| match answer["error"].as_str() {
            Some(error) => format!("{error} {}", answer["line"]),
            None => answer["verdict"].as_str().expect("a verdict").to_owned(),
        })
        .collect();
    assert_eq!(
        said,
        [
            "allow",
            "not-a-string 2",
            "not-a-string 3",
            "not-a-string 4",
            "not-a-string 5",
            "too-long 6",
            "not-a-string 7",
            "deny",
            "allow",
            "allow"
        ]
    );
    assert!(answers[5]["message"].as_str().expect("text").contains("1048576 bytes"));
}

#[test]
fn whoever_waits_for_an_answer_gets_it_before_the_next_question() {
    let mut program = explain()
        .arg("--stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = program.stdin.take().expect("stdin");
    let mut stdout = BufReader::new(program.stdout.take().expect("stdout"));
    for (question, verdict) in [
        ("\"make\"\n", "allow"),
        ("\"sudo x\"\n", "deny"),
        ("\"$X\"\n", "undecided"),
    ] {
        // In two pieces: half a line is no question yet.
        let (head, tail) = question.split_at(3);
        stdin.write_all(head.as_bytes()).expect("asked");
        stdin.flush().expect("asked");
        stdin.write_all(tail.as_bytes()).expect("asked");
        let mut line = String::new();
        stdout.read_line(&mut line).expect("an answer");
        let answer: Value = serde_json::from_str(&line).expect("json");
        assert_eq!(answer["verdict"], verdict, "{line}");
    }
    drop(stdin);
    assert!(program.wait().expect("ends").success());
}

#[test]
fn one_question_is_answered_with_what_comes_of_it() {
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::create_dir(dir.path().join("scripts")).expect("mkdir");
    std::fs::write(dir.path().join("scripts/ci.sh"), "make\nrm -rf /etc\n").expect("write");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out.sh")).expect("link");
    let repo = dir.path().display().to_string();
    let ask = |arguments: &[&str]| -> Value {
        let output = explain().args(arguments).output().expect("runs");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("json")
    };
    let words = ask(&["--", "rm", "-rf", "a; sudo b"]);
    assert_eq!(
        (&words["verdict"], &words["command"]),
        (&json!("allow"), &json!("rm -rf 'a; sudo b'"))
    );
    let line = ask(&["--", "rm -rf a; sudo b"]);
    assert_eq!((&line["verdict"], &line["rule"]), (&json!("deny"), &json!("sudo")));
    let at = line["at"].as_str().expect("text");
    assert!(at.starts_with("policies/default.yml:"), "{at}");
    for enforcement in line["enforced_by"].as_array().expect("a list") {
        assert_eq!(enforcement["verdict"], "is refused (exit code 126)");
    }
    assert_eq!(
        ask(&["--", "sh scripts/ci.sh"])["verdict"],
        "allow",
        "nobody looked into it"
    );
    assert_eq!(ask(&["--repo", &repo, "--", "sh scripts/ci.sh"])["verdict"], "deny");
    assert_eq!(
        ask(&["--repo", &repo, "--", "cd scripts && ./ci.sh"])["verdict"],
        "deny"
    );
    assert_eq!(ask(&["--repo", &repo, "--", "sh out.sh"])["verdict"], "allow");
    let began = Instant::now();
    let _ = ask(&["--", "make"]);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let none = explain().output().expect("runs");
    assert_eq!(none.status.code(), Some(2));
}
