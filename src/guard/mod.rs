//! Which changes a phase may make, and what becomes of the rest. Arithmetic, not trust.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::{names::RelPath, tree::Change};

/// What the agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Only the plan may change.
    PlanUpdate,
    /// Anything but the plan and the protected paths may change.
    ExecuteStep,
    /// Anything but the protected paths may change (the plan may).
    FixOrReplan,
}

/// The paths that matter to the guard.
#[derive(Clone, Debug)]
pub struct WriteSets {
    /// The plan, usually `PLAN.md`.
    pub plan: RelPath,
    /// Contract paths: `pipeline.yml`, `.aider_fsm/bootstrap.yml`, stage scripts that existed at the start.
    pub contract: Vec<RelPath>,
    /// Paths hidden from the agent (see [`withheld`]); nothing may appear there.
    pub withheld: Vec<RelPath>,
}

/// What becomes of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// It stays.
    Allowed,
    /// It is taken back and recorded; the phase goes on (`.git`).
    Dropped,
    /// It is taken back, recorded, and the phase is repeated with the finding.
    Violation,
}

/// One judged change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The change.
    pub change: Change,
    /// Its fate.
    pub ruling: Ruling,
    /// The rule, in words for a person and for the agent's next prompt.
    pub because: String,
}

/// Judges every change of a phase.
pub fn judge(_phase: Phase, _sets: &WriteSets, _changes: Vec<Change>) -> Vec<Judged> {
    unimplemented!()
}

/// The paths of `manifest` (plus those that do not exist yet) that OpenCode would load code or configuration from.
pub fn withheld() -> Vec<RelPath> {
    unimplemented!()
}
