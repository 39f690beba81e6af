//! The sections of `pipeline.yml`, each read to its last key.

use std::time::Duration;

use serde::Serialize;

use super::{
    generic::{self, GenericRollout},
    hinted::{self, GenericEvaluation},
    stage::{Stage, StageName, read_commands},
};
use crate::{
    document::{Fault, Fields, Located, Position, shown},
    names::RelPath,
    policy::{
        CommandPolicy, Isolation, PathPattern, PatternError, SecurityMode, SettingValue, check_pattern, shell::Judge,
    },
};

/// Where a generic evaluation leaves its metrics unless the contract says otherwise.
const METRICS: &str = ".aider_fsm/metrics.json";
/// Most patterns in one list; each may take a quarter of a megabyte once compiled.
const PATTERNS_MAX: usize = 100;

/// The `auth` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The commands.
    pub stage: Stage,
    /// Whether they may use the user's terminal, where guided unattended mode allows it.
    pub interactive: bool,
}

/// The `deploy` section: three stages with the same fields around their commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deploy {
    /// Starts services.
    pub setup: Stage,
    /// Waits for them.
    pub health: Stage,
    /// Stops them; never repeated.
    pub teardown: Stage,
    /// When the teardown runs.
    pub teardown_policy: TeardownPolicy,
    /// Diagnostics after the stages, when enabled.
    pub kubectl_dump: Option<KubectlDump>,
}

/// `deploy.teardown_policy`: when a deployment that was begun is torn down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TeardownPolicy {
    /// Whatever came of the stages.
    #[default]
    Always,
    /// When every stage passed.
    OnSuccess,
    /// When one failed.
    OnFailure,
    /// Not at all.
    Never,
}

impl TeardownPolicy {
    /// Whether the teardown runs after a verification that came out as `ok`.
    pub fn applies(self, ok: bool) -> bool {
        match self {
            TeardownPolicy::Always => true,
            TeardownPolicy::OnSuccess => ok,
            TeardownPolicy::OnFailure => !ok,
            TeardownPolicy::Never => false,
        }
    }
}

/// `deploy.kubectl_dump`, enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubectlDump {
    /// For the logs; `None` is every namespace.
    pub namespace: Option<String>,
    /// Whose logs.
    pub label_selector: Option<String>,
    /// Whether logs are wanted; they need a selector.
    pub include_logs: bool,
}

/// The `evaluation` or the `benchmark` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// The commands; an evaluation's may be empty when an earlier stage writes the metrics.
    pub stage: Stage,
    /// The metrics file, relative to the repository root.
    pub metrics_path: Option<RelPath>,
    /// Keys that the metrics must hold; dotted names descend.
    pub required_keys: Vec<String>,
    /// An evaluation that is ours to perform; its stage has no commands.
    pub generic: Option<GenericEvaluation>,
}

/// The `verify` section. It can only narrow what the host allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verify {
    /// Where measurements are made: what the contract asks for, or the host where that is narrower.
    pub isolation: Isolation,
    /// Paths that are the judge's, and not the agent's to change.
    pub protected: Vec<Located<PathPattern>>,
}

/// The `security` section. It can only narrow what the host allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Whether the safe deny words apply.
    pub mode: SecurityMode,
    /// Patterns of which a command must match one, unless there is none.
    pub allow: Vec<String>,
    /// Patterns of which a command may match none.
    pub deny: Vec<String>,
    /// Longest time for any one command; lowers a stage's own timeout.
    pub max_cmd: Option<Duration>,
    /// Longest time for one whole stage, retries included.
    pub max_total: Option<Duration>,
    /// Where `mode`, `max_cmd_seconds` and `max_total_seconds` are said.
    pub places: [Option<Position>; 3],
}

impl Security {
    /// The mode that is asked for, where one is.
    pub fn asked_mode(&self) -> Option<Located<SettingValue>> {
        self.asked(0, Some(SettingValue::Mode(self.mode)))
    }

