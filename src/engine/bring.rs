//! What comes out of a run: its changes as files and as a patch, and how they are brought to a tree.

use std::path::Path;

use crate::{
    contract::Plan,
    engine::{
        EngineError, Summary,
        summary::{ChangeLine, PlanSummary},
        workspace::Workspace,
    },
    names::RelPath,
    record::RunDir,
    report::{Happening, Reporter},
    tree::{self, Change, ExportCaps},
};

/// Largest plan that the summary looks into.
pub(super) const PLAN_BYTES: u64 = 1 << 20;

/// The plan's steps at the end.
pub(super) fn plan_of(workspace: &Workspace, path: &RelPath) -> Result<PlanSummary, EngineError> {
    let bytes = workspace.read(path, PLAN_BYTES)?.unwrap_or_default();
    let Ok(plan) = Plan::parse(&bytes) else {
        return Ok(PlanSummary::default());
    };
    let lines = |steps: Vec<crate::contract::Step>| {
        steps
            .into_iter()
            .map(|s| crate::report::escape(format!("{} {}", s.id, s.text).as_bytes(), 300))
            .collect()
    };
    let (next, backlog, done) = plan.steps();
    Ok(PlanSummary {
        done: lines(done),
        next: lines(next),
        backlog: lines(backlog),
    })
}

/// Writes what was accepted to the run's artifacts: `changes.patch`, `changes.json`, `files/`.
pub(super) fn bring_out(
    workspace: &Workspace,
    run: &RunDir,
    reporter: &Reporter,
    most: ExportCaps,
    summary: &mut Summary,
) -> Result<(), EngineError> {
    let (pristine, current) = (workspace.base(), workspace.current());
    let changes = workspace.changes();
    summary.refused = tree::export(pristine, current, &changes, &run.path().join("files"), most)?;
    summary.refused.extend(current.left_out().iter().cloned());
    let out: Vec<Change> = changes
        .into_iter()
        .filter(|change| !summary.refused.iter().any(|(path, _)| *path == change.path))
        .collect();
    let patch = tree::patch(pristine, workspace.start(), current, &out)?;
    if run.holds_secret(&patch) {
        let text = "changes.patch has [redacted] in place of a secret and does not apply there; \
                    `opencode-fsm apply` brings the files as they are";
        reporter.say(Happening::Warning { text: text.to_owned() });
    }
    run.write("changes.patch", &patch)?;
    run.write_json("changes.json", &out)?;
    summary.changes = out.iter().map(ChangeLine::from).collect();
    Ok(())
}

/// Brings the changes of a finished run to a tree; refuses when that tree is no
/// longer, at any changed path, what the run started from.
///
/// # Errors
/// When it moved on, or the run's artifacts cannot be read.
pub fn apply(run: &Path, target: &Path) -> Result<Vec<Change>, EngineError> {
    let path = run.join("changes.json");
    let bytes = std::fs::read(&path).map_err(|source| EngineError::Io {
        what: format!("read {}", path.display()),
        source,
    })?;
    let changes: Vec<Change> = serde_json::from_slice(&bytes)
        .map_err(|why| EngineError::Usage(format!("{}: {why}; is this a finished run?", path.display())))?;
    tree::apply_to(target, &run.join("files"), &changes)?;
    Ok(changes)
}

/// The target of a finished run.
///
/// # Errors
/// When the run has no summary.
pub fn target_of(run: &Path) -> Result<std::path::PathBuf, EngineError> {
    let path = run.join("summary.json");
    let bytes = std::fs::read(&path).map_err(|source| EngineError::Io {
        what: format!("read {}", path.display()),
        source,
    })?;
    let summary: Summary =
        serde_json::from_slice(&bytes).map_err(|why| EngineError::Usage(format!("{}: {why}", path.display())))?;
    match summary.is_of_a_directory() {
        true => Ok(summary.target.into()),
        false => Err(EngineError::Usage(format!(
            "the run was about {}, which is no directory of this host; name the tree to change with --to",
            summary.target
        ))),
    }
}
