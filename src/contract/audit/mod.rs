//! A look at how a contract comes to its scores, before anybody believes them: the commands of
//! its measurements, the scripts that they run, and the tests, as parsed code.
//!
//! What it finds are scores that stand in a script as numbers, measurements that execute
//! nothing, and tests that write a reward or a verdict themselves. It runs nothing, and it is
//! no wall: whoever wants to hide from it can. It says where to look.
//!
//! | file | holds |
//! |---|---|
//! | `python` | the tokens of a Python file |
//! | `scores` | scores that stand as numbers |
//! | `execution` | whether anything is executed |
//! | `rewards` | tests that write what they are measured by |

mod execution;
mod python;
mod rewards;
mod scores;

use std::{cell::RefCell, collections::BTreeMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Measurement, Pipeline};
use crate::{
    names::RelPath,
    policy::shell::{Scripts, Seen, walk},
    tree::Pristine,
};

/// Most findings.
const FINDINGS_MAX: usize = 100;
/// Most files that are looked into.
const FILES_MAX: usize = 500;
/// Longest excerpt, in characters.
const EXCERPT: usize = 160;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditRule {
    /// A score stands in the script as a number that is not zero.
    HardCodedScore,
    /// A measurement only prints and copies: nothing that could measure is executed.
    NoExecution,
    /// A test, or what a test runner loads by itself, writes the reward or the verdict.
    RewardByTests,
}

impl AuditRule {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            AuditRule::HardCodedScore => "hard-coded-score",
            AuditRule::NoExecution => "no-execution",
            AuditRule::RewardByTests => "reward-by-tests",
        }
    }
}

/// One finding of the audit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AuditFinding {
    /// What is wrong.
    pub rule: AuditRule,
    /// The file, relative to the repository.
    pub file: RelPath,
    /// The line in it, from 1.
    pub line: usize,
    /// What stands there, in one line.
    pub text: String,
}

impl std::fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule.as_str(), self.text)
    }
}

/// The tree that is judged.
pub trait AuditedTree {
    /// The text of a file; `None` where there is none, or none that is text of at most `most` bytes.
    fn read(&self, path: &RelPath, most: usize) -> Option<String>;
    /// Every file's path.
    fn files(&self) -> Vec<RelPath>;
}

impl AuditedTree for Pristine {
    fn read(&self, path: &RelPath, most: usize) -> Option<String> {
        let bytes = Pristine::read(self, path, most as u64).ok().flatten()?;
        String::from_utf8(bytes).ok()
    }

    fn files(&self) -> Vec<RelPath> {
        let files = self.manifest.iter().filter(|(_, entry)| !entry.is_dir());
        files.map(|(path, _)| path.clone()).collect()
    }
}

/// Looks into the measurements of a contract, as they stand in a tree. In order, each once.
pub fn audit(pipeline: &Pipeline, tree: &dyn AuditedTree) -> Vec<AuditFinding> {
    let mut findings = Vec::new();
    let contract = tree.read(&pipeline.source, super::MAX_DOCUMENT).unwrap_or_default();
    let measurements = [&pipeline.evaluation, &pipeline.benchmark];
    for measurement in measurements.into_iter().flatten() {
        measured(pipeline, measurement, &contract, tree, &mut findings);
    }
    rewards::look(pipeline, tree, &mut findings);
    findings.sort();
    findings.dedup();
    findings.truncate(FINDINGS_MAX);
    findings
}

/// Files that the commands of a measurement run.
struct Ran<'t> {
    tree: &'t dyn AuditedTree,
    files: RefCell<BTreeMap<RelPath, String>>,
}

/// Whether a command that runs in the directory `dir` (empty for the root) executes anything that
/// could measure, itself or in a script of the tree that it runs; what prints, copies and sets
/// does not.
pub fn executes(command: &str, dir: &str, tree: &dyn AuditedTree) -> bool {
    Ran::over(tree).executes(command, dir)
}

impl<'t> Ran<'t> {
    fn over(tree: &'t dyn AuditedTree) -> Self {
        Self {
            tree,
            files: RefCell::default(),
        }
    }

