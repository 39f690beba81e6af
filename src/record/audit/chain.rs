//! The chain as it is written: one record a line, each with the hash of the line before.

use std::collections::VecDeque;

use ring::digest::{Context, SHA256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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

/// A run that was cut off is taken up again: the first record of what is written then.
pub const RESUMED: &str = "resumed";
/// What has to be there again is there: the machine goes on from here.
pub const CONTINUED: &str = "continued";
/// The records between which a run can be taken up.
const SETTLED: [&str; 2] = ["event", "command"];
/// Places that a chain can be taken up at, the last ones: a run that ended for its sandbox
/// goes back behind the event that ended it.
const MARKS: usize = 4;

/// What both [`RESUMED`] and [`CONTINUED`] say.
#[derive(Deserialize)]
struct Back {
    from: u64,
}

/// The digest over the records of a run's course: `EVENT SPACE FIELDS NEWLINE` of each, as
/// written, without those that a run did again when it was taken up.
pub(super) struct Course {
    context: Context,
    /// Numbers of records, and the course before each.
    marks: VecDeque<(u64, Context)>,
}

impl Course {
    pub(super) fn begin() -> Self {
        Self {
            context: Context::new(&SHA256),
            marks: VecDeque::new(),
        }
    }

    /// Takes a record in, where it is one of the course, or goes back where it says so.
    ///
    /// # Errors
    /// What is expected of it, where it goes back to no place that a run can be taken up at.
    pub(super) fn take(&mut self, number: u64, event: &str, fields: &[u8]) -> Result<(), String> {
        if COURSE.contains(&event) {
            for part in [event.as_bytes(), b" ", fields, b"\n"] {
                self.context.update(part);
            }
        }
        if SETTLED.contains(&event) {
            if self.marks.len() == MARKS {
                self.marks.pop_front();
            }
            self.marks.push_back((number + 1, self.context.clone()));
        }
        if [RESUMED, CONTINUED].contains(&event) {
            let back: Back = serde_json::from_slice(fields).map_err(|why| format!("a record to go on from: {why}"))?;
            self.back_to(back.from)?;
        }
        Ok(())
    }

    fn back_to(&mut self, from: u64) -> Result<(), String> {
        // Behind the first record nothing has happened.
        if from == 1 {
            *self = Self::begin();
            return Ok(());
        }
        while self.marks.back().is_some_and(|(at, _)| *at > from) {
            self.marks.pop_back();
        }
        match self.marks.back() {
            Some((at, context)) if *at == from => {
                self.context = context.clone();
                Ok(())
            }
            _ => Err("a record to go on from: the one after the last transitions, or the second".to_owned()),
        }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::finish(self.context.clone().finish().as_ref())
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
        self.count(&link.bytes, link.event, link.fields.get().as_bytes());
    }

    /// Counts a record that is there: what a chain that is gone on with begins with.
    pub(in crate::record) fn count(&mut self, line: &[u8], event: &str, fields: &[u8]) {
        // Whoever writes one that goes back nowhere writes a chain that does not hold.
        let _ = self.course.take(self.records, event, fields);
        self.records += 1;
        self.root = Digest::of(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_again_counts_once_and_nobody_goes_back_anywhere_else() {
        let plain: &[(&str, &str)] = &[
            ("run", "{}"),
            ("event", "1"),
            ("command", "2"),
            ("exec", "3"),
            ("event", "4"),
            ("command", "5"),
        ];
        let torn: &[(&str, &str)] = &[
            ("run", "{}"),
            ("event", "1"),
            ("command", "2"),
            ("exec", "other"),
            ("changes", "other"),
            ("resumed", "{\"from\":3}"),
            ("exec", "of what is prepared"),
            ("continued", "{\"from\":3}"),
            ("exec", "3"),
            ("event", "4"),
            ("command", "5"),
        ];
        let course = |records: &[(&str, &str)]| {
            let mut course = Course::begin();
            for (number, (event, fields)) in (0..).zip(records) {
                course.take(number, event, fields.as_bytes())?;
            }
            Ok::<_, String>(course.digest())
        };
        assert_eq!(course(plain), course(torn));
        assert_ne!(course(plain), course(&plain[..5]));
        for from in ["0", "2", "4", "99"] {
            // Behind 3 is no transition, and before it nobody says so any more.
            let back = format!("{{\"from\":{from}}}");
            let mut records = torn[..5].to_vec();
            records.push(("resumed", &back));
            assert_eq!(course(&records).is_ok(), from == "2", "{from}");
        }
        let nothing = [("run", "{}"), ("exec", "1"), ("resumed", "{\"from\":1}")];
        assert_eq!(course(&nothing), course(&[]));
    }
}
