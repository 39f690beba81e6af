//! Recorded runs, done again: from a bundle, in another directory, with an empty cache, in
//! another back end; and what is said where they go another way.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/program.rs"]
mod program;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use program::{Bench, expect, json_file, opencode, program};
use serde_json::{Value, json};

const PLAN: &str = "# PLAN\n\n## Goal\n- test\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID=001) make it\n\n## Backlog\n\n\
    ## Done\n\n## Notes\n-\n";

/// A run that is recorded: what it is about, its flags, and the exit code that it has.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    contract: &'static str,
    /// Further files of the target.
    files: &'static [(&'static str, &'static str)],
    /// What the agent's shell does when it is to plan; then nothing.
    plans: &'static [(&'static str, &'static str)],
    /// What it does in each step, and after each failure.
    steps: &'static [&'static str],
    fixes: &'static [&'static str],
    flags: &'static [&'static str],
    code: i32,
    /// What builds the walls, recorded and done again.
    walls: (&'static str, &'static str),
}

/// One that passes in the jail.
const PASSES: Case = Case {
    name: "passed",
    contract: "version: 1\ntests:\n  cmd: test -f made\n",
    files: &[],
    plans: &[],
    steps: &["touch made"],
    fixes: &[],
    flags: &[],
    code: 0,
    walls: ("jail", "jail"),
};

const ACTIONS: &str = "mkdir -p .aider_fsm; printf 'version: 1\\nactions:\\n  - id: mend\\n    kind: run_cmd\\n    cmd: touch made\\n' > .aider_fsm/actions.yml";

const CASES: [Case; 11] = [
    PASSES,
    Case {
        name: "failed",
        contract: "version: 1\ntests:\n  cmd: test -f never\n",
        steps: &["touch made", "touch more"],
        fixes: &["echo x > fixed"],
        flags: &["--max-iters", "2", "--max-fix", "1"],
        code: 1,
        walls: ("jail", "docker"),
        ..PASSES
    },
    Case {
        name: "guard",
        steps: &["echo hacked > pipeline.yml", "touch made"],
        ..PASSES
    },
    Case {
        name: "refused",
        contract: "version: 1\ntests:\n  cmd: sudo make install\n",
        fixes: &["touch fixed"],
        flags: &["--max-iters", "1", "--max-fix", "1"],
        code: 1,
        ..PASSES
    },
    Case {
        name: "narrowed",
        contract: "version: 1\ntests:\n  cmd: test -f made && wc made\n",
        files: &[(
            ".aider_fsm/policy.yml",
            "version: 1\ntime: {command: 60}\nagent: {turns: 5}\n\
            commands:\n  rules:\n    \
            - {id: no-wc, verdict: deny, when: {argv: [wc]}, because: nobody counts}\n",
        )],
        fixes: &["touch fixed"],
        flags: &["--max-iters", "1", "--max-fix", "1"],
        code: 1,
        ..PASSES
    },
    Case {
        name: "capped",
        flags: &["--max-calls", "2"],
        code: 6,
        ..PASSES
    },
    Case {
        name: "repaired",
        // What the actions made is there when the step is taken up again.
        steps: &["touch other", "true"],
        fixes: &[ACTIONS],
        walls: ("docker", "jail"),
        ..PASSES
    },
    Case {
        name: "too slow",
        contract: "version: 1\ntests:\n  cmd: sleep 600\n  timeout_seconds: 1\n",
        fixes: &["touch fixed"],
        flags: &["--max-iters", "1", "--max-fix", "1"],
        code: 1,
        ..PASSES
    },
    Case {
        name: "bootstrapped",
        contract: "version: 1\ntests:\n  cmd: test \"$TOOL\" = \"$(cat tool)\"\n",
        files: &[(
            ".aider_fsm/bootstrap.yml",
            "version: 1\ncmds: [\"echo hammer > tool\"]\nenv: {TOOL: hammer}\n",
        )],
        ..PASSES
    },
    Case {
        name: "planned wrongly",
        plans: &[
            ("plan_update_attempt_1", "touch made"),
            ("plan_update_attempt_2", "echo nonsense > PLAN.md"),
        ],
        code: 1,
        ..PASSES
    },
    Case {
        name: "secret",
        contract: "version: 1\ntests:\n  cmd: test \"$WHEN\" = now\n",
        fixes: &["touch fixed"],
        flags: &["--env", "WHEN=now"],
        ..PASSES
    },
];

