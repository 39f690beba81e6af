//! A run of three steps that is cut off: how it is begun and taken up, and what it has to come to.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    endpoint::{Answer, Endpoint},
    program::{self, Bench, expect, json_file, program},
};

pub const PLAN: &str = "# PLAN\n\n## Goal\n- test\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID=001) one\n\n## Backlog\n\
    - [ ] (STEP_ID=002) two\n- [ ] (STEP_ID=003) three\n\n## Done\n\n## Notes\n-\n";

pub const CONTRACT: &str = "version: 1\ntests:\n  cmd: \"test ! -f broken\"\nevaluation:\n  run_cmd: \"mkdir -p .aider_fsm; printf '{\\\"ok\\\": true, \\\"score\\\": %d}' $(ls steps | wc -l) > .aider_fsm/metrics.json\"\n  metrics_path: .aider_fsm/metrics.json\n";

/// Three steps: one that is done, one that is taken back first, and one that has to be
/// repaired, with an action.
pub fn three_steps() -> Bench {
    let mut bench = Bench::new();
    bench
        .file("pipeline.yml", CONTRACT)
        .file("steps/0", "0\n")
        .file("PLAN.md", PLAN);
    for occurrence in 1..=5 {
        bench.say("plan_update_attempt_1", occurrence, 1, &[]);
    }
    bench.shell("execute_step", 1, "echo one > steps/1");
    bench.shell("execute_step", 2, "echo lost > steps/2; echo x >> pipeline.yml");
    bench.shell("execute_step", 3, "echo two > steps/2");
    bench.shell("execute_step", 4, "echo three > steps/3; touch broken");
    let actions = "mkdir -p .aider_fsm; printf 'version: 1\\nactions:\\n  - id: look\\n    kind: run_cmd\\n    cmd: echo acted > steps/acted\\n' > .aider_fsm/actions.yml; rm broken";
    bench.shell("fix_or_replan_attempt_1", 1, actions);
    bench.shell("execute_step", 5, "echo again >> steps/3");
    bench
}

pub fn quiet(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("starts")
}

pub fn resume(bench: &Bench) -> Command {
    let mut command = program();
    command
        .args(["resume", "--json", "--artifacts-dir"])
        .arg(bench.path("runs"));
    at_home(&mut command, bench);
    command.stdin(Stdio::null());
    command
}

pub fn cache(bench: &Bench) -> PathBuf {
    bench.cache()
}

/// With a cache of its own, and the agent that this host has.
pub fn at_home(command: &mut Command, bench: &Bench) {
    command.env("XDG_CACHE_HOME", cache(bench));
    command.env(
        "OPENCODE_BIN",
        opencode_fsm::agent::find_binary(None).expect("found before"),
    );
}

pub fn begin(bench: &Bench, more: &[&str]) -> Command {
    let mut command = bench.run(more);
    at_home(&mut command, bench);
    command
}

pub fn verdict(bench: &Bench) -> Value {
    let mut command = program();
    command
        .args(["audit", "verify", "--json", "--artifacts-dir"])
        .arg(bench.path("runs"));
    let output = expect(command, 0);
    serde_json::from_slice(&output.stdout).expect("json")
}

/// What came out of a run, and may not depend on how often it was cut off.
pub fn came_to(bench: &Bench) -> (Value, BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    let run = bench.the_run();
    let files = run.join("files");
    let tree = program::fingerprint(&files)
        .into_iter()
        .map(|(path, (mode, .., bytes))| {
            let path = path.strip_prefix(&files).expect("below").to_path_buf();
            (path, (mode, bytes))
        });
    let summary = bench.summary();
    let course = &verdict(bench)["verdict"]["course"];
    let names = [
        "exit_reason",
        "iterations",
        "turns",
        "guard_events",
        "plan",
        "changes",
        "verified",
        "metrics",
        "usage",
    ];
    let said: BTreeMap<&str, &Value> = names.iter().map(|name| (*name, &summary[*name])).collect();
    let last = run.join("checkpoints");
    let steps = fs::read_dir(&last).expect("steps").count();
    let last = json_file(&last.join(format!("{:04}.json", steps - 1)));
    let came = json!({"summary": said, "course": course, "steps": steps, "state": last["state"]});
    (came, tree.collect())
}

