//! A repository without a contract, and contracts for it.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::program::Bench;

/// Three of four hold: the score that the repository's own measurement comes to.
const CHECK: &str = "from app import add\nholds = [add(1, 1) == 2, add(2, 2) == 4, add(0, 0) == 0, add(1, 2) == 4]\n\
    print('passed %d of %d' % (sum(holds), len(holds)))\n";
const SCORE: &str = "import json, re, sys\nfound = re.search(r'passed (\\d+) of (\\d+)', open(sys.argv[1]).read())\n\
    passed, total = int(found.group(1)), int(found.group(2))\n\
    json.dump({'ok': total > 0, 'score': passed / total}, open('.aider_fsm/metrics.json', 'w'))\n";

/// A contract that holds.
pub const CONTRACT: &str = "version: 1\nsecurity:\n  max_cmd_seconds: 60\ndeploy:\n  setup_cmd: sh .aider_fsm/stages/deploy_setup.sh\n\
    rollout:\n  run_cmd: sh .aider_fsm/stages/rollout.sh\nevaluation:\n  run_cmd: sh .aider_fsm/stages/evaluation.sh\n  \
    metrics_path: .aider_fsm/metrics.json\n  required_keys: [score, ok]\n";

/// What it runs.
pub fn stages() -> Vec<(&'static str, &'static str)> {
    vec![
        (".aider_fsm/stages/deploy_setup.sh", "set -eu\ntest -f app.py\n"),
        (".aider_fsm/stages/rollout.sh", "set -eu\npython3 check.py\n"),
        (
            ".aider_fsm/stages/evaluation.sh",
            "set -eu\npython3 check.py > \"$AIDER_FSM_ARTIFACTS_DIR/check.txt\"\n\
             python3 .aider_fsm/stages/score.py \"$AIDER_FSM_ARTIFACTS_DIR/check.txt\"\n",
        ),
        (".aider_fsm/stages/score.py", SCORE),
    ]
}

/// The repository, with no contract.
pub fn without_contract() -> Bench {
    let bench = Bench::new();
    bench
        .file("README.md", "# app\n\n    python3 check.py\n")
        .file("app.py", "def add(a, b):\n    return a + b\n")
        .file("check.py", CHECK);
    bench
}

/// A shell command that writes files.
pub fn writes(files: &[(&str, &str)]) -> String {
    let mut text = String::from("mkdir -p .aider_fsm/stages\n");
    for (path, content) in files {
        text += &format!("cat > {path} <<'END_OF_FILE'\n{content}END_OF_FILE\n");
    }
    text
}

/// The records of one kind in a run's journal, their fields alone.
pub fn records(run: &Path, event: &str) -> Vec<Value> {
    let journal = fs::read_to_string(run.join("journal.jsonl")).expect("a journal");
    journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("json"))
        .filter(|line| line["event"] == event)
        .map(|line| line["fields"].clone())
        .collect()
}

/// The contract's files in a receipt: who wrote each.
pub fn authors(receipt: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let files = receipt["contract"].as_array().cloned().unwrap_or_default();
    files
        .iter()
        .map(|file| (text(&file["path"]), text(&file["by"])))
        .collect()
}

/// One line for each path.
pub fn by(author: &str, paths: &[&str]) -> Vec<(String, String)> {
    paths
        .iter()
        .map(|path| ((*path).to_owned(), author.to_owned()))
        .collect()
}

/// `path` in the directory of a run.
pub fn text(run: &Path, path: &str) -> String {
    fs::read_to_string(run.join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// A call of the shell.
pub fn shell(command: &str) -> (&'static str, Value) {
    ("bash", json!({"command": command, "description": "as scripted"}))
}
