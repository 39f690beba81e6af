//! Two chains compared: what they are bound to, and where their courses part.

use std::{collections::BTreeMap, io::Read, path::Path};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    AuditError, CONTINUED, COURSE, JOURNAL, Place, RESUMED,
    records::{Next, Record, Records},
};
use crate::names::{RelPath, RunId};

/// Records from which the bindings of a run are read, and where in them.
const BINDINGS: [(&str, &str); 6] = [
    ("run", "/verb"),
    ("run", "/version"),
    ("run", "/policy"),
    ("run", "/inputs"),
    ("copied", "/digest"),
    ("sandbox", "/backend"),
];

/// What two runs differ in.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What they are bound to and differ in.
    pub bindings: Vec<Difference>,
    /// Where their courses part first.
    pub course: Option<Parting>,
    /// Records of the course that are the same, from the beginning.
    pub same: u64,
}

/// A value that two runs do not share.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// What it is: a record and a place in it (RFC 6901).
    pub what: String,
    /// In the first; null where it is not there.
    pub a: Value,
    /// In the second.
    pub b: Value,
}

/// The first records of two courses that differ.
#[derive(Clone, Debug, Serialize)]
pub struct Parting {
    /// The record of the first; nothing where it has ended.
    pub record_a: Option<u64>,
    /// The record of the second.
    pub record_b: Option<u64>,
    /// What differs in them.
    #[serde(flatten)]
    pub difference: Difference,
}

/// Compares two chains. Their hashes are not checked.
///
/// # Errors
/// When one cannot be read.
pub fn diff(a: &Place, b: &Place) -> Result<Comparison, AuditError> {
    let (mut a, mut b) = (Reader::open(a)?, Reader::open(b)?);
    let mut same = 0;
    let course = loop {
        let (left, right) = (a.next()?, b.next()?);
        match (&left, &right) {
            (None, None) => break None,
            (Some(left), Some(right)) if left.same(right) => same += 1,
            _ => break Some(Parting::of(&left, &right)),
        }
    };
    if course.is_some() {
        // What comes later than the parting may still bind.
        while a.next()?.is_some() || b.next()?.is_some() {}
    }
    let names = a.bindings.keys().chain(b.bindings.keys());
    let mut names: Vec<&String> = names.collect();
    names.sort_unstable();
    names.dedup();
    let bindings = names.into_iter().filter_map(|name| {
        let of = |reader: &Reader<'_>| reader.bindings.get(name).cloned().unwrap_or_default();
        let (left, right) = (of(&a), of(&b));
        (left != right).then(|| {
            let (place, a, b) = first_difference(name.clone(), left, right);
            Difference { what: place, a, b }
        })
    });
    Ok(Comparison {
        bindings: bindings.collect(),
        course,
        same,
    })
}

/// One record of a course.
struct OfCourse {
    number: u64,
    event: String,
    fields: String,
}

impl OfCourse {
    fn same(&self, other: &Self) -> bool {
        self.event == other.event && self.fields == other.fields
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.fields).unwrap_or_default()
    }
}

impl Parting {
    fn of(a: &Option<OfCourse>, b: &Option<OfCourse>) -> Self {
        let side = |record: &Option<OfCourse>| record.as_ref().map_or(Value::Null, OfCourse::value);
        let event = |record: &Option<OfCourse>| record.as_ref().map(|record| record.event.clone());
        let (what, a_value, b_value) = match (event(a), event(b)) {
            (Some(one), Some(other)) if one == other => first_difference(one, side(a), side(b)),
            (one, other) => ("the record".to_owned(), one.into(), other.into()),
        };
        Self {
            record_a: a.as_ref().map(|record| record.number),
            record_b: b.as_ref().map(|record| record.number),
            difference: Difference {
                what,
                a: a_value,
                b: b_value,
            },
        }
    }
}

/// The first place at which two values differ, and what is there.
fn first_difference(place: String, a: Value, b: Value) -> (String, Value, Value) {
    match (&a, &b) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys());
            for key in keys {
                let of = |fields: &serde_json::Map<String, Value>| fields.get(key).cloned().unwrap_or_default();
                if of(left) != of(right) {
                    return first_difference(format!("{place}/{key}"), of(left), of(right));
                }
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for at in 0..left.len().max(right.len()) {
                let of = |items: &[Value]| items.get(at).cloned().unwrap_or_default();
                if of(left) != of(right) {
                    return first_difference(format!("{place}/{at}"), of(left), of(right));
                }
            }
        }
        _ => {}
    }
    (place, a, b)
}

