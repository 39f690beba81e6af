//! What the user asks of an agent that writes contracts.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{broker::Budget, engine::ModelChoice, policy::BashMode, record::Secret};

/// Who writes a contract where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScaffoldBy {
    /// Nobody.
    #[default]
    Nobody,
    /// The agent, and nobody else.
    Agent,
    /// The agent; where it does not come to one that holds, this program: the generic one.
    AgentOrGeneric,
    /// This program, and no agent is asked.
    Generic,
}

/// How a contract is come by where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scaffold {
    /// Who writes it.
    pub by: ScaffoldBy,
    /// Whether it has to declare metrics with `score` and `ok`.
    pub require_metrics: bool,
    /// Attempts of the agent.
    pub attempts: u32,
    /// Shell permission of the agent.
    pub bash: BashMode,
}

impl Scaffold {
    /// Attempts where nobody says otherwise.
    pub const ATTEMPTS: u32 = 5;
    /// The most that can be asked for.
    pub const MOST_ATTEMPTS: u32 = 10;
    /// The variable that says how many.
    pub const VARIABLE: &'static str = "AIDER_OPENCODE_SCAFFOLD_ATTEMPTS";

    /// By `by`, else as the predecessor did.
    pub fn by(by: ScaffoldBy) -> Self {
        Self {
            by,
            require_metrics: true,
            attempts: Self::ATTEMPTS,
            bash: BashMode::Full,
        }
    }
}

impl Default for Scaffold {
    fn default() -> Self {
        Self::by(ScaffoldBy::Nobody)
    }
}

/// An agent that writes, and its model.
#[derive(Clone, Debug)]
pub struct Scribe {
    /// Its model.
    pub model: ModelChoice,
    /// The endpoint's key.
    pub api_key: Option<Secret>,
    /// The OpenCode binary, if named.
    pub opencode_bin: Option<PathBuf>,
    /// Shell permission.
    pub bash: BashMode,
    /// Wall cap of a turn.
    pub turn_wall: Duration,
    /// Silence after which a turn is aborted.
    pub stall: Duration,
    /// Model budget of all its turns.
    pub run_budget: Budget,
    /// Model budget of one turn.
    pub turn_budget: Budget,
}

/// Agents of a target that is kept open.
#[derive(Clone, Debug, Default)]
pub struct Authoring {
    /// How a contract is come by where there is none.
    pub scaffold: Scaffold,
    /// Who writes it; nobody where no model is named.
    pub writer: Option<Scribe>,
    /// Who repairs it; nobody where no model is named.
    pub repairer: Option<Scribe>,
}
