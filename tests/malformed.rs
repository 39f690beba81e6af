//! Malformed contracts: one line that says what is wrong, where, and what was probably
//! meant; exit code 2; and no time or memory for hostile ones.

#[path = "support/program.rs"]
mod program;

use std::{
    fs,
    io::Write,
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};
use opencode_fsm::{
    contract::{Bootstrap, ContractError, Pipeline, parse_actions},
    names::RelPath,
};
use program::{Bench, expect};

/// `pipeline.yml`: the text, and `line:column: message`.
const PIPELINES: &[(&str, &str)] = &[
    ("", "1:1: the file is empty"),
    ("# nothing but a comment\n", "1:1: the file is empty"),
    (
        "tests: {cmd: t}\n\tretries: 1\n",
        "2:2: not valid YAML: YAML is indented with blanks, and a tab stands here",
    ),
    (
        "tests: {cmd: t\nrollout: {run_cmd: r}\n",
        "2:8: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'",
    ),
    ("tests:\n  cmd: 'make\n", "2:8: not valid YAML: unclosed quote"),
    (
        "tests:\n  cmd: t\n retries: 1\n",
        "3:2: not valid YAML: while parsing a block mapping, did not find expected key",
    ),
    (
        "tests:\n  cmd: make: all\n",
        "2:12: not valid YAML: mapping values are not allowed in this context",
    ),
    (
        "tests:\n  cmd: @make\n",
        "2:8: not valid YAML: unexpected character: `@'",
    ),
    (
        "tests:\n  cmd: `make`\n",
        "2:8: not valid YAML: unexpected character: ``'",
    ),
    (
        "tests: {cmd: t}\nrollout: {run_cmd: r}\ntests: {cmd: u}\n",
        "3:1: duplicate key `tests`, first given in line 1",
    ),
    (
        "tests:\n  cmd: t\n  cmd: u\n",
        "3:3: duplicate key `cmd`, first given in line 2",
    ),
    (
        "tests: &t {cmd: t}\nrollout: *t\n",
        "2:10: aliases (`*name`) are not supported; write the value out",
    ),
    (
        "tests:\n  <<: {cmd: t}\n",
        "2:3: merge keys (`<<`) are not supported; write the keys out",
    ),
    (
        "tests:\n  cmd: !!python/name:os.system t\n",
        "2:8: the tag `!!python/name:os.system` is not supported; remove it",
    ),
    (
        "tests: {cmd: t}\n---\ntests: {cmd: u}\n",
        "2:1: a second document begins here; only one is read, remove the rest",
    ),
    (
        "? [tests]\n: {cmd: t}\n",
        "1:3: a key must be a plain word, not a list or a mapping",
    ),
    (
        "%YAML 9.9\n---\ntests: {cmd: t}\n",
        "1:1: not valid YAML: unsupported YAML major version",
    ),
    (
        "- tests: {cmd: t}\n",
        "1:1: the file must be a mapping of sections, found a list",
    ),
    (
        "make test\n",
        "1:1: the file must be a mapping of sections, found a string",
    ),
    ("~\n", "1:1: the file is empty"),
    (
        "tests: {cmd: t}\n...\nrest\n",
        "3:1: a second document begins here; only one is read, remove the rest",
    ),
    (
        "version: 2\ntests: {cmd: t}\n",
        "1:10: `version` must be the integer 1, found `2`",
    ),
    (
        "version: '1'\ntests: {cmd: t}\n",
        "1:10: `version` must be the integer 1, found `1`",
    ),
    (
        "version: [1]\ntests: {cmd: t}\n",
        "1:10: `version` must be the integer 1, found a list",
    ),
    (
        "version:\ntests: {cmd: t}\n",
        "1:8: `version` must be the integer 1, found nothing",
    ),
    (
        "version: 1\ntests: {cmd: t}\n\nevalution:\n  run_cmd: e\n",
        "4:1: unknown key `evalution`, did you mean `evaluation`?",
    ),
    (
        "tests:\n  cmd: t\n  timeout: 5\n",
        "3:3: unknown key `tests.timeout`, did you mean `timeout_seconds`?",
    ),
    (
        "tests:\n  command: t\n",
        "2:3: unknown key `tests.command`; known here: cmds, cmd, retries, timeout_seconds, env, workdir",
    ),
    (
        "rollout:\n  cmd: r\n",
        "2:3: unknown key `rollout.cmd`, did you mean `run_cmd`?",
    ),
    (
        "security:\n  deny_list: [rm]\ntests: {cmd: t}\n",
        "2:3: unknown key `security.deny_list`, did you mean `denylist`?",
    ),
    (
        "deploy:\n  setup_cmd: s\n  healthcmd: h\n",
        "3:3: unknown key `deploy.healthcmd`, did you mean `health_cmd`?",
    ),
    (
        "deploy:\n  setup_cmd: s\n  kubectl_dump:\n    enable: true\n",
        "4:5: unknown key `deploy.kubectl_dump.enable`, did you mean `enabled`?",
    ),
    (
        "stages: [tests]\n",
        "1:1: unknown key `stages`; known here: version, security, auth, tests, deploy, rollout, evaluation, benchmark, artifacts, tooling",
    ),
    (
        "tests: {cmd: t}\nartifacts:\n  dir: out\n",
        "3:3: unknown key `artifacts.dir`, did you mean `out_dir`?",
    ),
    (
        "tests: {cmd: t}\ntooling:\n  ensure_tool: true\n",
        "3:3: unknown key `tooling.ensure_tool`, did you mean `ensure_tools`?",
    ),
    (
        "\"a\\nb\\e[31m\": 1\n",
        "1:1: unknown key `a\\nb\\u{1b}[31m`; known here: version, security, auth, tests, deploy, rollout, evaluation, benchmark, artifacts, tooling",
    ),
    ("tests: make test\n", "1:8: `tests` must be a mapping, found a string"),
    ("tests: [make test]\n", "1:8: `tests` must be a mapping, found a list"),
    ("tests:\n", "1:1: `tests` is empty; fill it in or remove it"),
    (
        "tests:\n  cmds: make\n",
        "2:9: `tests.cmds` must be a list of strings, found a string",
    ),
    (
        "tests:\n  cmds: {a: b}\n",
        "2:9: `tests.cmds` must be a list of strings, found a mapping",
    ),
    (
        "tests:\n  cmd: [make]\n",
        "2:8: `tests.cmd` must be a string, found a list",
    ),
    (
        "tests:\n  cmd: true\n",
        "2:8: `tests.cmd` must be a string, found a boolean; write \"true\" in quotes",
    ),
    (
        "tests:\n  cmds:\n    - a\n    - 5\n",
        "4:7: `tests.cmds[1]` must be a string, found a number; write \"5\" in quotes",
    ),
    ("tests:\n  cmds: ['']\n", "2:10: `tests.cmds[0]` is empty"),
    ("tests:\n  cmd: '  '\n", "2:8: `tests.cmd` is empty"),
    ("tests:\n  cmd: \"a\\0b\"\n", "2:8: `tests.cmd` holds a NUL character"),
    (
        "tests:\n  cmds: []\n  retries: 1\nrollout: 5\n",
        "4:10: `rollout` must be a mapping, found a number",
    ),
    (
        "tests:\n  cmd: t\n  timeout_seconds: -1\n",
        "3:20: `tests.timeout_seconds` must be a whole number of 0 or more, found `-1`",
    ),
    (
        "tests:\n  cmd: t\n  timeout_seconds: ten\n",
        "3:20: `tests.timeout_seconds` must be a whole number of 0 or more, found `ten`",
    ),
    (
        "tests:\n  cmd: t\n  timeout_seconds: 1.5\n",
        "3:20: `tests.timeout_seconds` must be a whole number of 0 or more, found `1.5`",
    ),
    (
        "tests:\n  cmd: t\n  timeout_seconds: '5'\n",
        "3:20: `tests.timeout_seconds` must be a whole number of 0 or more, found `5`",
    ),
    (
        "tests:\n  cmd: t\n  timeout_seconds: 99999999999999999999\n",
        "3:20: `tests.timeout_seconds` must be at most 2592000",
    ),
    (
        "tests:\n  cmd: t\n  retries: -1\n",
        "3:12: `tests.retries` must be a whole number of 0 or more, found `-1`",
    ),
    (
        "tests:\n  cmd: t\n  retries: 101\n",
        "3:12: `tests.retries` must be at most 100",
    ),
    (
        "tests:\n  cmd: t\n  retries: 010\n",
        "3:12: `tests.retries` must be written without leading zeros",
    ),
    (
        "tests: {cmd: t}\nsecurity:\n  max_cmd_seconds: -5\n",
        "3:20: `security.max_cmd_seconds` must be a whole number of 0 or more, found `-5`",
    ),
    (
        "tests:\n  cmd: t\n  env: [A=1]\n",
        "3:8: `tests.env` must be a mapping, found a list",
    ),
    (
        "tests:\n  cmd: t\n  env:\n    A: [1]\n",
        "4:8: `tests.env.A` must be a single value",
    ),
    (
        "tests:\n  cmd: t\n  env:\n    1A: x\n",
        "4:5: `tests.env`: `1A` is no variable name (letters, digits, `_`)",
    ),
    (
        "tests:\n  cmd: t\n  env:\n    AIDER_FSM_STAGE: x\n",
        "4:5: `tests.env.AIDER_FSM_STAGE` is set by the runner; remove it",
    ),
    (
        "tests:\n  cmd: t\n  env:\n    A: \"x\\0y\"\n",
        "4:8: `tests.env.A` holds a NUL character",
    ),
    (
        "tests:\n  cmd: t\n  workdir: ../up\n",
        "3:12: `tests.workdir`: `../up` climbs out of the tree with `..`",
    ),
    (
        "tests:\n  cmd: t\n  workdir: /etc\n",
        "3:12: `tests.workdir`: `/etc` is absolute; a path inside the tree is needed",
    ),
    (
        "tests:\n  cmd: t\n  workdir: a/../../b\n",
        "3:12: `tests.workdir`: `a/../../b` climbs out of the tree with `..`",
    ),
    (
        "tests:\n  cmd: t\n  workdir: [a]\n",
        "3:12: `tests.workdir` must be a string, found a list",
    ),
    (
        "tests: {cmd: t}\nartifacts:\n  out_dir: ../up\n",
        "3:12: `artifacts.out_dir`: `../up` climbs out of the tree with `..`",
    ),
    (
        "evaluation:\n  run_cmd: e\n  metrics_path: /tmp/m.json\n",
        "3:17: `evaluation.metrics_path`: `/tmp/m.json` is absolute; a path inside the tree is needed",
    ),
    (
        "auth:\n  cmd: a\n  interactive: 'false'\n",
        "3:16: `auth.interactive` must be true or false, found a string",
    ),
    (
        "deploy:\n  setup_cmd: s\n  teardown_policy: sometimes\n",
        "3:20: `deploy.teardown_policy` must be one of `always`, `on_success`, `on_failure`, `never`, found `sometimes`",
    ),
    (
        "tests: {cmd: t}\nsecurity:\n  mode: open\n",
        "3:9: `security.mode` must be one of `safe`, `system`, found `open`",
    ),
    (
        "deploy:\n  setup_cmd: s\n  kubectl_dump: yes\n",
        "3:17: `deploy.kubectl_dump` must be a mapping, found a string",
    ),
    (
        "auth:\n  cmd: a\n  steps: [b]\n",
        "3:11: `auth.steps` is another name of `auth.cmds`; remove one of them",
    ),
    (
        "benchmark:\n  run_cmd: b\n  required_keys: [ok]\n",
        "3:19: `benchmark.required_keys` needs `benchmark.metrics_path`",
    ),
    (
        "auth:\n  retries: 1\n",
        "1:1: `auth.cmds` must list at least one command, or remove `auth`",
    ),
    (
        "version: 1\n",
        "1:1: no stage is declared; add `tests`, `rollout` or `evaluation`",
    ),
    (
        "evaluation:\n  required_keys: ok\n  metrics_path: m.json\n",
        "2:18: `evaluation.required_keys` must be a list of strings, found a string",
    ),
    (
        "tests: {cmd: t}\nsecurity:\n  allowlist:\n    - ok\n    - 'a('\n",
        "5:7: `security.allowlist[1]`: `a(` is no pattern: unclosed group",
    ),
];

