//! A suite's directory: many targets, one document.

use std::{io, path::Path};

use schemars::JsonSchema;
use serde::Serialize;

use super::{fields::Fields, folder::Folder, text::line};

/// Targets that are read.
const TARGETS: usize = 20_000;

/// One suite.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct SuiteView {
    /// Its id.
    pub id: String,
    /// When it was done, RFC 3339.
    pub done: Option<String>,
    /// The model.
    pub model: String,
    /// The evaluation's mode.
    pub mode: String,
    /// Every target passed.
    pub ok: bool,
    /// Targets that passed.
    pub passed: u64,
    /// Targets that failed, with a verdict.
    pub failed: u64,
    /// Targets without a verdict.
    pub infra: u64,
    /// Trials that were tried again.
    pub retried: u64,
    /// How many have a score, and its mean.
    pub score: Option<(u64, f64)>,
    /// The targets, in their order.
    pub targets: Vec<TargetView>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// One target of a suite.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct TargetView {
    /// As it was named.
    pub target: String,
    /// `passed`, `failed` or `infra`.
    pub outcome: String,
    /// Whose it is, where it did not pass.
    pub attribution: Option<String>,
    /// The score of its metrics.
    pub score: Option<f64>,
    /// The first stage that failed.
    pub failed_stage: Option<String>,
    /// The cap that ended it.
    pub cap: Option<String>,
    /// Why it did not pass.
    pub error: Option<String>,
    /// Trials that came to no verdict.
    pub retried: u64,
    /// How long all trials took, milliseconds.
    pub ms: u64,
    /// The artifacts of the last trial.
    pub artifacts: Option<String>,
}

/// Reads `suite.json` of a directory.
///
/// # Errors
/// When there is no such directory, or it holds no suite's document.
pub fn read_suite(path: &Path) -> io::Result<SuiteView> {
    let folder = Folder::open(path)?;
    let document = folder.json("suite.json");
    if !document.is_object() {
        let notes = folder.notes().join("; ");
        return Err(io::Error::other(format!(
            "there is no suite's document, suite.json {notes}"
        )));
    }
    let results = document.list("results");
    if results.len() > TARGETS {
        folder.note(format!("{} further targets are left out", results.len() - TARGETS));
    }
    let totals = document.at("totals");
    let total = |name: &str| totals.count(name).unwrap_or(0);
    let score = document.at("score");
    Ok(SuiteView {
        id: document.line("suite_id", 100).unwrap_or_default(),
        done: document.line("ts", 60),
        model: document.at("settings").line("llm", 200).unwrap_or_default(),
        mode: document.at("settings").line("eval_mode", 60).unwrap_or_default(),
        ok: document.at("ok").as_bool().unwrap_or(false),
        passed: total("passed"),
        failed: total("failed"),
        infra: total("infra"),
        retried: total("retried"),
        score: score.count("count").zip(score.at("mean").as_f64()),
        targets: results
            .iter()
            .take(TARGETS)
            .map(|entry| TargetView {
                target: entry.line("target", 300).unwrap_or_default(),
                outcome: entry.line("outcome", 20).unwrap_or_default(),
                attribution: entry.line("attribution", 40),
                score: entry.at("score").as_f64(),
                failed_stage: entry.line("failed_stage", 60),
                cap: entry.line("cap", 40),
                error: entry.line("error", 600),
                retried: entry.list("retried").len() as u64,
                ms: entry.count("wall_ms").unwrap_or(0),
                artifacts: entry.at("artifacts_dir").as_str().map(|whole| below(path, whole)),
            })
            .collect(),
        notes: folder.notes(),
    })
}

/// A place in the suite's directory, relative to it, wherever the directory was then.
fn below(suite: &Path, whole: &str) -> String {
    let inside = Path::new(whole)
        .strip_prefix(suite)
        .ok()
        .map(|path| path.display().to_string());
    let moved = || whole.rfind("/targets/").map(|at| whole[at + 1..].to_owned());
    line(&inside.or_else(moved).unwrap_or_else(|| whole.to_owned()), 300)
}
