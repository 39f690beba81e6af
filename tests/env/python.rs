//! The wheel in a fresh virtual environment, driven by the scripts that a training program
//! would be.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    endpoint::{Answer, Endpoint},
    program::{Bench, PROGRAM, expect, holding, json_file},
    target::{KEY, alive, completion, scratch, until, with_model},
};

/// A virtual environment with the wheel, built once for all tests of this process by the
/// way that `pip install .` goes. Where it must be (CI), its absence is a failure.
fn python() -> Option<PathBuf> {
    static VENV: OnceLock<Option<PathBuf>> = OnceLock::new();
    VENV.get_or_init(|| match install() {
        Ok(python) => Some(python),
        Err(why) if std::env::var_os("CI").is_some() => panic!("{why}"),
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            None
        }
    })
    .clone()
}

fn install() -> Result<PathBuf, String> {
    let run = |command: &mut Command| {
        let done = command.stdin(Stdio::null()).output().map_err(|why| why.to_string())?;
        let said = [done.stdout, done.stderr].concat();
        match done.status.success() {
            true => Ok(()),
            false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&said))),
        }
    };
    // <target>/<triple>/<profile>/opencode-fsm: cargo finds there what it has built already.
    let profile = Path::new(PROGRAM).parent().expect("a directory");
    let target = profile.ancestors().nth(2).expect("a directory");
    let name = profile.file_name().expect("a name").to_string_lossy().into_owned();
    let name = if name == "debug" { "dev" } else { &name };
    let venv = target.join("tests-venv");
    let _ = fs::remove_dir_all(&venv);
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let python = venv.join("bin/python");
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--no-cache-dir", "."])
        .env("CARGO_TARGET_DIR", target)
        .env("MATURIN_PEP517_ARGS", format!("--profile {name}"))
        .current_dir(env!("CARGO_MANIFEST_DIR")))?;
    Ok(python)
}

/// A Python program with the wheel, in an empty current directory.
fn script(python: &Path, bench: &Bench, text: &str) -> Command {
    let cwd = bench.path("cwd");
    fs::create_dir_all(&cwd).expect("mkdir");
    fs::write(bench.path("script.py"), text).expect("write");
    let mut command = Command::new(python);
    command
        .arg("-I")
        .arg(bench.path("script.py"))
        .current_dir(cwd)
        .env("XDG_STATE_HOME", bench.path("state"))
        .env("XDG_CACHE_HOME", bench.cache())
        .env("XDG_CONFIG_HOME", bench.path("config"))
        .env("OPENCODE_FSM_JOBS", "0")
        .stdin(Stdio::null());
    for name in [
        "OPENCODE_FSM_BIN",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_API_BASE",
    ] {
        command.env_remove(name);
    }
    if std::env::var_os("OPENCODE_FSM_SANDBOX").is_none() {
        command.env("OPENCODE_FSM_SANDBOX", "jail");
    }
    command
}

/// The predecessor's snippet: setup, rollout and evaluation, metrics, artifacts, teardown.
const SNIPPET: &str = r#"
import json, pathlib
import env

session = env.setup("../repo", strict_opencode=True, opencode_model="x/y", artifacts_dir="../runs")
assert session is env.current_session() and env.EnvSession is type(session)
assert session.env.repo.name == "repo" and session.env.pipeline_path.name == "pipeline.yml"
rollout, evaluation = env.rollout_and_evaluation(
    "org/model-7", session=session, mode="smoke", require_samples=True,
    env_overrides={"SAMPLES": 4, "AIDER_EVAL_LIMIT": 20}, artifacts_dir="../mine", repair_iters=0)
