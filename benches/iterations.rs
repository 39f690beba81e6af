//! A long run: `ITERATIONS=2000 cargo bench --bench iterations`.
//!
//! So many iterations of the real agent in a real jail, each a plan, a step and a
//! verification, with a cassette for its model; what the runner has resident while they go
//! by, and how long its report and the verification of its record take afterwards.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{PROGRAM, Wanted, timed};

/// Iterations where nothing else is asked for: minutes, not the best part of an hour.
const ITERATIONS: u64 = 100;
/// Rows of the table.
const ROWS: u64 = 10;

fn main() {
    let wanted = Wanted::new();
    let Some(dir) = wanted.part("iterations") else { return };
    let asked = std::env::var("ITERATIONS")
        .ok()
        .map(|text| text.parse().expect("a number"));
    let iterations = asked.unwrap_or(ITERATIONS);
    repository(&dir.join("repo"));
    let cassette = dir.join("cassette.jsonl");
    record(&cassette, iterations).expect("cassette");
    run(&dir, &cassette, iterations);
    let run = fs::read_dir(dir.join("runs"))
        .expect("runs")
        .next()
        .expect("a run")
        .expect("entry")
        .path();
    let page = dir.join("page.html");
    let report = timed(|| {
        let mut command = Command::new(PROGRAM);
        command.arg("report").arg(&run).arg("-o").arg(&page);
        assert!(command.status().expect("starts").success());
    });
    let verified = timed(|| {
        let mut command = Command::new(PROGRAM);
        command.args(["audit", "verify"]).arg(&run).stdout(Stdio::null());
        assert!(command.status().expect("starts").success());
    });
    let bytes = fs::metadata(&page).expect("page").len();
    println!("| its report, {} KiB | {} ms | | | |", bytes >> 10, report.as_millis());
    println!("| `audit verify` of it | {} ms | | | |", verified.as_millis());
}

fn repository(repo: &Path) {
    fs::create_dir_all(repo).expect("mkdir");
    fs::write(repo.join("pipeline.yml"), "version: 1\ntests:\n  cmd: test -f made\n").expect("write");
    fs::write(repo.join("PLAN.md"), plan(0)).expect("write");
}

/// The plan whose one open step is the given one.
fn plan(step: u64) -> String {
    format!(
        "# PLAN\n\n## Goal\n- x\n\n## Acceptance\n- [ ] TEST_CMD passes: `test -f made`\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID={step:04}) write {step} to made\n\n## Backlog\n\n## Done\n\n## Notes\n-\n"
    )
}

/// What the model says in each turn: the plan gets its next step, the step is carried out.
fn record(cassette: &Path, iterations: u64) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(fs::File::create(cassette)?);
    writeln!(file, "{}", json!({"cassette": 1}))?;
    for step in 1..=iterations {
        let scripts = [
            (
                "plan_update_attempt_1",
                format!("cat > PLAN.md <<'END'\n{}END", plan(step)),
            ),
            ("execute_step", format!("echo {step} > made")),
        ];
        for (turn, script) in scripts {
            let tool = json!({"name": "bash", "arguments": {"command": script, "description": "as scripted"}});
            for (call, tools) in [(1, vec![tool]), (2, Vec::new())] {
                let reply = json!({"text": "so be it", "tools": tools});
                let entry = json!({"turn": turn, "occurrence": step, "call": call, "reply": reply});
                writeln!(file, "{entry}")?;
            }
        }
    }
    file.flush()
}

fn run(dir: &Path, cassette: &Path, iterations: u64) {
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", "--json", "--sandbox", "jail", "--opencode-bash", "full"])
        .args(["--max-iters", &iterations.to_string(), "--max-calls", "1000000"])
        .arg("--model")
        .arg(format!("cassette:{}", cassette.display()))
        .arg("--artifacts-dir")
        .arg(dir.join("runs"))
        .arg(dir.join("repo"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("starts");
    let mut began = Instant::now();
    let mut reached = 0;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let happened: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        if happened["event"] != "state" || happened["state"] != "S4_VERIFY" {
            continue;
        }
        reached += 1;
        if reached % (iterations / ROWS).max(1) == 0 {
            let each = began.elapsed() / u32::try_from((iterations / ROWS).max(1)).expect("few");
            tell(child.id(), reached, each);
            began = Instant::now();
        }
    }
    let status = child.wait().expect("ends");
    assert_eq!(
        (status.code(), reached),
        (Some(1), iterations),
        "every iteration, and no step is the last"
    );
}

fn tell(pid: u32, iteration: u64, each: Duration) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    println!(
        "| iteration {iteration} | {} ms each | | {} resident | |",
        each.as_millis(),
        resident.trim()
    );
}
