//! Choices between a few words, by policy files and by flags alike.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What builds the walls (`--sandbox`, `sandbox.backend`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BackendChoice {
    /// Docker where an engine answers and has an image to start from, else the jail.
    #[default]
    Auto,
    /// Namespaces, landlock and seccomp, without Docker.
    Jail,
    /// Containers of the Docker engine of this machine.
    Docker,
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Jail => "jail",
            Self::Docker => "docker",
        })
    }
}

/// Shell permission of the agent (`--opencode-bash`, `agent.bash`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BashMode {
    /// Commands that look and do not touch.
    Restricted,
    /// Any command; the sandbox and the guard hold all the same.
    Full,
}

impl fmt::Display for BashMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restricted => "restricted",
            Self::Full => "full",
        })
    }
}

/// Where a verification measures (`--isolation`, `verify.isolation`): the wider first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// In the sandbox that the stages before it ran in.
    #[default]
    Shared,
    /// In a fresh sandbox of the target and the accepted changes, where no stage ran before.
    Sealed,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Sealed => "sealed",
        })
    }
}

/// What the agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Only the plan may change.
    PlanUpdate,
    /// Anything but the plan and the protected paths may change.
    ExecuteStep,
    /// Anything but the protected paths may change (the plan may).
    FixOrReplan,
    /// A contract is written where there was none: it and what lies in its directory may change.
    Scaffold,
    /// What a contract runs is repaired: its directory may change, the contract itself not.
    Repair,
}

impl Phase {
    /// All of them: an iteration's, in its order, then those about contracts.
    pub const ALL: [Phase; 5] = [
        Phase::PlanUpdate,
        Phase::ExecuteStep,
        Phase::FixOrReplan,
        Phase::Scaffold,
        Phase::Repair,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::PlanUpdate => "plan-update",
            Phase::ExecuteStep => "execute-step",
            Phase::FixOrReplan => "fix-or-replan",
            Phase::Scaffold => "scaffold",
            Phase::Repair => "repair",
        })
    }
}

/// By its name, or the beginning of it up to the first `-`.
impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Phase::ALL
            .into_iter()
            .find(|phase| {
                let name = phase.to_string();
                name == text || name.split('-').next() == Some(text)
            })
            .ok_or_else(|| {
                "expected plan-update, execute-step, fix-or-replan, scaffold or repair (or plan, execute, fix)"
                    .to_owned()
            })
    }
}