assert rollout.ok and evaluation.ok, (rollout, evaluation)
assert evaluation.metrics["score"] == 1.0, evaluation.metrics
assert evaluation.artifacts_dir == rollout.artifacts_dir == pathlib.Path("../mine/rollout_evaluation_attempt_01").resolve()
assert json.loads(evaluation.metrics_path.read_text()) == evaluation.metrics
samples = json.loads(rollout.rollout_path.read_text())["paths"]["samples_jsonl"]
rewards = [json.loads(line)["reward"] for line in open(samples)]
assert rewards == [1.0] * 4, rewards
verify = evaluation.verify
assert verify.ok and verify.failed_stage is None and verify.metrics_errors is None and verify.tests is None
command = verify.rollout.results[0]
assert (command.cmd, command.rc, command.timed_out) == ("python3 rollout.py", 0, False)
assert "AIDER_EVAL_LIMIT" in command.stdout and command.stderr == ""
assert verify.model["calls"] == 4 and verify.model["failed"] == 0, verify.model
assert (session.llm_kind, session.llm_model, session.trained_model_dir) == ("remote", "org/model-7", None)
assert session.runtime_env_path.name == "runtime_env.json"

again = env.evaluation()
assert again.ok and again.verify.deploy_setup is None, again.verify
deployed = env.deploy("org/model-7")
assert deployed.ok and deployed.runtime_env == {} and deployed.verify.rollout is None
rolled = env.rollout()
assert rolled.ok and rolled.verify.deploy_setup.ok
assert env.teardown() is True and session.runtime_env_path is None
assert env.current_session() is session

for wrong, kind, code in [
    (lambda: env.rollout("/no/such"), env.LlmError, "llm_path_not_found"),
    (lambda: env.rollout(pathlib.Path("no-such")), ValueError, "llm_path_not_found"),
    (lambda: env.deploy(" "), env.LlmError, "empty_llm"),
    (lambda: env.rollout(env_overrides={"AIDER_FSM_STAGE": "x"}), env.UsageError, "invalid_env"),
    (lambda: env.setup(".", artifacts_dir="../runs2"), env.ContractError, "contract_missing"),
    (lambda: env.setup("../nowhere"), env.UsageError, "usage"),
]:
    try:
        wrong()
    except kind as why:
        assert isinstance(why, env.EnvError) and why.code == code and str(why).startswith(code), repr(why)
    else:
        raise AssertionError(code)
assert env.current_session() is session, "what failed to be set up is no session"
with env.setup("../repo", artifacts_dir="../runs2", require_metrics=False) as other:
    assert other.run_id != session.run_id
try:
    other.evaluation()
except env.EnvNotSetupError as why:
    assert why.code == "env_not_setup"
else:
    raise AssertionError("it is closed")

import opencode_fsm, opencode_fsm.env
assert opencode_fsm.env.setup is env.setup and pathlib.Path(env.__file__).with_name("py.typed").is_file()
print("done")
"#;

#[test]
fn the_predecessors_snippet_works_with_the_installed_wheel() {
    let Some(python) = python() else { return };
    let endpoint = Endpoint::start(Box::new(|_, _| {
        Answer::Raw(200, "application/json", completion("four"))
    }));
    let bench = with_model();
    let mut command = script(&python, &bench, SNIPPET);
    command
        .env("OPENAI_BASE_URL", &endpoint.base_url)
        .env("OPENAI_API_KEY", KEY);
    let output = expect(command, 0);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n");
    for (head, _) in endpoint.requests.lock().expect("lock").iter() {
        assert!(head.to_ascii_lowercase().contains(&format!("bearer {KEY}")), "{head}");
    }
    for dir in ["runs", "mine"] {
        assert_eq!(holding(&bench.path(dir), KEY), Vec::<PathBuf>::new(), "{dir}");
    }
    // The interpreter's end has closed the session.
    let run = bench.the_run();
    assert_eq!(json_file(&run.join("summary.json"))["exit_reason"], "PEER_GONE");
    let id = run.file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(alive(&id), 0);
    assert_eq!(scratch(&bench.path("cache")), Vec::<PathBuf>::new());
}

