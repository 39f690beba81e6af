use proptest::prelude::*;

use super::*;

fn path() -> RelPath {
    RelPath::new(".aider_fsm/bootstrap.yml").unwrap()
}

fn parsed(text: &str) -> Bootstrap {
    Bootstrap::parse(&path(), text.as_bytes()).unwrap_or_else(|why| panic!("{why}"))
}

fn message(text: &str) -> String {
    let error = Bootstrap::parse(&path(), text.as_bytes()).expect_err("must be refused");
    error.to_string().replace(".aider_fsm/bootstrap.yml:", "")
}

fn fixed() -> Vec<(String, String)> {
    [("PATH", "/usr/bin:/bin"), ("HOME", "/home/agent")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

fn environment(text: &str) -> Vec<(String, String)> {
    parsed(text).environment(&fixed(), "/workspace").expect("fits")
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn every_field_is_read() {
    let text =
        "version: 1\nenv: {A: x}\ncmds: [make deps, ' true ']\nworkdir: ./sub/\ntimeout_seconds: 5\nretries: 2\n";
    let boot = parsed(text);
    assert_eq!(boot.cmds, ["make deps", "true"]);
    assert_eq!(boot.timeout, Some(Duration::from_secs(5)));
    assert_eq!(boot.retries, 2);
    assert_eq!(boot.workdir, Some(RelPath::new("sub").unwrap()));
    assert_eq!(boot.variables().collect::<Vec<_>>(), [("A", "x")]);
    assert!(boot.warnings.is_empty());
    assert_eq!(parsed("cmd: make").cmds, ["make"]);
    assert_eq!(parsed("steps: [a, b]").cmds, ["a", "b"]);
    assert!(parsed("steps: [a]").warnings.is_empty());
    for little in ["version: 1", "version: 1\ncmds: []\nenv: {}\n", "env: {A: b}"] {
        assert!(parsed(little).cmds.is_empty());
    }
}

#[test]
fn forms_of_later_runners_are_read_with_a_warning() {
    let boot = parsed("version: 1\nboot:\n  cwd: sub\n  timeout: 7\n  retry: 1\n  cmd: x\n");
    assert_eq!(boot.workdir, Some(RelPath::new("sub").unwrap()));
    assert_eq!((boot.timeout, boot.retries), (Some(Duration::from_secs(7)), 1));
    let warnings: Vec<String> = boot.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            ".aider_fsm/bootstrap.yml:2:1: `boot` is an old form; put its keys at the top",
            ".aider_fsm/bootstrap.yml:3:3: `cwd` is an old name of `workdir`",
            ".aider_fsm/bootstrap.yml:4:3: `timeout` is an old name of `timeout_seconds`",
            ".aider_fsm/bootstrap.yml:5:3: `retry` is an old name of `retries`",
        ]
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, expected) in [
        ("version: 2\n", "1:10: `version` must be the integer 1, found `2`"),
        (
            "cmds: [x]\nretries: -1\n",
            "2:10: `retries` must be a whole number of 0 or more, found `-1`",
        ),
        (
            "cmds: [x]\ntimeout_seconds: -5\n",
            "2:18: `timeout_seconds` must be a whole number of 0 or more, found `-5`",
        ),
        (
            "cmds: [x]\nboot:\n  cmds: [y]\n",
            "1:1: unknown key `cmds`; known here: version, boot",
        ),
        ("cmds: [x]\nenvs: {}\n", "2:1: unknown key `envs`, did you mean `env`?"),
        (
            "cmds: [x]\nworkdir: ../up\n",
            "2:10: `workdir`: `../up` climbs out of the tree with `..`",
        ),
        (
            "cmds: [x]\nworkdir: a\ncwd: b\n",
            "3:1: `cwd` is another name of `workdir`, which line 2 gives; remove one",
        ),
        (
            "cmds: [x]\nsteps: [y]\n",
            "2:1: `steps` is another name of `cmds`, which line 1 gives; remove one",
        ),
        ("cmds:\n  - x\n  - ''\n", "3:5: `cmds[1]` is empty"),
        ("cmds: x\n", "1:7: `cmds` must be a list of strings, found a string"),
        ("env: [A=b]\n", "1:6: `env` must be a mapping, found a list"),
        ("env: {A: [b]}\n", "1:10: `env.A` must be a single value"),
        (
            "env:\n  A-B: c\n",
            "2:3: `env`: `A-B` is no variable name (letters, digits, `_`)",
        ),
        (
            "env:\n  AIDER_FSM_STAGE: tests\n",
            "2:3: `env.AIDER_FSM_STAGE` is set by the runner; remove it",
        ),
        ("env: {A: \"x\\0y\"}\n", "1:10: `env.A` holds a NUL character"),
        ("", "1:1: the file is empty"),
        ("- a\n", "1:1: the file must be a mapping of sections, found a list"),
    ] {
        assert_eq!(message(text), expected, "{text}");
    }
}

#[test]
fn values_see_the_insides_variables_and_earlier_entries_and_nothing_else() {
    assert_eq!(
        environment("env:\n  FOO: bar\n  BAR: ${FOO}-baz\n  LATE: $NEXT\n  NEXT: x\n  COST: $$5\n  HERE: $HOME/x\n"),
        pairs(&[
            ("FOO", "bar"),
            ("BAR", "bar-baz"),
            ("LATE", ""),
            ("NEXT", "x"),
            ("COST", "$5"),
            ("HERE", "/home/agent/x")
        ])
    );
    // Cargo sets this one for the test's process.
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
    assert_eq!(environment("env: {A: 'x${CARGO_PKG_NAME}'}"), pairs(&[("A", "x")]));
    // Values are as spelled, and null is nothing.
    assert_eq!(
        environment("env: {A: true, B: ~, C: 010}"),
        pairs(&[("A", "true"), ("B", ""), ("C", "010")])
    );
}

#[test]
fn relative_entries_of_the_path_start_at_the_repository() {
    assert_eq!(
        environment("env: {PATH: './.venv/bin:tools:/opt/x:$PATH:'}"),
        pairs(&[("PATH", "/workspace/.venv/bin:/workspace/tools:/opt/x:/usr/bin:/bin:")])
    );
}

#[test]
fn values_that_grow_without_end_are_an_error_at_their_place() {
    let mut text = "env:\n  A0: xxxxxxxxxxxxxxxx\n".to_owned();
    for n in 1..60 {
        text += &format!("  A{n}: $A{}$A{}\n", n - 1, n - 1);
    }
    let error = parsed(&text).environment(&fixed(), "/workspace").expect_err("too long");
    assert_eq!(
        error.to_string(),
        ".aider_fsm/bootstrap.yml:15:8: `env.A13` is longer than 131067 bytes once it is expanded"
    );
    let big = "y".repeat(60_000);
    let mut text = format!("env:\n  A: {big}\n");
    for n in 0..40 {
        text += &format!("  B{n}: $A\n");
    }
    let error = parsed(&text).environment(&fixed(), "/workspace").expect_err("too long");
    assert!(
        error.to_string().contains("`env` is longer than 1048576 bytes"),
        "{error}"
    );
}

#[test]
fn hidden_values_leave_no_trace_in_the_text_whatever_their_style() {
    let hide = |name: &str, _: &str| name.starts_with("SECRET");
    let text = "env:\n  SECRET_A: plain-1\n  B: kept # SECRET\n  SECRET_C: |\n    block-2\n\n    block-3\n  SECRET_D: \"esc\\u0061ped-4\"\ncmds:\n  - echo\n";
    assert_eq!(
        parsed(text).masked(text, hide),
        "env:\n  SECRET_A: [redacted]\n  B: kept # SECRET\n  SECRET_C: |\n    [redacted]\n  SECRET_D: [redacted]\ncmds:\n  - echo\n"
    );
    let text = "env: {SECRET_A: one, B: two, SECRET_C: 'three',\n  SECRET_D: four}\ncmd: x\n";
    let masked = parsed(text).masked(text, hide);
    assert!(
        !["one", "three", "four"].iter().any(|word| masked.contains(word)) && masked.contains("B: two"),
        "{masked}"
    );
    let text = "env: {B: 1}\r# one line more\rcmd: x\r";
    assert_eq!(parsed(text).masked(text, |_, _| true), "env: {B: [redacted]\ncmd: x\n");
    let text = "cmd: x\nenv:\n  SECRET_A: >-\n    last\n    lines\n";
    assert_eq!(
        parsed(text).masked(text, hide),
        "cmd: x\nenv:\n  SECRET_A: >-\n    [redacted]\n"
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-c:\\-\\[\\]{}&*!?|>'\"#%\n \t,~0-9$_]{0,60}", keys in prop::sample::select(vec!["cmds", "env", "boot", "retries"])) {
        for text in [text.clone(), format!("{keys}: {text}"), format!("env:\n  A: {text}\n")] {
            if let Ok(boot) = Bootstrap::parse(&path(), text.as_bytes()) {
                let _ = boot.environment(&fixed(), "/workspace");
                boot.masked(&text, |_, _| true);
            }
        }
    }

    #[test]
    fn a_hidden_value_is_gone(value in "[a-z]{6,12}", quote in prop::sample::select(vec!["", "'", "\""]), more in "[A-C]{1,3}: [0-9]{1,3}\n") {
        let text = format!("env:\n  X: {quote}{value}{quote}\n  {more}cmd: y\n");
        let masked = parsed(&text).masked(&text, |name, _| name == "X");
        prop_assert!(!masked.contains(&value) && masked.ends_with("cmd: y\n") && masked.contains(more.trim()), "{}", masked);
    }
}
