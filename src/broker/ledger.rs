//! `model.jsonl`: what went through the door, one line a call.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{BrokerError, meter::CallId};

/// One call.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
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
    /// The answer was recorded before the run was cut off, and nobody was asked again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
}

/// An append-only file of JSON lines.
pub(super) struct Lines(Mutex<File>);

impl Lines {
    /// Opens one at its end, made where it is missing. A line that was being written when the
    /// run was cut off goes.
    pub fn open(path: &Path) -> Result<Self, BrokerError> {
        let io = |source| BrokerError::Io {
            what: format!("open {}", path.display()),
            source,
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io)?;
        }
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let whole = whole_lines(&file, length).map_err(io)?;
        if whole < length {
            file.set_len(whole).map_err(io)?;
        }
        Ok(Self(Mutex::new(file)))
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

/// Bytes up to the last newline.
fn whole_lines(file: &File, length: u64) -> std::io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut end = length;
    while end > 0 {
        let from = end.saturating_sub(buffer.len() as u64);
        let piece = &mut buffer[..usize::try_from(end - from).unwrap_or_default()];
        file.read_exact_at(piece, from)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

/// Now, RFC 3339 in UTC.
pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
