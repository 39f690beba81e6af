//! Contracts as a user runs them (`verify`, real jails): what each stage does, what each
//! cap ends, which outputs count, and who is named when something fails.
//! docs/compatibility.md says which behaviour of the predecessor each test stands for.

#[path = "support/program.rs"]
mod program;

use std::{fs, path::PathBuf, process::Command};

use nix::sys::signal::{Signal, kill};
use program::{Bench, holding, init_with, json_file, process_status};
use serde_json::{Value, json};

/// One verification that has ended.
struct Verified {
    bench: Bench,
    code: Option<i32>,
    shown: String,
}

impl Verified {
    /// A file of the verification's directory.
    fn path(&self, name: &str) -> PathBuf {
        self.bench.the_run().join("verify").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|why| panic!("{name}: {why}\n{}", self.shown))
    }

    fn record(&self) -> Value {
        let path = self.path("summary.json");
        assert!(path.is_file(), "no record; exit code {:?}\n{}", self.code, self.shown);
        json_file(&path)
    }

    /// The stages that ran, in order.
    fn ran(&self) -> Vec<String> {
        let record = self.record();
        let stages = record["stages"].as_array().expect("stages").clone();
        stages
            .iter()
            .map(|stage| stage["stage"].as_str().expect("a name").to_owned())
            .collect()
    }

    /// The record of one stage.
    fn stage(&self, name: &str) -> Value {
        let record = self.record();
        let stages = record["stages"].as_array().expect("stages");
        let found = stages.iter().find(|stage| stage["stage"] == name);
        found.unwrap_or_else(|| panic!("{name} did not run: {record}")).clone()
    }

    fn passed(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.shown, self.record());
        self
    }

    /// Demands that it failed in a stage, for which somebody is to blame.
    fn failed(self, stage: &str, blame: &str) -> Self {
        let record = self.record();
        assert_eq!(self.code, Some(3), "{}\n{record}", self.shown);
        assert_eq!(
            (&record["failed_stage"], &record["blame"]),
            (&json!(stage), &json!(blame)),
            "{record}"
        );
        let place = record["evidence"]
            .as_str()
            .unwrap_or_else(|| panic!("no evidence: {record}"));
        assert!(self.bench.the_run().join(place).is_file(), "{place} is not there");
        self
    }
}

/// A repository with a contract and files.
fn repository(contract: &str, files: &[(&str, &str)]) -> Bench {
    let bench = Bench::new();
    bench.file("pipeline.yml", contract);
    for (name, text) in files {
        bench.file(name, text);
    }
    bench
}

fn end(bench: Bench, mut command: Command) -> Verified {
    for name in ["AIDER_FSM_MAX_CMD_SECONDS", "AIDER_FSM_MAX_TOTAL_SECONDS"] {
        if !command.get_envs().any(|(key, _)| key == name) {
            command.env_remove(name);
        }
    }
    let output = command.output().expect("starts");
    let shown = [output.stdout, output.stderr].concat();
    Verified {
        bench,
        code: output.status.code(),
        shown: String::from_utf8_lossy(&shown).into_owned(),
    }
}

fn verify(contract: &str, files: &[(&str, &str)]) -> Verified {
    let bench = repository(contract, files);
    let command = bench.command(&["verify"], "repo");
    end(bench, command)
}

/// Threads on the whole host that belong to a run.
fn alive(run: &str) -> usize {
    let needle = format!("AIDER_FSM_RUN_ID={run}\0").into_bytes();
    let entries = |dir: PathBuf| {
        fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    entries("/proc".into())
        .flat_map(|process| entries(process.join("task")).collect::<Vec<_>>())
        .filter_map(|thread| fs::read(thread.join("environ")).ok())
        .filter(|environ| environ.windows(needle.len()).any(|window| window == needle))
        .count()
}

fn run_id(verified: &Verified) -> String {
    let run = verified.bench.the_run();
    run.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Copies a directory of ours into a bench as its repository.
fn examples() -> Bench {
    fn copy(from: &std::path::Path, to: &std::path::Path) {
        fs::create_dir_all(to).expect("mkdir");
        for entry in fs::read_dir(from).expect("ls").flatten() {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).expect("copy");
            }
        }
    }
    let bench = Bench::new();
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    copy(&examples.join("service"), &bench.path("repo/service"));
    for name in ["pipeline.yml", "benchmark_pipeline.yml"] {
        fs::copy(examples.join(name), bench.path("repo").join(name)).expect("copy");
    }
    bench
}

