//! The JSON Schemas: what is committed is what the program prints, real records of a
//! real run hold to them, and the examples do.

#[path = "support/program.rs"]
mod program;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use boon::{Compiler, SchemaIndex, Schemas};
use program::{Bench, expect, opencode, program};
use serde_json::{Value, json};

/// Every schema, by its name, as the program prints it.
fn printed() -> BTreeMap<String, String> {
    let schema = |name: Option<&str>| {
        let mut command = program();
        command.arg("schema").args(name);
        String::from_utf8(expect(command, 0).stdout).expect("text")
    };
    let names = schema(None);
    names
        .lines()
        .map(|name| (name.to_owned(), schema(Some(name))))
        .collect()
}

/// All schemas, compiled.
struct Checker {
    schemas: Schemas,
    indices: BTreeMap<String, SchemaIndex>,
}

impl Checker {
    /// Schemas as they are, or (`closed`) without room for a field that they do not name.
    fn new(closed: bool) -> Self {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        let mut indices = BTreeMap::new();
        for (name, text) in printed() {
            let mut schema: Value = serde_json::from_str(&text).expect("json");
            if closed && schema.get("properties").is_some() {
                schema["unevaluatedProperties"] = json!(false);
            }
            let id = schema["$id"].as_str().expect("an id").to_owned();
            compiler.add_resource(&id, schema).expect("a resource");
            let index = compiler.compile(&id, &mut schemas);
            indices.insert(name, index.unwrap_or_else(|why| panic!("{why:#}")));
        }
        Self { schemas, indices }
    }

    /// What is wrong with a value; nothing where it holds.
    fn findings(&self, name: &str, value: &Value) -> String {
        match self.schemas.validate(value, self.indices[name]) {
            Ok(()) => String::new(),
            Err(why) => format!("{why:#}"),
        }
    }
}

#[test]
fn the_committed_schemas_are_what_the_program_prints() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas");
    let printed = printed();
    for (name, text) in &printed {
        let file = dir.join(format!("{name}.v1.json"));
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == *text,
            "{} is not current: opencode-fsm schema {name} > it",
            file.display()
        );
    }
    let files = fs::read_dir(&dir).expect("ls").count();
    assert_eq!(files, printed.len(), "a schema that the program no longer prints");
    let mut command = program();
    command.args(["schema", "nothing"]);
    assert!(String::from_utf8_lossy(&expect(command, 2).stderr).contains("there is no schema `nothing`; there are "));
}

/// Which schema a file of a run holds to, by its path in the run.
fn schema_of(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    Some(match path {
        "summary.json" => "summary",
        "state.json" => "state",
        "versions.json" => "versions",
        "journal.jsonl" => "journal",
        "changes.json" => "changes",
        "walls.json" => "walls",
        "policy.json" => "policy",
        "receipt.json" => "receipt",
        "lock.json" => "lock",
        "policy_origins.json" => "policy_origins",
        "model.jsonl" => "model",
        "cassette.jsonl" => "cassette",
        "options.json" => "options",
        "egress.jsonl" => "egress",
        _ if path.starts_with("checkpoints/") => "checkpoint",
        _ if path.starts_with("carried/") => "carried",
        _ if path.starts_with("logs/") => "log",
        _ if path.starts_with("guard/") => "guard",
        // OpenCode's own events.
        _ if name.ends_with(".events.jsonl") => return None,
        _ if path.starts_with("turns/") => "turn",
        _ if name == "summary.json" => "verification",
        _ if name == "metrics.json" || name.starts_with("metrics_") => "metrics",
        _ if name.ends_with("_summary.json") => "stage",
        _ if name.ends_with("_result.json") => "command",
        _ => panic!("{path} has no schema"),
    })
}

