//! Policies as a user meets them: layers, what a contract may not ask for, and what a run records.

#[path = "support/program.rs"]
mod program;

use std::{fs, process::Command};

use program::{Bench, expect, json_file, opencode, program};
use serde_json::{Value, json};

/// A bench whose repository has a contract that passes.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: \"true\"\n");
    bench
}

fn write(bench: &Bench, name: &str, text: &str) -> String {
    let path = bench.path(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(&path, text).expect("write");
    path.display().to_string()
}

/// A verification of the bench's repository, with a host's directory of its own.
fn verify(bench: &Bench, more: &[&str]) -> Command {
    let mut command = bench.command(&[&["verify", "--json"], more].concat(), "repo");
    command.env("XDG_CONFIG_HOME", bench.path("config"));
    command
}

/// The message by which a command is refused, with its exit code.
fn refusal(command: Command, code: i32) -> String {
    let output = expect(command, code);
    let lines = String::from_utf8(output.stdout).expect("text");
    let last: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("json");
    last["message"].as_str().unwrap_or_else(|| panic!("{last}")).to_owned()
}

fn policy_json(arguments: &[&str]) -> Value {
    let mut command = program();
    command.args([&["policy", "--json"], arguments].concat());
    let output = command.output().expect("starts");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {output:?}"))
}

#[test]
fn every_attempt_of_a_contract_to_widen_names_both_places() {
    let bench = bench();
    let contract = "version: 1\nsecurity:\n  mode: system\n  max_cmd_seconds: 900\n  max_total_seconds: 10000\ntests:\n  cmd: \"true\"\n";
    bench.file("pipeline.yml", contract);
    let why = refusal(verify(&bench, &["--policy", "strict"]), 10);
    let lines: Vec<&str> = why.lines().collect();
    assert_eq!(lines.len(), 3, "{why}");
    for (line, (contract, policy)) in lines.iter().zip([
        (
            "pipeline.yml:3:9: `security.mode: system`",
            "`commands.contract_mode: safe` at policies/strict.yml:",
        ),
        (
            "pipeline.yml:4:20: `security.max_cmd_seconds: 900`",
            "`time.command: 600` at policies/strict.yml:",
        ),
        (
            "pipeline.yml:5:22: `security.max_total_seconds: 10000`",
            "`time.stage: 1800` at policies/strict.yml:",
        ),
    ]) {
        assert!(line.starts_with(contract) && line.contains(policy), "{line}");
    }
    // The default promises contracts what its pages do, and a flag takes the place of both.
    expect(verify(&bench, &[]), 0);
    let why = refusal(
        verify(&bench, &["--policy", "strict", "--max-cmd", "1000", "--max-total", "5"]),
        10,
    );
    assert_eq!(why.lines().count(), 1, "the mode alone: {why}");
    bench.file(
        "pipeline.yml",
        &contract
            .replace("system", "safe")
            .replace("900", "600")
            .replace("10000", "1800"),
    );
    expect(verify(&bench, &["--policy", "strict"]), 0);
}

#[test]
fn what_a_user_asks_for_is_held_against_the_lists_of_names() {
    let bench = bench();
    let policy = write(
        &bench,
        "p.yml",
        "version: 1\nsandbox:\n  images: ['ours/*']\nenvironment:\n  stages:\n    - pattern: TEST_*\n      because: settings\nagent: {outside: false}\n",
    );
    expect(verify(&bench, &["--policy", &policy, "--env", "TEST_A=some value"]), 0);
    let why = refusal(verify(&bench, &["--policy", &policy, "--env", "TOKEN=some value"]), 10);
    assert!(
        why.starts_with(&format!(
            "--env: `TOKEN` is more than this host allows: `environment.stages: [TEST_*]` at {policy}:6:5"
        )),
        "{why}"
    );
    assert!(!why.contains("some value"), "{why}");
    let image = ["--policy", &policy, "--sandbox", "jail", "--image"];
    let why = refusal(verify(&bench, &[&image[..], &["other/image:1"]].concat()), 10);
    assert!(
        why.contains("`other/image:1`") && why.contains("`sandbox.images: [ours/*]`"),
        "{why}"
    );
    expect(verify(&bench, &[&image[..], &["ours/image:1"]].concat()), 0);
    let outside = [
        "run",
        "--json",
        "--policy",
        &policy,
        "--opencode-url",
        "http://127.0.0.1:9",
        "--allow-unsandboxed-agent",
    ];
    let why = refusal(bench.command(&outside, "repo"), 10);
    assert!(
        why.contains("--opencode-url") && why.contains("`agent.outside: no`"),
        "{why}"
    );
}

#[test]
fn layers_lie_on_each_other_and_the_run_says_which() {
    let bench = bench();
    write(
        &bench,
        "config/opencode-fsm/policy.yml",
        "version: 1\nsandbox:\n  limits: {memory: 1G, disk: 1G, processes: 300}\n",
    );
    write(
        &bench,
        "config/opencode-fsm/policies/mine.yml",
        "version: 1\npurpose: mine\nsandbox:\n  limits: {memory: 768M, processes: 400}\n",
    );
    write(&bench, "config/opencode-fsm/config.yml", "disk: 2G\nprocesses: 350\n");
    expect(verify(&bench, &["--policy", "mine", "--processes", "500"]), 0);
    let run = bench.the_run();
    let policy = json_file(&run.join("policy.json"));
    let limits = &policy["sandbox"]["limits"];
    assert_eq!(limits["memory"], 768 << 20, "--policy is above the host's file");
    assert_eq!(
        limits["disk"],
        2_u64 << 30,
        "the configuration is above the host's policy"
    );
    assert_eq!(limits["processes"], 500, "a flag is above all");
    assert_eq!(limits["file_size"], 2_u64 << 30, "the default is below all");
    let origins = json_file(&run.join("policy_origins.json"));
    let at = |what: &str| {
        let said = origins["said"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|line| line["what"] == what);
        said.unwrap_or_else(|| panic!("{what}"))["at"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    assert!(
        at("sandbox.limits.memory").ends_with("policies/mine.yml:4:20"),
        "{}",
        at("sandbox.limits.memory")
    );
    assert!(
        at("sandbox.limits.disk").ends_with("config.yml:1"),
        "{}",
        at("sandbox.limits.disk")
    );
    assert_eq!(at("sandbox.limits.processes"), "--processes");
    assert!(at("sandbox.limits.file_size").starts_with("policies/default.yml:"));
    // The digest in the summary is that of the file.
    let sum = Command::new("sha256sum")
        .arg(run.join("policy.json"))
        .output()
        .expect("sha256sum");
    let sum = String::from_utf8(sum.stdout).expect("text");
    let digest = bench.summary()["policy"]["digest"].as_str().expect("text").to_owned();
    assert_eq!(digest, format!("sha256:{}", sum.split(' ').next().expect("a digest")));
    assert_eq!(bench.summary()["policy"]["layers"].as_array().expect("layers").len(), 3);
    // And the record is a policy itself.
    let file = run.join("policy.json").display().to_string();
    assert_eq!(policy_json(&["check", &file])["ok"], true);
    let shown = expect(verify(&bench, &["--policy", "mine", "--print-config"]), 0);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("json");
    let memory = &shown["settings"]["memory"];
    assert!(
        memory["origin"]
            .as_str()
            .expect("text")
            .ends_with("policies/mine.yml:4:20"),
        "{memory}"
    );
    assert_eq!(memory["value"], "768M");
}

/// Each limit of a policy that has no flag bounds a command.
#[test]
fn limits_of_a_policy_hold_inside() {
    let bench = bench();
    let policy = write(
        &bench,
        "p.yml",
        "version: 1\nsandbox:\n  limits: {file_size: 1M, open_files: 64}\ntime: {command: 2, contract_may_raise: false}\nartifacts: {files: 2}\n",
    );
    for (command, passes) in [
        ("head -c 1048576 /dev/zero > small", true),
        ("head -c 1048577 /dev/zero > large", false),
        ("test $(ulimit -n) = 64", true),
        ("sleep 1", true),
        ("sleep 20", false),
    ] {
        bench.file(
            "pipeline.yml",
            &format!("version: 1\ntests: {{cmd: {}, timeout_seconds: 15}}\n", json!(command)),
        );
        expect(verify(&bench, &["--policy", &policy]), if passes { 0 } else { 3 });
        fs::remove_dir_all(bench.path("runs")).expect("remove");
    }
    let many = "mkdir -p .aider_fsm/artifacts && cd .aider_fsm/artifacts && touch a b c d";
    bench.file(
        "pipeline.yml",
        &format!("version: 1\ntests: {{cmd: {}}}\n", json!(many)),
    );
    expect(verify(&bench, &["--policy", &policy]), 0);
    let record = json_file(&bench.the_run().join("verify/summary.json"));
    let refused = record["refused_outputs"].as_array().expect("a list");
    assert_eq!(refused.len(), 2, "{record}");
}

#[test]
fn what_is_wrong_with_a_policy_is_said_with_its_place_and_code() {
    let bench = bench();
    let file = write(
        &bench,
        "p.yml",
        "version: 1\nguards:\n  protected:\n    - path: a\n      match: [b, a/c]\n      not_match: [a]\n",
    );
    let mut check = program();
    check.args(["policy", "--json", "check", &file]);
    let output = expect(check, 2);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("json");
    let problems = answer["problems"].as_array().expect("a list");
    let places: Vec<_> = problems
        .iter()
        .map(|one| (one["line"].clone(), one["column"].clone()))
        .collect();
    assert_eq!(places, [(json!(5), json!(15)), (json!(6), json!(19))]);
    let why = refusal(verify(&bench, &["--policy", &file]), 2);
    assert!(
        why.starts_with(&format!("{file}:5:15: ")) && why.contains("1 more"),
        "{why}"
    );
    let why = refusal(verify(&bench, &["--policy", "no-such"]), 2);
    assert!(why.contains("`no-such`") && why.contains("strict"), "{why}");
    write(&bench, "config/opencode-fsm/policy.yml", "version: 3\n");
    let why = refusal(verify(&bench, &[]), 2);
    assert!(why.contains("policy.yml:1:10: "), "{why}");
}

#[test]
fn policies_are_listed_and_compared() {
    let listed = policy_json(&["list"]);
    let names: Vec<_> = listed["policies"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(names[..5], ["default", "strict", "ci", "benchmark", "system"]);
    let text = policy_json(&["list", "strict"])["text"]
        .as_str()
        .expect("text")
        .to_owned();
    assert!(text.contains("min_tier: namespaces-cgroup"));
    let there = policy_json(&["diff", "default", "strict"]);
    let back = policy_json(&["diff", "strict", "default"]);
    assert_eq!(
        there["lost"].as_array().map(Vec::len),
        back["gained"].as_array().map(Vec::len)
    );
    assert_eq!(there["gained"], json!([]));
    let words: Vec<_> = there["lost"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["words"].clone())
        .collect();
    assert!(
        words.contains(&json!("memory of a sandbox: 2G, before 4G")),
        "{words:?}"
    );
    assert_eq!(policy_json(&["diff", "ci", "ci"])["lost"], json!([]));
}

/// A path that a policy protects is taken back, with the policy's word; turns end when they are used up.
#[test]
fn the_guard_and_the_turns_are_the_policys() {
    if !opencode() {
        return;
    }
    let mut bench = bench();
    bench
        .file("pipeline.yml", "version: 1\ntests:\n  cmd: test -f made\n")
        .file("docs/keep.md", "kept\n")
        .file(
            "PLAN.md",
            "## Next (exactly ONE item)\n- [ ] (STEP_ID=001) make it\n## Backlog\n## Done\n## Notes\n-\n",
        );
    let policy = write(
        &bench,
        "p.yml",
        "version: 1\nguards:\n  protected:\n    - {path: 'docs/*.md', phases: [execute-step], because: they are printed}\nagent: {turns: 2}\n",
    );
    bench.say("plan_update_attempt_1", 1, 1, &[]);
    bench.shell("execute_step", 1, "echo other > docs/keep.md; touch made");
    bench.shell("execute_step", 2, "touch made");
    let output = expect(bench.run(&["--policy", &policy]), 6);
    let summary = bench.summary();
    let detail = summary["detail"].as_str().expect("text");
    assert_eq!(
        (summary["exit_reason"].as_str(), summary["turns"].as_u64()),
        (Some("BUDGET"), Some(2))
    );
    assert!(
        detail.contains("2 turns are used up") && detail.contains(&format!("{policy}:5:16")),
        "{detail}"
    );
    let taken = json_file(&bench.the_run().join("guard/0001-execute_step.json"));
    let because: Vec<_> = taken["refused"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["because"].clone())
        .collect();
    let expected = format!("the host's policy protects `docs/*.md` ({policy}:4:7): they are printed");
    assert_eq!(
        because,
        [json!(expected)],
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );

    // The control: without the policy the same turns are the end of it.
    fs::remove_dir_all(bench.path("runs")).expect("remove");
    bench.say("plan_update_attempt_1", 2, 1, &[]);
    expect(bench.run(&[]), 0);
    assert_eq!(bench.brought_out("docs/keep.md"), "other\n");
}
