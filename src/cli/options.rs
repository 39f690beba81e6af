//! From the command line to the engine's options.

use super::{
    args::{RunArgs, TargetArgs, WallArgs},
    model::Resolved,
};
use crate::{
    broker::Budget,
    contract,
    engine::{Caps, EngineError, RunOptions, TargetOptions, WallOptions},
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
        }
    }
}

impl RunArgs {
    /// # Errors
    /// [`EngineError::Usage`] where there is no model, and for an agent outside.
    pub fn options(&self, grants: Vec<(String, Secret)>, model: Resolved) -> Result<RunOptions, EngineError> {
        if self.opencode_url.is_some() {
            let why = "--opencode-url: an agent outside the sandbox is not supported by this version; \
                       leave it out, and OpenCode runs inside";
            return Err(EngineError::Usage(why.to_owned()));
        }
        Ok(RunOptions {
            target: self.target.options(grants),
            goal: self.goal.clone(),
            plan: self.plan.clone(),
            model: model.choice.map_err(EngineError::Usage)?,
            api_key: model.api_key.map(|key| key.value),
            record_cassette: self.record_cassette.clone(),
            opencode_bin: self.opencode_bin.clone(),
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
}
