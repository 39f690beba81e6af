//! A score, read from what a run really printed or reported.
//!
//! An exit code is none, and neither is a number in a text: a score is counts of tests in a
//! runner's own form, or a report in a format that has one. What ran no tests has no score. Two
//! forms that say different things are no score either, unless the command says whose word counts.
//!
//! | file | holds |
//! |---|---|
//! | `python`, `compiled`, `script` | summaries of runners: of Python; of Rust, Go and C; of JavaScript, and TAP |
//! | `junit`, `json` | report files |
//! | `runner` | which forms a command can print, and which reports it writes |

mod compiled;
mod json;
mod junit;
mod python;
mod runner;
mod script;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use runner::{formats, reports};

/// Most of one stream that is read, bytes.
pub const OUTPUT_MAX: usize = 4 << 20;
/// Longest line that is looked at.
const LINE_MAX: usize = 4 << 10;
/// Most tests that a summary may speak of: more is nobody's count.
const COUNT_MAX: u64 = 1_000_000_000;

/// In whose form a score was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `3 passed, 1 failed in 0.12s`
    Pytest,
    /// `Ran 3 tests in 0.001s` and `OK` or `FAILED (…)`
    Unittest,
    /// `test result: ok. 3 passed; …`, added up; nextest's `Summary`.
    Cargo,
    /// `--- PASS:` lines of `go test -v`, else its packages.
    Go,
    /// The events of `go test -json`.
    GoJson,
    /// `Tests: 1 failed, 2 passed, 3 total`
    Jest,
    /// `Tests  1 failed | 2 passed (3)`
    Vitest,
    /// `3 passing (5ms)`
    Mocha,
    /// `67% tests passed, 1 tests failed out of 3`
    Ctest,
    /// A plan and its `ok` lines (TAP 14).
    Tap,
    /// A JUnit XML report.
    Junit,
    /// A CTRF report.
    Ctrf,
    /// A JSON report with counts, or with a score from 0 to 1.
    Json,
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tests.
    Tests,
    /// Packages of tests, which say no more.
    Packages,
    /// Nothing: the report gives a score itself.
    None,
}

/// How many came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Passed, those that were expected to fail and did not included.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Could not be run.
    pub errors: u64,
    /// Not run, or expected to fail; they count for nothing.
    pub skipped: u64,
}

/// A score and where it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// `passed / (passed + failed + errors)`, or what a report says, from 0 to 1.
    pub score: f64,
    /// The counts; all zero where a report gives a score itself.
    #[serde(flatten)]
    pub counts: Counts,
    /// What was counted.
    pub unit: Unit,
    /// In whose form.
    pub format: Format,
    /// `stdout`, `stderr`, or a report's path.
    pub place: String,
    /// What stands there, in one line.
    pub summary: String,
}

impl Score {
    /// Whether an exit code says the same: 0 where all passed, and no 0 where not.
    pub fn agrees(&self, rc: i32) -> bool {
        match self.unit {
            Unit::None => rc == 0,
            _ => (rc == 0) == (self.counts.failed + self.counts.errors == 0),
        }
    }
}

/// Why there is no score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "why", content = "what")]
pub enum NoScore {
    /// No runner's summary and no report is there.
    NoSummary,
    /// No test was run.
    NoTests(Format),
    /// Several say different things.
    Ambiguous(Vec<String>),
    /// Not all of the output is there, and this form adds up.
    Truncated(Format),
    /// A report that cannot be read.
    BadReport(String),
}

impl std::fmt::Display for NoScore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoScore::NoSummary => f.write_str("no_summary"),
            NoScore::NoTests(format) => write!(f, "no_tests: {format:?}"),
            NoScore::Ambiguous(all) => write!(f, "ambiguous: {}", all.join(" / ")),
            NoScore::Truncated(format) => write!(f, "truncated: {format:?}"),
            NoScore::BadReport(why) => write!(f, "bad_report: {why}"),
        }
    }
}

/// A stream of a run.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'t> {
    /// `stdout` or `stderr`.
    pub name: &'t str,
    /// Its bytes, or the last of them.
    pub bytes: &'t [u8],
    /// All of it is there.
    pub whole: bool,
}

/// What one form says.
struct Summary {
    counts: Counts,
    unit: Unit,
    format: Format,
    line: String,
    /// It was added up over the whole output.
    adds_up: bool,
}

