//! Degradation as a value: what became of every wall that was asked for.

use serde::{Deserialize, Serialize};

use crate::policy::Tier;

/// What became of one wall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "state", content = "why", rename_all = "kebab-case")]
pub enum WallState {
    /// Stands as asked.
    Enforced,
    /// Stands in a weaker form.
    Degraded(String),
    /// Does not stand.
    Absent(String),
}

/// One wall by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Wall {
    /// The wall's name, for instance `network namespace`.
    pub name: String,
    /// Its state.
    #[serde(flatten)]
    pub state: WallState,
}

/// All walls of one sandbox and the tier they add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WallReport {
    /// The tier.
    pub tier: Tier,
    /// The walls, outermost first.
    pub walls: Vec<Wall>,
}
