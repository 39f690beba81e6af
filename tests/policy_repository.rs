//! A repository's own policy, `.aider_fsm/policy.yml`: it narrows, and every attempt to widen is
//! an error with both places.

#[path = "support/program.rs"]
mod program;

use std::{fs, process::Command};

use program::{Bench, expect, json_file, opencode, program};
use serde_json::Value;

const OWN: &str = ".aider_fsm/policy.yml";

fn bench() -> Bench {
    let bench = Bench::new();
    bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: \"true\"\n");
    bench
}

/// A verification with a host's directory of its own.
fn verify(bench: &Bench, more: &[&str]) -> Command {
    let mut command = bench.command(&[&["verify", "--json"], more].concat(), "repo");
    command.env("XDG_CONFIG_HOME", bench.path("config"));
    command
}

fn last(output: &[u8]) -> Value {
    let text = String::from_utf8(output.to_vec()).expect("text");
    serde_json::from_str(text.lines().last().expect("a line")).expect("json")
}

fn refusal(bench: &Bench, more: &[&str], code: i32) -> String {
    let last = last(&expect(verify(bench, more), code).stdout);
    last["message"].as_str().unwrap_or_else(|| panic!("{last}")).to_owned()
}

#[test]
fn every_attempt_to_widen_names_both_places() {
    let bench = bench();
    for (line, own, asked, allowed) in [
        (
            2,
            "time: {command: 4000}",
            "time.command: 4000",
            "`time.command: 600` at policies/strict.yml:",
        ),
        (
            2,
            "sandbox: {limits: {memory: 8G}}",
            "sandbox.limits.memory: ",
            "at policies/strict.yml:",
        ),
        (
            2,
            "commands: {undecided: allow}",
            "commands.undecided: allow",
            "`commands.undecided: deny` at policies/strict.yml:",
        ),
        (
            2,
            "commands: {contract_mode: system}",
            "commands.contract_mode: system",
            "`commands.contract_mode: safe` at policies/strict.yml:",
        ),
        (
            4,
            "commands:\n  rules:\n    - {id: mine, verdict: allow, when: {argv: [sudo]}}",
            "commands.rules: mine says allow",
            "`commands.rules: sudo denies, and a repository's rules can only deny` at policies/default.yml:",
        ),
        (
            4,
            "commands:\n  rules:\n    - {id: mine, verdict: undecided, when: {effect: downloads-and-executes}}",
            "commands.rules: mine says undecided",
            "`commands.rules: download-and-execute denies, and a repository's rules can only deny` at policies/default.yml:",
        ),
        (
            2,
            "environment: {stages: ['*']}",
            "environment.stages: *",
            "`environment.stages: []` at policies/strict.yml:",
        ),
        (
            2,
            "sandbox: {images: ['*']}",
            "sandbox.images",
            "at policies/strict.yml:",
        ),
        (
            2,
            "network: {mode: allow}",
            "network.mode: allow",
            "`network.mode: model, decided before the repository is read` at policies/strict.yml:",
        ),
        (
            3,
            "network:\n  rules: [{host: pypi.org}]",
            "network.rules: pypi.org",
            "network.rules are the host's alone` at policies/strict.yml:",
        ),
        (2, "extends: nothing", "extends: nothing", "at policies/strict.yml:"),
        (
            2,
            "agent: {tokens: unlimited}",
            "agent.tokens: unlimited",
            "`agent.tokens: 5000000` at policies/strict.yml:",
        ),
        (
            2,
            "artifacts: {bytes: 1G}",
            "artifacts.bytes: ",
            "at policies/strict.yml:",
        ),
    ] {
        bench.file(OWN, &format!("version: 1\n{own}\n"));
        let why = refusal(&bench, &["--policy", "strict"], 10);
        let at = format!("{OWN}:{line}:");
        assert!(
            why.starts_with(&at) && why.contains(asked) && why.contains(allowed),
            "{own}: {why}"
        );
    }
    // All of them at once, each in its line.
    bench.file(
        OWN,
        "version: 1\ntime: {command: 4000, stage: 9000}\nagent: {tokens: unlimited}\n",
    );
    assert_eq!(refusal(&bench, &["--policy", "strict"], 10).lines().count(), 3);
    // A flag is a part of what the host allows.
    bench.file(OWN, "version: 1\ntime: {command: 100}\n");
    expect(verify(&bench, &["--max-cmd", "200"]), 0);
    let why = refusal(&bench, &["--max-cmd", "50"], 10);
    assert!(why.contains("`time.command: 50` at --max-cmd"), "{why}");
}