#[test]
fn the_example_deploys_a_service_asks_it_scores_it_and_takes_it_down() {
    let bench = examples();
    let command = bench.command(&["verify", "--require-pipeline"], "repo");
    let done = end(bench, command).passed();
    let stages = [
        "tests",
        "deploy_setup",
        "deploy_health",
        "rollout",
        "evaluation",
        "deploy_teardown",
    ];
    assert_eq!(done.ran(), stages);
    let record = done.record();
    for stage in stages {
        assert_eq!(done.stage(stage)["ok"], true, "{record}");
    }
    assert_eq!(
        record["metrics"],
        json!({"ok": true, "score": 1.0, "eval": {"samples": 20}})
    );
    assert_eq!(record["metrics"], json_file(&done.path("metrics.json")));
    // The service was there, answered, and was stopped by the teardown, not by us.
    assert!(done.text("deploy_health_stdout.txt").contains("'ok': True"));
    let pid = json_file(&done.path("runtime_env.json"))["pid"].clone();
    assert_eq!(done.text("deploy_teardown_stdout.txt"), format!("stopped {pid}\n"));
    assert_eq!(record["services_left"], 0);
    assert_eq!(alive(&run_id(&done)), 0);
    // What the stages left for people came out.
    assert_eq!(json_file(&done.path("rollout.json"))["counts"]["samples"], 20);
    assert!(
        !holding(&done.path("outputs"), "POST /answer").is_empty(),
        "the server's log"
    );
    assert_eq!(
        holding(&done.path("outputs"), "\"reward\": 1.0").len(),
        1,
        "the samples"
    );
}

#[test]
fn the_benchmark_example_uses_every_stage() {
    let bench = examples();
    let command = bench.command(&["verify", "--pipeline", "benchmark_pipeline.yml"], "repo");
    let done = end(bench, command).passed();
    let stages = [
        "auth",
        "tests",
        "deploy_setup",
        "deploy_health",
        "rollout",
        "evaluation",
        "benchmark",
        "deploy_teardown",
    ];
    assert_eq!(done.ran(), stages);
    // The evaluation's metrics are the primary ones; the benchmark's are kept beside them.
    assert_eq!(done.record()["metrics"]["eval"]["samples"], 20);
    let benchmark = json_file(&done.path("metrics_benchmark.json"));
    assert!(
        benchmark["throughput"]["requests_per_second"].as_f64() > Some(1.0),
        "{benchmark}"
    );
    assert_eq!(done.record()["services_left"], 0);
    assert_eq!(alive(&run_id(&done)), 0);
    assert!(
        done.path("outputs/out/artifacts").is_dir(),
        "`artifacts.out_dir` is copied out"
    );
}

#[test]
fn a_service_without_a_teardown_ends_with_the_verification_and_is_counted_with_one_that_does_nothing() {
    let contract = |teardown: &str| {
        format!(
            "version: 1\ndeploy:\n  setup_cmd: sleep 1000 & echo up\n  health_cmd: pgrep -f 'sleep 1000'\n{teardown}tests:\n  cmd: 'true'\n"
        )
    };
    let none = verify(&contract(""), &[]).passed();
    assert_eq!(none.ran(), ["tests", "deploy_setup", "deploy_health"]);
    assert_eq!(alive(&run_id(&none)), 0);
    let idle = verify(&contract("  teardown_cmd: 'true'\n"), &[]).passed();
    assert_eq!(idle.record()["services_left"], 1);
    assert_eq!(alive(&run_id(&idle)), 0);
}

