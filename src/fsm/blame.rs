//! Who failed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::state::EndReason;

/// Who a failure is laid to: of a command, a stage, a verification, a turn or a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The agent: what it did, or its server.
    Agent,
    /// The repository's own contract: a command that failed, an output that does not hold.
    Verifier,
    /// The sandbox or the host under it. Repeated by rule, and never counted against a step.
    Sandbox,
    /// The model's provider.
    Provider,
    /// A rule of the contract's `security` section, or of unattended mode.
    Policy,
    /// A cap or a budget: time, silence, memory, disk, calls, tokens.
    Budget,
    /// The user, or what they gave.
    User,
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Blame::Agent => "agent",
            Blame::Verifier => "verifier",
            Blame::Sandbox => "sandbox",
            Blame::Provider => "provider",
            Blame::Policy => "policy",
            Blame::Budget => "budget",
            Blame::User => "user",
        })
    }
}

impl EndReason {
    /// Who failed, as far as the reason alone tells; nobody did when it is done.
    pub fn blame(self) -> Option<Blame> {
        match self {
            EndReason::Done => None,
            EndReason::MaxIters
            | EndReason::PlanUpdateTouchedCode
            | EndReason::StepTouchedProtected
            | EndReason::PlanParseError
            | EndReason::MissingNextStep
            | EndReason::AgentError => Some(Blame::Agent),
            EndReason::TurnTimeout | EndReason::Budget => Some(Blame::Budget),
            EndReason::SandboxError => Some(Blame::Sandbox),
            EndReason::Interrupted => Some(Blame::User),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_the_same_in_json_and_for_a_person() {
        for blame in [
            Blame::Agent,
            Blame::Verifier,
            Blame::Sandbox,
            Blame::Provider,
            Blame::Policy,
            Blame::Budget,
            Blame::User,
        ] {
            let json = serde_json::to_value(blame).expect("written");
            assert_eq!(json, blame.to_string());
            assert_eq!(serde_json::from_value::<Blame>(json).expect("read"), blame);
        }
    }
}
