//! `actions.yml`, left by the real OpenCode (a cassette is its model) and performed by the
//! built program in the agent's jail.

#[path = "support/program.rs"]
mod program;

use std::{fs, path::PathBuf};

use program::{Bench, expect, holding, json_file, opencode};
use serde_json::Value;

/// A plan with one step.
const PLAN: &str = "# PLAN\n\n## Goal\n- test\n\n## Acceptance\n- [ ] TEST_CMD passes: `x`\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID=001) do it\n\n## Backlog\n\n## Done\n\n## Notes\n-\n";

/// A run whose verification fails until the last round: in each the agent leaves one
/// `actions.yml` in its fix turn.
struct Rounds {
    bench: Bench,
    round: u32,
}

impl Rounds {
    fn new(pipeline: &str) -> Self {
        let bench = Bench::new();
        bench
            .file("pipeline.yml", pipeline)
            .file("PLAN.md", PLAN)
            .file(".aider_fsm/stages/kept.sh", "true\n")
            .file("src/app", "app\n");
        Self { bench, round: 0 }
    }

    /// One round; `before` is what the agent does itself in its fix turn.
    fn leave(&mut self, before: &str, actions: &str) -> &mut Self {
        self.round += 1;
        let round = self.round;
        let write = format!("{before}\nmkdir -p .aider_fsm && cat > .aider_fsm/actions.yml <<'END'\n{actions}END");
        self.bench
            .say("plan_update_attempt_1", round, 1, &[])
            .say("execute_step", round, 1, &[])
            .shell(&format!("fix_or_replan_attempt_{round}"), 1, &write);
        self
    }

    /// The rounds, then one that passes, and the end.
    fn play(&mut self) {
        self.play_with(&[]);
    }

    fn play_with(&mut self, more: &[&str]) {
        for last in [self.round + 1, self.round + 2] {
            self.bench.say("plan_update_attempt_1", last, 1, &[]);
        }
        self.bench.say("execute_step", self.round + 1, 1, &[]);
        expect(self.bench.run(&[&["--max-fix", "30"], more].concat()), 0);
        assert_eq!(self.bench.summary()["exit_reason"], "DONE");
    }

    /// The directory of a round's actions.
    fn artifacts(&self, round: u32) -> PathBuf {
        self.bench.the_run().join(format!("iter_{round:04}/actions"))
    }

    fn summary(&self, round: u32) -> Value {
        json_file(&self.artifacts(round).join("actions_summary.json"))
    }

    /// What the agent was told in the round after.
    fn told(&self, round: u32) -> String {
        let plans = fs::read_dir(self.bench.the_run().join("turns")).expect("turns");
        let mut prompts: Vec<PathBuf> = plans
            .map(|entry| entry.expect("entry").path())
            .filter(|path| path.to_string_lossy().ends_with("plan_update_attempt_1.prompt.md"))
            .collect();
        prompts.sort();
        fs::read_to_string(&prompts[usize::try_from(round).expect("few")]).expect("a prompt")
    }
}