#[test]
fn commands_find_what_names_their_run_and_nothing_of_the_host() {
    let contract = "version: 1\n\
        auth:\n  cmd: echo \"token\" > $HOME/token\n\
        tests:\n  cmds: [env, 'cat $HOME/token', 'pwd; test -d \"$AIDER_FSM_ARTIFACTS_DIR\"; $AIDER_FSM_PYTHON -c \"print(6*7)\"']\n  env: {FROM_THE_CONTRACT: 'yes', TERM: mine, AIDER_FSM_PYTHON: python3}\n  workdir: sub\n\
        rollout:\n  run_cmd: env; pwd\n";
    let bench = repository(contract, &[("sub/file", "x\n")]);
    let mut command = bench.command(&["verify"], "repo");
    command.env("HOST_SECRET", "sk-not-for-you").env("LD_PRELOAD_X", "x");
    let done = end(bench, command).passed();
    let run = run_id(&done);
    let env = done.text("tests_cmd01_try01_stdout.txt");
    for line in [
        "AIDER_FSM_STAGE=tests".to_owned(),
        format!("AIDER_FSM_RUN_ID={run}"),
        "AIDER_FSM_REPO_ROOT=/workspace".to_owned(),
        format!("AIDER_FSM_ARTIFACTS_DIR=/workspace/.aider_fsm/artifacts/{run}/verify"),
        "AIDER_FSM_ARTIFACTS_BASE=/workspace/.aider_fsm/artifacts".to_owned(),
        "FROM_THE_CONTRACT=yes".to_owned(),
        "TERM=mine".to_owned(),
        "CI=1".to_owned(),
        "GIT_TERMINAL_PROMPT=0".to_owned(),
        "PIP_DISABLE_PIP_VERSION_CHECK=1".to_owned(),
        "PYTHONUNBUFFERED=1".to_owned(),
        "HOME=/home/agent".to_owned(),
    ] {
        assert!(env.lines().any(|found| found == line), "{line} is not in\n{env}");
    }
    assert!(!env.contains("HOST_SECRET") && !env.contains("LD_PRELOAD_X"), "{env}");
    assert_eq!(holding(&done.bench.the_run(), "sk-not-for-you"), Vec::<PathBuf>::new());
    // All stages of a verification share the home; each has its own variables.
    assert_eq!(done.text("tests_cmd02_try01_stdout.txt"), "token\n");
    assert_eq!(done.text("tests_cmd03_try01_stdout.txt"), "/workspace/sub\n42\n");
    let rollout = done.text("rollout_stdout.txt");
    assert!(rollout.contains("AIDER_FSM_STAGE=rollout") && rollout.ends_with("/workspace\n"));
    assert!(!rollout.contains("FROM_THE_CONTRACT"), "{rollout}");
    assert!(rollout.contains("AIDER_FSM_PYTHON=/"), "{rollout}");
}

/// A contract with every stage, each of which leaves its name in `order`; one of them fails.
fn every_stage(failing: &str, more: &str) -> String {
    let command = |stage: &str| {
        let code = u8::from(stage == failing);
        format!("echo $AIDER_FSM_STAGE >> $AIDER_FSM_ARTIFACTS_DIR/order; exit {code}")
    };
    format!(
        "version: 1\nauth:\n  steps: ['{}']\ntests:\n  cmd: '{}'\n\
         deploy:\n  setup_cmd: '{}'\n  health_cmd: '{}'\n  teardown_cmd: '{}'\n{more}\
         rollout:\n  run_cmd: '{}'\nevaluation:\n  run_cmd: '{}'\nbenchmark:\n  run_cmd: '{}'\n",
        command("auth"),
        command("tests"),
        command("deploy_setup"),
        command("deploy_health"),
        command("deploy_teardown"),
        command("rollout"),
        command("evaluation"),
        command("benchmark"),
    )
}

const ORDER: [&str; 7] = [
    "auth",
    "tests",
    "deploy_setup",
    "deploy_health",
    "rollout",
    "evaluation",
    "benchmark",
];

#[test]
fn the_first_failure_ends_the_stages_and_what_was_deployed_is_taken_down() {
    for (at, failing) in ORDER.into_iter().enumerate() {
        let done = verify(&every_stage(failing, ""), &[]).failed(failing, "verifier");
        let mut expected: Vec<&str> = ORDER[..=at].to_vec();
        // Nothing is torn down that was not begun.
        if at >= 2 {
            expected.push("deploy_teardown");
        }
        assert_eq!(done.ran(), expected);
        let order = holding(&done.path("outputs"), "auth\n");
        let order = fs::read_to_string(order.first().expect("the order came out")).expect("text");
        assert_eq!(order.lines().collect::<Vec<_>>(), expected);
        let name = if failing == "tests" {
            "test_rc".to_owned()
        } else {
            format!("{failing}_rc")
        };
        assert_eq!(done.record()[&name], 1, "{}", done.record());
        assert_eq!(json_file(&done.path(&format!("{failing}_result.json")))["rc"], 1);
        let summary = json_file(&done.path(&format!("{failing}_summary.json")));
        assert_eq!((&summary["ok"], &summary["failed_index"]), (&json!(false), &json!(0)));
    }
    // A teardown that fails decides nothing, and is told.
    let done = verify(&every_stage("deploy_teardown", ""), &[]).passed();
    assert_eq!(done.stage("deploy_teardown")["ok"], false);
    assert!(done.shown.contains("deploy_teardown FAILED"), "{}", done.shown);
}

#[test]
fn a_teardown_policy_is_kept() {
    for (policy, after_success, after_failure) in [
        ("always", true, true),
        ("on_success", true, false),
        ("on_failure", false, true),
        ("never", false, false),
    ] {
        for (failing, runs) in [("none", after_success), ("evaluation", after_failure)] {
            let done = verify(&every_stage(failing, &format!("  teardown_policy: {policy}\n")), &[]);
            let ran = done.ran().contains(&"deploy_teardown".to_owned());
            assert_eq!(ran, runs, "{policy} after {failing}");
        }
    }
}

