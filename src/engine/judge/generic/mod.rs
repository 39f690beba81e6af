//! A rollout that needs no code of the repository, performed by the engine: prompts of a data
//! set or of the target's own words, a model's answers, and what they are worth.
//!
//! | file | holds |
//! |---|---|
//! | `rows` | rows of the target's test split, read inside |
//! | `asked` | what is asked: prompts and what is right |
//! | `model` | who is asked: the model door, or what a deployment serves |
//! | `calls` | the calls, some at a time, and what of an earlier attempt is taken up |
//! | `outcome` | the samples and `rollout.json` |

mod asked;
mod calls;
mod model;
mod outcome;
mod rows;

use std::time::Instant;

pub(in crate::engine) use asked::limit;

use super::{StageSummary, millis, session::Session};
use crate::{
    contract::Stage,
    engine::{EngineError, caps::StageCaps},
    fsm::Blame,
    report::Happening,
};
use asked::Asked;

/// Why a rollout came to nothing.
#[derive(Debug)]
pub(super) struct Undone {
    /// In one line.
    pub reason: String,
    pub blame: Blame,
    /// The cap that ended it.
    pub cap: Option<String>,
    /// Where to look, relative to the run.
    pub evidence: Option<String>,
}

impl Undone {
    pub fn new(blame: Blame, reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            blame,
            cap: None,
            evidence: None,
        }
    }
}

/// What was prepared before the stages, in a sandbox that none of them had to do with.
pub(super) type Prepared = Result<Asked, Undone>;

impl Session<'_> {
    /// Performs the rollout.
    pub(super) async fn generic_rollout(&mut self, stage: &Stage) -> Result<StageSummary, EngineError> {
        let began = Instant::now();
        let mut summary = StageSummary::new(stage.name);
        self.judge.reporter.say(Happening::StageStarted {
            stage: stage.name.to_string(),
            command: "generic rollout".to_owned(),
            output: None,
        });
        let done = match self.prepared.take() {
            Some(Ok(asked)) => self.ask_and_write(stage, asked).await?,
            Some(Err(undone)) => Err(undone),
            None => Err(Undone::new(Blame::Sandbox, "the prompts were not prepared")),
        };
        summary.rc = Some(i32::from(done.is_err()));
        if let Err(undone) = done {
            summary.ok = false;
            self.out.evidence.text = self
                .judge
                .run
                .redact(&format!("stage: {}\n{}\n", stage.name, undone.reason));
            summary.reason = Some(undone.reason);
            summary.blame = Some(undone.blame);
            summary.cap = undone.cap;
            summary.evidence = undone.evidence;
        }
        summary.wall_ms = millis(began.elapsed());
        Ok(summary)
    }

    async fn ask_and_write(&mut self, stage: &Stage, asked: Asked) -> Result<Result<(), Undone>, EngineError> {
        let env = self.environment(stage);
        let (options, security) = (self.judge.options, &self.judge.pipeline.security);
        let caps = StageCaps::new(stage.timeout, security, &options.caps, self.judge.deadline);
        let cap = caps.next(Instant::now());
        let model = match self.model(&env) {
            Ok(model) => model,
            Err(undone) => return Ok(Err(undone)),
        };
        let calls = match calls::Calls::new(self, &env, &asked, &model) {
            Ok(calls) => calls,
            Err(undone) => return Ok(Err(undone)),
        };
        let answered = match tokio::time::timeout(cap.wall, calls.all()).await {
            Ok(answered) => answered?,
            Err(_) => Err(Undone {
                cap: Some(cap.rule.to_owned()),
                ..Undone::new(
                    Blame::Budget,
                    format!("the generic rollout was ended by its cap {}", cap.rule),
                )
            }),
        };
        drop(calls);
        match answered {
            Ok(answered) => self.write_rollout(&env, &asked, &model.name, answered).await,
            Err(undone) => Ok(Err(undone)),
        }
    }
}
