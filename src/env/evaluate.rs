//! One target from beginning to end.

use super::{CallOptions, EnvError, EnvSession, EvaluationCallResult, Llm, RolloutCallResult, SetupOptions};
use crate::{
    engine::{Ending, Outcome},
    fsm::Blame,
};

/// One evaluation of one target.
pub struct Evaluation {
    /// The target and all about it.
    pub setup: SetupOptions,
    /// The model of its stages.
    pub llm: Llm,
    /// What they are asked for.
    pub call: CallOptions,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The rollout.
    pub rollout: RolloutCallResult,
    /// The evaluation.
    pub evaluation: EvaluationCallResult,
    /// The run.
    pub outcome: Outcome,
}

impl Evaluation {
    /// Opens the target, deploys, rolls out, evaluates, takes it down and closes it.
    ///
    /// # Errors
    /// When there is no verdict.
    pub async fn run(self) -> Result<Evaluated, EnvError> {
        let mut session = EnvSession::setup(self.setup).await?;
        let both = session.rollout_and_evaluation(Some(&self.llm), &self.call).await;
        let (rollout, evaluation) = match both {
            Ok(both) => both,
            Err(why) => {
                let ending = Ending {
                    reason: "ERROR",
                    detail: why.line(),
                    exit_code: why.exit_code(),
                };
                session.end(ending).await?;
                return Err(why);
            }
        };
        let ok = rollout.ok && evaluation.ok;
        let samples = rollout.samples_errors.join("; ");
        let ending = Ending {
            reason: if ok { "EVALUATED" } else { "EVALUATION_FAILED" },
            detail: match (&evaluation.reason, ok) {
                (_, true) => "every stage passed".to_owned(),
                (Some(reason), _) => reason.clone(),
                (None, _) => format!("rollout: {samples}"),
            },
            exit_code: match (ok, evaluation.verify.blame) {
                (true, _) => 0,
                (false, Some(Blame::Policy)) => 10,
                (false, Some(Blame::Provider)) => 8,
                (false, _) => 1,
            },
        };
        let outcome = session.end(ending).await?;
        Ok(Evaluated {
            rollout,
            evaluation,
            outcome,
        })
    }
}
