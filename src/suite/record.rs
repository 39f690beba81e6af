//! `suite.jsonl`: what a suite was asked for, then a line for each target that is done,
//! each on disk before it counts.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{Entry, SuiteError, VERSION};

/// Largest record that is read.
const MAX_BYTES: u64 = 1 << 30;

/// What decides the results of a suite. A suite that goes on has the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The targets, in their order, each once.
    pub targets: Vec<String>,
    /// The model.
    pub llm: String,
    /// `AIDER_EVAL_MODE`.
    pub eval_mode: String,
    /// Samples are demanded.
    pub require_samples: bool,
    /// What becomes of findings about scores.
    pub audit: crate::env::Audit,
    /// Names of the variables that stages get; their values may be secrets and are not kept.
    pub variables: Vec<String>,
}

/// One line.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(super) enum Line {
    /// The first.
    Suite {
        /// 1.
        version: u32,
        /// The suite.
        suite_id: String,
        /// When it was begun, RFC 3339 in UTC.
        ts: String,
        /// What it was asked for.
        settings: Settings,
    },
    /// A target that is done.
    Target {
        /// Its place in the list, from 0.
        index: usize,
        /// What it came to.
        entry: Box<Entry>,
    },
}

/// The record of one suite, which is held by one process at a time.
pub(super) struct Record {
    path: PathBuf,
    file: Flock<File>,
    pub suite_id: String,
    /// The targets that are done, by their place in the list.
    pub done: BTreeMap<usize, Entry>,
}

impl Record {
    /// Begins the record of a new suite.
    pub fn begin(dir: &Path, suite_id: String, settings: &Settings) -> Result<Self, SuiteError> {
        let path = dir.join("suite.jsonl");
        let io = |what: &str| io(what, &path);
        let file = open(&path, true).map_err(io("make"))?;
        let mut record = Self {
            file: lock(file, &path)?,
            path: path.clone(),
            suite_id: suite_id.clone(),
            done: BTreeMap::new(),
        };
        record.append(&Line::Suite {
            version: VERSION,
            suite_id,
            ts: jiff::Timestamp::now().to_string(),
            settings: settings.clone(),
        })?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(io("sync the directory of"))?;
        Ok(record)
    }

    /// Takes up the record of a suite that was interrupted. A last line that was cut off is
    /// taken away: its target is not done.
    pub fn resume(dir: &Path, settings: &Settings) -> Result<Self, SuiteError> {
        let path = dir.join("suite.jsonl");
        let shown = path.display();
        let refuse = |why: String| Err(SuiteError::Usage(format!("{shown}: {why}")));
        let file = open(&path, false).map_err(|why| SuiteError::Usage(format!("{shown}: {why}; is it a suite?")))?;
        let mut file = lock(file, &path)?;
        let mut text = Vec::new();
        let read = (&mut *file).take(MAX_BYTES).read_to_end(&mut text);
        read.map_err(io("read", &path))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(io("cut", &path))?;
        let mut lines = text[..whole]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let parse = |line: &[u8]| serde_json::from_slice::<Line>(line).map_err(|why| why.to_string());
        let (suite_id, before) = match lines.next().map(parse) {
            Some(Ok(Line::Suite {
                version: VERSION,
                suite_id,
                settings,
                ..
            })) => (suite_id, settings),
            _ => return refuse("its first line is none of this version".to_owned()),
        };
        if let Some(what) = difference(&before, settings) {
            return refuse(format!(
                "the suite was begun with {what}; a suite goes on with the flags that it was begun with"
            ));
        }
        let mut done = BTreeMap::new();
        for (number, line) in lines.enumerate() {
            match parse(line) {
                Ok(Line::Target { index, entry }) if index < settings.targets.len() => {
                    // The first word about a target stands.
                    done.entry(index).or_insert(*entry);
                }
                _ => return refuse(format!("line {} is none of a target", number + 2)),
            }
        }
        Ok(Self {
            path,
            file,
            suite_id,
            done,
        })
    }

    /// Counts a target as done, once the line is on disk.
    pub fn finish(&mut self, index: usize, entry: Entry) -> Result<(), SuiteError> {
        let line = Line::Target {
            index,
            entry: Box::new(entry),
        };
        self.append(&line)?;
        if let Line::Target { index, entry } = line {
            self.done.entry(index).or_insert(*entry);
        }
        Ok(())
    }

