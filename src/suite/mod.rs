//! Suites: many targets evaluated side by side, one result document, and no target counted
//! twice however often the suite is interrupted.
//!
//! | file | holds |
//! |---|---|
//! | `targets` | the list of targets |
//! | `verdict` | whose an outcome is, and whether it is tried again |
//! | `record` | what is known of a suite, one line a finished target |
//! | `document` | the result document |
//! | `run` | the targets, so many at a time |
#![forbid(unsafe_code)]

mod document;
mod record;
mod run;
mod targets;
mod verdict;

use crate::record::{RecordError, schema_of};

pub use document::{Document, Entry, Score, Totals};
pub use record::Settings;
pub use run::{Suite, default_dir, find, run};
pub use targets::{parse, slug};
pub use verdict::{Attribution, Outcome, Trial};

/// The version of the record and of the document.
pub const VERSION: u32 = 1;

/// Why a suite cannot be run or resumed.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// What was asked for cannot be (exit 2).
    #[error("{0}")]
    Usage(String),
    /// A signal came (exit 128 and its number).
    #[error("stopped by signal {0}; `suite --resume` with the same flags goes on")]
    Interrupted(i32),
    /// The record (exit 7).
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The host (exit 7).
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The error.
        source: std::io::Error,
    },
}

/// The name, the place and the schema of what a suite leaves.
pub fn schemas() -> Vec<(&'static str, &'static str, schemars::Schema)> {
    vec![
        ("suite", "suite.json of a suite", schema_of::<Document>()),
        ("suite_line", "a line of suite.jsonl", schema_of::<record::Line>()),
    ]
}
