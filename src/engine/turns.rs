//! What turns share, whoever takes them: the server at the agent's place, how it is asked, who
//! failed, and the evidence of what the guard took back.

use serde_json::json;

use crate::{
    agent::{Agent, AgentConfig, Turn, TurnEnd, TurnReport},
    broker::{Exhausted, ModelDoor},
    engine::{
        EngineError, OutsideAgent,
        bootstrap::Bootstrap,
        evidence,
        turn::TakenBack,
        workspace::{Settled, Workspace},
    },
    fsm::{Blame, TurnFailure},
    guard::{Judged, Phase, Ruling},
    record::RunDir,
    report::{Happening, Reporter},
    sandbox::Backend,
};

/// Paths put back as bootstrap made them that the journal names, each time.
const RESTORED_SHOWN: usize = 20;
/// The walls of the first sandbox that an agent had.
const WALLS: &str = "walls.json";

/// Where evidence goes, and who is told.
#[derive(Clone, Copy)]
pub(super) struct Witnesses<'a> {
    pub run: &'a RunDir,
    pub reporter: &'a Reporter,
}

/// What was kept of what the guard took back.
pub(super) struct KeptBack<'s> {
    /// Its place in the run.
    pub place: String,
    /// The changes.
    pub refused: Vec<&'s Judged>,
}

/// What an agent is asked with: where it is, and what it reaches.
#[derive(Clone, Copy)]
pub(super) struct Engaged<'a> {
    pub backend: &'a Backend,
    pub door: &'a ModelDoor,
    /// The user's server, where the agent works there.
    pub outside: Option<&'a OutsideAgent>,
    pub bootstrap: Option<&'a Bootstrap>,
    pub config: &'a AgentConfig,
}

impl Witnesses<'_> {
    /// One turn, starting sandbox and server when they are not there; its progress is told.
    pub async fn ask(
        self,
        engaged: Engaged<'_>,
        agent: &mut Option<Agent>,
        workspace: &mut Workspace,
        turn: &Turn,
    ) -> Result<TurnReport, EngineError> {
        if agent.is_none() || workspace.desk().is_none() {
            *agent = None;
            workspace.open_agent(engaged.backend).await?;
            *agent = Some(self.engage(engaged, workspace).await?);
        }
        let (Some(agent), Some(desk)) = (agent.as_mut(), workspace.desk()) else {
            return Err(EngineError::Usage("no agent".to_owned()));
        };
        let tell = |line: &str| {
            let (_, total) = engaged.door.usage();
            self.reporter.say(Happening::Agent {
                line: line.to_owned(),
                calls: total.calls,
                tokens: total.input_tokens + total.output_tokens,
            });
        };
        Ok(agent.turn(desk, turn, &tell).await?)
    }

    /// The server at the agent's new place: started inside, or the user's.
    async fn engage(self, engaged: Engaged<'_>, workspace: &Workspace) -> Result<Agent, EngineError> {
        let mut config = engaged.config.clone();
        let Some(sandbox) = workspace.agent() else {
            let (Some(desk), Some(outside)) = (workspace.desk(), engaged.outside) else {
                return Err(EngineError::Usage("no agent".to_owned()));
            };
            let user = (outside.user.as_str(), outside.password.as_ref());
            return Ok(Agent::attach(desk, user, config).await?);
        };
        if !self.run.path().join(WALLS).exists() {
            self.run.write_json(WALLS, sandbox.walls())?;
            self.reporter.say(Happening::Walls {
                report: sandbox.walls().clone(),
            });
        }
        engaged.door.serve(sandbox.listen(sandbox.inside().model_port).await?);
        if let Some(bootstrap) = engaged.bootstrap {
            config.env = bootstrap.env(sandbox.inside())?;
        }
        Ok(Agent::start(sandbox, config).await?)
    }

    /// Keeps what the guard took back, and says of every change what became of it; `at` is
    /// where the artifacts of whoever made them lie, `number` counts what is kept.
    pub fn keep<'s>(
        self,
        number: &mut u64,
        (label, at): (&str, &str),
        phase: Phase,
        settled: &'s Settled,
    ) -> Result<Option<KeptBack<'s>>, EngineError> {
        let run = self.run;
        let note = |evidence| evidence::note_changes(run, at, phase, settled.kept, &settled.judged, evidence);
        if settled.leaked > 0 {
            run.journal("leaked", &json!({"label": label, "processes": settled.leaked}))?;
        }
        if !settled.restored.is_empty() {
            let shown = &settled.restored[..settled.restored.len().min(RESTORED_SHOWN)];
            let restored = json!({"label": label, "paths": shown, "total": settled.restored.len()});
            run.journal("restored", &restored)?;
        }
        let refused: Vec<_> = settled.judged.iter().filter(|j| j.ruling != Ruling::Allowed).collect();
        if refused.is_empty() {
            note(None)?;
            return Ok(None);
        }
        *number += 1;
        let base = format!("guard/{number:04}-{label}");
        let patch = run.write(&format!("{base}.patch"), &settled.evidence)?;
        note(Some(evidence::digest_of(&patch)?))?;
        let place = format!("{base}.json");
        run.write_json(&place, &TakenBack::new(phase, &refused))?;
        run.journal(
            "guard",
            &json!({"phase": phase, "refused": refused.len(), "evidence": format!("{base}.patch")}),
        )?;
        for judged in &refused {
            self.reporter.say(Happening::Guard {
                phase,
                ruling: judged.ruling,
                path: judged.change.path.to_string(),
                because: judged.because.clone(),
            });
        }
        Ok(Some(KeptBack { place, refused }))
    }
}

