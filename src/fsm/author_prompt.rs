//! The prompts of an agent that writes or repairs a contract.

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::PromptError;

/// What one that writes a contract is told.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ScaffoldFacts {
    /// The contract.
    pub contract_path: String,
    /// Whether it has to declare metrics with `score` and `ok`.
    pub require_metrics: bool,
    /// This attempt, from 1, and the most.
    pub attempt: u32,
    /// The most.
    pub attempts: u32,
    /// Commands that the repository's own texts name, the best first: `COMMAND (FILE:LINE)`.
    pub hints: Vec<String>,
    /// The repository's files, escaped and bounded.
    pub outline: String,
    /// What was wrong with the attempt before.
    pub findings: Vec<String>,
    /// What it wrote elsewhere, which was put back.
    pub taken_back: Vec<String>,
}

/// What one that repairs a contract is told.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RepairFacts {
    /// The contract.
    pub contract_path: String,
    /// This repair, from 1, and the most.
    pub attempt: u32,
    /// The most.
    pub attempts: u32,
    /// What failed.
    pub failed_stage: String,
    /// Why, in one line.
    pub reason: String,
    /// Commands, exit codes and ends of output, escaped and bounded.
    pub evidence: String,
    /// The contract and its scripts, escaped and bounded.
    pub files: String,
    /// What an earlier repair did wrong, what it wrote elsewhere, and what was rolled back.
    pub findings: Vec<String>,
}

/// The prompt of one that writes.
///
/// # Errors
/// As [`super::Prompts::render`].
pub fn scaffold_prompt(facts: &ScaffoldFacts) -> Result<String, PromptError> {
    render(include_str!("prompts/scaffold_contract.md"), facts)
}

/// The prompt of one that repairs.
///
/// # Errors
/// As [`super::Prompts::render`].
pub fn repair_prompt(facts: &RepairFacts) -> Result<String, PromptError> {
    render(include_str!("prompts/repair_contract.md"), facts)
}

fn render(template: &str, facts: &impl Serialize) -> Result<String, PromptError> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    Ok(templates.render_str(template, minijinja::value::Serde(facts))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_attempt_is_told_the_task_and_a_later_one_what_was_wrong() {
        let mut facts = ScaffoldFacts {
            contract_path: "ci/pipeline.yml".to_owned(),
            require_metrics: true,
            attempt: 1,
            attempts: 5,
            outline: "setup.py".to_owned(),
            ..ScaffoldFacts::default()
        };
        let first = scaffold_prompt(&facts).expect("renders");
        for part in [
            "ci/pipeline.yml",
            "setup.py",
            "required_keys: [score, ok]",
            "AIDER_LLM_MODEL",
        ] {
            assert!(first.contains(part), "{part}: {first}");
        }
        assert!(
            !first.contains("attempt before") && !first.contains("own texts name"),
            "{first}"
        );
        facts.attempt = 2;
        facts.hints = vec!["pytest -q (README.md:12)".to_owned()];
        facts.findings = vec!["ci/pipeline.yml:3:5: unknown key `stages`".to_owned()];
        facts.taken_back = vec!["`src/x`: only the contract".to_owned()];
        let second = scaffold_prompt(&facts).expect("renders");
        for part in [
            &facts.hints[0],
            &facts.findings[0],
            &facts.taken_back[0],
            "attempt 2 of at most 5",
        ] {
            assert!(second.contains(part), "{part}: {second}");
        }
        facts.require_metrics = false;
        assert!(
            !scaffold_prompt(&facts)
                .expect("renders")
                .contains("required_keys: [score, ok]")
        );
    }

    #[test]
    fn a_repair_is_told_what_failed_and_where_it_may_write() {
        let facts = RepairFacts {
            contract_path: "pipeline.yml".to_owned(),
            attempt: 1,
            attempts: 3,
            failed_stage: "rollout".to_owned(),
            reason: "exit 4".to_owned(),
            evidence: "EVIDENCE".to_owned(),
            files: "SCRIPTS".to_owned(),
            findings: vec!["it was worse".to_owned()],
        };
        let text = repair_prompt(&facts).expect("renders");
        for part in [
            "pipeline.yml",
            "rollout",
            "exit 4",
            "EVIDENCE",
            "SCRIPTS",
            "it was worse",
            ".aider_fsm/",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
