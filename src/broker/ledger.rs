//! `model.jsonl`: what went through the door, one line a call.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

use super::{BrokerError, meter::CallId};

/// One call.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Entry {
    pub ts: String,
    #[serde(flatten)]
    pub id: CallId,
    /// BLAKE3 of the request body.
    pub request: String,
    pub request_bytes: u64,
    pub status: u16,
    pub response_bytes: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// The provider named no usage: tokens are bytes divided by four.
    pub estimated: bool,
    pub ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// An append-only file of JSON lines.
pub(super) struct Lines(Mutex<File>);

impl Lines {
    pub fn create(path: &Path) -> Result<Self, BrokerError> {
        let io = |source| BrokerError::Io {
            what: format!("create {}", path.display()),
            source,
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io)?;
        }
        Ok(Self(Mutex::new(File::create(path).map_err(io)?)))
    }

    pub fn append<T: Serialize>(&self, value: &T) {
        let Ok(mut line) = serde_json::to_vec(value) else {
            return;
        };
        line.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(why) = file.write_all(&line) {
            tracing::warn!("a record of a door is incomplete: {why}");
        }
    }

    pub fn finish(&self) -> Result<(), BrokerError> {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.sync_all().map_err(|source| BrokerError::Io {
            what: "keep a door's record".to_owned(),
            source,
        })
    }
}

/// Now, RFC 3339 in UTC.
pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
