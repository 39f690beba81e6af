//! One turn of the agent: taken, settled, recorded, and laid to somebody when it fails.

use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    agent::{Agent, Turn, TurnReport},
    engine::{
        EngineError,
        actions::{Performed, Stand},
        answers::LEDGER,
        drive::Drive,
        evidence,
        turns::{Engaged, Witnesses, failure, run_exhausted},
        workspace::Settled,
    },
    fsm::{Blame, Event, Evidence, Purpose, TurnFailure, TurnResult},
    guard::{self, Judged, Phase},
    record::{Answer, RunDir},
    report::{Happening, escape},
    sandbox::SandboxError,
};

/// One turn, as `turns/NNNN-LABEL.json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct TurnRecord<'a> {
    #[serde(flatten)]
    turn: Reported<'a>,
    /// Who failed, when somebody did.
    blame: Option<Blame>,
    /// Why, in one line.
    reason: Option<String>,
    /// Where the evidence lies, relative to the run's directory.
    evidence: Option<&'a str>,
}

/// What the agent reported, or the turn's name where it could not.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Reported<'a> {
    Whole(&'a TurnReport),
    Nothing { label: &'a str },
}

/// What the guard took back after a phase, as `guard/NNNN-LABEL.json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct TakenBack<'a> {
    /// What the agent was doing.
    phase: Phase,
    /// Each change that did not stay.
    refused: &'a [&'a Judged],
}

impl<'a> TakenBack<'a> {
    pub fn new(phase: Phase, refused: &'a [&'a Judged]) -> Self {
        Self { phase, refused }
    }
}

/// A turn that is being taken.
pub(super) struct UnderWay {
    label: String,
    /// Its files in the run, without their endings: `turns/0001-execute_step`.
    base: String,
}

impl UnderWay {
    /// Of a turn whose files have the name `base` in the run.
    pub fn new(label: &str, base: &str) -> Self {
        Self {
            label: label.to_owned(),
            base: base.to_owned(),
        }
    }

    pub fn events(&self) -> String {
        format!("{}.events.jsonl", self.base)
    }

    /// The record itself.
    pub fn own(&self) -> String {
        format!("{}.json", self.base)
    }

    /// Keeps `<base>.json`: what the agent reported, if it did, and who failed.
    pub fn record(
        &self,
        run: &RunDir,
        report: Option<&TurnReport>,
        failed: Option<&TurnFailure>,
    ) -> Result<(), EngineError> {
        let record = TurnRecord {
            turn: report.map_or(Reported::Nothing { label: &self.label }, Reported::Whole),
            blame: failed.map(|failed| failed.blame),
            reason: failed.map(|failed| escape(failed.why.as_bytes(), 1_000)),
            evidence: failed.and_then(|failed| failed.evidence.as_deref()),
        };
        Ok(run.keep_json(&self.own(), &record)?)
    }

    /// Records a turn that was broken off from outside.
    pub fn abandoned(self, run: &RunDir, blame: Blame, why: String) -> Result<(), EngineError> {
        let evidence = self.keep_events(run)?.or_else(|| Some(self.own()));
        let failed = TurnFailure { blame, why, evidence };
        self.record(run, None, Some(&failed))
    }

    /// Takes the turn's events into the record, if there are any; says where they are.
    pub fn keep_events(&self, run: &RunDir) -> Result<Option<String>, EngineError> {
        let events = self.events();
        if !run.path().join(&events).exists() {
            return Ok(None);
        }
        run.adopt(&events)?;
        Ok(Some(events))
    }
}

