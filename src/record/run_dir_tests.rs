use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::*;

fn run(dir: &Path) -> RunDir {
    RunDir::create(dir, &RunId::fresh(), &[Secret::new("sk-0123456789")]).expect("create")
}

#[test]
fn the_journal_counts_and_holds_no_secret() {
    let dir = tempfile::tempdir().expect("tempdir");
    let run = run(dir.path());
    for n in 0..3 {
        run.journal("tick", &json!({"n": n, "key": "Bearer sk-0123456789"}))
            .expect("journal");
    }
    let text = fs::read_to_string(run.path().join("journal.jsonl")).expect("read");
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("json")).collect();
    assert_eq!(
        lines.iter().map(|l| l["seq"].as_u64()).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2)]
    );
    assert_eq!(lines[2]["fields"]["n"], 2);
    assert!(!text.contains("0123456789"), "{text}");
}

#[test]
fn artifacts_are_private_whole_and_redacted() {
    let dir = tempfile::tempdir().expect("tempdir");
    let run = run(dir.path());
    let path = run.write("a/b/c.txt", b"\xff sk-0123456789 \xfe").expect("write");
    assert_eq!(fs::read(&path).expect("read"), b"\xff [redacted] \xfe");
    let mode = |path: &Path| fs::metadata(path).expect("stat").permissions().mode() & 0o777;
    assert_eq!((mode(run.path()), mode(&path)), (0o700, 0o600));
    assert_eq!(
        fs::read_dir(run.path().join("a/b")).expect("ls").count(),
        1,
        "no temporary file stays"
    );
    fs::write(run.path().join("stream.txt"), "x sk-0123456789").expect("write");
    run.adopt("stream.txt").expect("adopt");
    assert_eq!(fs::read(run.path().join("stream.txt")).expect("read"), b"x [redacted]");
    for _ in 0..2 {
        run.alias("stream.txt", "last.txt").expect("alias");
        assert_eq!(fs::read(run.path().join("last.txt")).expect("read"), b"x [redacted]");
    }
    assert!(run.alias("none.txt", "last.txt").is_err());
    fs::create_dir_all(run.path().join("deep")).expect("mkdir");
    for (name, after) in [
        ("deep/tests_stdout.txt", "[redacted]"),
        ("deep/other.txt", "sk-0123456789"),
    ] {
        fs::write(run.path().join(name), "sk-0123456789").expect("write");
        run.settle().expect("settle");
        assert_eq!(
            fs::read_to_string(run.path().join(name)).expect("read"),
            after,
            "{name}"
        );
    }
}

#[test]
fn a_live_run_is_locked_and_its_id_taken() {
    let dir = tempfile::tempdir().expect("tempdir");
    let run = run(dir.path());
    let lock = || {
        Flock::lock(
            File::open(run.path().join("lock")).expect("open"),
            FlockArg::LockExclusiveNonblock,
        )
    };
    assert!(lock().is_err());
    assert!(RunDir::create(dir.path(), run.id(), &[]).is_err());
}
