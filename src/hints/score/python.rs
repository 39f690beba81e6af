//! Summaries of Python's runners.

use super::{Counts, Format, Summary, Unit, number, pattern};

/// The last line of pytest: `=== 1 failed, 2 passed in 0.12s ===`, without the bars with `-q`.
pub(super) fn pytest(lines: &[&str]) -> Option<Summary> {
    let form = pattern!(
        r"^(?:=+ )?((?:\d+ [a-z]+(?: [a-z]+)?(?:, )?)+|no tests ran) in \d+(?:\.\d+)?s(?: \(\d+:\d\d:\d\d\))?(?: =+)?$"
    );
    let (line, said) = lines
        .iter()
        .rev()
        .find_map(|line| Some((line, form.captures(line)?.get(1)?.as_str())))?;
    let mut counts = Counts::default();
    for part in said.split(", ") {
        let Some((count, what)) = part.split_once(' ') else {
            continue;
        };
        let count = if said == "no tests ran" { 0 } else { number(count) };
        match what {
            "passed" | "xpassed" => counts.passed = counts.passed.saturating_add(count),
            "failed" => counts.failed = count,
            "error" | "errors" => counts.errors = count,
            "skipped" | "xfailed" => counts.skipped = counts.skipped.saturating_add(count),
            // Warnings, reruns, deselected ones, subtests of those that are counted.
            _ => {}
        }
    }
    Some(Summary {
        counts,
        unit: Unit::Tests,
        format: Format::Pytest,
        line: (*line).to_owned(),
        adds_up: false,
    })
}

/// `Ran N tests in Ss`, and below it `OK` or `FAILED` with what it says in brackets.
pub(super) fn unittest(lines: &[&str]) -> Option<Summary> {
    let ran = pattern!(r"^Ran (\d+) tests? in \d+(?:\.\d+)?s$");
    let verdict = pattern!(r"^(?:OK|FAILED|NO TESTS RAN)(?: \(([a-z0-9=, ]+)\))?$");
    let (at, all) = lines
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, line)| Some((at, number(ran.captures(line)?.get(1)?.as_str()))))?;
    let (line, said) = lines[at + 1..].iter().find_map(|line| {
        let found = verdict.captures(line)?;
        Some((line, found.get(1).map_or("", |said| said.as_str())))
    })?;
    let mut counts = Counts::default();
    for part in said.split(", ") {
        let Some((what, count)) = part.split_once('=') else {
            continue;
        };
        let count = number(count);
        match what {
            "failures" | "unexpected successes" => counts.failed = counts.failed.saturating_add(count),
            "errors" => counts.errors = count,
            "skipped" | "expected failures" => counts.skipped = counts.skipped.saturating_add(count),
            _ => {}
        }
    }
    let others = counts
        .failed
        .saturating_add(counts.errors)
        .saturating_add(counts.skipped);
    counts.passed = all.saturating_sub(others);
    Some(Summary {
        counts,
        unit: Unit::Tests,
        format: Format::Unittest,
        line: format!("{} {line}", lines[at]),
        adds_up: false,
    })
}