#[test]
fn a_failing_command_is_repeated_and_each_try_is_kept() {
    let contract = "version: 1\ntests:\n  cmds:\n    - echo first\n    - echo try; test -f again || { touch again; exit 4; }\n  retries: 3\n";
    let done = verify(contract, &[]).passed();
    assert_eq!(done.stage("tests")["total_results"], 3);
    assert_eq!(done.text("tests_cmd02_try01_stdout.txt"), "try\n");
    assert_eq!(json_file(&done.path("tests_cmd02_try01_result.json"))["rc"], 4);
    assert_eq!(json_file(&done.path("tests_cmd02_try02_result.json"))["rc"], 0);
    assert!(!done.path("tests_cmd02_try03_result.json").exists());
    assert!(
        done.text("tests_cmd.txt").starts_with("echo try;"),
        "the last command's artifacts have the stage's name"
    );

    let done = verify("version: 1\ntests:\n  cmds: [exit 7, echo no]\n  retries: 1\n", &[]).failed("tests", "verifier");
    let stage = done.stage("tests");
    assert_eq!(
        (&stage["total_results"], &stage["failed_index"], &stage["rc"]),
        (&json!(2), &json!(0), &json!(7))
    );
}

#[test]
fn each_cap_ends_its_command_and_is_named() {
    let sleeper = "tests:\n  cmd: 'setsid sleep 1000 & sleep 1000'\n";
    let ended = |contract: String, cap: &str| {
        let done = verify(&contract, &[]).failed("tests", "budget");
        let (record, result) = (done.record(), json_file(&done.path("tests_result.json")));
        assert_eq!((&record["cap"], &result["cap"]), (&json!(cap), &json!(cap)), "{record}");
        assert_eq!(
            (&result["rc"], &result["timed_out"]),
            (&json!(124), &json!(true)),
            "{result}"
        );
        assert!(done.shown.contains(cap), "{}", done.shown);
        assert_eq!(alive(&run_id(&done)), 0);
        done
    };
    let done = ended(
        format!("version: 1\n{sleeper}  timeout_seconds: 1\n"),
        "timeout_seconds",
    );
    let wall = done.stage("tests")["wall_ms"].as_u64().expect("a number");
    assert!((1_000..3_000).contains(&wall), "{wall} ms");
    ended(
        format!("version: 1\nsecurity:\n  max_cmd_seconds: 1\n{sleeper}  timeout_seconds: 60\n"),
        "max_cmd_seconds",
    );
    // The stage's total interrupts a running command, and no repetition begins after it.
    let done = ended(
        format!("version: 1\nsecurity:\n  max_total_seconds: 1\n{sleeper}  retries: 5\n"),
        "max_total_seconds",
    );
    assert_eq!(done.stage("tests")["total_results"], 1);
    let done = ended(
        "version: 1\nsecurity:\n  max_total_seconds: 1\ntests:\n  cmds: [sleep 0.6, sleep 0.6, sleep 0.6]\n".to_owned(),
        "max_total_seconds",
    );
    assert_eq!(done.stage("tests")["failed_index"], 1);
}

#[test]
fn only_the_user_lifts_a_cap() {
    let contract = "version: 1\nsecurity:\n  max_cmd_seconds: 1\ntests:\n  cmd: sleep 1.5\n  env:\n    AIDER_FSM_MAX_CMD_SECONDS: '60'\n    AIDER_FSM_MAX_TOTAL_SECONDS: '60'\n";
    let done = verify(contract, &[]).failed("tests", "budget");
    assert_eq!(done.record()["cap"], "max_cmd_seconds");
    let bench = repository(contract, &[]);
    let mut command = bench.command(&["verify"], "repo");
    command.env("AIDER_FSM_MAX_CMD_SECONDS", "60");
    end(bench, command).passed();
    // And lowers it.
    let bench = repository("version: 1\ntests:\n  cmd: sleep 1000\n  timeout_seconds: 900\n", &[]);
    let mut command = bench.command(&["verify"], "repo");
    command.env("AIDER_FSM_MAX_TOTAL_SECONDS", "1");
    let done = end(bench, command).failed("tests", "budget");
    assert_eq!(done.record()["cap"], "max_total_seconds");
}