/// `.aider_fsm/bootstrap.yml`, likewise.
const BOOTSTRAPS: &[(&str, &str)] = &[
    ("", "1:1: the file is empty"),
    ("- make\n", "1:1: the file must be a mapping of sections, found a list"),
    ("version: 3\n", "1:10: `version` must be the integer 1, found `3`"),
    (
        "cmds:\n  - a\ncmds: [b]\n",
        "3:1: duplicate key `cmds`, first given in line 1",
    ),
    (
        "commands: [a]\n",
        "1:1: unknown key `commands`; known here: version, boot, cmds, cmd, retries, timeout_seconds, workdir, env",
    ),
    (
        "cmds: [a]\nworkdirs: b\n",
        "2:1: unknown key `workdirs`, did you mean `workdir`?",
    ),
    ("cmds: make\n", "1:7: `cmds` must be a list of strings, found a string"),
    ("cmds: ['']\n", "1:8: `cmds[0]` is empty"),
    (
        "cmds: [true]\n",
        "1:8: `cmds[0]` must be a string, found a boolean; write \"true\" in quotes",
    ),
    (
        "cmds: [a]\nretries: -1\n",
        "2:10: `retries` must be a whole number of 0 or more, found `-1`",
    ),
    (
        "cmds: [a]\ntimeout_seconds: 1.5\n",
        "2:18: `timeout_seconds` must be a whole number of 0 or more, found `1.5`",
    ),
    (
        "cmds: [a]\nworkdir: ../up\n",
        "2:10: `workdir`: `../up` climbs out of the tree with `..`",
    ),
    ("env: [A=1]\n", "1:6: `env` must be a mapping, found a list"),
    (
        "env:\n  A-B: x\n",
        "2:3: `env`: `A-B` is no variable name (letters, digits, `_`)",
    ),
    (
        "env:\n  AIDER_FSM_STAGE: x\n",
        "2:3: `env.AIDER_FSM_STAGE` is set by the runner; remove it",
    ),
    ("env:\n  A: {b: c}\n", "2:6: `env.A` must be a single value"),
    (
        "env: &e {A: x}\ncmds: [*e]\n",
        "2:8: aliases (`*name`) are not supported; write the value out",
    ),
];

