//! The command line: settings and where they come from, grants, and what is refused.

#[path = "support/program.rs"]
mod program;

use std::{fs, process::Command};

use program::{Bench, expect, holding, json_file};
use serde_json::Value;

/// The program in the directory `cwd` of a bench, with nothing of the host's around it.
fn at(bench: &Bench, cwd: &str, arguments: &[&str], target: &str) -> Command {
    let mut command = bench.command(arguments, target);
    for name in ["OPENAI_MODEL", "LITELLM_CHAT_MODEL", "OPENCODE_BIN", "HF_TOKEN"] {
        command.env_remove(name);
    }
    fs::create_dir_all(bench.path(cwd)).expect("mkdir");
    command
        .current_dir(bench.path(cwd))
        .env("XDG_CONFIG_HOME", bench.path("config"))
        .env("XDG_CACHE_HOME", bench.path("cache"))
        .env("XDG_STATE_HOME", bench.path("state"));
    command
}

fn write(bench: &Bench, name: &str, text: &str) {
    let path = bench.path(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(path, text).expect("write");
}

/// The settings of `--print-config --json`: name to value and origin.
fn settings(command: Command) -> Value {
    let output = expect(command, 0);
    let text = String::from_utf8(output.stdout).expect("text");
    let last = text.lines().last().expect("a line");
    serde_json::from_str::<Value>(last).expect("json")["settings"].take()
}

/// `run --print-config` and more.
fn show_whole<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["run", "--json", "--print-config", "--base-url", "http://u:pw@h/v1"];
    [&fixed[..], more].concat()
}

fn stderr_of(command: Command, code: i32) -> String {
    String::from_utf8_lossy(&expect(command, code).stderr).into_owned()
}

#[test]
fn every_setting_is_shown_with_its_origin_and_no_secret() {
    let bench = Bench::new();
    write(
        &bench,
        "config/opencode-fsm/config.yml",
        "memory: 2G\nmax_iters: 9\nmodel: conf/m\n",
    );
    write(
        &bench,
        "cwd/.env",
        "OPENAI_API_KEY=sk-from-the-file\nOPENAI_MODEL=file/m # cheap\nOTHER=not-for-stages\n",
    );
    let mut command = at(
        &bench,
        "cwd",
        &show_whole(&["--env", "TOKEN=granted-1234", "--goal", "say granted-1234"]),
        "repo",
    );
    command.env("OPENAI_BASE_URL", "http://elsewhere/v1");
    let shown = settings(command);
    let is = |name: &str, value: &str, origin: &str| {
        assert_eq!(
            (&shown[name]["value"], shown[name]["origin"].as_str().expect(name)),
            (&value.into(), origin),
            "{name}"
        );
    };
    let config = bench.path("config/opencode-fsm/config.yml").display().to_string();
    is("memory", "2G", &format!("config {config}:1"));
    is("max-iters", "9", &format!("config {config}:2"));
    is("model", "file/m", "env OPENAI_MODEL (.env)");
    is("base-url", "http://***@h/v1", "flag");
    is("api-key", "***", "env OPENAI_API_KEY (.env)");
    is("env TOKEN", "***", "flag");
    is("goal", "say [redacted]", "flag");
    is("disk", "4G", "default");
    is("max-run", "86400", "default");
    is("env-file", ".env", "default");
    let whole = shown.to_string();
    for secret in ["sk-from-the-file", "granted-1234", "u:pw", "not-for-stages"] {
        assert!(!whole.contains(secret), "{secret}: {whole}");
    }
    assert!(
        shown.get("env OTHER").is_none(),
        "a file that nobody named grants nothing"
    );
    // The environment comes before the file, the flag before both; the file with --env-override.
    let model = |more: &[&str], variable: &str| {
        let mut command = at(&bench, "cwd", &show_whole(more), "repo");
        command.env("OPENAI_MODEL", variable);
        settings(command)["model"].clone()
    };
    assert_eq!(model(&[], "env/m")["origin"], "env OPENAI_MODEL");
    assert_eq!(model(&["--env-override"], "env/m")["value"], "file/m");
    assert_eq!(model(&["--model", "flag/m"], "env/m")["origin"], "flag");
    let without = settings(at(&bench, "cwd", &show_whole(&["--env-file", ""]), "repo"));
    assert_eq!(
        (&without["model"]["value"], &without["api-key"]["value"]),
        (&"conf/m".into(), &Value::Null)
    );
    // For a person: a table; and nothing was run.
    let output = expect(at(&bench, "cwd", &["verify", "--print-config"], "repo"), 0);
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(
        table
            .lines()
            .any(|line| line.starts_with("memory ") && line.ends_with("config.yml:1")),
        "{table}"
    );
    assert!(!bench.path("runs").exists() && !bench.path("cache").exists());
}

