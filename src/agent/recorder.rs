//! A turn's events, kept as they come.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use serde_json::Value;

use super::AgentError;

/// Bytes of one turn's events that are kept.
const EVENTS_BYTES: u64 = 16 << 20;

/// Keeps a turn's events, up to a cap.
pub(super) struct Recorder {
    path: String,
    file: BufWriter<File>,
    left: u64,
    failed: Option<std::io::Error>,
}

impl Recorder {
    pub fn create(path: &Path) -> Result<Self, AgentError> {
        let make = || {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            File::create_new(path)
        };
        let name = path.display().to_string();
        let file = make().map_err(|source| AgentError::Io {
            what: format!("make {name}"),
            source,
        })?;
        Ok(Self {
            path: name,
            file: BufWriter::new(file),
            left: EVENTS_BYTES,
            failed: None,
        })
    }

    pub fn keep(&mut self, event: &Value) {
        // Deltas repeat, in pieces, what the whole part says afterwards.
        if event["type"] == "message.part.delta" || self.left == 0 {
            return;
        }
        let mut line = event.to_string();
        line.push('\n');
        if line.len() as u64 > self.left {
            self.left = 0;
            line = "{\"type\":\"truncated\"}\n".to_owned();
        } else {
            self.left -= line.len() as u64;
        }
        if let Err(why) = self.file.write_all(line.as_bytes()) {
            self.failed.get_or_insert(why);
        }
    }

    pub fn finish(mut self) -> Result<(), AgentError> {
        let written = match self.failed.take() {
            Some(why) => Err(why),
            None => self.file.flush(),
        };
        written.map_err(|source| AgentError::Io {
            what: format!("write {}", self.path),
            source,
        })
    }
}
