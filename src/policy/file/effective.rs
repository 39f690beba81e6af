//! The layers put together: what holds for a run, and who said so.

use std::{collections::BTreeMap, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    document::Word,
    load::{HostPlaces, Source, load, load_host},
    pattern::{PathPattern, WordPattern},
    setting::{SettingName, SettingValue, given},
    shipped,
};
use crate::{
    document::Position,
    names::RelPath,
    policy::{HostRule, NetworkRules, Phase, PolicyError, shell::CommandRule},
};

/// Who speaks, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// This program's `default`.
    Shipped,
    /// The host's files.
    Host,
    /// `--policy`.
    Named,
    /// A flag, a variable or the host's configuration.
    User,
    /// The repository's own `.aider_fsm/policy.yml`, which can only narrow.
    Repository,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Shipped => "shipped",
            Layer::Host => "host",
            Layer::Named => "--policy",
            Layer::User => "user",
            Layer::Repository => "repository",
        })
    }
}

/// Where something is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a policy file. Displays as `FILE:LINE:COLUMN`.
    File {
        /// Of which layer.
        layer: Layer,
        /// The file, as it is shown.
        file: Arc<str>,
        /// Where in it.
        at: Position,
    },
    /// By a flag, a variable or the host's configuration, as that is shown.
    User(String),
}

impl Origin {
    /// Of which layer.
    pub fn layer(&self) -> Layer {
        match self {
            Origin::File { layer, .. } => *layer,
            Origin::User(_) => Layer::User,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, at, .. } => write!(f, "{file}:{}:{}", at.line, at.column),
            Origin::User(shown) => f.write_str(shown),
        }
    }
}

/// Something that is said, why, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Said<T> {
    /// What.
    pub value: T,
    /// Why.
    pub because: Option<Arc<str>>,
    /// Where.
    pub origin: Origin,
}

/// A list of names that are allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Words {
    /// The names.
    pub words: Vec<Said<WordPattern>>,
    /// Where the list is.
    pub origin: Origin,
}

impl Words {
    /// The name in the list that covers a word.
    pub fn covering(&self, word: &str) -> Option<&Said<WordPattern>> {
        self.words.iter().find(|said| said.value.covers(word))
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.words.iter().map(|said| said.value.as_str()).collect();
        write!(f, "[{}]", names.join(", "))
    }
}

/// A rule about paths that the agent may not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Protection {
    /// Which.
    pub path: PathPattern,
    /// Of those, which not.
    pub except: Vec<PathPattern>,
    /// When.
    pub phases: Vec<Phase>,
}

impl Protection {
    /// Whether a path may not be changed in a phase.
    pub fn covers(&self, phase: Phase, path: &RelPath) -> bool {
        self.phases.contains(&phase) && self.names(path)
    }

    /// Whether it is about a path.
    pub fn names(&self, path: &RelPath) -> bool {
        self.path.covers(path) && !self.except.iter().any(|but| but.covers(path))
    }
}

/// What holds.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) layers: Vec<(Layer, Arc<str>)>,
    pub(super) settings: BTreeMap<SettingName, Said<SettingValue>>,
    pub(super) images: Words,
    pub(super) stages: Words,
    pub(super) protected: Vec<Said<Protection>>,
    pub(super) hosts: Vec<Said<HostRule>>,
    pub(super) commands: Vec<Said<CommandRule>>,
}

impl Policy {
    /// The shipped `default`, the host's files, and what `--policy` names.
    ///
    /// # Errors
    /// As [`load`].
    pub fn of_host(host: &HostPlaces, named: Option<&str>) -> Result<Self, PolicyError> {
        let mut policy = Self::shipped()?;
        for source in load_host(host)? {
            policy.add(Layer::Host, &source);
        }
        for source in named.map(|name| load(name, host)).transpose()?.into_iter().flatten() {
            policy.add(Layer::Named, &source);
        }
        Ok(policy)
    }

    /// A policy by its name or path over the shipped `default`, without what the host says.
    ///
    /// # Errors
    /// As [`load`].
    pub fn alone(reference: &str, host: &HostPlaces) -> Result<Self, PolicyError> {
        let mut policy = Self::shipped()?;
        for source in load(reference, host)? {
            policy.add(Layer::Named, &source);
        }
        Ok(policy)
    }

    /// The shipped `default` alone.
    ///
    /// # Errors
    /// Never for a program whose tests passed.
    pub fn shipped() -> Result<Self, PolicyError> {
        let nobody = || Words {
            words: Vec::new(),
            origin: Origin::User("nobody".to_owned()),
        };
        let mut policy = Self {
            layers: Vec::new(),
            settings: BTreeMap::new(),
            images: nobody(),
            stages: nobody(),
            protected: Vec::new(),
            hosts: Vec::new(),
            commands: Vec::new(),
        };
        for source in load(shipped::DEFAULT, &HostPlaces::default())? {
            policy.add(Layer::Shipped, &source);
        }
        Ok(policy)
    }

