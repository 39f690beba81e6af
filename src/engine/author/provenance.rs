//! Who wrote each file of a contract, with hashes before and after.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ScaffoldBy, generic, trace::Call};
use crate::{
    contract::Shortcoming,
    engine::{EngineError, workspace::Workspace},
    guard,
    names::RelPath,
    record::audit::{ContractLine, Digest},
    tree::{Content, Entry, EntryKind},
};

/// Version of [`Provenance`] and [`RepairProvenance`].
const VERSION: u32 = 1;
/// Most files of a contract that are told.
const FILES: usize = 1_000;
/// Largest file of a contract that is read for its hash.
const FILE_BYTES: u64 = 16 << 20;

/// Who wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// It is as it was in the target.
    Human,
    /// The agent.
    Agent,
    /// This program, in place of an agent: the generic contract.
    Fallback,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileStatus {
    /// It was not there.
    Created,
    /// It was another.
    Modified,
    /// It is gone.
    Deleted,
    /// It is the same.
    Unchanged,
}

/// One state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// SHA-256.
    pub sha256: Digest,
    /// Bytes.
    pub bytes: u64,
}

/// One file of a contract, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContractFile {
    /// Its path.
    pub path: RelPath,
    /// What became of it.
    pub status: FileStatus,
    /// Who wrote what is there now; who wrote what was there, where nothing is.
    pub source: By,
    /// Before.
    pub before: Option<Side>,
    /// After.
    pub after: Option<Side>,
}

/// One turn of the agent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Written {
    /// Its files in the run, without their endings.
    pub at: String,
    /// Why the turn failed, if it did.
    pub failed: Option<String>,
    /// What was wrong with what it wrote.
    pub shortcomings: Vec<Shortcoming>,
    /// What it wrote elsewhere, which was put back.
    pub taken_back: Vec<String>,
    /// What its tools did.
    pub trace: Vec<Call>,
}

/// How many files whom.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct Counts {
    created: usize,
    modified: usize,
    deleted: usize,
    unchanged: usize,
    human: usize,
    agent: usize,
    fallback: usize,
}

/// `scaffold/scaffold_provenance.json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Provenance {
    version: u32,
    /// Who was asked.
    pub asked: ScaffoldBy,
    /// Whose contract it is; nothing where there is none.
    pub by: Option<By>,
    /// The agent's model.
    pub model: Option<String>,
    /// Each file.
    pub files: Vec<ContractFile>,
    /// How many.
    pub summary: Counts,
    /// Each turn.
    pub turns: Vec<Written>,
}

/// `repair_NN/repair_provenance.json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RepairProvenance {
    version: u32,
    /// What had failed.
    pub failed_stage: String,
    /// The agent's model.
    pub model: String,
    /// Whether what it wrote stays.
    pub kept: bool,
    /// Each file, as the agent left it.
    pub files: Vec<ContractFile>,
    /// How many.
    pub summary: Counts,
    /// The turn.
    pub turn: Written,
}

impl Provenance {
    /// Of what a scaffold came to.
    pub(super) fn new(
        (asked, by, model): (ScaffoldBy, Option<By>, Option<String>),
        files: Vec<ContractFile>,
        turns: Vec<Written>,
    ) -> Self {
        Self {
            version: VERSION,
            asked,
            by,
            model,
            summary: Counts::of(&files),
            files,
            turns,
        }
    }
}

impl RepairProvenance {
    /// Of a repair.
    pub(super) fn new(
        (failed_stage, model, kept): (String, String, bool),
        files: Vec<ContractFile>,
        turn: Written,
    ) -> Self {
        Self {
            version: VERSION,
            failed_stage,
            model,
            kept,
            summary: Counts::of(&files),
            files,
            turn,
        }
    }
}

