//! What becomes of a path: in the tree by the guard, anywhere else by mounts and landlock.

use std::{
    io::Read,
    path::{Component, Path, PathBuf},
};

use super::{Answer, CaseLine, in_each};
use crate::{
    contract::{self, MAX_DOCUMENT, Pipeline},
    document::shown,
    engine::{EngineError, bootstrap},
    guard::{self, Phase, Ruling, WriteSets},
    names::RelPath,
    policy::{GUEST_WORKSPACE, Policy},
    sandbox::view::{self, Access},
    tree::{Change, ChangeKind, Entry},
};

/// Stage scripts that a contract calls by habit are part of it where they are there at the start.
const STAGES: &str = ".aider_fsm/stages";

/// A question about a path.
#[derive(Clone, Debug)]
pub struct PathQuestion<'a> {
    /// As it was given: relative to the tree, or absolute and inside.
    pub path: &'a str,
    /// In one phase; in each where none is named.
    pub phase: Option<Phase>,
    /// The tree, where it is to be looked into.
    pub repo: Option<&'a Path>,
    /// The plan.
    pub plan: &'a RelPath,
    /// The contract.
    pub pipeline: &'a RelPath,
}

/// Whether the agent may change a path of the tree, phase by phase; or what a command may do
/// with an absolute path inside.
///
/// # Errors
/// [`EngineError::Usage`] for a path that leaves the tree.
pub fn explain_path(policy: &Policy, question: &PathQuestion<'_>) -> Result<Answer, EngineError> {
    let below = question.path.strip_prefix(GUEST_WORKSPACE);
    let relative = below
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|rest| !rest.is_empty());
    match relative {
        Some(path) => in_tree(policy, path, question),
        None if question.path.starts_with('/') => Ok(inside(question.path)),
        None => in_tree(policy, question.path, question),
    }
}

fn in_tree(policy: &Policy, path: &str, question: &PathQuestion<'_>) -> Result<Answer, EngineError> {
    let given = question.path;
    let path = RelPath::new(path).map_err(|why| EngineError::Usage(format!("--path {}: {why}", shown(given))))?;
    let sets = sets(policy, &path, question);
    let phases = question.phase.map_or(Phase::ALL.to_vec(), |phase| vec![phase]);
    let judged: Vec<(Phase, guard::Judged)> = phases
        .into_iter()
        .flat_map(|phase| {
            // As if a file was changed there: what the guard says of that.
            let change = Change {
                path: path.clone(),
                kind: ChangeKind::Modified,
                before: Some(Entry::file(b"before", 0o644)),
                after: Some(Entry::file(b"after", 0o644)),
            };
            guard::judge(phase, &sets, vec![change])
                .into_iter()
                .map(move |judged| (phase, judged))
        })
        .collect();
    let allowed = |ruling: Ruling| ruling == Ruling::Allowed;
    let all = judged.iter().all(|(_, judged)| allowed(judged.ruling));
    let none = !judged.iter().any(|(_, judged)| allowed(judged.ruling));
    let verdict = match (all, none) {
        (true, _) => "allow",
        (false, true) => "deny",
        (false, false) => "depends",
    };
    // The phases answer by one rule, or each by its own.
    let one = judged.windows(2).all(|pair| pair[0].1.because == pair[1].1.because);
    let place = |phase: Phase| place_of(&sets, &path, phase, &judged);
    let first = judged.first();
    let (because, at) = match (one, first) {
        (true, Some((phase, judged))) => (judged.because.clone(), place(*phase)),
        _ => ("each phase has a rule of its own".to_owned(), guard::source()),
    };
    let withheld = sets.withheld.iter().any(|hidden| path.starts_with(hidden));
    let mechanism = match withheld {
        true => {
            "the path does not exist in the agent's view (a layer hides it); the guard takes back what appears there"
        }
        false => {
            "the guard: the tree is compared by content before and after the phase, and what is refused is taken back"
        }
    };
    Ok(Answer {
        subject: format!("path {path}"),
        verdict,
        rule: "guard: the write-set of the phase".to_owned(),
        because,
        at,
        cases: judged
            .iter()
            .map(|(phase, found)| CaseLine {
                when: phase.to_string(),
                verdict: told(found.ruling).to_owned(),
                because: Some(found.because.clone()),
                at: Some(place(*phase)),
            })
            .collect(),
        enforced_by: in_each(|_| {
            let verdict = match verdict {
                "depends" => "by the phase".to_owned(),
                verdict => verdict.to_owned(),
            };
            (verdict, mechanism.to_owned())
        }),
    })
}

