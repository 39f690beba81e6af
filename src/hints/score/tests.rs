use proptest::prelude::*;

use super::*;

fn of(stdout: &str, stderr: &str, expected: &[Format]) -> Result<Score, NoScore> {
    let stream = |name, text: &'static str| Stream {
        name,
        bytes: text.as_bytes(),
        whole: true,
    };
    // Tests' texts live as long as they are needed.
    let (stdout, stderr): (&'static str, &'static str) =
        (String::leak(stdout.to_owned()), String::leak(stderr.to_owned()));
    of_output(&[stream("stdout", stdout), stream("stderr", stderr)], expected)
}

/// `PASSED FAILED ERRORS SKIPPED FORMAT PLACE`, or why not.
fn shown(score: Result<Score, NoScore>) -> String {
    match score {
        Ok(it) => {
            let counts = it.counts;
            format!(
                "{} {} {} {} {:?} {}",
                counts.passed, counts.failed, counts.errors, counts.skipped, it.format, it.place
            )
        }
        Err(why) => format!("! {why}"),
    }
}

#[test]
fn each_runner_is_read_in_its_own_form() {
    let go_json = "{\"Action\":\"pass\",\"Package\":\"a\",\"Test\":\"T\"}\n{\"Action\":\"pass\",\"Package\":\"a\",\"Test\":\"T/x\"}\n{\"Action\":\"fail\",\"Package\":\"a\",\"Test\":\"U\"}\n{\"Action\":\"fail\",\"Package\":\"a\"}\n{\"Action\":\"fail\",\"Package\":\"b\"}\n";
    for (stdout, stderr, expected) in [
        (
            "==== 1 failed, 2 passed, 1 skipped, 3 xfailed, 1 xpassed, 2 warnings in 1.23s ====",
            "",
            "3 1 0 4 Pytest stdout",
        ),
        ("3 passed in 61.02s (0:01:01)\n", "", "3 0 0 0 Pytest stdout"),
        (
            "\u{1b}[31m\u{1b}[1m1 error\u{1b}[0m\u{1b}[31m in 0.05s\u{1b}[0m",
            "",
            "0 0 1 0 Pytest stdout",
        ),
        ("== 2 passed, 1 error in 0.1s ==", "", "2 0 1 0 Pytest stdout"),
        (
            "",
            "....\n-----\nRan 4 tests in 0.001s\n\nOK\n",
            "4 0 0 0 Unittest stderr",
        ),
        (
            "",
            "Ran 9 tests in 0.1s\n\nFAILED (failures=1, errors=2, skipped=1, expected failures=1, unexpected successes=1)\n",
            "3 2 2 2 Unittest stderr",
        ),
        (
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\nx\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            "",
            "4 1 0 1 Cargo stdout",
        ),
        (
            "",
            "     Summary [   0.011s] 3 tests run: 2 passed, 1 failed, 4 skipped",
            "2 1 0 4 Cargo stderr",
        ),
        (
            "--- PASS: TestA (0.00s)\n    --- PASS: TestA/b (0.00s)\n--- FAIL: TestB (0.01s)\n--- SKIP: TestC (0.00s)\nFAIL\nFAIL\tx/y\t0.01s\nFAIL\tx/z [build failed]\n",
            "",
            "1 1 1 1 Go stdout",
        ),
        (
            "ok  \tx/y\t0.01s\n--- FAIL: TestB (0.01s)\nFAIL\nFAIL\tx/z\t0.01s\n",
            "",
            "1 1 0 0 Go stdout",
        ),
        (go_json, "", "1 1 1 0 GoJson stdout"),
        (
            "",
            "Test Suites: 1 failed, 1 passed, 2 total\nTests:       1 failed, 1 skipped, 5 passed, 7 total\n",
            "5 1 0 1 Jest stderr",
        ),
        (
            "",
            "Test Suites: 1 failed, 1 passed, 2 total\nTests:       5 passed, 5 total\n",
            "5 0 1 0 Jest stderr",
        ),
        (
            " Test Files  1 failed | 1 passed (2)\n      Tests  1 failed | 5 passed | 2 skipped (8)\n",
            "",
            "5 1 0 2 Vitest stdout",
        ),
        (
            "\n  5 passing (20ms)\n  1 pending\n  2 failing\n",
            "",
            "5 2 0 1 Mocha stdout",
        ),
        ("67% tests passed, 1 tests failed out of 3", "", "2 1 0 0 Ctest stdout"),
        (
            "TAP version 14\n1..5\nok 1 - a\nnot ok 2 - b\nok 3 # SKIP no\nnot ok 4 # TODO later\n",
            "",
            "1 1 1 2 Tap stdout",
        ),
    ] {
        assert_eq!(shown(of(stdout, stderr, &[])), expected, "{stdout}{stderr}");
    }
    assert_eq!(of("3 passed, 1 failed in 1s", "", &[]).expect("a score").score, 0.75);
    assert_eq!(of("ok  \ta\t1s", "", &[]).expect("a score").unit, Unit::Packages);
}

