//! One attempt at a verification: the order of the stages in one sandbox.

use std::sync::Arc;

use super::{
    Judge, StageSummary, Verification,
    generic::Prepared,
    held::{Fitted, Fittings},
    hinted::{Evidence, Hinted},
    outputs::Declared,
    sealed::Handed,
};
use crate::{
    contract::{Pipeline, Stage, StageName},
    engine::{EngineError, command::Unrecorded, environment::Environment},
    fsm::Blame,
    names::RelPath,
    policy::{CommandPolicy, shell},
    sandbox::{ExecSpec, Sandbox},
    tree::TreeEdits,
    wire::{Argv, Termination},
};

/// Where stages leave files unless the contract says otherwise.
const OUT_DIR: &str = ".aider_fsm/artifacts";

/// A verification under way.
pub(super) struct Session<'a> {
    pub judge: &'a Judge<'a>,
    pub sandbox: Sandbox,
    /// Its directory in the run.
    pub name: &'a str,
    pub policy: CommandPolicy,
    /// The directory inside below which stages leave files.
    pub base: String,
    /// This verification's own, below it.
    pub artifacts: String,
    /// `python3` inside.
    pub python: Option<String>,
    /// What bootstrap's `env` gives the stages here.
    bootstrap_env: Vec<(String, String)>,
    /// What a kept sandbox gives them besides; it comes before all else.
    pub fitted: Fitted,
    /// What it was fitted with.
    pub fittings: Fittings<'a>,
    /// What a generic rollout is to ask.
    pub prepared: Option<Prepared>,
    /// A command of the deployment was begun.
    pub deployed: bool,
    /// The last command, while its record is left for later.
    pub unrecorded: Option<Unrecorded>,
    /// Artifact prefixes of commands whose services may still write.
    pub kept: Vec<String>,
    /// The one measurement that this sandbox is for.
    pub within: Option<StageName>,
    /// What a sealed measurement gets of the stages before it, and a generic evaluation.
    pub handed: Handed,
    /// What a generic evaluation is to run.
    pub hinted: Option<Arc<Hinted>>,
    /// What a generic evaluation measured.
    pub measured: Option<Evidence>,
    pub out: Verification,
}

impl<'a> Session<'a> {
    /// A session in a new sandbox; `out` is what came of the verification until now.
    pub fn new(
        judge: &'a Judge<'a>,
        sandbox: Sandbox,
        name: &'a str,
        mut out: Verification,
    ) -> Result<Self, EngineError> {
        let policy = judge.pipeline.security.policy(shell::Judge::new(&judge.options.policy));
        let root = &sandbox.inside().workspace;
        let base = format!("{root}/{}", below(judge.pipeline));
        let bootstrap_env = match judge.bootstrap {
            Some(bootstrap) => bootstrap.env_of_stages(sandbox.inside())?,
            None => Vec::new(),
        };
        out.walls = Some(sandbox.walls().clone());
        Ok(Self {
            artifacts: format!("{root}/{}", artifacts(judge, name)),
            policy: policy.map_err(|why| EngineError::Contract(why.to_string()))?,
            judge,
            sandbox,
            name,
            base,
            python: None,
            bootstrap_env,
            fitted: Fitted::default(),
            fittings: Fittings::default(),
            prepared: None,
            deployed: false,
            unrecorded: None,
            kept: Vec::new(),
            within: None,
            handed: Handed::default(),
            hinted: None,
            measured: None,
            out,
        })
    }

    /// Makes this verification's directory inside and removes what must not be there before
    /// the stages; `false` when the tree does not let us, which is its failure by then.
    pub async fn prepare(&mut self, removals: Vec<RelPath>) -> Result<bool, EngineError> {
        // Inside the limits of RelPath by construction: a checked path, a run id, fixed names.
        let artifacts =
            RelPath::new(artifacts(self.judge, self.name)).map_err(|e| EngineError::Usage(e.to_string()))?;
        let mut edits = TreeEdits::make_dir(&artifacts);
        edits.removals = removals;
        self.edit(&edits, "prepare").await
    }

    /// Runs the bootstrap's commands.
    pub async fn bootstrap(&mut self, stage: &Stage) -> Result<(), EngineError> {
        self.python = self.find_python().await?;
        let summary = self.stage(stage).await?;
        self.ended(summary)
    }

    /// Runs the stages that are wanted, up to the first failure.
    pub async fn in_order(&mut self, wanted: &(dyn Fn(StageName) -> bool + Sync)) -> Result<(), EngineError> {
        let pipeline = self.judge.pipeline;
        for stage in pipeline.stages().filter(|stage| wanted(stage.name)) {
            let declared = Declared::of(pipeline, stage.name);
            let performed = pipeline.performs(stage.name);
            let runs = !stage.cmds.is_empty() || performed;
            if runs {
                let removals = declared.as_ref().map(Declared::paths).unwrap_or_default();
                let edits = TreeEdits {
                    removals,
                    ..TreeEdits::default()
                };
                if !edits.is_empty() && !self.edit(&edits, stage.name.as_str()).await? {
                    break;
                }
                let summary = match performed {
                    true if stage.name == StageName::Rollout => Box::pin(self.generic_rollout(stage)).await?,
                    true => Box::pin(self.generic_evaluation(stage)).await?,
                    false => self.stage(stage).await?,
                };
                self.ended(summary)?;
            }
            if let Some(declared) = declared.filter(|declared| self.out.ok && (runs || declared.without_commands())) {
                self.judge_outputs(declared).await?;
            }
            if !self.out.ok {
                break;
            }
        }
        Ok(())
    }