/// `.aider_fsm/actions.yml`, likewise.
const ACTIONS: &[(&str, &str)] = &[
    ("# nothing\n", "1:1: the file is empty"),
    ("version: 1\n", "1:1: `actions` must list at least one action"),
    (
        "version: 1\naction: []\n",
        "2:1: unknown key `action`, did you mean `actions`?",
    ),
    (
        "actions: {a: b}\n",
        "1:10: `actions` must be a list of mappings, found a mapping",
    ),
    (
        "actions: [make]\n",
        "1:11: `actions[0]` must be a mapping, found a string",
    ),
    (
        "actions:\n  - kind: shell\n    cmd: x\n",
        "2:11: `actions[0].kind` must be run_cmd, install_tool, start_service or write_file, found `shell`",
    ),
    (
        "actions:\n  - id: a\n",
        "2:5: `actions[0].cmd` is missing; `run_cmd` needs it",
    ),
    (
        "actions:\n  - kind: write_file\n    content: x\n",
        "2:5: `actions[0].path` is missing; `write_file` needs it",
    ),
    (
        "actions:\n  - kind: write_file\n    path: x\n",
        "2:5: `actions[0].content` is missing; `write_file` needs it",
    ),
    (
        "actions:\n  - {kind: write_file, path: x, content: 5}\n",
        "2:42: `actions[0].content` must be a string, found a number",
    ),
    (
        "actions:\n  - cmd: x\n    retries: -2\n",
        "3:14: `actions[0].retries` must be a whole number of 0 or more, found `-2`",
    ),
    (
        "actions:\n  - cmd: x\n    timeout: 5\n",
        "3:5: unknown key `actions[0].timeout`, did you mean `timeout_seconds`?",
    ),
    (
        "actions:\n  - {id: a, cmd: x}\n  - {id: a, cmd: y}\n",
        "3:5: a second action with the id `a`; the first is in line 2",
    ),
    (
        "actions:\n  - {id: \"a\\nb\", cmd: x}\n",
        "2:10: `actions[0].id` must be one line of at most 100 characters",
    ),
    (
        "actions:\n  - cmd: !shell x\n",
        "2:10: the tag `!shell` is not supported; remove it",
    ),
];

