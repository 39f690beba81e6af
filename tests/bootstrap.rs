//! `bootstrap.yml`, performed by the built program in real jails.

#[path = "support/program.rs"]
mod program;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use program::{Bench, expect, fingerprint, holding, json_file, opencode, program};
use serde_json::Value;

/// A repository with a cache of its own, so that nothing was kept before.
struct Fresh(Bench);

impl Fresh {
    fn new() -> Self {
        let bench = Bench::new();
        // As root, the jail's user passes through to the cache.
        fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o711)).expect("chmod");
        Self(bench)
    }

    /// With a bootstrap, and a contract whose tests are one command.
    fn with(bootstrap: &str, tests: &str) -> Self {
        let fresh = Self::new();
        let tests = Value::from(tests);
        fresh
            .0
            .file(".aider_fsm/bootstrap.yml", bootstrap)
            .file("pipeline.yml", &format!("tests:\n  cmd: {tests}\n"));
        fresh
    }

    fn verification(&self, runs: &str, more: &[&str]) -> Command {
        let mut command = program();
        command
            .args(["verify", "--json", "--artifacts-dir"])
            .arg(self.0.path(runs))
            .args(more)
            .arg(self.0.path("repo"))
            .env("XDG_CACHE_HOME", self.0.path("cache"))
            .stdin(Stdio::null());
        command
    }

    /// One verification, and where its artifacts are.
    fn verify(&self, runs: &str, code: i32) -> PathBuf {
        expect(self.verification(runs, &[]), code);
        self.artifacts(runs)
    }

    fn artifacts(&self, runs: &str) -> PathBuf {
        let mut entries = fs::read_dir(self.0.path(runs)).expect("runs");
        entries.next().expect("a run").expect("entry").path().join("verify")
    }

    /// The layers that are kept.
    fn kept(&self) -> Vec<PathBuf> {
        let dir = self.0.path("cache/opencode-fsm/targets/layers");
        let entries = fs::read_dir(dir).expect("the cache has layers");
        entries.map(|entry| entry.expect("entry").path()).collect()
    }
}

