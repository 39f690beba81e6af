//! Files that stages leave behind.
#![allow(dead_code, reason = "nothing but the shape of these types is used")]

use schemars::JsonSchema;

/// What an evaluation or a benchmark measured (docs/metrics_schema.md); whatever else is in it is kept.
#[derive(JsonSchema)]
pub(super) struct MetricsFile {
    /// Where it is required it must be true.
    #[schemars(extend("type" = "boolean"))]
    ok: Option<bool>,
    /// A finite number.
    #[schemars(extend("type" = "number"))]
    score: Option<f64>,
}

/// What a rollout produced; whatever else is in it is kept.
#[derive(JsonSchema)]
pub(super) struct RolloutFile {
    /// Never false.
    #[schemars(extend("const" = true))]
    ok: Option<bool>,
    /// How many of each.
    #[schemars(extend("type" = "object"))]
    counts: Option<RolloutCounts>,
    /// Where they lie.
    #[schemars(extend("type" = "object"))]
    paths: Option<RolloutPaths>,
}

#[derive(JsonSchema)]
struct RolloutCounts {
    /// Samples written.
    #[schemars(extend("type" = "integer"))]
    samples: Option<u64>,
    /// Those that are right.
    #[schemars(extend("type" = "integer"))]
    correct: Option<u64>,
    /// Those that failed.
    #[schemars(extend("type" = "integer"))]
    errors: Option<u64>,
}

#[derive(JsonSchema)]
struct RolloutPaths {
    /// The samples, one JSON object a line.
    #[schemars(length(min = 1), extend("type" = "string"))]
    samples_jsonl: Option<String>,
}

/// The proof that an evaluation used a documented command.
#[derive(JsonSchema)]
pub(super) struct HintsUsedFile {
    /// Nothing but true is a proof.
    #[schemars(extend("const" = true))]
    ok: bool,
    /// Words of the documentation that were found in what was run.
    #[schemars(length(min = 1))]
    used_anchors: Vec<String>,
    /// What was run.
    commands: Vec<String>,
}