#[test]
fn what_is_no_summary_gives_no_score() {
    for text in [
        "",
        "5 passed",
        "all 5 passed in 0.1s!",
        "score: 1.0",
        "accuracy = 0.9",
        "Ran 3 tests in 0.1s",
        "OK",
        "test result: ok. 3 passed",
        "ok 1 - a",
        "Tests: 3",
    ] {
        assert_eq!(shown(of(text, "", &[])), "! no_summary", "{text}");
    }
    assert_eq!(shown(of("no tests ran in 0.01s", "", &[])), "! no_tests: Pytest");
    assert_eq!(shown(of("3 skipped in 0.01s", "", &[])), "! no_tests: Pytest");
    assert_eq!(
        shown(of("", "Ran 0 tests in 0.000s\n\nNO TESTS RAN", &[])),
        "! no_tests: Unittest"
    );
    assert_eq!(
        shown(of("99999999999999999999 passed in 1s", "", &[])),
        "! no_tests: Pytest"
    );
}

#[test]
fn the_last_summary_counts_and_another_form_only_where_the_command_may_print_it() {
    assert_eq!(
        shown(of("9 passed in 1s\n1 failed in 1s\n", "", &[])),
        "0 1 0 0 Pytest stdout"
    );
    let both = ("9 passed in 1s", "Ran 1 test in 0.1s\n\nFAILED (failures=1)");
    assert!(
        shown(of(both.0, both.1, &[]))
            .starts_with("! ambiguous: Pytest in stdout: 9 passed in 1s / Unittest in stderr")
    );
    assert_eq!(
        shown(of(both.0, both.1, &[Format::Unittest])),
        "0 1 0 0 Unittest stderr"
    );
    assert_eq!(shown(of("9 passed in 1s", "", &[Format::Unittest])), "! no_summary");
}

#[test]
fn what_adds_up_needs_the_whole_output() {
    let text = b"test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0s";
    let stream = Stream {
        name: "stdout",
        bytes: text,
        whole: false,
    };
    assert_eq!(shown(of_output(&[stream], &[])), "! truncated: Cargo");
    let stream = Stream {
        bytes: b"3 passed in 1s",
        ..stream
    };
    assert_eq!(shown(of_output(&[stream], &[])), "3 0 0 0 Pytest stdout");
}

#[test]
fn an_exit_code_and_counts_agree_or_do_not() {
    let all = of("3 passed in 1s", "", &[]).expect("a score");
    let some = of("3 passed, 1 failed in 1s", "", &[]).expect("a score");
    assert_eq!(
        [all.agrees(0), all.agrees(1), some.agrees(0), some.agrees(1)],
        [true, false, false, true]
    );
}

#[test]
fn reports_are_read_by_their_cases() {
    let junit = "<?xml version=\"1.0\"?><!-- <testcase/> --><testsuites><testsuite tests='99'><testcase name='a>b'/><testcase><failure>x</failure></testcase><testcase><error/></testcase><testcase><skipped/></testcase><testcase><system-out><![CDATA[<failure>]]></system-out></testcase></testsuite></testsuites>";
    assert_eq!(shown(of_report("r.xml", junit.as_bytes())), "2 1 1 1 Junit r.xml");
    for bad in [
        "",
        "<a>",
        "<a></b>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>",
        "<a b='",
        &"<a>".repeat(100),
    ] {
        assert!(
            shown(of_report("r.xml", bad.as_bytes())).starts_with("! bad_report"),
            "{bad}"
        );
    }
    for (json, expected) in [
        (
            r#"{"results": {"summary": {"tests": 4, "passed": 2, "failed": 1, "skipped": 1, "pending": 0, "other": 0}}}"#,
            "2 1 0 1 Ctrf r.json",
        ),
        (
            r#"{"summary": {"passed": 2, "failed": 1, "total": 3}}"#,
            "2 1 0 0 Json r.json",
        ),
        (r#"{"numPassedTests": 2, "numFailedTests": 1}"#, "2 1 0 0 Json r.json"),
        (r#"{"stats": {"passes": 2, "failures": 0}}"#, "2 0 0 0 Json r.json"),
        (r#"{"accuracy": 0.5}"#, "0 0 0 0 Json r.json"),
        (r#"{"accuracy": 50}"#, "! no_summary"),
        (r#"{"passed": 0, "failed": 0}"#, "! no_tests: Json"),
        ("[]", "! no_summary"),
    ] {
        assert_eq!(shown(of_report("r.json", json.as_bytes())), expected, "{json}");
    }
    assert!(shown(of_report("r.json", b"{")).starts_with("! bad_report: r.json: no JSON"));
}

#[test]
fn commands_say_what_they_print_and_write() {
    assert_eq!(formats("cd x && python3 -m pytest -q"), [Format::Pytest]);
    assert_eq!(
        formats("python3 -m unittest; cargo test"),
        [Format::Unittest, Format::Cargo]
    );
    assert!(formats("make test").is_empty() && formats("pytest; make x").is_empty());
    let paths = |command: &str| reports(command).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(paths("cd sub && pytest --junitxml=out/r.xml"), ["sub/out/r.xml"]);
    assert_eq!(
        paths("x --output ./r.json --output ../../r.json --config c.json -o /r.xml"),
        ["r.json"]
    );
}

proptest! {
    #[test]
    fn any_output_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "(ok|not ok|1\\.\\.|[0-9]{1,3}|passed|failed|in 1s|, |\n| |Ran|tests|---|\u{1b}\\[1m|<a>|</a>|<testcase|>|\"){0,40}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            let streams = [Stream { name: "stdout", bytes, whole: true }];
            if let Ok(score) = of_output(&streams, &[]) {
                prop_assert!((0.0..=1.0).contains(&score.score) && !score.summary.contains('\n'));
            }
            for name in ["r.xml", "r.json"] {
                if let Ok(score) = of_report(name, bytes) {
                    prop_assert!((0.0..=1.0).contains(&score.score));
                }
            }
        }
    }
}
