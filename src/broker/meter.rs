//! Budgets and usage: arithmetic only.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// Caps; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Budget {
    /// Model calls.
    pub calls: Option<u64>,
    /// Input and output tokens together.
    pub tokens: Option<u64>,
    /// Time since the turn or the run began.
    pub wall: Option<Duration>,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Usage {
    /// Calls that were let through.
    pub calls: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
}

impl Usage {
    fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// Why a turn or the run was cut off by the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exhausted {
    /// The turn's calls.
    TurnCalls,
    /// The turn's tokens.
    TurnTokens,
    /// The turn's time.
    TurnTime,
    /// The run's calls.
    RunCalls,
    /// The run's tokens.
    RunTokens,
    /// The run's time.
    RunTime,
    /// Too many transient errors of the provider in one turn.
    ProviderErrors,
    /// The cassette holds no answer for this call, or another request was expected.
    CassetteEnded,
}

/// Transient provider errors (429, 5xx, broken connections) passed on in one turn of an agent.
pub const AGENT_PATIENCE: u32 = 6;

/// Which call this is: what a cassette is keyed by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct CallId {
    /// The turn's label.
    pub turn: String,
    /// Which turn of that label, from 1.
    pub occurrence: u32,
    /// Which call in it, from 1.
    pub call: u32,
}

/// The counters of a run.
pub(super) struct Meter {
    per_run: Budget,
    per_turn: Budget,
    began: Instant,
    /// Time that was used up before.
    before: Duration,
    turn_began: Instant,
    label: String,
    occurrences: HashMap<String, u32>,
    numbered: u32,
    run: Usage,
    turn: Usage,
    transient: u32,
    patience: u32,
    /// Calls of the turn that the provider failed.
    failed: u64,
    /// Those among them that were this program's own.
    failed_own: u64,
    exhausted: Option<Exhausted>,
}

impl Meter {
    pub fn new(per_run: Budget, per_turn: Budget, patience: u32) -> Self {
        let now = Instant::now();
        Self {
            per_run,
            per_turn,
            began: now,
            before: Duration::ZERO,
            turn_began: now,
            label: String::new(),
            occurrences: HashMap::new(),
            numbered: 0,
            run: Usage::default(),
            turn: Usage::default(),
            transient: 0,
            patience,
            failed: 0,
            failed_own: 0,
            exhausted: None,
        }
    }

    /// Goes on where a run was cut off.
    pub fn go_on(&mut self, turns: HashMap<String, u32>, run: Usage, before: Duration) {
        self.occurrences = turns;
        self.run = run;
        self.before = before;
    }

    pub fn begin_turn(&mut self, label: &str) {
        label.clone_into(&mut self.label);
        *self.occurrences.entry(self.label.clone()).or_default() += 1;
        self.numbered = 0;
        self.turn = Usage::default();
        self.turn_began = Instant::now();
        self.transient = 0;
        self.failed = 0;
        self.failed_own = 0;
        self.exhausted = None;
    }

    /// Lets one call through and numbers it, or says which cap forbids it.
    pub fn admit(&mut self) -> Result<CallId, Exhausted> {
        self.let_through()?;
        self.numbered += 1;
        Ok(CallId {
            turn: self.label.clone(),
            occurrence: self.occurrences.get(&self.label).copied().unwrap_or(0),
            call: self.numbered,
        })
    }

    /// The same for a call that is known by what it asks, whatever calls go on beside it.
    pub fn admit_as(&mut self, subject: &str) -> Result<CallId, Exhausted> {
        self.let_through()?;
        let turn = format!("{}/{subject}", self.label);
        let occurrence = self.occurrences.entry(turn.clone()).or_default();
        *occurrence += 1;
        Ok(CallId {
            occurrence: *occurrence,
            turn,
            call: 1,
        })
    }

    fn let_through(&mut self) -> Result<(), Exhausted> {
        if let Some(cap) = self.over(true) {
            return Err(self.exhaust(cap));
        }
        self.run.calls += 1;
        self.turn.calls += 1;
        Ok(())
    }

    /// Whether a call under way must be cut off.
    pub fn cut(&mut self) -> Option<Exhausted> {
        let cap = self.over(false)?;
        Some(self.exhaust(cap))
    }

