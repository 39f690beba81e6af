//! The sections of a policy file, as they are written.
//!
//! A document says only what it wants to say; what it leaves out is for the layers below it
//! ([`super::Policy`]). Every field here is enforced; `docs/policy.md` says by what.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::{
    pattern::{PathPattern, WordPattern},
    units::{Cap, Count, Processors, Seconds, Size},
};
use crate::{
    document::Located,
    policy::{BackendChoice, BashMode, HostRule, Isolation, NetworkMode, Phase, Tier, shell::CommandRules},
};

/// What a host allows: a policy file, version 1 (docs/policy.md).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The integer 1.
    #[schemars(range(min = 1, max = 1))]
    pub(super) version: Located<u32>,
    /// What it is for, in one line.
    pub(super) purpose: Option<String>,
    /// A policy below this one: a shipped or a host's name, or a path relative to this file;
    /// `nothing` drops the rules (not the values) of all that lies below.
    pub(super) extends: Option<Located<String>>,
    /// The walls and the resources of each sandbox.
    pub(super) sandbox: Option<Sandbox>,
    /// Caps on time.
    pub(super) time: Option<Time>,
    /// What of the network programs inside may reach.
    pub(super) network: Option<Network>,
    /// Which shell commands may run.
    pub(super) commands: Option<CommandRules>,
    /// What the agent may not change.
    pub(super) guards: Option<Guards>,
    /// What stages may be given.
    pub(super) environment: Option<Environment>,
    /// How it is judged.
    pub(super) verify: Option<Verify>,
    /// What may be brought out.
    pub(super) artifacts: Option<Artifacts>,
    /// What the agent may do and use.
    pub(super) agent: Option<Agent>,
}

/// The walls and the resources of each sandbox.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// The weakest acceptable walls.
    pub(super) min_tier: Option<Located<Tier>>,
    /// What builds them.
    pub(super) backend: Option<Located<BackendChoice>>,
    /// Images that containers may start from, besides the runner image, by reference.
    pub(super) images: Option<Located<Vec<Word>>>,
    /// Resources of one sandbox.
    pub(super) limits: Option<LimitsSection>,
    /// Why.
    pub(super) because: Option<String>,
}

/// Resources of one sandbox.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSection {
    /// Memory of everything inside together.
    pub(super) memory: Option<Located<Size>>,
    /// Processes and threads together.
    #[schemars(range(min = 64))]
    pub(super) processes: Option<Located<Count>>,
    /// Processors; only where there are cgroups, which the walls of a run say.
    pub(super) cpu: Option<Located<Cap<Processors>>>,
    /// What may be written to the workspace.
    pub(super) disk: Option<Located<Size>>,
    /// The largest single file.
    pub(super) file_size: Option<Located<Size>>,
    /// Open files of one process.
    #[schemars(range(min = 64))]
    pub(super) open_files: Option<Located<Count>>,
    /// Why.
    pub(super) because: Option<String>,
}

/// Caps on time, in seconds.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Longest command of a stage.
    pub(super) command: Option<Located<Seconds>>,
    /// Longest stage, repetitions included.
    pub(super) stage: Option<Located<Seconds>>,
    /// Longest turn of the agent.
    pub(super) turn: Option<Located<Seconds>>,
    /// Longest run.
    pub(super) run: Option<Located<Seconds>>,
    /// Longest time in which a command prints nothing.
    pub(super) silence: Option<Located<Seconds>>,
    /// Whether a contract may ask for longer commands and stages than these.
    pub(super) contract_may_raise: Option<Located<bool>>,
    /// Why.
    pub(super) because: Option<String>,
}

/// What of the network programs inside may reach.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// How much; where no layer says it, `model` for a run whose model is at an endpoint, else `none`.
    pub(super) mode: Option<Located<NetworkMode>>,
    /// The hosts that `allow` allows: the first rule about a host and a port counts, those of
    /// higher layers before those of lower ones.
    #[serde(default)]
    pub(super) rules: Vec<Located<HostRule>>,
    /// Why.
    pub(super) because: Option<String>,
}

