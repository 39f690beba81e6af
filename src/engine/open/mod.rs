//! A target that stays open: its stages run some at a time, when a caller asks for them,
//! by the same judge that verifies.
//!
//! | file | holds |
//! |---|---|
//! | `model` | the model that stages work with |
//! | `authors` | the agents that write and repair its contract |
//! | `ground` | what its verifications share |
//! | `ending` | how it ends |

mod authors;
mod ending;
mod ground;
mod model;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::json;

use crate::{
    contract::{Pipeline, StageName},
    engine::{
        Authoring, EngineError, Stop, TargetOptions,
        author::Ledgers,
        bootstrap::Bootstrap,
        evidence::Evidence,
        judge::{self, Fittings, Held, Overrides, Part, Verification},
        permit,
        site::{self, Site},
        workspace::Workspace,
    },
    fsm::Blame,
    guard,
    names::RelPath,
    record::{RunDir, Secret},
    report::{Happening, Reporter},
    source::Target,
};

pub use authors::{ContractMark, RepairOf};
pub use ending::Ending;
pub use model::{ModelUse, StageModel};

use authors::Repairer;
use ground::Ground;
use model::Door;

/// Largest file of the inside that is brought out by name.
pub const BRING_MAX: u64 = 256 << 20;

/// Some stages that have run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What they came to.
    pub verification: Verification,
    /// Their directory on the host.
    pub artifacts: PathBuf,
    /// What they used of the model; `None` without a door.
    pub model: Option<ModelUse>,
}

/// A run whose streams nobody may have adopted: redacts them when it is dropped, which an
/// error does, or whoever gives the wait up.
struct Unsettled<'a>(&'a RunDir);

impl Unsettled<'_> {
    fn settled(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if let Err(why) = self.0.settle() {
            tracing::warn!("{why}");
        }
    }
}

/// A target that is open. Dropping it ends what runs inside.
pub struct OpenTarget {
    ground: Ground,
    workspace: Workspace,
    evidence: Evidence,
    began: Instant,
    model: Option<StageModel>,
    door: Option<Door>,
    doors: u32,
    held: Option<Held>,
    last: Option<Verification>,
    authoring: Authoring,
    ledgers: Ledgers,
    /// The agent that repairs, once it was needed.
    repairer: Option<Repairer>,
    repairs: u32,
}

