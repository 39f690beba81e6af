//! What a session's settings say of the agents that write and repair its contract.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Endpoint, EnvError};
use crate::{
    broker::Budget,
    engine::{Authoring, EngineError, ModelChoice, Scaffold, ScaffoldBy, Scribe, TargetOptions},
    policy::{BashMode, Layer, SettingName, SettingValue},
};

/// Where a model is whose key alone is given.
pub(super) const OPENAI: &str = "https://api.openai.com/v1";
/// Silence after which a turn is aborted, where nobody says otherwise.
const STALL: u64 = 300;
/// Longest turn, and most calls of one and of all, where the policy says nothing.
const TURN: u64 = 1800;
const TURN_CALLS: u64 = 200;
const CALLS: u64 = 2000;

/// For an agent that writes or repairs a contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSettings {
    /// The model that writes a contract: `PROVIDER/MODEL` at the session's endpoint, or
    /// `cassette:FILE`. Blank: no agent writes or repairs.
    pub opencode_model: String,
    /// The model that repairs one; the former where it is not given.
    pub opencode_repair_model: Option<String>,
    /// A server of the user's: refused, because an agent there works outside every sandbox.
    pub opencode_url: String,
    /// Silence after which a turn is aborted, seconds; 0 or nothing: 300.
    pub opencode_timeout_seconds: Option<u64>,
    /// The same while repairing; the former where it is not given.
    pub opencode_repair_timeout_seconds: Option<u64>,
    /// The agent's shell in phases that are about the code: a session has none.
    pub opencode_bash: Option<BashMode>,
    /// The agent's shell while it writes or repairs a contract.
    pub scaffold_opencode_bash: Option<BashMode>,
    /// Refuse the generic contract in place of one that the agent writes [default: true].
    pub strict_opencode: Option<bool>,
    /// How a contract is come by where there is none [default: the agent's, where a model is
    /// named for it].
    pub scaffold_contract: Option<ScaffoldWord>,
    /// Whether a contract that is written has to declare metrics [default: as `require_metrics`].
    pub scaffold_require_metrics: Option<bool>,
    /// Attempts at a contract, 1 to 10 [default: 5].
    pub scaffold_attempts: Option<u32>,
    /// The OpenCode executable [default: as of `run`].
    pub opencode_bin: Option<PathBuf>,
}

/// `--scaffold-contract`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ScaffoldWord {
    /// A target without a contract stays without.
    Off,
    /// The agent writes it, and nobody else.
    Opencode,
    /// This program writes the generic one; no agent is asked.
    Generic,
}

impl From<ScaffoldWord> for ScaffoldBy {
    fn from(word: ScaffoldWord) -> Self {
        match word {
            ScaffoldWord::Off => ScaffoldBy::Nobody,
            ScaffoldWord::Opencode => ScaffoldBy::Agent,
            ScaffoldWord::Generic => ScaffoldBy::Generic,
        }
    }
}

impl AgentSettings {
    /// The agents that these settings mean.
    ///
    /// # Errors
    /// [`EnvError`] `usage` for a model that cannot be asked, a number of attempts out of
    /// range, and a server of the user's.
    pub fn authoring(
        &self,
        target: &TargetOptions,
        endpoint: Option<&Endpoint>,
        require_metrics: bool,
    ) -> Result<Authoring, EnvError> {
        let usage = |why: String| EnvError::Engine(EngineError::Usage(why));
        if !self.opencode_url.trim().is_empty() {
            return Err(usage(
                "opencode_url (--opencode-url): an agent at a server of yours works outside every sandbox; contracts are \
                 written and repaired inside alone. `opencode-fsm run` takes it, with --allow-unsandboxed-agent"
                    .to_owned(),
            ));
        }
        let attempts = self.scaffold_attempts.unwrap_or(Scaffold::ATTEMPTS);
        if !(1..=Scaffold::MOST_ATTEMPTS).contains(&attempts) {
            let (name, most) = (Scaffold::VARIABLE, Scaffold::MOST_ATTEMPTS);
            return Err(usage(format!(
                "scaffold_attempts ({name}): {attempts} is not between 1 and {most}"
            )));
        }
        let stall = |seconds: Option<u64>| seconds.filter(|seconds| *seconds > 0);
        let first = stall(self.opencode_timeout_seconds).unwrap_or(STALL);
        let writer = self.scribe(target, &self.opencode_model, first, endpoint)?;
        let repairs = self
            .opencode_repair_model
            .as_deref()
            .filter(|name| !name.trim().is_empty());
        let second = stall(self.opencode_repair_timeout_seconds).unwrap_or(first);
        let repairer = self.scribe(target, repairs.unwrap_or(&self.opencode_model), second, endpoint)?;
        let by = match (self.scaffold_contract, &writer, self.strict_opencode.unwrap_or(true)) {
            (Some(word), ..) => word.into(),
            (None, None, _) => ScaffoldBy::Nobody,
            (None, Some(_), true) => ScaffoldBy::Agent,
            (None, Some(_), false) => ScaffoldBy::AgentOrGeneric,
        };
        Ok(Authoring {
            scaffold: Scaffold {
                by,
                require_metrics: self.scaffold_require_metrics.unwrap_or(require_metrics),
                attempts,
                bash: self.shell(target),
            },
            writer,
            repairer,
        })
    }