    /// Puts a document on top: its single values and its lists of names take the place of
    /// those below, its rules about hosts and commands come first, its protected paths come to the others; one that stands on nothing has its
    /// own rules alone.
    pub(super) fn add(&mut self, layer: Layer, source: &Source) {
        self.layers.push((layer, source.file.clone()));
        if source.stands_alone() {
            self.protected.clear();
            self.hosts.clear();
            self.commands.clear();
        }
        let file = |at: Position| Origin::File {
            layer,
            file: source.file.clone(),
            at,
        };
        let why = |because: &Option<String>| because.as_deref().map(Arc::from);
        for setting in given(&source.document) {
            let said = Said {
                value: setting.value.value,
                because: setting.because,
                origin: file(setting.value.at),
            };
            self.settings.insert(setting.name, said);
        }
        let words = |words: &crate::document::Located<Vec<Word>>| {
            let said = |Word(word): &Word| Said {
                value: word.value.pattern.clone(),
                because: why(&word.value.because),
                origin: file(word.at),
            };
            Words {
                words: words.value.iter().map(said).collect(),
                origin: file(words.at),
            }
        };
        let document = &source.document;
        if let Some(images) = document.sandbox.as_ref().and_then(|sandbox| sandbox.images.as_ref()) {
            self.images = words(images);
        }
        if let Some(stages) = document.environment.as_ref().and_then(|e| e.stages.as_ref()) {
            self.stages = words(stages);
        }
        for rule in document.guards.iter().flat_map(|guards| &guards.protected) {
            let phases = rule.value.phases.clone();
            self.protected.push(Said {
                value: Protection {
                    path: rule.value.path.clone(),
                    except: rule.value.except.clone(),
                    phases: phases.unwrap_or_else(|| Phase::ALL.to_vec()),
                },
                because: why(&rule.value.because),
                origin: file(rule.at),
            });
        }
        if let Some(network) = &document.network {
            let said = |rule: &crate::document::Located<HostRule>| Said {
                value: rule.value.clone(),
                because: why(&rule.value.because),
                origin: file(rule.at),
            };
            let own: Vec<_> = network.rules.iter().map(said).collect();
            self.hosts.splice(0..0, own);
        }
        if let Some(commands) = &document.commands {
            let said = |rule: &CommandRule| Said {
                value: rule.clone(),
                because: why(&rule.because),
                origin: file(rule.id.at),
            };
            let own: Vec<_> = commands.rules.iter().map(said).collect();
            self.commands.splice(0..0, own);
        }
    }

    /// What the user says in place of a single value.
    pub fn overrule(&mut self, name: SettingName, value: SettingValue, shown: String) {
        let said = Said {
            value,
            because: None,
            origin: Origin::User(shown),
        };
        self.settings.insert(name, said);
    }

    /// A rule about a host that the user adds, before all others.
    pub fn allow_host(&mut self, rule: HostRule, shown: String) {
        let said = Said {
            value: rule,
            because: None,
            origin: Origin::User(shown),
        };
        self.hosts.insert(0, said);
    }

    /// A single value; `None` where no layer gives one.
    pub fn setting(&self, name: SettingName) -> Option<&Said<SettingValue>> {
        self.settings.get(&name)
    }

    /// The number of a cap; `None` where there is none.
    pub fn number(&self, name: SettingName) -> Option<u64> {
        self.setting(name)?.value.number()
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: SettingName) -> bool {
        self.setting(name).is_some_and(|said| said.value.is_on())
    }

    /// Every single value, in the order of the sections.
    pub fn settings(&self) -> impl Iterator<Item = (SettingName, &Said<SettingValue>)> {
        self.settings.iter().map(|(name, said)| (*name, said))
    }

    /// The files that it is made of, the lowest first.
    pub fn layers(&self) -> &[(Layer, Arc<str>)] {
        &self.layers
    }

    /// Images that containers may start from, besides the runner image.
    pub fn images(&self) -> &Words {
        &self.images
    }

    /// Names of variables that may be granted to stages.
    pub fn stages(&self) -> &Words {
        &self.stages
    }

    /// Paths that the agent may not change.
    pub fn protected(&self) -> &[Said<Protection>] {
        &self.protected
    }

    /// Rules about hosts, the first that is about one counts.
    pub fn hosts(&self) -> &[Said<HostRule>] {
        &self.hosts
    }

    /// Rules about shell commands, the first that fits decides.
    pub fn commands(&self) -> &[Said<CommandRule>] {
        &self.commands
    }

    /// What the egress door is opened by.
    pub fn network(&self) -> NetworkRules {
        let mode = match self.setting(SettingName::Network).map(|said| said.value) {
            Some(SettingValue::Network(mode)) => Some(mode),
            _ => None,
        };
        NetworkRules {
            mode,
            rules: self.hosts.iter().map(|said| said.value.clone()).collect(),
        }
    }
}