#[test]
fn what_policy_refuses_is_not_run_and_not_repeated() {
    let refused = |security: &str, command: &str, code: &str| {
        let contract = format!("version: 1\n{security}tests:\n  cmd: {command}\n  retries: 3\n");
        let done = verify(&contract, &[]).failed("tests", "policy");
        let stage = done.stage("tests");
        assert_eq!(
            (&stage["rc"], &stage["total_results"]),
            (&json!(126), &json!(1)),
            "{stage}"
        );
        let stderr = done.text("tests_stderr.txt");
        assert!(stderr.starts_with(code), "{stderr}");
        assert!(
            done.record()["reason"].as_str().expect("a reason").contains(code),
            "{}",
            done.record()
        );
    };
    refused("", "sudo true", "blocked_by_default_safe_deny: sudo");
    refused("security: {mode: system}\n", "rm -rf /", "blocked_by_hard_deny");
    refused(
        "security: {denylist: ['curl']}\n",
        "curl http://127.0.0.1/",
        "blocked_by_denylist: curl",
    );
    refused(
        "security: {allowlist: ['^make ']}\n",
        "touch ran",
        "blocked_by_allowlist",
    );
    refused(
        "",
        "docker login",
        "likely_interactive_command_disallowed_in_strict_mode",
    );
    // The controls.
    verify(
        "version: 1\nsecurity: {allowlist: ['^TOUCH ']}\ntests:\n  cmd: touch ran\n",
        &[],
    )
    .passed();
    verify(
        "version: 1\ntests:\n  cmds: [echo never use sudo, 'ls dd || true']\n",
        &[],
    )
    .passed();
    let bench = repository("version: 1\ntests:\n  cmd: docker login\n", &[]);
    let command = bench.command(&["verify", "--unattended", "guided"], "repo");
    end(bench, command).failed("tests", "verifier");
}

#[test]
fn an_interactive_auth_without_a_terminal_is_the_users_to_solve() {
    let contract = "version: 1\nauth:\n  cmd: read name\n  interactive: true\ntests:\n  cmd: 'true'\n";
    let bench = repository(contract, &[]);
    let mut command = Command::new("setsid");
    let inner = bench.command(&["verify", "--unattended", "guided"], "repo");
    command.arg("--wait").arg(inner.get_program()).args(inner.get_args());
    let done = end(bench, command).failed("auth", "user");
    assert!(done.record()["reason"].as_str().expect("a reason").contains("/dev/tty"));
    // Nobody is asked in strict mode: what reads finds the end of its input.
    verify(contract, &[]).failed("auth", "verifier");
}

const MEASURED: &str = "version: 1\nevaluation:\n  run_cmd: sh eval.sh\n  metrics_path: out/metrics.json\n  required_keys: [ok, score, eval.samples]\n";

fn measured(script: &str) -> Verified {
    verify(
        MEASURED,
        &[("eval.sh", &format!("mkdir -p out .aider_fsm\n{script}\n"))],
    )
}

#[test]
fn metrics_are_new_regular_typed_and_finite() {
    let good = r#"{"ok": true, "score": 0.5, "eval": {"samples": 3}}"#;
    let done = measured(&format!("echo '{good}' > out/metrics.json")).passed();
    assert_eq!(done.record()["metrics"]["score"], 0.5);
    for (script, finding) in [
        ("true", "evaluation.metrics_file_missing: out/metrics.json"),
        ("echo '{' > out/metrics.json", "evaluation.invalid_json"),
        ("echo '[1]' > out/metrics.json", "evaluation.metrics_json_not_object"),
        (
            r#"echo '{"ok": true, "eval": {}}' > out/metrics.json"#,
            "evaluation.missing_keys: score, eval.samples",
        ),
        (
            r#"echo '{"ok": false, "score": 1, "eval": {"samples": 1}}' > out/metrics.json"#,
            "evaluation.ok_not_true",
        ),
        (
            r#"echo '{"ok": "true", "score": "banana", "eval": {"samples": 1}}' > out/metrics.json"#,
            "evaluation.ok_not_boolean; evaluation.score_not_number",
        ),
        (
            r#"echo '{"ok": true, "score": NaN, "eval": {"samples": 1}}' > out/metrics.json"#,
            "evaluation.invalid_json",
        ),
        (
            &*format!("echo '{good}' > real; ln -s ../real out/metrics.json"),
            "evaluation.failed_to_read",
        ),
        ("mkdir out/metrics.json", "evaluation.failed_to_read"),
        ("mkfifo out/metrics.json", "evaluation.failed_to_read"),
        (
            "head -c 2000000 /dev/zero > out/metrics.json",
            "evaluation.metrics_too_large",
        ),
    ] {
        let done = measured(script).failed("metrics", "verifier");
        let reason = done.record()["reason"].as_str().expect("a reason").to_owned();
        assert!(reason.contains(finding), "{script}: {reason}");
        assert!(done.record()["metrics_errors"][0].is_string());
        assert_eq!(done.stage("evaluation")["ok"], true, "the stage itself passed");
    }
}

