//! Summaries of JavaScript's runners, and TAP.

use super::{Counts, Format, Summary, Unit, number, pattern};

fn summary(counts: Counts, format: Format, line: &str, adds_up: bool) -> Summary {
    Summary {
        counts,
        unit: Unit::Tests,
        format,
        line: line.to_owned(),
        adds_up,
    }
}

/// `N word` pieces between `between`.
fn pieces(said: &str, between: &str) -> Counts {
    let mut counts = Counts::default();
    for part in said.split(between) {
        let Some((count, what)) = part.trim().split_once(' ') else {
            continue;
        };
        let count = number(count);
        match what.trim() {
            "passed" => counts.passed = count,
            "failed" => counts.failed = count,
            "skipped" | "todo" | "pending" => counts.skipped = counts.skipped.saturating_add(count),
            _ => {}
        }
    }
    counts
}

/// Suites that failed where no test did could not be loaded.
fn with_suites(mut counts: Counts, suites: Option<Counts>) -> Counts {
    if counts.failed == 0 {
        counts.errors = suites.map_or(0, |suites| suites.failed);
    }
    counts
}

/// `Tests:       1 failed, 2 passed, 3 total`
pub(super) fn jest(lines: &[&str]) -> Option<Summary> {
    let form = pattern!(r"^Tests: +((?:\d+ [a-z]+, )*)\d+ total$");
    let suites = pattern!(r"^Test Suites: +((?:\d+ [a-z]+, )*)\d+ (?:of \d+ )?total$");
    let last = |form: &regex::Regex| {
        let found = lines.iter().rev().find_map(|line| Some((line, form.captures(line)?)))?;
        Some((*found.0, pieces(&found.1[1], ", ")))
    };
    let (line, counts) = last(form)?;
    let counts = with_suites(counts, last(suites).map(|(_, counts)| counts));
    Some(summary(counts, Format::Jest, line, false))
}

/// `      Tests  1 failed | 2 passed (3)`
pub(super) fn vitest(lines: &[&str]) -> Option<Summary> {
    let form = pattern!(r"^ +Tests  ((?:\d+ [a-z]+(?: \| )?)+) \(\d+\)$");
    let files = pattern!(r"^ +Test Files  ((?:\d+ [a-z]+(?: \| )?)+) \(\d+\)$");
    let last = |form: &regex::Regex| {
        let found = lines.iter().rev().find_map(|line| Some((line, form.captures(line)?)))?;
        Some((*found.0, pieces(&found.1[1], " | ")))
    };
    let (line, counts) = last(form)?;
    let counts = with_suites(counts, last(files).map(|(_, counts)| counts));
    Some(summary(counts, Format::Vitest, line, false))
}

/// `  3 passing (5ms)`, and below it `  1 pending` and `  2 failing`.
pub(super) fn mocha(lines: &[&str]) -> Option<Summary> {
    let form = pattern!(r"^ +(\d+) passing \(\d+(?:ms|s|m|h)\)$");
    let more = pattern!(r"^ +(\d+) (pending|failing)$");
    let (at, passed) = lines
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, line)| Some((at, number(&form.captures(line)?[1]))))?;
    let mut counts = Counts {
        passed,
        ..Counts::default()
    };
    for found in lines[at + 1..].iter().take(3).filter_map(|line| more.captures(line)) {
        match &found[2] {
            "failing" => counts.failed = number(&found[1]),
            _ => counts.skipped = number(&found[1]),
        }
    }
    Some(summary(counts, Format::Mocha, lines[at], false))
}

/// TAP 14: a plan, and lines that begin with `ok` or `not ok`. What was planned and did not
/// come is an error, and so is `Bail out!`.
pub(super) fn tap(lines: &[&str]) -> Option<Summary> {
    let plan = pattern!(r"^1\.\.(\d+)(?: *#.*)?$");
    let point = pattern!(r"^(not )?ok\b(?: +\d+)?(?: .*?)?(?: # *(?i:(skip|todo))\b.*)?$");
    let (line, planned) = lines
        .iter()
        .rev()
        .find_map(|line| Some((line, number(&plan.captures(line)?[1]))))?;
    let mut counts = Counts::default();
    for line in lines {
        let Some(found) = point.captures(line) else {
            counts.errors += u64::from(line.starts_with("Bail out!"));
            continue;
        };
        match (found.get(1), found.get(2)) {
            // A test that is still to be done may fail.
            (_, Some(_)) => counts.skipped += 1,
            (None, None) => counts.passed += 1,
            (Some(_), None) => counts.failed += 1,
        }
    }
    let came = counts.passed + counts.failed + counts.skipped;
    counts.errors = counts.errors.saturating_add(planned.saturating_sub(came));
    Some(summary(counts, Format::Tap, line, true))
}
