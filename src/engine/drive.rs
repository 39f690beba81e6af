//! The loop: asks the machine what to do, does it, feeds the event back.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    agent::{Agent, AgentConfig, Desk},
    broker::{ModelDoor, Usage},
    contract::Plan,
    engine::{
        EngineError, OutsideAgent, Stop,
        author::Ledgers,
        carried::{Carried, Slot},
        facts::{self, Seed},
        judge::{Judge, Verification},
        past::At,
        turn::UnderWay,
        workspace::Workspace,
    },
    fsm::{Blame, Command, Event, Machine, PlanEdit, PlanView, Position, Prompts, Purpose, Step},
    names::RelPath,
    policy::{Said, SettingValue},
    record::{Chronicle, RunDir},
    report::{Happening, Reporter, escape},
    sandbox::Backend,
};

/// Largest plan that is read.
const PLAN_BYTES: u64 = 1 << 20;

/// Everything a run needs, once the target is copied and the door is open.
pub(super) struct Parts<'a> {
    pub backend: &'a Backend,
    pub run: &'a RunDir,
    pub reporter: &'a Reporter,
    pub judge: Judge<'a>,
    pub prompts: Prompts,
    pub plan: RelPath,
    pub contract: RelPath,
    pub seeds: Vec<Seed>,
    pub door: &'a ModelDoor,
    pub agent_config: AgentConfig,
    /// The user's server, where the agent works there.
    pub outside: Option<OutsideAgent>,
    pub machine: Machine,
    pub chronicle: Chronicle<'a>,
    pub workspace: Workspace,
    /// When the run, or this life of it, began, and what was used up before.
    pub began: Instant,
    pub used: Duration,
    /// When the run's wall budget is used up.
    pub deadline: Instant,
    /// The policy's cap on turns.
    pub turns: Option<Said<SettingValue>>,
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
    /// Tokens, as the agent reports them.
    pub told: Usage,
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
    pub(super) agent: Option<Agent>,
    pub(super) snapshot: String,
    /// What the next snapshot tells besides the facts.
    pub(super) news: Option<String>,
    /// Time spent waiting for agent and stages in this iteration.
    pub(super) waited: Duration,
    /// The turn that is being taken.
    pub(super) under_way: Option<UnderWay>,
    slot: Slot,
}

impl<'a> Drive<'a> {
    /// A run about to begin; `news` is told in the first snapshot, `before` were the turns in
    /// which its contract was written.
    pub fn new(parts: Parts<'a>, news: Option<String>, before: Ledgers) -> Self {
        Self {
            parts,
            tally: Tally {
                turns: before.turns,
                guard_events: before.guard_events,
                told: before.told,
                ..Tally::default()
            },
            agent: None,
            snapshot: String::new(),
            news,
            waited: Duration::ZERO,
            under_way: None,
            slot: Slot::default(),
        }
    }

    /// A run that was cut off, with what was carried over.
    pub fn again(parts: Parts<'a>, carried: &Carried, slot: Slot) -> Self {
        Self {
            tally: carried.tally(),
            snapshot: carried.snapshot.clone(),
            slot,
            ..Self::new(parts, carried.news.clone(), Ledgers::default())
        }
    }

    /// Keeps what a run that is cut off now is gone on with.
    fn carry(&mut self) -> Result<(), EngineError> {
        let Parts {
            run,
            workspace,
            chronicle,
            began,
            used,
            ..
        } = &self.parts;
        let step = workspace.last_step().map(|(number, _)| number);
        let (news, used) = (self.news.as_deref(), *used + began.elapsed());
        let carried = Carried::of(&self.snapshot, news, &self.tally, step, used, chronicle.state());
        carried.keep(run, &mut self.slot)
    }

    /// Drives the machine to its end. Signals and the run's deadline interrupt
    /// whatever is being done; what it ran is killed with its sandbox.
    pub async fn drive(&mut self, at: At, stop: &mut Stop) -> Result<(), EngineError> {
        let mut at = at;
        let mut began = Instant::now();
        loop {
            let command = self.decide(at)?;
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
            let event = tokio::select! {
                biased;
                signal = stop.requested() => Event::Interrupted { signal },
                () = tokio::time::sleep_until(deadline.into()) => Event::BudgetExhausted("the run's wall time is used up".to_owned()),
                event = self.perform(command) => event?,
            };
            // A turn that ended by itself has been recorded; this one was broken off.
            if let Some(turn) = self.under_way.take() {
                let (blame, why) = match &event {
                    Event::Interrupted { signal } => (Blame::User, format!("signal {signal} came")),
                    _ => (Blame::Budget, "the run's wall time is used up".to_owned()),
                };
                turn.abandoned(self.parts.run, blame, why)?;
            }
            at = At::Event(event);
        }
    }

    /// Tells the machine what happened, and what it decides is a record before it is done.
    fn decide(&mut self, at: At) -> Result<Command, EngineError> {
        let event = match at {
            At::Command(command) => return Ok(command),
            At::Told(event) => event,
            At::Event(event) => {
                self.carry()?;
                self.parts.run.journal("event", &event)?;
                event
            }
        };
        self.parts.chronicle.happened(&self.parts.machine, &event)?;
        let command = self.parts.machine.advance(event);
        self.parts
            .run
            .journal("command", &json!({"machine": self.parts.machine, "command": command}))?;
        self.parts.chronicle.moved(&self.parts.machine)?;
        Ok(command)
    }

    /// Ends what lives in the agent's sandbox.
    pub async fn close(&mut self) -> Result<(), EngineError> {
        if let (Some(mut agent), Some(desk)) = (self.agent.take(), self.parts.workspace.desk())
            && matches!(desk, Desk::Outside { .. })
        {
            agent.abandon(desk).await;
        }
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
                    self.news.take().as_deref(),
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
        let (backend, path) = (self.parts.backend, &self.parts.plan);
        match self.parts.workspace.write(backend, path, text.as_bytes()).await {
            Err(EngineError::Sandbox(why)) => {
                self.replace_sandbox(&why).await?;
                let (backend, path) = (self.parts.backend, &self.parts.plan);
                self.parts.workspace.write(backend, path, text.as_bytes()).await?;
            }
            other => other?,
        }
        Ok(Event::PlanRewritten)
    }

    pub(super) fn view_plan(&self) -> Result<PlanView, EngineError> {
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
