//! The check: every record, every hash, every file, to the first that does not hold.

use std::{collections::BTreeMap, io::Read};

use serde::Deserialize;
use serde_json::Value;

use super::{
    AuditError, Break, Digest, JOURNAL, Place, PublicKey, RECEIPT, Receipt, VERSION,
    chain::{Course, RESUMED},
    records::{MAX_RECORD, Next, Record, Records},
    seal::Artifact,
};
use crate::names::RelPath;

/// Largest receipt or envelope.
pub(super) const SMALL: u64 = 1 << 20;

/// How complete a chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has its closing record, and every file is as that says.
    Whole,
    /// It ends without one, and no run holds it: the run was cut off, or its last records are gone.
    CutOff,
    /// It ends without one, and its run lives.
    Running,
}

/// Evidence that holds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verified {
    /// How complete it is.
    pub state: State,
    /// The run, as its first record says.
    pub run: String,
    /// Records.
    pub records: u64,
    /// The hash of the last.
    pub root: Digest,
    /// The digest of the run's course.
    pub course: Digest,
    /// Files that the closing record binds.
    pub files: u64,
    /// How often the run was taken up again.
    pub resumed: u64,
    /// Bytes after the last whole record, of one that was being written.
    pub torn: u64,
    /// The receipt.
    pub receipt: Option<Receipt>,
    /// The key that signed it.
    pub signed_by: Option<Digest>,
    /// Whether that is the key that was asked for.
    pub key_is_expected: bool,
}

/// The fields of `closed`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Closed {
    pub files: u64,
    pub course: Digest,
    pub receipt: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Artifacts {
    files: Vec<Artifact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    file: RelPath,
    from: u64,
    to: u64,
    #[expect(dead_code, reason = "for people")]
    lines: u64,
    sha256: Digest,
}

#[derive(Deserialize)]
struct Begun {
    id: String,
}

/// Verifies a chain and all that it binds. With `key`, whole evidence that this key did not sign is broken.
///
/// # Errors
/// [`AuditError::Broken`] with the first place that does not hold; when something cannot be read.
pub fn verify(place: &Place, key: Option<&PublicKey>) -> Result<Verified, AuditError> {
    let journal = name(JOURNAL);
    let Some(stream) = place.read(&journal, 0)? else {
        return Err(AuditError::broken(Break {
            found: "nothing".to_owned(),
            ..Break::at(JOURNAL, "the chain")
        }));
    };
    let mut walk = Walk {
        place,
        records: Records::new(stream),
        number: 0,
        root: Digest::NONE,
        course: Course::begin(),
        run: String::new(),
        listed: BTreeMap::new(),
        ledger: None,
        closed: None,
        resumed: 0,
        torn: 0,
    };
    walk.chain()?;
    walk.end(key)
}

/// The chain that something is checked of.
pub(super) struct Walk<'p> {
    pub place: &'p Place,
    records: Records<Box<dyn Read + 'p>>,
    /// The record in hand.
    pub number: u64,
    /// The hash of the one before.
    pub root: Digest,
    pub course: Course,
    pub run: String,
    /// What the chain says of files, and in which record.
    pub listed: BTreeMap<RelPath, (u64, Artifact)>,
    /// The first ledger that does not hold; the chain itself comes first.
    pub ledger: Option<Break>,
    pub closed: Option<Closed>,
    pub resumed: u64,
    pub torn: u64,
}

