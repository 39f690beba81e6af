//! From the command line to the engine's options.

use super::{
    args::{RunArgs, TargetArgs, WallArgs},
    model::Resolved,
    surroundings::Surroundings,
};
use crate::{
    agent::Server,
    broker::Budget,
    contract,
    engine::{Caps, EngineError, OutsideAgent, RunOptions, TargetOptions, WallOptions},
    record::Secret,
};

impl TargetArgs {
    /// `grants`: the variables that stages get.
    pub fn options(&self, grants: Vec<(String, Secret)>) -> TargetOptions {
        TargetOptions {
            target: self.target().to_path_buf(),
            test_cmd: self.test_cmd.clone().filter(|command| !command.trim().is_empty()),
            pipeline: self.pipeline.clone().unwrap_or_else(contract::default_path),
            // Who names a file means it.
            require_pipeline: self.require_pipeline || self.pipeline.is_some(),
            grants,
            unattended: self.unattended,
            artifacts_dir: self.artifacts_dir.clone(),
            walls: self.walls.options(),
            jobs: self.jobs.unwrap_or_else(default_jobs),
            memory_bytes: self.memory,
            processes: self.processes,
            disk_bytes: self.disk,
            caps: Caps {
                max_cmd: self.max_cmd,
                max_total: self.max_total,
                max_run: self.max_run,
                max_silence: self.max_silence,
            },
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
    /// # Errors
    /// [`EngineError::Usage`] where there is no model, and for an agent outside that
    /// was not allowed, or cannot be there.
    pub fn options(
        &self,
        grants: Vec<(String, Secret)>,
        model: Resolved,
        around: &Surroundings,
    ) -> Result<RunOptions, EngineError> {
        Ok(RunOptions {
            target: self.target.options(grants),
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
