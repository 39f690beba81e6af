//! `pipeline.yml`, version 1.

use super::{
    ContractError, GenericRollout,
    sections::{self, Auth, Deploy, Measurement, Security, Verify},
    stage::{Stage, StageName},
};
use crate::{
    document::{self, Fault, Fields, Position, shown},
    names::RelPath,
    policy::{Origin, Phase, Protection, Said},
};

/// A parsed contract: what one verification runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// Logs in.
    pub auth: Option<Auth>,
    /// The acceptance commands.
    pub tests: Option<Stage>,
    /// Services for the stages after it.
    pub deploy: Option<Deploy>,
    /// Produces material to judge.
    pub rollout: Option<Stage>,
    /// The rollout is ours to perform, and its stage has no commands.
    pub generic_rollout: Option<GenericRollout>,
    /// Measures, and says what its metrics must hold.
    pub evaluation: Option<Measurement>,
    /// Measures further; runs after the evaluation's metrics were judged.
    pub benchmark: Option<Measurement>,
    /// What commands may be, and caps on time.
    pub security: Security,
    /// Where it is judged, and what of the tree is the judge's.
    pub verify: Verify,
    /// The directory inside the tree below which stages may leave files
    /// (`artifacts.out_dir`); `None` is `.aider_fsm/artifacts`.
    pub out_dir: Option<RelPath>,
    /// What is accepted without effect, to be told to the user.
    pub warnings: Vec<ContractError>,
    /// The file this was read from, relative to the repository root.
    pub source: RelPath,
}

impl Pipeline {
    /// Reads the contract in `path` (its name is for messages) from its bytes.
    ///
    /// # Errors
    /// One [`ContractError`], the first in reading order of the sections: bad
    /// YAML, an unknown or duplicate key, a wrong type, a value out of range, a
    /// path that leaves the repository, a pattern that does not compile.
    pub fn parse(path: &RelPath, text: &[u8]) -> Result<Pipeline, ContractError> {
        let mut warnings = Vec::new();
        let mut pipeline = read(path, text, &mut warnings).map_err(|fault| ContractError::of(fault, path))?;
        pipeline.warnings = warnings
            .into_iter()
            .map(|fault| ContractError::of(fault, path))
            .collect();
        Ok(pipeline)
    }

    /// The contract of a repository that declares none: one acceptance command, given by the user.
    pub fn with_tests(test_cmd: &str) -> Pipeline {
        Pipeline {
            tests: Some(Stage::of_command(StageName::Tests, test_cmd)),
            ..Pipeline::empty(default_path())
        }
    }

    /// The acceptance commands in one line, joined with ` && `; empty without any.
    pub fn test_cmd(&self) -> String {
        let tests = self.tests.as_ref();
        tests.map(|tests| tests.cmds.join(" && ")).unwrap_or_default()
    }

    fn empty(source: RelPath) -> Pipeline {
        Pipeline {
            auth: None,
            tests: None,
            deploy: None,
            rollout: None,
            generic_rollout: None,
            evaluation: None,
            benchmark: None,
            security: Security::default(),
            verify: Verify::default(),
            out_dir: None,
            warnings: Vec::new(),
            source,
        }
    }

    /// What `verify.protected` keeps from the agent, in every phase.
    pub fn protections(&self) -> impl Iterator<Item = Said<Protection>> {
        self.verify.protected.iter().map(|asked| Said {
            value: Protection {
                path: asked.value.clone(),
                except: Vec::new(),
                phases: Phase::ALL.to_vec(),
            },
            because: None,
            origin: Origin::User(format!("{}:{}:{}", self.source, asked.at.line, asked.at.column)),
        })
    }

    /// What keeps a measurement from being made in a sandbox of its own; `None` where nothing does.
    pub fn unsealable(&self) -> Option<String> {
        let measures = self.evaluation.as_ref()?;
        let path = measures
            .metrics_path
            .as_ref()
            .filter(|_| measures.stage.cmds.is_empty() && measures.generic.is_none())?;
        Some(format!(
            "`verify.isolation: sealed` measures in a sandbox where no other stage ran, and `evaluation` has no commands: \
             `{path}` of an earlier stage would not be there. Give it `run_cmds`, or leave the isolation `shared`"
        ))
    }

