//! From the command line to the engine's options.

use std::{sync::Arc, time::Duration};

use super::{
    args::RunArgs,
    model::Resolved,
    runs::RunsArgs,
    surroundings::Surroundings,
    target::{TargetArgs, WallArgs},
};
use crate::{
    agent::Server,
    broker::Budget,
    contract,
    engine::{
        Audit, Caps, EngineError, NetworkOptions, OutsideAgent, RunOptions, StageTime, TargetOptions, WallOptions,
    },
    policy::{Limits, Policy, SettingName, SettingValue},
    record::{Secret, audit::Signer},
    source::{Endpoints, Target},
};

impl TargetArgs {
    /// What the flags say of the policy's single values.
    pub fn settings(&self) -> Vec<(SettingName, SettingValue)> {
        let seconds = |name, time: Option<Duration>| Some((name, SettingValue::Number(time?.as_secs())));
        [
            Some((SettingName::MinTier, SettingValue::Tier(self.walls.min_tier))),
            self.network
                .map(|mode| (SettingName::Network, SettingValue::Network(mode))),
            Some((SettingName::Backend, SettingValue::Backend(self.walls.sandbox))),
            Some((SettingName::Isolation, SettingValue::Isolation(self.isolation))),
            Some((SettingName::Memory, SettingValue::Bytes(self.memory))),
            Some((SettingName::Processes, SettingValue::Number(self.processes))),
            Some((SettingName::Disk, SettingValue::Bytes(self.disk))),
            seconds(SettingName::Command, self.max_cmd),
            seconds(SettingName::Stage, self.max_total),
            seconds(SettingName::Run, self.max_run),
            seconds(SettingName::Silence, self.max_silence),
            self.network
                .map(|mode| (SettingName::Network, SettingValue::Network(mode))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// `grants`: the variables that stages get.
    ///
    /// # Errors
    /// [`EngineError::Usage`] for a flag that is not taken.
    pub fn options(
        &self,
        grants: Vec<(String, Secret)>,
        target: Target,
        endpoints: Endpoints,
        policy: Policy,
        around: &Surroundings,
    ) -> Result<TargetOptions, EngineError> {
        let number = |name| policy.number(name);
        let seconds = |name| number(name).map(Duration::from_secs);
        let (limits, time) = (Limits::default(), StageTime::default());
        Ok(TargetOptions {
            network: self.network(&policy, around),
            target,
            fetch: self.fetch.options()?,
            endpoints,
            test_cmd: self.test_cmd.clone().filter(|command| !command.trim().is_empty()),
            pipeline: self.pipeline.clone().unwrap_or_else(contract::default_path),
            // Who names a file means it.
            require_pipeline: self.require_pipeline || self.pipeline.is_some(),
            grants,
            unattended: self.unattended,
            audit: self.audit.unwrap_or(Audit::WarnOnly),
            isolation: self.isolation,
            artifacts_dir: self.artifacts_dir.clone(),
            walls: self.walls.options(),
            jobs: self.side_by_side(),
            limits: Limits {
                memory_bytes: self.memory,
                processes: self.processes,
                cpu: number(SettingName::Cpu).and_then(|millis| u32::try_from(millis).ok()),
                file_bytes: number(SettingName::FileSize).unwrap_or(limits.file_bytes),
                open_files: number(SettingName::OpenFiles).unwrap_or(limits.open_files),
                ..limits
            },
            disk_bytes: self.disk,
            caps: Caps {
                max_cmd: self.max_cmd,
                max_total: self.max_total,
                max_run: self.max_run,
                max_silence: self.max_silence,
                policy: StageTime {
                    command: seconds(SettingName::Command).unwrap_or(time.command),
                    stage: seconds(SettingName::Stage).unwrap_or(time.stage),
                    contract_may_raise: policy.is_on(SettingName::ContractMayRaise),
                },
            },
            policy: Arc::new(policy),
            signer: self.signer()?,
        })
    }

    /// The key that signs the receipt.
    fn signer(&self) -> Result<Option<Arc<Signer>>, EngineError> {
        let read = self.sign_key.as_deref().map(Signer::read).transpose();
        read.map(|signer| signer.map(Arc::new))
            .map_err(|why| EngineError::Usage(format!("--sign-key {why}")))
    }

    /// Runs of this host that go on side by side; 0 for any number.
    pub fn side_by_side(&self) -> u32 {
        self.jobs.unwrap_or_else(default_jobs)
    }

    /// What of the network is allowed. The secrets of rules are the host's variables, none
    /// of a file that lies in the target.
    fn network(&self, policy: &Policy, around: &Surroundings) -> NetworkOptions {
        let rules = policy.network();
        let names = rules
            .rules
            .iter()
            .filter_map(|rule| Some(&rule.header.as_ref()?.secret));
        let secrets = names
            .filter_map(|name| Some((name.clone(), Secret::new(around.bound(name)?.value))))
            .collect();
        NetworkOptions {
            rules,
            resolver: self.resolver,
            secrets,
        }
    }
}

/// Two runs a processor, and four on the smallest host: a run mostly waits for its model.
fn default_jobs() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(2 * processors).unwrap_or(u32::MAX).max(4)
}

impl WallArgs {
    /// What the user wants for walls.
    pub fn options(&self) -> WallOptions {
        WallOptions {
            backend: self.sandbox,
            image: self.image.clone(),
            docker_runtime: self.docker_runtime.clone(),
            min_tier: self.min_tier,
            trial: None,
        }
    }
}

impl RunArgs {
    /// What the flags say of the policy's single values, besides those of the target.
    pub fn settings(&self) -> Vec<(SettingName, SettingValue)> {
        let cap = |name, most: Option<u64>| (name, most.map_or(SettingValue::Unlimited, SettingValue::Number));
        vec![
            (SettingName::Turn, SettingValue::Number(self.turn_timeout.as_secs())),
            (SettingName::Bash, SettingValue::Bash(self.opencode_bash)),
            (SettingName::Calls, SettingValue::Number(self.max_calls)),
            (SettingName::TurnCalls, SettingValue::Number(self.turn_max_calls)),
            cap(SettingName::Tokens, self.max_tokens),
            cap(SettingName::TurnTokens, self.turn_max_tokens),
        ]
    }

    /// # Errors
    /// [`EngineError::Usage`] where there is no model, and for an agent outside that
    /// was not allowed, or cannot be there.
    pub fn options(
        &self,
        mut target: TargetOptions,
        model: Resolved,
        around: &Surroundings,
    ) -> Result<RunOptions, EngineError> {
        let runs = RunsArgs::at(self.target.artifacts_dir.clone());
        let from = self.from.as_deref().map(|name| runs.step(name)).transpose()?;
        if let Some(from) = &from {
            target.target = from.target(&target.endpoints)?;
        }
        let scaffold = self.scaffold.of_run(&target, around)?;
        Ok(RunOptions {
            scaffold,
            target,
            goal: self.goal.clone(),
            plan: self.plan.clone(),
            model: model.choice.map_err(EngineError::Usage)?,
            api_key: model.api_key.map(|key| key.value),
            record_cassette: self.record_cassette.clone(),
            opencode_bin: self.opencode_bin.clone(),
            outside: self.outside(around)?,
            bash: self.opencode_bash,
            turn_wall: self.turn_timeout,
            stall: self.stall_timeout,
            max_iters: self.max_iters,
            max_fix: self.max_fix,
            seeds: self.seeds.clone(),
            allow_repo_config: self.allow_repo_config.clone(),
            run_budget: Budget {
                calls: Some(self.max_calls),
                tokens: self.max_tokens,
                wall: self.target.max_run,
            },
            turn_budget: Budget {
                calls: Some(self.turn_max_calls),
                tokens: self.turn_max_tokens,
                wall: Some(self.turn_timeout),
            },
            apply: self.apply,
            from,
        })
    }

    /// The user's server, where the agent is to work there.
    ///
    /// # Errors
    /// As [`RunArgs::options`].
    pub fn outside(&self, around: &Surroundings) -> Result<Option<OutsideAgent>, EngineError> {
        let refuse = |why: String| Err(EngineError::Usage(why));
        let Some(url) = self.opencode_url.as_deref().filter(|url| !url.trim().is_empty()) else {
            return match self.allow_unsandboxed_agent {
                true => refuse("--allow-unsandboxed-agent is for --opencode-url, which is not given".to_owned()),
                false => Ok(None),
            };
        };
        if !self.allow_unsandboxed_agent {
            return refuse(
                "--opencode-url: an agent at a server of yours runs outside the sandbox, with all that its user may do; \
                 accept that with --allow-unsandboxed-agent, or leave both out, and OpenCode runs inside"
                    .to_owned(),
            );
        }
        if self.opencode_bin.is_some() {
            return refuse("--opencode-bin and --opencode-url: one server is enough".to_owned());
        }
        if self.record_cassette.is_some() {
            return refuse(
                "--record-cassette: the calls of an agent at --opencode-url do not come by, so there is nothing to record"
                    .to_owned(),
            );
        }
        let server = Server::parse(url)
            .map_err(|why| EngineError::Usage(format!("--opencode-url {}: {why}", url.escape_debug())))?;
        let variable = |name: &str| around.variable(name).map(|setting| setting.value);
        Ok(Some(OutsideAgent {
            server,
            user: variable("OPENCODE_SERVER_USERNAME").unwrap_or_else(|| "opencode".to_owned()),
            password: variable("OPENCODE_SERVER_PASSWORD").map(Secret::new),
        }))
    }
}
