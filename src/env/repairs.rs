//! The attempts of one call: what failed is repaired by the agent, and tried again.

use std::fmt::Write as _;

use super::{CallOptions, EnvError, EnvSession, session::Called};
use crate::{
    engine::{ContractMark, RepairOf},
    fsm::Blame,
    report::escape,
};

/// Turns in a row that the provider or the sandbox may fail.
const MAX_INFRA: u32 = 2;
/// Characters of the metrics that the agent is shown.
const METRICS: usize = 2_000;

/// How far an attempt came: stages that passed, then whether there were metrics.
type Reached = (usize, bool);

/// The repairs of one call.
pub(super) struct Repairs {
    most: u32,
    made: u32,
    /// What came of the repair before.
    findings: Vec<String>,
    /// The furthest that an attempt came, and the contract that it came there with.
    best: Option<(Reached, ContractMark)>,
}

/// What failed in an attempt, besides what its stages printed.
pub(super) struct Failure {
    /// `rollout`, `metrics`, `samples`, ….
    pub stage: String,
    /// In one line.
    pub reason: String,
    /// Findings about samples and metrics.
    pub seen: String,
    /// The metrics say that what was evaluated is not ok, and nothing else is wrong.
    pub honest: bool,
}

impl Failure {
    /// What is wrong with a call.
    pub fn of(called: &Called, reason: Option<&str>, samples: &[String]) -> Self {
        let found = &called.ran.verification;
        let own = |text: &Option<String>| text.clone().unwrap_or_default();
        let says_no = |finding: &String| finding.ends_with(".ok_not_true");
        let stage = match (&found.failed_stage, samples.is_empty()) {
            (Some(stage), _) => stage.clone(),
            (None, false) => "samples".to_owned(),
            (None, true) => "metrics".to_owned(),
        };
        let mut seen = String::new();
        for (title, lines) in [
            ("What is wrong with the metrics", &found.metrics_errors[..]),
            ("What is wrong with the samples", samples),
        ] {
            if !lines.is_empty() {
                let _ = writeln!(seen, "{title}:");
            }
            for line in lines.iter().take(20) {
                let _ = writeln!(seen, "- {}", escape(line.as_bytes(), 400));
            }
        }
        if let Some(metrics) = &found.metrics {
            let _ = writeln!(seen, "The metrics: {}", escape(metrics.to_string().as_bytes(), METRICS));
        }
        let only_no = !found.metrics_errors.is_empty() && found.metrics_errors.iter().all(says_no);
        Self {
            honest: samples.is_empty() && (only_no || (found.ok && reason == Some("metrics.ok_not_true"))),
            reason: match &found.reason {
                Some(_) => own(&found.reason),
                None => reason.map(str::to_owned).unwrap_or_else(|| samples.join("; ")),
            },
            stage,
            seen,
        }
    }
}

impl Repairs {
    /// Those that a call may make.
    pub fn of(call: &CallOptions) -> Self {
        Self {
            most: call.repair_iters,
            made: 0,
            findings: Vec::new(),
            best: None,
        }
    }
}

impl EnvSession {
    /// After an attempt that failed, and was taken down: whether there is another contract
    /// now to try. What the provider or the sandbox failed is never repaired.
    pub(super) async fn repair(
        &mut self,
        repairs: &mut Repairs,
        called: &Called,
        failure: &Failure,
    ) -> Result<bool, EnvError> {
        let blame = called.ran.verification.blame;
        if matches!(blame, Some(Blame::Provider | Blame::Sandbox | Blame::User)) || repairs.most == 0 {
            return Ok(false);
        }
        if !self.target().runs_scripts() {
            return Ok(false);
        }
        if failure.honest && !self.target().is_scaffolded() {
            // A person's contract measured, and says no: nothing of it is broken.
            return Ok(false);
        }
        if !self.target().can_repair() {
            self.target().warn(
                "the contract is not repaired: no model is named for the agent (--model, opencode_model)".to_owned(),
            );
            return Ok(false);
        }
        self.weigh(repairs, called).await?;
        let mut infra = 0;
        while repairs.made < repairs.most {
            repairs.made += 1;
            let of = RepairOf {
                number: repairs.made,
                most: repairs.most,
                failed_stage: &failure.stage,
                reason: &failure.reason,
                seen: &failure.seen,
                findings: std::mem::take(&mut repairs.findings),
            };
            let Some(repaired) = Box::pin(self.target_mut().repair(of)).await? else {
                return Ok(false);
            };
            repairs.findings = repaired.findings;
            if repaired.kept {
                return Ok(true);
            }
            infra = match repaired.failed {
                Some(Blame::Provider | Blame::Sandbox) => infra + 1,
                _ => 0,
            };
            let shown = repairs.findings.first().map_or("it changed nothing", String::as_str);
            self.target()
                .warn(format!("repair {} came to nothing: {shown}", repairs.made));
            if repaired.exhausted || infra >= MAX_INFRA {
                break;
            }
        }
        Ok(false)
    }

    /// Keeps the contract that came furthest; one that came less far is rolled back.
    async fn weigh(&mut self, repairs: &mut Repairs, called: &Called) -> Result<(), EnvError> {
        let found = &called.ran.verification;
        let passed = found.stages.iter().filter(|stage| stage.ok).count();
        let reached: Reached = (passed, found.metrics.is_some());
        match &repairs.best {
            Some((best, mark)) if reached < *best => {
                let text = format!(
                    "after the repair fewer stages passed ({} instead of {}), and it was rolled back",
                    reached.0, best.0
                );
                let mark = mark.clone();
                self.target().warn(text.clone());
                repairs.findings.push(text);
                self.target_mut().return_to(mark).await?;
            }
            _ => repairs.best = Some((reached, self.target().mark())),
        }
        Ok(())
    }
}
