//! What is said of a command line, and why.

use serde::Serialize;

use super::rules::Ruling;

/// What the rules say of one command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Verdict {
    /// `allow`, `undecided` or `deny`.
    pub verdict: Ruling,
    /// The rule that decided.
    pub rule: String,
    /// Its reason, and what it was found in.
    pub because: String,
    /// Where the rule stands: `FILE:LINE`.
    pub at: String,
}
