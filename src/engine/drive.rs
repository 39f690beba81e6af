//! The loop: asks the machine what to do, does it, feeds the event back.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::{
    agent::{Agent, AgentConfig, Turn, TurnEnd, TurnReport},
    broker::{Exhausted, ModelDoor},
    contract::Plan,
    engine::{
        EngineError, Stop,
        facts::{self, Seed},
        judge::{Judge, Verification},
        workspace::{Settled, Workspace},
    },
    fsm::{
        Command, Event, Evidence, Machine, PlanEdit, PlanView, Position, Prompts, Purpose, Step, TurnFailure,
        TurnResult,
    },
    guard::{Judged, Phase, Ruling},
    names::RelPath,
    record::{Answer, Chronicle, RunDir},
    report::{Happening, Reporter, escape},
    sandbox::{SandboxError, jail::Jail},
};

/// Largest plan that is read.
const PLAN_BYTES: u64 = 1 << 20;

/// What the guard took back after a phase, as `guard/NNNN-LABEL.json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct TakenBack<'a> {
    /// What the agent was doing.
    phase: Phase,
    /// Each change that did not stay.
    refused: &'a [&'a Judged],
}

/// Everything a run needs, once the target is copied and the door is open.
pub(super) struct Parts<'a> {
    pub jail: &'a Jail,
    pub run: &'a RunDir,
    pub reporter: &'a Reporter,
    pub judge: Judge<'a>,
    pub prompts: Prompts,
    pub plan: RelPath,
    pub contract: RelPath,
    pub seeds: Vec<Seed>,
    pub door: &'a ModelDoor,
    pub agent_config: AgentConfig,
    pub machine: Machine,
    pub chronicle: Chronicle<'a>,
    pub workspace: Workspace,
    /// When the run's wall budget is used up.
    pub deadline: Instant,
}

/// What a run has come to so far.
#[derive(Default)]
pub(super) struct Tally {
    /// The last verification.
    pub last: Option<Verification>,
    /// Phases in which the guard took something back.
    pub guard_events: u64,
    /// Agent turns.
    pub turns: u64,
    /// The engine's own time per iteration, turns and stages excluded.
    pub own_time: Vec<Duration>,
}

impl Tally {
    /// The engine's own time per iteration in milliseconds: median and largest.
    pub fn own_ms(&self) -> Option<(u64, u64)> {
        let mut millis: Vec<u64> = self
            .own_time
            .iter()
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            .collect();
        millis.sort_unstable();
        Some((*millis.get(millis.len() / 2)?, *millis.last()?))
    }
}

/// A run under way.
pub(super) struct Drive<'a> {
    pub parts: Parts<'a>,
    pub tally: Tally,
    agent: Option<Agent>,
    snapshot: String,
    waited: Duration,
}

impl<'a> Drive<'a> {
    /// A run about to begin.
    pub fn new(parts: Parts<'a>) -> Self {
        Self {
            parts,
            tally: Tally::default(),
            agent: None,
            snapshot: String::new(),
            waited: Duration::ZERO,
        }
    }

    /// Drives the machine to its end. Signals and the run's deadline interrupt
    /// whatever is being done; what it ran is killed with its sandbox.
    pub async fn drive(&mut self, stop: &mut Stop) -> Result<(), EngineError> {
        let mut event = Event::Begin;
        let mut began = Instant::now();
        loop {
            self.parts.run.journal("event", &event)?;
            self.parts.chronicle.happened(&self.parts.machine, &event)?;
            let command = self.parts.machine.advance(event);
            self.parts
                .run
                .journal("command", &json!({"machine": self.parts.machine, "command": command}))?;
            self.parts.chronicle.moved(&self.parts.machine)?;
            self.tell();
            if matches!(command, Command::Snapshot | Command::End(_)) && self.parts.machine.iteration() > 1 {
                self.tally.own_time.push(began.elapsed().saturating_sub(self.waited));
                began = Instant::now();
                self.waited = Duration::ZERO;
            }
            if let Command::End(_) = command {
                return Ok(());
            }
            let deadline = self.parts.deadline;
            event = tokio::select! {
                biased;
                signal = stop.requested() => Event::Interrupted { signal },
                () = tokio::time::sleep_until(deadline.into()) => Event::BudgetExhausted("the run's wall time is used up".to_owned()),
                event = self.perform(command) => event?,
            };
        }
    }