/// The score of a run by what it printed. `expected`: the forms that its command can print;
/// any, where none is known.
///
/// # Errors
/// Why there is none.
pub fn of_output(streams: &[Stream<'_>], expected: &[Format]) -> Result<Score, NoScore> {
    let mut found: Vec<(&str, bool, Summary)> = Vec::new();
    for stream in streams {
        let from = stream.bytes.len().saturating_sub(OUTPUT_MAX);
        let whole = stream.whole && from == 0;
        let text = plain(&stream.bytes[from..]);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| line.len() <= LINE_MAX)
            .collect();
        let all = [
            python::pytest(&lines),
            python::unittest(&lines),
            compiled::cargo(&lines),
            compiled::go_json(&lines),
            compiled::go(&lines),
            compiled::ctest(&lines),
            script::jest(&lines),
            script::vitest(&lines),
            script::mocha(&lines),
            script::tap(&lines),
        ];
        let wanted = |summary: &Summary| expected.is_empty() || expected.contains(&summary.format);
        found.extend(
            all.into_iter()
                .flatten()
                .filter(wanted)
                .map(|summary| (stream.name, whole, summary)),
        );
    }
    let Some((place, whole, first)) = found.first() else {
        return Err(NoScore::NoSummary);
    };
    if found.iter().any(|(_, _, other)| other.counts != first.counts) {
        let said = |(place, _, it): &(&str, bool, Summary)| format!("{:?} in {place}: {}", it.format, it.line);
        return Err(NoScore::Ambiguous(found.iter().map(said).collect()));
    }
    if first.adds_up && !whole {
        return Err(NoScore::Truncated(first.format));
    }
    scored(first.counts, first.unit, first.format, place, &first.line)
}

/// The score of a report file, by its name's ending: JUnit XML, or CTRF and other JSON.
///
/// # Errors
/// Why there is none.
pub fn of_report(path: &str, bytes: &[u8]) -> Result<Score, NoScore> {
    if bytes.len() > OUTPUT_MAX {
        return Err(NoScore::BadReport(format!("{path}: more than {OUTPUT_MAX} bytes")));
    }
    let bad = |why: String| NoScore::BadReport(format!("{path}: {why}"));
    if path.ends_with(".xml") {
        let counts = junit::read(bytes).map_err(bad)?;
        return scored(counts, Unit::Tests, Format::Junit, path, &said(counts));
    }
    match json::read(bytes).map_err(bad)? {
        json::Report::Counts(counts, format) => scored(counts, Unit::Tests, format, path, &said(counts)),
        json::Report::Score(key, score) => Ok(Score {
            score,
            counts: Counts::default(),
            unit: Unit::None,
            format: Format::Json,
            place: path.to_owned(),
            summary: format!("{key}: {score}"),
        }),
        json::Report::None => Err(NoScore::NoSummary),
    }
}

fn said(counts: Counts) -> String {
    format!(
        "{} passed, {} failed, {} errors, {} skipped",
        counts.passed, counts.failed, counts.errors, counts.skipped
    )
}

fn scored(counts: Counts, unit: Unit, format: Format, place: &str, line: &str) -> Result<Score, NoScore> {
    let all = [counts.passed, counts.failed, counts.errors];
    if all.iter().any(|count| *count > COUNT_MAX) || all.iter().sum::<u64>() == 0 {
        return Err(NoScore::NoTests(format));
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts are at most a few billions, below 2^52"
    )]
    let score = counts.passed as f64 / all.iter().sum::<u64>() as f64;
    Ok(Score {
        score,
        counts,
        unit,
        format,
        place: place.to_owned(),
        summary: line.trim().chars().filter(|c| !c.is_control()).take(300).collect(),
    })
}

/// A text without colours and what else moves a cursor.
fn plain(bytes: &[u8]) -> String {
    static ESCAPES: OnceLock<Regex> = OnceLock::new();
    // A constant pattern of nothing unusual always compiles.
    let escapes = ESCAPES.get_or_init(|| {
        Regex::new(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*\x07?|[()][0-9A-B])").expect("a constant pattern")
    });
    escapes.replace_all(&String::from_utf8_lossy(bytes), "").into_owned()
}

/// A pattern that is compiled once.
macro_rules! pattern {
    ($pattern:literal) => {{
        static PATTERN: std::sync::OnceLock<regex::Regex> = std::sync::OnceLock::new();
        // A constant pattern of nothing unusual always compiles.
        PATTERN.get_or_init(|| regex::Regex::new($pattern).expect("a constant pattern"))
    }};
}
use pattern;

/// A number; one that is none, or too large, is more than anybody counts.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or(COUNT_MAX + 1)
}
