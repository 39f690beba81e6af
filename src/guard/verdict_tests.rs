//! The ruling on each kind of change, in each phase.

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
        pipeline: path("ci/pipeline.yml"),
        contract: vec![path(".aider_fsm/bootstrap.yml"), path("ci/pipeline.yml")],
        never: vec![path(".aider_fsm/policy.yml")],
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
        origin: crate::policy::Origin::File {
            layer: crate::policy::Layer::Named,
            file: "p.yml".into(),
            at: crate::document::Position { line: 1, column: 2 },
        },
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
