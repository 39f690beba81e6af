//! Recorded runs, done again: another directory, another cache, another back end; and what
//! is said where they go another way.

#[path = "support/program.rs"]
mod program;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use program::{Bench, expect, json_file, opencode, program};
use serde_json::{Value, json};

const PLAN: &str = "# PLAN\n\n## Goal\n- test\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID=001) make it\n\n## Backlog\n\n\
    ## Done\n\n## Notes\n-\n";

/// A run that was recorded: what it is about, its flags, and the exit code that it has.
struct Case {
    name: &'static str,
    contract: &'static str,
    /// The target's own policy, or nothing.
    policy: &'static str,
    /// What the agent's shell does in each step, and after each failure.
    steps: &'static [&'static str],
    fixes: &'static [&'static str],
    flags: &'static [&'static str],
    code: i32,
}

const CASES: [Case; 6] = [
    Case {
        name: "passed",
        contract: "version: 1\ntests:\n  cmd: test -f made\n",
        policy: "",
        steps: &["touch made"],
        fixes: &[],
        flags: &[],
        code: 0,
    },
    Case {
        name: "failed",
        contract: "version: 1\ntests:\n  cmd: test -f never\n",
        policy: "",
        steps: &["touch made", "touch more"],
        fixes: &["echo x > fixed"],
        flags: &["--max-iters", "2", "--max-fix", "1"],
        code: 1,
    },
    Case {
        name: "guard",
        contract: "version: 1\ntests:\n  cmd: test -f made\n",
        policy: "",
        steps: &["echo hacked > pipeline.yml", "touch made"],
        fixes: &[],
        flags: &[],
        code: 0,
    },
    Case {
        name: "refused",
        contract: "version: 1\ntests:\n  cmd: sudo make install\n",
        policy: "",
        steps: &["touch made"],
        fixes: &["touch fixed"],
        flags: &["--max-iters", "1", "--max-fix", "1"],
        code: 1,
    },
    Case {
        name: "narrowed",
        contract: "version: 1\ntests:\n  cmd: test -f made && wc made\n",
        policy: "version: 1\ntime: {command: 60}\nagent: {turns: 5}\n\
            commands:\n  rules:\n    \
            - {id: no-wc, verdict: deny, when: {argv: [wc]}, because: nobody counts}\n",
        steps: &["touch made"],
        fixes: &["touch fixed"],
        flags: &["--max-iters", "1", "--max-fix", "1"],
        code: 1,
    },
    Case {
        name: "capped",
        contract: "version: 1\ntests:\n  cmd: test -f made\n",
        policy: "",
        steps: &["touch made"],
        fixes: &[],
        flags: &["--max-calls", "2"],
        code: 6,
    },
];

fn recorded(case: &Case) -> Bench {
    let mut bench = Bench::new();
    bench
        .file("pipeline.yml", case.contract)
        .file("PLAN.md", PLAN)
        .file("old", "old\n");
    if !case.policy.is_empty() {
        bench.file(".aider_fsm/policy.yml", case.policy);
    }
    for occurrence in 1..=3 {
        bench.say("plan_update_attempt_1", occurrence, 1, &[]);
    }
    for (at, step) in (1..).zip(case.steps) {
        bench.shell("execute_step", at, step);
    }
    for (at, fix) in (1..).zip(case.fixes) {
        bench.shell("fix_or_replan_attempt_1", at, fix);
    }
    expect(bench.run(case.flags), case.code);
    // What the run was about is another one now, and what played the model is gone.
    fs::remove_file(bench.path("cassette.jsonl")).expect("rm");
    bench
}

/// `replay` of a run or a bundle, into a directory of its own.
fn replay(bench: &Bench, what: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command.args(["replay", "--json"]).args(more).arg("--artifacts-dir");
    command.arg(bench.path("replays")).arg(what).stdin(Stdio::null());
    command
}

/// The last line that a command prints.
fn said(command: Command, code: i32) -> Value {
    let output = expect(command, code);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(text.lines().last().expect("a line")).expect("json")
}

fn course(run: &Path) -> String {
    let text = fs::read_to_string(run.join("journal.jsonl")).expect("read");
    let last: Value = serde_json::from_str(text.lines().last().expect("a record")).expect("json");
    last["fields"]["course"].as_str().expect("a course").to_owned()
}

#[test]
fn what_was_recorded_goes_the_same_way_again() {
    if !opencode() {
        return;
    }
    for case in &CASES {
        let bench = recorded(case);
        let run = bench.the_run();
        let found = said(replay(&bench, &run, &[]), 0);
        assert_eq!(found["same"], true, "{}: {found}", case.name);
        let again = PathBuf::from(found["run"].as_str().expect("a place"));
        assert_eq!(course(&again), course(&run), "{}", case.name);
        let (then, now) = (
            json_file(&run.join("summary.json")),
            json_file(&again.join("summary.json")),
        );
        for name in [
            "exit_reason",
            "exit_code",
            "changes",
            "verified",
            "usage",
            "guard_events",
        ] {
            assert_eq!(then[name], now[name], "{}: {name}", case.name);
        }
        let mut verify = program();
        verify.args(["audit", "verify"]).arg(&again);
        expect(verify, 0);
        // Once more is a replay of a replay.
        if case.name == "guard" {
            assert_eq!(said(replay(&bench, &again, &[]), 0)["same"], true);
        }
    }
}

