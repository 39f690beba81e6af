//! The ruling on each change.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::paths::{WriteSets, is_actions};
use crate::{
    names::RelPath,
    policy::{Phase, Protection, Said},
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

/// The rule of the policy that is against a change: the path is protected, or a directory on
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
    format!(
        "the host's policy protects `{}` ({}){}",
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
    let line = include_str!("verdict.rs")
        .lines()
        .position(|line| line.contains(because))?;
    Some(format!("{}:{}", source(), line + 1))
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
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{contract_paths, withheld},
        *,
    };
    use crate::tree::ChangeKind;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn sets() -> WriteSets {
        WriteSets {
            plan: path("docs/PLAN.md"),
            contract: vec![path(".aider_fsm/bootstrap.yml"), path("ci/pipeline.yml")],
            protected: Vec::new(),
            withheld: withheld(),
            made: [path(".venv"), path("src/version.py")].into(),
        }
    }

    fn file() -> Option<Entry> {
        Some(Entry::file(b"x", 0o644))
    }

    fn link() -> Option<Entry> {
        let kind = EntryKind::Symlink { target: b"x".to_vec() };
        Some(Entry { kind, mode: 0 })
    }

    fn special() -> Option<Entry> {
        let kind = EntryKind::Special;
        Some(Entry { kind, mode: 0 })
    }

    fn change(at: &str, before: Option<Entry>, after: Option<Entry>) -> Change {
        let kind = match (&before, &after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Deleted,
            _ => ChangeKind::Modified,
        };
        let path = path(at);
        Change {
            path,
            kind,
            before,
            after,
        }
    }

    fn ruling(phase: Phase, change: Change) -> Ruling {
        judge(phase, &sets(), vec![change])[0].ruling
    }

    #[test]
    fn each_phase_has_its_write_set() {
        use {Phase::*, Ruling::*};
        let dir = || Some(Entry::dir(0o755));
        let setuid = || Some(Entry::file(b"x", 0o4755));
        let cases = [
            // (change, plan update, execute step, fix or replan)
            (change("src/a.rs", None, file()), Violation, Allowed, Allowed),
            (change("src", dir(), None), Violation, Allowed, Allowed),
            (change("docs/PLAN.md", None, file()), Allowed, Violation, Allowed),
            (change("docs/PLAN.md", file(), None), Violation, Violation, Violation),
            (change("docs/PLAN.md", file(), link()), Violation, Violation, Violation),
            (change("docs/PLAN.md", file(), dir()), Violation, Violation, Violation),
            (change("docs/PLAN.md/x", None, file()), Violation, Violation, Violation),
            (
                change("docs/PLAN.md", file(), special()),
                Violation,
                Violation,
                Violation,
            ),
            (
                change("docs/PLAN.md", file(), setuid()),
                Violation,
                Violation,
                Violation,
            ),
            (change("docs", None, dir()), Allowed, Allowed, Allowed),
            (change("docs", dir(), None), Violation, Violation, Violation),
            (change("docs", dir(), link()), Violation, Violation, Violation),
            (change("ci/pipeline.yml", file(), None), Violation, Violation, Violation),
            (change("ci/pipeline.yml", None, file()), Violation, Violation, Violation),
            (change("ci", dir(), link()), Violation, Violation, Violation),
            (change("ci", dir(), None), Violation, Violation, Violation),
            (change(".aider_fsm", None, dir()), Violation, Allowed, Allowed),
            (change(".aider_fsm", None, link()), Violation, Violation, Violation),
            (
                change(".aider_fsm/bootstrap.yml", None, file()),
                Violation,
                Violation,
                Violation,
            ),
            (
                change(".aider_fsm/actions.yml", None, file()),
                Violation,
                Violation,
                Allowed,
            ),
            (
                change(".aider_fsm/actions.yml", None, link()),
                Violation,
                Violation,
                Violation,
            ),
            (
                change(".aider_fsm/actions.yml", file(), None),
                Violation,
                Violation,
                Allowed,
            ),
            (
                change(".opencode/plugin/x.js", None, file()),
                Violation,
                Violation,
                Violation,
            ),
            (change("opencode.jsonc", None, file()), Violation, Violation, Violation),
            (change("src/opencode.json", None, file()), Violation, Allowed, Allowed),
            (change("src/pipe", None, special()), Violation, Violation, Violation),
            (change("src/su", None, setuid()), Violation, Violation, Violation),
            (change("src/l", None, link()), Violation, Allowed, Allowed),
            (change(".git/config", file(), file()), Dropped, Dropped, Dropped),
            (change(".git", dir(), link()), Dropped, Dropped, Dropped),
            (
                change("sub/.git/hooks/pre-commit", None, file()),
                Dropped,
                Dropped,
                Dropped,
            ),
            (change(".gitignore", None, file()), Violation, Allowed, Allowed),
            (change(".venv/lib/x.pyc", None, file()), Restored, Restored, Restored),
            (change(".venv/.git/config", None, file()), Restored, Restored, Restored),
            (change(".venv", dir(), link()), Restored, Restored, Restored),
            (change("src/version.py", file(), None), Restored, Restored, Restored),
            (change(".venv2/x", None, file()), Violation, Allowed, Allowed),
        ];
        for (change, plan, execute, fix) in cases {
            let at = change.path.clone();
            assert_eq!(ruling(PlanUpdate, change.clone()), plan, "plan update: {at}");
            assert_eq!(ruling(ExecuteStep, change.clone()), execute, "execute step: {at}");
            assert_eq!(ruling(FixOrReplan, change), fix, "fix or replan: {at}");
        }
    }

    /// A rule of a policy about a path, in some phases.
    fn protects(at: &str, except: &[&str], phases: &[Phase]) -> Said<Protection> {
        let pattern = |text: &str| crate::policy::PathPattern::new(text).expect("a pattern");
        Said {
            value: Protection {
                path: pattern(at),
                except: except.iter().map(|text| pattern(text)).collect(),
                phases: phases.to_vec(),
            },
            because: Some("it is ours".into()),
            origin: crate::policy::Origin::User("p.yml:1:2".to_owned()),
        }
    }

    #[test]
    fn a_policy_protects_more_and_never_less() {
        use {Phase::*, Ruling::*};
        let sets = WriteSets {
            protected: vec![
                protects("tests", &["**/__pycache__"], &[ExecuteStep, FixOrReplan]),
                protects("**/*.lock", &[], &Phase::ALL),
                protects("docs/PLAN.md", &[], &[PlanUpdate]),
                protects(".git", &[], &Phase::ALL),
            ],
            ..sets()
        };
        let judged = |phase, change| judge(phase, &sets, vec![change]).remove(0);
        let dir = || Some(Entry::dir(0o755));
        for (phase, change, ruling) in [
            (ExecuteStep, change("tests/a.py", None, file()), Violation),
            (FixOrReplan, change("tests/a.py", file(), None), Violation),
            (ExecuteStep, change("tests/__pycache__/a.pyc", None, file()), Allowed),
            (ExecuteStep, change("tests", dir(), link()), Violation),
            (ExecuteStep, change("test", None, file()), Allowed),
            (ExecuteStep, change("a/b.lock", None, file()), Violation),
            (ExecuteStep, change("a/b.locks", None, file()), Allowed),
            (PlanUpdate, change("docs/PLAN.md", file(), file()), Violation),
            (FixOrReplan, change("docs/PLAN.md", file(), file()), Allowed),
            (FixOrReplan, change("ci/pipeline.yml", None, file()), Violation),
            (ExecuteStep, change(".git/config", file(), file()), Dropped),
            (ExecuteStep, change(".venv/b.lock", None, file()), Restored),
        ] {
            let at = change.path.clone();
            assert_eq!(judged(phase, change).ruling, ruling, "{phase} {at}");
        }
        assert_eq!(
            judged(ExecuteStep, change("tests/a.py", None, file())).because,
            "the host's policy protects `tests` (p.yml:1:2): it is ours"
        );
    }

    #[test]
    fn noise_of_git_is_called_noise() {
        let because = |at| {
            judge(Phase::ExecuteStep, &sets(), vec![change(at, file(), file())])[0]
                .because
                .clone()
        };
        assert!(because(".git/index").starts_with("noise"));
        assert!(because(".git/index.lock").starts_with("noise"));
        assert!(because(".git/opencode").starts_with("noise"));
        assert!(!because(".git/config").starts_with("noise"));
    }

    #[test]
    fn contract_is_what_was_there_and_what_would_become_one() {
        let mut manifest = crate::tree::Manifest::new();
        for at in [".aider_fsm/stages/a/test.sh", ".aider_fsm/stages.txt", "src/x"] {
            manifest.insert(path(at), Entry::file(b"", 0o644));
        }
        manifest.insert(path(".aider_fsm/stages"), Entry::dir(0o755));
        let bootstrap = path(".aider_fsm/bootstrap.yml");
        let found = contract_paths(&manifest, &path("pipeline.yml"), &bootstrap);
        assert_eq!(
            found,
            [bootstrap, path(".aider_fsm/stages/a/test.sh"), path("pipeline.yml")]
        );
    }

    #[test]
    fn a_link_in_place_of_a_directory_covers_what_was_in_it() {
        let dir = || Some(Entry::dir(0o755));
        let changes = vec![
            change("ci", dir(), link()),
            change("ci/pipeline.yml", file(), None),
            change("ci-tools/x", None, file()),
            change("src/pipe", None, special()),
        ];
        let judged = judge(Phase::ExecuteStep, &sets(), changes);
        assert_eq!(revert_paths(&judged), [path("ci"), path("src/pipe")]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn revert_paths_cover_all_and_repeat_nothing(names in prop::collection::vec("[ab](/[ab-]){0,3}", 1..12)) {
            let changes = names.iter().map(|name| change(name, None, file())).collect();
            let judged = judge(Phase::PlanUpdate, &sets(), changes);
            let tops = revert_paths(&judged);
            for j in &judged {
                prop_assert_eq!(tops.iter().filter(|top| j.change.path.starts_with(top)).count(), 1);
            }
        }
    }
}
