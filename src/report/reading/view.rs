//! What a run's directory says, in one value. Texts are escaped and bounded; times are
//! milliseconds, and moments are milliseconds since the run began.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    episode::{ChangeView, CommandView, GuardView, Refused, StepView, TurnView, VerificationView},
    text::Preview,
};

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
