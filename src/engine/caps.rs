//! Caps on time: which one ends a command, and by what name.

use std::time::{Duration, Instant};

use crate::{contract::Security, engine::Caps};

/// A wall cap and the name of the rule that gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WallCap {
    /// How long.
    pub wall: Duration,
    /// `timeout_seconds`, `max_cmd_seconds`, `max_total_seconds` or `max_run_seconds`.
    pub rule: &'static str,
}

impl Caps {
    /// Longest run where the user does not say otherwise.
    pub const RUN: Duration = Duration::from_secs(24 * 3600);
    /// Longest silence where the user does not say otherwise.
    pub const SILENCE: Duration = Duration::from_secs(1800);

    /// When a run that began at `began` is over.
    pub(super) fn deadline(&self, began: Instant) -> Instant {
        began + self.longest_run()
    }

    /// How long the run may take.
    fn longest_run(&self) -> Duration {
        self.max_run.unwrap_or(Self::RUN)
    }

    /// How long a sandbox of the run may live: the run, and what ending it takes.
    pub(super) fn lease(&self) -> Duration {
        self.longest_run() + Duration::from_secs(600)
    }

    /// Longest silence of a command.
    pub(super) fn silence(&self) -> Duration {
        self.max_silence.unwrap_or(Self::SILENCE)
    }
}

/// What bounds the commands of one stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct StageCaps {
    command: WallCap,
    total: Duration,
    began: Instant,
    deadline: Instant,
}

impl StageCaps {
    /// The caps of a stage that begins now and declares `timeout` for each command.
    /// What the user gives takes the place of what the contract gives; what neither gives,
    /// or a contract may not raise, is the policy's. The run ends at `deadline` whatever
    /// they say.
    pub fn new(timeout: Option<Duration>, security: &Security, caps: &Caps, deadline: Instant) -> Self {
        let policy = &caps.policy;
        let bounded = |asked: Option<Duration>, most: Duration| match policy.contract_may_raise {
            true => asked,
            false => Some(asked.unwrap_or(most).min(most)),
        };
        let max_cmd = caps.max_cmd.or_else(|| bounded(security.max_cmd, policy.command));
        let max_total = caps.max_total.or_else(|| bounded(security.max_total, policy.stage));
        let command = match (timeout, max_cmd) {
            (Some(wall), Some(max)) if max < wall => (max, "max_cmd_seconds"),
            (None, Some(max)) => (max, "max_cmd_seconds"),
            (wall, _) => (wall.unwrap_or(policy.command), "timeout_seconds"),
        };
        Self {
            command: WallCap {
                wall: command.0,
                rule: command.1,
            },
            total: max_total.unwrap_or(policy.stage),
            began: Instant::now(),
            deadline,
        }
    }

    /// The same for a stage that began at `began`.
    pub fn since(self, began: Instant) -> Self {
        Self { began, ..self }
    }

