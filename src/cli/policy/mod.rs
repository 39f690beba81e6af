//! `policy`: what this host allows, and why.

mod audit;
mod batch;
mod diff;
mod explain;
mod list;
mod questions;

pub(super) use audit::AuditReport;

use clap::Subcommand;

use super::surroundings::Surroundings;
use crate::{
    engine::{EngineError, Stop},
    report::Reporter,
};
use audit::AuditArgs;
use diff::DiffArgs;
use explain::ExplainArgs;
use list::ListArgs;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyVerb {
    /// Say what a repository would do where somebody works with it, and what is allowed of that; runs nothing of it.
    Audit(Box<AuditArgs>),
    /// Read policies, try the examples of their rules, and say what is wrong.
    Check {
        /// A name or a path [default: the shipped ones and the host's].
        file: Option<String>,
    },
    /// Say what becomes of a command, a path, a host or a system call, by which rule, and what enforces it.
    Explain(ExplainArgs),
    /// Say what the second of two policies allows more and less.
    Diff(DiffArgs),
    /// Show the policies that there are, or the text of a shipped one.
    List(ListArgs),
}

/// Performs `policy`.
pub(super) async fn perform(
    verb: &PolicyVerb,
    around: &Surroundings,
    reporter: &Reporter,
    stop: Stop,
) -> Result<u8, EngineError> {
    match verb {
        PolicyVerb::Audit(args) => audit::perform(args, around, reporter, stop).await,
        PolicyVerb::Check { file } => list::check(file.as_deref(), reporter),
        PolicyVerb::Explain(args) => explain::perform(args, reporter, stop).await,
        PolicyVerb::Diff(args) => diff::perform(args, reporter),
        PolicyVerb::List(args) => list::perform(args, reporter),
    }
}
