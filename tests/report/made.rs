//! Run directories made here: long ones, broken ones, hostile ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// A run's directory that is written by hand.
pub struct Made {
    dir: tempfile::TempDir,
    journal: String,
    lines: u64,
    /// Milliseconds since the beginning.
    now: u64,
}

impl Made {
    pub fn new() -> Self {
        let mut made = Self {
            dir: tempfile::Builder::new().prefix("made-").tempdir().expect("tempdir"),
            journal: String::new(),
            lines: 0,
            now: 0,
        };
        made.line("run", &json!({"id": "made", "target": "/srv/made", "version": "0.1.0"}));
        made
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file of the run.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(&path, bytes).expect("write");
        path
    }

    /// A file with the same bytes as another one of that name before.
    fn same(&self, name: &str, like: &str, bytes: impl AsRef<[u8]>) {
        let first = self.dir.path().join(like);
        if !first.exists() {
            self.file(like, bytes);
        }
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::hard_link(first, path).expect("link");
    }

    pub fn json(&self, name: &str, value: &Value) {
        self.file(name, value.to_string());
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        self.now += ms;
    }

    /// One line of the journal.
    pub fn line(&mut self, event: &str, fields: &Value) {
        let at = jiff::Timestamp::from_millisecond(1_790_000_000_000 + i64::try_from(self.now).expect("time"));
        let ts = at.expect("a moment").to_string();
        let line = json!({"seq": self.lines, "ts": ts, "event": event, "fields": fields});
        self.journal += &format!("{line}\n");
        self.lines += 1;
    }

    /// The machine does something for `ms` milliseconds.
    pub fn does(&mut self, iteration: u64, command: &Value, ms: u64, event: &Value) {
        let step = json!({"id": format!("{iteration:03}"), "text": format!("step {iteration} of many")});
        self.line(
            "command",
            &json!({"machine": {"iteration": iteration, "step": step}, "command": command}),
        );
        self.pass(ms);
        self.line("event", event);
    }

    /// Writes journal and summary; the run is `exit_code`'s.
    pub fn end(&mut self, reason: &str, exit_code: u8, iterations: u64) {
        self.line("ended", &json!({"reason": reason, "exit": exit_code}));
        self.file("journal.jsonl", &self.journal);
        self.json(
            "summary.json",
            &json!({
                "run_id": "made", "target": "/srv/made", "exit_reason": reason, "exit_code": exit_code,
                "detail": "as made", "iterations": iterations, "verified": exit_code == 0, "wall_ms": self.now,
                "plan": {"done": [], "next": [], "backlog": []}, "changes": [], "refused": [],
            }),
        );
        self.json(
            "state.json",
            &json!({"pipeline_path": "pipeline.yml", "model": "local/model"}),
        );
    }

    /// A whole iteration: snapshot, plan, step, verification; every seventh fails.
    pub fn iteration(&mut self, number: u64) {
        let ok = number % 7 != 3;
        self.does(
            number,
            &json!({"do": "snapshot"}),
            5,
            &json!({"happened": "snapshot-taken"}),
        );
        for (purpose, label, ms) in [
            ("plan-update", "plan_update_attempt_1", 900),
            ("execute-step", "execute_step", 4_000),
        ] {
            let turn = 2 * number - u64::from(purpose == "plan-update");
            let over = json!({"happened": "turn-over", "what": {"result": "completed", "violations": []}});
            self.does(
                number,
                &json!({"do": "turn", "what": {"purpose": purpose, "try_number": 1}}),
                ms,
                &over,
            );
            let base = format!("turns/{turn:04}-{label}");
            self.json(
                &format!("{base}.json"),
                &json!({"label": label, "end": "completed", "text": "done", "tool_calls": 3, "failed_calls": [],
                    "input_tokens": 1_000, "output_tokens": 90, "cost": 0.002, "wall_ms": ms, "blame": null}),
            );
            self.same(
                &format!("{base}.prompt.md"),
                "like/prompt",
                "Carry out the step.\n".repeat(60),
            );
            let events: String = (0..12).map(|at| format!("{}\n", tool_event(at))).collect();
            self.same(&format!("{base}.events.jsonl"), "like/events", events);
        }
        let verified = json!({"happened": "verified", "what": {"ok": ok, "reason": null}});
        self.does(number, &json!({"do": "verify"}), 2_000, &verified);
        let directory = format!("iter_{number:04}");
        let blame = if ok { Value::Null } else { json!("verifier") };
        let score = f64::from(u32::try_from(number % 100).expect("small")) / 100.0;
        self.json(
            &format!("{directory}/summary.json"),
            &json!({
                "ok": ok, "failed_stage": if ok { Value::Null } else { json!("tests") }, "blame": blame,
                "reason": if ok { Value::Null } else { json!("`make test` exited 1") }, "wall_ms": 1_900,
                "metrics": {"score": score, "counts": {"cases": 10}},
                "stages": [{"stage": "tests", "ok": ok, "rc": i32::from(!ok), "total_results": 1, "leaked": 0, "wall_ms": 1_800, "blame": blame}],
            }),
        );
        let command = format!("{directory}/tests_cmd01_try01");
        self.same(&format!("{command}_cmd.txt"), "like/command", "make test\n");
        self.same(
            &format!("{command}_stdout.txt"),
            "like/stdout",
            "ok 1 - it works\n".repeat(200),
        );
        self.same(&format!("{command}_stderr.txt"), "like/stderr", "");
        self.json(
            &format!("{command}_result.json"),
            &json!({"rc": i32::from(!ok), "usage": {"wall_ms": 1_700, "user_ms": 900, "system_ms": 50, "max_rss_bytes": 40_000_000}}),
        );
    }
}

/// A tool call that has ended, as the agent's server tells it.
pub fn tool_event(at: u32) -> Value {
    json!({"type": "message.part.updated", "properties": {"part": {
        "id": format!("prt_{at}"), "messageID": format!("msg_{}", at / 3), "type": "tool", "tool": "bash", "callID": format!("call_{at}"),
        "state": {"status": "completed", "input": {"command": "make test", "description": "run the tests"},
            "output": "all tests passed\n", "metadata": {"exit": 0}, "time": {"start": 1_790_000_000_000_i64, "end": 1_790_000_000_400_i64}},
    }}})
}
