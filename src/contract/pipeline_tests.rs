//! Which sections a contract has, and what they come to.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    contract::{GenericEvaluation, HintUse, TeardownPolicy},
    policy::{Isolation, SecurityMode},
};

pub(super) fn parse(text: &str) -> Result<Pipeline, String> {
    let path = RelPath::new("pipeline.yml").unwrap();
    Pipeline::parse(&path, text.as_bytes()).map_err(|error| error.to_string())
}

pub(super) fn refusal(text: &str) -> String {
    parse(text).expect_err(text)
}

#[test]
fn a_whole_contract_is_read() {
    let pipeline = parse(
        "version: 1\nsecurity: {mode: Safe, max_cmd_seconds: 60, max_total_seconds: 0}\n\
         tests:\n  cmds: [' make test ', make lint]\n  timeout_seconds: 30\n  retries: 2\n  workdir: ./sub//dir/\n\
         \x20 env: {A: 1, B: yes, C: , D: 'x y'}\n\
         rollout: {run_cmd: ./roll, workdir: .}\n\
         evaluation:\n  metrics_path: .aider_fsm/metrics.json\n  required_keys: [ok, eval.score]\n",
    )
    .unwrap();
    let tests = pipeline.tests.as_ref().unwrap();
    assert_eq!(tests.cmds, ["make test", "make lint"]);
    assert_eq!((tests.timeout, tests.retries), (Some(Duration::from_secs(30)), 2));
    assert_eq!(tests.workdir, Some(RelPath::new("sub/dir").unwrap()));
    let env: Vec<_> = tests
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(env, [("A", "1"), ("B", "yes"), ("C", ""), ("D", "x y")]);
    assert_eq!(pipeline.rollout.as_ref().unwrap().workdir, None);
    let evaluation = pipeline.evaluation.as_ref().unwrap();
    assert_eq!((evaluation.stage.cmds.len(), evaluation.required_keys.len()), (0, 2));
    assert_eq!(
        pipeline.security,
        Security {
            max_cmd: Some(Duration::from_secs(60)),
            places: [18, 41, 64].map(|column| Some(Position { line: 2, column })),
            ..Security::default()
        }
    );
    let order: Vec<_> = pipeline.stages().map(|stage| stage.name.to_string()).collect();
    assert_eq!(order, ["tests", "rollout", "evaluation"]);
}

#[test]
fn a_generic_evaluation_has_no_commands() {
    let read = |text: &str| parse(text).unwrap().evaluation.unwrap();
    let plain = read("evaluation: {generic: yes, required_keys: [score], timeout_seconds: 5}");
    assert_eq!(plain.generic, Some(GenericEvaluation::default()));
    assert_eq!(
        plain.metrics_path,
        Some(RelPath::new(".aider_fsm/metrics.json").unwrap())
    );
    let said = read("evaluation: {generic: {hints: require, max_attempts: 7}, metrics_path: m.json}");
    let (hints, max_attempts) = (HintUse::Require, 7);
    assert_eq!(said.generic, Some(GenericEvaluation { hints, max_attempts }));
    assert_eq!(said.metrics_path, Some(RelPath::new("m.json").unwrap()));
    assert_eq!(read("evaluation: {generic: no, run_cmd: a}").generic, None);
    for (text, why) in [
        (
            "{generic: yes, run_cmd: a}",
            "`evaluation.generic` excludes `evaluation.run_cmd`",
        ),
        (
            "{generic: {}, run_cmds: [a]}",
            "`evaluation.generic` excludes `evaluation.run_cmds`",
        ),
        ("{generic: yes, retries: 1}", "`evaluation.retries` is for commands"),
        (
            "{generic: {hint: off}}",
            "unknown key `evaluation.generic.hint`, did you mean `hints`?",
        ),
        ("{generic: {hints: maybe}}", "`evaluation.generic.hints`"),
        ("{generic: {max_attempts: 0}}", "must be at least 1"),
        ("{generic: {max_attempts: 21}}", "`evaluation.generic.max_attempts`"),
        ("{generic: no}", "`evaluation.run_cmds` must list at least one command"),
        ("{generic: 5}", "`evaluation.generic`"),
    ] {
        let refused = refusal(&format!("evaluation: {text}"));
        assert!(refused.contains(why), "{text}: {refused}");
    }
    assert!(refusal("benchmark: {generic: yes}").contains("unknown key `benchmark.generic`"));
    let sealed = parse("evaluation: {generic: yes}\nverify: {isolation: sealed}").unwrap();
    assert_eq!(sealed.unsealable(), None);
}