/// What builds the walls; the jail where a container is wanted and no engine is there.
fn walls(wanted: &'static str) -> &'static str {
    static DOCKER: OnceLock<bool> = OnceLock::new();
    let there = || {
        let waits = tokio::runtime::Runtime::new().expect("a runtime");
        waits.block_on(engine::engine()).is_some()
    };
    if wanted == "docker" && !*DOCKER.get_or_init(there) {
        return "jail";
    }
    wanted
}

/// The cases as they were recorded, once for all tests that go on side by side; what they have
/// in files goes with the last of those.
#[derive(Default)]
struct Recordings(Mutex<BTreeMap<&'static str, Arc<OnceLock<Arc<Bench>>>>>);

impl Recordings {
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Recordings>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let living = shared.upgrade().unwrap_or_default();
        *shared = Arc::downgrade(&living);
        living
    }

    /// One of them; where its target was there is nothing any more.
    fn of(&self, name: &str) -> Arc<Bench> {
        let case = CASES.iter().find(|case| case.name == name).expect("a case");
        let one = {
            let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            done.entry(case.name).or_default().clone()
        };
        one.get_or_init(|| Arc::new(record(case))).clone()
    }
}

fn record(case: &Case) -> Bench {
    let mut bench = Bench::new();
    bench
        .file("pipeline.yml", case.contract)
        .file("PLAN.md", PLAN)
        .file("old", "old\n");
    for (name, text) in case.files {
        bench.file(name, text);
    }
    for (label, command) in case.plans {
        bench.shell(label, 1, command);
    }
    let planned = case.plans.iter().filter(|(label, _)| label.ends_with('1')).count();
    for occurrence in (1 + u32::try_from(planned).expect("few"))..=3 {
        bench.say("plan_update_attempt_1", occurrence, 1, &[]);
    }
    bench.say("plan_update_attempt_3", 1, 1, &[]);
    for (at, step) in (1..).zip(case.steps) {
        bench.shell("execute_step", at, step);
    }
    for (at, fix) in (1..).zip(case.fixes) {
        bench.shell("fix_or_replan_attempt_1", at, fix);
    }
    let recorded = walls(case.walls.0);
    expect(bench.run(&[case.flags, &["--sandbox", recorded]].concat()), case.code);
    // Another machine: what played the model is gone, and the target lies elsewhere.
    fs::remove_file(bench.path("cassette.jsonl")).expect("rm");
    fs::rename(bench.path("repo"), bench.path("elsewhere")).expect("mv");
    let mut pack = program();
    pack.arg("bundle")
        .arg(bench.the_run())
        .arg("-o")
        .arg(bench.path("run.tar"));
    expect(pack, 0);
    bench
}

/// `replay` of a run or a bundle, into a directory of its own, by an empty cache of its own.
fn replay(bench: &Bench, what: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command.args(["replay", "--json"]).args(more).arg("--artifacts-dir");
    command.arg(bench.path("replays")).arg(what).stdin(Stdio::null());
    command.env("XDG_CACHE_HOME", bench.cache());
    command.env(
        "OPENCODE_BIN",
        opencode_fsm::agent::find_binary(None).expect("found before"),
    );
    command
}

/// The same, with the target where it lies now.
fn elsewhere(bench: &Bench, what: &Path, more: &[&str]) -> Command {
    let target = bench.path("elsewhere").display().to_string();
    replay(bench, what, &[&["--target", &target], more].concat())
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

/// Done again on another machine, from its bundle: the same course.
fn goes_the_same_way(recordings: &Recordings, case: &Case) {
    let bench = recordings.of(case.name);
    let run = bench.the_run();
    let again = walls(case.walls.1);
    let given: &[&str] = if case.name == "secret" {
        &["--env", "WHEN=now"]
    } else {
        &[]
    };
    let more = [&["--sandbox", again], given].concat();
    let found = said(elsewhere(&bench, &bench.path("run.tar"), &more), 0);
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
    // Once more is a replay of a replay, which finds its bootstrap made.
    if ["guard", "bootstrapped"].contains(&case.name) {
        assert_eq!(said(elsewhere(&bench, &again, &[]), 0)["same"], true);
    }
}

/// Two tests, which go on side by side.
#[test]
fn what_was_recorded_goes_the_same_way_again() {
    let recordings = Recordings::shared();
    if opencode() {
        let cases = CASES.iter().step_by(2);
        cases.for_each(|case| goes_the_same_way(&recordings, case));
    }
}

#[test]
fn what_else_was_recorded_goes_the_same_way_again() {
    let recordings = Recordings::shared();
    if opencode() {
        let cases = CASES.iter().skip(1).step_by(2);
        cases.for_each(|case| goes_the_same_way(&recordings, case));
    }
}

#[test]
fn what_is_recorded_is_what_the_cases_say() {
    let recordings = Recordings::shared();
    if !opencode() {
        return;
    }
    // The failures and violations that are done again are there.
    let says = |name: &str, words: &[&str]| {
        let journal = fs::read_to_string(recordings.of(name).the_run().join("journal.jsonl")).expect("read");
        for word in words {
            assert!(journal.contains(word), "{name}: {word}");
        }
    };
    says("guard", &["\"ruling\":\"violation\"", "\"event\":\"guard\""]);
    says(
        "planned wrongly",
        &["\"ruling\":\"violation\"", "plan_update_attempt_3"],
    );
    says("repaired", &["\"event\":\"actions_executed\"", "fix_or_replan"]);
    says("too slow", &["\"cap\":\"timeout_seconds\""]);
    says("bootstrapped", &["\"event\":\"bootstrapped\""]);
    says("narrowed", &["\"event\":\"narrowed\"", "no-wc"]);
    says("refused", &["\"verdict\":\"refused\""]);
}

#[test]
fn a_target_has_to_be_there_as_it_was_and_its_final_tree_is_judged_again() {
    let recordings = Recordings::shared();
    if !opencode() {
        return;
    }
    let recorded = recordings.of("guard");
    let (bundle, bench) = (recorded.path("run.tar"), Bench::new());
    let missing = said(replay(&bench, &bundle, &[]), 2);
    let message = missing["message"].as_str().expect("a message");
    assert!(
        message.contains("--target") && message.contains("neither in the cache"),
        "{message}"
    );
    let copy = bench.path("elsewhere");
    let copied = Command::new("cp")
        .arg("-R")
        .arg(recorded.path("elsewhere"))
        .arg(&copy)
        .status();
    assert!(copied.expect("cp").success());
    let found = said(elsewhere(&bench, &bundle, &["--sandbox", "jail", "--verify-only"]), 0);
    assert_eq!((&found["verified"], &found["recorded"]), (&json!(true), &json!(true)));
    // A target that is another one is refused.
    fs::write(copy.join("old"), "new\n").expect("write");
    fs::remove_dir_all(bench.path("cache/opencode-fsm/targets")).expect("rm");
    let other = said(elsewhere(&bench, &bundle, &[]), 2);
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
    let recordings = Recordings::shared();
    if !opencode() {
        return;
    }
    // Whoever changes the record is found before anything is run.
    let bench = recordings.of("passed");
    let run = bench.path("changed");
    let copied = Command::new("cp").arg("-R").arg(bench.the_run()).arg(&run).status();
    assert!(copied.expect("cp").success());
    let text = fs::read_to_string(run.join("cassette.jsonl")).expect("read");
    let other = text.replace("touch made", "touch mode");
    assert_ne!(text, other, "the control");
    fs::write(run.join("cassette.jsonl"), other).expect("write");
    assert_eq!(said(elsewhere(&bench, &run, &[]), 9)["exit"], 9);

    // What is never kept, and given otherwise now: the command fails where it passed.
    let bench = recordings.of("secret");
    let run = bench.the_run();
    let missing = said(elsewhere(&bench, &run, &[]), 2);
    assert!(
        missing["message"].as_str().expect("a message").contains("WHEN"),
        "{missing}"
    );
    let found = said(elsewhere(&bench, &run, &["--env", "WHEN=later"]), 13);
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
}

#[test]
fn another_policy_says_what_it_would_have_refused() {
    let recordings = Recordings::shared();
    if !opencode() {
        return;
    }
    let bench = recordings.of("passed");
    let run = bench.the_run();
    let asks = Bench::new();
    let policy = asks.path("policy.yml");
    fs::write(
        &policy,
        "version: 1\ncommands:\n  rules:\n    - id: no-tests\n      verdict: deny\n      when: {argv: [test]}\n      because: nothing is tested\n",
    )
    .expect("write");
    let shown = policy.display().to_string();
    let found = said(replay(&asks, &run, &["--policy", &shown]), 10);
    let refused = found["refused"].as_array().expect("a list");
    assert!(!refused.is_empty(), "{found}");
    assert_eq!(refused[0]["what"], "test -f made", "{found}");
    assert!(
        refused[0]["rule"].as_str().expect("a rule").contains("no-tests"),
        "{found}"
    );
    assert!(!asks.path("replays").exists(), "nothing was run");
    let found = said(replay(&asks, &run, &["--policy", "default"]), 0);
    assert_eq!(found["refused"], json!([]));
}
