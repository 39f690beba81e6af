//! The facts that go into prompts: plan, contract, the tree's outline, seeds.
//!
//! Collected from checkpoints, never by running anything on the tree.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{
    engine::{EngineError, workspace::Workspace},
    names::RelPath,
    report::escape,
    tree::{Change, ChangeKind},
};

/// Bytes of the plan and of the contract shown; the head is kept.
const DOCUMENT_BYTES: u64 = 20_000;
/// Bytes of one seed file shown.
const SEED_BYTES: usize = 20_000;
/// Paths of the outline and of the change list shown.
const LISTED_PATHS: usize = 200;

/// A text file that the user wants in every snapshot (`--seed`).
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct Seed {
    pub name: String,
    pub text: String,
}

impl Seed {
    /// Reads a seed, its last [`SEED_BYTES`] bytes.
    pub fn read(path: &std::path::Path) -> Result<Self, EngineError> {
        let bytes =
            std::fs::read(path).map_err(|source| EngineError::Usage(format!("--seed {}: {source}", path.display())))?;
        let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SEED_BYTES)..]).into_owned();
        Ok(Self {
            name: path.display().to_string(),
            text,
        })
    }
}

/// The `[SNAPSHOT]` text of the prompts; `news` is a section of it, heading included.
pub(super) fn snapshot(
    workspace: &Workspace,
    plan: &RelPath,
    contract: &RelPath,
    seeds: &[Seed],
    news: Option<&str>,
) -> Result<String, EngineError> {
    let mut text = String::from("[SNAPSHOT]\n");
    for path in [plan, contract] {
        match workspace.read(path, DOCUMENT_BYTES) {
            Ok(Some(bytes)) => section(&mut text, &path.to_string(), &bytes),
            Ok(None) => {
                let _ = writeln!(text, "## {path}\n(does not exist)");
            }
            Err(why) => {
                let _ = writeln!(text, "## {path}\n(cannot be shown: {why})");
            }
        }
    }
    if let Some(news) = news {
        let _ = writeln!(text, "{news}");
    }
    text.push_str(&outline(workspace));
    let changes = workspace.changes();
    let _ = writeln!(text, "## Changes so far ({})\n{}", changes.len(), list(&changes));
    if !seeds.is_empty() {
        text.push_str("[SEEDS]\n");
        for seed in seeds {
            let _ = writeln!(text, "[SEED_FILE] {}\n{}", escape(seed.name.as_bytes(), 400), seed.text);
        }
    }
    Ok(text)
}

/// The paths of the copied tree, as a section.
pub(super) fn outline(workspace: &Workspace) -> String {
    let mut text = String::new();
    let files: Vec<_> = workspace
        .copied()
        .manifest
        .keys()
        .filter(|path| !path.as_bytes().starts_with(b".git/") && path.as_bytes() != b".git")
        .collect();
    let _ = writeln!(text, "## Files at the start ({})", files.len());
    for path in files.iter().take(LISTED_PATHS) {
        let _ = writeln!(text, "{path}");
    }
    if files.len() > LISTED_PATHS {
        let _ = writeln!(text, "… and {} more", files.len() - LISTED_PATHS);
    }
    text
}

/// Changes as `M path` lines.
pub(super) fn list(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes.iter().take(LISTED_PATHS) {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'M',
            ChangeKind::Deleted => 'D',
        };
        let _ = writeln!(text, "{letter} {}", change.path);
    }
    if changes.len() > LISTED_PATHS {
        let _ = writeln!(text, "… and {} more", changes.len() - LISTED_PATHS);
    }
    text
}

fn section(text: &mut String, name: &str, bytes: &[u8]) {
    let body: String = String::from_utf8_lossy(bytes)
        .lines()
        .map(|line| escape(line.as_bytes(), 4_000) + "\n")
        .collect();
    let _ = writeln!(text, "## {name}\n{body}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_its_end_and_one_that_is_missing_is_an_error() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("notes.md");
        std::fs::write(&path, format!("first{}last", " ".repeat(SEED_BYTES))).expect("write");
        let seed = Seed::read(&path).expect("a seed");
        assert!(seed.text.ends_with("last") && !seed.text.contains("first"));
        let missing = Seed::read(&dir.path().join("none.md"))
            .map(|_| ())
            .expect_err("it is not there");
        assert!(
            matches!(&missing, EngineError::Usage(why) if why.starts_with("--seed ") && why.contains("none.md")),
            "{missing}"
        );
    }
}