    /// The seconds of a command that are asked for, where some are.
    pub fn asked_command(&self) -> Option<Located<SettingValue>> {
        self.asked(1, self.max_cmd.map(|time| SettingValue::Number(time.as_secs())))
    }

    /// The seconds of a stage that are asked for, where some are.
    pub fn asked_stage(&self) -> Option<Located<SettingValue>> {
        self.asked(2, self.max_total.map(|time| SettingValue::Number(time.as_secs())))
    }

    fn asked(&self, place: usize, value: Option<SettingValue>) -> Option<Located<SettingValue>> {
        let (value, at) = (value?, self.places[place]?);
        Some(Located { value, at })
    }

    /// The rules that commands are checked by: the host's, and these.
    ///
    /// # Errors
    /// Never for a section that was read from a contract, whose patterns were compiled then.
    pub fn policy(&self, judge: Judge) -> Result<CommandPolicy, PatternError> {
        CommandPolicy::new(judge, self.mode, &self.allow, &self.deny)
    }
}

pub(super) fn security(mut fields: Fields) -> Result<Security, Fault> {
    let modes = [("safe", SecurityMode::Safe), ("system", SecurityMode::System)];
    let places = ["mode", "max_cmd_seconds", "max_total_seconds"].map(|name| fields.place_of(name));
    let security = Security {
        places,
        mode: fields.choice("mode", &modes)?.unwrap_or_default(),
        allow: patterns(&mut fields, "allowlist")?,
        deny: patterns(&mut fields, "denylist")?,
        max_cmd: fields.seconds("max_cmd_seconds")?,
        max_total: fields.seconds("max_total_seconds")?,
    };
    fields.finish()?;
    Ok(security)
}

pub(super) fn verify(mut fields: Fields) -> Result<Verify, Fault> {
    let words = [("shared", Isolation::Shared), ("sealed", Isolation::Sealed)];
    let isolation = fields.choice("isolation", &words)?.unwrap_or_default();
    let place = fields.place("protected");
    let listed = fields.strings("protected")?.unwrap_or_default();
    if let Some((_, at)) = listed.get(PATTERNS_MAX) {
        return Err(at.fault(format!("`{place}` has more than {PATTERNS_MAX} patterns")));
    }
    let read = |(index, (text, at)): (usize, (String, Position))| match PathPattern::new(&text) {
        Ok(value) => Ok(Located { value, at }),
        Err(why) => Err(at.fault(format!("`{place}[{index}]`: {}", shown(&why)))),
    };
    let protected = listed.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    fields.finish()?;
    Ok(Verify { isolation, protected })
}

fn patterns(fields: &mut Fields, name: &'static str) -> Result<Vec<String>, Fault> {
    let place = fields.place(name);
    let listed = fields.strings(name)?.unwrap_or_default();
    if let Some((_, at)) = listed.get(PATTERNS_MAX) {
        return Err(at.fault(format!("`{place}` has more than {PATTERNS_MAX} patterns")));
    }
    let checked = |(index, (pattern, at)): (usize, (String, Position))| match check_pattern(&pattern) {
        Ok(()) => Ok(pattern),
        Err(error) => Err(at.fault(format!(
            "`{place}[{index}]`: `{}` is no pattern: {}",
            shown(&pattern),
            shown(&error.why)
        ))),
    };
    listed.into_iter().enumerate().map(checked).collect()
}

pub(super) fn auth(mut fields: Fields, warnings: &mut Vec<Fault>) -> Result<Auth, Fault> {
    let interactive = fields.boolean("interactive")?.unwrap_or_default();
    let declared = fields.has(&["cmds", "cmd", "steps"]);
    let mut stage = Stage::read(StageName::Auth, &mut fields, "cmds", "cmd")?;
    if let Some(steps) = fields.strings("steps")? {
        if let (false, Some((_, at))) = (stage.cmds.is_empty(), steps.first()) {
            return Err(at.fault("`auth.steps` is another name of `auth.cmds`; remove one of them"));
        }
        stage.cmds.extend(steps.into_iter().map(|(command, _)| command));
    }
    finish(fields, &stage, "cmds", declared, warnings)?;
    Ok(Auth { stage, interactive })
}

