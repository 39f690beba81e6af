//! What is kept of a run: directory, journal, artifacts, redaction.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::names::RunId;

/// A secret value: never shown, never serialised; its bytes are redacted wherever the record writes.
#[derive(Clone)]
pub struct Secret(std::sync::Arc<str>);

impl Secret {
    pub fn new(value: impl Into<std::sync::Arc<str>>) -> Self {
        Self(value.into())
    }
    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: String,
        source: std::io::Error,
    },
    #[error("{0}")]
    Broken(String),
    #[error("no run {0}")]
    NoSuchRun(String),
}

/// One run's directory, held with an exclusive lock while the run lives.
pub struct RunDir {
    _private: (),
}

impl RunDir {
    /// Creates `<base>/<id>/` (0700). `secrets` are redacted by value in everything written through here.
    pub fn create(_base: &Path, _id: &RunId, _secrets: Vec<Secret>) -> Result<Self, RecordError> {
        unimplemented!()
    }
    pub fn path(&self) -> &Path {
        unimplemented!()
    }
    pub fn id(&self) -> &RunId {
        unimplemented!()
    }
    /// Appends one record to `journal.jsonl` (`seq`, `ts`, `event`, fields) and fsyncs.
    pub fn journal<T: Serialize>(&self, _event: &str, _fields: &T) -> Result<(), RecordError> {
        unimplemented!()
    }
    /// Writes an artifact by temp + fsync + rename, redacted; parents are made.
    pub fn write(&self, _relative: &str, _bytes: &[u8]) -> Result<PathBuf, RecordError> {
        unimplemented!()
    }
    /// As `write`, pretty JSON.
    pub fn write_json<T: Serialize>(&self, _relative: &str, _value: &T) -> Result<PathBuf, RecordError> {
        unimplemented!()
    }
    /// Redacts secrets in a text.
    pub fn redact(&self, _text: &str) -> String {
        unimplemented!()
    }
}

/// `$XDG_STATE_HOME/opencode-fsm/runs` (or `~/.local/state/…`).
pub fn default_runs_dir() -> PathBuf {
    unimplemented!()
}

/// `$XDG_CACHE_HOME/opencode-fsm` (or `~/.cache/…`).
pub fn default_cache_dir() -> PathBuf {
    unimplemented!()
}

/// A run directory by full id, unique prefix, path, or `latest`.
pub fn find_run(_runs: &Path, _name: &str) -> Result<PathBuf, RecordError> {
    unimplemented!()
}
