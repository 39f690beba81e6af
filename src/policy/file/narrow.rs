//! A repository's own policy: it can only narrow what the host allows.

use std::sync::Arc;

use super::{
    effective::{Layer, Policy, Said},
    error::PolicyError,
    load,
    setting::{SettingName, SettingValue, given},
};
use crate::{
    document::{Position, shown},
    policy::shell::{CommandRule, Ruling},
};

/// An attempt of a repository's policy to widen, with both places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where in the repository's policy.
    pub at: Position,
    /// What it asks for.
    pub asked: String,
    /// What the host says.
    pub allowed: String,
    /// Where it says so.
    pub allowed_at: String,
    /// Why.
    pub because: Option<Arc<str>>,
}

/// Single values that are needed before the repository is read.
const EARLY: [SettingName; 3] = [SettingName::Backend, SettingName::Network, SettingName::Outside];

impl Policy {
    /// This policy, narrowed by a repository's own; or every attempt of that to widen it.
    /// `file` is how the repository's is shown.
    ///
    /// # Errors
    /// [`PolicyError::Malformed`] for what is no policy.
    pub fn narrowed(&self, file: &str, text: &[u8]) -> Result<Result<Self, Vec<Attempt>>, PolicyError> {
        let source = load::source(file.to_owned(), text)?;
        let document = &source.document;
        let mut found = Vec::new();
        if let Some(lower) = &document.extends {
            found.push(Attempt {
                at: lower.at,
                asked: format!("extends: {}", shown(&lower.value)),
                allowed: "a repository's policy lies on the host's, whatever that is".to_owned(),
                allowed_at: self.top(),
                because: None,
            });
        }
        for setting in given(document) {
            let Some(said) = self.setting(setting.name) else {
                found.push(self.early(setting.name, setting.value.value, setting.value.at));
                continue;
            };
            if EARLY.contains(&setting.name) && setting.value.value != said.value {
                found.push(self.early(setting.name, setting.value.value, setting.value.at));
            } else if !setting.value.value.is_within(said.value) {
                found.push(Attempt {
                    at: setting.value.at,
                    asked: format!("{}: {}", setting.name, setting.value.value),
                    allowed: format!("{}: {}", setting.name, said.value),
                    allowed_at: said.origin.to_string(),
                    because: said.because.clone(),
                });
            }
        }
        if let Some(images) = document.sandbox.as_ref().and_then(|sandbox| sandbox.images.as_ref()) {
            found.push(Attempt {
                at: images.at,
                asked: "sandbox.images".to_owned(),
                allowed: format!("sandbox.images: {}, asked before the repository is read", self.images()),
                allowed_at: self.images().origin.to_string(),
                because: None,
            });
        }
        let stages = document
            .environment
            .as_ref()
            .and_then(|environment| environment.stages.as_ref());
        for word in stages.iter().flat_map(|stages| &stages.value) {
            let pattern = word.0.value.pattern.as_str();
            // A pattern is within another that fits its text: what both leave open is the same.
            if self.stages().covering(pattern).is_none() {
                found.push(Attempt {
                    at: word.0.at,
                    asked: format!("environment.stages: {}", shown(pattern)),
                    allowed: format!("environment.stages: {}", self.stages()),
                    allowed_at: self.stages().origin.to_string(),
                    because: None,
                });
            }
        }
        for rule in document.network.iter().flat_map(|network| &network.rules) {
            found.push(Attempt {
                at: rule.at,
                asked: format!("network.rules: {}", rule.value.host),
                allowed: "network.rules are the host's alone".to_owned(),
                allowed_at: self
                    .hosts()
                    .first()
                    .map_or_else(|| self.top(), |said| said.origin.to_string()),
                because: None,
            });
        }
        let rules = document.commands.iter().flat_map(|commands| &commands.rules);
        for rule in rules.filter(|rule| rule.verdict != Ruling::Deny) {
            let (allowed, said) = self.against(rule);
            found.push(Attempt {
                at: rule.id.at,
                asked: format!("commands.rules: {} says {}", rule.id.value, rule.verdict.name()),
                allowed: format!("commands.rules: {allowed}, and a repository's rules can only deny"),
                allowed_at: said.map_or_else(|| self.top(), |said| said.origin.to_string()),
                because: said.and_then(|said| said.because.clone()),
            });
        }
        if !found.is_empty() {
            return Ok(Err(found));
        }
        let mut narrowed = self.clone();
        narrowed.add(Layer::Repository, &source);
        Ok(Ok(narrowed))
    }

    /// The highest file.
    fn top(&self) -> String {
        self.layers()
            .last()
            .map_or_else(String::new, |(_, file)| format!("{file}:1:1"))
    }

    fn early(&self, name: SettingName, value: SettingValue, at: Position) -> Attempt {
        let said = self.setting(name);
        Attempt {
            at,
            asked: format!("{name}: {value}"),
            allowed: match said {
                Some(said) => format!("{name}: {}, decided before the repository is read", said.value),
                None => format!("{name} is decided before the repository is read"),
            },
            allowed_at: said.map_or_else(|| self.top(), |said| said.origin.to_string()),
            because: said.and_then(|said| said.because.clone()),
        }
    }

    /// The rule that another one would take the place of: the first that denies about the same
    /// program or effect, else the first that denies.
    fn against(&self, rule: &CommandRule) -> (String, Option<&Said<CommandRule>>) {
        let denies = || self.commands().iter().filter(|said| said.value.verdict == Ruling::Deny);
        let same = |said: &&Said<CommandRule>| {
            let effects = |rule: &CommandRule| rule.when.effect.as_ref().map_or(Vec::new(), |all| all.all().to_vec());
            let programs = |rule: &CommandRule| rule.when.argv.first().map_or(Vec::new(), |all| all.all().to_vec());
            let own = (effects(rule), programs(rule));
            let its = (effects(&said.value), programs(&said.value));
            own.0.iter().any(|effect| its.0.contains(effect)) || own.1.iter().any(|program| its.1.contains(program))
        };
        let said = denies().find(same).or_else(|| denies().next());
        let words = said.map_or_else(
            || "none denies".to_owned(),
            |said| format!("{} denies", said.value.id.value),
        );
        (words, said)
    }
}
