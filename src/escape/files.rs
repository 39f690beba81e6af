//! I: files of the host's, mounts, and paths that the guard protects.

use futures_util::FutureExt;

use super::{
    Field,
    attempt::{Attempt, Lack, Place, Section::Files},
    field,
};
use crate::{
    guard::{self, Phase, Ruling, WriteSets},
    names::RelPath,
    probe::{Answer, Layer, Marks},
    sandbox::SandboxError,
    tree::Checkpoint,
};

const NO_USER_NAMESPACES: Lack = Lack::Errno(libc::EPERM, "nobody here may make name spaces to show it in");

pub(super) fn attempts() -> Vec<Attempt> {
    let act = |number, name| Attempt::act(number, Files, name);
    let root = |number, name| act(number, name).lacking(&[Lack::Root]);
    let apart = |number, name| act(number, name).apart().lacking(&[NO_USER_NAMESPACES]);
    let mut all = vec![
        act(1, "read-host-file"),
        act(1, "list-host-directory"),
        act(1, "read-closed-piece").lacking(&[Lack::OwnId]),
        act(2, "follow-link-out"),
        act(3, "magic-links"),
        act(4, "hard-link-in"),
        act(5, "rename-out"),
        act(6, "change-host-file"),
        act(6, "change-read-only-piece"),
        act(7, "truncate-host-file"),
        root(8, "open-by-handle"),
        apart(9, "mount"),
        apart(9, "bind-mount"),
        apart(9, "remount-read-write"),
        apart(9, "unmount"),
        apart(9, "open-tree"),
        apart(9, "open-file-system"),
        apart(9, "move-mount"),
        apart(9, "mount-setattr"),
        act(10, "unshare-user-namespace"),
        apart(10, "unshare-mount-namespace"),
        act(10, "clone-user-namespace"),
        apart(11, "chroot"),
        apart(12, "pivot-root"),
        act(19, "write-host-file"),
        act(19, "make-in-read-only"),
        root(20, "make-device"),
        root(21, "open-devices"),
        act(22, "paste-into-console"),
        root(23, "run-set-id-program"),
        root(23, "give-file-to-root"),
        root(24, "set-trusted-attributes"),
        act(25, "watch-host-file"),
        root(25, "watch-file-systems"),
        act(26, "read-shared-memory"),
        act(26, "read-shared-memory-file"),
    ];
    all.extend(protected());
    all
}

/// A piece of work in the workspace, and the path at which the guard is to see it.
#[derive(Clone, Copy)]
struct Work {
    path: &'static str,
    how: &'static str,
    seen: &'static str,
}

impl Work {
    const fn at(path: &'static str, how: &'static str) -> Self {
        Self { path, how, seen: path }
    }
}

const HOOK: Work = Work::at(".git/hooks/pre-commit", "write");
const SETTINGS: Work = Work::at(".git/config", "write");
const PLUGIN: Work = Work::at(".opencode/plugin/x.js", "write");
const PARENT: Work = Work {
    path: ".aider_fsm",
    how: "move elsewhere",
    seen: ".aider_fsm/stages/tests.sh",
};
const LINK: Work = Work::at(".opencode", "link /tmp");
const GITFILE: Work = Work::at("other/.git", "write");
const ALIAS: Work = Work::at("sub/.git/config", "write");
const AGENT: Work = Work::at("opencode.json", "write");
const CONTRACT: Work = Work::at("pipeline.yml", "write");
const ORDINARY: Work = Work::at("made.txt", "write");

/// What the guard takes back; the control is ordinary work, which it lets stay.
fn protected() -> Vec<Attempt> {
    macro_rules! guarded {
        ($number:literal, $name:literal, $work:expr) => {
            Attempt::host(
                $number,
                Files,
                $name,
                |field| work(field, ORDINARY).boxed(),
                |field| work(field, $work).boxed(),
            )
        };
    }
    vec![
        guarded!(13, "write-git-hook", HOOK),
        guarded!(13, "write-git-settings", SETTINGS),
        guarded!(14, "make-agent-plugin", PLUGIN),
        guarded!(15, "rename-above-stage-scripts", PARENT),
        guarded!(16, "link-in-place-of-agent-settings", LINK),
        guarded!(17, "git-file-to-another-directory", GITFILE),
        guarded!(18, "git-settings-below", ALIAS),
        guarded!(110, "make-agent-settings", AGENT),
        guarded!(136, "change-contract", CONTRACT),
    ]
}

/// Works inside, has the result frozen and judged as after a turn; done is what may stay.
async fn work(field: &Field, work: Work) -> Result<Answer, SandboxError> {
    let marks = Marks {
        file: work.path.to_owned(),
        own: work.how.to_owned(),
        token: "worked\n".to_owned(),
        ..Marks::default()
    };
    let outcome = field.inside(Place::Usual, "work", marks).await?;
    match field::outcome_of(&outcome) {
        // What the walls themselves refuse need not be taken back.
        Ok(refused @ Answer::Refused { .. }) => return Ok(refused),
        Ok(Answer::Done(_)) => {}
        Err(why) => return Err(SandboxError::Gone(why)),
    }
    let failed = |why: crate::tree::TreeError| SandboxError::Gone(why.to_string());
    let place = field.sandbox(Place::Usual).place().clone();
    let withheld = guard::withheld();
    let found = Checkpoint::freeze_place(&field.pristine, &field.start, &place, &[], &field.fresh("frozen"));
    let changes = found.map_err(failed)?.changes_since(&field.pristine, &field.start);
    let path = |name: &str| RelPath::new(name).map_err(|why| SandboxError::Gone(why.to_string()));
    let (pipeline, bootstrap) = (path("pipeline.yml")?, path(".aider_fsm/bootstrap.yml")?);
    let sets = WriteSets {
        plan: path("PLAN.md")?,
        contract: guard::contract_paths(&field.pristine.manifest, &pipeline, &bootstrap),
        pipeline,
        never: Vec::new(),
        withheld,
        made: Default::default(),
        protected: Vec::new(),
    };
    let (seen, worked) = (path(work.seen)?, path(work.path)?);
    let judged = guard::judge(Phase::FixOrReplan, &sets, changes);
    let mut ours = judged
        .iter()
        .filter(|judged| judged.change.path == seen || judged.change.path == worked);
    let taken_back = guard::revert_paths(&judged);
    Ok(match ours.find(|judged| judged.ruling != Ruling::Allowed) {
        Some(judged) if taken_back.iter().any(|top| judged.change.path.starts_with(top)) => Answer::Refused {
            errno: 0,
            by: Some(Layer::Guard),
        },
        _ => Answer::Done(format!("{} may stay", work.path)),
    })
}