#[test]
fn actions_are_performed_once_and_what_came_of_them_is_told() {
    if !opencode() {
        return;
    }
    let mut rounds = Rounds::new(
        "security:\n  denylist: ['forbidden']\ntests:\n  cmd: test -f ok && ! test -e .aider_fsm/actions.yml\n",
    );
    rounds
        // Every kind; a name that would climb; a service that a later action finds.
        .leave(
            "",
            "version: 1
actions:
  - {id: ../../../climb, cmd: 'pwd; env; echo one >> count; ls .aider_fsm', risk_level: low, rationale: to see}
  - {id: service, kind: start_service, cmd: 'sh -c \"while :; do sleep 1; done\" & echo $! > /tmp/pid'}
  - {kind: install_tool, cmd: 'test -d /proc/$(cat /tmp/pid) && mkdir -p tools && echo tool > tools/x'}
  - {id: settings, kind: write_file, path: ./conf/deep/tool.toml, content: \"strict = true\\n\"}
  - {id: app, kind: write_file, path: /workspace/src/app, content: again}
  - {id: retried, cmd: 'echo . >> /tmp/tries; test $(wc -l < /tmp/tries) = 3', retries: 5}
",
        )
        // The first failure ends it.
        .leave(
            "",
            "actions:\n  - {id: bad, cmd: 'echo why >&2; exit 9'}\n  - {id: never, cmd: touch never}\n",
        )
        // Not understood, and gone all the same.
        .leave("", "actions:\n  - {id: a, cmd: touch never, retries: -1}\n")
        .leave("", "actions: [\n")
        // Refused by policy, and not repeated.
        .leave("", "actions: [{cmd: sudo true, retries: 3}]\n")
        .leave("", "actions: [{cmd: gh auth login}]\n")
        .leave("", "actions: [{cmd: echo forbidden}]\n")
        // A cap.
        .leave("", "actions: [{cmd: 'while :; do :; done', timeout_seconds: 1}]\n")
        .leave("", "actions: [{cmd: touch ok}]\n");
    rounds.play();

    let first = rounds.artifacts(1);
    let out = fs::read_to_string(first.join("actions_01_.._.._.._climb_try01_stdout.txt")).expect("output");
    assert!(out.starts_with("/workspace\n"), "{out}");
    assert!(
        out.contains("AIDER_FSM_STAGE=actions\n") && out.contains("AIDER_FSM_ACTION_ID=../../../climb\n"),
        "{out}"
    );
    assert!(
        !out.lines().any(|line| line == "actions.yml"),
        "the file is gone before anything is done: {out}"
    );
    assert_eq!(rounds.summary(1)["ok"], true, "{}", rounds.summary(1));
    assert_eq!(rounds.summary(1)["total_results"], 8);
    assert!(first.join("actions_06_retried_try03_result.json").exists());
    assert!(first.join("actions_03_action-003_try01_cmd.txt").exists());
    assert!(
        fs::read_to_string(first.join("actions.yml"))
            .expect("kept")
            .contains("install_tool")
    );
    let bench = &rounds.bench;
    assert_eq!(bench.brought_out("count"), "one\n", "once");
    assert_eq!(bench.brought_out("conf/deep/tool.toml"), "strict = true\n");
    assert_eq!(bench.brought_out("src/app"), "again");
    assert_eq!(bench.brought_out("tools/x"), "tool\n");
    let told = rounds.told(1);
    assert!(
        told.contains("## What came of `.aider_fsm/actions.yml`\n`../../../climb`: done\n"),
        "{told}"
    );
    assert!(!rounds.told(9).contains("`../../../climb`"), "told once");

    let expected = [
        (2_u32, 9, Some(0), "agent", "`bad` failed"),
        (3, 2, None, "agent", "actions.yml:2:40: "),
        (4, 2, None, "agent", "actions.yml:"),
        (5, 126, Some(0), "policy", "blocked_by_default_safe_deny: sudo"),
        (
            6,
            126,
            Some(0),
            "policy",
            "likely_interactive_command_disallowed_in_strict_mode",
        ),
        (7, 126, Some(0), "policy", "blocked_by_denylist: forbidden"),
        (8, 124, Some(0), "budget", "ended by its cap timeout_seconds"),
    ];
    for (round, rc, failed_index, blame, told) in expected {
        let summary = rounds.summary(round);
        assert_eq!(summary["ok"], false, "{round}");
        assert_eq!(summary["actions_rc"], rc, "{round}");
        assert_eq!(summary["failed_index"].as_u64(), failed_index, "{round}");
        assert_eq!(summary["blame"], blame, "{round}");
        assert_eq!(summary["total_results"], 1, "{round}");
        assert!(rounds.told(round).contains(told), "{round}: {}", rounds.told(round));
    }
    // The predecessor's log tells the same.
    let run = bench.the_run();
    let id = run.file_name().expect("an id").to_string_lossy().into_owned();
    let log = fs::read_to_string(run.join(format!("logs/run_{id}.jsonl"))).expect("log");
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("json"));
    let logged: Vec<_> = lines
        .filter(|line| line["event"] == "actions_executed")
        .map(|line| (line["iter_idx"].clone(), line["ok"].clone(), line["actions_rc"].clone()))
        .collect();
    let told = expected.map(|(round, rc, ..)| (Value::from(round), Value::from(false), Value::from(rc)));
    let done = |round: u32| (round.into(), true.into(), 0.into());
    assert_eq!(logged, [&[done(1)], &told[..], &[done(9)]].concat());
    assert!(rounds.artifacts(3).join("actions_parse_result.json").exists());
    assert!(!bench.the_run().join("files/never").exists());
    assert_eq!(bench.summary()["guard_events"], 0, "{}", bench.summary());
    // Nothing with a climbing name was made anywhere.
    assert!(!bench.path("climb_try01_cmd.txt").exists() && !bench.the_run().join("climb_try01_cmd.txt").exists());
}

