//! One stage of a contract: what to run, how long, how often, where.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    document::{Fault, Fields, Position, shown},
    names::RelPath,
};

/// Longest command or `NAME=value` that the kernel passes to a program, in bytes
/// (`MAX_ARG_STRLEN` is 131 072 with its NUL, execve(2)).
pub(super) const ARGUMENT_MAX: usize = 131_071;
/// Most repetitions of a failing command.
const RETRIES_MAX: u64 = 100;
/// Variables that the runner sets for every stage; a contract cannot.
pub(super) const RESERVED: [&str; 3] = ["AIDER_FSM_STAGE", "AIDER_FSM_ARTIFACTS_DIR", "AIDER_FSM_REPO_ROOT"];

/// The stages of one verification, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    /// Prepares the tree; once, in a sandbox of its own (`bootstrap.yml`).
    Bootstrap,
    /// Logs in where the others need it.
    Auth,
    /// The acceptance commands.
    Tests,
    /// Starts services, which live until the teardown or the end.
    DeploySetup,
    /// Waits for the services.
    DeployHealth,
    /// Produces episodes, samples or other material to judge.
    Rollout,
    /// Measures, and leaves metrics behind.
    Evaluation,
    /// Measures further.
    Benchmark,
    /// Stops the services; decides nothing.
    DeployTeardown,
}

impl StageName {
    /// Whether its metrics judge a verification.
    pub fn measures(self) -> bool {
        matches!(self, StageName::Evaluation | StageName::Benchmark)
    }

    /// The name as written in contracts, artifacts and `AIDER_FSM_STAGE`.
    pub fn as_str(self) -> &'static str {
        match self {
            StageName::Bootstrap => "bootstrap",
            StageName::Auth => "auth",
            StageName::Tests => "tests",
            StageName::DeploySetup => "deploy_setup",
            StageName::DeployHealth => "deploy_health",
            StageName::Rollout => "rollout",
            StageName::Evaluation => "evaluation",
            StageName::Benchmark => "benchmark",
            StageName::DeployTeardown => "deploy_teardown",
        }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One stage as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which stage.
    pub name: StageName,
    /// Shell commands, run in order; none is blank or holds a NUL.
    pub cmds: Vec<String>,
    /// Longest time for one command; `None` leaves it to the host's policy.
    pub timeout: Option<Duration>,
    /// How often a failing command is repeated; 0 runs it once.
    pub retries: u32,
    /// Variables for the commands, in file order, values as spelled in the file.
    pub env: Vec<(String, String)>,
    /// Where the commands run; `None` is the repository root.
    pub workdir: Option<RelPath>,
}

impl Stage {
    /// A stage of one command and nothing else.
    pub(super) fn of_command(name: StageName, cmd: &str) -> Self {
        Self {
            name,
            cmds: vec![cmd.to_owned()],
            timeout: None,
            retries: 0,
            env: Vec::new(),
            workdir: None,
        }
    }

    /// Reads the commands (from the list `many`, else the single `one`) and the fields that all stages share.
    pub(super) fn read(
        name: StageName,
        fields: &mut Fields,
        many: &'static str,
        one: &'static str,
    ) -> Result<Self, Fault> {
        Ok(Self {
            name,
            cmds: read_commands(fields, many, one)?,
            retries: read_retries(fields)?,
            timeout: fields.seconds("timeout_seconds")?,
            env: read_env(fields)?,
            workdir: fields.directory("workdir")?,
        })
    }

    /// Another stage with the same fields around other commands.
    pub(super) fn sibling(&self, name: StageName, cmds: Vec<String>) -> Self {
        Self {
            name,
            cmds,
            ..self.clone()
        }
    }
}

/// The commands in the list `many`, else the single `one`.
pub(super) fn read_commands(fields: &mut Fields, many: &'static str, one: &'static str) -> Result<Vec<String>, Fault> {
    let list = fields.strings(many)?;
    let single = fields.string(one)?;
    let commands = list.unwrap_or_else(|| single.into_iter().collect());
    for (command, at) in &commands {
        check_command(command, *at)?;
    }
    Ok(commands.into_iter().map(|(command, _)| command).collect())
}

/// Refuses a command that the kernel would not pass to a shell.
pub(super) fn check_command(command: &str, at: Position) -> Result<(), Fault> {
    if command.len() > ARGUMENT_MAX {
        return Err(at.fault(format!(
            "a command of {} bytes; the kernel takes {ARGUMENT_MAX}",
            command.len()
        )));
    }
    Ok(())
}

/// How often a failing command is repeated.
pub(super) fn read_retries(fields: &mut Fields) -> Result<u32, Fault> {
    let retries = fields.whole_number("retries", RETRIES_MAX)?;
    // At most RETRIES_MAX, which fits.
    Ok(retries.map_or(0, |(number, _)| number as u32))
}

/// Reads `env` and checks every name and value as execve(2) will need them.
fn read_env(fields: &mut Fields) -> Result<Vec<(String, String)>, Fault> {
    let place = fields.place("env");
    let mut env = Vec::new();
    for (key, value, at) in fields.pairs("env")? {
        check_variable(&place, &key.text, key.at, &value, at)?;
        env.push((key.text, value));
    }
    Ok(env)
}

pub(super) fn check_variable(
    place: &str,
    name: &str,
    name_at: Position,
    value: &str,
    value_at: Position,
) -> Result<(), Fault> {
    if !is_variable_name(name) {
        let shown = shown(name);
        return Err(name_at.fault(format!(
            "`{place}`: `{shown}` is no variable name (letters, digits, `_`)"
        )));
    }
    if RESERVED.contains(&name) {
        return Err(name_at.fault(format!("`{place}.{name}` is set by the runner; remove it")));
    }
    if value.contains('\0') {
        return Err(value_at.fault(format!("`{place}.{name}` holds a NUL character")));
    }
    if name.len() + 1 + value.len() > ARGUMENT_MAX {
        return Err(value_at.fault(format!("`{place}.{}` is longer than {ARGUMENT_MAX} bytes", shown(name))));
    }
    Ok(())
}

/// A name that every shell takes (POSIX.1-2017, XBD 3.235).
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
