//! The audit chain: what a run did, so that a stranger can check it (docs/audit.md).
//!
//! The journal is the chain: there is no second account of what happened. What is kept in
//! files of their own (output, patches, ledgers) is bound by its hash.
//!
//! | file | holds |
//! |---|---|
//! | `digest` | [`Digest`]: SHA-256 |
//! | `chain`, `records` | records as they are written, and as they are read |
//! | `seal`, `receipt`, `sign` | the end of a chain: files, closing record, receipt, signature |
//! | `place`, `verify`, `bound` | where evidence lies, and whether it holds |
//! | `diff` | two chains compared |

mod bound;
mod chain;
mod diff;
mod digest;
mod place;
mod receipt;
mod records;
mod seal;
mod sign;
mod verify;

use std::{fmt, io, path::Path};

use serde::Serialize;

pub use chain::{CONTINUED, COURSE, Chain, JOURNAL, JournalLine, Link, RESUMED, VERSION};
pub use diff::{Comparison, Difference, Parting, diff, first_of, next, open, run_of};
pub use digest::Digest;
pub use place::{Place, is_held};
pub use receipt::{ContractLine, Document, Ending, RECEIPT, RECEIPT_VERSION, Receipt, SignerLine, StateLine};
pub use records::{MAX_RECORD, Next, Record, Records};
pub use seal::finish;
pub use sign::{ENVELOPE, KeyError, PublicKey, Signer};
pub use verify::{State, Verified, verify};

/// The first place that does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The file, relative to the run's directory; `the bundle` for the archive's own bytes.
    pub file: String,
    /// The record, from 0; its line is one more.
    pub record: Option<u64>,
    /// Bytes from the beginning of the file.
    pub offset: Option<u64>,
    /// The record of the chain that says what is expected, where that is another file's.
    pub bound_by: Option<u64>,
    /// What is expected there.
    pub expected: String,
    /// What is found.
    pub found: String,
}

impl Break {
    fn at(file: &str, expected: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            expected: expected.into(),
            ..Self::default()
        }
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(record) = self.record {
            write!(f, ", record {record} (line {})", record + 1)?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", byte {offset}")?;
        }
        write!(f, ": expected {}", self.expected)?;
        if let Some(record) = self.bound_by {
            write!(f, " (record {record})")?;
        }
        // What is found may be anybody's text.
        let found: String = self.found.chars().take(300).collect();
        write!(f, "; found {}", found.escape_debug())
    }
}

/// Why evidence could not be checked, or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It does not hold.
    #[error("{0}")]
    Broken(Box<Break>),
    /// It cannot be read.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was being done, as a verb.
        what: &'static str,
        /// The path.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory cannot be read.
    #[error(transparent)]
    Tree(#[from] crate::tree::TreeError),
}

impl AuditError {
    pub(in crate::record) fn broken(found: Break) -> Self {
        Self::Broken(Box::new(found))
    }

    pub(in crate::record) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.display().to_string().escape_debug().to_string();
        Self::Io { what, path, source }
    }
}