/// Who failed in a turn that did not come to its end, if it did not; `ledger` is the door's,
/// `events` the turn's own record.
pub(super) fn failure(
    door: &ModelDoor,
    ledger: &str,
    report: &TurnReport,
    events: Option<String>,
) -> Option<TurnFailure> {
    let label = &report.label;
    let exhausted = door.exhausted();
    let (blame, why) = match (exhausted, &report.end) {
        (Some(spent), _) => match spent {
            Exhausted::CassetteEnded => {
                let why = format!("the cassette holds no further answer for `{label}`");
                (Blame::Provider, why)
            }
            Exhausted::ProviderErrors => (Blame::Provider, "the provider kept failing".to_owned()),
            budget => (Blame::Budget, used_up(budget)),
        },
        (None, TurnEnd::Completed) => return None,
        (None, TurnEnd::TimedOut) => (Blame::Budget, format!("`{label}` ran into its wall cap")),
        (None, TurnEnd::Stalled) => (Blame::Budget, format!("`{label}` fell silent")),
        (None, TurnEnd::OverCap(why)) => (Blame::Budget, why.clone()),
        (None, TurnEnd::Provider(why)) => (Blame::Provider, why.clone()),
        (None, TurnEnd::Agent(why) | TurnEnd::ServerDied(why)) => (Blame::Agent, why.clone()),
        (None, TurnEnd::SandboxGone(why)) => (Blame::Sandbox, why.clone()),
    };
    let by_the_door = exhausted.is_some() || blame == Blame::Provider;
    let evidence = if by_the_door { Some(ledger.to_owned()) } else { events };
    Some(TurnFailure { blame, why, evidence })
}

/// Why the whole run's budget allows no further turn, where it does not.
pub(super) fn run_exhausted(door: &ModelDoor) -> Option<String> {
    let spent = door.exhausted()?;
    let of_the_run = [Exhausted::RunCalls, Exhausted::RunTokens, Exhausted::RunTime];
    of_the_run.contains(&spent).then(|| used_up(spent))
}

fn used_up(budget: Exhausted) -> String {
    let what = match budget {
        Exhausted::TurnCalls => "the turn's budget of model calls",
        Exhausted::TurnTokens => "the turn's budget of tokens",
        Exhausted::TurnTime => "the turn's budget of model time",
        Exhausted::RunCalls => "the run's budget of model calls",
        Exhausted::RunTokens => "the run's budget of tokens",
        Exhausted::RunTime => "the run's budget of model time",
        Exhausted::ProviderErrors => "the patience with the provider",
        Exhausted::CassetteEnded => "the cassette",
    };
    format!("{what} is used up")
}