impl Walk<'_> {
    pub fn broken(&self, record: u64, expected: impl Into<String>, found: impl Into<String>) -> AuditError {
        AuditError::broken(Break {
            record: Some(record),
            found: found.into(),
            ..Break::at(JOURNAL, expected)
        })
    }

    fn advance(&mut self) -> Result<Next, AuditError> {
        let io = |source| AuditError::io("read", std::path::Path::new(JOURNAL), source);
        self.records.advance().map_err(io)
    }

    fn chain(&mut self) -> Result<(), AuditError> {
        loop {
            let number = self.number;
            match self.advance()? {
                Next::End => return Ok(()),
                Next::TooLong => {
                    let expected = format!("a record of at most {MAX_RECORD} bytes");
                    return Err(self.broken(number, expected, "a longer one"));
                }
                Next::Torn => {
                    self.torn = self.records.line().len() as u64;
                    return Ok(());
                }
                Next::Line => {}
            }
            let digest = Digest::of(self.records.line());
            let record = match Record::parse(self.records.line()) {
                Ok(record) => record,
                Err(why) => return Err(self.broken(number, "a record", why)),
            };
            if record.v != VERSION {
                let expected = format!("a record of version {VERSION}");
                return Err(self.broken(number, expected, format!("version {}", record.v)));
            }
            if record.seq != number {
                let (expected, found) = (format!("record {number}"), format!("record {}", record.seq));
                return Err(self.broken(number, expected, found));
            }
            if record.prev.as_bytes() != self.root.hex() {
                let said = record.prev.to_owned();
                return Err(self.unchained(said, digest)?);
            }
            self.take()?;
            self.root = digest;
            self.number += 1;
        }
    }

    /// Two records that do not fit: the hash that the next one, or the receipt, has of the
    /// later says which of them was changed.
    fn unchained(&mut self, said: String, digest: Digest) -> Result<AuditError, AuditError> {
        let (number, root) = (self.number, self.root);
        let later = match self.advance()? {
            Next::Line => Record::parse(self.records.line()).ok().map(|next| next.prev.to_owned()),
            Next::End => self.receipt_root()?,
            Next::Torn | Next::TooLong => None,
        };
        if number > 0 && later == Some(digest.to_string()) {
            let expected = format!("bytes that hash to {said}, as record {number} says");
            return Ok(self.broken(number - 1, expected, root.to_string()));
        }
        let expected = match number {
            0 => "no record before the first (64 zeros in `prev`)".to_owned(),
            number => format!("`prev` {root}, the hash of record {}", number - 1),
        };
        Ok(self.broken(number, expected, said))
    }

    /// The root that `receipt.json` names.
    fn receipt_root(&self) -> Result<Option<String>, AuditError> {
        let bytes = self.place.small(&name(RECEIPT), SMALL)?;
        let value: Option<Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(value.and_then(|value| Some(value["chain"]["root"].as_str()?.to_owned())))
    }

    /// Takes in what the record in hand, which is chained, says.
    fn take(&mut self) -> Result<(), AuditError> {
        let number = self.number;
        // Read once already.
        let Ok(record) = Record::parse(self.records.line()) else {
            return Ok(());
        };
        if self.closed.is_some() && record.event != RESUMED {
            return Err(self.broken(number, "the end: the record before is the closing one", "a record"));
        }
        let fields = record.fields.get();
        let malformed = |why: serde_json::Error| {
            AuditError::broken(Break {
                record: Some(number),
                found: why.to_string(),
                ..Break::at(JOURNAL, format!("the fields of `{}`", record.event))
            })
        };
        if let Err(expected) = self.course.take(number, record.event, fields.as_bytes()) {
            return Err(self.broken(number, expected, format!("`{}` {fields}", record.event)));
        }
        match record.event {
            "run" if number == 0 => {
                let begun: Begun = serde_json::from_str(fields).map_err(malformed)?;
                self.run = begun.id;
            }
            _ if number == 0 => return Err(self.broken(0, "a `run` record", "another")),
            "ledger" => {
                let ledger: Ledger = serde_json::from_str(fields).map_err(malformed)?;
                if self.ledger.is_none() {
                    self.ledger = self.ledger(number, &ledger)?;
                }
            }
            "artifacts" => {
                let artifacts: Artifacts = serde_json::from_str(fields).map_err(malformed)?;
                for artifact in artifacts.files {
                    let path = artifact.path.clone();
                    if self.listed.insert(path.clone(), (number, artifact)).is_some() {
                        return Err(self.broken(number, "each file once", format!("{path} again")));
                    }
                }
            }
            RESUMED => {
                // What was listed before it is listed anew at the end, and so is the end.
                self.resumed += 1;
                self.listed.clear();
                self.closed = None;
            }
            "closed" => self.closed = Some(serde_json::from_str(fields).map_err(malformed)?),
            _ => {}
        }
        Ok(())
    }

    /// What is wrong with a piece of a ledger.
    fn ledger(&self, number: u64, ledger: &Ledger) -> Result<Option<Break>, AuditError> {
        let length = ledger.to.saturating_sub(ledger.from);
        let found = match self.place.read(&ledger.file, ledger.from)? {
            None => "nothing".to_owned(),
            Some(stream) => {
                let (digest, got) = Digest::of_stream(stream.take(length))
                    .map_err(|source| AuditError::io("read", ledger.file.as_path(), source))?;
                if (digest, got) == (ledger.sha256, length) {
                    return Ok(None);
                }
                format!("{digest} over {got} bytes")
            }
        };
        let expected = format!("{} over bytes {} to {}", ledger.sha256, ledger.from, ledger.to);
        Ok(Some(Break {
            bound_by: Some(number),
            found,
            ..Break::at(&ledger.file.to_string(), expected)
        }))
    }
}

/// A name of our own as a path.
pub(super) fn name(text: &str) -> RelPath {
    RelPath::new(text).expect("the names of records are paths")
}
