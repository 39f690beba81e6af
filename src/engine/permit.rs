//! What the host's policy says to what a user asks for, and to what a contract does.
//!
//! A flag takes the place of a single value of the policy (`cli`); what is here are its
//! rules: names of images and variables, and how far a contract may go. A contract can only
//! narrow: each attempt to widen is an error that names both places.

use std::fmt;

use crate::{
    contract::{self, Pipeline},
    document::{Located, shown},
    engine::{EngineError, OutsideAgent, TargetOptions},
    policy::{Policy, Said, SettingName, SettingValue, Words},
    record::RunDir,
};

/// What is asked for and not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widening {
    /// Who asks, and where: a flag, or `FILE:LINE:COLUMN` of a contract.
    pub asked_at: String,
    /// The line of a contract.
    pub line: Option<usize>,
    /// What for, as it is written.
    pub asked: String,
    /// What the policy says.
    pub allowed: String,
    /// Where it says so.
    pub allowed_at: String,
    /// Why.
    pub because: Option<String>,
}

/// In one line.
impl fmt::Display for Widening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            asked_at,
            line: _,
            asked,
            allowed,
            allowed_at,
            because,
        } = self;
        write!(
            f,
            "{asked_at}: `{asked}` is more than this host allows: `{allowed}` at {allowed_at}"
        )?;
        if let Some(because) = because {
            write!(f, ", because {because}")?;
        }
        f.write_str("; lower it, or run with a policy that allows it (--policy)")
    }
}

/// Whether what a user asks of a target's sandboxes may be.
///
/// # Errors
/// [`EngineError::NotAllowed`] for an image or a variable that no rule names.
pub(super) fn target(options: &TargetOptions) -> Result<(), EngineError> {
    let policy = &options.policy;
    let mut found = Vec::new();
    if let Some(image) = &options.walls.image
        && policy.images().covering(image).is_none()
    {
        found.push(not_listed("--image", image, "sandbox.images", policy.images()));
    }
    for (name, _) in &options.grants {
        if policy.stages().covering(name).is_none() {
            found.push(not_listed("--env", name, "environment.stages", policy.stages()));
        }
    }
    refuse(found)
}

/// Whether variables may be given to stages.
///
/// # Errors
/// [`EngineError::NotAllowed`] for one that no rule names.
pub(super) fn variables<'a>(policy: &Policy, names: impl Iterator<Item = &'a str>) -> Result<(), EngineError> {
    let foreign = names.filter(|name| policy.stages().covering(name).is_none());
    refuse(
        foreign
            .map(|name| not_listed("a caller's variable", name, "environment.stages", policy.stages()))
            .collect(),
    )
}

/// Whether the agent may work at a server of the user's.
///
/// # Errors
/// [`EngineError::NotAllowed`] where `agent.outside` is off.
pub(super) fn outside(policy: &Policy, agent: Option<&OutsideAgent>) -> Result<(), EngineError> {
    match (agent, policy.setting(SettingName::Outside)) {
        (Some(agent), Some(said)) if !said.value.is_on() => refuse(vec![against(
            "--opencode-url".to_owned(),
            shown(agent.server.url()),
            SettingName::Outside,
            said,
        )]),
        _ => Ok(()),
    }
}

/// Whether a contract asks for no more than it may.
///
/// # Errors
/// [`EngineError::NotAllowed`] with each of its attempts to widen.
pub(super) fn contract(options: &TargetOptions, pipeline: &Pipeline) -> Result<(), EngineError> {
    // What the user gives by a flag takes the place of both.
    let flags = [options.caps.max_cmd.is_some(), options.caps.max_total.is_some()];
    refuse(widened(&options.policy, pipeline, flags))
}

/// Each attempt of a contract to widen what `policy` allows; `flags` says whether the user
/// gives the longest command and the longest stage.
pub fn widened(policy: &Policy, pipeline: &Pipeline, flags: [bool; 2]) -> Vec<Widening> {
    let security = &pipeline.security;
    let mut found = Vec::new();
    let mut ask = |key: &str, name: SettingName, asked: Option<Located<SettingValue>>| {
        if let (Some(asked), Some(said)) = (asked, policy.setting(name))
            && !asked.value.is_within(said.value)
        {
            let place = format!("{}:{}:{}", pipeline.source, asked.at.line, asked.at.column);
            found.push(Widening {
                line: Some(asked.at.line),
                ..against(place, format!("security.{key}: {}", asked.value), name, said)
            });
        }
    };
    let mode = security.asked_mode();
    ask("mode", SettingName::ContractMode, mode);
    if !policy.is_on(SettingName::ContractMayRaise) {
        let [command, stage] = flags;
        if !command {
            ask("max_cmd_seconds", SettingName::Command, security.asked_command());
        }
        if !stage {
            ask("max_total_seconds", SettingName::Stage, security.asked_stage());
        }
    }
    found
}

/// What a repository's own policy leaves of `policy`.
///
/// # Errors
/// [`EngineError::Policy`] for one that does not hold, [`EngineError::NotAllowed`] with each of
/// its attempts to widen.
pub(super) fn narrowed(policy: &Policy, text: &[u8]) -> Result<Policy, EngineError> {
    let path = contract::policy_path();
    policy.narrowed(&path.to_string(), text)?.map_err(|attempts| {
        let told = attempts.into_iter().map(|attempt| Widening {
            asked_at: format!("{path}:{}:{}", attempt.at.line, attempt.at.column),
            line: Some(attempt.at.line),
            asked: attempt.asked,
            allowed: attempt.allowed,
            allowed_at: attempt.allowed_at,
            because: attempt.because.map(|because| because.to_string()),
        });
        EngineError::NotAllowed(told.collect())
    })
}

fn against(asked_at: String, asked: String, name: SettingName, said: &Said<SettingValue>) -> Widening {
    Widening {
        asked_at,
        line: None,
        asked,
        allowed: format!("{name}: {}", said.value),
        allowed_at: said.origin.to_string(),
        because: said.because.as_deref().map(str::to_owned),
    }
}

fn not_listed(asked_at: &str, asked: &str, place: &str, words: &Words) -> Widening {
    Widening {
        asked_at: asked_at.to_owned(),
        line: None,
        asked: shown(asked),
        allowed: format!("{place}: {words}"),
        allowed_at: words.origin.to_string(),
        because: None,
    }
}

fn refuse(found: Vec<Widening>) -> Result<(), EngineError> {
    match found.is_empty() {
        true => Ok(()),
        false => Err(EngineError::NotAllowed(found)),
    }
}

/// Keeps what holds in the run: `policy.json`, whose digest names it, and
/// `policy_origins.json`, which says who said what.
pub(super) fn keep(policy: &Policy, run: &RunDir) -> Result<(), EngineError> {
    run.write("policy.json", policy.canonical().as_bytes())?;
    run.write_json("policy_origins.json", &policy.origins())?;
    Ok(())
}
