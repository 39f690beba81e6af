//! Targets, and what of them is alive.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::program::Bench;

/// The key of the host's endpoint.
pub const KEY: &str = "sk-test-0123456789abcdefghijkl";

/// Asks the model that its environment names, and keeps the answers as samples.
const ROLLOUT: &str = r#"
import json, os, urllib.request
def ask(question):
    body = {"model": os.environ["AIDER_LLM_MODEL"], "messages": [{"role": "user", "content": question}]}
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", "Bearer " + os.environ["OPENAI_API_KEY"])
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.load(reply)["choices"][0]["message"]["content"]
path = os.path.join(os.environ["AIDER_FSM_ARTIFACTS_DIR"], "samples.jsonl")
with open(path, "w") as file:
    for number in range(int(os.environ.get("SAMPLES", "3"))):
        prompt = "%d+%d" % (number, number)
        said = ask(prompt)
        file.write(json.dumps({"prompt": prompt, "completion": said, "reward": float(said == "four")}) + "\n")
with open(".aider_fsm/rollout.json", "w") as file:
    json.dump({"ok": True, "counts": {"samples": 3}, "paths": {"samples_jsonl": path}}, file)
print(sorted(os.environ.items()))
"#;

const EVALUATE: &str = r#"
import json
samples = [json.loads(line) for line in open(json.load(open(".aider_fsm/rollout.json"))["paths"]["samples_jsonl"])]
score = sum(sample["reward"] for sample in samples) / len(samples)
json.dump({"ok": True, "score": score}, open(".aider_fsm/metrics.json", "w"))
"#;

/// A target that deploys a process, rolls out by asking a model, and scores the answers.
pub fn with_model() -> Bench {
    let bench = Bench::new();
    bench
        .file("rollout.py", ROLLOUT)
        .file("evaluate.py", EVALUATE)
        .file(
            "pipeline.yml",
            "version: 1\n\
             deploy:\n  setup_cmd: mkdir -p .aider_fsm; echo '{}' > .aider_fsm/runtime_env.json; sleep 1000 & echo up\n  teardown_cmd: pkill sleep; echo down\n\
             rollout:\n  run_cmd: python3 rollout.py\n\
             evaluation:\n  run_cmd: pgrep sleep && python3 evaluate.py\n  metrics_path: .aider_fsm/metrics.json\n  required_keys: [ok, score]\n",
        );
    bench
}

/// A completion in one piece that says a text.
pub fn completion(text: &str) -> &'static str {
    let body = format!(
        r#"{{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{{"index": 0,
            "message": {{"role": "assistant", "content": "{text}"}}, "finish_reason": "stop"}}],
            "usage": {{"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}}}"#
    );
    Box::leak(body.into_boxed_str())
}

/// Threads on the whole host that belong to a run.
pub fn alive(run: &str) -> usize {
    let needle = format!("AIDER_FSM_RUN_ID={run}\0").into_bytes();
    let entries = |dir: PathBuf| {
        fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    entries("/proc".into())
        .flat_map(|process| entries(process.join("task")).collect::<Vec<_>>())
        .filter_map(|thread| fs::read(thread.join("environ")).ok())
        .filter(|environ| environ.windows(needle.len()).any(|window| window == needle))
        .count()
}

/// Waits until something holds, at most for half a minute.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::yield_now();
    }
}

/// Directories of runs that are under way or were left, below a cache.
pub fn scratch(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache.join("opencode-fsm/scratch"))
        .into_iter()
        .flatten()
        .flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
