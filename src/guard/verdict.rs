//! The ruling on each change.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    authoring,
    paths::{WriteSets, is_actions},
};
use crate::{
    names::RelPath,
    policy::{Origin, Phase, Protection, Said},
    tree::{Change, Entry, EntryKind},
};

/// What becomes of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// It stays.
    Allowed,
    /// It is taken back, nobody's work and no finding: a part of what bootstrap made.
    Restored,
    /// It is taken back and recorded; the phase goes on (`.git`).
    Dropped,
    /// It is taken back, recorded, and the phase is repeated with the finding.
    Violation,
}

/// One judged change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Judged {
    /// The change.
    pub change: Change,
    /// Its fate.
    pub ruling: Ruling,
    /// The rule, in words for a person and for the agent's next prompt.
    pub because: String,
}

/// Judges every change of a phase.
pub fn judge(phase: Phase, sets: &WriteSets, changes: Vec<Change>) -> Vec<Judged> {
    changes
        .into_iter()
        .map(|change| {
            let (ruling, because) = rule(phase, sets, &change);
            Judged {
                change,
                ruling,
                because: because.into_owned(),
            }
        })
        .collect()
}

/// The fewest paths whose reverting (contents included) takes back everything that
/// is not allowed. A directory that became something else covers what was in it.
pub fn revert_paths(judged: &[Judged]) -> Vec<RelPath> {
    let taken_back = judged.iter().filter(|j| j.ruling != Ruling::Allowed);
    let mut paths: Vec<&RelPath> = taken_back.map(|j| &j.change.path).collect();
    paths.sort_unstable();
    let mut tops: Vec<RelPath> = Vec::new();
    for path in paths {
        if !tops.last().is_some_and(|top| path.starts_with(top)) {
            tops.push(path.clone());
        }
    }
    tops
}

fn rule(phase: Phase, sets: &WriteSets, change: &Change) -> (Ruling, Cow<'static, str>) {
    let (ruling, because) = fixed(phase, sets, change);
    // What is taken back anyway keeps its own reason; nothing that a policy protects is noise.
    if ruling == Ruling::Allowed
        && let Some(said) = protection(phase, sets, change)
    {
        return (Ruling::Violation, Cow::Owned(told(said)));
    }
    (ruling, Cow::Borrowed(because))
}

/// The rule of the policy, or of the contract's `verify.protected`, that is against a change: the path is protected, or a directory on
/// the way to one would be one no longer.
fn protection<'s>(phase: Phase, sets: &'s WriteSets, change: &Change) -> Option<&'s Said<Protection>> {
    let path = &change.path;
    let stays_directory = change.after.as_ref().is_some_and(Entry::is_dir);
    let above = |rule: &Protection| {
        let literal = rule.path.literal().filter(|_| rule.phases.contains(&phase));
        literal.is_some_and(|literal| literal.starts_with(path))
    };
    let against = |said: &&Said<Protection>| said.value.covers(phase, path) || (!stays_directory && above(&said.value));
    sets.protected.iter().find(against)
}

/// A rule of the policy in words.
fn told(said: &Said<Protection>) -> String {
    let why = said.because.as_deref().map(|why| format!(": {why}"));
    let who = match said.origin {
        // No flag protects a path: what no file of a policy says a contract says.
        Origin::User(_) => "the contract",
        Origin::File { .. } => "the host's policy",
    };
    format!(
        "{who} protects `{}` ({}){}",
        said.value.path,
        said.origin,
        why.unwrap_or_default()
    )
}

/// The rules that no policy takes away.
fn fixed(phase: Phase, sets: &WriteSets, change: &Change) -> (Ruling, &'static str) {
    use Ruling::{Allowed, Dropped, Restored, Violation};
    let path = &change.path;
    let after = change.after.as_ref();
    if sets.is_made(path) {
        return (Restored, "what bootstrap made is put back as it was");
    }
    if path.names().any(|name| name == b".git") {
        return (Dropped, git_rule(path));
    }
    if at_or_below(path, &sets.withheld) {
        return (
            Violation,
            "nothing may be put where the agent's own configuration is loaded from",
        );
    }
    if let Some(ruled) = authoring::rule(phase, sets, change) {
        return ruled;
    }
    if at_or_below(path, &sets.contract) {
        return (
            Violation,
            "the contract (pipeline, bootstrap, stage scripts) is not the agent's to change",
        );
    }
    let stays_directory = after.is_some_and(Entry::is_dir);
    if !stays_directory && above_any(path, &sets.contract, &sets.withheld) {
        return (
            Violation,
            "a directory on the way to a protected path must stay a directory",
        );
    }
    if after.is_some_and(|entry| entry.kind == EntryKind::Special) {
        return (
            Violation,
            "only files, directories and links may be made, of usual depth and size",
        );
    }
    if after.is_some_and(Entry::has_set_id) {
        return (Violation, "setuid and setgid bits may not be set");
    }
    if path.starts_with(&sets.plan) {
        return match (phase, after.map(|entry| &entry.kind)) {
            (Phase::ExecuteStep, _) => (Violation, "the plan is not changed while a step is carried out"),
            (_, Some(EntryKind::File { .. })) if *path == sets.plan => (Allowed, "the plan may change in this phase"),
            _ => (Violation, "the plan must stay a regular file"),
        };
    }
    let above_plan = sets.plan.starts_with(path);
    if above_plan && !stays_directory {
        return (Violation, "a directory on the way to the plan must stay a directory");
    }
    match phase {
        Phase::PlanUpdate if above_plan && change.before.is_none() => (Allowed, "it holds the plan"),
        Phase::PlanUpdate => (Violation, "only the plan may change while the plan is being updated"),
        Phase::ExecuteStep if is_actions(path) => (Violation, "actions may only be asked for after a failure"),
        Phase::FixOrReplan if is_actions(path) && !after.is_none_or(is_file) => {
            (Violation, "the actions must be a regular file")
        }
        Phase::ExecuteStep | Phase::FixOrReplan => (Allowed, "the work of this phase"),
        // They have been ruled on above.
        Phase::Scaffold | Phase::Repair => (Violation, "no phase of an iteration"),
    }
}

/// Git's own files are never kept; some of them change by merely looking.
fn git_rule(path: &RelPath) -> &'static str {
    let noise = path
        .as_bytes()
        .strip_prefix(b".git/")
        .is_some_and(|rest| rest.starts_with(b"index") || rest == b"opencode" || rest.starts_with(b"opencode/"));
    if noise {
        return "noise: git and the agent write this by themselves";
    }
    "git's own files are put back: the runner keeps the history"
}

/// This file, where it lies in this program's sources.
pub fn source() -> String {
    "src/guard/verdict.rs".to_owned()
}

/// Where a rule of this room is, by its words: `FILE:LINE`; `None` for one of a policy.
pub fn source_of(because: &str) -> Option<String> {
    let rooms = [
        (source(), include_str!("verdict.rs")),
        ("src/guard/authoring.rs".to_owned(), include_str!("authoring.rs")),
    ];
    rooms.into_iter().find_map(|(file, text)| {
        let line = text.lines().position(|line| line.contains(because))?;
        Some(format!("{file}:{}", line + 1))
    })
}

fn is_file(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File { .. })
}

fn at_or_below(path: &RelPath, protected: &[RelPath]) -> bool {
    protected.iter().any(|p| path.starts_with(p))
}

fn above_any(path: &RelPath, contract: &[RelPath], withheld: &[RelPath]) -> bool {
    contract.iter().chain(withheld).any(|p| p.starts_with(path))
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
