//! Data files that are made to break their reader: it ends, and the target is to blame.

use std::fs;

use serde_json::json;

use crate::{
    endpoint::{Answer, Endpoint},
    program::expect,
    target::{SPLIT, dataset, evaluate, right, table},
};

#[test]
fn a_file_that_breaks_its_reader_fails_the_stage_and_nothing_else() {
    let endpoint = Endpoint::start(Box::new(|_, body| Answer::Raw(200, "application/json", right(body))));
    let fails = |break_it: &dyn Fn(&std::path::Path), why: &str, more: &[&str]| {
        let bench = dataset(4, "rollout:\n  generic: {limit: 100}\n");
        break_it(&bench.path("repo").join(SPLIT));
        expect(evaluate(&bench, &endpoint.base_url, more), 1);
        let summary = bench.summary();
        assert_eq!(summary["blame"], "verifier", "{summary}");
        assert!(summary["detail"].as_str().expect("text").contains(why), "{summary}");
        let place = summary["evidence"].as_str().expect("a place");
        assert!(bench.the_run().join(place).is_file(), "{summary}");
    };
    fails(
        &|path| fs::write(path, "PAR1nothing of itPAR1").expect("write"),
        "no Parquet",
        &[],
    );
    fails(&|path| fs::write(path, "").expect("write"), "no Parquet", &[]);
    // Small on disk, and a gigabyte of rows.
    let large = "x".repeat(1_000_000);
    let bomb = move |path: &std::path::Path| table(path, &vec![(large.clone(), "1".to_owned()); 1_000]);
    fails(&bomb, "more bytes than are taken", &[]);
    // A link: nothing that it leads to is read.
    let link = |path: &std::path::Path| {
        fs::remove_file(path).expect("remove");
        std::os::unix::fs::symlink("../evaluate.py", path).expect("link");
    };
    fails(&link, "os error", &[]);
    // Rows without questions.
    let other = |path: &std::path::Path| {
        fs::remove_file(path).expect("remove");
        fs::write(path.with_file_name("test.jsonl"), "{\"text\": \"x\"}\n".repeat(5)).expect("write");
    };
    fails(&other, "no row with a question and an answer", &[]);
    assert_eq!(endpoint.requests.lock().expect("lock").len(), 0, "nobody was asked");
    // The control: the same target, unbroken.
    let bench = dataset(4, "rollout:\n  generic: {limit: 100}\n");
    expect(evaluate(&bench, &endpoint.base_url, &[]), 0);
    assert_eq!(
        bench.summary()["metrics"],
        json!({"ok": true, "score": 1.0, "samples": 4})
    );
}

#[test]
fn a_reader_that_takes_too_long_ends_at_its_cap() {
    let bench = dataset(4, "rollout:\n  generic: true\n");
    let path = bench.path("repo").join(SPLIT);
    fs::remove_file(&path).expect("remove");
    // Lines that hold nothing are passed over, as long as it takes.
    fs::write(path.with_file_name("test.jsonl"), "\n".repeat(96 << 20)).expect("write");
    expect(evaluate(&bench, "http://127.0.0.1:1/v1", &["--max-cmd", "1"]), 1);
    let summary = bench.summary();
    assert_eq!(summary["blame"], "budget", "{summary}");
    assert!(
        summary["detail"].as_str().expect("text").contains("max_cmd_seconds"),
        "{summary}"
    );
}