    fn append(&mut self, line: &Line) -> Result<(), SuiteError> {
        let mut bytes = serde_json::to_vec(line).map_err(|why| io("encode", &self.path)(std::io::Error::other(why)))?;
        bytes.push(b'\n');
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(io("append to", &self.path))
    }
}

/// In what a suite differs from what it was begun with.
fn difference(before: &Settings, now: &Settings) -> Option<String> {
    let said = |name: &str, value: String| Some(format!("{name} {value}"));
    match (before, now) {
        (a, b) if a.targets != b.targets => said("other targets:", format!("{} of them", a.targets.len())),
        (a, b) if a.llm != b.llm => said("--llm", a.llm.clone()),
        (a, b) if a.eval_mode != b.eval_mode => said("--eval-mode", a.eval_mode.clone()),
        (a, b) if a.variables != b.variables => said("other variables:", a.variables.join(", ")),
        (a, b) if a != b => Some("another --audit or --require-samples".to_owned()),
        _ => None,
    }
}

fn open(path: &Path, new: bool) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create_new(new)
        .mode(0o600)
        .open(path)
}

fn lock(file: File, path: &Path) -> Result<Flock<File>, SuiteError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| SuiteError::Usage(format!("{}: another process runs this suite", path.display())))
}

fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> SuiteError + use<> {
    let what = format!("{what} {}", path.display());
    move |source| SuiteError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Trial;

    fn settings(targets: &[&str]) -> Settings {
        Settings {
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            llm: "m".to_owned(),
            eval_mode: "full".to_owned(),
            require_samples: false,
            audit: crate::env::Audit::On,
            variables: Vec::new(),
        }
    }

    fn entry(target: &str, wall_ms: u64) -> Entry {
        Entry::new(target, Vec::new(), Trial::lost("x".to_owned()), wall_ms)
    }

    #[test]
    fn what_is_done_stays_done_and_a_line_that_was_cut_off_does_not_count() {
        let dir = tempfile::tempdir().expect("tempdir");
        let settings = settings(&["a", "b", "c"]);
        let mut record = Record::begin(dir.path(), "id".to_owned(), &settings).expect("begins");
        assert!(
            matches!(Record::resume(dir.path(), &settings), Err(SuiteError::Usage(why)) if why.contains("another process"))
        );
        record.finish(1, entry("b", 5)).expect("kept");
        drop(record);
        let path = dir.path().join("suite.jsonl");
        let text = std::fs::read_to_string(&path).expect("text");
        for cut in 1..60 {
            std::fs::write(&path, format!("{text}{}", &text[text.len() - 60..text.len() - cut])).expect("write");
            let record = Record::resume(dir.path(), &settings).expect("resumes");
            assert_eq!(record.done.keys().collect::<Vec<_>>(), [&1]);
            assert_eq!(std::fs::read_to_string(&path).expect("text"), text);
        }
        let mut record = Record::resume(dir.path(), &settings).expect("resumes");
        record.finish(1, entry("b", 99)).expect("kept");
        record.finish(0, entry("a", 7)).expect("kept");
        drop(record);
        let record = Record::resume(dir.path(), &settings).expect("resumes");
        assert_eq!((record.suite_id.as_str(), record.done.len()), ("id", 2));
        assert_eq!(record.done[&1].wall_ms, 5, "the first word stands");
    }

    #[test]
    fn a_suite_goes_on_as_it_was_begun() {
        let dir = tempfile::tempdir().expect("tempdir");
        drop(Record::begin(dir.path(), "id".to_owned(), &settings(&["a"])).expect("begins"));
        let other = |change: fn(&mut Settings)| {
            let mut now = settings(&["a"]);
            change(&mut now);
            match Record::resume(dir.path(), &now).map(|_| ()) {
                Err(SuiteError::Usage(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(other(|now| now.targets.push("b".to_owned())).contains("other targets"));
        assert!(other(|now| now.llm.push('x')).contains("--llm m"));
        assert!(other(|now| now.eval_mode.clear()).contains("--eval-mode full"));
        assert!(other(|now| now.require_samples = true).contains("--require-samples"));
        assert!(Record::resume(&dir.path().join("none"), &settings(&["a"])).is_err());
    }
}
