//! What the journal says of files beside it: their hashes, at the time they were written.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::PoisonError,
};

use ring::digest::{Context, SHA256};
use serde_json::json;

use super::{RecordError, RunDir, audit::Digest};
use crate::tree::Kept;

impl RunDir {
    /// Binds what was added to a ledger since it was bound last; nothing where nothing was.
    /// A line that is being written is bound the next time.
    ///
    /// # Errors
    /// When it cannot be read, or the record not be written.
    pub fn bind_ledger(&self, relative: &str) -> Result<(), RecordError> {
        let path = self.path().join(relative);
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let from = bound.get(relative).copied().unwrap_or(0);
        let fail = |error| RecordError::io("read", &path)(error);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        file.seek(SeekFrom::Start(from)).map_err(fail)?;
        let (mut context, mut lines, mut to) = (Context::new(&SHA256), 0_u64, from);
        let mut open_line = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let got = file.read(&mut buffer).map_err(fail)?;
            if got == 0 {
                break;
            }
            open_line.extend_from_slice(&buffer[..got]);
            if let Some(end) = open_line.iter().rposition(|byte| *byte == b'\n') {
                let rest = open_line.split_off(end + 1);
                context.update(&open_line);
                lines += open_line.iter().filter(|byte| **byte == b'\n').count() as u64;
                to += open_line.len() as u64;
                open_line = rest;
            }
        }
        if to == from {
            return Ok(());
        }
        // What the chain says of it must not be safe before it is.
        file.sync_data().map_err(RecordError::io("sync", &path))?;
        let sha256 = Digest::finish(context.finish().as_ref());
        self.note(
            "ledger",
            &json!({"file": relative, "from": from, "to": to, "lines": lines, "sha256": sha256}),
        )?;
        bound.insert(relative.to_owned(), to);
        Ok(())
    }

    /// Keeps an accepted state, and says so.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_step(&self, kept: &Kept) -> Result<(), RecordError> {
        let step = &kept.step;
        let mut bytes = serde_json::to_vec(step).map_err(|source| RecordError::Encode {
            what: kept.file.clone(),
            source,
        })?;
        bytes.push(b'\n');
        kept.objects.iter().try_for_each(|path| self.sync_later(path.clone()))?;
        self.keep_whole(&kept.file, &bytes)?;
        self.note(
            "checkpoint",
            &json!({
                "number": step.number,
                "label": step.label,
                "target": step.target,
                "state": step.state,
                "changes": step.changes.len(),
                "without": kept.without,
                "sha256": Digest::of(&bytes),
            }),
        )
    }
}
