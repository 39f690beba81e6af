//! The runs of a host: looked over, and removed.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{
    RecordError,
    audit::{JOURNAL, RECEIPT, Receipt, Record, is_held},
    run_dir::LOCK,
};
use crate::{names::RunId, tree};

/// Longest first record that is looked into, and largest receipt.
const LOOKED_INTO: u64 = 1 << 20;
/// A directory without a lock may be one that is being made.
const BIRTH: Duration = Duration::from_secs(10);

/// What a run was asked for.
pub const OPTIONS: &str = "options.json";
/// The exit code of a run that ended for its sandbox or its host.
const HOST_FAILED: u8 = 7;

/// Whether a run that ended with this code, or never came to its end, can be gone on with.
pub fn may_go_on(exit: Option<u8>) -> bool {
    exit.is_none_or(|exit| exit == HOST_FAILED)
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// It lives.
    Running,
    /// It ended with exit code 0.
    Done,
    /// It ended with another.
    Failed,
    /// It lives no longer, and never came to its end.
    CutOff,
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::CutOff => "cut-off",
        })
    }
}

/// One run of a host.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// The run.
    pub id: RunId,
    /// Its directory.
    pub path: PathBuf,
    /// How it stands.
    pub state: RunState,
    /// `run` or `verify`, where its record says so.
    pub verb: Option<String>,
    /// What it is about.
    pub target: Option<String>,
    /// How it ended, and its exit code.
    pub reason: Option<String>,
    /// As above.
    pub exit: Option<u8>,
    /// `resume` goes on with it.
    pub resumable: bool,
    /// When it began, RFC 3339, UTC.
    pub began: String,
    /// Seconds since.
    pub age: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What the first record says.
#[derive(Default, Deserialize)]
struct Begun {
    verb: Option<String>,
    target: Option<String>,
}

/// Every run below `runs`, the newest first.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(runs: &Path) -> Result<Vec<Listed>, RecordError> {
    let entries = match fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(RecordError::io("read", runs)(why)),
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RunId>().ok());
    let mut ids: Vec<RunId> = ids.collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let look = |id: RunId| look(runs.join(id.as_str()), id, now);
    Ok(ids.into_iter().filter_map(look).collect())
}

/// One run; nothing where it went meanwhile.
fn look(path: PathBuf, id: RunId, now: Duration) -> Option<Listed> {
    let began = id.began();
    let begun = first_record(&path).unwrap_or_default();
    let outcome = read(&path.join(RECEIPT)).and_then(|bytes| serde_json::from_slice::<Receipt>(&bytes).ok());
    let outcome = outcome.map(|receipt| receipt.outcome);
    let age = now.saturating_sub(began);
    let state = match &outcome {
        _ if is_held(&path) || (!path.join(LOCK).exists() && age < BIRTH) => RunState::Running,
        Some(outcome) if outcome.exit == 0 => RunState::Done,
        Some(_) => RunState::Failed,
        None => RunState::CutOff,
    };
    let timestamp = i64::try_from(began.as_millis()).ok();
    let timestamp = timestamp.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    Some(Listed {
        bytes: tree::usage(&path, u64::MAX).ok()?.0,
        resumable: match state {
            RunState::CutOff | RunState::Failed => {
                let exit = outcome.as_ref().map(|outcome| outcome.exit);
                begun.verb.as_deref() == Some("run") && path.join(OPTIONS).exists() && may_go_on(exit)
            }
            RunState::Running | RunState::Done => false,
        },
        state,
        verb: begun.verb,
        target: begun.target,
        reason: outcome.as_ref().map(|outcome| outcome.reason.clone()),
        exit: outcome.as_ref().map(|outcome| outcome.exit),
        began: timestamp.map(|at| at.to_string()).unwrap_or_default(),
        age: age.as_secs(),
        id,
        path,
    })
}

/// The target of a run, as its first record names it.
pub fn target_of(run: &Path) -> Option<String> {
    first_record(run)?.target
}

fn first_record(run: &Path) -> Option<Begun> {
    let file = File::open(run.join(JOURNAL)).ok()?;
    let mut line = Vec::new();
    BufReader::new(file.take(LOOKED_INTO))
        .read_until(b'\n', &mut line)
        .ok()?;
    let record = Record::parse(&line).ok()?;
    serde_json::from_str(record.fields.get()).ok()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LOOKED_INTO).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Removes a run's directory, under the lock that a living run would hold.
