//! What one rule has let through, and how fast: arithmetic only.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{attempt::Denial, ledger::Reason};
use crate::policy::HostRule;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// A bucket that fills at a rate, up to what one second gives.
#[derive(Clone, Copy)]
struct Bucket {
    rate: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: f64, now: Instant) -> Self {
        Self {
            rate,
            level: rate,
            at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.rate).min(self.rate);
        self.at = now;
    }
}

struct State {
    up: u64,
    down: u64,
    connections: Option<Bucket>,
    bytes: Option<Bucket>,
}

/// The meter of one rule; all that it allows goes over it.
pub(super) struct Meter {
    rule: String,
    most: [Option<u64>; 2],
    /// Whether anything is bounded at all.
    bounded: bool,
    state: Mutex<State>,
}

impl Meter {
    pub fn new(rule: &HostRule) -> Self {
        let now = Instant::now();
        let (caps, rate) = (rule.bytes, rule.rate);
        Self {
            rule: rule.to_string(),
            most: [caps.up, caps.down],
            bounded: caps.up.is_some() || caps.down.is_some() || rate.bytes.is_some(),
            state: Mutex::new(State {
                up: 0,
                down: 0,
                connections: rate.connections.map(|n| Bucket::new(f64::from(n), now)),
                bytes: rate.bytes.map(|n| Bucket::new(n as f64, now)),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more connection in.
    pub fn admit(&self, now: Instant) -> Result<(), Denial> {
        let rule = &self.rule;
        let mut state = self.state();
        let used_up = [state.up, state.down]
            .into_iter()
            .zip(self.most)
            .any(|(used, most)| most.is_some_and(|most| used >= most));
        if used_up {
            let why = format!("the bytes of rule {rule} are used up for this run");
            return Err(Denial::refused(Reason::Bytes, why));
        }
        if let Some(bucket) = &mut state.connections {
            bucket.fill(now);
            if bucket.level < 1.0 {
                let why = format!("more connections a second than rule {rule} allows");
                return Err(Denial::refused(Reason::Rate, why));
            }
            bucket.level -= 1.0;
        }
        Ok(())
    }

    /// Lets bytes pass after the pause that is given, or none of them.
    pub fn pass(&self, way: Way, bytes: usize, now: Instant) -> Result<Duration, Denial> {
        if !self.bounded {
            return Ok(Duration::ZERO);
        }
        let bytes = bytes as u64;
        let mut state = self.state();
        let (used, most) = match way {
            Way::Up => (&mut state.up, self.most[0]),
            Way::Down => (&mut state.down, self.most[1]),
        };
        let after = used.saturating_add(bytes);
        if most.is_some_and(|most| after > most) {
            // Used up: what is left over is too little for what came.
            *used = most.unwrap_or(after);
            let why = format!("the bytes of rule {} are used up for this run", self.rule);
            return Err(Denial::cut(Reason::Bytes, why));
        }
        *used = after;
        let Some(bucket) = &mut state.bytes else {
            return Ok(Duration::ZERO);
        };
        bucket.fill(now);
        bucket.level -= bytes as f64;
        // A bucket in debt is waited for; nobody waits longer than a minute at a time.
        let debt = (-bucket.level / bucket.rate.max(1.0)).clamp(0.0, 60.0);
        Ok(Duration::from_secs_f64(debt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(text: &str) -> Meter {
        let rule: HostRule = serde_yaml::from_str(&format!("{{host: a.example, {text}}}")).expect(text);
        Meter::new(&rule)
    }

    #[test]
    fn bytes_are_capped_each_way_and_for_all_connections() {
        let meter = meter("bytes: {up: 100, down: 1000}");
        let now = Instant::now();
        assert!(meter.admit(now).is_ok());
        assert_eq!(meter.pass(Way::Up, 100, now), Ok(Duration::ZERO));
        assert_eq!(meter.pass(Way::Down, 999, now), Ok(Duration::ZERO));
        assert_eq!(meter.pass(Way::Down, 2, now).expect_err("over").reason, Reason::Bytes);
        let refused = meter.admit(now).expect_err("used up");
        assert!(refused.why.contains("a.example:443"), "{}", refused.why);
    }

    #[test]
    fn connections_are_counted_by_the_second() {
        let meter = meter("rate: {connections: 2}");
        let now = Instant::now();
        assert!(meter.admit(now).is_ok() && meter.admit(now).is_ok());
        assert_eq!(meter.admit(now).expect_err("too many").reason, Reason::Rate);
        let later = now + Duration::from_millis(600);
        assert!(meter.admit(later).is_ok() && meter.admit(later).is_err());
    }

    #[test]
    fn bytes_that_come_too_fast_wait() {
        let meter = meter("rate: {bytes: 1000}");
        let now = Instant::now();
        assert_eq!(meter.pass(Way::Down, 1000, now), Ok(Duration::ZERO));
        assert_eq!(meter.pass(Way::Up, 500, now), Ok(Duration::from_millis(500)));
        let later = now + Duration::from_secs(1);
        assert_eq!(meter.pass(Way::Up, 500, later), Ok(Duration::ZERO));
    }
}
