//! Flags about contracts that are written and repaired: the same for every verb that has them.

use clap::Args;

use super::surroundings::Surroundings;
use crate::{
    engine::{EngineError, Scaffold, ScaffoldBy, TargetOptions},
    env::{self, AgentSettings, ScaffoldWord},
    policy::BashMode,
};

/// The variable that names the agent's model where no flag does.
const MODEL: &str = "AIDER_FSM_MODEL";

/// How a contract is come by where there is none.
#[derive(Clone, Debug, Args)]
pub(super) struct ScaffoldArgs {
    /// Who writes a contract where the target has none: nobody, the agent, or this program the generic one [env: AIDER_OPENCODE_SCAFFOLD_ATTEMPTS, the agent's attempts; default: the agent, of `run` for a target that is fetched and without --test-cmd, else where a model is named for it].
    #[arg(long, value_enum, value_name = "WHO")]
    scaffold_contract: Option<ScaffoldWord>,
    /// Demand of a contract that is written a metrics file with score and ok; so it is without the flag.
    #[arg(long, overrides_with = "no_scaffold_require_metrics")]
    scaffold_require_metrics: bool,
    /// Take one without.
    #[arg(long)]
    no_scaffold_require_metrics: bool,
    /// What the agent's shell may run while it writes or repairs a contract; the walls and the guard hold either way [default: full].
    #[arg(long, value_enum, value_name = "MODE")]
    scaffold_opencode_bash: Option<BashMode>,
}

impl ScaffoldArgs {
    /// Whether a contract is asked for by name.
    pub fn asks(&self) -> bool {
        self.scaffold_contract.is_some_and(|word| word != ScaffoldWord::Off)
    }

    /// What `run` makes of it.
    ///
    /// # Errors
    /// [`EngineError::Usage`] for a number of attempts that is none.
    pub fn of_run(&self, target: &TargetOptions, around: &Surroundings) -> Result<Scaffold, EngineError> {
        let fetched = target.target.directory().is_none();
        let by = match self.scaffold_contract {
            Some(word) => word.into(),
            // Who names a command has said what acceptance is.
            None if fetched && target.test_cmd.is_none() => ScaffoldBy::Agent,
            None => ScaffoldBy::Nobody,
        };
        let shell = self.scaffold_opencode_bash.unwrap_or(BashMode::Full);
        Ok(Scaffold {
            by,
            require_metrics: !self.no_scaffold_require_metrics,
            attempts: attempts(around)?.unwrap_or(Scaffold::ATTEMPTS),
            bash: env::narrowed_shell(target, shell),
        })
    }

    /// The same for a session, with what else is said of its agents.
    ///
    /// # Errors
    /// As [`ScaffoldArgs::of_run`].
    pub fn of_session(&self, agent: AgentSettings, around: &Surroundings) -> Result<AgentSettings, EngineError> {
        of_session(
            AgentSettings {
                scaffold_contract: self.scaffold_contract,
                scaffold_require_metrics: self.no_scaffold_require_metrics.then_some(false),
                scaffold_opencode_bash: self.scaffold_opencode_bash,
                ..agent
            },
            around,
        )
    }
}

/// A session's settings with what variables say where they say nothing.
///
/// # Errors
/// As [`ScaffoldArgs::of_run`].
pub(super) fn of_session(agent: AgentSettings, around: &Surroundings) -> Result<AgentSettings, EngineError> {
    let named = Some(agent.opencode_model.clone()).filter(|name| !name.trim().is_empty());
    let model = named.or_else(|| around.bound(MODEL).map(|named| named.value));
    Ok(AgentSettings {
        opencode_model: model.unwrap_or_default(),
        scaffold_attempts: agent
            .scaffold_attempts
            .map_or_else(|| attempts(around), |given| Ok(Some(given)))?,
        ..agent
    })
}

/// What the variable says of the agent's attempts.
fn attempts(around: &Surroundings) -> Result<Option<u32>, EngineError> {
    let (name, most) = (Scaffold::VARIABLE, Scaffold::MOST_ATTEMPTS);
    let Some(said) = around.bound(name) else {
        return Ok(None);
    };
    match said.value.trim().parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
        _ => Err(EngineError::Usage(format!(
            "{name}: `{}` is no number from 1 to {most}",
            said.value.escape_debug()
        ))),
    }
}
