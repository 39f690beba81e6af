//! The prompts: templates in `prompts/`, filled with facts.

use minijinja::{Environment, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};

use super::state::{Purpose, Step};

/// A template could not be filled: a bug of this program.
#[derive(Debug, thiserror::Error)]
#[error("prompt template: {0}")]
pub struct PromptError(#[from] minijinja::Error);

/// What a failed verification left behind, for the prompt.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Evidence {
    /// The stage that failed.
    pub failed_stage: String,
    /// Commands, exit codes and output tails, already escaped and bounded.
    pub text: String,
}

/// The templates and the facts that never change during a run.
pub struct Prompts {
    templates: Environment<'static>,
    plan_path: String,
    contract_path: String,
    test_cmd: String,
    max_fix: u32,
}

impl Prompts {
    /// Loads the templates.
    ///
    /// # Errors
    /// When a built-in template does not parse.
    pub fn new(plan_path: String, contract_path: String, test_cmd: String, max_fix: u32) -> Result<Self, PromptError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.add_template("findings", include_str!("prompts/findings.md"))?;
        templates.add_template("plan_update", include_str!("prompts/plan_update.md"))?;
        templates.add_template("execute_step", include_str!("prompts/execute_step.md"))?;
        templates.add_template("fix_or_replan", include_str!("prompts/fix_or_replan.md"))?;
        templates.add_template("no_steps", include_str!("prompts/no_steps.md"))?;
        Ok(Self {
            templates,
            plan_path,
            contract_path,
            test_cmd,
            max_fix,
        })
    }

    /// The prompt of one turn.
    ///
    /// # Errors
    /// When a template names a fact that is not given.
    pub fn render(
        &self,
        purpose: Purpose,
        try_number: u32,
        step: Option<&Step>,
        snapshot: &str,
        evidence: &Evidence,
        findings: &[String],
    ) -> Result<String, PromptError> {
        let (step_id, step_text) = step.map_or(("", ""), |s| (s.id.as_str(), s.text.as_str()));
        let (name, fix) = match purpose {
            Purpose::PlanUpdate => ("plan_update", 0),
            Purpose::ExecuteStep => ("execute_step", 0),
            Purpose::FixOrReplan { fix } => ("fix_or_replan", fix),
            Purpose::ReplanWithoutSteps => ("no_steps", 0),
        };
        let facts = context! {
            plan_path => self.plan_path.as_str(),
            contract_path => self.contract_path.as_str(),
            test_cmd => self.test_cmd.as_str(),
            max_fix => self.max_fix,
            attempt => if fix > 0 { fix } else { try_number },
            step_id, step_text, snapshot,
            findings => findings.to_vec(),
            failed_stage => evidence.failed_stage.as_str(),
            evidence => evidence.text.as_str(),
        };
        Ok(self.templates.get_template(name)?.render(facts)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_renders_and_shows_its_findings_and_facts() {
        let prompts = Prompts::new("PLAN.md".into(), "pipeline.yml".into(), "sh tests/run.sh".into(), 10)
            .expect("templates parse");
        let step = Step {
            id: "007".into(),
            text: "make it so".into(),
        };
        let evidence = Evidence {
            failed_stage: "evaluation".into(),
            text: "exit 3: EVIDENCE".into(),
        };
        for purpose in [
            Purpose::PlanUpdate,
            Purpose::ExecuteStep,
            Purpose::FixOrReplan { fix: 2 },
            Purpose::ReplanWithoutSteps,
        ] {
            let text = prompts
                .render(
                    purpose,
                    2,
                    Some(&step),
                    "SNAPSHOT",
                    &evidence,
                    &["`src/x` is not yours".into()],
                )
                .expect("renders");
            assert!(text.contains("`src/x` is not yours"), "{purpose:?}: {text}");
            assert!(text.contains("PLAN.md"), "{purpose:?}");
            if matches!(purpose, Purpose::ExecuteStep | Purpose::FixOrReplan { .. }) {
                assert!(text.contains("007") && text.contains("make it so"), "{purpose:?}");
                assert!(text.contains("pipeline.yml"), "{purpose:?}");
            }
            if matches!(purpose, Purpose::FixOrReplan { .. } | Purpose::ReplanWithoutSteps) {
                assert!(text.contains("EVIDENCE") && text.contains("evaluation"), "{purpose:?}");
            } else {
                assert!(text.contains("SNAPSHOT"), "{purpose:?}");
            }
        }
    }
}