/// Files of a run, relative to it, but those that the repository made.
fn files_of(run: &Path) -> BTreeSet<PathBuf> {
    let theirs =
        |path: &Path| path.starts_with("files") || path.starts_with("agent") || path.iter().any(|n| n == "outputs");
    let all = program::fingerprint(run).into_keys().filter(|path| path.is_file());
    let all = all.map(|path| path.strip_prefix(run).expect("below it").to_path_buf());
    all.filter(|path| !theirs(path)).collect()
}

/// Holds every JSON record of a run, and every line of `--json`, against its schema.
/// Gives the schemas that were used.
fn check_run(checker: &Checker, run: &Path, stdout: &[u8]) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut check = |name: &str, value: &Value, place: &str| {
        let findings = checker.findings(name, value);
        assert!(findings.is_empty(), "{place}: {findings}\n{value}");
        used.insert(name.to_owned());
    };
    for file in files_of(run) {
        let path = file.to_str().expect("text");
        let lines = path.ends_with(".jsonl");
        if !lines && !path.ends_with(".json") {
            continue;
        }
        let Some(name) = schema_of(path) else { continue };
        let text = fs::read_to_string(run.join(&file)).expect("text");
        let documents: Vec<&str> = if lines { text.lines().collect() } else { vec![&text] };
        for document in documents {
            check(name, &serde_json::from_str(document).expect(path), path);
        }
    }
    for line in String::from_utf8_lossy(stdout).lines() {
        check("event", &serde_json::from_str(line).expect("json"), "--json");
    }
    used
}

#[test]
fn records_of_real_runs_hold_to_their_schemas() {
    let checker = Checker::new(true);
    // A verification that is refused, ended by a cap and measured.
    let bench = Bench::new();
    let measured = "mkdir -p .aider_fsm; echo '{\"ok\": true, \"score\": 0.5}' > .aider_fsm/metrics.json";
    let contract = format!(
        "version: 1\ntests: {{cmd: \"sleep 60 & true\"}}\nevaluation:\n  run_cmd: {}\n  metrics_path: .aider_fsm/metrics.json\n\
         benchmark: {{run_cmd: sleep 60, timeout_seconds: 1}}\n",
        json!(measured)
    );
    bench.file("pipeline.yml", &contract);
    let output = expect(bench.command(&["verify", "--json"], "repo"), 3);
    let mut used = check_run(&checker, &bench.the_run(), &output.stdout);
    fs::remove_dir_all(bench.path("runs")).expect("remove");
    bench.file("pipeline.yml", "tests: 5\n");
    let output = expect(bench.command(&["verify", "--json"], "repo"), 2);
    used.extend(check_run(&checker, &bench.the_run(), &output.stdout));

    // A run that is taken back once, and done then.
    if opencode() {
        let mut bench = Bench::new();
        bench
            .file("pipeline.yml", "version: 1\ntests:\n  cmd: test -f made\n")
            .file(
                "PLAN.md",
                "## Next (exactly ONE item)\n- [ ] (STEP_ID=001) make it\n## Backlog\n## Done\n## Notes\n-\n",
            );
        bench.say("plan_update_attempt_1", 1, 1, &[]);
        bench.shell("execute_step", 1, "echo hacked > pipeline.yml; ln -s x link; mkdir dir");
        bench.shell("execute_step", 2, "touch made");
        bench.say("plan_update_attempt_1", 2, 1, &[]);
        let output = expect(bench.run(&[]), 0);
        used.extend(check_run(&checker, &bench.the_run(), &output.stdout));
        for record in [
            "turn",
            "guard",
            "changes",
            "walls",
            "model",
            "receipt",
            "lock",
            "options",
            "carried",
            "cassette",
            "checkpoint",
        ] {
            assert!(used.contains(record), "{record}");
        }
    }
    for record in [
        "summary",
        "state",
        "versions",
        "journal",
        "log",
        "verification",
        "stage",
        "command",
        "event",
        "metrics",
    ] {
        assert!(used.contains(record), "{record}");
    }

    // The control: what is missing, of another type or unknown is found.
    let state = json!({"v": 1, "seq": 0, "prev": "0".repeat(64), "ts": "t", "event": "e", "fields": {}});
    assert_eq!(checker.findings("journal", &state), "");
    for (field, value) in [
        ("seq", json!("0")),
        ("prev", json!("0")),
        ("ts", Value::Null),
        ("more", json!(1)),
    ] {
        let mut wrong = state.clone();
        wrong[field] = value;
        assert!(!checker.findings("journal", &wrong).is_empty(), "{field}");
    }
    assert!(!checker.findings("journal", &json!({"seq": 0})).is_empty());
}