    /// Ends what lives in the agent's sandbox.
    pub async fn close(&mut self) -> Result<(), EngineError> {
        self.agent = None;
        self.parts.workspace.close_agent().await
    }

    fn tell(&self) {
        let machine = &self.parts.machine;
        let concerned = match machine.position() {
            Position::Turn {
                purpose: Purpose::PlanUpdate,
                ..
            }
            | Position::Ready
            | Position::Snapshot
            | Position::Ended(_) => None,
            Position::Turn { .. } | Position::Verify | Position::RewritePlan => machine.step(),
        };
        self.parts.reporter.say(Happening::State {
            state: machine.position().name().to_owned(),
            iteration: machine.iteration(),
            step: concerned.map(|step| escape(format!("{} {}", step.id, step.text).as_bytes(), 200)),
        });
    }

    async fn perform(&mut self, command: Command) -> Result<Event, EngineError> {
        match command {
            Command::Snapshot => {
                self.snapshot = facts::snapshot(
                    &self.parts.workspace,
                    &self.parts.plan,
                    &self.parts.contract,
                    &self.parts.seeds,
                )?;
                Ok(Event::SnapshotTaken)
            }
            Command::Turn {
                purpose,
                try_number,
                findings,
            } => self.turn(purpose, try_number, &findings).await,
            Command::Verify => self.verify().await,
            Command::RewritePlan(edit) => self.rewrite(edit).await,
            // The machine has ended; the loop never asks for this.
            Command::End(end) => Ok(Event::SandboxFailed(end.detail)),
        }
    }

    async fn verify(&mut self) -> Result<Event, EngineError> {
        let name = format!("iter_{:04}", self.parts.machine.iteration());
        let began = Instant::now();
        let verification = self.parts.judge.verify(&mut self.parts.workspace, &name).await?;
        self.waited += verification
            .stages
            .iter()
            .map(|s| Duration::from_millis(s.wall_ms))
            .sum::<Duration>()
            .min(began.elapsed());
        self.parts.chronicle.verified(verification.judgement(&name))?;
        let verdict = verification.verdict();
        self.tally.last = Some(verification);
        Ok(Event::Verified(verdict))
    }

    async fn rewrite(&mut self, edit: PlanEdit) -> Result<Event, EngineError> {
        let bytes = self
            .parts
            .workspace
            .read(&self.parts.plan, PLAN_BYTES)?
            .unwrap_or_default();
        let plan = match Plan::parse(&bytes) {
            Ok(plan) => plan,
            Err(errors) => return Err(EngineError::Contract(format!("{}: {errors}", self.parts.plan))),
        };
        let text = match edit {
            PlanEdit::MarkDone => plan.mark_done(),
            PlanEdit::Block { why } => plan.block(&why),
        };
        self.parts
            .workspace
            .write(self.parts.jail, &self.parts.plan, text.as_bytes())
            .await?;
        Ok(Event::PlanRewritten)
    }

