//! `pipeline.yml`, version 1.

use std::time::Duration;

use super::{
    ContractError,
    error::{Fault, shown},
    fields::Fields,
    stage::{Stage, StageName},
    yaml,
};
use crate::names::RelPath;

/// Sections that version 1 knows and this version of the runner does not perform.
const LATER_SECTIONS: [(&str, &str); 5] = [
    ("auth", "remove it or give the stages what they need through `env`"),
    ("deploy", "remove it or start what is needed inside a stage's commands"),
    ("benchmark", "remove it or move its commands into `evaluation`"),
    (
        "artifacts",
        "remove it; the artifacts directory is chosen on the command line",
    ),
    ("tooling", "remove it; it was deprecated and never had an effect"),
];

/// A parsed contract: what one verification runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// The acceptance commands.
    pub tests: Option<Stage>,
    /// Produces material to judge.
    pub rollout: Option<Stage>,
    /// Measures, and says what its metrics must hold.
    pub evaluation: Option<Evaluation>,
    /// Caps on time.
    pub security: Security,
    /// The file this was read from, relative to the repository root.
    pub source: RelPath,
}

/// The `evaluation` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The commands; they may be empty when an earlier stage writes the metrics.
    pub stage: Stage,
    /// The metrics file, relative to the repository root.
    pub metrics_path: Option<RelPath>,
    /// Keys that the metrics must hold; dotted names descend.
    pub required_keys: Vec<String>,
}

/// The `security` section. It can only narrow what the host allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Longest time for any one command; lowers a stage's own timeout.
    pub max_cmd: Option<Duration>,
    /// Longest time for one whole stage, retries included.
    pub max_total: Option<Duration>,
}

impl Pipeline {
    /// Reads the contract in `path` (its name is for messages) from its bytes.
    ///
    /// # Errors
    /// One [`ContractError`], the first in reading order of the sections: bad
    /// YAML, an unknown or duplicate key, a wrong type, a value out of range, a
    /// path that leaves the repository, or a section of a later version.
    pub fn parse(path: &RelPath, text: &[u8]) -> Result<Pipeline, ContractError> {
        read(path, text).map_err(|fault| fault.of(path))
    }

    /// The contract of a repository that declares none: one acceptance command, given by the user.
    pub fn with_tests(test_cmd: &str) -> Pipeline {
        Pipeline {
            tests: Some(Stage::of_command(StageName::Tests, test_cmd)),
            rollout: None,
            evaluation: None,
            security: Security::default(),
            source: default_path(),
        }
    }

    /// The acceptance commands in one line, joined with ` && `; empty without any.
    pub fn test_cmd(&self) -> String {
        let tests = self.tests.as_ref();
        tests.map(|tests| tests.cmds.join(" && ")).unwrap_or_default()
    }

    /// The declared stages in the order they run.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        let evaluation = self.evaluation.as_ref().map(|evaluation| &evaluation.stage);
        [self.tests.as_ref(), self.rollout.as_ref(), evaluation]
            .into_iter()
            .flatten()
    }
}

/// Where a contract lives unless the user says otherwise.
fn default_path() -> RelPath {
    // A constant single name without `/`, `..` or NUL always passes the check.
    RelPath::new("pipeline.yml").expect("a plain file name is a path inside a tree")
}

fn read(path: &RelPath, text: &[u8]) -> Result<Pipeline, Fault> {
    let mut root = Fields::root(yaml::parse(text)?)?;
    read_version(&mut root)?;
    for (name, remedy) in LATER_SECTIONS {
        root.unsupported(name, remedy)?;
    }
    let security = root
        .section("security")?
        .map(read_security)
        .transpose()?
        .unwrap_or_default();
    let tests = root.section("tests")?.map(read_tests).transpose()?;
    let rollout = root.section("rollout")?.map(read_rollout).transpose()?;
    let evaluation = root.section("evaluation")?.map(read_evaluation).transpose()?;
    let start = root.at;
    root.finish()?;
    if tests.is_none() && rollout.is_none() && evaluation.is_none() {
        return Err(start.fault("no stage is declared; add `tests`, `rollout` or `evaluation`"));
    }
    Ok(Pipeline {
        tests,
        rollout,
        evaluation,
        security,
        source: path.clone(),
    })
}

/// `version` is the integer 1; when it is missing, 1 is meant.
fn read_version(root: &mut Fields) -> Result<(), Fault> {
    let Some(node) = root.present("version") else {
        return Ok(());
    };
    match &node.value {
        yaml::Value::Scalar { text, plain: true } if text == "1" => Ok(()),
        yaml::Value::Scalar { text, .. } => Err(node
            .at
            .fault(format!("`version` must be the integer 1, found `{}`", shown(text)))),
        _ => Err(node
            .at
            .fault(format!("`version` must be the integer 1, found {}", node.kind()))),
    }
}

fn read_security(mut fields: Fields) -> Result<Security, Fault> {
    if let Some((mode, at)) = fields.string("mode")?
        && !mode.eq_ignore_ascii_case("safe")
    {
        return Err(at.fault(match mode.to_ascii_lowercase().as_str() {
            "system" => {
                "`security.mode: system` is not supported by this version yet; use `safe` or remove it".to_owned()
            }
            _ => format!("`security.mode` must be `safe`, found `{}`", shown(&mode)),
        }));
    }
    fields.unsupported("allowlist", "remove it; the sandbox decides what commands can do")?;
    fields.unsupported("denylist", "remove it; the sandbox decides what commands can do")?;
    let security = Security {
        max_cmd: fields.seconds("max_cmd_seconds")?,
        max_total: fields.seconds("max_total_seconds")?,
    };
    fields.finish()?;
    Ok(security)
}

fn read_tests(mut fields: Fields) -> Result<Stage, Fault> {
    let stage = Stage::read(StageName::Tests, &mut fields, "cmds", "cmd")?;
    finish_stage(fields, &stage, "cmds")?;
    Ok(stage)
}

fn read_rollout(mut fields: Fields) -> Result<Stage, Fault> {
    let stage = Stage::read(StageName::Rollout, &mut fields, "run_cmds", "run_cmd")?;
    finish_stage(fields, &stage, "run_cmds")?;
    Ok(stage)
}

fn read_evaluation(mut fields: Fields) -> Result<Evaluation, Fault> {
    let stage = Stage::read(StageName::Evaluation, &mut fields, "run_cmds", "run_cmd")?;
    let metrics_path = fields.path("metrics_path")?;
    let required_keys: Vec<String> = fields
        .strings("required_keys")?
        .unwrap_or_default()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    let at = fields.at;
    if metrics_path.is_none() {
        if !required_keys.is_empty() {
            return Err(at.fault("`evaluation.required_keys` needs `evaluation.metrics_path`"));
        }
        finish_stage(fields, &stage, "run_cmds")?;
    } else {
        fields.finish()?;
    }
    Ok(Evaluation {
        stage,
        metrics_path,
        required_keys,
    })
}

/// Refuses unknown keys first, because a misspelt key is the usual reason for missing commands.
fn finish_stage(fields: Fields, stage: &Stage, commands: &str) -> Result<(), Fault> {
    let (at, place) = (fields.at, fields.place(commands));
    fields.finish()?;
    if stage.cmds.is_empty() {
        return Err(at.fault(format!(
            "`{place}` must list at least one command, or remove `{}`",
            stage.name
        )));
    }
    Ok(())
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
