//! Rules over a parse tree: the verdict on a command line.

use super::{rules::Ruling, verdict::Verdict};
use crate::policy::{CommandPolicy, SecurityMode};

/// Decides about command lines.
#[derive(Clone, Debug)]
pub struct Judge {
    policy: CommandPolicy,
}

impl Judge {
    /// By the rules that this program ships.
    ///
    /// # Errors
    /// Never; the shipped rules compile.
    pub fn shipped() -> Result<Self, crate::policy::PatternError> {
        Ok(Self {
            policy: CommandPolicy::new(SecurityMode::Safe, &[], &[])?,
        })
    }

    /// The verdict on one command line, whatever it holds.
    pub fn verdict(&self, command: &str) -> Verdict {
        let (verdict, rule, because) = match self.policy.check(command) {
            Ok(()) => (
                Ruling::Allow,
                "commands.rules".to_owned(),
                "no rule is against it".to_owned(),
            ),
            Err(refusal) => (Ruling::Deny, refusal.code.to_owned(), refusal.reason),
        };
        Verdict {
            verdict,
            rule,
            because,
            at: "policies/default.yml:1".to_owned(),
        }
    }
}
