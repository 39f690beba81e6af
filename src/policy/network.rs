//! What of the network this host allows: the mode, and rules about hosts. Pure: nothing is
//! resolved or dialled here.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{host_rule::HostRule, hosts::HostName};

/// Most rules.
const MANY: usize = 1000;

/// How much of the network programs inside may see, least first.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// Nothing: no packet of the inside leaves it, and a run has to play its model from a cassette.
    #[default]
    None,
    /// The agent's server reaches the model door; nothing else is reached by anybody.
    Model,
    /// Stages and the agent's tools reach the hosts of the rules through the egress door, too.
    Allow,
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Model => "model",
            Self::Allow => "allow",
        })
    }
}

/// The section `network` of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkRules {
    /// How much programs inside may see. Where nobody says it: `model` for a run whose model
    /// is at an endpoint, else `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<NetworkMode>,
    /// The hosts that `allow` allows; the first rule about a host and a port counts.
    pub rules: Vec<HostRule>,
}

/// A rule that cannot hold, by its place in the list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network rule {} ({rule}): {why}", index + 1)]
pub struct RuleFault {
    /// Its place, from 0.
    pub index: usize,
    /// The rule.
    pub rule: String,
    /// What is wrong.
    pub why: String,
}

/// Whether a connection may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostVerdict<'a> {
    /// By this rule, at this place in the list from 0.
    Allow(usize, &'a HostRule),
    /// Not.
    Deny(HostDenial<'a>),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostDenial<'a> {
    /// The mode lets nobody out.
    Mode(NetworkMode),
    /// No rule is about the host.
    NoRule,
    /// A rule is, and the port is none of its ports.
    Port(usize, &'a HostRule),
}

impl NetworkRules {
    /// Whether programs inside see the egress door.
    pub fn opens_door(&self) -> bool {
        self.mode == Some(NetworkMode::Allow)
    }

    /// Looks whether every rule can hold, and whether its examples do.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), RuleFault> {
        let fault = |index, rule: String, why| Err(RuleFault { index, rule, why });
        if self.rules.len() > MANY {
            return fault(MANY, "…".to_owned(), format!("more than {MANY} rules"));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            if let Some(why) = rule.fault() {
                return fault(index, rule.to_string(), why);
            }
        }
        Ok(())
    }

    /// Whether a connection to `host` at `port` may be made: by the first rule that is about both.
    pub fn verdict(&self, host: &HostName, port: u16) -> HostVerdict<'_> {
        if !self.opens_door() {
            return HostVerdict::Deny(HostDenial::Mode(self.mode.unwrap_or_default()));
        }
        let about = || {
            self.rules
                .iter()
                .enumerate()
                .filter(|(_, rule)| rule.host.matches(host))
        };
        match (about().find(|(_, rule)| rule.opens(port)), about().next()) {
            (Some((index, rule)), _) => HostVerdict::Allow(index, rule),
            (None, Some((index, rule))) => HostVerdict::Deny(HostDenial::Port(index, rule)),
            (None, None) => HostVerdict::Deny(HostDenial::NoRule),
        }
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
