//! What is asked: prompts, and what is right where a data set says it.

use super::{
    super::{Judge, audit::Accepted, outputs::path, session::Session},
    Undone,
};
use crate::{
    contract::{GenericRollout, MAX_DOCUMENT, PromptSource, StageName},
    dataset::Cells,
    engine::{EngineError, environment::Environment, workspace::Workspace},
    fsm::Blame,
    hints,
    rollout::{self, PROMPTS_MAX, Reference, of_commands, of_readme, question},
};

/// Where a target says what it is.
const READMES: [&str; 6] = [
    "README.md",
    "readme.md",
    "Readme.md",
    "README.rst",
    "README.txt",
    "README",
];

/// One prompt.
pub(in crate::engine::judge) struct Item {
    pub prompt: String,
    /// What is right, where that is known.
    pub reference: Option<Reference>,
}

/// What a rollout asks.
pub(in crate::engine::judge) struct Asked {
    pub items: Vec<Item>,
    /// The data set and its file, where it is one.
    pub dataset: Option<(String, String)>,
}

/// Most prompts: what the variable `AIDER_EVAL_LIMIT` says, the contract, or the mode.
///
/// # Errors
/// Where the variable is no number from 1.
pub(in crate::engine) fn limit(
    said: Option<&str>,
    mode: Option<&str>,
    generic: Option<&GenericRollout>,
) -> Result<u64, String> {
    let by_contract = generic.and_then(|generic| generic.limit);
    let by_mode = if mode == Some("full") { 64 } else { 8 };
    positive("AIDER_EVAL_LIMIT", said, by_contract.unwrap_or(by_mode))
}

/// The number of a variable; `default` where it is not set, or blank.
pub(super) fn positive(name: &str, said: Option<&str>, default: u64) -> Result<u64, String> {
    match said.map(str::trim).filter(|said| !said.is_empty()) {
        None => Ok(default),
        Some(text) => match text.parse::<u64>() {
            Ok(number) if (1..=1_000_000).contains(&number) => Ok(number),
            _ => Err(format!(
                "{name} is `{}`, and must be a whole number from 1 to 1000000",
                text.escape_debug()
            )),
        },
    }
}

impl Judge<'_> {
    /// Prepares what a generic rollout asks, where one is wanted.
    ///
    /// # Errors
    /// When a sandbox fails; what is wrong with the target is kept for the stage.
    pub(in crate::engine::judge) async fn prepare_rollout(
        &self,
        workspace: &mut Workspace,
        session: &mut Session<'_>,
        wanted: &(dyn Fn(StageName) -> bool + Sync),
    ) -> Result<(), EngineError> {
        let (Some(generic), Some(stage)) = (&self.pipeline.generic_rollout, &self.pipeline.rollout) else {
            return Ok(());
        };
        if !wanted(StageName::Rollout) {
            return Ok(());
        }
        let env = session.environment(stage);
        session.prepared = Some(self.asked(workspace, session.name, generic, &env).await?);
        Ok(())
    }

    async fn asked(
        &self,
        workspace: &mut Workspace,
        name: &str,
        generic: &GenericRollout,
        env: &Environment,
    ) -> Result<Result<Asked, Undone>, EngineError> {
        let limit = match limit(env.get("AIDER_EVAL_LIMIT"), env.get("AIDER_EVAL_MODE"), Some(generic)) {
            Ok(limit) => limit,
            Err(why) => return Ok(Err(Undone::new(Blame::User, why))),
        };
        if generic.prompts != PromptSource::Hints {
            let usable = |row: &Cells| question(row).is_some();
            // Some rows have no question, or no answer to it.
            let rows = limit.saturating_mul(2).saturating_add(16);
            let split = self
                .test_split(
                    workspace,
                    &format!("{name}/rollout_rows"),
                    (&rollout::columns(), rows),
                    usable,
                )
                .await?;
            match split {
                Some(Err(undone)) => return Ok(Err(undone)),
                Some(Ok(split)) => {
                    let questions = split.rows.iter().filter_map(question);
                    let most = usize::try_from(limit).unwrap_or(usize::MAX);
                    let items = questions.take(most).map(|question| Item {
                        prompt: question.prompt(),
                        reference: Some(question.reference),
                    });
                    return Ok(Ok(Asked {
                        items: items.collect(),
                        dataset: Some((split.id, split.file.to_string())),
                    }));
                }
                None if generic.prompts == PromptSource::Dataset => {
                    let why = format!(
                        "`rollout.generic.prompts` is `dataset`, and the target has no {}",
                        rollout::MANIFEST
                    );
                    return Ok(Err(Undone::new(Blame::Verifier, why)));
                }
                None => {}
            }
        }
        let readme = READMES.iter().find_map(|name| {
            let bytes = workspace.read(&path(name), MAX_DOCUMENT as u64).ok().flatten()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        });
        let target = self.options.target.to_string();
        let target = target
            .trim_end_matches('/')
            .rsplit(['/', ':'])
            .next()
            .unwrap_or_default();
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let documented = hints::rank(hints::extract(&Accepted(workspace)));
        let mut prompts = of_commands(documented.into_iter().map(|hint| hint.command), target, most);
        let left = most.min(PROMPTS_MAX).saturating_sub(prompts.len());
        if left > 0 && (readme.is_some() || prompts.is_empty()) {
            prompts.extend(of_readme(&readme.unwrap_or_default(), target, left, generic.seed));
        }
        let items = prompts.into_iter().map(|prompt| Item {
            prompt,
            reference: None,
        });
        Ok(Ok(Asked {
            items: items.collect(),
            dataset: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_contract_and_that_over_the_mode() {
        let generic = GenericRollout {
            limit: Some(20),
            ..GenericRollout::default()
        };
        assert_eq!(limit(None, None, None), Ok(8));
        assert_eq!(limit(None, Some("smoke"), None), Ok(8));
        assert_eq!(limit(None, Some("full"), None), Ok(64));
        assert_eq!(limit(Some(" "), Some("full"), Some(&generic)), Ok(20));
        assert_eq!(limit(Some("3"), Some("full"), Some(&generic)), Ok(3));
        for wrong in ["0", "-1", "many", "1.5", "99999999999999999999"] {
            assert!(limit(Some(wrong), None, None).is_err(), "{wrong}");
        }
    }
}