/// What the agent may not change, besides the contract.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guards {
    /// Paths that stay as they are; those of all layers together.
    #[serde(default)]
    pub(super) protected: Vec<Located<Protected>>,
}

/// Paths that the agent may not change in some phases.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protected {
    /// A path of the tree with all below it, or a pattern with `*`, `?` and `**`.
    pub(super) path: PathPattern,
    /// Of those, what may change all the same: caches that come by themselves.
    #[serde(default)]
    pub(super) except: Vec<PathPattern>,
    /// In which phases; in all where none is named.
    pub(super) phases: Option<Vec<Phase>>,
    /// Why.
    pub(super) because: Option<String>,
    /// Paths that are protected by this rule.
    #[serde(default, rename = "match")]
    pub(super) matching: Vec<Located<String>>,
    /// Paths that are not.
    #[serde(default)]
    pub(super) not_match: Vec<Located<String>>,
}

/// What stages may be given.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Names of variables that the user may grant (`--env`, `--env-file`).
    pub(super) stages: Option<Located<Vec<Word>>>,
}

/// A pattern of names, with what belongs to a rule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WordRule {
    /// The pattern; `*` stands for anything.
    pub pattern: WordPattern,
    /// Why.
    pub because: Option<String>,
    /// Words that it matches.
    #[serde(default, rename = "match")]
    pub matching: Vec<Located<String>>,
    /// Words that it does not match.
    #[serde(default)]
    pub not_match: Vec<Located<String>>,
}

/// How it is judged.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Where a verification measures; a contract may ask for `sealed`, too, and never for less than this.
    pub(super) isolation: Option<Located<Isolation>>,
    /// Why.
    pub(super) because: Option<String>,
}

/// What may be brought out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifacts {
    /// Bytes of what the stages of one verification leave.
    pub(super) bytes: Option<Located<Size>>,
    /// Files of that.
    pub(super) files: Option<Located<Count>>,
    /// Bytes of the changed files of a run.
    pub(super) changes_bytes: Option<Located<Size>>,
    /// Their number.
    pub(super) changes_files: Option<Located<Count>>,
    /// Why.
    pub(super) because: Option<String>,
}

/// What the agent may do and use.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// What its shell may run.
    pub(super) bash: Option<Located<BashMode>>,
    /// Whether it may work at a server of the user's, outside every sandbox (`--opencode-url`).
    pub(super) outside: Option<Located<bool>>,
    /// Turns of one run.
    pub(super) turns: Option<Located<Cap<Count>>>,
    /// Model calls of one run.
    pub(super) calls: Option<Located<Count>>,
    /// Tokens of one run.
    pub(super) tokens: Option<Located<Cap<Count>>>,
    /// Model calls of one turn.
    pub(super) turn_calls: Option<Located<Count>>,
    /// Tokens of one turn.
    pub(super) turn_tokens: Option<Located<Cap<Count>>>,
    /// Why.
    pub(super) because: Option<String>,
}

/// A pattern of names and its place: alone, or with what belongs to a rule.
#[derive(Clone, Debug)]
pub(super) struct Word(pub Located<WordRule>);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = WordRule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pattern, or a mapping with `pattern`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WordRule, E> {
                Ok(WordRule {
                    pattern: WordPattern::new(text).map_err(E::custom)?,
                    because: None,
                    matching: Vec::new(),
                    not_match: Vec::new(),
                })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<WordRule, A::Error> {
                WordRule::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }
        struct Either(WordRule);
        impl<'de> Deserialize<'de> for Either {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Visitor).map(Either)
            }
        }
        let Located { value, at } = Located::<Either>::deserialize(deserializer)?;
        Ok(Self(Located { value: value.0, at }))
    }
}

impl JsonSchema for Word {
    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pattern = generator.subschema_for::<WordPattern>();
        let rule = generator.subschema_for::<WordRule>();
        json_schema!({"anyOf": [pattern, rule]})
    }
}