type Reader = fn(&RelPath, &[u8]) -> Result<(), ContractError>;

fn pipeline(path: &RelPath, text: &[u8]) -> Result<(), ContractError> {
    Pipeline::parse(path, text).map(|_| ())
}

fn bootstrap(path: &RelPath, text: &[u8]) -> Result<(), ContractError> {
    Bootstrap::parse(path, text).map(|_| ())
}

fn actions(path: &RelPath, text: &[u8]) -> Result<(), ContractError> {
    parse_actions(path, text).map(|_| ())
}

/// What a reader says of a text in the file `name`.
fn refusal(read: Reader, name: &str, text: &[u8]) -> String {
    let path = RelPath::new(name).expect("a path");
    let why = read(&path, text).expect_err(&String::from_utf8_lossy(text));
    why.to_string()
}

/// What the program says on stderr of a repository with this `pipeline.yml`.
fn program_on(bench: &Bench, text: &[u8], exit: i32) -> String {
    fs::write(bench.path("repo/pipeline.yml"), text).expect("write");
    let mut command = bench.command(&["verify"], "repo");
    command.env("XDG_CACHE_HOME", bench.path("cache"));
    let output = expect(command, exit);
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn every_malformed_pipeline_gets_one_line_with_its_place_and_exit_code_2() {
    let bench = Bench::new();
    let check = |text: &[u8], expected: &str| {
        let said = program_on(&bench, text, 2);
        let last = format!("error: pipeline.yml:{expected}\n");
        assert!(said.ends_with(&last), "{:?}: {said}", String::from_utf8_lossy(text));
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert!(!said.contains('\x1b'), "{said:?}");
    };
    for (text, expected) in PIPELINES {
        check(text.as_bytes(), expected);
    }
    // Columns are characters, whatever their width in bytes.
    check(
        "tests: {cmd: \u{e9}, r\u{e9}tries: 1}\n".as_bytes(),
        "1:17: unknown key `tests.r\u{e9}tries`, did you mean `retries`?",
    );
    check(b"tests: {cmd: t}\n# \xff\n", "2:3: the file is not UTF-8 from here on");
    let patterns = format!("tests: {{cmd: t}}\nsecurity:\n  denylist: [{}]\n", "a, ".repeat(101));
    check(
        patterns.as_bytes(),
        "3:314: `security.denylist` has more than 100 patterns",
    );
    let long = format!("tests:\n  cmd: '{}'\n", "x".repeat(131_072));
    check(
        long.as_bytes(),
        "2:8: a command of 131072 bytes; the kernel takes 131071",
    );
    let pipeline = bench.path("repo/pipeline.yml");
    let refused = |flags: &[&str]| String::from_utf8(expect(bench.command(flags, "repo"), 2).stderr).expect("text");
    fs::remove_file(&pipeline).expect("remove");
    fs::create_dir(&pipeline).expect("mkdir");
    assert!(refused(&["verify"]).ends_with("pipeline.yml:1:1: a contract is a file, and this is a directory\n"));
    fs::remove_dir(&pipeline).expect("remove");
    std::os::unix::fs::symlink("elsewhere.yml", &pipeline).expect("link");
    assert!(refused(&["verify"]).contains("pipeline.yml:1:1: a contract is a file, and this is a link; name"));
    fs::remove_file(&pipeline).expect("remove");
    assert!(refused(&["verify", "--pipeline", "ci.yml"]).contains("the target has no `ci.yml`"));
    // The control, and the record of the last refusal.
    program_on(&bench, b"version: 1\ntests: {cmd: 'true'}\n", 0);
    fs::remove_dir_all(bench.path("runs")).expect("remove");
    program_on(&bench, b"tests:\n", 2);
    let kept = fs::read_to_string(bench.the_run().join("pipeline_parse_error.txt")).expect("kept");
    assert_eq!(kept, "pipeline.yml:1:1: `tests` is empty; fill it in or remove it\n");
}

#[test]
fn the_other_contracts_are_as_strict() {
    for (read, name, rows) in [
        (bootstrap as Reader, ".aider_fsm/bootstrap.yml", BOOTSTRAPS),
        (actions, ".aider_fsm/actions.yml", ACTIONS),
    ] {
        for (text, expected) in rows {
            assert_eq!(
                refusal(read, name, text.as_bytes()),
                format!("{name}:{expected}"),
                "{text}"
            );
        }
    }
}

/// A key in a line of YAML: where it begins (in bytes), itself, and its value.
fn key_in(line: &str) -> Option<(usize, &str, &str)> {
    let at = line.len() - line.trim_start_matches([' ', '-']).len();
    let (key, rest) = line[at..].split_once(':')?;
    let word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let value = rest.split(" #").next().unwrap_or_default();
    word.then_some((at, key, value.trim()))
}

/// The examples, damaged line by line: every misspelt key is found in its place with
/// the right one named, and every value of a wrong type in its own.
#[test]
fn damaged_examples_are_refused_where_they_are_damaged() {
    let mut damaged = 0;
    for (read, name, example) in [
        (
            pipeline as Reader,
            "pipeline.yml",
            include_str!("../examples/pipeline.yml"),
        ),
        (
            pipeline,
            "pipeline.yml",
            include_str!("../examples/benchmark_pipeline.yml"),
        ),
        (
            bootstrap,
            ".aider_fsm/bootstrap.yml",
            include_str!("../examples/bootstrap.yml"),
        ),
        (
            actions,
            ".aider_fsm/actions.yml",
            include_str!("../examples/actions.yml"),
        ),
    ] {
        read(&RelPath::new(name).expect("a path"), example.as_bytes()).expect("the control: it is well-formed");
        let lines: Vec<&str> = example.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let Some((at, key, value)) = key_in(line).filter(|_| !line.trim_start().starts_with('#')) else {
                continue;
            };
            let with = |changed: String| {
                let mut all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                all[index] = changed;
                refusal(read, name, all.join("\n").as_bytes())
            };
            // The last letter doubled.
            let last = &key[key.len() - 1..];
            let said = with(format!("{}{key}{last}{}", &line[..at], &line[at + key.len()..]));
            assert!(
                said.starts_with(&format!("{name}:{}:{}: unknown key `", index + 1, at + 1)),
                "{said}"
            );
            assert!(
                said.ends_with(&format!("{key}{last}`, did you mean `{key}`?")),
                "{said}"
            );
            damaged += 1;
            if !value.is_empty() && value != "|" {
                let said = with(format!(
                    "{} {{x: {{y: z}}}}",
                    &line[..line.find(':').expect("a key") + 1]
                ));
                let place = format!("{name}:{}:", index + 1);
                assert!(said.starts_with(&place) && said.contains(key), "{said}");
                let column = line.find(':').expect("a key") + 3;
                assert!(said.starts_with(&format!("{place}{column}: ")), "{said}");
                damaged += 1;
            }
        }
    }
    assert!(damaged >= 60, "{damaged}");
}

