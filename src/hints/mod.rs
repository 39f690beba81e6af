//! Commands that a repository documents, and scores that their output earns.
//!
//! Pure: bytes in, values out. What is read was written by a stranger, so every reader is
//! bounded, takes whatever it is given, and leaves out what it does not understand. What is a
//! command is decided on a shell's parse tree, never by words that occur in a text.
//!
//! | file | holds |
//! |---|---|
//! | `markdown` | code blocks of README and documentation |
//! | `workflow` | steps of GitHub workflows |
//! | `declared` | what Makefile, tox.ini, pyproject.toml, package.json and their like declare |
//! | `block` | a block of text to commands, with the directory that each runs in |
//! | `kind` | what a command is for, if it is one |
//! | `rank` | which is tried first |
//! | `placeholder` | words that a reader is meant to fill in |
//! | `honest` | whether a hint could measure, and the words that it is known by |
//! | `adapt`, `surroundings` | a command made to fit a sandbox, and what that has |
//! | `score` | a score read from real output |
//!
//! The page about them is `docs/hints.md`.
#![forbid(unsafe_code)]

mod adapt;
mod block;
mod declared;
mod honest;
mod kind;
mod markdown;
mod placeholder;
mod rank;
pub mod score;
mod surroundings;
#[cfg(test)]
mod tests;
mod workflow;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use adapt::{Adapted, Skip, adapt};
pub use honest::{anchors, measures};
pub use rank::rank;
pub use surroundings::{Surroundings, Wanted, wanted};

use crate::{contract::AuditedTree, names::RelPath};

/// Most bytes of one file that are read.
pub const FILE_MAX: usize = 256 << 10;
/// Most files of documentation, and most workflows.
const DOCUMENTS_MAX: usize = 40;
/// Most hints of one repository.
pub const HINTS_MAX: usize = 200;
/// Longest command, bytes.
pub const COMMAND_MAX: usize = 8 << 10;

/// What a documented command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HintKind {
    /// Runs tests.
    Tests,
    /// Evaluates something.
    Evaluate,
    /// Runs a benchmark.
    Benchmark,
    /// Runs a program of the repository.
    Run,
    /// Builds.
    Build,
    /// Installs.
    Install,
    /// Needs an engine for containers or a cluster.
    Container,
}

/// Where a hint is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A code block of README or documentation.
    Documentation,
    /// A step of a workflow.
    Workflow,
    /// A file in which projects declare such commands, or the settings of one tool.
    Declaration,
    /// Nobody wrote it down: it is what such files are run by.
    Convention,
}

/// A command that a repository says is one of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hint {
    /// For a shell, to be run in the repository's root. Where its text says so, it goes to
    /// another directory first.
    pub command: String,
    /// Where it stands, relative to the repository.
    pub file: RelPath,
    /// The line, from 1.
    pub line: usize,
    /// What it is for.
    pub kind: HintKind,
    /// Where it is from.
    pub origin: Origin,
}

/// The hints in a tree, each command once, in the order in which they stand: README, the rest
/// of the documentation, workflows, declarations.
pub fn extract(tree: &dyn AuditedTree) -> Vec<Hint> {
    let files = tree.files();
    let ground = Ground::new(&files);
    let mut found = Found::default();
    let mut documents: Vec<&RelPath> = files.iter().filter(|path| markdown::is_readme(path)).collect();
    documents.extend(files.iter().filter(|path| markdown::is_documentation(path)));
    for path in documents.into_iter().take(DOCUMENTS_MAX) {
        if let Some(text) = tree.read(path, FILE_MAX) {
            markdown::read(path, &text, &ground, &mut found);
        }
    }
    let workflows = files.iter().filter(|path| workflow::is_one(path));
    for path in workflows.take(DOCUMENTS_MAX) {
        if let Some(text) = tree.read(path, FILE_MAX) {
            workflow::read(path, &text, &ground, &mut found);
        }
    }
    declared::read(tree, &files, &mut found);
    found.hints
}

/// Hints that were found.
#[derive(Default)]
struct Found {
    hints: Vec<Hint>,
    commands: BTreeSet<String>,
}

impl Found {
    fn add(&mut self, hint: Hint) {
        let fits = self.hints.len() < HINTS_MAX && hint.command.len() <= COMMAND_MAX;
        if fits && !hint.command.contains('\0') && self.commands.insert(hint.command.clone()) {
            self.hints.push(hint);
        }
    }
}

/// What a reader knows of the tree.
struct Ground {
    dirs: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Ground {
    fn new(files: &[RelPath]) -> Self {
        let mut ground = Self {
            dirs: BTreeSet::new(),
            files: BTreeSet::new(),
        };
        for path in files {
            let path = path.to_string();
            for (at, _) in path.match_indices('/') {
                if !ground.dirs.contains(&path[..at]) {
                    ground.dirs.insert(path[..at].to_owned());
                }
            }
            ground.files.insert(path);
        }
        ground
    }
}