impl OpenTarget {
    /// Copies the target and reads its contract; where it has none, one is written as
    /// `authoring` says. Nothing of it runs yet. `secrets` are redacted in all that is written.
    ///
    /// # Errors
    /// As [`crate::engine::verify`]; [`EngineError::NoContract`] where there is no contract and
    /// nobody writes one, [`EngineError::Scaffold`] where nobody came to one that holds.
    pub async fn open(
        options: TargetOptions,
        authoring: Authoring,
        secrets: &[Secret],
        reporter: Reporter,
        stop: &mut Stop,
    ) -> Result<Self, EngineError> {
        let began = Instant::now();
        let options = TargetOptions {
            require_pipeline: true,
            ..options
        };
        let mut evidence = Evidence::new("env", &options);
        let prepared = async {
            let mut site = Site::prepare(&options, secrets, None, None, &mut evidence, &reporter, stop).await?;
            let options = site
                .narrowed(&options, &mut evidence)?
                .unwrap_or_else(|| options.clone());
            // No agent ever looks at it.
            let plan = RelPath::new("PLAN.md").map_err(|e| EngineError::Usage(e.to_string()))?;
            let mut workspace = site.workspace(&options, &plan, guard::withheld(), Vec::new())?;
            let mut ledgers = Ledgers::default();
            let about = (&options, &site, &reporter);
            authors::scaffold(about, &authoring, &mut workspace, &mut ledgers, stop).await?;
            let pipeline = site::contract_of(&options, &workspace, &site.run)?;
            evidence.receipt.isolation = Some(pipeline.verify.isolation);
            let bootstrap = Bootstrap::of(&workspace, &options)?;
            site::warn(&pipeline, bootstrap.as_ref(), &reporter);
            evidence.lock(&site.run, &workspace, None)?;
            Ok((options, site, workspace, pipeline, bootstrap, ledgers))
        }
        .await;
        let (options, site, workspace, pipeline, bootstrap, ledgers) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => {
                evidence.fail(&why);
                return Err(why);
            }
        };
        Ok(Self {
            evidence,
            ground: Ground {
                options,
                reporter,
                site,
                pipeline,
                bootstrap,
            },
            workspace,
            began,
            model: None,
            door: None,
            doors: 0,
            held: None,
            last: None,
            authoring,
            ledgers,
            repairer: None,
            repairs: 0,
        })
    }

    /// The run's id.
    pub fn run_id(&self) -> &str {
        self.ground.site.run.id().as_str()
    }

    /// The run's directory.
    pub fn artifacts(&self) -> &Path {
        self.ground.site.run.path()
    }

    /// The target.
    pub fn target(&self) -> &Target {
        &self.ground.site.target
    }

    /// The contract.
    pub fn pipeline(&self) -> &Pipeline {
        &self.ground.pipeline
    }

    /// Whether a sandbox is held, with what earlier stages made and left running.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// From now on `secrets` are redacted in all that is shown and written.
    pub fn hide(&self, secrets: &[Secret]) {
        self.ground.site.run.hide(secrets);
        self.ground.reporter.hide(secrets);
    }

    /// Runs some of the contract's stages in their order, up to the first failure; `name`
    /// is their directory in the run. They run in the sandbox that is held; with `anew`, or
    /// where none is, in a new one, which is held from then on.
    ///
    /// # Errors
    /// When no sandbox can be built or the record cannot be kept; stages that fail are a
    /// [`Ran`], also for their sandbox.
    pub async fn run(
        &mut self,
        name: &str,
        stages: &[StageName],
        overrides: &Overrides,
        anew: bool,
    ) -> Result<Ran, EngineError> {
        permit::variables(
            &self.ground.options.policy,
            overrides.set.iter().map(|(name, _)| name.as_str()),
        )?;
        let names: Vec<&str> = overrides.set.iter().map(|(name, _)| name.as_str()).collect();
        self.ground.site.run.journal(
            "call",
            &json!({"name": name, "stages": stages, "anew": anew, "variables": names}),
        )?;
        if anew {
            self.release().await?;
        }
        if let Some(door) = &self.door {
            door.door.begin_turn(name);
        }
        let fittings = Fittings {
            model_dir: match &self.model {
                Some(StageModel::Directory(dir)) => Some(dir),
                _ => None,
            },
            door: self.door.as_ref().map(|door| (&door.door, &door.key)),
        };
        let judge = self.ground.judge(overrides);
        let part = Part {
            stages,
            held: &mut self.held,
            fittings,
        };
        let unsettled = Unsettled(&self.ground.site.run);
        let mut verification = Box::pin(judge.part(&mut self.workspace, name, part)).await?;
        unsettled.settled();
        let model = self.door.as_ref().map(|door| {
            let (usage, _) = door.door.usage();
            ModelUse {
                calls: usage.calls,
                failed: door.door.failed(),
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
            }
        });
        // A command that fails for want of its model did not fail by itself.
        let failed_inside = self.door.as_ref().map_or(0, |door| door.door.failed_inside());
        if verification.blame == Some(Blame::Verifier) && failed_inside > 0 {
            verification.blame = Some(Blame::Provider);
            self.ground
                .site
                .run
                .write_json(&format!("{name}/summary.json"), &verification)?;
        }
        let said = json!({
            "name": name, "ok": verification.ok, "failed_stage": verification.failed_stage,
            "blame": verification.blame, "model": model,
        });
        self.ground.site.run.journal("called", &said)?;
        self.last = Some(verification.clone());
        Ok(Ran {
            verification,
            artifacts: self.ground.site.run.path().join(name),
            model,
        })
    }

    /// The questions of the target's test split, all of them, where it is a data set and they
    /// can be had; else the inner value says why not. They are read in a sandbox of their own;
    /// `name` is the directory of the record of that.
    ///
    /// # Errors
    /// When no sandbox can be built, or the record cannot be kept.
    pub async fn test_questions(&mut self, name: &str) -> Result<Option<Result<Vec<String>, String>>, EngineError> {
        let overrides = Overrides::default();
        let judge = self.ground.judge(&overrides);
        let prefix = format!("{name}/samples_questions");
        judge.test_questions(&mut self.workspace, &prefix).await
    }

    /// How many samples a rollout is to have: `AIDER_EVAL_LIMIT` of a call, the contract or the
    /// user's grants, a generic rollout's own limit, or what the mode means.
    ///
    /// # Errors
    /// Where the variable is no number from 1.
    pub fn rollout_limit(&self, overrides: &Overrides) -> Result<u64, String> {
        let value = |name: &str| {
            let stage = self
                .ground
                .pipeline
                .rollout
                .as_ref()
                .map_or(&[][..], |stage| &stage.env);
            let secret = |(known, value): &(String, Secret)| (known == name).then(|| value.expose().to_owned());
            let by_call = overrides.set.iter().rev().find_map(secret);
            let by_stage = || {
                stage
                    .iter()
                    .rev()
                    .find(|(known, _)| known == name)
                    .map(|(_, value)| value.clone())
            };
            by_call
                .or_else(by_stage)
                .or_else(|| self.ground.options.grants.iter().rev().find_map(secret))
        };
        let (said, mode) = (value("AIDER_EVAL_LIMIT"), value("AIDER_EVAL_MODE"));
        judge::rollout_limit(
            said.as_deref(),
            mode.as_deref(),
            self.ground.pipeline.generic_rollout.as_ref(),
        )
    }

    /// Ends the sandbox that is held, if there is one: diagnostics and the contract's
    /// teardown before, by its policy for stages that `passed` or did not.
    ///
    /// # Errors
    /// When the record cannot be kept, or the sandbox failed; it is gone then, too.
    pub async fn take_down(
        &mut self,
        name: &str,
        overrides: &Overrides,
        passed: bool,
    ) -> Result<Option<Ran>, EngineError> {
        let Some(held) = self.held.take() else {
            return Ok(None);
        };
        let judge = self.ground.judge(overrides);
        let verification = judge.take_down(&mut self.workspace, name, held, passed).await?;
        self.ground.site.run.journal("taken-down", &json!({"name": name}))?;
        Ok(Some(Ran {
            verification,
            artifacts: self.ground.site.run.path().join(name),
            model: None,
        }))
    }

    /// Ends the sandbox that is held, and nothing else.
    ///
    /// # Errors
    /// When something of it could not be removed.
    pub async fn release(&mut self) -> Result<(), EngineError> {
        match self.held.take() {
            Some(held) => held.end().await,
            None => Ok(()),
        }
    }

    /// A file of the tree in the sandbox that is held, by its path there, as the stages
    /// name it: relative to the repository, or absolute below it.
    ///
    /// # Errors
    /// When the sandbox fails; what is wrong with the path or the file is the inner error.
    pub async fn read(&self, path: &str) -> Result<Result<Vec<u8>, String>, EngineError> {
        match &self.held {
            Some(held) => held.read(path).await,
            None => Ok(Err("the sandbox is gone".to_owned())),
        }
    }

    /// Writes an artifact of the run, redacted.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, relative: &str, bytes: &[u8]) -> Result<PathBuf, EngineError> {
        Ok(self.ground.site.run.write(relative, bytes)?)
    }

    /// Says something to whoever watches.
    pub fn warn(&self, text: String) {
        self.ground.reporter.say(Happening::Warning { text });
    }
}
