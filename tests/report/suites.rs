//! The page of a suite.

use std::{fs, process::Command};

use serde_json::json;

use crate::{
    kit,
    program::{expect, program},
};

fn suite(dir: &std::path::Path) {
    let entry = |target: &str, outcome: &str, score: Option<f64>, whose: Option<&str>| {
        json!({"target": target, "ok": outcome == "passed", "outcome": outcome, "attribution": whose, "score": score,
            "error": whose.map(|_| "as made"), "failed_stage": whose.map(|_| "tests"), "retried": [], "wall_ms": 1_500,
            "artifacts_dir": "/elsewhere/suite/targets/0001-x/RUN"})
    };
    let results = json!([
        entry("m/zeta", "passed", Some(0.25), None),
        entry(
            "</script><script>document.title='OWNED'</script>",
            "failed",
            Some(0.75),
            Some("agent")
        ),
        entry("m/alpha", "infra", None, Some("sandbox")),
    ]);
    let document = json!({"version": 1, "suite_id": "made", "ts": "2026-11-26T02:00:00Z", "ok": false,
        "settings": {"llm": "local/model", "eval_mode": "full"}, "score": {"count": 2, "mean": 0.5},
        "totals": {"targets": 3, "passed": 1, "failed": 1, "infra": 1, "retried": 0}, "results": results});
    fs::write(dir.join("suite.json"), document.to_string()).expect("write");
}

#[test]
fn a_suite_is_a_table_that_sorts_itself_and_runs_nothing_else() {
    let dir = tempfile::tempdir().expect("tempdir");
    suite(dir.path());
    let page = dir.path().join("page.html");
    let mut command = program();
    command.arg("report").arg(dir.path()).arg("-o").arg(&page);
    expect(command, 0);
    let mut command = program();
    command.arg("report").arg(dir.path()).args(["--format", "junit"]);
    let junit = String::from_utf8(expect(command, 0).stdout).expect("UTF-8");
    assert!(junit.contains("tests=\"3\" failures=\"1\" errors=\"1\""), "{junit}");
    let mut command = program();
    command.arg("report").arg(dir.path()).args(["--format", "sarif"]);
    expect(command, 2);
    let text = fs::read_to_string(&page).expect("a page");
    assert!(
        text.contains("1 of 3 passed") && text.contains("targets&#x2f;0001-x&#x2f;RUN"),
        "{text}"
    );
    if !kit::tool("chromium") {
        return;
    }
    let order = |hash: &str| {
        let profile = tempfile::tempdir().expect("tempdir");
        let output = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("file://{}{hash}", page.display()))
            .output()
            .expect("chromium");
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(dom.contains("suite · opencode-fsm</title>"), "{dom}");
        let at = |text: &str| dom.find(text).unwrap_or_else(|| panic!("{text}: {dom}"));
        let mut places = [(at("m/zeta"), 'z'), (at("&lt;/script&gt;"), 's'), (at("m/alpha"), 'a')];
        places.sort_unstable();
        places.map(|(_, name)| name).iter().collect::<String>()
    };
    assert_eq!(order(""), "zsa", "as they were named");
    assert_eq!(order("#score"), "azs", "by score, none first");
    assert_eq!(order("#outcome"), "saz");
}