#[test]
fn what_narrows_holds_and_is_recorded() {
    let bench = bench();
    bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: make deploy\n");
    bench.file("Makefile", "deploy:\n\ttrue\n");
    expect(verify(&bench, &[]), 0);
    fs::remove_dir_all(bench.path("runs")).expect("rm");
    bench.file(
        OWN,
        "version: 1\npurpose: nobody deploys from here\ntime: {command: 60}\ncommands:\n  rules:\n    - id: no-deploy\n      verdict: deny\n      when: {argv: [make, deploy]}\n      because: people deploy\n",
    );
    let output = expect(verify(&bench, &[]), 3);
    let summary = last(&output.stdout);
    let text = summary.to_string();
    assert!(
        text.contains("no-deploy") || text.contains("blocked_by_hard_deny"),
        "{text}"
    );
    let run = bench.the_run();
    let policy = json_file(&run.join("policy.json"));
    assert_eq!(policy["time"]["command"], 60);
    let origins = fs::read_to_string(run.join("policy_origins.json")).expect("origins");
    assert!(origins.contains(OWN) && origins.contains("\"repository\""), "{origins}");
    let layers = json_file(&run.join("summary.json"))["policy"]["layers"].to_string();
    assert!(layers.contains(OWN), "{layers}");
}

#[test]
fn what_is_no_policy_ends_the_run_before_anything_runs() {
    let bench = bench();
    for (own, place) in [
        ("version: 1\ntimes: {}\n", "2:1"),
        ("version: 2\n", "1:10"),
        ("- a\n", "1:1"),
        ("version: 1\nguards:\n  protected:\n    - {path: a, match: [b]}\n", "4:"),
    ] {
        bench.file(OWN, own);
        let why = refusal(&bench, &[], 2);
        assert!(why.starts_with(&format!("{OWN}:{place}")), "{why}");
    }
    fs::remove_file(bench.path("repo").join(OWN)).expect("rm");
    std::os::unix::fs::symlink("/etc/hostname", bench.path("repo").join(OWN)).expect("link");
    let why = refusal(&bench, &[], 2);
    assert!(why.contains("a policy is a file"), "{why}");
}

#[test]
fn the_agent_may_not_change_it() {
    let explain = |path: &str| -> Value {
        let mut command = program();
        command
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .args(["policy", "explain", "--json", "--path", path]);
        last(&expect(command, 0).stdout)
    };
    assert_eq!(explain(OWN)["verdict"], "deny");
    assert_eq!(explain("src/a.py")["verdict"], "depends");
    if !opencode() {
        return;
    }
    let mut bench = bench();
    bench.file(
        "PLAN.md",
        "## Next (exactly ONE item)\n- [ ] (STEP_ID=001) make it\n## Backlog\n## Done\n## Notes\n-\n",
    );
    bench.say("plan_update_attempt_1", 1, 1, &[]);
    let write = "mkdir -p .aider_fsm && echo 'version: 1' > .aider_fsm/policy.yml; touch made";
    bench.shell("execute_step", 1, write);
    bench.shell("execute_step", 2, "touch made");
    let mut run = bench.run(&["--max-iters", "1"]);
    run.env("XDG_CONFIG_HOME", bench.path("config"));
    let _ = run.output().expect("runs");
    let taken = json_file(&bench.the_run().join("guard/0001-execute_step.json"));
    let refused = taken["refused"].as_array().expect("a list");
    assert!(refused.iter().any(|one| one.to_string().contains(OWN)), "{taken}");
    assert!(!bench.the_run().join("files").join(OWN).exists());
}