/// Every answer was recorded once, and nobody was asked twice for one.
pub fn asked_once(run: &Path) -> usize {
    let lines = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(run.join(name)).expect("read");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("json"))
            .collect()
    };
    let id = |line: &Value| format!("{} {} {}", line["turn"], line["occurrence"], line["call"]);
    let mut seen = BTreeMap::new();
    for line in lines("model.jsonl").iter().filter(|line| line["replayed"] != true) {
        assert_eq!(seen.insert(id(line), ()), None, "asked twice: {line}");
    }
    let mut recorded = BTreeMap::new();
    for line in lines("cassette.jsonl").iter().skip(1) {
        assert_eq!(recorded.insert(id(line), ()), None, "recorded twice: {line}");
    }
    lines("model.jsonl")
        .iter()
        .filter(|line| line["replayed"] == true)
        .count()
}

/// A model that answers each step by what it is asked, however often.
pub fn steady() -> Endpoint {
    Endpoint::start(Box::new(|_, body| {
        let told = body.contains("\"role\":\"tool\"");
        let tool = |command: &str| Some(("bash", json!({"command": command, "description": "as told"})));
        let step = |id: &str| body.contains("Carry out one step") && !told && body.contains(&format!("STEP_ID={id}: "));
        match (step("001"), step("002"), step("003")) {
            (true, ..) => Answer::Say("one", tool("echo one > steps/1")),
            (_, true, _) => Answer::Say("two", tool("echo two > steps/2")),
            (.., true) => Answer::Say("three", tool("echo three > steps/3")),
            _ => Answer::Say("done", None),
        }
    }))
}

/// `run` of the three steps with that model.
pub fn begin_with(model: &Endpoint, bench: &Bench, more: &[&str]) -> Command {
    let asked = ["run", "--json", "--opencode-bash", "full", "--model", "test/model"];
    let mut command = bench.command(&[&asked[..], &["--base-url", &model.base_url], more].concat(), "repo");
    at_home(&mut command, bench);
    command
}

/// Moments at which something is killed: a part of the time that a whole run takes, by a seed
/// and a number alone. `RESUME_KILLS=N` takes N of them, `RESUME_FIRST=K` begins with the Kth,
/// `RESUME_SEED=S` takes others.
pub struct Moments {
    seed: u64,
    first: u64,
    kills: u64,
}

/// One of them.
pub struct Moment {
    pub number: u64,
    random: u64,
}

impl Moments {
    /// So many, where the environment does not say otherwise.
    pub fn sample(what: &str, kills: u64) -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
        let moments = Self {
            seed: number("RESUME_SEED").unwrap_or(7),
            first: number("RESUME_FIRST").unwrap_or(0),
            kills: number("RESUME_KILLS").unwrap_or(kills),
        };
        println!(
            "{what}: {} kills from the {}th on, seed {} (RESUME_KILLS=50 for all, RESUME_FIRST, RESUME_SEED)",
            moments.kills, moments.first, moments.seed
        );
        moments
    }

    pub fn all(&self) -> impl Iterator<Item = Moment> {
        let seed = self.seed;
        (self.first..self.first + self.kills).map(move |number| {
            // splitmix64 (Steele, Lea, Flood 2014): each number by itself is as good as a row of them.
            let mut random = seed.wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            Moment {
                number,
                random: random ^ (random >> 31),
            }
        })
    }
}

impl Moment {
    /// How long after the beginning; the last tenth is left out, since a run may be quicker.
    pub fn of(&self, whole: Duration) -> Duration {
        let part = f64::from(u32::try_from(self.random >> 40).expect("24 bits")) / f64::from(1 << 24);
        whole.mul_f64(part * 0.9)
    }

    /// One of so many things.
    pub fn choose(&self, things: usize) -> usize {
        usize::try_from(self.random & 0xffff).expect("16 bits") % things
    }
}

/// What is told of a run whose sandboxes failed under it: another course, and the same end.
pub fn same_end(came: &Value, expected: &Value, what: &str) {
    for name in ["exit_reason", "verified", "metrics", "changes", "plan"] {
        assert_eq!(came["summary"][name], expected["summary"][name], "{name}, {what}");
    }
}