/// A YAML document as the JSON that an editor holds against a schema.
fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|why| panic!("{why}\n{text}"))
}

#[test]
fn the_examples_hold_to_the_schemas_and_mistakes_do_not() {
    let checker = Checker::new(false);
    for (name, example) in [
        ("pipeline", include_str!("../examples/pipeline.yml")),
        ("pipeline", include_str!("../examples/benchmark_pipeline.yml")),
        ("pipeline", include_str!("../examples/demo/pipeline.yml")),
        ("bootstrap", include_str!("../examples/bootstrap.yml")),
        ("actions", include_str!("../examples/actions.yml")),
        ("policy", include_str!("../policies/default.yml")),
        ("policy", include_str!("../policies/strict.yml")),
        ("policy", include_str!("../policies/ci.yml")),
        ("policy", include_str!("../policies/benchmark.yml")),
        ("policy", include_str!("../policies/system.yml")),
        (
            "config",
            "model: local/qwen3\nmax_iters: 9\nunattended: strict\nmemory: 2G\n",
        ),
    ] {
        assert_eq!(checker.findings(name, &yaml(example)), "");
    }
    for (name, mistake) in [
        ("pipeline", "evalution: {run_cmd: e}"),
        ("pipeline", "version: 2"),
        ("pipeline", "tests: {cmd: 5}"),
        ("pipeline", "tests: {cmds: make}"),
        ("pipeline", "tests: {cmd: t, retries: -1}"),
        ("pipeline", "tests: {cmd: t, timeout: 5}"),
        ("pipeline", "security: {mode: open}"),
        ("pipeline", "deploy: {setup_cmd: s, teardown_policy: sometimes}"),
        ("pipeline", "auth: {cmd: a, interactive: maybe}"),
        ("pipeline", "tests: {cmd: t, env: {A: [1]}}"),
        ("bootstrap", "cmds: make"),
        ("bootstrap", "commands: [make]"),
        ("actions", "actions: []"),
        ("actions", "actions: [{kind: write_file, path: x}]"),
        ("actions", "actions: [{cmd: x, kind: shell}]"),
        ("metrics", "{ok: yes-or-no}"),
        ("rollout", "{counts: {samples: -1}}"),
        ("runtime_env", "{service: {base_url: 5}}"),
        ("hints_run", "{attempts: [a]}"),
        ("hints_used", "{ok: true, used_anchors: [], commands: []}"),
        ("config", "{unattended: sometimes}"),
        ("config", "{goal: x}"),
        ("policy", "{}"),
        ("policy", "{version: 2}"),
        ("policy", "{version: 1, sandbx: {}}"),
        ("policy", "{version: 1, sandbox: {limits: {memory: 4GB}}}"),
        ("policy", "{version: 1, sandbox: {limits: {memory: null}}}"),
        ("policy", "{version: 1, sandbox: {limits: {processes: 1}}}"),
        ("policy", "{version: 1, time: {run: 0}}"),
        ("policy", "{version: 1, guards: {protected: [{because: x}]}}"),
        (
            "policy",
            "{version: 1, guards: {protected: [{path: x, phases: [plan]}]}}",
        ),
        ("policy", "{version: 1, environment: {stages: [{because: x}]}}"),
    ] {
        assert!(!checker.findings(name, &yaml(mistake)).is_empty(), "{name}: {mistake}");
    }
}
