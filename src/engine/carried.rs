//! What a run knows between two transitions and no other record has: carried over where it
//! is cut off.
//!
//! It is written before each event of the machine, in one of two files by turns, and its hash
//! is in the chain: the one that the last event was written after is whole, whatever came later.

use std::{io::Read, path::Path, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    broker::Usage,
    engine::{EngineError, drive::Tally, evidence::digest_of, judge::Verification},
    fsm::Evidence,
    names::RelPath,
    record::{RunDir, State, audit::Digest},
    tree,
};

/// Version of [`Carried`].
const CARRIED_VERSION: u32 = 1;
/// The two files.
const FILES: [&str; 2] = ["carried/0.json", "carried/1.json"];
/// Largest one that is read.
const MAX_BYTES: u64 = 64 << 20;

/// What is carried over, as `carried/N.json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Carried {
    version: u32,
    /// The facts of the iteration's prompts.
    pub snapshot: String,
    /// What the next facts tell besides.
    pub news: Option<String>,
    /// The last verification.
    pub last: Option<Verification>,
    /// What an agent is shown of it.
    pub evidence: Option<Evidence>,
    pub guard_events: u64,
    pub turns: u64,
    /// Tokens, as the agent reports them.
    pub told: Usage,
    /// The accepted state.
    pub step: Option<u64>,
    /// Time that is used up.
    pub used: Duration,
    /// As `state.json` has it.
    pub state: State,
}

/// The fields of `carried`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CarriedLine {
    file: String,
    sha256: Digest,
}

/// Which of the two files is the last one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot(bool);

impl CarriedLine {
    /// The file that it names.
    pub fn slot(&self) -> Slot {
        Slot(self.file == FILES[1])
    }
}

impl Carried {
    /// Of a run between two transitions.
    pub fn of(
        snapshot: &str,
        news: Option<&str>,
        tally: &Tally,
        step: Option<u64>,
        used: Duration,
        state: &State,
    ) -> Self {
        Self {
            version: CARRIED_VERSION,
            snapshot: snapshot.to_owned(),
            news: news.map(str::to_owned),
            last: tally.last.clone(),
            evidence: tally.last.as_ref().map(|last| last.evidence.clone()),
            guard_events: tally.guard_events,
            turns: tally.turns,
            told: tally.told,
            step,
            used,
            state: state.clone(),
        }
    }

    /// Keeps it in the other file than the last one.
    pub fn keep(&self, run: &RunDir, last: &mut Slot) -> Result<(), EngineError> {
        last.0 = !last.0;
        let file = FILES[usize::from(last.0)];
        run.keep_json(file, self)?;
        let sha256 = digest_of(&run.path().join(file))?;
        let file = file.to_owned();
        Ok(run.note("carried", &CarriedLine { file, sha256 })?)
    }

    /// Reads what a record of the chain names.
    ///
    /// # Errors
    /// The place, what is expected there and what is found, where it is another.
    pub fn read(run: &Path, line: &CarriedLine) -> Result<Self, EngineError> {
        let CarriedLine { file, sha256 } = line;
        let path = RelPath::new(file.as_str()).map_err(|why| EngineError::Usage(format!("carried: {why}")))?;
        let mut bytes = Vec::new();
        let read = tree::open_record(run, &path)?.take(MAX_BYTES).read_to_end(&mut bytes);
        read.map_err(|source| EngineError::Io {
            what: format!("read {file}"),
            source,
        })?;
        if Digest::of(&bytes) != *sha256 {
            return Err(EngineError::damaged(
                file,
                &sha256.to_string(),
                &Digest::of(&bytes).to_string(),
            ));
        }
        let carried: Self =
            serde_json::from_slice(&bytes).map_err(|why| EngineError::Usage(format!("{file}: {why}")))?;
        match carried.version {
            CARRIED_VERSION => Ok(carried),
            other => Err(EngineError::Usage(format!(
                "{file}: version {other} is not {CARRIED_VERSION}"
            ))),
        }
    }

    /// What the run has come to.
    pub fn tally(&self) -> Tally {
        let mut last = self.last.clone();
        if let (Some(last), Some(evidence)) = (&mut last, &self.evidence) {
            last.evidence = evidence.clone();
        }
        Tally {
            last,
            guard_events: self.guard_events,
            turns: self.turns,
            told: self.told,
            own_time: Vec::new(),
        }
    }
}
