//! Why a tree could not be read, written or trusted.

use std::{fmt::Display, io};

use crate::names::RelPath;

/// The tree room's error; every variant names the path it is about.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A system call failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was being done, as a verb.
        what: &'static str,
        /// The path, escaped.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A bound was hit: the tree is larger than the caller or this room allows.
    #[error("{0}")]
    Limit(String),
    /// The tree holds something that this room does not take.
    #[error("{0}")]
    Refused(String),
    /// The user's tree is no longer what the run started from; nothing was written.
    #[error("the target has changed since the run started, nothing was written; first of {}: {}", .0.len(), listed(.0))]
    MovedOn(Vec<RelPath>),
}

/// At most eight paths, escaped.
fn listed(paths: &[RelPath]) -> String {
    paths
        .iter()
        .take(8)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl TreeError {
    /// For `map_err`: says what failed on which path.
    pub(super) fn io<E: Into<io::Error>>(what: &'static str, path: impl Display) -> impl FnOnce(E) -> Self {
        let path = path.to_string();
        move |source| Self::Io {
            what,
            path,
            source: source.into(),
        }
    }
}
