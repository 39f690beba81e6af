//! Degradation as a value: what became of every wall that was asked for.

use nix::unistd::{getegid, getgroups};
use serde::{Deserialize, Serialize};

use crate::{
    policy::Tier,
    sandbox::{WitnessReport, owner},
};

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
    /// What the witness found who tried them, in the first sandbox of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<WitnessReport>,
}

/// An ordinary user cannot drop groups: `setgroups(2)` is denied in a user
/// namespace that maps one id (user_namespaces(7)).
pub(super) fn groups() -> WallState {
    if owner().is_some() {
        return WallState::Enforced;
    }
    let Ok(groups) = getgroups() else {
        return WallState::Degraded("they could not be read and are kept".to_owned());
    };
    let extra: Vec<String> = groups
        .iter()
        .filter(|gid| **gid != getegid())
        .map(|gid| gid.to_string())
        .collect();
    if extra.is_empty() {
        WallState::Enforced
    } else {
        WallState::Degraded(format!(
            "an ordinary user's jail keeps them (gids {}), and what they may read or write of the pieces shown inside",
            extra.join(", ")
        ))
    }
}