struct Reader<'p> {
    records: Records<Box<dyn Read + 'p>>,
    bindings: BTreeMap<String, Value>,
    /// Records that the run did again: from the first number, up to the second.
    again: Vec<(u64, u64)>,
}

/// What a run that was taken up did again.
fn done_again(place: &Place) -> Result<Vec<(u64, u64)>, AuditError> {
    #[derive(Deserialize)]
    struct Back {
        from: u64,
    }
    let mut records = open(place)?;
    let mut again = Vec::new();
    while let Some(record) = next(&mut records)? {
        if [RESUMED, CONTINUED].contains(&record.event)
            && let Ok(back) = serde_json::from_str::<Back>(record.fields.get())
        {
            again.push((back.from, record.seq));
        }
    }
    Ok(again)
}

impl<'p> Reader<'p> {
    fn open(place: &'p Place) -> Result<Self, AuditError> {
        Ok(Self {
            records: open(place)?,
            bindings: BTreeMap::new(),
            again: done_again(place)?,
        })
    }

    /// The next record of the course; what binds the run is taken in on the way.
    fn next(&mut self) -> Result<Option<OfCourse>, AuditError> {
        while let Some(record) = next(&mut self.records)? {
            for (_, place) in BINDINGS.iter().filter(|(event, _)| *event == record.event) {
                let fields: Value = serde_json::from_str(record.fields.get()).unwrap_or_default();
                let value = fields.pointer(place).cloned().unwrap_or_default();
                let name = format!("{}{place}", record.event);
                self.bindings.entry(name).or_insert(value);
            }
            let seq = record.seq;
            let again = self.again.iter().any(|(from, to)| (*from..*to).contains(&seq));
            if COURSE.contains(&record.event) && !again {
                return Ok(Some(OfCourse {
                    number: record.seq,
                    event: record.event.to_owned(),
                    fields: record.fields.get().to_owned(),
                }));
            }
        }
        Ok(None)
    }
}

/// Opens the chain of a place, to read it without checking it.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn open(place: &Place) -> Result<Records<Box<dyn Read + '_>>, AuditError> {
    let journal = RelPath::new(JOURNAL).expect("the name of the journal is a path");
    match place.read(&journal, 0)? {
        Some(stream) => Ok(Records::new(stream)),
        None => {
            let source = std::io::ErrorKind::NotFound.into();
            Err(AuditError::io("read", Path::new(JOURNAL), source))
        }
    }
}

/// The run of a directory of records, as its first record says; nothing is checked.
///
/// # Errors
/// When there is no chain, or its first record names no run.
pub fn run_of(dir: &Path) -> Result<String, AuditError> {
    #[derive(Deserialize)]
    struct Begun {
        id: RunId,
    }
    match first_of::<Begun>(dir, "run")? {
        Some(begun) => Ok(begun.id.to_string()),
        None => {
            let source = std::io::Error::other("its first record names no run");
            Err(AuditError::io("read", &dir.join(JOURNAL), source))
        }
    }
}

/// The fields of a run's first record of a kind, where they can be read; nothing is checked.
///
/// # Errors
/// When there is no chain, or it cannot be read.
pub fn first_of<T: DeserializeOwned>(dir: &Path, event: &str) -> Result<Option<T>, AuditError> {
    let place = Place::Directory(dir.to_path_buf());
    let mut records = open(&place)?;
    while let Some(record) = next(&mut records)? {
        if record.event == event {
            return Ok(serde_json::from_str(record.fields.get()).ok());
        }
    }
    Ok(None)
}

/// The next record of a chain that is read without checking it; nothing after the last that is one.
///
/// # Errors
/// When it cannot be read.
pub fn next<'r>(records: &'r mut Records<Box<dyn Read + '_>>) -> Result<Option<Record<'r>>, AuditError> {
    let io = |source| AuditError::io("read", Path::new(JOURNAL), source);
    match records.advance().map_err(io)? {
        Next::Line => Ok(Record::parse(records.line()).ok()),
        Next::Torn | Next::TooLong | Next::End => Ok(None),
    }
}
