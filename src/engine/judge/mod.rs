//! Verification: the contract's stages in a fresh judge sandbox over the accepted tree.
//!
//! | file | holds |
//! |---|---|
//! | `audit` | findings about scores |
//! | `layer` | the bootstrap before the stages |
//! | `session` | one attempt: the order of the stages in one sandbox |
//! | `sealed` | a measurement in a sandbox of its own |
//! | `held` | some stages in a sandbox that is kept for the next ones |
//! | `stage` | one stage: its commands, repetitions, artifacts |
//! | `generic` | a rollout without code of the repository |
//! | `hinted` | an evaluation without code of the repository |
//! | `outputs` | what stages leave behind: removed before, read and judged after |
//! | `ending` | diagnostics and teardown |
//! | `terminal` | the user's terminal for an interactive `auth` |
//! | `record` | what comes of it |

mod audit;
mod ending;
mod generic;
mod held;
mod hinted;
mod layer;
mod outputs;
mod record;
mod sealed;
mod session;
mod stage;
mod terminal;

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    contract::Pipeline,
    engine::{EngineError, TargetOptions, bootstrap::Bootstrap, evidence, workspace::Workspace},
    fsm::Blame,
    record::{RunDir, Secret},
    report::{Happening, Reporter},
    sandbox::{Backend, SandboxError},
    tree::Cache,
};

pub(super) use audit::Accepted;
pub(super) use generic::limit as rollout_limit;
pub(super) use held::{Fittings, Held, Part};
use outputs::Declared;
pub use record::{CommandLine, ExitCodes, SandboxFailure, StageSummary, Verification};
use session::Session;

/// How often a verification begins anew because its sandbox failed.
const SANDBOX_RETRIES: usize = 2;

/// How much of a verification is wanted.
enum Extent<'a> {
    Bootstrap,
    Whole,
    Part(Part<'a>),
}

/// Variables of a caller's, over those of the contract. A bootstrap gets none of them.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// What is set.
    pub set: Vec<(String, Secret)>,
    /// What is taken away.
    pub unset: Vec<&'static str>,
}

/// What every verification of a run shares.
pub(super) struct Judge<'a> {
    pub backend: &'a Backend,
    pub run: &'a RunDir,
    pub reporter: &'a Reporter,
    pub pipeline: &'a Pipeline,
    pub bootstrap: Option<&'a Bootstrap>,
    pub cache: &'a Cache,
    pub options: &'a TargetOptions,
    /// When the whole run is over.
    pub deadline: Instant,
    /// Variables that come before what the contract gives its stages.
    pub overrides: &'a Overrides,
    /// Where `python3` is inside, once it was looked for: what is on `PATH` there cannot be
    /// written to, so it is the same in every sandbox.
    pub python: OnceLock<Option<String>>,
}