#[test]
fn what_lies_about_from_earlier_proves_nothing() {
    let stale = [
        (
            "out/metrics.json",
            r#"{"ok": true, "score": 1, "eval": {"samples": 1}}"#,
        ),
        (".aider_fsm/rollout.json", r#"{"ok": "stale"}"#),
        (".aider_fsm/runtime_env.json", r#"{"ok": "stale"}"#),
        (
            ".aider_fsm/hints_used.json",
            r#"{"ok": true, "used_anchors": ["x"], "commands": ["x"]}"#,
        ),
        ("eval.sh", "true\n"),
    ];
    let done = verify(MEASURED, &stale).failed("metrics", "verifier");
    assert!(done.shown.contains("metrics_file_missing"), "{}", done.shown);
    // Nor what an earlier stage of the same verification writes in the name of a later one.
    let early = r#"echo '{"ok": true, "score": 1, "eval": {"samples": 1}}' > out/metrics.json"#;
    let contract = format!("{MEASURED}tests:\n  cmd: sh early.sh\n");
    let done = verify(&contract, &[stale[4], ("early.sh", &format!("mkdir -p out; {early}"))]);
    done.failed("metrics", "verifier");
    // An evaluation without commands is there to judge what an earlier stage measured.
    let contract = "version: 1\ntests:\n  cmd: sh early.sh\nevaluation:\n  metrics_path: out/metrics.json\n  required_keys: [score]\n";
    verify(contract, &[("early.sh", &format!("mkdir -p out; {early}"))]).passed();
    // Old ones of the typed files are gone before anything could find them.
    let contract = "version: 1\ndeploy:\n  setup_cmd: 'ls -A .aider_fsm'\nrollout:\n  run_cmd: 'ls -A .aider_fsm'\n";
    let done = verify(contract, &stale).passed();
    assert_eq!(done.text("deploy_setup_stdout.txt"), "artifacts\n");
    assert_eq!(done.text("rollout_stdout.txt"), "artifacts\n");
}

#[test]
fn typed_files_are_checked_where_they_are_left() {
    let write = |file: &str, json: &str| format!("mkdir -p .aider_fsm; echo '{json}' > .aider_fsm/{file}");
    for (section, file, json, stage, finding) in [
        (
            "rollout:\n  run_cmd",
            "rollout.json",
            r#"{"ok": false}"#,
            "rollout",
            "rollout.ok_not_true",
        ),
        (
            "rollout:\n  run_cmd",
            "rollout.json",
            r#"{"counts": {"samples": NaN}}"#,
            "rollout",
            "rollout.invalid_json",
        ),
        (
            "deploy:\n  setup_cmd",
            "runtime_env.json",
            r#"{"service": "x"}"#,
            "deploy_setup",
            "runtime_env.wrong_type",
        ),
        (
            "evaluation:\n  run_cmd",
            "hints_run.json",
            r#"{"score": "x"}"#,
            "evaluation",
            "hints_run.wrong_type",
        ),
    ] {
        let contract = format!("version: 1\n{section}: sh write.sh\n");
        let done = verify(&contract, &[("write.sh", &write(file, json))]).failed(stage, "verifier");
        assert!(done.shown.contains(finding), "{}", done.shown);
        let good = verify(&contract, &[("write.sh", &write(file, "{}"))]).passed();
        assert_eq!(good.text(file).trim(), "{}", "it is kept");
    }
}

#[test]
fn hints_are_proved_where_the_contract_asks_and_nowhere_else() {
    let contract = |env: &str| format!("version: 1\nevaluation:\n  run_cmd: sh eval.sh\n{env}");
    let readme = ("README.md", "Run it:\n```sh\npytest -q\n```\n");
    let proof = |json: &str| format!("mkdir -p .aider_fsm; echo '{json}' > .aider_fsm/hints_used.json");
    // A README that shows a command asks for nothing.
    verify(&contract(""), &[readme, ("eval.sh", "true\n")]).passed();
    let asks = contract("  env: {AIDER_FSM_REQUIRE_HINTS: '1', AIDER_FSM_HINT_ANCHORS_JSON: '[\"pytest\"]'}\n");
    for (script, finding) in [
        ("true".to_owned(), "missing_hints_used_json"),
        (
            proof(r#"{"ok": false, "used_anchors": ["pytest"], "commands": ["pytest"]}"#),
            "hints_used.ok_not_true",
        ),
        (
            proof(r#"{"ok": true, "used_anchors": ["make"], "commands": ["make"]}"#),
            "hints_used.no_expected_anchor",
        ),
        (
            proof(r#"{"ok": true, "used_anchors": ["pytest"]}"#),
            "hints_used.commands_invalid",
        ),
    ] {
        let done = verify(&asks, &[readme, ("eval.sh", &script)]).failed("evaluation", "verifier");
        assert!(done.shown.contains("hints_requirement_failed"), "{}", done.shown);
        assert!(done.text("hints_requirement_error.txt").contains(finding), "{finding}");
    }
    let good = proof(r#"{"ok": true, "used_anchors": ["pytest"], "commands": ["pytest -q"]}"#);
    verify(&asks, &[readme, ("eval.sh", &good)]).passed();
}

#[test]
fn a_workdir_that_is_not_there_or_leads_out_fails_its_stage() {
    for (make, workdir, why) in [
        ("true", "gone", "is no directory"),
        ("ln -s /usr/bin out", "out", "leads out of the repository"),
        ("echo x > file", "file", "is no directory"),
    ] {
        let contract = format!("version: 1\nauth:\n  cmd: '{make}'\ntests:\n  cmd: 'true'\n  workdir: {workdir}\n");
        let done = verify(&contract, &[]).failed("tests", "verifier");
        assert_eq!(done.record()["test_rc"], 2);
        assert!(done.text("tests_workdir_error_stderr.txt").contains(why), "{why}");
    }
    // A link that stays inside is a directory like others.
    let contract = "version: 1\nauth:\n  cmd: mkdir real; ln -s real link\ntests:\n  cmd: 'true'\n  workdir: link\n";
    verify(contract, &[]).passed();
    // A teardown without its directory is a warning.
    let contract = "version: 1\ndeploy:\n  setup_cmd: rm -r ../dir\n  teardown_cmd: 'true'\n  workdir: sub/dir\ntests:\n  cmd: 'true'\n";
    let done = verify(contract, &[("sub/dir/x", "")]).passed();
    assert!(done.text("deploy_teardown_warning.txt").contains("is no directory"));
}

#[test]
fn a_clusters_state_is_kept_and_decides_nothing() {
    let kubectl = "#!/bin/sh\necho \"kubectl $*\"\ntest \"$2\" != nodes\n";
    let contract = "version: 1\ndeploy:\n  setup_cmd: 'true'\n  env: {PATH: '/workspace/bin:/usr/bin:/bin'}\n  kubectl_dump:\n    enabled: true\n    namespace: 'my; touch hacked'\n    label_selector: app=x\n    include_logs: true\n";
    let done = verify(contract, &[("bin/kubectl", kubectl)]).passed();
    assert_eq!(done.text("kubectl/pods_stdout.txt"), "kubectl get pods -A -o wide\n");
    assert_eq!(json_file(&done.path("kubectl/nodes_result.json"))["rc"], 1);
    let logs = done.text("kubectl/logs_stdout.txt");
    assert_eq!(
        logs,
        "kubectl logs -l app=x -n my; touch hacked --all-containers --timestamps --tail=2000\n"
    );
    let off = verify(
        &contract.replace("enabled: true", "enabled: false"),
        &[("bin/kubectl", kubectl)],
    )
    .passed();
    assert!(!off.path("kubectl").exists());
}

#[test]
fn a_contract_is_found_demanded_and_refused_with_its_place() {
    let bench = repository(
        "version: 1\ntests:\n  cmd: touch ran\nevalution:\n  run_cmd: 'true'\n",
        &[],
    );
    let command = bench.command(&["verify"], "repo");
    let done = end(bench, command);
    assert_eq!(done.code, Some(2));
    assert!(
        done.shown
            .contains("pipeline.yml:4:1: unknown key `evalution`, did you mean `evaluation`"),
        "{}",
        done.shown
    );
    let done = verify("version: 2\ntests:\n  cmd: 'true'\n", &[]);
    assert_eq!(done.code, Some(2));
    assert!(
        done.shown
            .contains("pipeline.yml:1:10: `version` must be the integer 1"),
        "{}",
        done.shown
    );

    let bench = Bench::new();
    bench.file("x", "x\n");
    let command = bench.command(&["verify", "--require-pipeline"], "repo");
    let done = end(bench, command);
    assert_eq!(done.code, Some(2));
    assert!(done.shown.contains("pipeline_spec.md"), "{}", done.shown);
    // The user's own acceptance command wins over the contract's.
    let bench = repository("version: 1\ntests:\n  cmd: exit 1\n", &[]);
    let command = bench.command(&["verify", "--test-cmd", "echo mine"], "repo");
    let done = end(bench, command).passed();
    assert_eq!(done.text("tests_stdout.txt"), "mine\n");
}

#[test]
fn a_service_can_be_stopped_by_every_later_stage_and_its_output_is_kept() {
    let contract = "version: 1\ndeploy:\n  setup_cmd: 'sh -c \"while :; do echo beat; sleep 0.05; done\" & echo $! > pid'\n  health_cmd: kill -0 $(cat pid)\nrollout:\n  run_cmd: kill $(cat pid); while kill -0 $(cat pid) 2>/dev/null; do :; done\n";
    let done = verify(contract, &[]).passed();
    assert!(done.text("deploy_setup_stdout.txt").contains("beat"));
    // The tests, which run before anything is deployed, reach nobody: not their supervisor either.
    let contract = "version: 1\ntests:\n  cmd: kill -9 $PPID 2>/dev/null && echo killed; echo alive\n";
    assert_eq!(verify(contract, &[]).passed().text("tests_stdout.txt"), "alive\n");
    // A later stage can, and has then failed; the sandbox is not blamed.
    let contract = "version: 1\ndeploy:\n  setup_cmd: 'true'\nrollout:\n  run_cmd: kill -9 $PPID; sleep 1000\n";
    let done = verify(contract, &[]).failed("rollout", "verifier");
    assert_eq!(done.record()["sandbox_failures"], json!([]));
}

/// Runs a verification and kills its sandbox while its stage runs, so many times.
fn with_a_sandbox_that_dies(times: usize) -> (Bench, Option<i32>) {
    let bench = repository(
        "version: 1\ntests:\n  cmd: echo begun; exec sleep 2\n  retries: 3\n",
        &[],
    );
    let mut command = bench.command(&["verify", "--json"], "repo");
    let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("starts");
    let sleeps = |pid| process_status(pid, "Name:").is_some_and(|name| name == "sleep");
    let mut killed = 0;
    let code = loop {
        if let Some(status) = child.try_wait().expect("wait") {
            break status.code();
        }
        if killed < times
            && let Some(init) = init_with(child.id(), &sleeps)
        {
            killed += 1;
            kill(init, Signal::SIGKILL).expect("kill");
            // Its processes are gone with it; another sandbox has another PID 1.
            while init_with(child.id(), &sleeps) == Some(init) {}
        }
    };
    assert_eq!(killed, times);
    (bench, code)
}

#[test]
fn a_sandbox_that_fails_is_replaced_twice_and_then_named() {
    let (bench, code) = with_a_sandbox_that_dies(1);
    let run = bench.the_run();
    let record = json_file(&run.join("verify/summary.json"));
    assert_eq!(
        (code, &record["ok"], &record["blame"]),
        (Some(0), &json!(true), &Value::Null),
        "{record}"
    );
    let failures = record["sandbox_failures"].as_array().expect("a list");
    assert_eq!(failures.len(), 1, "{record}");
    // It began anew: no try of the stage was used up, and what the first left is kept.
    assert_eq!(record["stages"][0]["total_results"], 1);
    let first = run.join(failures[0]["artifacts"].as_str().expect("a place"));
    assert_eq!(
        fs::read_to_string(first.join("tests_cmd01_try01_stdout.txt")).expect("text"),
        "begun\n"
    );

    let (bench, code) = with_a_sandbox_that_dies(3);
    let summary = bench.summary();
    assert_eq!(
        (code, &summary["exit_reason"]),
        (Some(7), &json!("SANDBOX_ERROR")),
        "{summary}"
    );
    assert_eq!(summary["blame"], "sandbox");
    let place = summary["evidence"].as_str().expect("a place");
    assert!(bench.the_run().join(place).exists(), "{place}");
}

#[test]
fn every_test_that_the_compatibility_page_names_is_there() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/compatibility.md")).expect("the page");
    let mut sources = String::new();
    let mut left = vec![root.join("src"), root.join("tests")];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).expect("ls").flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &fs::read_to_string(path).expect("text");
            }
        }
    }
    let quoted: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let names = |word: &&&str| {
        let name = word.trim_end_matches('…');
        name.matches('_').count() >= 3 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let named: Vec<_> = quoted.iter().filter(names).collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        let whole = if name.ends_with('…') { "" } else { "(" };
        let name = name.trim_end_matches('…');
        assert!(
            sources.contains(&format!("fn {name}{whole}")),
            "no test is called {name}"
        );
    }
    for file in quoted.iter().filter(|word| word.ends_with(".rs")) {
        assert!(root.join(file).is_file(), "{file} is not there");
    }
}