    fn scribe(
        &self,
        target: &TargetOptions,
        model: &str,
        stall: u64,
        endpoint: Option<&Endpoint>,
    ) -> Result<Option<Scribe>, EnvError> {
        if model.trim().is_empty() {
            return Ok(None);
        }
        let number = |name| target.policy.number(name);
        let (model, api_key) = model_of(model, endpoint).map_err(|why| EnvError::Engine(EngineError::Usage(why)))?;
        let turn = Duration::from_secs(number(SettingName::Turn).unwrap_or(TURN));
        Ok(Some(Scribe {
            model,
            api_key,
            opencode_bin: self.opencode_bin.clone(),
            bash: self.shell(target),
            turn_wall: turn,
            stall: Duration::from_secs(stall),
            run_budget: Budget {
                calls: Some(number(SettingName::Calls).unwrap_or(CALLS)),
                tokens: number(SettingName::Tokens),
                wall: target.caps.max_run,
            },
            turn_budget: Budget {
                calls: Some(number(SettingName::TurnCalls).unwrap_or(TURN_CALLS)),
                tokens: number(SettingName::TurnTokens),
                wall: Some(turn),
            },
        }))
    }

    /// The shell of one that writes or repairs: the walls hold either way.
    fn shell(&self, target: &TargetOptions) -> BashMode {
        let asked = self.scaffold_opencode_bash.unwrap_or(BashMode::Full);
        narrowed_shell(target, asked)
    }
}

/// The shell that is asked for, as far as a policy of this host's leaves it; what this
/// program ships says nothing about contracts.
pub fn narrowed_shell(target: &TargetOptions, asked: BashMode) -> BashMode {
    match target.policy.setting(SettingName::Bash) {
        Some(said) if said.origin.layer() != Layer::Shipped => match said.value {
            SettingValue::Bash(bash) => asked.min(bash),
            _ => asked,
        },
        _ => asked,
    }
}

/// The agent's model, and its key: at the session's endpoint, or a cassette.
fn model_of(name: &str, endpoint: Option<&Endpoint>) -> Result<(ModelChoice, Option<crate::record::Secret>), String> {
    let name = name.trim();
    if let Some(file) = name.strip_prefix("cassette:") {
        return Ok((ModelChoice::Cassette(PathBuf::from(file)), None));
    }
    let shown = name.escape_debug();
    let (provider, model) = name.split_once('/').unwrap_or(("openai", name));
    if provider.is_empty() || model.is_empty() {
        return Err(format!(
            "the agent's model `{shown}`: `provider/model`, a model of `openai`, or `cassette:FILE` is expected"
        ));
    }
    let base_url = match endpoint {
        Some(endpoint) => endpoint.base_url.clone(),
        None if provider == "openai" => OPENAI.to_owned(),
        None => {
            return Err(format!(
                "where is provider `{}` of the agent's model? give --base-url, or set OPENAI_BASE_URL",
                provider.escape_debug()
            ));
        }
    };
    let choice = ModelChoice::Endpoint {
        base_url,
        provider: provider.to_owned(),
        model: model.to_owned(),
    };
    Ok((choice, endpoint.and_then(|endpoint| endpoint.key.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> TargetOptions {
        TargetOptions::of_host("/").expect("a directory")
    }

    fn asked(settings: &AgentSettings) -> Result<Authoring, EnvError> {
        settings.authoring(&target(), None, true)
    }

    #[test]
    fn who_writes_is_what_is_asked_else_the_agent_where_it_has_a_model() {
        let with = |model: &str, word, strict| AgentSettings {
            opencode_model: model.to_owned(),
            scaffold_contract: word,
            strict_opencode: strict,
            ..AgentSettings::default()
        };
        for (model, word, strict, by) in [
            ("", None, None, ScaffoldBy::Nobody),
            ("", None, Some(false), ScaffoldBy::Nobody),
            ("cassette:c", None, None, ScaffoldBy::Agent),
            ("cassette:c", None, Some(false), ScaffoldBy::AgentOrGeneric),
            ("cassette:c", Some(ScaffoldWord::Off), Some(false), ScaffoldBy::Nobody),
            (
                "cassette:c",
                Some(ScaffoldWord::Opencode),
                Some(false),
                ScaffoldBy::Agent,
            ),
            ("", Some(ScaffoldWord::Generic), None, ScaffoldBy::Generic),
        ] {
            let found = asked(&with(model, word, strict)).expect("holds");
            assert_eq!(found.scaffold.by, by, "{model} {word:?} {strict:?}");
            assert_eq!(found.repairer.is_some(), !model.is_empty());
        }
        let apart = AgentSettings {
            opencode_repair_model: Some("cassette:r".to_owned()),
            opencode_timeout_seconds: Some(7),
            ..AgentSettings::default()
        };
        let found = asked(&apart).expect("holds");
        assert!(found.writer.is_none());
        let repairer = found.repairer.expect("one that repairs");
        assert_eq!(
            (repairer.model.to_string().as_str(), repairer.stall.as_secs()),
            ("cassette:r", 7)
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (settings, name) in [
            (
                AgentSettings {
                    opencode_url: "http://127.0.0.1:1".to_owned(),
                    ..AgentSettings::default()
                },
                "opencode_url",
            ),
            (
                AgentSettings {
                    scaffold_attempts: Some(11),
                    ..AgentSettings::default()
                },
                Scaffold::VARIABLE,
            ),
            (
                AgentSettings {
                    opencode_model: "elsewhere/m".to_owned(),
                    ..AgentSettings::default()
                },
                "OPENAI_BASE_URL",
            ),
        ] {
            let why = asked(&settings).expect_err(name);
            assert!(why.to_string().contains(name) && why.exit_code() == 2, "{why}");
        }
    }
}