fn told(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Allowed => "may change",
        Ruling::Restored | Ruling::Dropped => "is put back, and the phase goes on",
        Ruling::Violation => "is put back, and the phase is repeated with the finding",
    }
}

/// Where the rule of a phase is: in a policy file, or in the guard.
fn place_of(sets: &WriteSets, path: &RelPath, phase: Phase, judged: &[(Phase, guard::Judged)]) -> String {
    let found = judged.iter().find(|(of, _)| *of == phase).map(|(_, judged)| judged);
    let Some(found) = found else { return guard::source() };
    let own = guard::source_of(&found.because);
    match own {
        Some(place) => place,
        None => sets
            .protected
            .iter()
            .filter(|said| said.value.covers(phase, path))
            .map(|said| said.origin.to_string())
            .next()
            .unwrap_or_else(guard::source),
    }
}

/// The guard's sets as a run would have them.
fn sets(policy: &Policy, path: &RelPath, question: &PathQuestion<'_>) -> WriteSets {
    let mut contract = vec![question.pipeline.clone(), bootstrap::path(), contract::policy_path()];
    let stages = path.to_string().starts_with(&format!("{STAGES}/"));
    // A script that is there at the start is part of the contract; without a tree to look
    // into, any is taken for one.
    let there = |repo: &Path| std::fs::symlink_metadata(path.under(repo)).is_ok_and(|meta| !meta.is_dir());
    if stages && question.repo.is_none_or(there) {
        contract.push(path.clone());
    }
    // What a contract protects besides is in the repository; one that cannot be read has no run.
    let pipeline = question.repo.and_then(|repo| {
        let file = std::fs::File::open(question.pipeline.under(repo)).ok()?;
        let mut text = Vec::new();
        file.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut text).ok()?;
        Pipeline::parse(question.pipeline, &text).ok()
    });
    let own = pipeline.iter().flat_map(Pipeline::protections);
    WriteSets {
        plan: question.plan.clone(),
        pipeline: question.pipeline.clone(),
        contract,
        never: vec![contract::policy_path()],
        protected: policy.protected().iter().cloned().chain(own).collect(),
        withheld: guard::withheld(),
        made: std::collections::BTreeSet::new(),
    }
}

/// An absolute path inside: links are not followed, `.` and `..` are.
fn inside(given: &str) -> Answer {
    let mut clean = PathBuf::from("/");
    for part in Path::new(given).components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    let path = clean.to_string_lossy().into_owned();
    let views = [
        view::in_jail(&path),
        view::in_container(&path),
        view::without_namespaces(&path),
    ];
    let word = |access: Access| match access {
        Access::None => "cannot be opened",
        Access::Read => "read",
        Access::ReadExecute => "read and execute",
        Access::Device => "open as it is",
        Access::ReadWrite => "read, write and execute",
    };
    let same = views.iter().all(|view| view.access == views[0].access);
    let verdict = match (same, views[0].access) {
        (true, Access::None) => "deny",
        (true, Access::ReadWrite) => "allow",
        _ => "depends",
    };
    let [jail, container, bare] = views;
    Answer {
        subject: format!("path {} inside", shown(&path)),
        verdict,
        rule: "mounts and landlock rules of the sandbox".to_owned(),
        because: match verdict {
            "allow" => "it is a place of the sandbox's own",
            "deny" => "it is no place that commands have anything to do with",
            _ => "reading and writing are opened apart, and the roots are not the same",
        }
        .to_owned(),
        at: "src/sandbox/confine.rs".to_owned(),
        cases: Vec::new(),
        enforced_by: in_each(|backend| {
            let view = match backend {
                "jail" => &jail,
                "docker" => &container,
                _ => &bare,
            };
            (word(view.access).to_owned(), view.by.clone())
        }),
    }
}
