//! How often something that an agent writes is tried. Pure, like the machine.

use serde::{Deserialize, Serialize};

use super::Blame;

/// Turns in a row that the provider or the sandbox may fail.
const MAX_INFRA: u32 = 3;

/// What came of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// What is there holds.
    Holds,
    /// What is there does not hold, or nothing is.
    Wanting,
    /// Nothing holds, and the turn itself failed.
    Failed(Blame),
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Go on with what is there.
    Accept,
    /// Another turn.
    Again,
    /// The attempts are used up.
    GiveUp,
    /// The provider or the sandbox keeps failing: nobody has written anything wrong.
    Infra(Blame),
}

/// The attempts of one contract.
#[derive(Clone, Debug)]
pub struct Attempts {
    most: u32,
    made: u32,
    /// Failures of the provider or the sandbox in a row.
    infra: u32,
}

impl Attempts {
    /// At most so many attempts, at least one.
    pub fn new(most: u32) -> Self {
        Self {
            most: most.max(1),
            made: 0,
            infra: 0,
        }
    }

    /// The number of the attempt that is being made, from 1.
    pub fn number(&self) -> u32 {
        self.made + 1
    }

    /// The most.
    pub fn most(&self) -> u32 {
        self.most
    }

    /// Takes what came of a turn. A failure of the provider or the sandbox is no attempt,
    /// and ends the whole when it comes three times in a row.
    pub fn tried(&mut self, tried: Tried) -> Then {
        match tried {
            Tried::Holds => return Then::Accept,
            Tried::Failed(blame @ (Blame::Provider | Blame::Sandbox)) => {
                self.infra += 1;
                return match self.infra >= MAX_INFRA {
                    true => Then::Infra(blame),
                    false => Then::Again,
                };
            }
            Tried::Wanting | Tried::Failed(_) => self.infra = 0,
        }
        self.made += 1;
        match self.made >= self.most {
            true => Then::GiveUp,
            false => Then::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_end_when_one_holds_when_they_are_used_up_and_when_nobody_could_write() {
        let mut attempts = Attempts::new(3);
        assert_eq!(attempts.tried(Tried::Wanting), Then::Again);
        // What the provider fails is tried again under the same number.
        assert_eq!(attempts.tried(Tried::Failed(Blame::Provider)), Then::Again);
        assert_eq!(attempts.number(), 2);
        assert_eq!(attempts.tried(Tried::Failed(Blame::Agent)), Then::Again);
        assert_eq!(attempts.clone().tried(Tried::Holds), Then::Accept);
        assert_eq!(attempts.tried(Tried::Wanting), Then::GiveUp);

        let mut attempts = Attempts::new(0);
        assert_eq!(attempts.most(), 1);
        for expected in [Then::Again, Then::Again, Then::Infra(Blame::Sandbox)] {
            assert_eq!(attempts.tried(Tried::Failed(Blame::Sandbox)), expected);
        }
    }
}
