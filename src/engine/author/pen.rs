//! One turn of an agent that writes or repairs a contract.

use serde_json::json;

use super::trace::{self, Call};
use crate::{
    agent::{Agent, AgentConfig, Turn},
    broker::{ModelDoor, Usage},
    engine::{
        EngineError, OutsideAgent,
        bootstrap::Bootstrap,
        evidence,
        turn::UnderWay,
        turns::{self, Engaged, Witnesses},
        workspace::{Settled, Workspace},
    },
    fsm::{Blame, TurnFailure},
    guard::{Phase, Ruling},
    report::escape,
    sandbox::{Backend, SandboxError},
};

/// What counts its turns and what is taken back in them: they are numbered through a run.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Ledgers {
    /// Turns so far.
    pub turns: u64,
    /// Phases in which the guard took something back.
    pub guard_events: u64,
    /// Tokens, as the agent reports them.
    pub told: Usage,
}

/// An agent that writes, in a place of its own.
pub(in crate::engine) struct Author<'a> {
    pub backend: &'a Backend,
    pub witnesses: Witnesses<'a>,
    pub door: &'a ModelDoor,
    /// The door's ledger in the run.
    pub ledger: &'static str,
    /// The user's server, where the agent works there.
    pub outside: Option<&'a OutsideAgent>,
    pub config: AgentConfig,
    pub ledgers: &'a mut Ledgers,
    agent: Option<Agent>,
}

/// A turn that is over.
pub(super) struct Taken {
    /// Its files in the run, without their endings.
    pub base: String,
    /// What the agent said in the end.
    pub text: String,
    /// Why it failed, if it did.
    pub failed: Option<TurnFailure>,
    /// What was put back, each with its rule.
    pub taken_back: Vec<String>,
    /// What its tools did.
    pub trace: Vec<Call>,
    /// No further turn is possible.
    pub exhausted: Option<String>,
}

impl<'a> Author<'a> {
    pub fn new(
        (backend, witnesses): (&'a Backend, Witnesses<'a>),
        (door, ledger): (&'a ModelDoor, &'static str),
        outside: Option<&'a OutsideAgent>,
        config: AgentConfig,
        ledgers: &'a mut Ledgers,
    ) -> Self {
        Self {
            backend,
            witnesses,
            door,
            ledger,
            outside,
            config,
            ledgers,
            agent: None,
        }
    }

    /// Takes a turn and settles its changes. What the phase may write stays, also of a turn
    /// that failed: whether it holds is for the caller to find out.
    pub(super) async fn turn(
        &mut self,
        workspace: &mut Workspace,
        phase: Phase,
        label: &str,
        prompt: String,
        bootstrap: Option<&Bootstrap>,
    ) -> Result<Taken, EngineError> {
        let run = self.witnesses.run;
        self.ledgers.turns += 1;
        let base = format!("turns/{:04}-{label}", self.ledgers.turns);
        run.write(&format!("{base}.prompt.md"), prompt.as_bytes())?;
        self.door.begin_turn(label);
        let under_way = UnderWay::new(label, &base);
        let turn = Turn {
            label: label.to_owned(),
            phase,
            prompt,
            events: run.path().join(under_way.events()),
        };
        let engaged = Engaged {
            backend: self.backend,
            door: self.door,
            outside: self.outside,
            bootstrap,
            config: &self.config,
        };
        let report = self.witnesses.ask(engaged, &mut self.agent, workspace, &turn).await;
        let events = under_way.keep_events(run)?;
        if let Err(EngineError::Sandbox(
            SandboxError::Build { .. } | SandboxError::TierTooLow { .. } | SandboxError::Witness(_),
        )) = &report
        {
            under_way.record(run, None, None)?;
            return Err(EngineError::Sandbox(match report {
                Err(EngineError::Sandbox(why)) => why,
                // It was one a line before.
                _ => SandboxError::Gone("the agent's sandbox".to_owned()),
            }));
        }
        if let Ok(report) = &report {
            self.ledgers.told.input_tokens += report.input_tokens;
            self.ledgers.told.output_tokens += report.output_tokens;
        }
        let own = under_way.own();
        let mut failed = match &report {
            Ok(report) => turns::failure(self.door, self.ledger, report, events.clone()),
            Err(why) => Some(TurnFailure {
                blame: why.blame(),
                why: why.to_string(),
                evidence: events.clone().or(Some(own.clone())),
            }),
        };
        let server = self.agent.as_ref().and_then(Agent::stage);
        let settled = match workspace.settle(self.backend, server, phase, label, false).await {
            Ok(settled) => settled,
            Err(EngineError::Sandbox(why)) => {
                // What the turn did is lost with its sandbox.
                self.leave(workspace).await?;
                failed.get_or_insert(TurnFailure {
                    blame: Blame::Sandbox,
                    why: why.to_string(),
                    evidence: Some(own),
                });
                Settled::default()
            }
            Err(other) => return Err(other),
        };
        if failed.is_some() {
            // Whatever the failed turn's server still has in hand goes with it.
            self.leave(workspace).await?;
        }
        let mut number = self.ledgers.guard_events;
        self.witnesses.keep(&mut number, (label, &base), phase, &settled)?;
        self.ledgers.guard_events = number;
        under_way.record(run, report.as_ref().ok(), failed.as_ref())?;
        let (usage, _) = self.door.usage();
        evidence::note_turn(run, &base, &usage, failed.as_ref())?;
        let refused = settled
            .judged
            .iter()
            .filter(|judged| matches!(judged.ruling, Ruling::Dropped | Ruling::Violation));
        let mut taken_back: Vec<String> = refused
            .map(|judged| format!("`{}`: {}", escape(judged.change.path.as_bytes(), 200), judged.because))
            .collect();
        if !settled.kept && !settled.violations().is_empty() {
            taken_back.push("because of that, the whole turn was taken back".to_owned());
        }
        let trace = match &events {
            Some(events) => trace::read(&run.path().join(events)),
            None => Vec::new(),
        };
        Ok(Taken {
            text: report.map(|report| report.text).unwrap_or_default(),
            base,
            failed,
            taken_back,
            trace,
            exhausted: turns::run_exhausted(self.door),
        })
    }

    /// Says what happens.
    pub(super) fn note(&self, event: &str, fields: &serde_json::Value) -> Result<(), EngineError> {
        Ok(self.witnesses.run.journal(event, &json!(fields))?)
    }

    /// Ends the agent's place.
    pub async fn leave(&mut self, workspace: &mut Workspace) -> Result<(), EngineError> {
        self.agent = None;
        workspace.close_agent().await
    }
}