impl<'a> Drive<'a> {
    /// Takes a turn and settles its changes.
    pub(super) async fn turn(
        &mut self,
        purpose: Purpose,
        try_number: u32,
        findings: &[String],
    ) -> Result<Event, EngineError> {
        if let Some(spent) = self.turns_spent() {
            return Ok(Event::BudgetExhausted(spent));
        }
        let evidence = self.tally.last.as_ref().map(|v| v.evidence.clone()).unwrap_or_default();
        let prompt = self.prompt(purpose, try_number, &evidence, findings)?;
        let label = purpose.label(try_number);
        self.parts.door.begin_turn(&label);
        self.tally.turns += 1;
        let base = format!("turns/{:04}-{label}", self.tally.turns);
        self.parts.run.keep(&format!("{base}.prompt.md"), prompt.as_bytes())?;
        self.parts.chronicle.asked(&label, &prompt)?;
        let under_way = self.under_way.insert(UnderWay::new(&label, &base));
        let turn = Turn {
            label: label.clone(),
            phase: purpose.phase(),
            prompt,
            events: self.parts.run.path().join(under_way.events()),
        };
        let began = Instant::now();
        let report = self.ask(&turn).await;
        self.waited += began.elapsed();
        let Some(under_way) = self.under_way.take() else {
            return Err(EngineError::Usage("a turn without a record".to_owned()));
        };
        let events = under_way.keep_events(self.parts.run)?;
        if let Ok(report) = &report {
            self.tally.told.input_tokens += report.input_tokens;
            self.tally.told.output_tokens += report.output_tokens;
            let answer = Answer {
                text: &report.text,
                tool_calls: report.tool_calls,
                failed_calls: &report.failed_calls,
                wall_ms: report.wall_ms,
            };
            self.parts.chronicle.answered(&label, answer)?;
        }
        let mut failed = match &report {
            Ok(report) => failure(self.parts.door, LEDGER, report, events),
            Err(why) => Some(TurnFailure {
                blame: why.blame(),
                why: why.to_string(),
                evidence: events.or_else(|| Some(under_way.own())),
            }),
        };
        if let Err(EngineError::Sandbox(why)) = &report
            && matches!(
                why,
                SandboxError::Build { .. } | SandboxError::TierTooLow { .. } | SandboxError::Witness(_)
            )
        {
            // No later try would build what this host cannot build now, or make it hold.
            under_way.record(self.parts.run, None, failed.as_ref())?;
            let failed = Event::SandboxFailed(why.to_string());
            // The walls are for the user to accept or not, and have an exit code of their own.
            let too_weak = matches!(why, SandboxError::TierTooLow { .. });
            return if too_weak { report.map(|_| failed) } else { Ok(failed) };
        }
        let discard = failed.is_some();
        let settled = match self.settle(purpose.phase(), &label, discard).await? {
            Ok(settled) => settled,
            Err(why) => {
                // What the turn did is lost with its sandbox, however it ended itself.
                failed.get_or_insert(TurnFailure {
                    blame: Blame::Sandbox,
                    why,
                    evidence: Some(under_way.own()),
                });
                Settled::default()
            }
        };
        let guard = self.keep_evidence(&label, &under_way.base, purpose.phase(), &settled)?;
        let violations = if failed.is_some() {
            Vec::new()
        } else {
            settled.violations()
        };
        let refused = (!violations.is_empty()).then(|| TurnFailure {
            blame: Blame::Agent,
            why: violations.join("; "),
            evidence: guard,
        });
        under_way.record(
            self.parts.run,
            report.as_ref().ok(),
            failed.as_ref().or(refused.as_ref()),
        )?;
        let (usage, _) = self.parts.door.usage();
        evidence::note_turn(
            self.parts.run,
            &under_way.base,
            &usage,
            failed.as_ref().or(refused.as_ref()),
        )?;
        if let Some(why) = run_exhausted(self.parts.door) {
            return Ok(Event::BudgetExhausted(why));
        }
        let may_ask = failed.is_none() && violations.is_empty();
        if matches!(purpose, Purpose::FixOrReplan { .. }) && may_ask {
            self.actions().await?;
        }
        Ok(Event::TurnOver {
            result: failed.map_or(TurnResult::Completed, TurnResult::Failed),
            violations,
            plan: self.view_plan()?,
        })
    }

