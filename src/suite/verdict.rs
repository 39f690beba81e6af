//! Whose an outcome is, and whether it is tried again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    engine::EngineError,
    env::{EnvError, Evaluated, VerificationResult},
    fsm::Blame,
    sandbox::SandboxError,
};

/// Whose a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attribution {
    /// What was evaluated: its metrics say that it is not ok.
    Agent,
    /// The target's own contract: a command that failed or reached a cap, an output that
    /// does not hold, no contract at all.
    Verifier,
    /// The sandbox or the host under it.
    Sandbox,
    /// The model's provider.
    Provider,
    /// A rule of this host or of the contract.
    Policy,
    /// This program, or what it was asked for.
    Harness,
}

impl Attribution {
    /// Whether it says nothing about the target: no score comes of it.
    pub fn is_infra(self) -> bool {
        matches!(self, Self::Sandbox | Self::Provider | Self::Harness)
    }
}

/// What a target came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Rollout and evaluation are ok.
    Passed,
    /// One of them is not.
    Failed,
    /// There is no verdict.
    Infra,
}

/// One trial of one target.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Trial {
    /// Whose failure it is; nothing where it passed.
    pub attribution: Option<Attribution>,
    /// Why, in one line.
    pub reason: Option<String>,
    /// Whether a further trial could come to something else.
    pub again: bool,
    /// The rollout is ok.
    pub rollout_ok: bool,
    /// The evaluation is ok.
    pub evaluation_ok: bool,
    /// The first stage that failed.
    pub failed_stage: Option<String>,
    /// The cap that ended it.
    pub cap: Option<String>,
    /// The metrics.
    pub metrics: Option<serde_json::Value>,
    /// Model calls, and those that the provider failed.
    pub model_calls: Option<(u64, u64)>,
    /// The call's artifacts.
    pub artifacts_dir: Option<PathBuf>,
}

impl Trial {
    /// Of a trial that came to an end.
    pub fn of(evaluated: &Evaluated) -> Self {
        let (rollout, evaluation) = (&evaluated.rollout, &evaluated.evaluation);
        let verify = &evaluation.verify;
        let ok = rollout.ok && evaluation.ok;
        let attribution = (!ok).then(|| whose(verify, rollout.ok));
        let samples = || (!rollout.ok && verify.ok).then(|| format!("rollout: {}", rollout.samples_errors.join("; ")));
        Self {
            attribution,
            reason: evaluation.reason.clone().or_else(samples),
            again: attribution.is_some_and(Attribution::is_infra),
            rollout_ok: rollout.ok,
            evaluation_ok: evaluation.ok,
            failed_stage: verify.failed_stage.clone(),
            cap: verify.cap.clone(),
            metrics: evaluation.metrics.clone(),
            model_calls: verify.model.map(|model| (model.calls, model.failed)),
            artifacts_dir: Some(evaluation.artifacts_dir.clone()),
        }
    }

    /// Of a trial without a verdict.
    pub fn without(why: &EnvError) -> Self {
        let (attribution, again) = of_error(why);
        let artifacts_dir = match why {
            EnvError::SandboxFailed { artifacts, .. } => Some(artifacts.clone()),
            _ => None,
        };
        Self {
            artifacts_dir,
            ..Self::nothing(attribution, why.line(), again)
        }
    }

    /// Of a trial that this program itself lost.
    pub fn lost(why: String) -> Self {
        Self::nothing(Attribution::Harness, why, true)
    }

    fn nothing(attribution: Attribution, reason: String, again: bool) -> Self {
        Self {
            attribution: Some(attribution),
            reason: Some(reason),
            again,
            rollout_ok: false,
            evaluation_ok: false,
            failed_stage: None,
            cap: None,
            metrics: None,
            model_calls: None,
            artifacts_dir: None,
        }
    }

    /// What the target comes to if this is its last trial.
    pub fn outcome(&self) -> Outcome {
        match self.attribution {
            None => Outcome::Passed,
            Some(whose) if whose.is_infra() => Outcome::Infra,
            Some(_) => Outcome::Failed,
        }
    }
}

fn whose(verify: &VerificationResult, rollout_ok: bool) -> Attribution {
    let says_no = |finding: &String| finding.ends_with(".ok_not_true");
    match verify.blame {
        // Every stage passed: the metrics say no, or the samples do not hold.
        None if rollout_ok => Attribution::Agent,
        None => Attribution::Verifier,
        Some(Blame::Verifier) if !verify.metrics_errors.is_empty() && verify.metrics_errors.iter().all(says_no) => {
            Attribution::Agent
        }
        Some(Blame::Agent) => Attribution::Agent,
        Some(Blame::Verifier | Blame::Budget) => Attribution::Verifier,
        Some(Blame::Sandbox) => Attribution::Sandbox,
        Some(Blame::Provider) => Attribution::Provider,
        Some(Blame::Policy) => Attribution::Policy,
        Some(Blame::User) => Attribution::Harness,
    }
}

/// Whose an error is, and whether it can end otherwise the next time.
fn of_error(why: &EnvError) -> (Attribution, bool) {
    match why {
        EnvError::ContractMissing(_) => (Attribution::Verifier, false),
        EnvError::SandboxFailed { .. } => (Attribution::Sandbox, true),
        // No contract that holds: the target has none, as long as somebody could write.
        EnvError::ScaffoldFailed(engine) => match engine.blame() {
            Blame::Provider => (Attribution::Provider, true),
            Blame::Sandbox => (Attribution::Sandbox, true),
            _ => (Attribution::Verifier, false),
        },
        EnvError::Engine(engine) => match engine {
            EngineError::Contract(_) | EngineError::NoContract(_) => (Attribution::Verifier, false),
            EngineError::NotAllowed(_) | EngineError::Policy(_) => (Attribution::Policy, false),
            // This host's walls are the same the next time.
            EngineError::Sandbox(SandboxError::TierTooLow { .. } | SandboxError::Build { .. }) => {
                (Attribution::Sandbox, false)
            }
            EngineError::Usage(_) | EngineError::Interrupted(_) => (Attribution::Harness, false),
            // A server may be there the next time; a name that is none stays so.
            EngineError::Source(why) => (Attribution::Harness, why.is_about_the_target()),
            engine if engine.blame() == Blame::Provider => (Attribution::Provider, true),
            engine if engine.blame() == Blame::User => (Attribution::Harness, false),
            _ => (Attribution::Sandbox, true),
        },
        _ => (Attribution::Harness, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_about_the_target_is_infra_and_some_of_it_is_tried_again() {
        let gone = || EngineError::Sandbox(SandboxError::Gone("x".to_owned()));
        for (why, whose, again) in [
            (EnvError::from(gone()), Attribution::Sandbox, true),
            (
                EnvError::from(EngineError::Contract("x".to_owned())),
                Attribution::Verifier,
                false,
            ),
            (
                EnvError::from(EngineError::NotAllowed(Vec::new())),
                Attribution::Policy,
                false,
            ),
            (
                EnvError::from(EngineError::Usage("x".to_owned())),
                Attribution::Harness,
                false,
            ),
            (
                EnvError::SandboxFailed {
                    why: "x".to_owned(),
                    artifacts: "a".into(),
                },
                Attribution::Sandbox,
                true,
            ),
        ] {
            let trial = Trial::without(&why);
            assert_eq!((trial.attribution, trial.again), (Some(whose), again), "{why}");
            assert_eq!(trial.outcome() == Outcome::Infra, whose.is_infra(), "{why}");
        }
        let lost = Trial::lost("a panic".to_owned());
        assert_eq!((lost.outcome(), lost.again), (Outcome::Infra, true));
    }
}