    async fn turn(&mut self, purpose: Purpose, try_number: u32, findings: &[String]) -> Result<Event, EngineError> {
        let evidence = self.tally.last.as_ref().map(|v| v.evidence.clone()).unwrap_or_default();
        let prompt = self.prompt(purpose, try_number, &evidence, findings)?;
        let label = purpose.label(try_number);
        self.parts.door.begin_turn(&label);
        self.tally.turns += 1;
        let base = format!("turns/{:04}-{label}", self.tally.turns);
        self.parts.run.write(&format!("{base}.prompt.md"), prompt.as_bytes())?;
        self.parts.chronicle.asked(&label, &prompt)?;
        let events = self.parts.run.path().join(format!("{base}.events.jsonl"));
        let turn = Turn {
            label: label.clone(),
            phase: purpose.phase(),
            prompt,
            events,
        };
        let began = Instant::now();
        let report = self.ask(&turn).await;
        self.waited += began.elapsed();
        let result = match &report {
            Ok(report) => {
                self.parts.run.adopt(&format!("{base}.events.jsonl"))?;
                self.parts.run.write_json(&format!("{base}.json"), report)?;
                let answer = Answer {
                    text: &report.text,
                    tool_calls: report.tool_calls,
                    failed_calls: &report.failed_calls,
                    wall_ms: report.wall_ms,
                };
                self.parts.chronicle.answered(&label, answer)?;
                self.turn_result(report)
            }
            // No later try would build what this host cannot build now.
            Err(EngineError::Sandbox(why @ (SandboxError::Build { .. } | SandboxError::TierTooLow { .. }))) => {
                return Ok(Event::SandboxFailed(why.to_string()));
            }
            Err(why) => TurnResult::Failed(TurnFailure::Agent(why.to_string())),
        };
        let discard = result != TurnResult::Completed;
        let settled = self.settle(purpose, discard).await?;
        self.keep_evidence(&label, purpose, &settled)?;
        if let Some(why) = self.run_exhausted() {
            return Ok(Event::BudgetExhausted(why));
        }
        let violations = if discard { Vec::new() } else { settled.violations() };
        Ok(Event::TurnOver {
            result,
            violations,
            plan: self.view_plan()?,
        })
    }

    fn prompt(
        &self,
        purpose: Purpose,
        try_number: u32,
        evidence: &Evidence,
        findings: &[String],
    ) -> Result<String, EngineError> {
        let step = self.parts.machine.step();
        Ok(self
            .parts
            .prompts
            .render(purpose, try_number, step, &self.snapshot, evidence, findings)?)
    }

    /// One turn, starting sandbox and server when they are not there.
    async fn ask(&mut self, turn: &Turn) -> Result<TurnReport, EngineError> {
        if self.agent.is_none() || self.parts.workspace.agent().is_none() {
            self.agent = None;
            let sandbox = self.parts.workspace.open_agent(self.parts.jail).await?;
            if self.tally.turns == 1 {
                self.parts.run.write_json("walls.json", sandbox.walls())?;
                self.parts.reporter.say(Happening::Walls {
                    report: sandbox.walls().clone(),
                });
            }
            let door = sandbox.listen(sandbox.inside().model_port).await?;
            self.parts.door.serve(door);
            self.agent = Some(Agent::start(sandbox, self.parts.agent_config.clone()).await?);
        }
        let (Some(agent), Some(sandbox)) = (self.agent.as_mut(), self.parts.workspace.agent()) else {
            return Err(EngineError::Usage("no agent".to_owned()));
        };
        let (reporter, door) = (self.parts.reporter, self.parts.door);
        let tell = |line: &str| {
            let (_, total) = door.usage();
            reporter.say(Happening::Agent {
                line: line.to_owned(),
                calls: total.calls,
                tokens: total.input_tokens + total.output_tokens,
            });
        };
        Ok(agent.turn(sandbox, turn, &tell).await?)
    }

    fn turn_result(&self, report: &TurnReport) -> TurnResult {
        use Exhausted::{CassetteEnded, ProviderErrors, TurnCalls, TurnTime, TurnTokens};
        let failure = match (self.parts.door.exhausted(), &report.end) {
            (Some(TurnCalls), _) => TurnFailure::Time("the turn's budget of model calls is used up".to_owned()),
            (Some(TurnTokens), _) => TurnFailure::Time("the turn's budget of tokens is used up".to_owned()),
            (Some(TurnTime), _) => TurnFailure::Time("the turn's budget of model time is used up".to_owned()),
            (Some(CassetteEnded), _) => {
                TurnFailure::Provider(format!("the cassette holds no further answer for `{}`", report.label))
            }
            (Some(ProviderErrors), _) => TurnFailure::Provider("the provider kept failing".to_owned()),
            (_, TurnEnd::Completed) => return TurnResult::Completed,
            (_, TurnEnd::TimedOut) => TurnFailure::Time(format!("`{}` ran into its wall cap", report.label)),
            (_, TurnEnd::Stalled) => TurnFailure::Time(format!("`{}` fell silent", report.label)),
            (_, TurnEnd::Provider(why)) => TurnFailure::Provider(why.clone()),
            (_, TurnEnd::Agent(why) | TurnEnd::ServerDied(why)) => TurnFailure::Agent(why.clone()),
        };
        TurnResult::Failed(failure)
    }

