//! What a run records of its policy: what holds, as a document again, and who said it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    effective::{Layer, Policy, Protection, Said, Words},
    load::NOTHING,
    pattern::{PathPattern, WordPattern},
};
use crate::policy::{HostRule, shell::CommandRule};

impl Policy {
    /// What holds, as a policy document that says all of it and nothing else: in JSON, keys
    /// in order, without blanks. Whoever said what, and why, is not in it
    /// ([`Policy::origins`]): it changes when what holds changes.
    pub fn canonical(&self) -> String {
        sorted(self.document()).to_string()
    }

    /// `sha256:` and the digest of [`Policy::canonical`].
    pub fn digest(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.canonical().as_bytes());
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    fn document(&self) -> Value {
        let mut root = json!({"version": 1, "extends": NOTHING});
        let mut put = |place: &str, value: Value| {
            let mut at = &mut root;
            for name in place.split('.') {
                at = &mut at[name];
            }
            *at = value;
        };
        for (name, said) in &self.settings {
            put(name.place(), said.value.json());
        }
        let words = |words: &Words| words.words.iter().map(|said| json!(said.value.as_str())).collect();
        put("sandbox.images", words(&self.images));
        put("environment.stages", words(&self.stages));
        let protected = |said: &Said<Protection>| {
            let except: Vec<&str> = said.value.except.iter().map(PathPattern::as_str).collect();
            json!({"path": said.value.path.as_str(), "except": except, "phases": said.value.phases})
        };
        put("guards.protected", self.protected.iter().map(protected).collect());
        let host = |said: &Said<HostRule>| {
            let rule = HostRule {
                because: None,
                matches: Vec::new(),
                not_match: Vec::new(),
                ..said.value.clone()
            };
            // A rule that was read from a document can be written as one.
            serde_json::to_value(rule).unwrap_or_default()
        };
        let command = |said: &Said<CommandRule>| {
            let rule = &said.value;
            let mut shown = json!({"id": rule.id.value, "verdict": rule.verdict, "when": rule.when});
            if let Some(mode) = rule.only_in {
                shown["only_in"] = json!(mode);
            }
            shown
        };
        put("commands.rules", self.commands.iter().map(command).collect());
        put("network.rules", self.hosts.iter().map(host).collect());
        root
    }

    /// Who says each part of it, and why.
    pub fn origins(&self) -> Origins {
        fn line<T>(what: String, said: &Said<T>) -> SaidLine {
            SaidLine {
                what,
                layer: said.origin.layer(),
                at: said.origin.to_string(),
                because: said.because.as_deref().map(str::to_owned),
            }
        }
        fn rules<'s, T>(
            place: &'s str,
            rules: &'s [Said<T>],
            name: impl Fn(&T) -> String + 's,
        ) -> impl Iterator<Item = SaidLine> + 's {
            rules
                .iter()
                .map(move |said| line(format!("{place}: {}", name(&said.value)), said))
        }
        let word = |pattern: &WordPattern| pattern.as_str().to_owned();
        let said = self.settings.iter().map(|(name, said)| line(name.to_string(), said));
        Origins {
            digest: self.digest(),
            layers: self
                .layers
                .iter()
                .map(|(layer, file)| LayerLine {
                    layer: *layer,
                    file: file.to_string(),
                })
                .collect(),
            said: said
                .chain(rules("sandbox.images", &self.images.words, word))
                .chain(rules("environment.stages", &self.stages.words, word))
                .chain(rules("guards.protected", &self.protected, |rule| rule.path.to_string()))
                .chain(rules("network.rules", &self.hosts, ToString::to_string))
                .chain(rules("commands.rules", &self.commands, |rule| rule.id.value.clone()))
                .collect(),
        }
    }
}

/// `policy_origins.json`: who says each part of a run's policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Origins {
    /// `sha256:` and the digest of the run's `policy.json`.
    pub digest: String,
    /// The files that it is made of, the lowest first.
    pub layers: Vec<LayerLine>,
    /// Each part.
    pub said: Vec<SaidLine>,
}

/// A file that a policy is made of.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LayerLine {
    /// Of which layer.
    pub layer: Layer,
    /// Its path, or `policies/NAME.yml` for a shipped one.
    pub file: String,
}

/// A part of a policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SaidLine {
    /// Its place in the document, and for a rule what it is about.
    pub what: String,
    /// Who says it.
    pub layer: Layer,
    /// Where: `FILE:LINE:COLUMN`, a flag, a variable, or the host's configuration.
    pub at: String,
    /// Why.
    pub because: Option<String>,
}

/// The same value with the keys of every mapping in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let pairs: BTreeMap<String, Value> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(pairs.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
