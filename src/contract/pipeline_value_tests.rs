//! Values of a contract's fields, and how wrong ones are refused.

use super::tests::{parse, refusal};

#[test]
fn booleans_and_choices_are_what_they_say() {
    for (word, value) in [
        ("true", true),
        ("Yes", true),
        ("on", true),
        ("false", false),
        ("no", false),
        ("OFF", false),
    ] {
        let pipeline = parse(&format!("auth: {{cmd: a, interactive: {word}}}")).unwrap();
        assert_eq!(pipeline.auth.unwrap().interactive, value, "{word}");
    }
    for word in ["'false'", "1", "maybe", "[true]", "\"yes\""] {
        let refusal = refusal(&format!("auth: {{cmd: a, interactive: {word}}}"));
        assert!(
            refusal.starts_with("pipeline.yml:1:29: `auth.interactive` must be true or false"),
            "{refusal}"
        );
    }
    for (text, at, message) in [
        (
            "security: {mode: open}",
            18,
            "`security.mode` must be one of `safe`, `system`, found `open`",
        ),
        (
            "deploy: {setup_cmd: s, teardown_policy: sometimes}",
            41,
            "`deploy.teardown_policy` must be one of `always`, `on_success`, `on_failure`, `never`, found `sometimes`",
        ),
        (
            "deploy: {setup_cmd: s, kubectl_dump: yes}",
            38,
            "`deploy.kubectl_dump` must be a mapping, found a string",
        ),
        (
            "auth: {cmd: a, steps: [b]}",
            24,
            "`auth.steps` is another name of `auth.cmds`; remove one of them",
        ),
        (
            "tests: {cmd: t}\nartifacts: {out_dir: ../up}",
            22,
            "`artifacts.out_dir`: ",
        ),
        (
            "tests: {cmd: t}\nartifacts: {out_dir: /abs}",
            22,
            "`artifacts.out_dir`: ",
        ),
        (
            "tests: {cmd: t}\ntooling: {ensure_tool: true}",
            11,
            "unknown key `tooling.ensure_tool`, did you mean `ensure_tools`?",
        ),
        (
            "deploy: {setup_cmds: [s], teardown: d}",
            27,
            "unknown key `deploy.teardown`, did you mean `teardown_cmd`?",
        ),
        (
            "benchmark: {run_cmd: b, required_keys: [ok]}",
            41,
            "`benchmark.required_keys` needs `benchmark.metrics_path`",
        ),
        (
            "auth: {retries: 1}",
            1,
            "`auth.cmds` must list at least one command, or remove `auth`",
        ),
    ] {
        let refusal = refusal(text);
        let line = text.lines().count();
        assert!(
            refusal.starts_with(&format!("pipeline.yml:{line}:{at}: {message}")),
            "{refusal}"
        );
    }
}

#[test]
fn a_pattern_that_does_not_compile_is_an_error_in_its_place() {
    assert_eq!(
        refusal("tests: {cmd: t}\nsecurity:\n  allowlist:\n    - ok\n    - 'a('\n"),
        "pipeline.yml:5:7: `security.allowlist[1]`: `a(` is no pattern: unclosed group"
    );
    for pattern in ["(?=look)", "(a{100}){1000}"] {
        let refusal = refusal(&format!("tests: {{cmd: t}}\nsecurity: {{denylist: ['{pattern}']}}\n"));
        assert!(
            refusal.starts_with("pipeline.yml:2:23: `security.denylist[0]`"),
            "{refusal}"
        );
    }
    let many = format!("tests: {{cmd: t}}\nsecurity: {{denylist: [{}]}}", "a, ".repeat(101));
    assert!(refusal(&many).contains("more than 100 patterns"));
}

#[test]
fn the_version_is_the_integer_one() {
    assert!(parse("tests: {cmd: t}").is_ok());
    for version in ["0", "2", "1.0", "1.9", "true", "'1'", "", "[1]", "0x1", "01", "+1"] {
        let refusal = refusal(&format!("version: {version}\ntests: {{cmd: t}}\n"));
        assert!(refusal.contains("`version` must be the integer 1"), "{refusal}");
    }
}

