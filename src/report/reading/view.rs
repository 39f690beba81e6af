//! What a run's directory says, in one value. Texts are escaped and bounded; times are
//! milliseconds, and moments are milliseconds since the run began.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::text::Preview;

/// Version of [`RunView`].
pub(super) const VERSION: u32 = 1;

/// One run.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct RunView {
    /// 1; it rises when a field changes its meaning.
    pub version: u32,
    /// Its id, else the name of its directory.
    pub id: String,
    /// The target, as it was given.
    pub target: String,
    /// The contract, relative to the target.
    pub contract: String,
    /// Where it comes from, where that is no directory.
    pub source: Option<String>,
    /// What was to be achieved, line by line, as the plan has it.
    pub goal: Vec<String>,
    /// `provider/model`; empty without an agent.
    pub model: String,
    /// The version of this program that made it.
    pub tool_version: Option<String>,
    /// OpenCode's.
    pub opencode_version: Option<String>,
    /// The host's system.
    pub host: Option<String>,
    /// What built the walls.
    pub backend: Option<String>,
    /// The digest of the policy that it ran by.
    pub policy_digest: Option<String>,
    /// The policy's files, the lowest first.
    pub policy_layers: Vec<String>,
    /// When it began, RFC 3339.
    pub began: Option<String>,
    /// The same in milliseconds since 1970.
    pub began_ms: Option<i64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Done steps of the plan, as `ID text`.
    pub done: Vec<String>,
    /// Next.
    pub next: Vec<String>,
    /// Backlog.
    pub backlog: Vec<String>,
    /// Sums over all of it.
    pub totals: Totals,
    /// What the machine did, in order.
    pub timeline: Vec<Span>,
    /// The run by iterations; 0 is what came before the first one.
    pub iterations: Vec<Iteration>,
    /// What the guard took back.
    pub guard: Vec<GuardView>,
    /// Accepted changes.
    pub changes: Vec<ChangeView>,
    /// Accepted changes that are not listed.
    pub more_changes: u64,
    /// The accepted changes as a patch.
    pub patch: Option<Preview>,
    /// Changes that could not be copied out.
    pub refused: Vec<Refused>,
    /// The numbers of the metrics, over the iterations.
    pub metrics: Vec<Series>,
    /// The last verification's metrics, as they are.
    pub last_metrics: Option<Value>,
    /// How strong the walls were.
    pub tier: Option<String>,
    /// The walls.
    pub walls: Vec<WallView>,
    /// The commands that took longest.
    pub heaviest: Vec<CommandView>,
    /// What went out of the sandbox, or wanted to; `None` where no ledger was kept.
    pub network: Option<Network>,
    /// What could not be read, or is not shown.
    pub notes: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Outcome {
    /// What it comes to.
    pub ending: Ending,
    /// `DONE`, `VERIFICATION_FAILED`, …
    pub reason: String,
    /// One line about it.
    pub detail: String,
    /// The exit code of the program.
    pub exit_code: Option<u64>,
    /// Who failed.
    pub blame: Option<String>,
    /// Where the evidence lies, relative to the run's directory.
    pub evidence: Option<String>,
    /// The last verification passed.
    pub verified: bool,
    /// The changes were brought to the target.
    pub applied: bool,
    /// From beginning to end.
    pub ms: Option<u64>,
}

/// What an outcome comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It has not ended, or its record was cut off.
    #[default]
    Open,
    /// It reached its goal, or the verification passed.
    Passed,
    /// It did not.
    Failed,
    /// The sandbox, the host, the provider or a signal kept it from an answer.
    Broken,
}

impl Ending {
    /// By the exit code (README, table of exit codes).
    pub(super) fn of(exit_code: u64) -> Self {
        match exit_code {
            0 => Self::Passed,
            1 | 3 | 4 | 6 => Self::Failed,
            _ => Self::Broken,
        }
    }
}

/// Sums.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Totals {
    /// Iterations begun.
    pub iterations: u64,
    /// Turns of the agent.
    pub turns: u64,
    /// Turns that failed.
    pub failed_turns: u64,
    /// Tool calls.
    pub tool_calls: u64,
    /// Tool calls that failed or were denied.
    pub failed_calls: u64,
    /// Verifications.
    pub verifications: u64,
    /// Those that failed.
    pub failed_verifications: u64,
    /// Phases in which the guard took something back.
    pub guard: u64,
    /// Model calls.
    pub calls: u64,
    /// Model calls that failed.
    pub failed_model_calls: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// Some of the tokens were estimated from bytes.
    pub estimated: bool,
    /// Bytes of all requests to the model.
    pub request_bytes: u64,
    /// Time spent waiting for the model.
    pub model_ms: u64,
    /// Cost, as the agent reports it, in the provider's currency; `None` where it reports none.
    pub cost: Option<f64>,
    /// Processor time of all commands of verifications.
    pub cpu_ms: u64,
    /// The largest resident size of one of their processes.
    pub peak_rss_bytes: u64,
    /// Processes that were killed at the end of a command or a turn.
    pub leaked: u64,
    /// Where the time went.
    pub shares: Vec<Share>,
}

