//! Answers, recorded as they are passed on: what a run that is cut off is gone on with, and
//! what it is replayed by.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{
    BrokerError, Recording,
    cassette::{Entry, Header, Player, Recorded},
    ledger::Lines,
    meter::CallId,
};
use crate::record::Redactor;

/// A cassette that is being recorded.
pub(super) struct Recorder {
    lines: Lines,
    redactor: Redactor,
    left: Mutex<u64>,
    left_out: AtomicU64,
}

impl Recorder {
    /// Begins one, or goes on with that of a run that was cut off; the second value is what
    /// that holds.
    pub fn open(recording: Recording) -> Result<(Self, Option<Player>), BrokerError> {
        let Recording { to, redactor, most } = recording;
        let lines = Lines::open(&to)?;
        let used = std::fs::metadata(&to).map_or(0, |meta| meta.len());
        let recorder = Self {
            lines,
            redactor,
            left: Mutex::new(most.saturating_sub(used)),
            left_out: AtomicU64::new(0),
        };
        if used > 0 {
            return Ok((recorder, Some(Player::open(&to)?)));
        }
        recorder.lines.append(&Header { cassette: 1 });
        Ok((recorder, None))
    }

    /// Records an answer as it was passed on.
    pub fn keep(&self, id: &CallId, recorded: Recorded) {
        let entry = Entry {
            turn: id.turn.clone(),
            occurrence: id.occurrence,
            call: id.call,
            expect: Vec::new(),
            reply: None,
            recorded: Some(Recorded {
                body: self.redactor.text(&recorded.body).into_owned(),
                ..recorded
            }),
        };
        // Half an answer is none.
        let bytes = serde_json::to_vec(&entry).map_or(u64::MAX, |line| line.len() as u64 + 1);
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.checked_sub(bytes) {
            Some(less) => {
                *left = less;
                self.lines.append(&entry);
            }
            None => self.leave_out(),
        }
    }

    /// An answer that is too large.
    pub fn leave_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers that were not recorded.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    pub fn finish(&self) -> Result<(), BrokerError> {
        self.lines.finish()
    }
}
