//! Reports in JSON: CTRF, the reports of pytest-json-report, jest and mocha, and plain counts or
//! scores at the top.

use serde_json::{Map, Value};

use super::{Counts, Format};

/// What a report says.
pub(super) enum Report {
    Counts(Counts, Format),
    /// A score that it gives itself, and its key.
    Score(&'static str, f64),
    None,
}

/// Keys of scores, from 0 to 1.
const SCORES: [&str; 5] = ["score", "accuracy", "pass@1", "pass_at_1", "acc"];

pub(super) fn read(bytes: &[u8]) -> Result<Report, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|why| format!("no JSON: {why}"))?;
    let Value::Object(top) = &value else {
        return Ok(Report::None);
    };
    if let Some(summary) = value.pointer("/results/summary").and_then(Value::as_object) {
        return Ok(named(
            summary,
            &[
                ("passed", 0),
                ("failed", 1),
                ("other", 2),
                ("skipped", 3),
                ("pending", 3),
            ],
        )
        .map_or(Report::None, |counts| Report::Counts(counts, Format::Ctrf)));
    }
    let jest = [
        ("numPassedTests", 0),
        ("numFailedTests", 1),
        ("numRuntimeErrorTestSuites", 2),
        ("numPendingTests", 3),
    ];
    if let Some(counts) = named(top, &jest) {
        return Ok(Report::Counts(counts, Format::Json));
    }
    // pytest-json-report has its counts under `summary`, mocha under `stats`.
    let below = ["summary", "stats"].iter().filter_map(|key| top.get(*key)?.as_object());
    for object in below.chain([top]) {
        let plain = [
            ("passed", 0),
            ("passes", 0),
            ("xpassed", 0),
            ("failed", 1),
            ("failures", 1),
            ("error", 2),
            ("errors", 2),
            ("skipped", 3),
            ("pending", 3),
            ("xfailed", 3),
        ];
        if let Some(counts) = named(object, &plain) {
            return Ok(Report::Counts(counts, Format::Json));
        }
    }
    for key in SCORES {
        let score = top.get(key).and_then(Value::as_f64);
        if let Some(score) = score.filter(|score| (0.0..=1.0).contains(score)) {
            return Ok(Report::Score(key, score));
        }
    }
    Ok(Report::None)
}

/// Counts by their keys; `None` where neither passed nor failed ones are said.
fn named(object: &Map<String, Value>, keys: &[(&str, usize)]) -> Option<Counts> {
    let mut all = [0_u64; 4];
    let mut known = false;
    for (key, place) in keys {
        let Some(count) = object.get(*key).and_then(Value::as_u64) else {
            continue;
        };
        all[*place] = all[*place].saturating_add(count);
        known |= *place < 2;
    }
    known.then_some(Counts {
        passed: all[0],
        failed: all[1],
        errors: all[2],
        skipped: all[3],
    })
}
