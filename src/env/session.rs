//! A target that is open as an environment.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    AgentSettings, Audit, CallOptions, DeployCallResult, Endpoint, EnvError, EvaluationCallResult, Llm,
    RolloutCallResult, SetupOptions, VerificationResult,
    brought::{self, Brought},
    repairs::{Failure, Repairs},
    variables::checked,
};
use crate::{
    contract::StageName,
    engine::{Ending, EngineError, OpenTarget, Outcome, Overrides, Ran, TargetOptions},
    fsm::Blame,
};

/// What a deployment is made of; every call that deploys begins with them.
const DEPLOYMENT: [StageName; 3] = [StageName::Auth, StageName::DeploySetup, StageName::DeployHealth];

/// An open environment. Each deployment has a fresh sandbox over the target as it was
/// copied; it is kept, with what the deployment left running, for the evaluations after
/// it. Dropping the session ends what runs inside.
pub struct EnvSession {
    pub(super) target: OpenTarget,
    require_metrics: bool,
    audit: Audit,
    agent: AgentSettings,
    pub(super) endpoint: Option<Endpoint>,
    /// Whether the contract's teardown runs before a sandbox ends.
    teardown: bool,
    pub(super) llm: Option<Llm>,
    /// Calls so far, by the beginning of their directories' names.
    calls: BTreeMap<&'static str, u32>,
    /// Whether a deployment stands on which an evaluation can run.
    deployed: bool,
    /// What the deployment was given; its teardown gets the same.
    variables: Overrides,
}

/// One call that has run.
pub(super) struct Called {
    pub name: String,
    pub ran: Ran,
}

impl EnvSession {
    /// See [`super::setup`].
    ///
    /// # Errors
    /// As there.
    pub async fn setup(options: SetupOptions) -> Result<Self, EnvError> {
        let SetupOptions {
            target,
            require_metrics,
            audit,
            agent,
            endpoint,
            teardown,
            secrets,
            reporter,
            mut stop,
        } = options;
        let target = TargetOptions { audit, ..target };
        let authoring = agent.authoring(&target, endpoint.as_ref(), require_metrics)?;
        // On the heap, here and below: what is waited for is deep, and a worker's stack is not.
        let target = Box::pin(OpenTarget::open(target, authoring, &secrets, reporter, &mut stop)).await?;
        Ok(Self {
            target,
            require_metrics,
            audit,
            agent,
            endpoint,
            teardown,
            llm: None,
            calls: BTreeMap::new(),
            deployed: false,
            variables: Overrides::default(),
        })
    }

    /// The target that is open.
    pub fn target(&self) -> &OpenTarget {
        &self.target
    }

    pub(super) fn target_mut(&mut self) -> &mut OpenTarget {
        &mut self.target
    }

    /// What becomes of findings about how a score came about.
    pub fn audit(&self) -> Audit {
        self.audit
    }

    /// For an agent that repairs the contract.
    pub fn agent(&self) -> &AgentSettings {
        &self.agent
    }

    /// The model of the last call that named one.
    pub fn llm(&self) -> Option<&Llm> {
        self.llm.as_ref()
    }

    /// Whether a deployment stands.
    pub fn is_deployed(&self) -> bool {
        self.deployed && self.target.is_held()
    }

    /// See [`super::deploy`].
    ///
    /// # Errors
    /// As there.
    pub async fn deploy(&mut self, llm: &Llm, call: &CallOptions) -> Result<DeployCallResult, EnvError> {
        let mut repairs = Repairs::of(call);
        let Called { name, ran } = loop {
            let called = self.anew("deploy", Some(llm), &[], call).await?;
            let ok = called.ran.verification.ok;
            self.settle(ok).await?;
            if ok
                || !self
                    .repair(&mut repairs, &called, &Failure::of(&called, None, &[]))
                    .await?
            {
                break called;
            }
        };
        let path = ran.artifacts.join("runtime_env.json");
        let bytes = std::fs::read(&path).ok();
        let runtime_env: Option<Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let ok = ran.verification.ok;
        let artifacts_dir = self.place(&ran.artifacts, call)?;
        Ok(DeployCallResult {
            ok,
            runtime_env_path: runtime_env.as_ref().map(|_| artifacts_dir.join("runtime_env.json")),
            runtime_env,
            verify: VerificationResult::of(&ran, &name, &artifacts_dir),
            artifacts_dir,
        })
    }

    /// See [`super::rollout`].
    ///
    /// # Errors
    /// As there.
    pub async fn rollout(&mut self, llm: Option<&Llm>, call: &CallOptions) -> Result<RolloutCallResult, EnvError> {
        let mut repairs = Repairs::of(call);
        let (called, brought, ok) = loop {
            let called = self.anew("rollout", llm, &[StageName::Rollout], call).await?;
            let brought = self.bring_rollout(&called, call).await?;
            let ok = self.rolled_out(&called, &brought, call);
            self.settle(ok).await?;
            let failure = Failure::of(&called, None, &brought.errors);
            if ok || !self.repair(&mut repairs, &called, &failure).await? {
                break (called, brought, ok);
            }
        };
        let artifacts_dir = self.place(&called.ran.artifacts, call)?;
        Ok(rollout_result(&called, brought, ok, artifacts_dir))
    }