    /// Whether a stage without commands is one that this program performs itself.
    pub fn performs(&self, stage: StageName) -> bool {
        let evaluation = || self.evaluation.as_ref().is_some_and(|it| it.generic.is_some());
        match stage {
            StageName::Rollout => self.generic_rollout.is_some(),
            StageName::Evaluation => evaluation(),
            _ => false,
        }
    }

    /// The declared stages in the order they run, some perhaps without commands;
    /// the teardown, which decides nothing, is not among them.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        [
            self.auth.as_ref().map(|auth| &auth.stage),
            self.tests.as_ref(),
            self.deploy.as_ref().map(|deploy| &deploy.setup),
            self.deploy.as_ref().map(|deploy| &deploy.health),
            self.rollout.as_ref(),
            self.evaluation.as_ref().map(|evaluation| &evaluation.stage),
            self.benchmark.as_ref().map(|benchmark| &benchmark.stage),
        ]
        .into_iter()
        .flatten()
    }
}

/// Where a contract lives unless the user says otherwise: `pipeline.yml`.
pub fn default_path() -> RelPath {
    // A constant single name without `/`, `..` or NUL always passes the check.
    RelPath::new("pipeline.yml").expect("a plain file name is a path inside a tree")
}

/// Where a repository keeps a policy of its own, which can only narrow the host's.
pub fn policy_path() -> RelPath {
    // A constant of two plain names always passes the check.
    RelPath::new(".aider_fsm/policy.yml").expect("two plain names are a path inside a tree")
}

fn read(path: &RelPath, text: &[u8], warnings: &mut Vec<Fault>) -> Result<Pipeline, Fault> {
    let mut root = Fields::root(document::parse(text)?)?;
    read_version(&mut root)?;
    let mut pipeline = Pipeline::empty(path.clone());
    if let Some(fields) = root.section("security")? {
        pipeline.security = sections::security(fields)?;
    }
    if let Some(fields) = root.section("auth")? {
        pipeline.auth = Some(sections::auth(fields, warnings)?);
    }
    if let Some(fields) = root.section("tests")? {
        pipeline.tests = Some(sections::commands(StageName::Tests, fields, ["cmds", "cmd"], warnings)?);
    }
    if let Some(fields) = root.section("deploy")? {
        pipeline.deploy = Some(sections::deploy(fields, warnings)?);
    }
    if let Some(fields) = root.section("rollout")? {
        let (stage, generic) = sections::rollout(fields, warnings)?;
        pipeline.rollout = Some(stage);
        pipeline.generic_rollout = generic;
    }
    if let Some(fields) = root.section("evaluation")? {
        pipeline.evaluation = Some(sections::measurement(StageName::Evaluation, fields, warnings)?);
    }
    if let Some(fields) = root.section("benchmark")? {
        pipeline.benchmark = Some(sections::measurement(StageName::Benchmark, fields, warnings)?);
    }
    if let Some(fields) = root.section("verify")? {
        pipeline.verify = sections::verify(fields)?;
    }
    if let Some(fields) = root.section("artifacts")? {
        pipeline.out_dir = sections::artifacts(fields)?;
    }
    if let Some(fields) = root.section("tooling")? {
        warnings.push(sections::tooling(fields)?);
    }
    let start = root.at;
    root.finish()?;
    if pipeline.stages().next().is_none() {
        return Err(nothing_declared(start));
    }
    Ok(pipeline)
}

fn nothing_declared(at: Position) -> Fault {
    at.fault("no stage is declared; add `tests`, `rollout` or `evaluation`")
}

/// `version` is the integer 1; when it is missing, 1 is meant.
pub(super) fn read_version(root: &mut Fields) -> Result<(), Fault> {
    let Some(node) = root.present("version") else {
        return Ok(());
    };
    match &node.value {
        document::Value::Scalar { text, plain: true } if text == "1" => Ok(()),
        document::Value::Scalar { text, .. } if !node.is_null() => Err(node
            .at
            .fault(format!("`version` must be the integer 1, found `{}`", shown(text)))),
        _ => Err(node
            .at
            .fault(format!("`version` must be the integer 1, found {}", node.kind()))),
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "pipeline_value_tests.rs"]
mod value_tests;