    /// Changes the tree inside; `false` when its state does not let us, which the
    /// stage `stage` has failed by then.
    pub async fn edit(&mut self, edits: &TreeEdits, stage: &str) -> Result<bool, EngineError> {
        use crate::sandbox::SandboxError::Guest;
        match self.sandbox.put(&edits.removals, edits.tar.clone()).await {
            Ok(()) => Ok(true),
            Err(Guest { step, why, .. }) => {
                let reason = format!("declared outputs cannot be removed before the stage: {step}: {why}");
                self.out.evidence.text.clone_from(&reason);
                self.out.fail(stage, reason, Blame::Verifier, None);
                Ok(false)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Ends the sandbox and gives what came of it.
    pub async fn end(self, ran: Result<(), EngineError>) -> Result<Verification, EngineError> {
        self.sandbox.destroy().await?;
        ran?;
        // Services wrote until now: their output is redacted once more, and its copies follow.
        for prefix in &self.kept {
            for stream in ["stdout", "stderr"] {
                self.judge.run.adopt(&format!("{prefix}_{stream}.txt"))?;
            }
        }
        if let Some((last, (stage, _))) = self
            .kept
            .last()
            .and_then(|last| Some((last, last.rsplit_once("_cmd")?)))
        {
            self.judge.alias(last, stage)?;
        }
        Ok(self.out)
    }

    /// What the files of a stage begin with, relative to the run's directory.
    pub fn files_of(&self, stage: StageName) -> String {
        match self.within {
            Some(within) if within != stage => format!("{}/{within}_{stage}", self.name),
            _ => format!("{}/{stage}", self.name),
        }
    }

    /// Keeps and tells of a finished stage.
    pub fn ended(&mut self, summary: StageSummary) -> Result<(), EngineError> {
        self.judge.tell_ended(&self.files_of(summary.stage), &summary)?;
        self.out.ended(summary);
        Ok(())
    }

    /// The environment of a stage's commands.
    pub fn environment(&self, stage: &Stage) -> Environment {
        let mut env = Environment::new(self.sandbox.inside());
        // What a bootstrap makes is kept, and shown to the agent: it gets nothing of the user's.
        let bootstraps = stage.name == StageName::Bootstrap;
        if !bootstraps {
            env.grant(&self.judge.options.grants);
        }
        if let Some(python) = &self.python {
            env.set_default("AIDER_FSM_PYTHON", python.as_str());
        }
        env.set_default("AIDER_FSM_PORT", self.sandbox.inside().server_port.to_string());
        if !bootstraps {
            env.extend(&self.bootstrap_env);
        }
        env.extend(&stage.env);
        if !bootstraps {
            let overrides = self.judge.overrides;
            env.remove(&overrides.unset);
            env.grant(&overrides.set);
            env.extend(&self.fitted.env);
        }
        env
    }

    pub async fn find_python(&self) -> Result<Option<String>, EngineError> {
        if let Some(found) = self.judge.python.get() {
            return Ok(found.clone());
        }
        let env = Environment::new(self.sandbox.inside());
        let path = env.get("PATH").unwrap_or_default().to_owned();
        let found = self
            .ask(&["sh", "-c", "command -v python3"], vec![("PATH".to_owned(), path)])
            .await?;
        let found = found
            .map(|line| line.trim().to_owned())
            .filter(|line| line.starts_with('/'));
        Ok(self.judge.python.get_or_init(|| found).clone())
    }

    /// Runs a small program of the host's `/usr` inside and gives what it prints; `None`
    /// when it fails.
    pub async fn ask(&self, argv: &[&str], env: Vec<(String, String)>) -> Result<Option<String>, EngineError> {
        let argv = Argv::Direct(argv.iter().map(|word| (*word).to_owned()).collect());
        let wall = std::time::Duration::from_secs(10);
        let mut spec = ExecSpec::question(argv, &self.sandbox.inside().workspace, wall, 4096);
        spec.env = env;
        let outcome = self.sandbox.exec(spec).await?.wait().await?;
        let passed = outcome.end == Termination::Code(0) && !outcome.timed_out;
        Ok(passed.then(|| String::from_utf8_lossy(&outcome.stdout.tail).into_owned()))
    }
}

/// Where stages leave files, relative to the workspace.
fn below(pipeline: &Pipeline) -> String {
    pipeline
        .out_dir
        .as_ref()
        .map_or(OUT_DIR.to_owned(), ToString::to_string)
}

/// This verification's own directory there.
fn artifacts(judge: &Judge<'_>, name: &str) -> String {
    format!("{}/{}/{name}", below(judge.pipeline), judge.run.id())
}

/// The file of the primary metrics: the evaluation's, else the benchmark's.
pub(super) fn metrics_path(pipeline: &Pipeline) -> Option<RelPath> {
    let measurements = [&pipeline.evaluation, &pipeline.benchmark];
    measurements.into_iter().flatten().find_map(|m| m.metrics_path.clone())
}