/// How much of the time one kind of work took.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Share {
    /// What.
    pub kind: SpanKind,
    /// How long, in all.
    pub ms: u64,
    /// How often.
    pub count: u64,
}

/// Kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SpanKind {
    /// Copying, bootstrap, whatever comes before the first state.
    Prepare,
    /// Facts are collected.
    Snapshot,
    /// The agent brings the plan in order.
    Plan,
    /// The agent carries out a step.
    Step,
    /// The agent repairs or re-plans.
    Fix,
    /// The contract runs.
    Verify,
    /// The machine rewrites the plan.
    Decide,
}

/// One thing that the machine did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Span {
    /// What.
    pub kind: SpanKind,
    /// In which iteration.
    pub iteration: u64,
    /// `STEP_ID` of the step in hand.
    pub step: Option<String>,
    /// When it began.
    pub at: u64,
    /// How long it took; `None` where it has no end.
    pub ms: Option<u64>,
    /// Whether it went well, where that can be said.
    pub ok: Option<bool>,
    /// One line about it.
    pub note: Option<String>,
    /// The turn that it was, counted from 1.
    pub turn: Option<u64>,
}

/// One iteration.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Iteration {
    /// Which, from 1.
    pub number: u64,
    /// The step that was in hand.
    pub step: Option<StepView>,
    /// When it began.
    pub at: u64,
    /// How long it took.
    pub ms: u64,
    /// Where its spans lie in the timeline: the first one, and how many.
    pub spans: (usize, usize),
    /// The agent's turns.
    pub turns: Vec<TurnView>,
    /// What the contract said; with bootstrap's before it, or those of a run without an agent.
    pub verifications: Vec<VerificationView>,
    /// Whether its details were read.
    pub detailed: bool,
}

/// A turn or a verification.
#[derive(Clone, Copy, Debug)]
pub enum Episode<'a> {
    /// A turn of the agent, and what it was for.
    Turn(SpanKind, &'a TurnView),
    /// A verification.
    Verification(&'a VerificationView),
}

impl RunView {
    /// What happened in an iteration, in order.
    pub fn episodes<'a>(&'a self, one: &'a Iteration) -> Vec<Episode<'a>> {
        let (from, count) = one.spans;
        let spans = self.timeline.get(from..from + count).unwrap_or_default();
        let kind = |turn: &TurnView| {
            let span = spans.iter().find(|span| span.turn == Some(turn.number));
            span.map_or(SpanKind::Step, |span| span.kind)
        };
        let mut all: Vec<Episode> = one.turns.iter().map(|turn| Episode::Turn(kind(turn), turn)).collect();
        // The contract runs after the step, before what repairs it.
        let verified = spans.iter().position(|span| span.kind == SpanKind::Verify);
        let before = verified.map_or(all.len(), |at| {
            spans[..at]
                .iter()
                .filter(|span| span.turn.is_some())
                .count()
                .min(all.len())
        });
        all.splice(before..before, one.verifications.iter().map(Episode::Verification));
        all
    }
}

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

/// One number of the metrics over the iterations.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Series {
    /// Its name, dotted.
    pub name: String,
    /// Iterations and values, in order.
    pub points: Vec<(u64, f64)>,
}

/// One wall.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WallView {
    /// Its name.
    pub name: String,
    /// `enforced`, `degraded` or `absent`.
    pub state: String,
    /// Why it is not as asked.
    pub why: Option<String>,
}

/// What went out of the sandbox, or wanted to.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Network {
    /// Attempts that were allowed.
    pub allowed: u64,
    /// Attempts that were not.
    pub refused: u64,
    /// Bytes out.
    pub up: u64,
    /// Bytes in.
    pub down: u64,
    /// By host and verdict, the refused ones first.
    pub destinations: Vec<Destination>,
    /// Attempts at further hosts, which are not listed.
    pub more: u64,
}

/// One host that was asked for.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Destination {
    /// The host as it was given, and the port.
    pub host: String,
    /// `allowed`, `refused`, `failed` or `cut`.
    pub verdict: String,
    /// How often.
    pub count: u64,
    /// Bytes out.
    pub up: u64,
    /// Bytes in.
    pub down: u64,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Why it was refused.
    pub why: Option<String>,
    /// For whom: the stage or `agent`, of the first one.
    pub stage: Option<String>,
    /// The process that asked, of the first one; it chooses its name itself.
    pub process: Option<String>,
}
