//! The section `commands` of a policy file, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::effect::Effect;
use crate::{document::Located, policy::SecurityMode};

/// Which shell commands may run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandRules {
    /// The rules. For each simple command, and for each of its effects, the first that fits decides.
    #[serde(default)]
    pub rules: Vec<CommandRule>,
    /// What becomes of a command that nobody can decide by its text.
    pub undecided: Option<Located<WhenUndecided>>,
    /// The widest `security.mode` that a contract may ask for.
    pub contract_mode: Option<Located<SecurityMode>>,
    /// Why.
    pub because: Option<String>,
}

/// What becomes of a command that nobody can decide by its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenUndecided {
    /// It runs inside the walls, and that it was undecided is recorded.
    #[default]
    Allow,
    /// It is refused.
    Deny,
}

/// One rule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandRule {
    /// Its name, unique in the file.
    pub id: Located<String>,
    /// What is said of the commands that it fits.
    pub verdict: Ruling,
    /// The commands that it fits.
    pub when: When,
    /// Only for contracts of this `security.mode`.
    pub only_in: Option<SecurityMode>,
    /// Why.
    pub because: Option<String>,
    /// Scripts in which it fits a command; tried when the file is loaded.
    #[serde(default, rename = "match")]
    pub matching: Vec<Located<String>>,
    /// Scripts in which it fits none; tried, too.
    #[serde(default)]
    pub not_match: Vec<Located<String>>,
}

/// What is said of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// It may run.
    Allow,
    /// Its text does not tell.
    Undecided,
    /// It may not run.
    Deny,
}

impl Ruling {
    /// Its name in policy files and records.
    pub fn name(self) -> &'static str {
        match self {
            Ruling::Allow => "allow",
            Ruling::Undecided => "undecided",
            Ruling::Deny => "deny",
        }
    }
}

/// The commands that a rule fits: all that is given has to hold, and something has to be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The program by the last part of its name, then its first arguments that are no
    /// options; for each one word or several to choose from. A `*` at the end of a word
    /// stands for anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<Words>,
    /// One of these effects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effects>,
    /// One of these words stands among the arguments; `--option=value` counts as `--option`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// None of these does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}

/// One word, or several to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Words {
    /// One.
    One(String),
    /// Several.
    Any(Vec<String>),
}

impl Words {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Words::One(word) => std::slice::from_ref(word),
            Words::Any(words) => words,
        }
    }
}

/// One effect, or several to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Effects {
    /// One.
    One(Effect),
    /// Several.
    Any(Vec<Effect>),
}

impl Effects {
    /// All of them.
    pub fn all(&self) -> &[Effect] {
        match self {
            Effects::One(effect) => std::slice::from_ref(effect),
            Effects::Any(effects) => effects,
        }
    }
}
