//! How many verdicts on shell commands `policy explain --stdin --json` gives in a second:
//! `cargo bench --bench verdicts`. The program is the real one, asked through a pipe.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_opencode-fsm");
const COMMANDS: &str = include_str!("../tests/policy/commands.txt");
/// Questions of one round.
const QUESTIONS: usize = 200_000;
const ROUNDS: usize = 5;

fn main() {
    println!("| commands | verdicts a second | of one command |");
    println!("|---|---|---|");
    row(
        "harmless ones of CI files, makefiles and READMEs",
        &labelled(&["allow"]),
    );
    row("destructive ones", &labelled(&["deny", "hidden"]));
    one_by_one(&labelled(&["allow"]));
}

fn labelled(labels: &[&str]) -> Vec<String> {
    let wanted = |line: &&str| line.split_once('\t').is_some_and(|(label, _)| labels.contains(&label));
    let command = |line: &str| {
        line.split_once('\t')
            .map_or("", |(_, command)| command)
            .replace('⏎', "\n")
    };
    COMMANDS.lines().filter(wanted).map(command).collect()
}

fn row(what: &str, commands: &[String]) {
    let mut input = String::new();
    for command in commands.iter().cycle().take(QUESTIONS) {
        let _ = writeln!(input, "{}", serde_json::json!(command));
    }
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| asked(&input)).collect();
    times.sort();
    let median = times[ROUNDS / 2];
    println!(
        "| {what} | {:.0} | {:.1} µs |",
        QUESTIONS as f64 / median.as_secs_f64(),
        median.as_secs_f64() * 1e6 / QUESTIONS as f64
    );
}

fn program() -> std::process::Child {
    Command::new(PROGRAM)
        .args(["policy", "explain", "--stdin", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program")
}

/// From the first question to the last answer, start-up included.
fn asked(input: &str) -> Duration {
    let began = Instant::now();
    let mut program = program();
    let mut stdin = program.stdin.take().expect("stdin");
    let mut stdout = BufReader::new(program.stdout.take().expect("stdout"));
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()).expect("asked"));
        let mut answers = 0;
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line).expect("answers") > 0 {
            answers += 1;
            line.clear();
        }
        assert_eq!(answers, QUESTIONS);
    });
    let elapsed = began.elapsed();
    assert!(program.wait().expect("ends").success());
    elapsed
}

/// Each question waits for the answer before.
fn one_by_one(commands: &[String]) {
    let mut program = program();
    let mut stdin = program.stdin.take().expect("stdin");
    let mut stdout = BufReader::new(program.stdout.take().expect("stdout"));
    let count = 20_000;
    let mut line = String::new();
    let began = Instant::now();
    for command in commands.iter().cycle().take(count) {
        writeln!(stdin, "{}", serde_json::json!(command)).expect("asked");
        line.clear();
        stdout.read_line(&mut line).expect("an answer");
    }
    let elapsed = began.elapsed();
    println!(
        "| the harmless ones, each after the answer before | {:.0} | {:.1} µs |",
        count as f64 / elapsed.as_secs_f64(),
        elapsed.as_secs_f64() * 1e6 / count as f64
    );
    drop(stdin);
    assert!(program.wait().expect("ends").success());
}
