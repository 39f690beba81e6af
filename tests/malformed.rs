//! Malformed contracts: one line that says what is wrong, where, and what was probably
//! meant; exit code 2; and no time or memory for hostile ones.

#[path = "support/program.rs"]
mod program;

use std::{
    fs,
    io::{Read, Write},
    mem::MaybeUninit,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, Output, Stdio},
};

use nix::libc;

use opencode_fsm::{
    contract::{Bootstrap, ContractError, Pipeline, parse_actions},
    names::RelPath,
};
use program::{Bench, expect};

/// `pipeline.yml`: each text ends with a line `=> line:column: message`.
const PIPELINES: &str = include_str!("malformed/pipeline.txt");

/// `.aider_fsm/bootstrap.yml`, likewise.
const BOOTSTRAPS: &str = include_str!("malformed/bootstrap.txt");

/// `.aider_fsm/actions.yml`, likewise.
const ACTIONS: &str = include_str!("malformed/actions.txt");

/// Texts and what is said of them.
fn cases(table: &str) -> Vec<(String, &str)> {
    let mut cases = Vec::new();
    let mut text = String::new();
    for line in table.lines() {
        match line.strip_prefix("=> ") {
            Some(expected) => cases.push((std::mem::take(&mut text), expected)),
            None => text = text + line + "\n",
        }
    }
    assert!(text.is_empty() && !cases.is_empty());
    cases
}

type Reader = fn(&RelPath, &[u8]) -> Result<(), ContractError>;

fn pipeline(path: &RelPath, text: &[u8]) -> Result<(), ContractError> {
    Pipeline::parse(path, text).map(|_| ())
}

fn bootstrap(path: &RelPath, text: &[u8]) -> Result<(), ContractError> {
    Bootstrap::parse(path, text).map(|_| ())
}

fn actions(path: &RelPath, text: &[u8]) -> Result<(), ContractError> {
    parse_actions(path, text).map(|_| ())
}

/// What a reader says of a text in the file `name`.
fn refusal(read: Reader, name: &str, text: &[u8]) -> String {
    let path = RelPath::new(name).expect("a path");
    let why = read(&path, text).expect_err(&String::from_utf8_lossy(text));
    why.to_string()
}