#[test]
fn actions_write_nothing_that_a_step_may_not() {
    if !opencode() {
        return;
    }
    let mut rounds = Rounds::new("tests:\n  cmd: test -f ok && sh .aider_fsm/stages/kept.sh\n");
    let refused = [
        ("PLAN.md", "path_is_protected"),
        ("pipeline.yml", "path_is_protected"),
        ("/workspace/.aider_fsm/bootstrap.yml", "path_is_protected"),
        (".aider_fsm/stages/kept.sh", "path_is_protected"),
        (".aider_fsm/actions.yml", "path_is_protected"),
        (".git/hooks/post-checkout", "path_is_protected"),
        (".opencode/plugin/x.js", "path_is_protected"),
        ("../outside", "path_outside_repo"),
        ("/etc/passwd", "path_outside_repo"),
        ("/workspace/../etc/passwd", "path_outside_repo"),
        ("src", "not_a_file"),
        ("link", "not_a_file"),
        ("out/file", "a symbolic link stands above it"),
        ("plans/PLAN.md", "a symbolic link stands above it"),
    ];
    for (path, _) in refused {
        rounds.leave(
            "ln -sfn /tmp out; ln -sfn PLAN.md link; ln -sfn . plans",
            &format!("actions: [{{kind: write_file, path: {path}, content: hacked}}, {{cmd: touch never}}]\n"),
        );
    }
    let tricks = [
        "f=$(printf %s pipeline.yml); echo hacked > $f",
        "mv .aider_fsm elsewhere && mkdir -p .aider_fsm/stages && echo hacked > .aider_fsm/bootstrap.yml",
        "echo 'exit 0 # hacked' > .aider_fsm/stages/kept.sh; echo lost > lost",
    ];
    for trick in tricks {
        rounds.leave("", &format!("actions: [{{cmd: '{}'}}]\n", trick.replace('\'', "''")));
    }
    rounds.leave("", "actions: [{cmd: touch ok}]\n");
    rounds.play();

    for (round, (path, code)) in (1..).zip(refused) {
        let summary = rounds.summary(round);
        assert_eq!(
            (&summary["actions_rc"], &summary["blame"]),
            (&2.into(), &"policy".into()),
            "{path}: {summary}"
        );
        assert!(rounds.told(round).contains(code), "{path}: {}", rounds.told(round));
    }
    for (round, trick) in (u32::try_from(refused.len()).expect("few") + 1..).zip(tricks) {
        let summary = rounds.summary(round);
        assert_eq!(
            (&summary["ok"], &summary["actions_rc"]),
            (&false.into(), &0.into()),
            "{trick}"
        );
        assert!(
            rounds.told(round).contains("All that they changed was taken back"),
            "{trick}"
        );
    }
    let summary = rounds.bench.summary();
    assert_eq!(summary["exit_reason"], "DONE");
    assert_eq!(summary["guard_events"], tricks.len(), "{summary}");
    let run = rounds.bench.the_run();
    let changed: Vec<_> = summary["changes"]
        .as_array()
        .expect("list")
        .iter()
        .map(|c| &c["path"])
        .collect();
    assert_eq!(changed, ["PLAN.md", "link", "ok", "plans"], "{summary}");
    assert!(
        !fs::read_to_string(run.join("changes.patch"))
            .expect("patch")
            .contains("hacked")
    );
    assert!(!holding(&run.join("guard"), "hacked").is_empty());
}

