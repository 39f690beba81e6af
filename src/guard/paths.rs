//! The paths that the guard knows by name.

use std::collections::BTreeSet;

use crate::{
    names::RelPath,
    policy::{Protection, Said},
    tree::Manifest,
};

/// Where OpenCode loads code, configuration, agents, commands or skills from in the
/// directory of a session. All at the top: it looks for them from the session's
/// directory upwards, and the session is at the root of the workspace. Plugins and
/// `plugin` entries are loaded at the first prompt whatever flags are set.
const WITHHELD: [&str; 5] = [".opencode", "opencode.json", "opencode.jsonc", ".claude", ".agents"];
/// Stage scripts that a contract calls by habit.
const STAGES: &[u8] = b".aider_fsm/stages";
/// Where everything lies that a contract runs and that its stages leave behind.
const CONTRACT_DIR: &[u8] = b".aider_fsm";
/// See [`actions_path`].
const ACTIONS: &[u8] = b".aider_fsm/actions.yml";

/// The paths that matter to the guard.
#[derive(Clone, Debug)]
pub struct WriteSets {
    /// The plan, usually `PLAN.md`.
    pub plan: RelPath,
    /// The contract itself.
    pub pipeline: RelPath,
    /// Contract paths (see [`contract_paths`]); they need not exist.
    pub contract: Vec<RelPath>,
    /// What no agent writes, even where it writes contracts: the repository's own policy.
    pub never: Vec<RelPath>,
    /// Paths that the host's policy and the contract's `verify.protected` protect besides.
    pub protected: Vec<Said<Protection>>,
    /// Paths hidden from the agent (see [`withheld`]); nothing may appear there.
    pub withheld: Vec<RelPath>,
    /// What bootstrap made, contents included: nobody's work, and not in the result.
    pub made: BTreeSet<RelPath>,
}

/// The paths that OpenCode would load code or configuration from, whether they exist or not.
pub fn withheld() -> Vec<RelPath> {
    WITHHELD.iter().filter_map(|name| RelPath::new(name).ok()).collect()
}

/// What decides whether work is accepted, and so is not the agent's to change:
/// the pipeline, the bootstrap (both even where they do not exist yet: one that
/// appears would become contract), and every stage script that is there at the start.
pub fn contract_paths(manifest: &Manifest, pipeline: &RelPath, bootstrap: &RelPath) -> Vec<RelPath> {
    let is_stage = |path: &RelPath| {
        path.as_bytes()
            .strip_prefix(STAGES)
            .is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    let stages = manifest
        .iter()
        .filter(|(path, entry)| !entry.is_dir() && is_stage(path))
        .map(|(path, _)| path);
    let mut paths: Vec<RelPath> = stages.chain([pipeline, bootstrap]).cloned().collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// What an agent may ask the runner to do, once, after a failure.
pub fn actions_path() -> RelPath {
    // A constant of two plain names always passes the check.
    RelPath::new(ACTIONS).unwrap_or_else(|_| unreachable!("a constant path"))
}

/// Where a contract keeps what it runs, and its stages what they leave behind.
pub fn contract_dir() -> RelPath {
    // A constant of one plain name always passes the check.
    RelPath::new(CONTRACT_DIR).unwrap_or_else(|_| unreachable!("a constant path"))
}

/// Whether this is the actions file, or something below a directory in its place.
pub(super) fn is_actions(path: &RelPath) -> bool {
    path.starts_with(&actions_path())
}

impl WriteSets {
    /// Whether `path` is a part of what bootstrap made.
    pub fn is_made(&self, path: &RelPath) -> bool {
        let mut up = std::iter::successors(Some(path.clone()), RelPath::parent);
        !self.made.is_empty() && up.any(|path| self.made.contains(&path))
    }
}
