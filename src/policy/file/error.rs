//! Why a policy cannot be used, and what a repository may not ask for.

use std::fmt;

/// Something wrong in a policy file. Displays as `FILE:LINE:COLUMN: message`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong and how to mend it; one line.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
        } = self;
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

/// Why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Nobody knows the name.
    #[error("there is no policy `{name}`; there are {known}, and files by their path")]
    Unknown {
        /// The name, fit to be shown.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The file cannot be read.
    #[error("{file}: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why not.
        why: String,
    },
    /// It does not hold: every problem that was found, at least one.
    #[error("{}", lines(.0))]
    Malformed(Vec<Problem>),
}

/// The first problem, and how many there are besides.
fn lines(problems: &[Problem]) -> String {
    let first = problems.first().map(ToString::to_string).unwrap_or_default();
    match problems.len() {
        0 | 1 => first,
        many => format!("{first} (and {} more: opencode-fsm policy check)", many - 1),
    }
}
