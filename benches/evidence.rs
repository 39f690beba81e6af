//! Evidence of a long run: `cargo bench --bench evidence`.
//!
//! A million records, written by the run's own writer, verified by the program, against
//! `sha256sum` of the same file; and the memory that this takes, against a short chain's.

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use nix::sys::resource::{UsageWho, getrusage};
use opencode_fsm::{
    names::RunId,
    record::{
        RunDir,
        audit::{Digest, Receipt},
    },
};
use serde_json::json;
use support::{PROGRAM, Wanted, median, row, timed};

/// Records of the long chain.
const RECORDS: u64 = 1_000_000;

fn main() {
    let wanted = Wanted::new();
    if let Some(dir) = wanted.part("verify") {
        std::fs::create_dir_all(&dir).expect("mkdir");
        let short = chain(&dir, 1_000);
        verify(&short);
        let small = most_memory();
        let began = Instant::now();
        let long = chain(&dir, RECORDS);
        let written = began.elapsed();
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            ours.push(timed(|| verify(&long)));
            peers.push(timed(|| {
                let mut peer = Command::new("sha256sum");
                peer.arg(long.join("journal.jsonl")).stdout(Stdio::null());
                assert!(peer.status().expect("sha256sum").success());
            }));
        }
        row(
            "`audit verify` of 1 000 000 records",
            median(ours),
            "`sha256sum` of the file",
            median(peers),
        );
        let bytes = std::fs::metadata(long.join("journal.jsonl")).expect("stat").len();
        println!(
            "| they have {} MiB; written in {:.1} s | | | | |",
            bytes >> 20,
            written.as_secs_f64()
        );
        println!(
            "| resident memory: {} KiB, of a chain of 1 000 {small} KiB | | | | |",
            most_memory()
        );
    }
}

/// A closed chain of so many records as a run with an agent leaves.
fn chain(dir: &Path, records: u64) -> PathBuf {
    let id = RunId::fresh();
    let run = RunDir::create(dir, &id, &[]).expect("create");
    run.journal("run", &json!({"id": id, "verb": "run", "target": "/t"}))
        .expect("journal");
    let digest = Digest::of(b"x");
    for number in 0..records {
        let written = match number % 4 {
            0 => run.note("event", &json!({"happened": "turn-over", "what": {"result": "completed", "violations": [], "plan": {"parsed": {"next": {"id": "001", "text": "carry the next step out"}, "backlog_open": number}}}})),
            1 => run.note("exec", &json!({"at": format!("iter_{number:04}/tests_cmd01_try01"), "script": digest, "verdict": "allowed", "rule": null, "rc": 0, "signal": null, "cap": null, "blame": null})),
            2 => run.note("turn", &json!({"at": format!("turns/{number:04}-execute_step"), "prompt": digest, "events": digest, "result": digest, "calls": 3, "input_tokens": number, "output_tokens": 9, "blame": null})),
            _ => run.note("command", &json!({"machine": {"position": {"at": "turn", "purpose": "execute-step"}, "iteration": number, "step": {"id": "001", "text": "carry it out"}, "fixes": 0}, "command": {"do": "turn", "try_number": 1, "findings": []}})),
        };
        written.expect("note");
    }
    run.seal(Receipt::default(), None).expect("seal");
    run.path().to_path_buf()
}

fn verify(run: &Path) {
    let mut ours = Command::new(PROGRAM);
    ours.args(["audit", "verify"]).arg(run).stdout(Stdio::null());
    assert!(ours.status().expect("starts").success());
}

/// The most that any child had resident so far, KiB.
fn most_memory() -> i64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage").max_rss()
}
