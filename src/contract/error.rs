//! The one error of declared files.

use crate::{document::Fault, names::RelPath};

/// Why a declared file cannot be used. Displays as exactly one line,
/// ``pipeline.yml:4:1: unknown key `evalution`, did you mean `evaluation`?``.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}:{line}:{column}: {message}")]
pub struct ContractError {
    /// The file, relative to the repository root.
    pub path: RelPath,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong and how to mend it; one line.
    pub message: String,
}

impl ContractError {
    /// What is wrong in the file `path`.
    pub(super) fn of(fault: Fault, path: &RelPath) -> Self {
        Self {
            path: path.clone(),
            line: fault.at.line,
            column: fault.at.column,
            message: fault.message,
        }
    }
}