#[test]
fn a_bundle_goes_the_same_way_elsewhere_and_its_final_tree_is_judged_again() {
    if !opencode() {
        return;
    }
    let case = &CASES[2];
    let bench = recorded(case);
    let bundle = bench.path("run.tar");
    let mut pack = program();
    pack.arg("bundle").arg(bench.the_run()).arg("-o").arg(&bundle);
    expect(pack, 0);
    // Another machine has neither the target nor a cache of it.
    let copy = bench.path("elsewhere");
    fs::rename(bench.path("repo"), &copy).expect("mv");
    fs::remove_dir_all(bench.path("runs")).expect("rm");
    let agent = opencode_fsm::agent::find_binary(None).expect("found before");
    let elsewhere = |more: &[&str]| {
        let mut command = replay(&bench, &bundle, more);
        command.env("XDG_CACHE_HOME", bench.cache()).env("OPENCODE_BIN", &agent);
        command
    };
    let missing = said(elsewhere(&[]), 2);
    let message = missing["message"].as_str().expect("a message");
    assert!(
        message.contains("--target") && message.contains("neither in the cache"),
        "{message}"
    );
    let at = copy.display().to_string();
    let found = said(elsewhere(&["--target", &at]), 0);
    assert_eq!(found["same"], true, "{found}");
    // Another back end: the walls are others, the way is the same.
    let found = said(elsewhere(&["--target", &at, "--sandbox", "jail", "--verify-only"]), 0);
    assert_eq!((&found["verified"], &found["recorded"]), (&json!(true), &json!(true)));
    // A target that is another one is refused.
    fs::write(copy.join("old"), "new\n").expect("write");
    fs::remove_dir_all(bench.path("cache/opencode-fsm/targets")).expect("rm");
    let other = said(elsewhere(&["--target", &at]), 2);
    assert!(
        other["message"]
            .as_str()
            .expect("a message")
            .contains("has changed since"),
        "{other}"
    );
}

#[test]
fn where_it_goes_another_way_the_record_is_named() {
    if !opencode() {
        return;
    }
    let bench = recorded(&CASES[0]);
    let run = bench.the_run();
    let text = fs::read_to_string(run.join("cassette.jsonl")).expect("read");
    let other = text.replace("touch made", "touch mode");
    assert_ne!(text, other, "the control");
    // Whoever changes the record is found before anything is run.
    fs::write(run.join("cassette.jsonl"), other).expect("write");
    assert_eq!(said(replay(&bench, &run, &[]), 9)["exit"], 9);
    fs::write(run.join("cassette.jsonl"), text).expect("write");

    // What is never kept, and given otherwise now: the command fails where it passed.
    let mut bench = Bench::new();
    bench
        .file("pipeline.yml", "version: 1\ntests:\n  cmd: test \"$WHEN\" = now\n")
        .file("PLAN.md", PLAN);
    for occurrence in 1..=2 {
        bench.say("plan_update_attempt_1", occurrence, 1, &[]);
        bench.shell("execute_step", occurrence, "touch made");
    }
    bench.shell("fix_or_replan_attempt_1", 1, "touch fixed");
    expect(bench.run(&["--env", "WHEN=now"]), 0);
    let run = bench.the_run();
    let missing = said(replay(&bench, &run, &[]), 2);
    assert!(
        missing["message"].as_str().expect("a message").contains("WHEN"),
        "{missing}"
    );
    let found = said(replay(&bench, &run, &["--env", "WHEN=later"]), 13);
    assert_eq!(found["same"], false);
    let parting = &found["differences"]["course"];
    assert_eq!(parting["what"], "exec/rc", "{parting}");
    let record = parting["record_a"].as_u64().expect("a record");
    let journal = fs::read_to_string(run.join("journal.jsonl")).expect("read");
    let line = journal
        .lines()
        .nth(usize::try_from(record).expect("small"))
        .expect("a line");
    assert!(line.contains("\"event\":\"exec\""), "{line}");
    assert_eq!(said(replay(&bench, &run, &["--env", "WHEN=now"]), 0)["same"], true);
}

#[test]
fn another_policy_says_what_it_would_have_refused() {
    if !opencode() {
        return;
    }
    let bench = recorded(&CASES[0]);
    let run = bench.the_run();
    let policy = bench.path("policy.yml");
    fs::write(
        &policy,
        "version: 1\ncommands:\n  rules:\n    - id: no-tests\n      verdict: deny\n      when: {argv: [test]}\n      because: nothing is tested\n",
    )
    .expect("write");
    let shown = policy.display().to_string();
    let found = said(replay(&bench, &run, &["--policy", &shown]), 10);
    let refused = found["refused"].as_array().expect("a list");
    assert!(!refused.is_empty(), "{found}");
    assert_eq!(refused[0]["what"], "test -f made", "{found}");
    assert!(
        refused[0]["rule"].as_str().expect("a rule").contains("no-tests"),
        "{found}"
    );
    assert!(!bench.path("replays").exists(), "nothing was run");
    let found = said(replay(&bench, &run, &["--policy", "default"]), 0);
    assert_eq!(found["refused"], json!([]));
}
