//! What happened in an iteration: turns of the agent, verifications, and what the guard took
//! back, as parts of a [`super::RunView`].

use schemars::JsonSchema;
use serde::Serialize;

use super::text::Preview;

/// What the guard let stay of a turn.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Accepted {
    /// The number of the accepted state that it led to.
    pub checkpoint: u64,
    /// Paths that it changed.
    pub changes: u64,
    /// The difference, as it was measured; only with details.
    pub patch: Option<Preview>,
}

/// A step of the plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StepView {
    /// Its `STEP_ID`.
    pub id: String,
    /// Its text.
    pub text: String,
}

/// One turn of the agent.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct TurnView {
    /// How its files are called, without their endings.
    #[serde(skip)]
    pub(super) base: String,
    /// Counted from 1 over the run.
    pub number: u64,
    /// Its name: `execute_step`, …
    pub label: String,
    /// When it began.
    pub at: Option<u64>,
    /// How long it took.
    pub ms: Option<u64>,
    /// `completed`, `timed-out`, …
    pub end: Option<String>,
    /// It came to its end.
    pub ok: bool,
    /// Who failed.
    pub blame: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What was wrong with the try before, as it was told to the agent.
    pub findings: Vec<String>,
    /// The agent's last words.
    pub text: String,
    /// Tool calls made.
    pub tool_calls: u64,
    /// Those that failed or were denied.
    pub failed_calls: Vec<String>,
    /// Requests of the agent that were refused.
    pub refused_asks: Vec<String>,
    /// Model calls, as the door counted them.
    pub calls: u64,
    /// Tokens sent, as the door counted them, else as the agent reports them.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// Cost, as the agent reports it.
    pub cost: Option<f64>,
    /// What the guard took back after it, as an index into the run's list.
    pub guard: Option<usize>,
    /// What of its changes stayed; `None` where the phase was taken back, and in older runs.
    pub accepted: Option<Accepted>,
    /// What it was asked; only with details.
    pub prompt: Option<Preview>,
    /// What it did; only with details.
    pub acts: Vec<Act>,
    /// Further acts that are not shown.
    pub more_acts: u64,
}

/// One thing that the agent said or did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Act {
    /// What it is.
    pub kind: ActKind,
    /// The tool that was called; else empty.
    pub tool: String,
    /// What tells the call from another: a path, a pattern, a description.
    pub about: String,
    /// `completed`, `error`, …; of a tool call.
    pub status: Option<String>,
    /// How long the call took.
    pub ms: Option<u64>,
    /// The exit code of a shell command.
    pub exit: Option<i64>,
    /// What was said, or the call's arguments.
    pub body: Preview,
    /// What came back.
    pub output: Option<Preview>,
    /// The change, as the tool reports it: the agent's own word.
    pub diff: Option<Preview>,
}

/// Kinds of acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActKind {
    /// The agent said something.
    Text,
    /// It thought aloud.
    Reasoning,
    /// It called a tool.
    Tool,
}

/// A finding of the audit.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AuditView {
    /// What is wrong.
    pub rule: String,
    /// The file, relative to the target.
    pub file: String,
    /// The line in it.
    pub line: u64,
    /// What stands there.
    pub text: String,
}

/// One verification, or making what bootstrap makes.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct VerificationView {
    /// What the audit found about how its scores came about.
    pub audit: Vec<AuditView>,
    /// Its directory in the run.
    pub directory: String,
    /// Whether every stage passed.
    pub ok: bool,
    /// The first that did not.
    pub failed_stage: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who failed.
    pub blame: Option<String>,
    /// The cap that ended it.
    pub cap: Option<String>,
    /// Where the evidence lies, relative to the run's directory.
    pub evidence: Option<String>,
    /// How long it took.
    pub ms: u64,
    /// Its stages.
    pub stages: Vec<StageView>,
    /// What is wrong with the metrics.
    pub metrics_errors: Vec<String>,
    /// Outputs that were not copied out.
    pub refused: Vec<Refused>,
    /// Failures of the sandbox, after each of which it all began anew.
    pub sandbox_failures: Vec<String>,
    /// Commands that are there and not listed.
    pub more_commands: u64,
}

/// One stage.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct StageView {
    /// Its name.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// Exit code of the command that failed, else of the last one.
    pub rc: Option<i64>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Who failed.
    pub blame: Option<String>,
    /// The cap that ended it.
    pub cap: Option<String>,
    /// How long it took.
    pub ms: u64,
    /// Commands run, repetitions included.
    pub ran: u64,
    /// Processes that were killed at the end of its commands.
    pub leaked: u64,
    /// Its commands; only with details.
    pub commands: Vec<CommandView>,
}

/// One command of a stage, once.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct CommandView {
    /// Where its files lie: the beginning of their names, relative to the run's directory.
    pub prefix: String,
    /// The command, in one line.
    pub command: String,
    /// Its number in the stage, from 1.
    pub index: u64,
    /// Which try it is, from 1.
    pub attempt: u64,
    /// Exit code.
    pub rc: Option<i64>,
    /// The cap that ended it.
    pub cap: Option<String>,
    /// Who failed.
    pub blame: Option<String>,
    /// How long it took.
    pub ms: u64,
    /// Processor time.
    pub cpu_ms: u64,
    /// The largest resident size of one of its processes.
    pub rss_bytes: u64,
    /// What it printed; only with details.
    pub stdout: Option<Preview>,
    /// What it printed as errors; only with details.
    pub stderr: Option<Preview>,
}

/// What the guard took back after a phase.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct GuardView {
    /// The record, relative to the run's directory.
    pub file: String,
    /// What the agent was doing.
    pub phase: String,
    /// In which iteration, where that is known.
    pub iteration: Option<u64>,
    /// After which turn.
    pub turn: Option<u64>,
    /// Each change that did not stay.
    pub refused: Vec<Evidence>,
    /// Changes that did not stay and are not listed.
    pub more: u64,
    /// The whole phase was taken back and repeated.
    pub violation: bool,
    /// The difference that was taken back.
    pub patch: Option<Preview>,
}

/// One change that did not stay.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Evidence {
    /// The path, relative to the target, escaped.
    pub path: String,
    /// `added`, `modified` or `deleted`.
    pub kind: String,
    /// `violation`, `dropped` or `restored`.
    pub ruling: String,
    /// The rule.
    pub because: String,
}

/// An accepted change.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChangeView {
    /// The path.
    pub path: String,
    /// `added`, `modified` or `deleted`.
    pub kind: String,
}

/// Something that was not copied out.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Refused {
    /// The path.
    pub path: String,
    /// Why.
    pub why: String,
}