    /// Judges the phase; a sandbox that died in it is replaced by one on the
    /// last accepted state, which takes back all that the phase did.
    async fn settle(&mut self, purpose: Purpose, discard: bool) -> Result<Settled, EngineError> {
        let server = self.agent.as_ref().map(Agent::stage);
        match self
            .parts
            .workspace
            .settle(self.parts.jail, server, purpose.phase(), discard)
            .await
        {
            Ok(settled) => {
                if discard {
                    // Whatever the failed turn's server still has in hand goes with it.
                    self.close().await?;
                }
                Ok(settled)
            }
            Err(EngineError::Sandbox(why)) => {
                self.parts.reporter.say(Happening::Warning {
                    text: format!("the agent's sandbox is replaced: {why}"),
                });
                self.close().await?;
                Ok(Settled {
                    judged: Vec::new(),
                    evidence: Vec::new(),
                    leaked: 0,
                })
            }
            Err(other) => Err(other),
        }
    }

    fn keep_evidence(&mut self, label: &str, purpose: Purpose, settled: &Settled) -> Result<(), EngineError> {
        if settled.leaked > 0 {
            self.parts
                .run
                .journal("leaked", &json!({"label": label, "processes": settled.leaked}))?;
        }
        let refused: Vec<_> = settled.judged.iter().filter(|j| j.ruling != Ruling::Allowed).collect();
        if refused.is_empty() {
            return Ok(());
        }
        self.tally.guard_events += 1;
        let base = format!("guard/{:04}-{label}", self.tally.guard_events);
        self.parts.run.write(&format!("{base}.patch"), &settled.evidence)?;
        self.parts.run.write_json(
            &format!("{base}.json"),
            &TakenBack {
                phase: purpose.phase(),
                refused: &refused,
            },
        )?;
        self.parts.chronicle.guarded(purpose.phase(), &refused)?;
        self.parts.run.journal(
            "guard",
            &json!({"phase": purpose.phase(), "refused": refused, "evidence": format!("{base}.patch")}),
        )?;
        for judged in &refused {
            self.parts.reporter.say(Happening::Guard {
                phase: purpose.phase(),
                ruling: judged.ruling,
                path: judged.change.path.to_string(),
                because: judged.because.clone(),
            });
        }
        Ok(())
    }

    fn run_exhausted(&self) -> Option<String> {
        match self.parts.door.exhausted()? {
            Exhausted::RunCalls => Some("the run's budget of model calls is used up".to_owned()),
            Exhausted::RunTokens => Some("the run's budget of tokens is used up".to_owned()),
            Exhausted::RunTime => Some("the run's budget of model time is used up".to_owned()),
            _ => None,
        }
    }

    fn view_plan(&self) -> Result<PlanView, EngineError> {
        let bytes = match self.parts.workspace.read(&self.parts.plan, PLAN_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(PlanView::Broken(vec![format!("`{}` does not exist", self.parts.plan)])),
            Err(EngineError::Tree(why)) => return Ok(PlanView::Broken(vec![format!("`{}`: {why}", self.parts.plan)])),
            Err(other) => return Err(other),
        };
        Ok(match Plan::parse(&bytes) {
            Ok(plan) => PlanView::Parsed {
                next: plan.next_step().map(|s| Step { id: s.id, text: s.text }),
                backlog_open: plan.backlog_open(),
            },
            Err(errors) => PlanView::Broken(errors.lines()),
        })
    }

    /// What is left once it has ended.
    pub fn into_parts(self) -> (Parts<'a>, Tally) {
        (self.parts, self.tally)
    }
}