#[test]
fn a_model_of_this_host_and_the_session_of_a_parent() {
    let Some(python) = python() else { return };
    let bench = Bench::new();
    bench.file(
        "pipeline.yml",
        "rollout:\n  run_cmd: cat \"$AIDER_TRAINED_MODEL_DIR/config.json\" && echo $AIDER_LLM_KIND\n\
         evaluation:\n  run_cmd: mkdir -p .aider_fsm; cp \"$AIDER_TRAINED_MODEL_DIR/config.json\" .aider_fsm/metrics.json\n  metrics_path: .aider_fsm/metrics.json\n",
    );
    let model = bench.path("model");
    fs::create_dir(&model).expect("mkdir");
    fs::write(model.join("config.json"), "{\"ok\": true}").expect("write");
    fs::set_permissions(&model, fs::Permissions::from_mode(0o755)).expect("chmod");
    let text = r#"
import os, pathlib
import env

session = env.setup("../repo", artifacts_dir="../runs", audit="off")
for llm in ["../model", pathlib.Path("../model"), str(pathlib.Path("../model").resolve())]:
    rollout, evaluation = session.rollout_and_evaluation(llm)
    assert rollout.ok and evaluation.ok, (rollout, evaluation)
    assert rollout.rollout_path is None and rollout.verify.rollout.results[0].stdout == '{"ok": true}local_hf\n'
assert session.llm_kind == "local_hf" and session.trained_model_dir.name == "model"
child = os.fork()
if child == 0:
    try:
        session.evaluation()
    except env.ServerError as why:
        # As an interpreter ends that has nothing to say about its parent's session.
        import sys
        sys.exit(3 if why.code == "server_of_parent" else 4)
    sys.exit(5)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
assert session.evaluation().ok, "the child's end has left it alone"
"#;
    expect(script(&python, &bench, text), 0);
}

#[test]
fn nothing_is_left_of_a_python_that_is_killed() {
    let Some(python) = python() else { return };
    let bench = with_model();
    // A child holds the pipes open beyond its parent's death.
    let text = r#"
import os, time
import env
session = env.setup("../repo", artifacts_dir="../runs")
env.deploy("m")
if os.fork() == 0:
    time.sleep(60)
    os._exit(0)
print(session.run_id, flush=True)
time.sleep(1000)
"#;
    let mut child = script(&python, &bench, text)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut said = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut run = String::new();
    std::io::BufRead::read_line(&mut said, &mut run).expect("read");
    let run = run.trim();
    assert!(alive(run) > 0, "the control: the service runs");
    kill(
        Pid::from_raw(i32::try_from(child.id()).expect("a pid")),
        Signal::SIGKILL,
    )
    .expect("kill");
    child.wait().expect("ends");
    until("the end of the service", || alive(run) == 0);
    until("the session's end", || bench.the_run().join("summary.json").is_file());
    until("the end of its scratch", || scratch(&bench.path("cache")).is_empty());
    assert_eq!(bench.summary()["exit_reason"], "PEER_GONE");
}

#[test]
fn the_examples_in_python_run() {
    let Some(python) = python() else { return };
    let endpoint = Endpoint::start(Box::new(|_, _| {
        Answer::Raw(200, "application/json", completion("four"))
    }));
    let bench = with_model();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let run = |name: &str, arguments: &[&str], code: i32| {
        let text = fs::read_to_string(examples.join(name)).expect("the example");
        let mut command = script(&python, &bench, &text);
        command
            .args(arguments)
            .env("OPENAI_BASE_URL", &endpoint.base_url)
            .env("OPENAI_API_KEY", KEY);
        String::from_utf8(expect(command, code).stdout).expect("text")
    };
    let flags = [
        "--llm",
        "m",
        "--targets",
        "../repo",
        "--require-samples",
        "--artifacts-dir",
        "../suite",
    ];
    let document: serde_json::Value =
        serde_json::from_str(&run("verify_suite_single_file.py", &flags, 0)).expect("one document");
    let first = &document["results"][0];
    assert_eq!(
        (&document["ok"], &first["rollout_ok"]),
        (&true.into(), &true.into()),
        "{document}"
    );
    assert_eq!(first["metrics"]["score"], 1.0);
    let both = [&flags[..], &["--targets", "../nowhere"]].concat();
    let document: serde_json::Value =
        serde_json::from_str(&run("verify_suite_single_file.py", &both, 1)).expect("one document");
    assert_eq!(document["ok"], false);
    assert!(
        document["results"][1]["error"]
            .as_str()
            .expect("why")
            .starts_with("usage"),
        "{document}"
    );
    let said = run("train_loop.py", &["../repo", "--steps", "2", "--out", "../policy"], 0);
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.contains("step 2") && said.contains("mean reward"), "{said}");
}
