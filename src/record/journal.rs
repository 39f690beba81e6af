//! The journal's one writer: records are appended whole, each chained to the one before.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    RecordError,
    audit::{Chain, JOURNAL, Next, Record, Records},
};

/// `journal.jsonl`, open at its end.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    chain: Chain,
    length: u64,
}

impl Journal {
    /// Makes the file in a run's directory.
    pub fn create(run: &Path) -> Result<Self, RecordError> {
        let path = run.join(JOURNAL);
        let opened = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
        let file = opened.map_err(RecordError::io("make", &path))?;
        Ok(Self {
            path,
            file,
            chain: Chain::default(),
            length: 0,
        })
    }

    /// Opens the file of a run that was cut off, at its end. A record that was being
    /// written goes; the second value is how many bytes it had. The chain was verified.
    pub fn reopen(run: &Path) -> Result<(Self, u64), RecordError> {
        let path = run.join(JOURNAL);
        let read = File::open(&path).map_err(RecordError::io("read", &path))?;
        let (mut records, mut chain, mut length) = (Records::new(read), Chain::default(), 0);
        let torn = loop {
            match records.advance().map_err(RecordError::io("read", &path))? {
                Next::End => break 0,
                Next::Torn | Next::TooLong => break records.line().len() as u64,
                Next::Line => {}
            }
            let line = records.line();
            let record =
                Record::parse(line).map_err(|why| RecordError::io("go on with", &path)(std::io::Error::other(why)))?;
            chain.count(line, record.event, record.fields.get().as_bytes());
            length += line.len() as u64;
        };
        let opened = OpenOptions::new().append(true).open(&path);
        let file = opened.map_err(RecordError::io("open", &path))?;
        if torn > 0 {
            file.set_len(length)
                .map_err(RecordError::io("cut off what is torn of", &path))?;
        }
        let journal = Self {
            path,
            file,
            chain,
            length,
        };
        Ok((journal, torn))
    }

    /// Where the chain has got to.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Appends one record. It is safe from a power failure once [`Journal::sync`] is done.
    pub fn append(&mut self, event: &str, fields: &impl Serialize) -> Result<(), RecordError> {
        let link = self.chain.link(event, fields).map_err(|source| RecordError::Encode {
            what: "the journal".to_owned(),
            source,
        })?;
        if let Err(why) = self.file.write_all(&link.bytes) {
            // What was written of it would be taken for a record that somebody cut.
            let _ = self.file.set_len(self.length);
            return Err(RecordError::io("append to", &self.path)(why));
        }
        self.length += link.bytes.len() as u64;
        self.chain.extend(&link);
        Ok(())
    }

    /// Makes every record so far safe from a power failure.
    pub fn sync(&self) -> Result<(), RecordError> {
        self.file.sync_data().map_err(RecordError::io("sync", &self.path))
    }
}