fn ready(artifacts: &Path) -> bool {
    json_file(&artifacts.join("bootstrap_layer.json"))["ready"] == true
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Three wheels: archives of a module each, and of what says its name and version (PEP 427).
fn wheels(dir: &Path) {
    fs::create_dir_all(dir).expect("mkdir");
    let script = "import sys, zipfile\n\
        for name in ('alpha', 'beta', 'gamma'):\n\
        \x20   with zipfile.ZipFile(f'{sys.argv[1]}/{name}-1.0-py3-none-any.whl', 'w') as wheel:\n\
        \x20       wheel.writestr(f'{name}/__init__.py', f'NAME = {name!r}\\n')\n\
        \x20       wheel.writestr(f'{name}-1.0.dist-info/METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n')\n";
    let made = Command::new("/usr/bin/python3").args(["-c", script]).arg(dir).status();
    assert!(made.expect("python3").success());
}

/// A virtual environment with the three; its scripts and its configuration hold absolute paths.
const VENV: &str = "version: 1
env:
  VIRTUAL_ENV: ${AIDER_FSM_REPO_ROOT}/.venv
  PATH: $VIRTUAL_ENV/bin:${PATH}
cmds:
  - python3 -m venv --without-pip .venv
  - for wheel in wheels/*.whl; do python3 -m zipfile -e $wheel .venv/lib/python3.*/site-packages; done
  - python3 -m compileall -q .venv/lib/python3.*/site-packages
  - printf '#!/workspace/.venv/bin/python3\\nimport alpha, sys\\nprint(alpha.NAME, sys.prefix)\\n' > .venv/bin/alpha
  - chmod +x .venv/bin/alpha; touch $HOME/mark /tmp/mark
";

#[test]
fn the_first_verification_pays_and_the_next_ones_find_the_layer() {
    let fresh = Fresh::with(
        VENV,
        "set -e; test ! -e $HOME/mark; test ! -e /tmp/mark; alpha; python3 -c 'import alpha, beta, gamma; print(gamma.__file__)'",
    );
    wheels(&fresh.0.path("repo/wheels"));
    let before = fingerprint(&fresh.0.path("repo"));
    let first = fresh.verify("one", 0);
    assert!(!ready(&first));
    assert!(first.join("bootstrap_cmd05_try01_result.json").exists());
    let printed = text(first.join("tests_stdout.txt"));
    assert!(printed.starts_with("alpha /workspace/.venv\n"), "{printed}");
    let second = fresh.verify("two", 0);
    assert!(ready(&second));
    assert!(!second.join("bootstrap_cmd01_try01_result.json").exists());
    assert_eq!(text(second.join("tests_stdout.txt")), printed);
    assert!(printed.contains("/workspace/.venv/lib/python3."), "{printed}");
    assert_eq!(json_file(&second.join("summary.json"))["bootstrap_rc"], 0);
    assert_eq!(fingerprint(&fresh.0.path("repo")), before);
    assert_eq!(fresh.kept().len(), 1);

    // Whatever it may read is in the key.
    fresh.0.file("wheels/more", "x");
    assert!(!ready(&fresh.verify("three", 0)));
    expect(fresh.verification("four", &["--memory", "1000000000"]), 0);
    assert!(!ready(&fresh.artifacts("four")));
    assert_eq!(fresh.kept().len(), 3);
}

#[test]
fn a_layer_that_was_cut_short_is_made_again() {
    let fresh = Fresh::with(
        "cmds: [mkdir made, printf whole > made/file]\n",
        "test $(cat made/file) = whole",
    );
    assert!(!ready(&fresh.verify("one", 0)));
    assert!(ready(&fresh.verify("two", 0)));
    let layer = fresh.kept().pop().expect("a layer");
    fs::write(layer.join("tree/made/file"), "who").expect("write");
    assert!(!ready(&fresh.verify("three", 0)));
    // One that another process did not live to finish is not even seen.
    let half = fresh.0.path("cache/opencode-fsm/targets/tmp/half");
    fs::create_dir_all(half.join("tree/made")).expect("mkdir");
    let layer = fresh.kept().pop().expect("a layer");
    fs::remove_file(layer.join("manifest")).expect("rm");
    assert!(!ready(&fresh.verify("four", 0)));
    assert!(ready(&fresh.verify("five", 0)));
}

#[test]
fn two_at_once_make_it_once() {
    let fresh = Fresh::with("cmds: [sleep 1, touch made]\n", "test -f made");
    let started: Vec<_> = ["one", "two", "three"]
        .map(|runs| {
            let mut command = fresh.verification(runs, &[]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("starts")
        })
        .into_iter()
        .collect();
    for child in started {
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    let made = ["one", "two", "three"].map(|runs| ready(&fresh.artifacts(runs)));
    assert_eq!(made.iter().filter(|ready| !**ready).count(), 1, "{made:?}");
    assert_eq!(fresh.kept().len(), 1);
}

#[test]
fn what_a_bootstrap_may_not_write_is_not_kept_and_nothing_leaves_the_jail() {
    // Written so that no reading of the commands tells what they write: the guard has to.
    let fresh = Fresh::with(
        "cmds:
  - mkdir -p made .aider_fsm/stages .git/hooks .opencode/plugin && echo ours > made/file
  - ln -s /etc made/out && ln -s ../../../../etc/passwd made/up
  - mkfifo made/fifo; touch made/su; python3 -c \"import os; os.chmod('made/su', 0o6755)\"; mknod made/device c 0 0 || mknod made/disk b 8 0 || true
  - python3 writes
  - cd $(ls -a | grep aider); rm bootstrap.yml; ln -s /etc/passwd bootstrap.yml; echo x > actions.yml
  - mkdir made/closed && touch made/closed/in && chmod 0 made/closed; setsid sh -c 'while :; do :; done' &
  - rm target && echo changed > changed
",
        "set -e; cat made/file; cat pipeline.yml; cat changed; ls -A made .git .opencode .aider_fsm . || true; test ! -e target; find . -perm /6000 -o -type p -o -type c -o -type b",
    );
    fresh.0.file("target", "x\n").file("changed", "as it was\n").file(
        "writes",
        "for name in ['pipeline.yml', 'PLAN.md', '.git/hooks/post-checkout', '.opencode/plugin/x.js']:
    open(name, 'w').write('broken')
",
    );
    let before = fingerprint(&fresh.0.path("repo"));
    let artifacts = fresh.verify("one", 0);
    assert_eq!(fingerprint(&fresh.0.path("repo")), before);
    let shown = text(artifacts.join("tests_stdout.txt"));
    let lines: Vec<&str> = shown.lines().collect();
    for there in ["ours", "changed", "tests:", "out", "up", "closed", "bootstrap.yml"] {
        assert!(lines.contains(&there), "{there}: {shown}");
    }
    for gone in [
        "fifo",
        "su",
        "device",
        "disk",
        "post-checkout",
        "plugin",
        "PLAN.md",
        "actions.yml",
        "target",
    ] {
        assert!(!lines.contains(&gone), "{gone}: {shown}");
    }
    let record = json_file(&artifacts.join("bootstrap_layer.json"));
    let left_out: Vec<&str> = record["left_out"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|at| at[0].as_str())
        .collect();
    for path in [
        "made/fifo",
        "made/su",
        "pipeline.yml",
        "PLAN.md",
        ".aider_fsm/bootstrap.yml",
        ".aider_fsm/actions.yml",
    ] {
        assert!(left_out.contains(&path), "{path}: {left_out:?}");
    }
    assert_eq!(record["of_the_target"], serde_json::json!(["changed", "target"]));
    let result = json_file(&artifacts.join("bootstrap_cmd06_try01_result.json"));
    assert!(result["leaked_total"].as_u64() > Some(0), "{result}");
    // No link of it was followed on the host.
    let layer = fresh.kept().pop().expect("a layer");
    assert!(
        fs::symlink_metadata(layer.join("tree/made/out"))
            .expect("stat")
            .is_symlink()
    );
    assert!(ready(&fresh.verify("two", 0)));
}

#[test]
fn a_bootstrap_that_fails_is_a_failed_stage_and_is_not_kept() {
    struct Case {
        bootstrap: &'static str,
        more: &'static [&'static str],
        rc: i32,
        blame: &'static str,
        cap: Option<&'static str>,
    }
    let case = |bootstrap, more, rc, blame, cap| Case {
        bootstrap,
        more,
        rc,
        blame,
        cap,
    };
    for Case {
        bootstrap,
        more,
        rc,
        blame,
        cap,
    } in [
        case(
            "cmds: [touch made, exit 7, touch never]\nretries: 1\n",
            &[],
            7,
            "verifier",
            None,
        ),
        case("cmds: [sudo true]\nretries: 2\n", &[], 126, "policy", None),
        case("cmds: [docker login registry]\n", &[], 126, "policy", None),
        case(
            "cmds: ['while :; do :; done']\ntimeout_seconds: 1\n",
            &[],
            124,
            "budget",
            Some("timeout_seconds"),
        ),
        case(
            "cmds: [head -c 1G /dev/zero > made]\n",
            &["--disk", "64000000"],
            137,
            "budget",
            Some("disk"),
        ),
        case("cmds: ['true']\nworkdir: nowhere\n", &[], 2, "verifier", None),
    ] {
        let fresh = Fresh::with(bootstrap, "touch ran; true");
        for runs in ["one", "two"] {
            expect(fresh.verification(runs, more), 3);
            let artifacts = fresh.artifacts(runs);
            let summary = json_file(&artifacts.join("summary.json"));
            assert_eq!(summary["failed_stage"], "bootstrap", "{bootstrap}");
            assert_eq!(
                (&summary["bootstrap_rc"], &summary["blame"]),
                (&rc.into(), &blame.into()),
                "{bootstrap}"
            );
            assert_eq!(summary["cap"].as_str(), cap, "{bootstrap}");
            assert_eq!(
                json_file(&artifacts.join("bootstrap_result.json"))["rc"],
                rc,
                "{bootstrap}"
            );
            assert!(!artifacts.join("tests_result.json").exists(), "{bootstrap}");
            assert!(!artifacts.join("bootstrap_layer.json").exists(), "{bootstrap}");
        }
        assert_eq!(fresh.kept().len(), 0, "{bootstrap}");
        let tries = fs::read_dir(fresh.artifacts("two"))
            .expect("ls")
            .flatten()
            .filter(|entry| {
                let name = entry.file_name().into_string().unwrap_or_default();
                name.contains("_try") && name.ends_with("_result.json")
            });
        let expected = if bootstrap.contains("exit 7") {
            3
        } else {
            usize::from(!bootstrap.contains("nowhere"))
        };
        assert_eq!(tries.count(), expected, "{bootstrap}");
    }
}

#[test]
fn a_bootstrap_that_cannot_be_read_is_an_error_with_its_place() {
    for (text, expected) in [
        (
            "version: 2\ncmds: [x]\n",
            ".aider_fsm/bootstrap.yml:1:10: `version` must be the integer 1",
        ),
        (
            "cmds: [x]\nretries: -1\n",
            ".aider_fsm/bootstrap.yml:2:10: `retries` must be",
        ),
        ("comands: [x]\n", ".aider_fsm/bootstrap.yml:1:1: unknown key `comands`"),
        (
            "env:\n  BIG: $PATH$PATH\n  AIDER_FSM_STAGE: x\n",
            ".aider_fsm/bootstrap.yml:3:3: ",
        ),
    ] {
        let fresh = Fresh::with(text, "true");
        let output = expect(fresh.verification("one", &[]), 2);
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let fresh = Fresh::with("", "true");
    let place = fresh.0.path("repo/.aider_fsm/bootstrap.yml");
    fs::remove_file(&place).expect("rm");
    std::os::unix::fs::symlink("../pipeline.yml", &place).expect("link");
    let output = expect(fresh.verification("one", &[]), 2);
    assert!(said(&output).contains("must be a regular file"), "{}", said(&output));
}

#[test]
fn its_variables_reach_it_and_the_stages_and_what_looks_like_a_secret_is_not_recorded() {
    let fresh = Fresh::with(
        "env:
  FOO: bar
  BAZ: ${FOO}-baz
  PRICE: $$5 and ${UNSET}none
  CALL: $(id) `id`
  DB_URL: postgres://me:in-the-address@127.0.0.1/db
  API_KEY: plain-in-the-file
cmds:
  - env > made
",
        "cat made; echo ----; env",
    );
    let artifacts = fresh.verify("one", 0);
    let shown = text(artifacts.join("tests_stdout.txt"));
    let (bootstrap, stage) = shown.split_once("----\n").expect("both");
    for part in [bootstrap, stage] {
        for line in [
            "BAZ=bar-baz",
            "PRICE=$5 and none",
            "CALL=$(id) `id`",
            "API_KEY=plain-in-the-file",
        ] {
            assert!(part.lines().any(|l| l == line), "{line}: {part}");
        }
    }
    assert!(bootstrap.contains("AIDER_FSM_STAGE=bootstrap\n") && stage.contains("AIDER_FSM_STAGE=tests\n"));
    for secret in ["in-the-address", "plain-in-the-file"] {
        // What a stage itself prints is not ours to hide.
        let kept: Vec<_> = holding(&fresh.0.path("one"), secret)
            .into_iter()
            .filter(|path| !path.to_string_lossy().ends_with("_stdout.txt"))
            .collect();
        assert!(kept.is_empty(), "{secret}: {kept:?}");
    }
    let env = json_file(&artifacts.join("bootstrap_env.json"));
    assert_eq!(
        (&env["API_KEY"], &env["DB_URL"], &env["FOO"]),
        (&"[redacted]".into(), &"[redacted]".into(), &"bar".into())
    );
}

#[test]
fn the_example_runs_as_it_stands() {
    let fresh = Fresh::new();
    fresh.0.examples();
    fs::create_dir(fresh.0.path("repo/.aider_fsm")).expect("mkdir");
    fs::rename(
        fresh.0.path("repo/bootstrap.yml"),
        fresh.0.path("repo/.aider_fsm/bootstrap.yml"),
    )
    .expect("mv");
    let greet = "set -e; test \"$PRICE\" = '$5'; which python3; python3 -c 'import greetings, tallies; print(greetings.greeting(\"you\", 14))'";
    for runs in ["one", "two"] {
        expect(fresh.verification(runs, &["--test-cmd", greet]), 0);
        let artifacts = fresh.artifacts(runs);
        assert_eq!(
            text(artifacts.join("tests_stdout.txt")),
            "/workspace/.venv/bin/python3\nHello you, XIV times\n"
        );
        assert_eq!(ready(&artifacts), runs == "two");
        // The other stages of the example's contract ran in it, its service too.
        let summary = json_file(&artifacts.join("summary.json"));
        assert_eq!(
            (
                &summary["deploy_health_rc"],
                &summary["evaluation_rc"],
                &summary["bootstrap_rc"]
            ),
            (&0.into(), &0.into(), &0.into())
        );
    }
}

/// A plan with one step.
const PLAN: &str = "# PLAN\n\n## Goal\n- test\n\n## Acceptance\n- [ ] TEST_CMD passes: `x`\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID=001) do it\n\n## Backlog\n\n## Done\n\n## Notes\n-\n";

/// A run over a cache of its own.
fn run(fresh: &Fresh) -> Command {
    let binary = opencode_fsm::agent::find_binary(None).expect("OpenCode");
    let mut command = fresh.0.run(&["--opencode-bin", &binary.display().to_string()]);
    command.env("XDG_CACHE_HOME", fresh.0.path("cache"));
    command
}

#[test]
fn a_run_stands_on_the_layer_and_none_of_it_is_in_the_result() {
    if !opencode() {
        return;
    }
    let mut fresh = Fresh::with(
        "env: {PATH: '${AIDER_FSM_REPO_ROOT}/made/bin:${PATH}', OPENCODE_CONFIG: /workspace/made/x.json}
cmds:
  - mkdir -p made/bin src && printf '#!/bin/sh\\necho made\\n' > made/bin/tool && chmod +x made/bin/tool
  - echo changed > src/version; echo new > src/generated
",
        "test $(tool) = made && test -f src/work && test $(cat src/version) = changed && test ! -e made/cache",
    );
    fresh.0.file("src/version", "1\n").file("PLAN.md", PLAN);
    fresh
        .0
        .say("plan_update_attempt_1", 1, 1, &[])
        .shell(
            "execute_step",
            1,
            "tool > src/work; touch made/cache; echo worse > made/bin/tool; rm src/generated; echo mine > src/version",
        )
        .say("plan_update_attempt_1", 2, 1, &[]);
    expect(run(&fresh), 0);
    let summary = fresh.0.summary();
    assert_eq!(summary["exit_reason"], "DONE", "{summary}");
    assert_eq!(summary["guard_events"], 0, "{summary}");
    let changed: Vec<_> = summary["changes"]
        .as_array()
        .expect("list")
        .iter()
        .map(|c| &c["path"])
        .collect();
    assert_eq!(changed, ["PLAN.md", "src/work"], "{summary}");
    assert_eq!(fresh.0.brought_out("src/work"), "made\n");
    let run = fresh.0.the_run();
    assert!(run.join("bootstrap/bootstrap_layer.json").exists());
    assert!(!text(run.join("changes.patch")).contains("made/"));
    assert!(text(run.join("journal.jsonl")).contains("\"event\":\"restored\""));
    let prompt = fs::read_dir(run.join("turns"))
        .expect("turns")
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().ends_with("execute_step.prompt.md"));
    assert!(
        !text(prompt.expect("a prompt").path()).contains("made/bin/tool"),
        "the outline is the target's"
    );
}

#[test]
fn a_bootstrap_that_the_work_mends_is_made_over_the_work() {
    if !opencode() {
        return;
    }
    let mut fresh = Fresh::with(
        "cmds: [sh setup.sh]\n",
        "test $(cat made/file) = good && test -f src/work",
    );
    fresh
        .0
        .file("setup.sh", "echo out of order >&2; exit 5\n")
        .file("PLAN.md", PLAN);
    fresh
        .0
        .say("plan_update_attempt_1", 1, 1, &[])
        .shell("execute_step", 1, "mkdir src; touch src/work")
        .shell(
            "fix_or_replan_attempt_1",
            1,
            "echo 'mkdir made; echo good > made/file; echo no > src/work' > setup.sh",
        )
        .say("plan_update_attempt_1", 2, 1, &[])
        .say("execute_step", 2, 1, &[])
        .say("plan_update_attempt_1", 3, 1, &[]);
    expect(run(&fresh), 0);
    let summary = fresh.0.summary();
    assert_eq!(summary["exit_reason"], "DONE", "{summary}");
    let changed: Vec<_> = summary["changes"]
        .as_array()
        .expect("list")
        .iter()
        .map(|c| &c["path"])
        .collect();
    assert_eq!(changed, ["PLAN.md", "setup.sh", "src", "src/work"], "{summary}");
    assert_eq!(
        fresh.0.brought_out("src/work"),
        "",
        "the work is not the bootstrap's to change"
    );
    let run = fresh.0.the_run();
    assert_eq!(
        json_file(&run.join("iter_0001/summary.json"))["failed_stage"],
        "bootstrap"
    );
    assert_eq!(
        json_file(&run.join("iter_0002/bootstrap_layer.json"))["left_out"][0][0],
        "src/work"
    );
    let told = holding(&run.join("turns"), "out of order");
    assert!(told.len() >= 2, "the first prompts and the fix's are told: {told:?}");
}