/// Writes `pipeline.yml` in pieces, so that this process does not grow with it.
fn write_in_pieces(bench: &Bench, head: &str, piece: &str, times: usize) {
    let file = fs::File::create(bench.path("repo/pipeline.yml")).expect("create");
    let mut file = std::io::BufWriter::new(file);
    file.write_all(head.as_bytes()).expect("write");
    for _ in 0..times {
        file.write_all(piece.as_bytes()).expect("write");
    }
}

/// The issue demands a second and 200 MB; the time here is for an unoptimised program
/// on a machine that does other things as well.
#[test]
fn hostile_contracts_cost_neither_time_nor_memory() {
    let bomb: String = (0..30)
        .map(|n| format!("a{}: &a{} [*a{n}, *a{n}, *a{n}]\n", n + 1, n + 1))
        .collect();
    for (what, head, piece, times) in [
        ("an alias bomb", format!("a0: &a0 [x]\n{bomb}"), "", 0),
        ("100 000 levels of lists", String::new(), "[", 100_000),
        ("100 000 levels of mappings", String::new(), "{a: ", 100_000),
        ("100 000 levels of blocks", String::new(), "- ", 100_000),
        (
            "50 MB of comments",
            "tests: {cmd: t}\n".to_owned(),
            "# nothing to see here, and more of it below this line\n",
            950_000,
        ),
        ("many keys", String::new(), "", 0),
    ] {
        let bench = Bench::new();
        write_in_pieces(&bench, &head, piece, times);
        if what == "many keys" {
            let keys: String = (0..60_000).map(|n| format!("k{n}: 1\n")).collect();
            fs::write(bench.path("repo/pipeline.yml"), keys).expect("write");
        }
        let began = Instant::now();
        let output = expect(bench.command(&["verify", "--json"], "repo"), 2);
        let took = began.elapsed();
        let text = String::from_utf8(output.stdout).expect("text");
        let last: serde_json::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("json");
        let message = last["message"].as_str().expect("a message");
        assert!(
            message.starts_with("pipeline.yml:") && message.len() < 300,
            "{what}: {message}"
        );
        assert!(took < Duration::from_secs(5), "{what}: {took:?}");
    }
    // KiB, of the largest process that was waited for.
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage");
    assert!((1_000..200_000).contains(&usage.max_rss()), "{} KiB", usage.max_rss());
}

#[test]
fn hostile_texts_are_refused_in_every_contract() {
    for (read, name) in [
        (pipeline as Reader, "pipeline.yml"),
        (bootstrap, ".aider_fsm/bootstrap.yml"),
        (actions, ".aider_fsm/actions.yml"),
    ] {
        for hostile in [
            "[".repeat(100_000).into_bytes(),
            "a: &a [*a, *a]\n".into(),
            b"\xff\xfe".to_vec(),
            "# x\n".repeat(500_000).into_bytes(),
        ] {
            let said = refusal(read, name, &hostile);
            assert!(said.starts_with(&format!("{name}:1:")) && said.len() < 300, "{said}");
        }
    }
}
