//! Verification: the contract's stages in a fresh judge sandbox over the accepted tree.
//!
//! `record` holds what comes of it, `outputs` what the stages leave behind.

mod outputs;
mod record;

use std::time::{Duration, Instant};

use crate::{
    contract::{Pipeline, Stage},
    engine::{
        EngineError,
        command::{Command, WallCap},
        environment::Environment,
        workspace::Workspace,
    },
    fsm::Evidence,
    names::RelPath,
    record::RunDir,
    report::{Happening, Reporter, escape},
    sandbox::{Sandbox, jail::Jail},
    tree::TreeEdits,
    wire::Leftovers,
};

pub(super) use record::{StageSummary, Verification};

/// Cap of one command where the contract gives none.
const DEFAULT_COMMAND_WALL: Duration = Duration::from_secs(1800);

/// What every verification of a run shares.
pub(super) struct Judge<'a> {
    pub jail: &'a Jail,
    pub run: &'a RunDir,
    pub reporter: &'a Reporter,
    pub pipeline: &'a Pipeline,
}

impl Judge<'_> {
    /// Runs every stage; `name` is the directory of this verification in the run (`iter_0001`).
    pub async fn verify(&self, workspace: &mut Workspace, name: &str) -> Result<Verification, EngineError> {
        let began = Instant::now();
        let (sandbox, upper) = workspace.open_judge(self.jail).await?;
        let mut out = Verification {
            ok: true,
            failed_stage: None,
            reason: None,
            stages: Vec::new(),
            metrics: None,
            metrics_errors: Vec::new(),
            refused_outputs: Vec::new(),
            wall_ms: 0,
            walls: Some(sandbox.walls().clone()),
            evidence: Evidence::default(),
        };
        let artifacts = format!(".aider_fsm/artifacts/{}/{name}", self.run.id());
        let ran = self.stages(&sandbox, name, &artifacts, &mut out).await;
        sandbox.destroy().await?;
        ran?;
        self.outputs(workspace, &upper, name, &mut out)?;
        out.wall_ms = millis(began.elapsed());
        self.run.write_json(&format!("{name}/summary.json"), &out)?;
        Ok(out)
    }

    async fn stages(
        &self,
        sandbox: &Sandbox,
        name: &str,
        artifacts: &str,
        out: &mut Verification,
    ) -> Result<(), EngineError> {
        self.clear_outputs(sandbox, artifacts).await?;
        for stage in self.pipeline.stages() {
            if stage.cmds.is_empty() {
                continue;
            }
            let summary = self.stage(sandbox, stage, name, artifacts, out).await?;
            let (ok, reason) = (summary.ok, summary.reason.clone());
            self.run
                .write_json(&format!("{name}/{}_summary.json", stage.name), &summary)?;
            self.reporter.say(Happening::StageEnded {
                stage: stage.name.to_string(),
                ok,
                wall_ms: summary.wall_ms,
                reason: reason.clone(),
            });
            out.stages.push(summary);
            if !ok {
                out.fail(
                    &stage.name.to_string(),
                    reason.unwrap_or_else(|| "it failed".to_owned()),
                );
                break;
            }
        }
        Ok(())
    }

    /// Removes what stages are to produce, so that an old file can prove
    /// nothing, and makes the artifacts directory.
    async fn clear_outputs(&self, sandbox: &Sandbox, artifacts: &str) -> Result<(), EngineError> {
        let mut removals = vec![rollout_path()];
        removals.extend(self.pipeline.evaluation.as_ref().and_then(|e| e.metrics_path.clone()));
        // Inside the limits of RelPath by construction: a run id and fixed names.
        let directory = RelPath::new(artifacts).map_err(|e| EngineError::Usage(e.to_string()))?;
        let edits = TreeEdits::make_dir(&directory);
        sandbox.put(&removals, edits.tar).await?;
        Ok(())
    }

    async fn stage(
        &self,
        sandbox: &Sandbox,
        stage: &Stage,
        name: &str,
        artifacts: &str,
        out: &mut Verification,
    ) -> Result<StageSummary, EngineError> {
        let began = Instant::now();
        let mut summary = StageSummary {
            stage: stage.name,
            ok: true,
            failed_index: None,
            total_results: 0,
            rc: None,
            reason: None,
            wall_ms: 0,
        };
        let workspace = &sandbox.inside().workspace;
        let cwd = match &stage.workdir {
            Some(dir) => format!("{workspace}/{}", String::from_utf8_lossy(dir.as_bytes())),
            None => workspace.clone(),
        };
        'commands: for (index, script) in stage.cmds.iter().enumerate() {
            self.reporter.say(Happening::StageStarted {
                stage: stage.name.to_string(),
                command: escape(script.as_bytes(), 200),
            });
            for attempt in 1..=stage.retries + 1 {
                let command = Command {
                    script,
                    prefix: format!("{name}/{}_cmd{:02}_try{attempt:02}", stage.name, index + 1),
                    env: self.environment(sandbox, stage, artifacts),
                    cwd: cwd.clone(),
                    cap: self.cap(stage, began.elapsed()),
                    leftovers: Leftovers::Kill,
                };
                let result = command.run(sandbox, self.run).await?;
                summary.total_results += 1;
                summary.rc = Some(result.rc);
                if result.rc == 0 {
                    continue 'commands;
                }
                summary.reason = Some(result.reason(script));
                if attempt == stage.retries + 1 || result.cap.as_deref() == Some("max_total_seconds") {
                    out.evidence.text = self.run.redact(&result.evidence(stage.name.as_str(), script));
                    break;
                }
            }
            summary.ok = false;
            summary.failed_index = Some(index);
            break;
        }
        if summary.ok {
            summary.reason = None;
        }
        summary.wall_ms = millis(began.elapsed());
        Ok(summary)
    }

    fn environment(&self, sandbox: &Sandbox, stage: &Stage, artifacts: &str) -> Vec<(String, String)> {
        let inside = sandbox.inside();
        let mut env = Environment::new(inside);
        env.extend(&stage.env);
        env.finish(inside, stage.name.as_str(), self.run.id(), artifacts)
    }

    /// The wall cap of a stage's next command.
    fn cap(&self, stage: &Stage, spent: Duration) -> WallCap {
        let security = &self.pipeline.security;
        let mut cap = WallCap {
            wall: stage.timeout.unwrap_or(DEFAULT_COMMAND_WALL),
            rule: "timeout_seconds",
        };
        let mut narrow = |wall: Duration, rule| {
            if wall < cap.wall {
                cap = WallCap { wall, rule };
            }
        };
        if let Some(max) = security.max_cmd {
            narrow(max, "max_cmd_seconds");
        }
        if let Some(max) = security.max_total {
            let left = max.saturating_sub(spent).max(Duration::from_millis(1));
            narrow(left, "max_total_seconds");
        }
        cap
    }
}

fn rollout_path() -> RelPath {
    // A constant that RelPath accepts: two plain names.
    RelPath::new(".aider_fsm/rollout.json").unwrap_or_else(|_| unreachable!("a constant path"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