#[test]
fn what_the_user_grants_reaches_the_stages_and_neither_bootstrap_nor_actions() {
    if !opencode() {
        return;
    }
    // The agent knows the values by heart: what it writes is redacted all the same.
    let shown = "env | grep -e TOKEN -e FILED -e DERIVED; echo granted-by-flag granted-by-file";
    let mut rounds = Rounds::new(&format!("tests:\n  cmd: {shown}; test -f ok\n"));
    // Like no other: what an earlier run of this test made would stand ready.
    let once = rounds.bench.path("repo").display().to_string();
    rounds.bench.file(
        ".aider_fsm/bootstrap.yml",
        &format!("env: {{DERIVED: 'a-${{TOKEN}}-b'}}\ncmds: ['{shown}; touch made # {once}']\n"),
    );
    let grants = rounds.bench.path("grants.env");
    fs::write(&grants, "FILED=granted-by-file\n").expect("write");
    rounds
        .leave(
            "",
            &format!("actions: [{{cmd: '{shown}; touch acted'}}, {{kind: write_file, path: note, content: granted-by-flag}}]\n"),
        )
        .leave("", "actions: [{cmd: touch ok}]\n");
    rounds.play_with(&[
        "--env",
        "TOKEN=granted-by-flag",
        "--env-file",
        grants.to_str().expect("a path"),
    ]);
    let run = rounds.bench.the_run();
    let text = |name: &str| fs::read_to_string(run.join(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
    // The control: a stage has them, and what bootstrap derives of them.
    assert_eq!(
        text("iter_0001/tests_stdout.txt")
            .lines()
            .collect::<std::collections::BTreeSet<_>>(),
        [
            "TOKEN=[redacted]",
            "FILED=[redacted]",
            "DERIVED=a-[redacted]-b",
            "[redacted] [redacted]"
        ]
        .into()
    );
    assert_eq!(
        text("bootstrap/bootstrap_cmd01_try01_stdout.txt"),
        "DERIVED=a--b\n[redacted] [redacted]\n"
    );
    let actions = rounds.artifacts(1).join("actions_01_action-001_try01_stdout.txt");
    assert_eq!(
        fs::read_to_string(actions).expect("output"),
        "DERIVED=a--b\n[redacted] [redacted]\n"
    );
    assert!(run.join("files/acted").exists() && !run.join("files/made").exists());
    for secret in ["granted-by-flag", "granted-by-file"] {
        let mut kept: Vec<_> = holding(&run, secret);
        // The states of the steps hold the same bytes.
        kept.retain(|path| !path.starts_with(run.join("objects")));
        assert!(kept.iter().all(|path| *path == run.join("files/note")), "{kept:?}");
    }
    assert!(text("changes.patch").contains("[redacted]"));
}

#[test]
fn the_example_runs_as_it_stands_where_the_target_holds_it() {
    if !opencode() {
        return;
    }
    let mut rounds = Rounds::new("tests:\n  cmd: grep -q strict tools/settings.toml\n");
    let bench = &mut rounds.bench;
    let pipeline = fs::read_to_string(bench.path("repo/pipeline.yml")).expect("read");
    let example = fs::read_to_string(bench.examples().path("repo/actions.yml")).expect("the example");
    bench
        .file("pipeline.yml", &pipeline)
        .file(".aider_fsm/actions.yml", &example);
    // A verification has no agent to ask for anything.
    let output = expect(bench.command(&["verify"], "repo"), 3);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("`.aider_fsm/actions.yml` is for a run"),
        "{output:?}"
    );
    fs::remove_dir_all(bench.path("runs")).expect("rm");
    bench
        .say("plan_update_attempt_1", 1, 1, &[])
        .say("execute_step", 1, 1, &[])
        .say("fix_or_replan_attempt_1", 1, 1, &[]);
    rounds.round = 1;
    rounds.play();
    assert_eq!(rounds.summary(1)["ok"], true, "{}", rounds.told(1));
    assert!(rounds.told(1).contains("`wait`: done"), "{}", rounds.told(1));
    assert_eq!(rounds.bench.brought_out("tools/settings.toml"), "strict = true\n");
    assert!(rounds.bench.brought_out("tools/romans.py").contains("def roman"));
    let summary = rounds.bench.summary();
    let gone = serde_json::json!({"path": ".aider_fsm/actions.yml", "kind": "deleted"});
    assert!(
        summary["changes"].as_array().expect("list").contains(&gone),
        "{summary}"
    );
}
