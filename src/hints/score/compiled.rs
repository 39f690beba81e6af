//! Summaries of cargo, Go and CTest.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Counts, Format, Summary, Unit, number, pattern};

/// Every binary's `test result:`, added up; or the summary of nextest.
pub(super) fn cargo(lines: &[&str]) -> Option<Summary> {
    let form = pattern!(
        r"^test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored; \d+ measured; \d+ filtered out"
    );
    let nextest = pattern!(
        r"^\s+Summary \[[^\]]*\] \d+(?:/\d+)? tests? run: (\d+) passed(?: \([^)]*\))?(?:, (\d+) failed)?(?:, \d+ timed out)?(?:, (\d+) skipped)?"
    );
    let of = |form: &regex::Regex, line: &str| {
        let found = form.captures(line)?;
        let count = |group| found.get(group).map_or(0, |text| number(text.as_str()));
        Some(Counts {
            passed: count(1),
            failed: count(2),
            errors: 0,
            skipped: count(3),
        })
    };
    if let Some((line, counts)) = lines.iter().rev().find_map(|line| Some((line, of(nextest, line)?))) {
        return Some(summary(counts, Unit::Tests, Format::Cargo, line, false));
    }
    let mut counts = Counts::default();
    let mut last = None;
    for line in lines {
        if let Some(more) = of(form, line) {
            counts.passed = counts.passed.saturating_add(more.passed);
            counts.failed = counts.failed.saturating_add(more.failed);
            counts.skipped = counts.skipped.saturating_add(more.skipped);
            last = Some(line);
        }
    }
    last.map(|line| summary(counts, Unit::Tests, Format::Cargo, line, true))
}

/// `--- PASS: TestX (0.00s)` of `-v`, subtests left out; else `ok  package 0.1s`. A package
/// that fails without a failing test could not be built or set up.
pub(super) fn go(lines: &[&str]) -> Option<Summary> {
    let test = pattern!(r"^--- (PASS|FAIL|SKIP): \S+ \(\d+(?:\.\d+)?s\)$");
    let package = pattern!(r"^(ok  |FAIL)\t\S+(?:\t(?:\d+(?:\.\d+)?s|\(cached\))| \[[a-z ]+\])");
    let (mut tests, mut packages) = (Counts::default(), Counts::default());
    let (mut seen, mut failed_here, mut last) = (false, false, None);
    for line in lines {
        if let Some(found) = test.captures(line) {
            seen |= &found[1] != "FAIL";
            match &found[1] {
                "PASS" => tests.passed += 1,
                "SKIP" => tests.skipped += 1,
                _ => {
                    tests.failed += 1;
                    failed_here = true;
                }
            }
        } else if let Some(found) = package.captures(line) {
            last = Some(line);
            match &found[1] {
                "FAIL" if line.contains('[') => {
                    packages.errors += 1;
                    tests.errors += 1;
                }
                "FAIL" => {
                    packages.failed += 1;
                    tests.errors += u64::from(!failed_here);
                }
                _ => packages.passed += 1,
            }
            failed_here = false;
        }
    }
    let line = last?;
    // Without `-v` only what fails is named.
    Some(match seen {
        true => summary(tests, Unit::Tests, Format::Go, line, true),
        false => summary(packages, Unit::Packages, Format::Go, line, true),
    })
}

/// One event of test2json.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    package: String,
    test: Option<String>,
}

pub(super) fn go_json(lines: &[&str]) -> Option<Summary> {
    let mut counts = Counts::default();
    let mut failing: BTreeSet<String> = BTreeSet::new();
    let mut any = false;
    for line in lines.iter().filter(|line| line.starts_with('{')) {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            continue;
        };
        match (event.test, event.action.as_str()) {
            (Some(test), action @ ("pass" | "fail" | "skip")) if !test.contains('/') => {
                any = true;
                match action {
                    "pass" => counts.passed += 1,
                    "skip" => counts.skipped += 1,
                    _ => {
                        counts.failed += 1;
                        failing.insert(event.package);
                    }
                }
            }
            (None, "fail") if !event.package.is_empty() => {
                any = true;
                counts.errors += u64::from(!failing.contains(&event.package));
            }
            _ => {}
        }
    }
    any.then(|| summary(counts, Unit::Tests, Format::GoJson, "events of `go test -json`", true))
}

/// `67% tests passed, 1 tests failed out of 3`; of Catch2 and GoogleTest nothing is read.
pub(super) fn ctest(lines: &[&str]) -> Option<Summary> {
    let form = pattern!(r"^\d+% tests passed, (\d+) tests? failed out of (\d+)$");
    let (line, failed, all) = lines.iter().rev().find_map(|line| {
        let found = form.captures(line)?;
        Some((line, number(&found[1]), number(&found[2])))
    })?;
    let counts = Counts {
        passed: all.saturating_sub(failed),
        failed,
        ..Counts::default()
    };
    Some(summary(counts, Unit::Tests, Format::Ctest, line, false))
}

fn summary(counts: Counts, unit: Unit, format: Format, line: &str, adds_up: bool) -> Summary {
    Summary {
        counts,
        unit,
        format,
        line: line.to_owned(),
        adds_up,
    }
}
