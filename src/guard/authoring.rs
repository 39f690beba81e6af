//! The ruling on changes while an agent writes or repairs a contract.
//!
//! What is outside is put back and recorded, and the phase goes on: to look how a repository
//! is built and tested leaves caches and objects behind, and a contract is not worse for it.

use super::{
    Phase, Ruling,
    paths::{WriteSets, contract_dir, is_actions},
};
use crate::{
    names::RelPath,
    tree::{Change, Entry, EntryKind},
};

/// The ruling, and its rule; `None` in phases that are about something else.
pub(super) fn rule(phase: Phase, sets: &WriteSets, change: &Change) -> Option<(Ruling, &'static str)> {
    use Ruling::{Allowed, Dropped};
    let scaffold = match phase {
        Phase::Scaffold => true,
        Phase::Repair => false,
        Phase::PlanUpdate | Phase::ExecuteStep | Phase::FixOrReplan => return None,
    };
    let (path, after) = (&change.path, change.after.as_ref());
    let file = after.is_none_or(|entry| matches!(entry.kind, EntryKind::File { .. }));
    let dir = after.is_some_and(Entry::is_dir);
    let plain = !after.is_some_and(Entry::has_set_id);
    Some(if sets.never.iter().any(|never| path.starts_with(never)) {
        (Dropped, "the repository's own policy is no agent's to write")
    } else if is_actions(path) {
        (Dropped, "actions may only be asked for while a step is repaired")
    } else if *path == sets.pipeline {
        match (scaffold, file && plain) {
            (false, _) => (
                Dropped,
                "the contract itself is not repaired: only what lies in its directory is",
            ),
            (true, true) => (Allowed, "the contract is written in this phase"),
            (true, false) => (Dropped, "the contract must be a regular file"),
        }
    } else if *path == contract_dir() {
        match dir {
            true => (Allowed, "the contract's directory"),
            false => (Dropped, "the contract's directory must stay a directory"),
        }
    } else if path.starts_with(&contract_dir()) {
        match plain && (file || dir) {
            true => (Allowed, "the contract's directory is written in this phase"),
            false => (
                Dropped,
                "only plain files and directories may be made in the contract's directory",
            ),
        }
    } else if scaffold && holds(path, &sets.pipeline) && dir && change.before.is_none() {
        (Allowed, "it holds the contract")
    } else {
        (
            Dropped,
            "only the contract and what lies in its directory may change in this phase",
        )
    })
}

fn holds(path: &RelPath, pipeline: &RelPath) -> bool {
    pipeline.starts_with(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        guard::{judge, withheld},
        tree::ChangeKind,
    };

    fn path(text: &str) -> RelPath {
        RelPath::new(text).expect("a path")
    }

    fn sets() -> WriteSets {
        WriteSets {
            plan: path("PLAN.md"),
            pipeline: path("ci/pipeline.yml"),
            contract: vec![
                path("ci/pipeline.yml"),
                path(".aider_fsm/bootstrap.yml"),
                path(".aider_fsm/policy.yml"),
            ],
            never: vec![path(".aider_fsm/policy.yml")],
            protected: Vec::new(),
            withheld: withheld(),
            made: Default::default(),
        }
    }

    #[test]
    fn a_contract_is_written_in_its_own_places_and_repaired_in_fewer() {
        use Ruling::{Allowed, Dropped, Violation};
        let file = || Some(Entry::file(b"x", 0o755));
        let dir = || Some(Entry::dir(0o755));
        let link = || {
            let kind = EntryKind::Symlink {
                target: b"/etc".to_vec(),
            };
            Some(Entry { kind, mode: 0 })
        };
        for (at, before, after, scaffold, repair) in [
            ("ci/pipeline.yml", None, file(), Allowed, Dropped),
            ("ci/pipeline.yml", file(), None, Allowed, Dropped),
            ("ci/pipeline.yml", None, link(), Dropped, Dropped),
            ("ci", None, dir(), Allowed, Dropped),
            (".aider_fsm", None, dir(), Allowed, Allowed),
            (".aider_fsm", dir(), file(), Dropped, Dropped),
            (".aider_fsm/stages/rollout.sh", None, file(), Allowed, Allowed),
            (".aider_fsm/stages/rollout.sh", file(), file(), Allowed, Allowed),
            (".aider_fsm/stages/rollout.sh", None, link(), Dropped, Dropped),
            (".aider_fsm/bootstrap.yml", None, file(), Allowed, Allowed),
            (".aider_fsm/policy.yml", None, file(), Dropped, Dropped),
            (".aider_fsm/actions.yml", None, file(), Dropped, Dropped),
            ("src/x.py", file(), file(), Dropped, Dropped),
            ("PLAN.md", None, file(), Dropped, Dropped),
            ("tests/__pycache__", None, dir(), Dropped, Dropped),
            (".git/config", file(), file(), Dropped, Dropped),
            (".opencode/plugin/x.js", None, file(), Violation, Violation),
            (".aider_fsm/x", None, Some(Entry::file(b"x", 0o4755)), Dropped, Dropped),
        ] {
            for (phase, expected) in [(Phase::Scaffold, scaffold), (Phase::Repair, repair)] {
                let change = Change {
                    path: path(at),
                    kind: ChangeKind::Modified,
                    before: before.clone(),
                    after: after.clone(),
                };
                assert_eq!(
                    judge(phase, &sets(), vec![change])[0].ruling,
                    expected,
                    "{at} in {phase}"
                );
            }
        }
    }
}