#[test]
fn a_dotenv_file_of_the_target_configures_nothing_until_it_is_named() {
    let bench = Bench::new();
    bench.file(".env", "OPENAI_BASE_URL=http://thief/v1\nWANTED=granted-value\n");
    let show = |more: &[&str]| {
        at(
            &bench,
            "repo",
            &[&["run", "--json", "--print-config", "--model", "a/b"], more].concat(),
            "repo",
        )
    };
    let quiet = settings(show(&[]));
    assert_eq!(quiet["base-url"]["value"], Value::Null);
    let warned = expect(show(&[]), 0);
    assert!(String::from_utf8_lossy(&warned.stdout).contains("belongs to the target"));
    let named = settings(show(&["--env-file", ".env"]));
    assert_eq!(named["base-url"]["origin"], "env OPENAI_BASE_URL (.env)");
    assert_eq!(named["env WANTED"]["origin"], "env WANTED (.env)");
    // Caps are the user's, whoever names the file.
    let caps = "AIDER_FSM_MAX_CMD_SECONDS=9000\n";
    bench.file(".env", caps);
    let capped = expect(show(&["--env-file", ".env"]), 0);
    assert!(String::from_utf8_lossy(&capped.stdout).contains("no effect in a file of the target"));
    assert_eq!(settings(show(&["--env-file", ".env"]))["max-cmd"]["value"], Value::Null);
    write(&bench, "mine.env", caps);
    assert_eq!(
        settings(show(&["--env-file", "../mine.env"]))["max-cmd"]["value"],
        "9000"
    );
    // The control: elsewhere, a file by that name is the user's.
    write(&bench, "cwd/.env", "OPENAI_BASE_URL=http://mine/v1\n");
    let mine = settings(at(
        &bench,
        "cwd",
        &["run", "--json", "--print-config", "--model", "a/b"],
        "repo",
    ));
    assert_eq!(mine["base-url"]["value"], "http://mine/v1");
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line() {
    let bench = Bench::new();
    bench.file("pipeline.yml", "version: 1\ntests: {cmd: \"true\"}\n");
    write(&bench, "cwd/bad.env", "A=1\nB=\0secret\n");
    for (flags, says) in [
        (
            &["verify", "--env", "=secret-value"][..],
            "--env, number 1: expected NAME=VALUE",
        ),
        (
            &["verify", "--env", "A=1", "--env", "secret-value"],
            "--env, number 2: expected NAME=VALUE",
        ),
        (&["verify", "--env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE is not set"),
        (&["verify", "--env", "AIDER_FSM_STAGE=x"], "set by the runner"),
        (&["verify", "--env-file", "missing.env"], "--env-file missing.env: "),
        (&["verify", "--env-file", "bad.env"], "bad.env:2:1: holds a NUL"),
        (&["run", "--ensure-tools"], "--ensure-tools"),
        (
            &["run", "--clone-dir", "d", "--model", "a/b"],
            "--clone-dir is not taken",
        ),
        (&["verify", "--clone-dir", "d"], "in the cache"),
        (&["run", "--kind-config", "k.yml"], "bootstrap.yml"),
        (
            &["run", "--preflight-only", "--scaffold-contract", "opencode"],
            "--preflight-only",
        ),
        (&["run"], "AIDER_FSM_MODEL"),
        (&["run", "--model", "other/x"], "--base-url"),
    ] {
        let text = stderr_of(at(&bench, "cwd", flags, "repo"), 2);
        assert!(text.contains(says) && text.lines().count() == 1, "{flags:?}: {text}");
        assert!(!text.contains("secret-value"), "{text}");
    }
    // Grammar errors are JSON lines, too, where JSON was asked for.
    let output = expect(at(&bench, "cwd", &["run", "--json", "--max-iters", "none"], "repo"), 2);
    let line: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!((&line["event"], &line["exit"]), (&"error".into(), &2.into()));
    assert!(!bench.path("runs").exists(), "nothing was begun");
}

#[test]
fn a_preflight_verifies_once_without_agent_or_model() {
    let bench = Bench::new();
    bench.file(
        "pipeline.yml",
        "version: 1\ntests:\n  cmd: test ! -f broken && test ! -d /opt/opencode\n",
    );
    let preflight = |more: &[&str]| {
        at(
            &bench,
            "cwd",
            &[&["run", "--json", "--preflight-only"], more].concat(),
            "repo",
        )
    };
    let mut command = preflight(&[]);
    command.env("OPENCODE_BIN", "/nonexistent").env("PATH", "/nonexistent");
    expect(command, 0);
    let run = bench.the_run();
    assert_eq!(json_file(&run.join("preflight/summary.json"))["ok"], true);
    assert!(run.join("preflight/tests_cmd01_try01_result.json").is_file());
    assert!(!run.join("turns").exists() && !run.join("agent").exists());
    fs::remove_dir_all(bench.path("runs")).expect("remove");
    bench.file("broken", "");
    expect(preflight(&[]), 3);
    assert_eq!(bench.summary()["exit_reason"], "VERIFICATION_FAILED");
}

#[test]
fn granted_values_are_in_no_file_of_the_run() {
    let bench = Bench::new();
    bench.file(
        "pipeline.yml",
        "version: 1\ntests:\n  cmd: cat leak; echo granted-by-flag; false\n",
    );
    bench.file(
        "leak",
        "the value is granted-by-flag and from-my-environment and granted-by-file\n",
    );
    write(&bench, "cwd/mine.env", "FILED=granted-by-file\n");
    let mut command = at(
        &bench,
        "cwd",
        &[
            "verify",
            "--json",
            "--env",
            "FLAGGED=granted-by-flag",
            "--env",
            "NAMED",
            "--env",
            "BRIEF=abc",
            "--env-file",
            "mine.env",
        ],
        "repo",
    );
    command.env("NAMED", "from-my-environment");
    let output = expect(command, 3);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains("echo [redacted]; false") && !shown.contains("granted-by-flag"),
        "{shown}"
    );
    assert!(
        shown.contains("the value of BRIEF is too short to be redacted"),
        "{shown}"
    );
    let run = bench.the_run();
    for secret in ["granted-by-flag", "from-my-environment", "granted-by-file"] {
        assert_eq!(holding(&run, secret), Vec::<std::path::PathBuf>::new(), "{secret}");
    }
    assert!(
        !holding(&run, "the value is [redacted]").is_empty(),
        "the control: the line is there"
    );
}

#[test]
fn init_writes_a_contract_that_passes_and_never_overwrites_one() {
    let bench = Bench::new();
    let init = |more: &[&str]| {
        let mut command = Command::new(program::PROGRAM);
        command.arg("init").args(more).arg(bench.path("repo"));
        command
    };
    let text = stderr_of(init(&[]), 2);
    assert!(text.contains("give the command with --test-cmd"), "{text}");
    assert!(!bench.path("repo/pipeline.yml").exists());
    bench
        .file("tests/run.sh", "test -f hello\n")
        .file("hello", "")
        .file("Cargo.toml", "[package]\n");
    let said = String::from_utf8(expect(init(&[]), 0).stdout).expect("text");
    assert!(said.contains("sh tests/run.sh"), "{said}");
    let written = fs::read_to_string(bench.path("repo/pipeline.yml")).expect("written");
    assert!(written.contains("# - \"cargo test\"  # Cargo.toml"), "{written}");
    expect(at(&bench, "cwd", &["verify"], "repo"), 0);
    let text = stderr_of(init(&["--test-cmd", "false"]), 2);
    assert!(
        text.contains("is there already; nothing was written") && text.lines().count() == 1,
        "{text}"
    );
    assert_eq!(
        fs::read_to_string(bench.path("repo/pipeline.yml")).expect("kept"),
        written
    );
    let json = expect(init(&["--json", "--pipeline", "ci.yml", "--test-cmd", "true"]), 0).stdout;
    let json: Value = serde_json::from_slice(&json).expect("json");
    assert_eq!(json["commands"], serde_json::json!(["true"]));
    expect(at(&bench, "cwd", &["verify", "--pipeline", "ci.yml"], "repo"), 0);
}

/// What a stage printed until then was written as it came.
#[test]
fn an_interrupted_verification_leaves_no_granted_value_either() {
    let bench = Bench::new();
    bench.file(
        "pipeline.yml",
        "version: 1\ntests:\n  cmd: echo \"have $TOKEN\"; exec sleep 60\n",
    );
    let mut command = at(&bench, "cwd", &["verify", "--env", "TOKEN=granted-by-flag"], "repo");
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("starts");
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(30);
    // The control: it is there while the stage runs.
    let printed = || {
        let run = fs::read_dir(bench.path("runs")).ok()?.next()?.ok()?;
        fs::read_to_string(run.path().join("verify/tests_cmd01_try01_stdout.txt")).ok()
    };
    while !printed().unwrap_or_default().contains("have granted-by-flag") {
        assert!(std::time::Instant::now() < give_up, "the stage never printed it");
        std::thread::yield_now();
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("kill");
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    assert_eq!(
        holding(&bench.path("runs"), "granted-by-flag"),
        Vec::<std::path::PathBuf>::new()
    );
    assert!(!holding(&bench.path("runs"), "have [redacted]").is_empty());
}

/// The agent finds the value in the tree, shows it and moves it about: what is recorded
/// of that does not have it, and what it made of the tree is left as it is.
#[test]
fn a_granted_value_that_the_agent_finds_is_in_no_record_of_its_work() {
    if !program::opencode() {
        return;
    }
    let mut bench = Bench::new();
    bench
        .file(
            "pipeline.yml",
            "version: 1\ntests:\n  cmd: grep -c granted-by-flag copy; cat copy\n",
        )
        .file("note", "the value is granted-by-flag\n")
        .file(
            "PLAN.md",
            "## Next (exactly ONE item)\n- [ ] (STEP_ID=001) copy it\n## Backlog\n## Done\n## Notes\n-\n",
        );
    bench.shell("plan_update_attempt_1", 1, "cp note stolen; cat note");
    bench.say("plan_update_attempt_2", 1, 1, &[]);
    bench.shell(
        "execute_step",
        1,
        "cp note copy; cat note; env | grep TOKEN && cp note has-token",
    );
    bench.say("plan_update_attempt_1", 2, 1, &[]);
    let output = expect(bench.run(&["-v", "--env", "TOKEN=granted-by-flag"]), 0);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(!shown.contains("granted-by-flag"), "{shown}");
    assert!(
        shown.contains("changes.patch has [redacted] in place of a secret"),
        "{shown}"
    );
    let run = bench.the_run();
    // The bytes of what was accepted are kept as they are: the copy of the note, in the
    // files that were brought out and in the states of the steps.
    let mut kept = holding(&run, "granted-by-flag");
    kept.retain(|path| !path.starts_with(run.join("objects")));
    assert_eq!(kept, [run.join("files/copy")]);
    for kept in ["changes.patch", "guard/0001-plan_update_attempt_1.patch"] {
        let text = fs::read_to_string(run.join(kept)).expect(kept);
        assert!(text.contains("+the value is [redacted]"), "{text}");
    }
    assert!(!run.join("files/has-token").exists(), "the agent has no grant");
}
