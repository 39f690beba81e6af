//! One command in a sandbox, with its caps and its artifacts: what stages, bootstrap
//! and actions are made of.

use std::time::Duration;

use serde::Serialize;

use crate::{
    engine::EngineError,
    record::RunDir,
    report::escape,
    sandbox::{ExecOutcome, ExecSpec, OutputCaps, OutputSink, Sandbox},
    wire::{Argv, LeakedProcess, Leftovers, ResourceUse, Termination},
};

/// Bytes of one output stream kept on disk.
const OUTPUT_FILE_BYTES: u64 = 2_000_000;
/// Bytes of one output stream kept for prompts.
const OUTPUT_TAIL_BYTES: usize = 8_000;

/// One shell command about to run.
pub(super) struct Command<'a> {
    /// For `sh -c`.
    pub script: &'a str,
    /// Where its artifacts go, relative to the run: `iter_0001/tests_cmd01_try01`.
    pub prefix: String,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Absolute directory inside.
    pub cwd: String,
    /// When it is ended.
    pub cap: WallCap,
    /// What becomes of the processes that it leaves.
    pub leftovers: Leftovers,
}

/// A wall cap and the name of the rule that gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WallCap {
    /// How long.
    pub wall: Duration,
    /// `timeout_seconds`, `max_cmd_seconds`, `max_total_seconds`.
    pub rule: &'static str,
}

/// What became of it, as `<prefix>_result.json`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CommandResult {
    /// Exit code; 128 + n for signal n, 124 for a command that its cap ended.
    pub rc: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    pub timed_out: bool,
    /// The cap that ended it: a rule of [`WallCap`], `memory` or `disk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    pub usage: ResourceUse,
    pub leaked: Vec<LeakedProcess>,
    pub leaked_total: u64,
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    pub stdout_truncated: bool,
    pub stderr_truncated: bool,
    /// The last of both streams.
    #[serde(skip)]
    pub tails: [Vec<u8>; 2],
}

impl Command<'_> {
    /// Runs it to its end and keeps `<prefix>_{cmd,stdout,stderr}.txt` and `<prefix>_result.json`.
    pub async fn run(self, sandbox: &Sandbox, run: &RunDir) -> Result<CommandResult, EngineError> {
        let prefix = self.prefix;
        run.write(&format!("{prefix}_cmd.txt"), format!("{}\n", self.script).as_bytes())?;
        let sink = |stream: &str| OutputCaps {
            tail_bytes: OUTPUT_TAIL_BYTES,
            sink: Some(OutputSink {
                path: run.path().join(format!("{prefix}_{stream}.txt")),
                max_bytes: OUTPUT_FILE_BYTES,
            }),
        };
        let spec = ExecSpec {
            argv: Argv::Shell(self.script.to_owned()),
            env: self.env,
            cwd: self.cwd,
            wall: self.cap.wall,
            leftovers: self.leftovers,
            stdout: sink("stdout"),
            stderr: sink("stderr"),
        };
        let outcome = sandbox.exec(spec).await?.wait().await?;
        let result = CommandResult::new(outcome, self.cap.rule);
        for stream in ["stdout", "stderr"] {
            run.adopt(&format!("{prefix}_{stream}.txt"))?;
        }
        run.write_json(&format!("{prefix}_result.json"), &result)?;
        Ok(result)
    }
}

impl CommandResult {
    fn new(outcome: ExecOutcome, wall_rule: &str) -> Self {
        let (rc, signal) = match outcome.end {
            _ if outcome.timed_out => (124, None),
            Termination::Code(code) => (code, None),
            Termination::Signal(signal) => (128 + signal, Some(signal)),
        };
        let cap = if outcome.timed_out {
            Some(wall_rule.to_owned())
        } else {
            outcome.cap_hit
        };
        Self {
            // A command that a cap killed never counts as passed, whatever it said.
            rc: if rc == 0 && cap.is_some() { 137 } else { rc },
            signal,
            timed_out: outcome.timed_out,
            cap,
            usage: outcome.usage,
            leaked: outcome.leaked,
            leaked_total: outcome.leaked_total,
            stdout_bytes: outcome.stdout.total_bytes,
            stderr_bytes: outcome.stderr.total_bytes,
            stdout_truncated: outcome.stdout.truncated,
            stderr_truncated: outcome.stderr.truncated,
            tails: [outcome.stdout.tail, outcome.stderr.tail],
        }
    }

    /// One line about why `script` failed.
    pub fn reason(&self, script: &str) -> String {
        let command = escape(script.as_bytes(), 120);
        match (&self.cap, self.signal) {
            (Some(cap), _) => format!("`{command}` was ended by its cap {cap}"),
            (None, Some(signal)) => format!("`{command}` was killed by signal {signal}"),
            (None, None) => format!("`{command}` exited {}", self.rc),
        }
    }

    /// What the agent is shown of the failure of `script` in `stage`.
    pub fn evidence(&self, stage: &str, script: &str) -> String {
        let [stdout, stderr] = self.tails.each_ref().map(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            text.lines()
                .map(|line| escape(line.as_bytes(), 2_000))
                .collect::<Vec<_>>()
                .join("\n")
        });
        let cap = self.cap.as_ref().map(|cap| format!(" (ended by its cap {cap})"));
        format!(
            "stage: {stage}\ncommand: {script}\nexit code: {}{}\n--- last of stdout\n{stdout}\n--- last of stderr\n{stderr}\n",
            self.rc,
            cap.unwrap_or_default(),
        )
    }
}