/// What the program says on stderr of a repository with this `pipeline.yml`.
fn program_on(bench: &Bench, text: &[u8], exit: i32) -> String {
    fs::write(bench.path("repo/pipeline.yml"), text).expect("write");
    let mut command = bench.command(&["verify"], "repo");
    command.env("XDG_CACHE_HOME", bench.path("cache"));
    let output = expect(command, exit);
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn every_malformed_pipeline_gets_one_line_with_its_place_and_exit_code_2() {
    let bench = Bench::new();
    let check = |text: &[u8], expected: &str| {
        let said = program_on(&bench, text, 2);
        let last = format!("error: pipeline.yml:{expected}\n");
        assert!(said.ends_with(&last), "{:?}: {said}", String::from_utf8_lossy(text));
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert!(!said.contains('\x1b'), "{said:?}");
    };
    for (text, expected) in cases(PIPELINES) {
        check(text.as_bytes(), expected);
    }
    // Columns are characters, whatever their width in bytes.
    check(
        "tests: {cmd: \u{e9}, r\u{e9}tries: 1}\n".as_bytes(),
        "1:17: unknown key `tests.r\u{e9}tries`, did you mean `retries`?",
    );
    check(b"tests: {cmd: t}\n# \xff\n", "2:3: the file is not UTF-8 from here on");
    let patterns = format!("tests: {{cmd: t}}\nsecurity:\n  denylist: [{}]\n", "a, ".repeat(101));
    check(
        patterns.as_bytes(),
        "3:314: `security.denylist` has more than 100 patterns",
    );
    let long = format!("tests:\n  cmd: '{}'\n", "x".repeat(131_072));
    check(
        long.as_bytes(),
        "2:8: a command of 131072 bytes; the kernel takes 131071",
    );
    let pipeline = bench.path("repo/pipeline.yml");
    let refused = |flags: &[&str]| String::from_utf8(expect(bench.command(flags, "repo"), 2).stderr).expect("text");
    fs::remove_file(&pipeline).expect("remove");
    fs::create_dir(&pipeline).expect("mkdir");
    assert!(refused(&["verify"]).ends_with("pipeline.yml:1:1: a contract is a file, and this is a directory\n"));
    fs::remove_dir(&pipeline).expect("remove");
    std::os::unix::fs::symlink("elsewhere.yml", &pipeline).expect("link");
    assert!(refused(&["verify"]).contains("pipeline.yml:1:1: a contract is a file, and this is a link; name"));
    fs::remove_file(&pipeline).expect("remove");
    assert!(refused(&["verify", "--pipeline", "ci.yml"]).contains("the target has no `ci.yml`"));
    // The control, and the record of the last refusal.
    program_on(&bench, b"version: 1\ntests: {cmd: 'true'}\n", 0);
    fs::remove_dir_all(bench.path("runs")).expect("remove");
    program_on(&bench, b"tests:\n", 2);
    let kept = fs::read_to_string(bench.the_run().join("pipeline_parse_error.txt")).expect("kept");
    assert_eq!(kept, "pipeline.yml:1:1: `tests` is empty; fill it in or remove it\n");
}

#[test]
fn there_are_more_than_sixty_hand_made_ones() {
    let all = [PIPELINES, BOOTSTRAPS, ACTIONS].map(cases);
    let texts: std::collections::BTreeSet<_> = all.iter().flatten().map(|(text, _)| text).collect();
    assert!(texts.len() >= 100, "{}", texts.len());
    for (text, expected) in all.iter().flatten() {
        let mut parts = expected.splitn(3, ':');
        let numbers = [parts.next(), parts.next()].map(|part| part.and_then(|part| part.parse::<usize>().ok()));
        assert!(numbers.iter().all(|number| *number >= Some(1)), "{text}: {expected}");
    }
}

#[test]
fn the_other_contracts_are_as_strict() {
    for (read, name, rows) in [
        (bootstrap as Reader, ".aider_fsm/bootstrap.yml", BOOTSTRAPS),
        (actions, ".aider_fsm/actions.yml", ACTIONS),
    ] {
        for (text, expected) in cases(rows) {
            assert_eq!(
                refusal(read, name, text.as_bytes()),
                format!("{name}:{expected}"),
                "{text}"
            );
        }
    }
}

/// A key in a line of YAML: where it begins (in bytes), itself, and its value.
fn key_in(line: &str) -> Option<(usize, &str, &str)> {
    let at = line.len() - line.trim_start_matches([' ', '-']).len();
    let (key, rest) = line[at..].split_once(':')?;
    let word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let value = rest.split(" #").next().unwrap_or_default();
    word.then_some((at, key, value.trim()))
}

/// The examples, damaged line by line: every misspelt key is found in its place with
/// the right one named, and every value of a wrong type in its own.
#[test]
fn damaged_examples_are_refused_where_they_are_damaged() {
    let mut damaged = 0;
    for (read, name, example) in [
        (
            pipeline as Reader,
            "pipeline.yml",
            include_str!("../examples/pipeline.yml"),
        ),
        (
            pipeline,
            "pipeline.yml",
            include_str!("../examples/benchmark_pipeline.yml"),
        ),
        (
            bootstrap,
            ".aider_fsm/bootstrap.yml",
            include_str!("../examples/bootstrap.yml"),
        ),
        (
            actions,
            ".aider_fsm/actions.yml",
            include_str!("../examples/actions.yml"),
        ),
    ] {
        read(&RelPath::new(name).expect("a path"), example.as_bytes()).expect("the control: it is well-formed");
        let lines: Vec<&str> = example.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let Some((at, key, value)) = key_in(line).filter(|_| !line.trim_start().starts_with('#')) else {
                continue;
            };
            let with = |changed: String| {
                let mut all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                all[index] = changed;
                refusal(read, name, all.join("\n").as_bytes())
            };
            // The last letter doubled.
            let last = &key[key.len() - 1..];
            let said = with(format!("{}{key}{last}{}", &line[..at], &line[at + key.len()..]));
            assert!(
                said.starts_with(&format!("{name}:{}:{}: unknown key `", index + 1, at + 1)),
                "{said}"
            );
            assert!(
                said.ends_with(&format!("{key}{last}`, did you mean `{key}`?")),
                "{said}"
            );
            damaged += 1;
            if !value.is_empty() && value != "|" {
                let said = with(format!(
                    "{} {{x: {{y: z}}}}",
                    &line[..line.find(':').expect("a key") + 1]
                ));
                let place = format!("{name}:{}:", index + 1);
                assert!(said.starts_with(&place) && said.contains(key), "{said}");
                let column = line.find(':').expect("a key") + 3;
                assert!(said.starts_with(&format!("{place}{column}: ")), "{said}");
                damaged += 1;
            }
        }
    }
    assert!(damaged >= 60, "{damaged}");
}

/// Writes `pipeline.yml` in pieces, so that this process does not grow with it.
fn write_in_pieces(bench: &Bench, head: &str, piece: &str, times: usize) {
    let file = fs::File::create(bench.path("repo/pipeline.yml")).expect("create");
    let mut file = std::io::BufWriter::new(file);
    file.write_all(head.as_bytes()).expect("write");
    for _ in 0..times {
        file.write_all(piece.as_bytes()).expect("write");
    }
}

