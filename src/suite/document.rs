//! The result document.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Attribution, Outcome, Settings, Trial};

/// One target.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Entry {
    /// The target, as it was named.
    pub target: String,
    /// It passed.
    pub ok: bool,
    /// The rollout is ok.
    pub rollout_ok: bool,
    /// The evaluation is ok.
    pub evaluation_ok: bool,
    /// `passed`, `failed`, or `infra`: no verdict, and no part of any score.
    pub outcome: Outcome,
    /// Whose it is, where it did not pass.
    pub attribution: Option<Attribution>,
    /// The score of its metrics, where there is a verdict.
    pub score: Option<f64>,
    /// Its metrics.
    pub metrics: Option<serde_json::Value>,
    /// The first stage that failed.
    pub failed_stage: Option<String>,
    /// The cap that ended it.
    pub cap: Option<String>,
    /// Why it did not pass, in one line.
    pub error: Option<String>,
    /// Model calls of the last trial, and those that the provider failed.
    pub model_calls: Option<(u64, u64)>,
    /// The artifacts of the last trial.
    pub artifacts_dir: Option<PathBuf>,
    /// Trials that came to no verdict and were tried again.
    pub retried: Vec<Trial>,
    /// How long all trials took, milliseconds.
    pub wall_ms: u64,
}

impl Entry {
    /// Of a target and its trials, of which the last counts.
    pub(super) fn new(target: &str, retried: Vec<Trial>, last: Trial, wall_ms: u64) -> Self {
        let outcome = last.outcome();
        let score = last.metrics.as_ref().and_then(|metrics| metrics.get("score")?.as_f64());
        Self {
            target: target.to_owned(),
            ok: outcome == Outcome::Passed,
            rollout_ok: last.rollout_ok,
            evaluation_ok: last.evaluation_ok,
            outcome,
            attribution: last.attribution,
            score: score.filter(|_| outcome != Outcome::Infra),
            metrics: last.metrics,
            failed_stage: last.failed_stage,
            cap: last.cap,
            error: last.reason,
            model_calls: last.model_calls,
            artifacts_dir: last.artifacts_dir,
            retried,
            wall_ms,
        }
    }
}

/// How many came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Totals {
    /// Targets.
    pub targets: u64,
    /// Passed.
    pub passed: u64,
    /// Failed, with a verdict.
    pub failed: u64,
    /// Without a verdict.
    pub infra: u64,
    /// Trials that were tried again.
    pub retried: u64,
}

/// The scores of the targets with a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Score {
    /// How many have one.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
}

/// `suite.json`.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Document {
    /// 1; it rises when a field changes its meaning.
    pub version: u32,
    /// The suite.
    pub suite_id: String,
    /// When it was done, RFC 3339 in UTC.
    pub ts: String,
    /// Every target passed.
    pub ok: bool,
    /// What it was asked for.
    pub settings: Settings,
    /// How many came to what.
    pub totals: Totals,
    /// The scores; nothing where there is none.
    pub score: Option<Score>,
    /// The targets, in their order.
    pub results: Vec<Entry>,
}

impl Document {
    /// Of all targets.
    pub(super) fn new(suite_id: String, settings: Settings, results: Vec<Entry>) -> Self {
        let count = |outcome| results.iter().filter(|entry| entry.outcome == outcome).count() as u64;
        let scores: Vec<f64> = results.iter().filter_map(|entry| entry.score).collect();
        let totals = Totals {
            targets: results.len() as u64,
            passed: count(Outcome::Passed),
            failed: count(Outcome::Failed),
            infra: count(Outcome::Infra),
            retried: results.iter().map(|entry| entry.retried.len() as u64).sum(),
        };
        #[expect(clippy::cast_precision_loss, reason = "targets of a list are far below 2^52")]
        let score = (!scores.is_empty()).then(|| Score {
            count: scores.len() as u64,
            mean: scores.iter().sum::<f64>() / scores.len() as f64,
        });
        Self {
            version: super::VERSION,
            suite_id,
            ts: jiff::Timestamp::now().to_string(),
            ok: totals.passed == totals.targets,
            settings,
            totals,
            score,
            results,
        }
    }
}
