//! Stages that need no code of the repository.
#![allow(dead_code, reason = "nothing but the shape of these types is used")]

use schemars::JsonSchema;

use super::Switch;

/// Whether, or how.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum GenericRolloutShape {
    Switch(Switch),
    Section(GenericRolloutSection),
}

/// A model is asked by the engine; its answers are judged by a data set's.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct GenericRolloutSection {
    /// Where prompts come from.
    prompts: Option<PromptSourceWord>,
    /// Most prompts; 8 where it is not given and `AIDER_EVAL_MODE` is not `full`, else 64.
    #[schemars(range(min = 1, max = 100_000))]
    limit: Option<u32>,
    /// Calls at a time.
    #[schemars(range(min = 1, max = 32))]
    concurrency: Option<u32>,
    /// How often a call that failed is made again.
    #[schemars(range(min = 0, max = 10))]
    retries: Option<u32>,
    /// Calls that may fail for good before the stage has.
    #[schemars(range(min = 0, max = 100_000))]
    max_errors: Option<u32>,
    /// Tokens of a completion.
    #[schemars(range(min = 1, max = 1_000_000))]
    max_tokens: Option<u32>,
    /// From 0 to 2, with at most three decimals.
    #[schemars(range(min = 0, max = 2))]
    temperature: Option<f64>,
    /// Sent with every call.
    seed: Option<u64>,
    /// Longest time of one call, seconds.
    #[schemars(range(min = 1, max = 3600))]
    call_seconds: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum PromptSourceWord {
    Auto,
    Dataset,
    Hints,
}

/// Whether, or how.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum GenericEvaluationShape {
    Switch(Switch),
    Section(GenericEvaluationSection),
}

/// Commands that the repository documents are run, and their output is read.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct GenericEvaluationSection {
    /// Whether documented commands are run.
    hints: Option<HintUseWord>,
    /// Most commands that are run.
    #[schemars(range(min = 1, max = 20))]
    max_attempts: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum HintUseWord {
    Auto,
    Require,
    Off,
}
