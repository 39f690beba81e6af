//! What is kept of a run: directory, journal, artifacts, redaction.
//!
//! | file | holds |
//! |---|---|
//! | `run_dir` | [`RunDir`]: one run's locked directory, its journal and its artifacts |
//! | `journal`, `binding`, `audit` | the journal, a chain of hashes that a stranger can check |
//! | `bundle`, `shelf` | a finished run as one file; the runs of a host, listed and removed |
//! | `chronicle`, `log_line`, `state`, `versions` | [`Chronicle`]: the run's course in the predecessor's files |
//! | `unsynced` | artifacts that are made durable together |
//! | `taken_up` | a run that was cut off, gone on with |
//! | `schema` | JSON Schemas of records |
//! | `redact` | [`Secret`], and how secrets are taken out of what is written |
//! | `places` | where runs and caches lie (XDG Base Directory Specification) |
#![forbid(unsafe_code)]

pub mod audit;
mod binding;
mod bundle;
mod chronicle;
mod journal;
mod log_line;
mod places;
mod redact;
mod run_dir;
mod schema;
mod shelf;
mod state;
mod taken_up;
mod unsynced;
mod versions;

pub use bundle::bundle;
pub use chronicle::{Answer, Chronicle, Judgement};
pub use log_line::{LogLine, SnapshotOf};
pub use places::{config_file, default_cache_dir, default_runs_dir, find_run, policy_places};
pub use redact::{Redactor, Secret};
pub use run_dir::{Held, RunDir, durable_write};
pub use schema::schema_of;
pub use shelf::{Listed, OPTIONS, Retention, RunState, list, may_go_on, remove, target_of};
pub use state::{State, Subject};
pub use versions::{Named, OpenCode, Os, Versions};

/// Why the record could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file could not be made, written or read.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was being done, as a verb.
        what: &'static str,
        /// The path.
        path: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A document could not be written as JSON.
    #[error("cannot encode {what}: {source}")]
    Encode {
        /// The document.
        what: String,
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// A directory of records could not be read.
    #[error(transparent)]
    Tree(#[from] crate::tree::TreeError),
    /// A run that lives.
    #[error("the run at {0} lives; it is not touched")]
    Alive(String),
    /// No place to keep anything.
    #[error("neither {0} nor HOME is set to an absolute path; set one of them")]
    NoHome(&'static str),
    /// No run of that name.
    #[error("no run `{0}` in {1}; `latest`, an id, an unambiguous beginning of one or a path is expected")]
    NoSuchRun(String, String),
    /// More than one run begins so.
    #[error("`{0}` is the beginning of {1} runs; give more of the id")]
    Ambiguous(String, usize),
}

impl RecordError {
    /// For `map_err`: says what failed on which path.
    fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { what, path, source }
    }
}