///
/// # Errors
/// [`RecordError::Alive`] for a run that lives; when it cannot be removed.
pub fn remove(run: &Path) -> Result<(), RecordError> {
    let alive = || RecordError::Alive(run.display().to_string());
    let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lock = match File::open(run.join(LOCK)) {
        Ok(file) => Some(Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| alive())?),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let id: Option<RunId> = name.parse().ok();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            if id.is_some_and(|id| now.saturating_sub(id.began()) < BIRTH) {
                return Err(alive());
            }
            None
        }
        Err(why) => return Err(RecordError::io("open the lock of", run)(why)),
    };
    // Nobody finds half of it, however this ends; what stays is removed the next time.
    let away = run.with_file_name(format!(".removing-{name}"));
    tree::remove_all(&away)?;
    fs::rename(run, &away).map_err(RecordError::io("move away", run))?;
    drop(lock);
    Ok(tree::remove_all(&away)?)
}

/// What may go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// The newest so many stay, whatever else is said.
    pub keep: usize,
    /// Older ones go.
    pub older_than: Option<Duration>,
    /// The oldest go until all together have no more bytes.
    pub max_bytes: Option<u64>,
}

impl Retention {
    /// Which of `runs` (the newest first) may go: never one that lives.
    pub fn surplus<'r>(&self, runs: &'r [Listed]) -> Vec<&'r Listed> {
        let mut bytes = 0_u64;
        let bounded = self.older_than.is_some() || self.max_bytes.is_some();
        let mut surplus = Vec::new();
        for (at, run) in runs.iter().enumerate() {
            let old = self.older_than.is_some_and(|most| run.age > most.as_secs());
            let large = self
                .max_bytes
                .is_some_and(|most| bytes.saturating_add(run.bytes) > most);
            let goes = at >= self.keep && (old || large || !bounded);
            if goes && run.state != RunState::Running {
                surplus.push(run);
            } else {
                bytes = bytes.saturating_add(run.bytes);
            }
        }
        surplus
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RunDir;

    fn listed(age: u64, bytes: u64, state: RunState) -> Listed {
        Listed {
            id: RunId::fresh(),
            path: PathBuf::new(),
            state,
            verb: None,
            target: None,
            reason: None,
            exit: None,
            resumable: false,
            began: String::new(),
            age,
            bytes,
        }
    }

    #[test]
    fn what_may_go_goes_by_age_and_size_and_a_living_run_never() {
        use RunState::{CutOff, Done, Running};
        let runs = [
            listed(1, 10, Done),
            listed(2, 10, Running),
            listed(3, 10, CutOff),
            listed(4, 10, Running),
            listed(5, 10, Done),
        ];
        let ages = |retention: Retention| -> Vec<u64> { retention.surplus(&runs).iter().map(|run| run.age).collect() };
        let none = Retention::default();
        let old = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(ages(Retention { keep: 1, ..none }), [3, 5]);
        assert_eq!(
            ages(Retention {
                older_than: old(3),
                ..none
            }),
            [5]
        );
        assert_eq!(
            ages(Retention {
                older_than: old(0),
                keep: 3,
                ..none
            }),
            [5]
        );
        assert_eq!(
            ages(Retention {
                max_bytes: Some(35),
                ..none
            }),
            [5]
        );
        assert_eq!(
            ages(Retention {
                max_bytes: Some(0),
                ..none
            }),
            [1, 3, 5]
        );
        assert_eq!(
            ages(Retention {
                max_bytes: Some(0),
                keep: 5,
                ..none
            }),
            [0; 0]
        );
    }

    #[test]
    fn a_living_run_is_listed_and_not_removed_and_a_dead_one_is() {
        let dir = tempfile::tempdir().expect("tempdir");
        let run = RunDir::create(dir.path(), &RunId::fresh(), &[]).expect("create");
        run.journal("run", &serde_json::json!({"verb": "verify", "target": "/t"}))
            .expect("journal");
        let path = run.path().to_path_buf();
        let found = list(dir.path()).expect("list");
        assert_eq!((found.len(), found[0].state), (1, RunState::Running));
        assert_eq!(found[0].target.as_deref(), Some("/t"));
        assert!(matches!(remove(&path), Err(RecordError::Alive(_))));
        drop(run);
        assert_eq!(list(dir.path()).expect("list")[0].state, RunState::CutOff);
        remove(&path).expect("remove");
        assert_eq!(fs::read_dir(dir.path()).expect("ls").count(), 0);
        // One that is being made has no lock yet.
        let born = dir.path().join(RunId::fresh().as_str());
        fs::create_dir(&born).expect("mkdir");
        assert!(matches!(remove(&born), Err(RecordError::Alive(_))));
    }
}
