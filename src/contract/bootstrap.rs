//! `.aider_fsm/bootstrap.yml`, version 1: what prepares a repository for its stages.

use std::time::Duration;

use indexmap::IndexMap;

use super::{
    ContractError,
    expand::expand,
    pipeline::read_version,
    stage::{ARGUMENT_MAX, check_variable, read_commands, read_retries},
};
use crate::{
    document::{self, Fault, Fields, Node, Position, Value},
    names::RelPath,
};

/// Most bytes of all variables together: half of what execve(2) takes by default,
/// and a bound on values that repeat each other.
const ENVIRONMENT_MAX: usize = 1 << 20;
/// Keys of later runners, and what they are called here.
const OLD_NAMES: [(&str, &str); 3] = [("cwd", "workdir"), ("timeout", "timeout_seconds"), ("retry", "retries")];

/// A parsed bootstrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Shell commands, run in order; there may be none where only `env` is wanted.
    pub cmds: Vec<String>,
    /// Longest time for one command; `None` leaves it to the host's policy.
    pub timeout: Option<Duration>,
    /// How often a failing command is repeated; 0 runs it once.
    pub retries: u32,
    /// Where the commands run; `None` is the repository root.
    pub workdir: Option<RelPath>,
    /// What was accepted and should be written otherwise, each with its place.
    pub warnings: Vec<ContractError>,
    env: Vec<Variable>,
    source: RelPath,
}

/// One entry of `env` and the text that its value takes up in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    value: String,
    at: Position,
    /// Where the next key begins; `None` at the end of the file.
    until: Option<Position>,
}

impl Bootstrap {
    /// Reads the bootstrap in `path` (its name is for messages) from its bytes.
    ///
    /// # Errors
    /// One [`ContractError`]: bad YAML, an unknown or duplicate key, a wrong type,
    /// a value out of range, or a path that leaves the repository.
    pub fn parse(path: &RelPath, text: &[u8]) -> Result<Bootstrap, ContractError> {
        read(path, text).map_err(|fault| ContractError::of(fault, path))
    }

    /// What `env` comes to, in file order: values may name variables of `fixed` and
    /// of earlier entries (see [`expand`]), and nothing else. Entries of `PATH` that
    /// are not absolute are taken from `root`, the repository inside.
    ///
    /// # Errors
    /// A [`ContractError`] at the value that makes a variable, or all together, too long.
    pub fn environment(&self, fixed: &[(String, String)], root: &str) -> Result<Vec<(String, String)>, ContractError> {
        let mut known: IndexMap<&str, String> = fixed
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        let mut total = 0;
        for entry in &self.env {
            let most = ARGUMENT_MAX.saturating_sub(entry.name.len() + 1);
            let too_long = |what: &str, most: usize| {
                let fault = entry
                    .at
                    .fault(format!("{what} longer than {most} bytes once it is expanded"));
                ContractError::of(fault, &self.source)
            };
            let expanded = expand(&entry.value, most, |name| known.get(name).map(String::as_str));
            let mut value = expanded.ok_or_else(|| too_long(&format!("`env.{}` is", entry.name), most))?;
            if entry.name == "PATH" {
                value = absolute(&value, root);
            }
            total += entry.name.len() + value.len() + 2;
            if total > ENVIRONMENT_MAX {
                return Err(too_long("`env` is", ENVIRONMENT_MAX));
            }
            known.insert(&entry.name, value);
        }
        let value = |name: &str| known.get(name).cloned().unwrap_or_default();
        Ok(self
            .env
            .iter()
            .map(|entry| (entry.name.clone(), value(&entry.name)))
            .collect())
    }

    /// The file's text with the values of the variables that `hide` names taken out,
    /// for the record. `text` is what was parsed.
    pub fn masked(&self, text: &str, hide: impl Fn(&str, &str) -> bool) -> String {
        // The three ends of a line in YAML (1.2.2, 5.4), so that lines are counted as the parser counted them.
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut lines: Vec<Option<String>> = text.lines().map(|line| Some(line.to_owned())).collect();
        let hidden = |entry: &&Variable| !entry.value.is_empty() && hide(&entry.name, &entry.value);
        // From the end, so that columns of one line stay true.
        for entry in self.env.iter().rev().filter(hidden) {
            let first = entry.at.line - 1;
            let until = entry.until.unwrap_or(Position {
                line: lines.len() + 1,
                column: 1,
            });
            let Some(Some(line)) = lines.get_mut(first) else {
                continue;
            };
            let mut kept: String = line.chars().take(entry.at.column - 1).collect();
            kept.push_str("[redacted]");
            if until.line == entry.at.line {
                kept.push_str(", ");
                kept.extend(line.chars().skip(until.column - 1));
            }
            *line = kept;
            let last = until.line.saturating_sub(1).min(lines.len());
            if let Some(more) = lines.get_mut(first + 1..last) {
                more.fill(None);
            }
        }
        lines.into_iter().flatten().map(|line| line + "\n").collect()
    }
}

/// Makes what is relative in a list of directories start at `root`; an empty entry stays, it is the current directory.
fn absolute(list: &str, root: &str) -> String {
    let from_root = |entry: &str| match entry {
        "" => String::new(),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{root}/{}", relative.trim_start_matches("./")),
    };
    list.split(':').map(from_root).collect::<Vec<_>>().join(":")
}

fn read(path: &RelPath, text: &[u8]) -> Result<Bootstrap, Fault> {
    let document = document::parse(text)?;
    let mut keys = Vec::new();
    key_places(&document, &mut keys);
    let mut root = Fields::root(document)?;
    let mut warnings = Vec::new();
    let mut warn = |at: Position, text: String| warnings.push(ContractError::of(at.fault(text), path));
    read_version(&mut root)?;
    let boot = root.section("boot")?;
    let mut fields = match boot {
        Some(boot) => {
            root.finish()?;
            warn(boot.at, "`boot` is an old form; put its keys at the top".to_owned());
            boot
        }
        None => root,
    };
    for (old, name) in OLD_NAMES {
        if let Some(at) = fields.renamed(old, name)? {
            warn(at, format!("`{old}` is an old name of `{name}`"));
        }
    }
    fields.renamed("steps", "cmds")?;
    let cmds = read_commands(&mut fields, "cmds", "cmd")?;
    let retries = read_retries(&mut fields)?;
    let timeout = fields.seconds("timeout_seconds")?;
    let workdir = fields.directory("workdir")?;
    let mut env = Vec::new();
    for (key, value, at) in fields.pairs("env")? {
        check_variable("env", &key.text, key.at, &value, at)?;
        let until = keys.iter().find(|key| after(**key, at)).copied();
        let name = key.text;
        env.push(Variable { name, value, at, until });
    }
    fields.finish()?;
    Ok(Bootstrap {
        cmds,
        timeout,
        retries,
        workdir,
        warnings,
        env,
        source: path.clone(),
    })
}

fn after(a: Position, b: Position) -> bool {
    (a.line, a.column) > (b.line, b.column)
}

/// Where the keys of a document begin, in reading order.
fn key_places(node: &Node, places: &mut Vec<Position>) {
    match &node.value {
        Value::Mapping(pairs) => {
            for (key, value) in pairs {
                places.push(key.at);
                key_places(value, places);
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| key_places(item, places)),
        Value::Scalar { .. } => {}
    }
}

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;