#[test]
fn what_is_the_judges_is_read() {
    let verify = |text: &str| parse(&format!("tests: {{cmd: a}}\nverify: {text}\n"));
    let found = verify("{isolation: Sealed, protected: [tests/, '**/conftest.py']}").unwrap();
    assert_eq!(found.verify.isolation, Isolation::Sealed);
    let protected: Vec<_> = found.protections().collect();
    assert_eq!(protected.len(), 2);
    assert_eq!(protected[1].origin.to_string(), "pipeline.yml:2:49");
    let covers = |path: &str| {
        let path = RelPath::new(path).unwrap();
        protected
            .iter()
            .any(|said| said.value.covers(Phase::ExecuteStep, &path))
    };
    assert!(covers("tests/a/b.py") && covers("conftest.py") && covers("x/y/conftest.py"));
    assert!(!covers("src/tests.py"));
    assert_eq!(parse("tests: {cmd: a}").unwrap().verify, Verify::default());
    for (text, why) in [
        (
            "{isolation: open}",
            "`verify.isolation` must be one of `shared`, `sealed`, found `open`",
        ),
        ("{protected: [../x]}", "`verify.protected[0]`: "),
        ("{protected: [/x]}", "`verify.protected[0]`: "),
        ("{seal: true}", "unknown key `verify.seal`"),
    ] {
        assert!(verify(text).unwrap_err().contains(why), "{text}: {:?}", verify(text));
    }
    let measured = "evaluation: {metrics_path: m.json}\n";
    assert!(
        parse(&format!("tests: {{cmd: a}}\n{measured}"))
            .unwrap()
            .unsealable()
            .is_some()
    );
    assert!(
        parse("evaluation: {run_cmd: a, metrics_path: m.json}")
            .unwrap()
            .unsealable()
            .is_none()
    );
}

#[test]
fn without_a_contract_one_command_is_the_test() {
    let pipeline = Pipeline::with_tests("make check");
    assert_eq!(
        pipeline.stages().map(|stage| stage.cmds.clone()).collect::<Vec<_>>(),
        [["make check"]]
    );
}

#[test]
fn the_list_of_commands_wins_over_the_single_one() {
    assert_eq!(
        parse("tests: {cmd: a, cmds: [b, c]}").unwrap().tests.unwrap().cmds,
        ["b", "c"]
    );
    assert_eq!(parse("tests: {cmd: a, cmds: }").unwrap().tests.unwrap().cmds, ["a"]);
    assert_eq!(parse("tests: {cmd: yes}").unwrap().tests.unwrap().cmds, ["yes"]);
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    assert_eq!(
        refusal("version: 1\ntests:\n  cmd: t\nevalution:\n  run_cmd: e\n"),
        "pipeline.yml:4:1: unknown key `evalution`, did you mean `evaluation`?"
    );
    assert_eq!(
        refusal("tests:\n  cmd: t\n  timeout_secs: 1\n"),
        "pipeline.yml:3:3: unknown key `tests.timeout_secs`, did you mean `timeout_seconds`?"
    );
    assert_eq!(
        refusal("tests: {run_cmds: [a]}"),
        "pipeline.yml:1:9: unknown key `tests.run_cmds`, did you mean `cmds`?"
    );
    assert_eq!(
        refusal("stages: [a]\n"),
        "pipeline.yml:1:1: unknown key `stages`; known here: version, security, auth, tests, deploy, \
         rollout, evaluation, benchmark, verify, artifacts, tooling"
    );
    assert!(refusal("\"a\\nb\\e[31m\": 1\n").starts_with("pipeline.yml:1:1: unknown key `a\\nb\\u{1b}[31m`"));
}

/// Every key of the predecessor's version 1, in one file.
const WHOLE: &str = "version: 1
security: {mode: SYSTEM, allowlist: ['^make'], denylist: [--pdb, rm], max_cmd_seconds: 5, max_total_seconds: 9}
auth: {steps: [a1, a2], interactive: true, timeout_seconds: 1, retries: 1, env: {K: v}, workdir: a}
tests: {cmds: [t]}
deploy:
  setup_cmds: [s1, s2]
  health_cmd: h
  teardown_cmds: [d]
  teardown_policy: on_failure
  timeout_seconds: 7
  retries: 3
  env: {PORT: 8000}
  workdir: srv
  kubectl_dump: {enabled: true, namespace: n, label_selector: app=x, include_logs: true}
rollout: {run_cmds: [r]}
evaluation: {run_cmd: e, metrics_path: m.json, required_keys: [ok]}
benchmark: {run_cmds: [b], metrics_path: b.json, required_keys: [score]}
artifacts: {out_dir: out/here}
tooling: {ensure_tools: true, ensure_kind_cluster: false, kind_cluster_name: kind, kind_config: k.yml}
";