impl Counts {
    fn of(files: &[ContractFile]) -> Self {
        let mut counts = Self::default();
        for file in files {
            match file.status {
                FileStatus::Created => counts.created += 1,
                FileStatus::Modified => counts.modified += 1,
                FileStatus::Deleted => counts.deleted += 1,
                FileStatus::Unchanged => counts.unchanged += 1,
            }
            match file.source {
                By::Human => counts.human += 1,
                By::Agent => counts.agent += 1,
                By::Fallback => counts.fallback += 1,
            }
        }
        counts
    }
}

/// The files of a contract as they stand at one time.
pub(super) struct Standing(BTreeMap<RelPath, (Side, By)>);

impl Standing {
    /// Those of the accepted state.
    pub fn of(workspace: &Workspace) -> Result<Self, EngineError> {
        let mut found = BTreeMap::new();
        for path in paths(workspace) {
            let Some(bytes) = workspace.read(&path, FILE_BYTES)? else {
                continue;
            };
            let side = Side {
                sha256: Digest::of(&bytes),
                bytes: bytes.len() as u64,
            };
            let by = author_of(workspace, &path);
            found.insert(path, (side, by));
        }
        Ok(Self(found))
    }

    /// What became of them until `after`.
    pub fn until(&self, after: &Standing) -> Vec<ContractFile> {
        let paths: BTreeSet<&RelPath> = self.0.keys().chain(after.0.keys()).collect();
        let file = |path: &RelPath| {
            let (before, now) = (self.0.get(path), after.0.get(path));
            let status = match (before, now) {
                (None, _) => FileStatus::Created,
                (_, None) => FileStatus::Deleted,
                (Some((before, _)), Some((now, _))) if before.sha256 == now.sha256 => FileStatus::Unchanged,
                _ => FileStatus::Modified,
            };
            ContractFile {
                path: path.clone(),
                status,
                source: now.or(before).map_or(By::Agent, |(_, by)| *by),
                before: before.map(|(side, _)| *side),
                after: now.map(|(side, _)| *side),
            }
        };
        paths.into_iter().map(file).collect()
    }
}

/// The files of the contract, and who wrote them.
pub(in crate::engine) fn lines(workspace: &Workspace) -> Result<Vec<ContractLine>, EngineError> {
    let Standing(found) = Standing::of(workspace)?;
    Ok(found
        .into_iter()
        .map(|(path, (side, by))| ContractLine {
            path,
            // Plain words: encoding them never fails.
            by: serde_json::to_value(by)
                .ok()
                .and_then(|word| word.as_str().map(str::to_owned))
                .unwrap_or_default(),
            sha256: side.sha256,
        })
        .collect())
}

/// The contract and every file in its directory.
fn paths(workspace: &Workspace) -> Vec<RelPath> {
    let (dir, sets) = (guard::contract_dir(), workspace.sets());
    let is = |path: &RelPath| *path == sets.pipeline || path.starts_with(&dir);
    let there = workspace.base().manifest.keys().filter(|path| is(path)).cloned();
    let made = workspace
        .changes()
        .into_iter()
        .map(|change| change.path)
        .filter(|path| is(path));
    let all: BTreeSet<RelPath> = there.chain(made).collect();
    let file = |path: &RelPath| is_file(workspace.entry(path).as_ref());
    all.into_iter().filter(file).take(FILES).collect()
}

fn is_file(entry: Option<&Entry>) -> bool {
    matches!(entry.map(|entry| &entry.kind), Some(EntryKind::File { size, .. }) if *size <= FILE_BYTES)
}

fn author_of(workspace: &Workspace, path: &RelPath) -> By {
    let content = |entry: Option<&Entry>| match entry.map(|entry| &entry.kind) {
        Some(EntryKind::File { content, .. }) => Some(*content),
        _ => None,
    };
    let now = content(workspace.entry(path).as_ref());
    // What bootstrap made is the contract's own doing.
    if now == content(workspace.base().manifest.get(path)) {
        By::Human
    } else if *path == workspace.sets().pipeline && now == Some(Content::of(generic::CONTRACT.as_bytes())) {
        By::Fallback
    } else {
        By::Agent
    }
}