    pub fn count(&mut self, input: u64, output: u64) {
        for usage in [&mut self.run, &mut self.turn] {
            usage.input_tokens = usage.input_tokens.saturating_add(input);
            usage.output_tokens = usage.output_tokens.saturating_add(output);
        }
    }

    /// Counts a transient provider error; `false` once there were too many.
    pub fn transient(&mut self) -> bool {
        self.transient += 1;
        if self.transient > self.patience {
            self.exhaust(Exhausted::ProviderErrors);
        }
        self.transient <= self.patience
    }

    /// A call that the provider did not answer, or refused for what is between it and us.
    pub fn fail(&mut self) {
        self.failed += 1;
    }

    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// One that failed was this program's own.
    pub fn fail_own(&mut self) {
        self.failed_own += 1;
    }

    /// Failed calls of the inside.
    pub fn failed_inside(&self) -> u64 {
        self.failed.saturating_sub(self.failed_own)
    }

    pub fn exhaust(&mut self, cap: Exhausted) -> Exhausted {
        *self.exhausted.get_or_insert(cap)
    }

    pub fn exhausted(&self) -> Option<Exhausted> {
        self.exhausted
    }

    pub fn usage(&self) -> (Usage, Usage) {
        (self.turn, self.run)
    }

    /// `new`: a further call is asked for, so a budget that is just used up counts.
    fn over(&self, new: bool) -> Option<Exhausted> {
        use Exhausted::{RunCalls, RunTime, RunTokens, TurnCalls, TurnTime, TurnTokens};
        let full = |used: u64, cap: Option<u64>| cap.is_some_and(|cap| if new { used >= cap } else { used > cap });
        let late = |since: Duration, cap: Option<Duration>| cap.is_some_and(|cap| since >= cap);
        let checks = [
            (full(self.run.calls, self.per_run.calls), RunCalls),
            (full(self.run.tokens(), self.per_run.tokens), RunTokens),
            (late(self.before + self.began.elapsed(), self.per_run.wall), RunTime),
            (full(self.turn.calls, self.per_turn.calls), TurnCalls),
            (full(self.turn.tokens(), self.per_turn.tokens), TurnTokens),
            (late(self.turn_began.elapsed(), self.per_turn.wall), TurnTime),
        ];
        checks.into_iter().find(|(over, _)| *over).map(|(_, cap)| cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_numbered_by_turn_and_occurrence() {
        let mut meter = Meter::new(Budget::default(), Budget::default(), AGENT_PATIENCE);
        let mut ids = Vec::new();
        for label in ["a", "a", "b"] {
            meter.begin_turn(label);
            for _ in 0..2 {
                let id = meter.admit().expect("no budget");
                ids.push(format!("{}{}.{}", id.turn, id.occurrence, id.call));
            }
        }
        assert_eq!(ids, ["a1.1", "a1.2", "a2.1", "a2.2", "b1.1", "b1.2"]);
        assert_eq!(meter.usage().1.calls, 6);
    }

    #[test]
    fn budgets_close_the_door_and_a_new_turn_opens_only_its_own() {
        let cap = |calls, tokens| Budget {
            calls,
            tokens,
            wall: None,
        };
        let mut meter = Meter::new(cap(Some(3), None), cap(Some(2), Some(100)), AGENT_PATIENCE);
        meter.begin_turn("t");
        assert!(meter.admit().is_ok());
        meter.count(60, 39);
        assert_eq!(meter.cut(), None);
        assert!(meter.admit().is_ok());
        meter.count(2, 0);
        assert_eq!(meter.cut(), Some(Exhausted::TurnTokens));
        meter.begin_turn("t");
        assert_eq!(meter.exhausted(), None);
        assert!(meter.admit().is_ok());
        assert_eq!(meter.admit(), Err(Exhausted::RunCalls));
    }

    #[test]
    fn transient_errors_are_bounded() {
        let mut meter = Meter::new(Budget::default(), Budget::default(), AGENT_PATIENCE);
        meter.begin_turn("t");
        assert_eq!(
            (0..20).take_while(|_| meter.transient()).count(),
            AGENT_PATIENCE as usize
        );
        assert_eq!(meter.exhausted(), Some(Exhausted::ProviderErrors));
    }
}