/// A section of commands and the common fields: `keys` are the list's and the single command's.
pub(super) fn commands(
    name: StageName,
    mut fields: Fields,
    keys: [&'static str; 2],
    warnings: &mut Vec<Fault>,
) -> Result<Stage, Fault> {
    let declared = fields.has(&keys);
    let stage = Stage::read(name, &mut fields, keys[0], keys[1])?;
    finish(fields, &stage, keys[0], declared, warnings)?;
    Ok(stage)
}

/// The `rollout` section: commands, or a generic rollout in their place.
pub(super) fn rollout(mut fields: Fields, warnings: &mut Vec<Fault>) -> Result<(Stage, Option<GenericRollout>), Fault> {
    let Some(section) = fields.switched("generic")? else {
        let stage = commands(StageName::Rollout, fields, ["run_cmds", "run_cmd"], warnings)?;
        return Ok((stage, None));
    };
    let generic = generic::rollout(section)?;
    for name in ["run_cmds", "run_cmd", "retries", "workdir"] {
        if let Some(at) = fields.place_of(name) {
            let place = fields.place(name);
            return Err(at.fault(match name {
                "retries" => {
                    format!("`{place}` repeats commands, of which there are none; `generic.retries` repeats calls")
                }
                "workdir" => format!("`{place}` is for commands, and a generic rollout has none; remove it"),
                _ => format!(
                    "`rollout.generic` excludes `{place}`; remove one of them (line {})",
                    at.line
                ),
            }));
        }
    }
    let stage = Stage::read(StageName::Rollout, &mut fields, "run_cmds", "run_cmd")?;
    fields.finish()?;
    Ok((stage, Some(generic)))
}

pub(super) fn measurement(
    name: StageName,
    mut fields: Fields,
    warnings: &mut Vec<Fault>,
) -> Result<Measurement, Fault> {
    let generic = match name {
        StageName::Evaluation => generic_evaluation(&mut fields)?,
        _ => None,
    };
    let declared = fields.has(&["run_cmds", "run_cmd"]);
    let stage = Stage::read(name, &mut fields, "run_cmds", "run_cmd")?;
    let mut metrics_path = fields.path("metrics_path")?;
    if generic.is_some() {
        // A constant of two plain names always passes the check.
        metrics_path = metrics_path.or_else(|| RelPath::new(METRICS).ok());
    }
    let required_keys = fields.strings("required_keys")?.unwrap_or_default();
    let place = fields.place("required_keys");
    if metrics_path.is_some() && name == StageName::Evaluation {
        fields.finish()?;
    } else {
        finish(fields, &stage, "run_cmds", declared, warnings)?;
    }
    // After the unknown keys: one of them may be the path, misspelt.
    if let (None, Some((_, at))) = (&metrics_path, required_keys.first()) {
        return Err(at.fault(format!("`{place}` needs `{name}.metrics_path`")));
    }
    Ok(Measurement {
        stage,
        metrics_path,
        required_keys: required_keys.into_iter().map(|(key, _)| key).collect(),
        generic,
    })
}

/// `generic`, and nothing beside it that is for commands.
fn generic_evaluation(fields: &mut Fields) -> Result<Option<GenericEvaluation>, Fault> {
    let Some(section) = fields.switched("generic")? else {
        return Ok(None);
    };
    let generic = hinted::evaluation(section)?;
    for name in ["run_cmds", "run_cmd", "retries", "workdir"] {
        if let Some(at) = fields.place_of(name) {
            let place = fields.place(name);
            return Err(at.fault(match name {
                "retries" | "workdir" => {
                    format!("`{place}` is for commands, and a generic evaluation has none; remove it")
                }
                _ => format!("`evaluation.generic` excludes `{place}`; remove one of them"),
            }));
        }
    }
    Ok(Some(generic))
}

pub(super) fn deploy(mut fields: Fields, warnings: &mut Vec<Fault>) -> Result<Deploy, Fault> {
    let setup = Stage::read(StageName::DeploySetup, &mut fields, "setup_cmds", "setup_cmd")?;
    let health = read_commands(&mut fields, "health_cmds", "health_cmd")?;
    let teardown = read_commands(&mut fields, "teardown_cmds", "teardown_cmd")?;
    let policies = [
        ("always", TeardownPolicy::Always),
        ("on_success", TeardownPolicy::OnSuccess),
        ("on_failure", TeardownPolicy::OnFailure),
        ("never", TeardownPolicy::Never),
    ];
    let teardown_policy = fields.choice("teardown_policy", &policies)?.unwrap_or_default();
    let kubectl_dump = match fields.section("kubectl_dump")? {
        Some(section) => kubectl(section, warnings)?,
        None => None,
    };
    let at = fields.at;
    fields.finish()?;
    if setup.cmds.is_empty() && health.is_empty() {
        warnings.push(at.fault("`deploy` has no setup and no health commands; nothing is deployed or torn down"));
    }
    Ok(Deploy {
        health: setup.sibling(StageName::DeployHealth, health),
        teardown: Stage {
            retries: 0,
            ..setup.sibling(StageName::DeployTeardown, teardown)
        },
        setup,
        teardown_policy,
        kubectl_dump,
    })
}

fn kubectl(mut fields: Fields, warnings: &mut Vec<Fault>) -> Result<Option<KubectlDump>, Fault> {
    let enabled = fields.boolean("enabled")?.unwrap_or_default();
    let dump = KubectlDump {
        namespace: fields.string("namespace")?.map(|(text, _)| text),
        label_selector: fields.string("label_selector")?.map(|(text, _)| text),
        include_logs: fields.boolean("include_logs")?.unwrap_or_default(),
    };
    let at = fields.at;
    fields.finish()?;
    if enabled && dump.include_logs && dump.label_selector.is_none() {
        warnings.push(at.fault("`deploy.kubectl_dump.include_logs` has no effect without `label_selector`"));
    }
    Ok(enabled.then_some(dump))
}

pub(super) fn artifacts(mut fields: Fields) -> Result<Option<RelPath>, Fault> {
    let out_dir = fields.path("out_dir")?;
    fields.finish()?;
    Ok(out_dir)
}

/// Deprecated in the predecessor, where it had no effect either: read, checked, and warned of.
pub(super) fn tooling(mut fields: Fields) -> Result<Fault, Fault> {
    fields.boolean("ensure_tools")?;
    fields.boolean("ensure_kind_cluster")?;
    fields.string("kind_cluster_name")?;
    fields.string("kind_config")?;
    let at = fields.at;
    fields.finish()?;
    Ok(at.fault("`tooling` is deprecated and has no effect; remove it"))
}

/// Refuses unknown keys first, because a misspelt key is the usual reason for missing
/// commands. A list that is there and empty is what its author meant.
fn finish(
    fields: Fields,
    stage: &Stage,
    commands: &str,
    declared: bool,
    warnings: &mut Vec<Fault>,
) -> Result<(), Fault> {
    let (at, place) = (fields.at, fields.place(commands));
    fields.finish()?;
    if stage.cmds.is_empty() {
        if !declared {
            let name = stage.name;
            return Err(at.fault(format!("`{place}` must list at least one command, or remove `{name}`")));
        }
        warnings.push(at.fault(format!("`{place}` is empty; the stage is not run")));
    }
    Ok(())
}