    fn executes(&self, command: &str, dir: &str) -> bool {
        let executes = |seen: &Seen| {
            let script = execution::python_script(&seen.argv).and_then(|named| {
                let joined = match dir {
                    "" => named,
                    dir => format!("{dir}/{named}"),
                };
                RelPath::new(joined.trim_start_matches("./")).ok()
            });
            let text = script.and_then(|path| self.open(path));
            execution::executes(seen, text.as_deref())
        };
        // Every one is looked into, so that all files are known that run.
        let all = walk(command, dir, Some(self));
        all.iter().filter(|seen| executes(seen)).count() > 0
    }

    fn open(&self, path: RelPath) -> Option<String> {
        let mut files = self.files.borrow_mut();
        if let Some(text) = files.get(&path) {
            return Some(text.clone());
        }
        let room = files.len() < FILES_MAX;
        let text = self.tree.read(&path, python::FILE_MAX).filter(|_| room)?;
        files.insert(path, text.clone());
        Some(text)
    }
}

impl Scripts for Ran<'_> {
    fn read(&self, path: &[String]) -> Option<String> {
        self.open(RelPath::new(path.join("/")).ok()?)
    }
}

fn measured(
    pipeline: &Pipeline,
    measurement: &Measurement,
    contract: &str,
    tree: &dyn AuditedTree,
    findings: &mut Vec<AuditFinding>,
) {
    if measurement.metrics_path.is_none() || measurement.stage.cmds.is_empty() {
        return;
    }
    let dir = measurement.stage.workdir.as_ref();
    let below = dir.map(ToString::to_string).unwrap_or_default();
    let ran = Ran::over(tree);
    let mut executes = false;
    for command in &measurement.stage.cmds {
        // A contract says its commands on lines of its own; where they are is near enough.
        let line = line_of(contract, command);
        for (_, number, text) in scores::of_shell(command) {
            let at = line + number - 1;
            findings.push(finding(AuditRule::HardCodedScore, &pipeline.source, at, &text));
        }
        executes |= ran.executes(command, &below);
    }
    let files = ran.files.into_inner();
    for (path, text) in &files {
        let found = match is_python(path, text) {
            true => scores::of_python(text),
            false => scores::of_shell(text),
        };
        for (_, line, text) in found {
            findings.push(finding(AuditRule::HardCodedScore, path, line, &text));
        }
    }
    if !executes {
        let (path, line) = match files.keys().next() {
            Some(path) => (path, 1),
            None => (&pipeline.source, line_of(contract, measurement.stage.cmds[0].as_str())),
        };
        let text = format!(
            "`{}` prints, copies and sets, and runs nothing that measures",
            measurement.stage.name
        );
        findings.push(finding(AuditRule::NoExecution, path, line, &text));
    }
}

fn is_python(path: &RelPath, text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    path.as_bytes().ends_with(b".py") || (first.starts_with("#!") && first.contains("python"))
}

/// The line of a contract on which a command begins; the first where it cannot be told.
pub fn line_of(contract: &str, command: &str) -> usize {
    let first = command.lines().map(str::trim).find(|line| !line.is_empty());
    let place = |text: &str| contract.lines().position(|line| line.contains(text));
    // In a quoted scalar what needs quotes is written differently: what comes before it is not.
    let before = |text: &'_ str| text.split(['"', '\'', '\\']).next().map(str::to_owned);
    let at = first.and_then(|first| place(first).or_else(|| place(&before(first).filter(|text| text.len() > 3)?)));
    at.map_or(1, |at| at + 1)
}

fn finding(rule: AuditRule, file: &RelPath, line: usize, text: &str) -> AuditFinding {
    let line_of_text = text.trim().lines().next().unwrap_or_default();
    AuditFinding {
        rule,
        file: file.clone(),
        line,
        text: line_of_text.chars().filter(|c| !c.is_control()).take(EXCERPT).collect(),
    }
}

#[cfg(test)]
#[path = "../audit_tests.rs"]
mod tests;