impl Judge<'_> {
    /// Runs every stage; `name` is the directory of this verification in the run
    /// (`iter_0001`). A sandbox that fails is replaced and all begins anew, at most
    /// [`SANDBOX_RETRIES`] times; after that the verification has failed, and the
    /// sandbox is to blame.
    ///
    /// # Errors
    /// When no sandbox can be built, or the record cannot be kept.
    pub async fn verify(&self, workspace: &mut Workspace, name: &str) -> Result<Verification, EngineError> {
        self.attempts(workspace, name, SANDBOX_RETRIES, Extent::Whole).await
    }

    /// Sees to what bootstrap makes, and to nothing else; as [`Judge::verify`].
    ///
    /// # Errors
    /// As there.
    pub async fn bootstrap(&self, workspace: &mut Workspace, name: &str) -> Result<Verification, EngineError> {
        self.attempts(workspace, name, SANDBOX_RETRIES, Extent::Bootstrap).await
    }

    /// Attempts until one does not fail for its sandbox, at most `retries` times more.
    async fn attempts(
        &self,
        workspace: &mut Workspace,
        name: &str,
        retries: usize,
        mut extent: Extent<'_>,
    ) -> Result<Verification, EngineError> {
        let began = Instant::now();
        let mut failures = Vec::new();
        let mut out = loop {
            let why = match self.attempt(workspace, name, &mut extent).await {
                Ok(out) => break out,
                Err(EngineError::Sandbox(why)) if !refuses(&why) => why.to_string(),
                Err(other) => {
                    let why = other.to_string();
                    self.run
                        .journal("verification-refused", &json!({"verification": name, "why": why}))?;
                    return Err(other);
                }
            };
            self.set_aside(name, &why, &mut failures)?;
            if failures.len() > retries {
                let mut out = Verification::begun();
                let place = failures.last().map(|failure| failure.artifacts.clone());
                out.fail("sandbox", why, Blame::Sandbox, place);
                break out;
            }
        };
        out.sandbox_failures = failures;
        out.wall_ms = millis(began.elapsed());
        self.run.keep_json(&format!("{name}/summary.json"), &out)?;
        evidence::bind_ledgers(self.run)?;
        // Whoever hears of it finds all of it on the disk.
        self.run.sync()?;
        Ok(out)
    }

    async fn attempt(
        &self,
        workspace: &mut Workspace,
        name: &str,
        extent: &mut Extent<'_>,
    ) -> Result<Verification, EngineError> {
        let mut out = Verification::begun();
        out.metrics_path = session::metrics_path(self.pipeline);
        out.isolation = self.pipeline.verify.isolation;
        self.can_seal()?;
        let out = self.prepare(workspace, name, out).await?;
        match extent {
            _ if !out.ok => return Ok(out),
            Extent::Bootstrap => return Ok(out),
            Extent::Part(part) => return self.one_part(workspace, name, out, part).await,
            Extent::Whole => {}
        }
        let (sandbox, place) = workspace.open_judge(self.backend, Vec::new()).await?;
        let mut session = Session::new(self, sandbox, name, out)?;
        let ran = self.stages(workspace, &mut session).await;
        let mut out = session.end(ran).await?;
        self.copy_out(workspace, &place, &format!("{name}/outputs"), &mut out)?;
        Ok(out)
    }

    /// Runs the stages up to the first failure, then diagnostics and teardown.
    async fn stages(&self, workspace: &mut Workspace, session: &mut Session<'_>) -> Result<(), EngineError> {
        session.python = session.find_python().await?;
        if session.prepare(Declared::all(self.pipeline)).await? {
            self.prepare_rollout(workspace, session, &|_| true).await?;
            self.prepare_evaluation(workspace, session, &|_| true)?;
            session.in_order(&|stage| !self.seals(stage)).await?;
            self.measure_sealed(workspace, session, None, &|_| true).await?;
            self.audit(workspace, session, &|_| true)?;
        }
        session.ending(session.out.ok).await
    }

    /// Keeps what an attempt left whose sandbox failed, under a name of its own.
    fn set_aside(&self, name: &str, why: &str, failures: &mut Vec<SandboxFailure>) -> Result<(), EngineError> {
        let artifacts = format!("{name}.sandbox_failure_{}", failures.len() + 1);
        let (from, to) = (self.run.path().join(name), self.run.path().join(&artifacts));
        if from.exists() {
            self.run.sync()?;
            std::fs::rename(&from, &to).map_err(|source| EngineError::Io {
                what: format!("set {} aside", from.display()),
                source,
            })?;
        }
        let failure = json!({"verification": name, "why": why, "artifacts": artifacts});
        self.run.journal("sandbox-failed", &failure)?;
        self.reporter.say(Happening::Warning {
            text: format!("the sandbox of {name} failed: {why}"),
        });
        let why = why.to_owned();
        failures.push(SandboxFailure { why, artifacts });
        Ok(())
    }
}

/// Walls that this host refuses now it refuses the next time as well, and so do those that
/// let something through.
fn refuses(why: &SandboxError) -> bool {
    matches!(
        why,
        SandboxError::Build { .. } | SandboxError::TierTooLow { .. } | SandboxError::Witness(_)
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