/// The most that a command, or any process that it starts, may have resident, KiB.
const MEMORY: i64 = 200_000;

/// Runs a command, which has a second of processor time (setrlimit(2)), as has each process
/// that it starts; time on the wall would measure the machine. Gives with its output the most
/// that any of them had resident, KiB (wait4(2); room that is only reserved costs nothing).
#[expect(clippy::zombie_processes, reason = "wait4(2) waits for it")]
fn limited(command: &Command) -> (Output, i64) {
    let mut child = Command::new("/bin/sh")
        .args(["-c", "ulimit -t 1 && exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let [mut stdout, mut stderr] = [Vec::new(), Vec::new()];
    let mut out = child.stdout.take().expect("a pipe");
    out.read_to_end(&mut stdout).expect("read");
    // A line or two, which a pipe holds.
    let mut err = child.stderr.take().expect("a pipe");
    err.read_to_end(&mut stderr).expect("read");
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both places outlive the call, and nobody else waits for this child.
    let waited = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(waited, child.id() as i32, "wait4");
    // SAFETY: all zeros are a valid one, and the kernel has filled it.
    let resident = unsafe { usage.assume_init() }.ru_maxrss;
    let status = ExitStatus::from_raw(status);
    (Output { status, stdout, stderr }, resident)
}

#[test]
fn hostile_contracts_cost_neither_time_nor_memory() {
    let bomb: String = (0..30)
        .map(|n| format!("a{}: &a{} [*a{n}, *a{n}, *a{n}]\n", n + 1, n + 1))
        .collect();
    let keys: String = (0..60_000).map(|n| format!("k{n}: 1\n")).collect();
    for (what, head, piece, times) in [
        ("an alias bomb", format!("a0: &a0 [x]\n{bomb}"), "", 0),
        ("100 000 levels of lists", String::new(), "[", 100_000),
        ("100 000 levels of mappings", String::new(), "{a: ", 100_000),
        ("100 000 levels of blocks", String::new(), "- ", 100_000),
        (
            "50 MB of comments",
            "tests: {cmd: t}\n".to_owned(),
            "# nothing to see here, and more of it below this line\n",
            950_000,
        ),
        ("many keys", keys, "", 0),
        ("no UTF-8", String::new(), "", 0),
    ] {
        let bench = Bench::new();
        write_in_pieces(&bench, &head, piece, times);
        if what == "no UTF-8" {
            fs::write(bench.path("repo/pipeline.yml"), b"\xff".repeat(1_000_000)).expect("write");
        }
        let (output, resident) = limited(&bench.command(&["verify", "--json"], "repo"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{what}: {:?} {said}", output.status);
        assert!(resident < MEMORY, "{what}: {resident} KiB");
        let text = String::from_utf8(output.stdout).expect("text");
        let last: serde_json::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("json");
        let message = last["message"].as_str().expect("a message");
        assert!(
            message.starts_with("pipeline.yml:") && message.len() < 300,
            "{what}: {message}"
        );
    }
}

#[test]
fn the_limits_on_hostile_contracts_are_limits() {
    let perl = |program: &str| {
        let mut command = Command::new("/usr/bin/perl");
        command.args(["-e", program]);
        let (output, resident) = limited(&command);
        (output.status.success(), resident < MEMORY)
    };
    assert_eq!(perl("my $x = 'x' x 50_000_000;"), (true, true));
    assert_eq!(perl("my $x = 'x' x 300_000_000;"), (true, false));
    assert_eq!(perl("1 while $n++ < 1000;"), (true, true));
    assert_eq!(perl("1 while 1;"), (false, true));
    // And leave room for a contract that is none of that.
    let bench = Bench::new();
    write_in_pieces(&bench, "tests: {cmd: 'true'}\n", "# a comment\n", 50_000);
    let (output, resident) = limited(&bench.command(&["verify"], "repo"));
    assert!(output.status.success() && resident < MEMORY, "{output:?} {resident}");
}

#[test]
fn hostile_texts_are_refused_in_every_contract() {
    for (read, name) in [
        (pipeline as Reader, "pipeline.yml"),
        (bootstrap, ".aider_fsm/bootstrap.yml"),
        (actions, ".aider_fsm/actions.yml"),
    ] {
        for hostile in [
            "[".repeat(100_000).into_bytes(),
            "a: &a [*a, *a]\n".into(),
            b"\xff\xfe".to_vec(),
            "# x\n".repeat(500_000).into_bytes(),
        ] {
            let said = refusal(read, name, &hostile);
            assert!(said.starts_with(&format!("{name}:1:")) && said.len() < 300, "{said}");
        }
    }
}