    /// Performs what the agent asks for in `actions.yml`, if it does.
    async fn actions(&mut self) -> Result<(), EngineError> {
        let name = format!("iter_{:04}/actions", self.parts.machine.iteration());
        let began = Instant::now();
        let stand = Stand {
            judge: &self.parts.judge,
            name: &name,
        };
        let mut done = match stand.perform(&mut self.parts.workspace).await {
            Ok(Some(done)) => done,
            Ok(None) => return Ok(()),
            // The agent's own sandbox is the agent's to lose.
            Err(EngineError::Sandbox(why)) => Performed::lost(&why),
            Err(other) => return Err(other),
        };
        self.waited += began.elapsed();
        let settled = self
            .settle(Phase::FixOrReplan, "actions", false)
            .await?
            .unwrap_or_default();
        self.keep_evidence("actions", &name, Phase::FixOrReplan, &settled)?;
        done.violations = settled.violations();
        if self.parts.workspace.desk().is_none() {
            let lost = "the sandbox was lost, and all that they did with it";
            done.violations.push(lost.to_owned());
            // Whatever became of them, they are not performed again.
            let (backend, path) = (self.parts.backend, guard::actions_path());
            self.parts.workspace.remove(backend, &path).await?;
        }
        if !done.violations.is_empty() {
            done.ok = false;
            done.told.push_str("All that they changed was taken back:\n");
            let findings = done.violations.iter().map(|finding| format!("- {finding}\n"));
            done.told.extend(findings);
        }
        self.parts
            .run
            .write_json(&format!("{name}/actions_summary.json"), &done)?;
        self.parts.run.journal("actions_executed", &done)?;
        self.parts.chronicle.acted(done.ok, done.actions_rc)?;
        self.news = Some(format!("## What came of `{}`\n{}", guard::actions_path(), done.told));
        Ok(())
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
        let (witnesses, parts) = (self.witnesses(), &mut self.parts);
        let engaged = Engaged {
            backend: parts.backend,
            door: parts.door,
            outside: parts.outside.as_ref(),
            bootstrap: parts.judge.bootstrap,
            config: &parts.agent_config,
        };
        witnesses
            .ask(engaged, &mut self.agent, &mut parts.workspace, turn)
            .await
    }

    /// Judges the phase. A sandbox that died in it is replaced by one on the last
    /// accepted state, which takes back all that the phase did; the inner error says why.
    async fn settle(
        &mut self,
        phase: Phase,
        label: &str,
        discard: bool,
    ) -> Result<Result<Settled, String>, EngineError> {
        let server = self.agent.as_ref().and_then(Agent::stage);
        match self
            .parts
            .workspace
            .settle(self.parts.backend, server, phase, label, discard)
            .await
        {
            Ok(settled) => {
                if discard {
                    // Whatever the failed turn's server still has in hand goes with it.
                    self.close().await?;
                }
                Ok(Ok(settled))
            }
            Err(EngineError::Sandbox(why)) => {
                self.replace_sandbox(&why).await?;
                Ok(Err(why.to_string()))
            }
            Err(other) => Err(other),
        }
    }

    /// Ends a sandbox that failed; the next turn has a new one on the accepted state.
    pub(super) async fn replace_sandbox(&mut self, why: &SandboxError) -> Result<(), EngineError> {
        self.parts.reporter.say(Happening::Warning {
            text: format!("the agent's sandbox is replaced: {why}"),
        });
        self.close().await
    }

    fn witnesses(&self) -> Witnesses<'a> {
        Witnesses {
            run: self.parts.run,
            reporter: self.parts.reporter,
        }
    }

    /// Keeps what the guard took back, and says of every change what became of it; `at` is
    /// where the artifacts of whoever made them lie. Gives the place of the evidence.
    fn keep_evidence(
        &mut self,
        label: &str,
        at: &str,
        phase: Phase,
        settled: &Settled,
    ) -> Result<Option<String>, EngineError> {
        let mut number = self.tally.guard_events;
        let kept = self.witnesses().keep(&mut number, (label, at), phase, settled)?;
        self.tally.guard_events = number;
        let Some(kept) = kept else { return Ok(None) };
        self.parts.chronicle.guarded(phase, &kept.refused)?;
        Ok(Some(kept.place))
    }

    /// Why no further turn is taken, where the policy's are used up.
    fn turns_spent(&self) -> Option<String> {
        let said = self.parts.turns.as_ref()?;
        let most = said.value.number()?;
        (self.tally.turns >= most).then(|| format!("the run's {most} turns are used up ({})", said.origin))
    }
}
