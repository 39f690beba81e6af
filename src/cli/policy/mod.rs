//! `policy`: what this host allows, and why.

mod batch;
mod explain;

use clap::Subcommand;

use crate::{
    engine::{EngineError, Stop},
    report::Reporter,
};
use explain::ExplainArgs;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyVerb {
    /// Say whether a command may run, by which rule, and why.
    Explain(ExplainArgs),
}

/// Performs `policy`.
pub(super) async fn perform(verb: &PolicyVerb, reporter: &Reporter, stop: Stop) -> Result<u8, EngineError> {
    match verb {
        PolicyVerb::Explain(args) => explain::perform(args, reporter, stop).await,
    }
}
