//! The chain as it is written: one record a line, each with the hash of the line before.

use ring::digest::{Context, SHA256};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Digest;

/// Version of a record; it rises when a field changes its meaning.
pub const VERSION: u32 = 1;

/// The file of the chain in a run's directory.
pub const JOURNAL: &str = "journal.jsonl";

/// The records that say what the run did and not when or where: what a second run of the
/// same inputs has to repeat. The digest over them is the run's course.
pub const COURSE: [&str; 4] = ["event", "command", "changes", "exec"];

/// One line of `journal.jsonl`. The fields are the event's own; for `event` and
/// `command` they are the machine's values as they are.
#[derive(Serialize, JsonSchema)]
pub struct JournalLine<'a, T> {
    /// 1; it rises when a field changes its meaning.
    pub v: u32,
    /// Counts the lines from 0.
    pub seq: u64,
    /// SHA-256 of the line before, its newline included; 64 zeros in the first.
    pub prev: Digest,
    /// RFC 3339, UTC.
    pub ts: String,
    /// What happened: `run`, `copied`, `event`, `command`, `exec`, `changes`, `ended`, … (docs/audit.md).
    pub event: &'a str,
    /// What belongs to it.
    pub fields: &'a T,
}

/// The digest over the records of a run's course: `EVENT SPACE FIELDS NEWLINE` of each, as written.
pub(super) struct Course(Context);

impl Course {
    pub(super) fn begin() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Takes a record in, where it is one of the course.
    pub(super) fn take(&mut self, event: &str, fields: &[u8]) {
        if COURSE.contains(&event) {
            for part in [event.as_bytes(), b" ", fields, b"\n"] {
                self.0.update(part);
            }
        }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::finish(self.0.clone().finish().as_ref())
    }
}

/// Where a chain has got to.
pub struct Chain {
    records: u64,
    root: Digest,
    course: Course,
}

/// A record that is about to be written.
pub struct Link<'a> {
    /// Its bytes, newline included.
    pub bytes: Vec<u8>,
    event: &'a str,
    fields: Box<RawValue>,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            records: 0,
            root: Digest::NONE,
            course: Course::begin(),
        }
    }
}

impl Chain {
    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The hash of the last one.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The digest of the run's course so far.
    pub fn course(&self) -> Digest {
        self.course.digest()
    }

    /// The next record. Once it is written, [`Chain::extend`] counts it.
    ///
    /// # Errors
    /// When the fields cannot be encoded.
    pub fn link<'a>(&self, event: &'a str, fields: &impl Serialize) -> serde_json::Result<Link<'a>> {
        let fields = serde_json::value::to_raw_value(fields)?;
        let line = JournalLine {
            v: VERSION,
            seq: self.records,
            prev: self.root,
            ts: jiff::Timestamp::now().to_string(),
            event,
            fields: &fields,
        };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        Ok(Link { bytes, event, fields })
    }

    /// Counts a record that was written.
    pub fn extend(&mut self, link: &Link<'_>) {
        self.records += 1;
        self.root = Digest::of(&link.bytes);
        self.course.take(link.event, link.fields.get().as_bytes());
    }
}
