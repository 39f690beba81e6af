//! Five source distributions from PyPI, none of which has a contract: the agent writes one,
//! and the score is what their own tests come to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    program::{Bench, expect, opencode, program},
    repository::{CONTRACT, shell, writes},
    sdists,
};

/// How each runs its own tests, where they are.
const OWN: [(&str, &str); 5] = [
    ("decorator==5.1.1", "PYTHONPATH=src python3 src/tests/test.py"),
    ("idna==3.7", "python3 -m unittest discover -s tests"),
    ("mistune==3.0.2", "PYTHONPATH=src python3 -m unittest discover -s tests"),
    ("polib==1.2.0", "python3 tests/tests.py"),
    ("pycparser==2.22", "python3 -m unittest discover -s tests"),
];

/// Reads what unittest prints in the end.
const SCORE: &str = "import json, re, sys\ntext = open(sys.argv[1]).read()\nran = int(re.search(r'^Ran (\\d+) tests?', text, re.M).group(1))\n\
    bad = sum(int(n) for n in re.findall(r'(?:failures|errors)=(\\d+)', text))\n\
    json.dump({'ok': ran > 0, 'score': (ran - bad) / ran}, open('.aider_fsm/metrics.json', 'w'))\n";

/// Archives by name; in CI all five.
fn distributions() -> Vec<(&'static str, &'static str, PathBuf)> {
    let (dir, _) = sdists::bring("sdists-scaffold", &OWN.map(|(pin, _)| pin));
    let all = OWN.map(|(pin, command)| {
        let (name, _) = pin.split_once("==").expect("a pin");
        (name, command, dir.join(format!("{name}.tar.gz")))
    });
    all.into_iter().filter(|(.., path)| path.is_file()).collect()
}

/// What a distribution's own test run says: tests that pass among those that ran, by the
/// last lines of unittest, in a jail and without an agent.
fn own_score(archive: &Path, command: &str) -> f64 {
    let bench = Bench::new();
    let mut verify = program();
    verify
        .args(["verify", "--test-cmd", command, "--artifacts-dir"])
        .arg(bench.path("runs"))
        .arg(archive);
    // A failing test is a failing command, which is no failure here.
    verify.output().expect("starts");
    let run = bench.the_run();
    let text = fs::read_to_string(run.join("verify/tests_stderr.txt")).expect("what it printed");
    let number = |line: &str, after: &str| -> f64 {
        let rest = line.split(after).nth(1).unwrap_or_default();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0.0)
    };
    let ran = text
        .lines()
        .rev()
        .find(|line| line.starts_with("Ran "))
        .expect("a summary");
    let (ran, last) = (number(ran, "Ran "), text.lines().last().unwrap_or_default());
    (ran - number(last, "failures=") - number(last, "errors=")) / ran
}

#[test]
fn the_score_of_a_contract_that_the_agent_wrote_is_that_of_their_own_tests() {
    if !opencode() {
        return;
    }
    let found = distributions();
    if found.is_empty() {
        return;
    }
    let mut bench = Bench::new();
    // One course of the agent for all: it looks what there is, and writes what runs it. The tests
    // print into a pipe, as they do by themselves: some ask whether their output is a file.
    let chosen = "if [ -f src/tests/test.py ]; then own='PYTHONPATH=src python3 src/tests/test.py'\n\
        elif [ -f tests/tests.py ]; then own='python3 tests/tests.py'\n\
        elif [ -d src ]; then own='PYTHONPATH=src python3 -m unittest discover -s tests'\n\
        else own='python3 -m unittest discover -s tests'; fi\n\
        printf 'set -u\\nlog=\"$AIDER_FSM_ARTIFACTS_DIR/tests.txt\"\\n%s 2>&1 | cat > \"$log\"\\n\
        python3 .aider_fsm/stages/score.py \"$log\"\\n' \"$own\" > .aider_fsm/stages/evaluation.sh\n";
    let files = [
        ("pipeline.yml", CONTRACT),
        (".aider_fsm/stages/deploy_setup.sh", "set -eu\ntest -f PKG-INFO\n"),
        (
            ".aider_fsm/stages/rollout.sh",
            "set -eu\nls > \"$AIDER_FSM_ARTIFACTS_DIR/files.txt\"\n",
        ),
        (".aider_fsm/stages/score.py", SCORE),
    ];
    let script = format!("{}{chosen}", writes(&files));
    bench
        .say("scaffold_contract_attempt_1", 1, 1, &[shell(&script)])
        .say("scaffold_contract_attempt_1", 1, 2, &[]);
    let list: String = found.iter().map(|(.., path)| format!("{}\n", path.display())).collect();
    fs::write(bench.path("list.txt"), list).expect("write");
    let mut suite = program();
    suite
        .args([
            "suite",
            "--llm",
            "m",
            "--jobs",
            "2",
            "--opencode-model",
            &bench.cassette(),
            "--targets-file",
        ])
        .arg(bench.path("list.txt"))
        .arg("--artifacts-dir")
        .arg(bench.path("suites"));
    let output = expect(suite, 0);
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let results = document["results"].as_array().expect("results");
    assert_eq!(results.len(), found.len());
    for ((name, command, archive), result) in found.iter().zip(results) {
        let (own, score) = (own_score(archive, command), result["score"].as_f64().expect("a score"));
        eprintln!("{name}: {score} by the contract, {own} by its own tests");
        assert!(
            (own - score).abs() < 1e-12 && own > 0.5,
            "{name}: {score} instead of {own}"
        );
    }
}
