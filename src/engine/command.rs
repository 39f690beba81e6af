//! One command in a sandbox, with its caps and its artifacts: what stages, bootstrap
//! and actions are made of.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    dataset::RowsAsk,
    engine::{EngineError, caps::WallCap, evidence::Executed},
    fsm::Blame,
    policy::{Refusal, shell::Verdict},
    record::RunDir,
    report::escape,
    sandbox::{Denied, ExecOutcome, ExecSpec, Layer, OutputCaps, OutputSink, Sandbox},
    wire::{Argv, LeakedProcess, Leftovers, Reach, ResourceUse, Termination},
};

/// Bytes of one output stream kept on disk.
const OUTPUT_FILE_BYTES: u64 = 2_000_000;
/// Bytes of one output stream kept for prompts.
const OUTPUT_TAIL_BYTES: usize = 8_000;
/// The exit code of a command that its caps on time ended (timeout(1)).
const TIMED_OUT: i32 = 124;
/// The exit code of a command that policy refuses (found, and may not be executed).
const REFUSED: i32 = 126;

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
    /// When it is ended; a cap of zero ends it before it starts.
    pub cap: WallCap,
    /// How long it may say nothing.
    pub silence: Duration,
    /// What becomes of the processes that it leaves.
    pub leftovers: Leftovers,
    /// Whom it may signal.
    pub reach: Reach,
    /// The user's terminal in place of its output, which then is not kept.
    pub terminal: Option<Arc<OwnedFd>>,
    /// Whose command it is: who is to blame when it fails by itself.
    pub author: Blame,
    /// What policy says of it, where it could not decide.
    pub undecided: Option<Verdict>,
}

/// What became of it, as `<prefix>_result.json`.
#[derive(Clone, Debug, Default, Serialize, schemars::JsonSchema)]
pub(super) struct CommandResult {
    /// Exit code; 128 + n for signal n, 124 for a command that a cap on time ended,
    /// 126 for one that policy refused.
    pub rc: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    pub timed_out: bool,
    /// The cap that ended it: `timeout_seconds`, `max_cmd_seconds`, `max_total_seconds`,
    /// `max_run_seconds`, `max_silence_seconds`, `memory` or `disk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    /// What was refused to it and what ended it, and by which layer, as far as that was seen
    /// from outside of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Denied>,
    /// What policy said of it, where its text did not tell what it would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undecided: Option<Verdict>,
    /// Who failed, when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blame: Option<Blame>,
    pub usage: ResourceUse,
    pub leaked: Vec<LeakedProcess>,
    pub leaked_total: u64,
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    pub stdout_truncated: bool,
    pub stderr_truncated: bool,
    /// The rule that refused it.
    #[serde(skip)]
    pub rule: Option<String>,
    /// The last of both streams.
    #[serde(skip)]
    pub tails: [Vec<u8>; 2],
}

/// A command that has ended and of which the record does not tell yet. It is written while the
/// next one runs.
#[must_use]
pub(super) struct Unrecorded {
    prefix: String,
    script: String,
    result: CommandResult,
}

impl Unrecorded {
    /// Keeps its `<prefix>_{stdout,stderr}.txt` and `<prefix>_result.json`.
    pub fn record(self, run: &RunDir) -> Result<(), EngineError> {
        for stream in ["stdout", "stderr"] {
            run.adopt(&format!("{}_{stream}.txt", self.prefix))?;
        }
        self.result.record(run, &self.prefix, &self.script)
    }
}

impl Command<'_> {
    /// Runs it to its end and keeps `<prefix>_{cmd,stdout,stderr}.txt` and `<prefix>_result.json`.
    pub async fn run(self, sandbox: &Sandbox, run: &RunDir) -> Result<CommandResult, EngineError> {
        let mut ended = None;
        let result = self.run_after(&mut ended, sandbox, run).await?;
        ended.map_or(Ok(()), |ended: Unrecorded| ended.record(run))?;
        Ok(result)
    }

    /// Has rows of a data file read in its place, by this program itself; what they are is all
    /// of stdout's tail. The script is what the record calls it.
    pub async fn read(self, ask: RowsAsk, sandbox: &Sandbox, run: &RunDir) -> Result<CommandResult, EngineError> {
        let most = usize::try_from(ask.most_bytes).unwrap_or(usize::MAX);
        let mut ended = None;
        let result = self
            .run_as(Argv::Rows(Box::new(ask)), most, &mut ended, sandbox, run)
            .await?;
        ended.map_or(Ok(()), |ended: Unrecorded| ended.record(run))?;
        Ok(result)
    }

    /// As [`Command::run`], and writes the record of the command `before` it while it runs. Its
    /// own, where something is left to be recorded, takes that one's place.
    pub async fn run_after(
        self,
        before: &mut Option<Unrecorded>,
        sandbox: &Sandbox,
        run: &RunDir,
    ) -> Result<CommandResult, EngineError> {
        let argv = Argv::Shell(self.script.to_owned());
        self.run_as(argv, OUTPUT_TAIL_BYTES, before, sandbox, run).await
    }

    async fn run_as(
        self,
        argv: Argv,
        stdout_tail: usize,
        before: &mut Option<Unrecorded>,
        sandbox: &Sandbox,
        run: &RunDir,
    ) -> Result<CommandResult, EngineError> {
        if self.cap.wall.is_zero() {
            let rule = self.cap.rule;
            before.take().map_or(Ok(()), |before| before.record(run))?;
            return CommandResult::over(rule).keep(run, &self.prefix, self.script);
        }
        let prefix = self.prefix;
        run.make_parents(&prefix)?;
        let sink = |stream: &str, tail_bytes| OutputCaps {
            tail_bytes,
            sink: Some(OutputSink {
                path: run.path().join(format!("{prefix}_{stream}.txt")),
                max_bytes: OUTPUT_FILE_BYTES,
            }),
        };
        let spec = ExecSpec {
            argv,
            env: self.env,
            cwd: self.cwd,
            wall: self.cap.wall,
            // Nothing of a terminal's traffic is heard here.
            silence: self.terminal.is_none().then_some(self.silence),
            terminal: self.terminal,
            leftovers: self.leftovers,
            reach: self.reach,
            stdout: sink("stdout", stdout_tail),
            stderr: sink("stderr", OUTPUT_TAIL_BYTES),
        };
        let running = sandbox.exec(spec).await.inspect(|running| {
            sandbox.name_stage(running.stage(), &prefix);
        });
        before.take().map_or(Ok(()), |before| before.record(run))?;
        keep_command(run, &prefix, self.script)?;
        let outcome = running?.wait().await?;
        let mut result = CommandResult::new(outcome, self.cap.rule, self.author);
        result.undecided = self.undecided;
        *before = Some(Unrecorded {
            prefix,
            script: self.script.to_owned(),
            result: result.clone(),
        });
        Ok(result)
    }
}