    /// See [`super::evaluation`].
    ///
    /// # Errors
    /// As there.
    pub async fn evaluation(&mut self, call: &CallOptions) -> Result<EvaluationCallResult, EnvError> {
        let mut repairs = Repairs::of(call);
        let mut first = match self.is_deployed() {
            true => {
                self.variables = self.variables_of(call)?;
                match self.call("evaluation", &[StageName::Evaluation], call, false).await {
                    // The sandbox took the deployment with it: everything begins anew.
                    Err(EnvError::SandboxFailed { .. }) => {
                        self.deployed = false;
                        None
                    }
                    other => Some(other?),
                }
            }
            false => None,
        };
        let (called, ok, reason) = loop {
            let called = match first.take() {
                Some(called) => called,
                None => {
                    let stages = [StageName::Rollout, StageName::Evaluation];
                    self.anew("evaluation", None, &stages, call).await?
                }
            };
            let (ok, reason) = self.evaluated(&called.ran);
            self.settle(ok).await?;
            let failure = Failure::of(&called, reason.as_deref(), &[]);
            if ok || !self.repair(&mut repairs, &called, &failure).await? {
                break (called, ok, reason);
            }
        };
        let artifacts_dir = self.place(&called.ran.artifacts, call)?;
        Ok(evaluation_result(&called, ok, reason, artifacts_dir))
    }

    /// See [`super::rollout_and_evaluation`].
    ///
    /// # Errors
    /// As there.
    pub async fn rollout_and_evaluation(
        &mut self,
        llm: Option<&Llm>,
        call: &CallOptions,
    ) -> Result<(RolloutCallResult, EvaluationCallResult), EnvError> {
        let stages = [StageName::Rollout, StageName::Evaluation];
        let mut repairs = Repairs::of(call);
        let (called, brought, rolled_out, evaluated, reason) = loop {
            let called = self.anew("rollout_evaluation", llm, &stages, call).await?;
            let brought = self.bring_rollout(&called, call).await?;
            let rolled_out = self.rolled_out(&called, &brought, call);
            let (evaluated, reason) = self.evaluated(&called.ran);
            let ok = rolled_out && evaluated;
            self.settle(ok).await?;
            let samples: &[String] = if rolled_out { &[] } else { &brought.errors };
            let failure = Failure::of(&called, reason.as_deref(), samples);
            if ok || !self.repair(&mut repairs, &called, &failure).await? {
                break (called, brought, rolled_out, evaluated, reason);
            }
        };
        let artifacts_dir = self.place(&called.ran.artifacts, call)?;
        let rollout = rollout_result(&called, brought, rolled_out, artifacts_dir.clone());
        Ok((rollout, evaluation_result(&called, evaluated, reason, artifacts_dir)))
    }

    /// See [`super::teardown`].
    ///
    /// # Errors
    /// As there.
    pub async fn teardown(&mut self, call: &CallOptions) -> Result<bool, EnvError> {
        let mut variables = self.variables.clone();
        variables.set.extend(checked(&call.env)?);
        let passed = self.deployed;
        let torn = self.take_down(&variables, passed).await?;
        if let (Some(ran), Some(dir)) = (&torn, &call.artifacts_dir) {
            copied(&ran.artifacts, dir)?;
        }
        Ok(torn.is_none_or(|ran| ran.verification.stages.iter().all(|stage| stage.ok)))
    }

    /// Ends the session: whatever is deployed is taken down, the run's summary is written.
    ///
    /// # Errors
    /// As [`super::teardown`].
    pub async fn close(self) -> Result<Outcome, EnvError> {
        let ending = Ending {
            reason: "CLOSED",
            detail: "the session was closed".to_owned(),
            exit_code: 0,
        };
        self.end(ending).await
    }

    /// The same with an ending of the caller's.
    ///
    /// # Errors
    /// As [`EnvSession::close`].
    pub async fn end(mut self, ending: Ending) -> Result<Outcome, EnvError> {
        let (variables, passed) = (self.variables.clone(), self.deployed);
        self.take_down(&variables, passed).await?;
        Ok(self.target.close(ending).await?)
    }

    /// A call that deploys first, in a fresh sandbox; what stood before is taken down.
    async fn anew(
        &mut self,
        kind: &'static str,
        llm: Option<&Llm>,
        stages: &[StageName],
        call: &CallOptions,
    ) -> Result<Called, EnvError> {
        let llm = llm.or(self.llm.as_ref()).ok_or(EnvError::MissingLlm)?.clone();
        let (variables, passed) = (self.variables.clone(), self.deployed);
        self.take_down(&variables, passed).await?;
        let endpoint = self.endpoint_of(call);
        if matches!(llm, Llm::Remote(_)) && endpoint.is_none() {
            self.target.warn(
                "no endpoint is known for a remote model: set OPENAI_BASE_URL or OPENAI_API_KEY; the stages find no \
                 model door"
                    .to_owned(),
            );
        }
        self.target.set_model(llm.stage_model(endpoint.as_ref()))?;
        self.llm = Some(llm);
        self.variables = self.variables_of(call)?;
        let all = [&DEPLOYMENT[..], stages].concat();
        self.call(kind, &all, call, true).await
    }