#[test]
fn every_section_of_the_predecessor_is_read() {
    let pipeline = parse(WHOLE).unwrap();
    let order: Vec<_> = pipeline
        .stages()
        .map(|stage| (stage.name.as_str(), stage.cmds.join(" ")))
        .collect();
    let expected = [
        ("auth", "a1 a2"),
        ("tests", "t"),
        ("deploy_setup", "s1 s2"),
        ("deploy_health", "h"),
        ("rollout", "r"),
        ("evaluation", "e"),
        ("benchmark", "b"),
    ];
    assert_eq!(order, expected.map(|(name, cmds)| (name, cmds.to_owned())));
    let security = &pipeline.security;
    assert_eq!(
        (security.mode, security.allow.len(), security.deny.len()),
        (SecurityMode::System, 1, 2)
    );
    assert_eq!(
        (security.max_cmd, security.max_total),
        (Some(Duration::from_secs(5)), Some(Duration::from_secs(9)))
    );
    let auth = pipeline.auth.unwrap();
    assert!(auth.interactive && auth.stage.workdir.is_some() && auth.stage.env.len() == 1);
    let deploy = pipeline.deploy.unwrap();
    for (stage, retries) in [(&deploy.setup, 3), (&deploy.health, 3), (&deploy.teardown, 0)] {
        assert_eq!((stage.timeout, stage.retries), (Some(Duration::from_secs(7)), retries));
        assert_eq!((stage.env.len(), stage.workdir.is_some()), (1, true));
    }
    assert_eq!(
        (deploy.teardown.cmds.len(), deploy.teardown_policy),
        (1, TeardownPolicy::OnFailure)
    );
    let dump = deploy.kubectl_dump.unwrap();
    assert_eq!(
        (dump.namespace.as_deref(), dump.label_selector.as_deref()),
        (Some("n"), Some("app=x"))
    );
    assert!(dump.include_logs);
    assert_eq!(pipeline.benchmark.unwrap().required_keys, ["score"]);
    assert_eq!(pipeline.out_dir, Some(RelPath::new("out/here").unwrap()));
    let warnings: Vec<_> = pipeline.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["pipeline.yml:19:1: `tooling` is deprecated and has no effect; remove it"]
    );
}

#[test]
fn what_is_declared_empty_is_not_run_and_said_so() {
    let text = "auth: {steps: []}\ntests: {cmds: []}\ndeploy: {teardown_cmd: d}\nbenchmark: {run_cmds: []}\n";
    let pipeline = parse(text).unwrap();
    assert!(pipeline.stages().all(|stage| stage.cmds.is_empty()));
    let warnings: Vec<_> = pipeline.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "pipeline.yml:1:1: `auth.cmds` is empty; the stage is not run",
            "pipeline.yml:2:1: `tests.cmds` is empty; the stage is not run",
            "pipeline.yml:3:1: `deploy` has no setup and no health commands; nothing is deployed or torn down",
            "pipeline.yml:4:1: `benchmark.run_cmds` is empty; the stage is not run",
        ]
    );
}

#[test]
fn a_stage_needs_something_to_do() {
    assert!(refusal("tests: {retries: 1}").contains("`tests.cmds` must list at least one command"));
    assert!(refusal("rollout: {retries: 1}").contains("`rollout.run_cmds` must list at least one command"));
    assert!(refusal("evaluation: {retries: 1}").contains("`evaluation.run_cmds` must list at least one command"));
    assert!(refusal("evaluation: {run_cmd: e, required_keys: [ok]}").contains("needs `evaluation.metrics_path`"));
    assert_eq!(
        refusal("tests:\n"),
        "pipeline.yml:1:1: `tests` is empty; fill it in or remove it"
    );
    assert!(refusal("tests: [a]").contains("`tests` must be a mapping, found a list"));
    assert!(refusal("version: 1\n").contains("no stage is declared"));
    assert!(refusal("- tests\n").contains("the file must be a mapping of sections, found a list"));
}

#[test]
fn the_shipped_contracts_parse() {
    for text in [
        include_str!("../../examples/pipeline.yml"),
        include_str!("../../examples/benchmark_pipeline.yml"),
        include_str!("../../examples/demo/pipeline.yml"),
    ] {
        assert_eq!(parse(text).unwrap().warnings, []);
    }
}

proptest! {
    #[test]
    fn no_contract_panics_and_every_refusal_is_one_located_line(
        keys in prop::collection::vec((
            prop::sample::select(vec!["version", "tests", "rollout", "evaluation", "security", "deploy", "auth", "benchmark", "artifacts", "tooling", "x"]),
            "[a-z_]{1,12}",
            "[ -~]{0,12}",
        ), 0..5),
    ) {
        let text: String = keys.iter().map(|(section, key, value)| format!("{section}:\n  {key}: {value}\n")).collect();
        if let Err(refusal) = parse(&text) {
            prop_assert!(refusal.starts_with("pipeline.yml:") && !refusal.contains('\n'), "{}", refusal);
        }
    }
}