fn keep_command(run: &RunDir, prefix: &str, script: &str) -> Result<(), EngineError> {
    run.keep(&format!("{prefix}_cmd.txt"), format!("{script}\n").as_bytes())?;
    Ok(())
}

impl CommandResult {
    fn new(outcome: ExecOutcome, wall_rule: &str, author: Blame) -> Self {
        let cap = if outcome.timed_out {
            Some(wall_rule.to_owned())
        } else {
            outcome.cap_hit
        };
        let mut denied = outcome.denied;
        for time in denied.iter_mut().filter(|denied| denied.what == "time") {
            // The rule that the cap came of.
            time.what = wall_rule.to_owned();
        }
        let timed_out = cap.as_ref().is_some_and(|cap| cap.ends_with("_seconds"));
        let (rc, signal) = match outcome.end {
            _ if timed_out => (TIMED_OUT, None),
            // A command that a cap killed never counts as passed, whatever it said.
            Termination::Code(0) if cap.is_some() => (137, None),
            Termination::Code(code) => (code, None),
            Termination::Signal(signal) => (128 + signal, Some(signal)),
        };
        let blame = match (rc, &cap) {
            (0, _) => None,
            (_, Some(_)) => Some(Blame::Budget),
            (_, None) => Some(author),
        };
        Self {
            rc,
            signal,
            timed_out,
            cap,
            denied,
            blame,
            undecided: None,
            usage: outcome.usage,
            leaked: outcome.leaked,
            leaked_total: outcome.leaked_total,
            stdout_bytes: outcome.stdout.total_bytes,
            stderr_bytes: outcome.stderr.total_bytes,
            stdout_truncated: outcome.stdout.truncated,
            stderr_truncated: outcome.stderr.truncated,
            rule: None,
            tails: [outcome.stdout.tail, outcome.stderr.tail],
        }
    }

    /// A command that was never run: `why` stands where its errors would.
    pub fn never_run(rc: i32, blame: Blame, why: &str) -> Self {
        let stderr = format!("{why}\n").into_bytes();
        Self {
            rc,
            blame: Some(blame),
            stderr_bytes: stderr.len() as u64,
            tails: [Vec::new(), stderr],
            ..Self::default()
        }
    }

    /// A command that policy refuses.
    pub fn refused(refusal: &Refusal) -> Self {
        let rule = refusal.to_string();
        Self {
            rule: Some(rule.clone()),
            denied: vec![Denied::by(Layer::Policy, escape(rule.as_bytes(), 300))],
            ..Self::never_run(REFUSED, Blame::Policy, &rule)
        }
    }

    /// A command whose stage or run was over before it began.
    fn over(rule: &str) -> Self {
        Self {
            timed_out: true,
            cap: Some(rule.to_owned()),
            denied: vec![Denied::by(Layer::Supervisor, rule)],
            ..Self::never_run(TIMED_OUT, Blame::Budget, &format!("{rule}_exceeded"))
        }
    }

    /// Keeps the artifacts of a command that was never run.
    pub fn keep(self, run: &RunDir, prefix: &str, script: &str) -> Result<Self, EngineError> {
        keep_command(run, prefix, script)?;
        for (stream, bytes) in ["stdout", "stderr"].iter().zip(&self.tails) {
            run.keep(&format!("{prefix}_{stream}.txt"), bytes)?;
        }
        self.record(run, prefix, script)?;
        Ok(self)
    }

    fn record(&self, run: &RunDir, prefix: &str, script: &str) -> Result<(), EngineError> {
        run.keep_json(&format!("{prefix}_result.json"), self)?;
        let executed = Executed {
            prefix,
            script,
            refused: self.rule.as_deref(),
            rc: self.rc,
            signal: self.signal,
            cap: self.cap.as_deref(),
            blame: self.blame,
        };
        executed.note(run)
    }

    /// Whether running it once more could end otherwise. Policy says the same again;
    /// a stage or run that is over stays so; a full disk stays full.
    pub fn may_be_repeated(&self) -> bool {
        let spent = ["max_total_seconds", "max_run_seconds", "disk"];
        self.blame != Some(Blame::Policy) && !self.cap.as_deref().is_some_and(|cap| spent.contains(&cap))
    }

    /// One line about why `script` failed.
    pub fn reason(&self, script: &str) -> String {
        let command = escape(script.as_bytes(), 120);
        let last_words = || escape(self.tails[1].trim_ascii(), 300);
        match (&self.cap, self.signal) {
            _ if self.blame == Some(Blame::Policy) => format!("`{command}` was refused: {}", last_words()),
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