    async fn call(
        &mut self,
        kind: &'static str,
        stages: &[StageName],
        call: &CallOptions,
        anew: bool,
    ) -> Result<Called, EnvError> {
        if call.mode.trim().is_empty() {
            return Err(EnvError::InvalidEnv("`mode` is blank".to_owned()));
        }
        let name = self.next(kind);
        let ran = Box::pin(self.target.run(&name, stages, &self.variables, anew)).await?;
        if ran.verification.blame == Some(Blame::Sandbox) {
            self.deployed = false;
            return Err(EnvError::SandboxFailed {
                why: ran.verification.reason.unwrap_or_default(),
                artifacts: ran.artifacts,
            });
        }
        Ok(Called { name, ran })
    }

    fn next(&mut self, kind: &'static str) -> String {
        let number = self.calls.entry(kind).or_default();
        *number += 1;
        format!("{kind}_attempt_{number:02}")
    }

    /// What stands after a call: nothing where it failed.
    async fn settle(&mut self, ok: bool) -> Result<(), EnvError> {
        self.deployed = ok;
        if ok {
            return Ok(());
        }
        let variables = self.variables.clone();
        self.take_down(&variables, false).await?;
        Ok(())
    }

    async fn take_down(&mut self, variables: &Overrides, passed: bool) -> Result<Option<Ran>, EnvError> {
        self.deployed = false;
        if !self.target.is_held() {
            return Ok(None);
        }
        if !self.teardown {
            self.target.release().await?;
            return Ok(None);
        }
        let name = self.next("teardown");
        match self.target.take_down(&name, variables, passed).await {
            // It is gone, which is what was wanted.
            Err(EngineError::Sandbox(why)) => {
                self.target
                    .warn(format!("the sandbox failed before its teardown: {why}"));
                Ok(None)
            }
            other => Ok(other?),
        }
    }

    /// Where a caller finds the artifacts of a call.
    fn place(&self, artifacts: &Path, call: &CallOptions) -> Result<PathBuf, EnvError> {
        match &call.artifacts_dir {
            Some(dir) => copied(artifacts, dir),
            None => Ok(artifacts.to_path_buf()),
        }
    }

    async fn bring_rollout(&mut self, called: &Called, call: &CallOptions) -> Result<Brought, EnvError> {
        let passed = called.ran.verification.failed_stage.as_deref() != Some("rollout");
        match passed && self.target.is_held() {
            true => {
                let demanded = call.require_samples.then_some(&self.variables);
                brought::rollout(&mut self.target, &called.name, demanded).await
            }
            false => Ok(Brought::default()),
        }
    }

    fn rolled_out(&self, called: &Called, brought: &Brought, call: &CallOptions) -> bool {
        let verification = &called.ran.verification;
        // In one verification the rollout has passed where a later stage failed.
        let later = ["evaluation", "metrics"].map(Some);
        let passed = verification.ok || later.contains(&verification.failed_stage.as_deref());
        for why in &brought.errors {
            self.target.warn(format!("rollout: {why}"));
        }
        passed && (!call.require_samples || brought.errors.is_empty())
    }

    /// Whether an evaluation counts, and why not.
    fn evaluated(&self, ran: &Ran) -> (bool, Option<String>) {
        let found = &ran.verification;
        if !found.ok {
            let stage = found.failed_stage.as_deref().unwrap_or_default();
            let reason = found.reason.as_deref().unwrap_or_default();
            return (false, Some(format!("{stage}: {reason}")));
        }
        let said = found.metrics.as_ref().and_then(|metrics| metrics.get("ok"));
        match self.require_metrics && said != Some(&Value::Bool(true)) {
            true => (false, Some("metrics.ok_not_true".to_owned())),
            false => (true, None),
        }
    }
}

fn rollout_result(called: &Called, brought: Brought, ok: bool, artifacts_dir: PathBuf) -> RolloutCallResult {
    RolloutCallResult {
        ok,
        rollout_path: brought.path,
        samples_errors: brought.errors,
        verify: VerificationResult::of(&called.ran, &called.name, &artifacts_dir),
        artifacts_dir,
    }
}

fn evaluation_result(
    called: &Called,
    ok: bool,
    reason: Option<String>,
    artifacts_dir: PathBuf,
) -> EvaluationCallResult {
    let verify = VerificationResult::of(&called.ran, &called.name, &artifacts_dir);
    EvaluationCallResult {
        ok,
        metrics_path: verify.metrics_path.clone(),
        metrics: verify.metrics.clone(),
        reason,
        verify,
        artifacts_dir,
    }
}

fn copied(artifacts: &Path, dir: &Path) -> Result<PathBuf, EnvError> {
    brought::copy(artifacts, dir).map_err(|source| {
        EnvError::Engine(EngineError::Io {
            what: format!("copy the artifacts to {}", dir.display()),
            source,
        })
    })
}