    /// The cap of a command that starts at `now`: the one that ends it first. Zero
    /// when the stage or the run is over.
    pub fn next(&self, now: Instant) -> WallCap {
        let total = WallCap {
            wall: self.total.saturating_sub(now.saturating_duration_since(self.began)),
            rule: "max_total_seconds",
        };
        let run = WallCap {
            wall: self.deadline.saturating_duration_since(now),
            rule: "max_run_seconds",
        };
        [total, run].into_iter().fold(
            self.command,
            |least, cap| {
                if cap.wall < least.wall { cap } else { least }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::StageTime;

    const COMMAND: Duration = Duration::from_secs(1800);
    const STAGE: Duration = Duration::from_secs(7200);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn cap(wall: Duration, rule: &'static str) -> WallCap {
        WallCap { wall, rule }
    }

    #[test]
    fn every_cap_has_a_default() {
        let began = Instant::now();
        let caps = StageCaps::new(
            None,
            &Security::default(),
            &Caps::default(),
            Caps::default().deadline(began),
        );
        assert_eq!(caps.next(caps.began), cap(COMMAND, "timeout_seconds"));
        let late = caps.began + STAGE - seconds(5);
        assert_eq!(caps.next(late), cap(seconds(5), "max_total_seconds"));
        assert_eq!(caps.next(caps.began + STAGE), cap(Duration::ZERO, "max_total_seconds"));
        assert_eq!(Caps::default().deadline(began), began + Caps::RUN);
        assert_eq!(Caps::default().silence(), Caps::SILENCE);
    }

    #[test]
    fn the_user_overrides_the_contract_and_the_run_ends_both() {
        let security = Security {
            max_cmd: Some(seconds(1)),
            max_total: Some(seconds(2)),
            ..Security::default()
        };
        let deadline = Instant::now() + seconds(1000);
        let first = |timeout, security: &Security, caps: &Caps| {
            let caps = StageCaps::new(timeout, security, caps, deadline);
            caps.next(caps.began)
        };
        let none = Caps::default();
        assert_eq!(first(None, &security, &none), cap(seconds(1), "max_cmd_seconds"));
        assert_eq!(
            first(Some(seconds(9)), &security, &none),
            cap(seconds(1), "max_cmd_seconds")
        );
        let user = Caps {
            max_cmd: Some(seconds(50)),
            max_total: Some(seconds(60)),
            ..none
        };
        assert_eq!(first(None, &security, &user), cap(seconds(50), "max_cmd_seconds"));
        assert_eq!(
            first(Some(seconds(9)), &security, &user),
            cap(seconds(9), "timeout_seconds")
        );
        let only_total = Caps {
            max_cmd: Some(seconds(5000)),
            max_total: Some(seconds(4000)),
            ..none
        };
        assert_eq!(first(None, &security, &only_total).rule, "max_run_seconds");
    }

    #[test]
    fn a_policy_that_lets_no_contract_raise_its_time_is_the_most_that_there_is() {
        let security = |cmd, total| Security {
            max_cmd: Some(seconds(cmd)),
            max_total: Some(seconds(total)),
            ..Security::default()
        };
        let firm = |contract_may_raise| Caps {
            policy: StageTime {
                command: seconds(60),
                stage: seconds(100),
                contract_may_raise,
            },
            ..Caps::default()
        };
        let deadline = Caps::default().deadline(Instant::now());
        let caps = |timeout, security: &Security, caps: &Caps| StageCaps::new(timeout, security, caps, deadline);
        let first = |caps: StageCaps| caps.next(caps.began);
        let stated = caps(Some(seconds(500)), &Security::default(), &firm(false));
        assert_eq!(first(stated), cap(seconds(60), "max_cmd_seconds"));
        assert_eq!(stated.total, seconds(100));
        let wider = caps(Some(seconds(500)), &security(400, 900), &firm(false));
        assert_eq!((first(wider).wall, wider.total), (seconds(60), seconds(100)));
        let narrower = caps(None, &security(40, 50), &firm(false));
        assert_eq!((first(narrower).wall, narrower.total), (seconds(40), seconds(50)));
        let raised = caps(Some(seconds(500)), &security(400, 900), &firm(true));
        assert_eq!((first(raised).wall, raised.total), (seconds(400), seconds(900)));
        let nobody = caps(None, &Security::default(), &firm(true));
        assert_eq!(
            (first(nobody), nobody.total),
            (cap(seconds(60), "timeout_seconds"), seconds(100))
        );
        let user = Caps {
            max_cmd: Some(seconds(90)),
            max_total: Some(seconds(95)),
            ..firm(false)
        };
        let user = caps(None, &Security::default(), &user);
        assert_eq!(
            (first(user).wall, user.total),
            (seconds(90), seconds(95)),
            "the user's flag is about this run"
        );
    }

    proptest! {
        #[test]
        fn no_cap_is_ever_exceeded(
            timeout in proptest::option::of(1..5000u64),
            contract in (proptest::option::of(1..5000u64), proptest::option::of(1..5000u64)),
            user in (proptest::option::of(1..5000u64), proptest::option::of(1..5000u64)),
            run in 1..5000u64,
            later in 0..10_000u64,
        ) {
            let security = Security {
                max_cmd: contract.0.map(seconds),
                max_total: contract.1.map(seconds),
                ..Security::default()
            };
            let caps = Caps { max_cmd: user.0.map(seconds), max_total: user.1.map(seconds), ..Caps::default() };
            let deadline = Instant::now() + seconds(run);
            let stage = StageCaps::new(timeout.map(seconds), &security, &caps, deadline);
            let now = stage.began + seconds(later);
            let next = stage.next(now);
            for most in [timeout, user.0.or(contract.0)].into_iter().flatten() {
                prop_assert!(next.wall <= seconds(most));
            }
            prop_assert!(next.wall + seconds(later) <= seconds(user.1.or(contract.1).unwrap_or(7200)).max(seconds(later)));
            prop_assert!(now + next.wall <= deadline.max(now));
        }
    }
}