#[test]
fn numbers_are_whole_and_in_range() {
    for value in [
        "-1", "1.5", "'3'", "true", "1e3", "0x10", "[1]", "ten", "1_000", "10:30",
    ] {
        for key in ["timeout_seconds", "retries"] {
            let refusal = refusal(&format!("tests:\n  cmd: t\n  {key}: {value}\n"));
            assert!(refusal.starts_with("pipeline.yml:3:"), "{refusal}");
            assert!(
                refusal.contains(&format!("`tests.{key}` must be a whole number")),
                "{refusal}"
            );
        }
    }
    assert!(refusal("tests: {cmd: t, retries: 101}").contains("at most 100"));
    assert!(refusal("tests: {cmd: t, timeout_seconds: 99999999999999999999}").contains("at most 2592000"));
    assert!(refusal("tests: {cmd: t, timeout_seconds: 010}").contains("without leading zeros"));
    assert!(refusal("security: {max_cmd_seconds: -5}").contains("`security.max_cmd_seconds` must be a whole number"));
    assert_eq!(
        parse("tests: {cmd: t, timeout_seconds: 0}")
            .unwrap()
            .tests
            .unwrap()
            .timeout,
        None
    );
}

#[test]
fn commands_are_strings_that_a_kernel_takes() {
    assert!(refusal("tests: {cmd: true}").contains("must be a string, found a boolean; write \"true\" in quotes"));
    assert!(refusal("tests: {cmds: [a, 5]}").contains("`tests.cmds[1]` must be a string, found a number"));
    assert!(refusal("tests: {cmds: make}").contains("`tests.cmds` must be a list of strings, found a string"));
    assert!(refusal("tests: {cmd: [make]}").contains("`tests.cmd` must be a string, found a list"));
    assert!(refusal("tests: {cmds: ['']}").contains("`tests.cmds[0]` is empty"));
    assert!(refusal("tests: {cmds: [a, ~]}").contains("`tests.cmds[1]` is empty"));
    assert!(refusal("tests: {cmd: '  '}").contains("`tests.cmd` is empty"));
    assert!(refusal("tests: {cmd: \"a\\0b\"}").contains("NUL"));
    assert!(refusal(&format!("tests: {{cmd: '{}'}}", "x".repeat(131_072))).contains("the kernel takes 131071"));
}

#[test]
fn paths_stay_in_the_repository() {
    for (path, why) in [
        ("/etc", "is absolute"),
        ("../x", "climbs out"),
        ("a/../b", "climbs out"),
        ("\"a\\0\"", "NUL"),
    ] {
        let workdir = refusal(&format!("tests: {{cmd: t, workdir: {path}}}"));
        assert!(
            workdir.contains("`tests.workdir`") && workdir.contains(why),
            "{workdir}"
        );
        let metrics = refusal(&format!("evaluation: {{metrics_path: {path}}}"));
        assert!(
            metrics.contains("`evaluation.metrics_path`") && metrics.contains(why),
            "{metrics}"
        );
    }
    assert!(refusal("evaluation: {metrics_path: .}").contains("the path is empty"));
}

#[test]
fn variables_are_what_execve_takes() {
    for name in ["'a b'", "1A", "A=B", "''", "\"A\\0\"", "é"] {
        let refusal = refusal(&format!("tests: {{cmd: t, env: {{{name}: v}}}}"));
        assert!(refusal.contains("is no variable name"), "{refusal}");
    }
    assert!(refusal("tests: {cmd: t, env: {A: [1]}}").contains("`tests.env.A` must be a single value"));
    assert!(refusal("tests: {cmd: t, env: {A: \"\\0\"}}").contains("NUL"));
    assert!(refusal("tests: {cmd: t, env: [A]}").contains("`tests.env` must be a mapping"));
    assert!(refusal("tests: {cmd: t, env: {AIDER_FSM_STAGE: x}}").contains("is set by the runner"));
}
