//! After the stages: diagnostics of a cluster, and the teardown.

use std::time::{Duration, Instant};

use super::session::Session;
use crate::{
    contract::{KubectlDump, Stage, StageName},
    engine::{EngineError, caps::WallCap, command::Command},
    fsm::Blame,
    wire::{Leftovers, Reach},
};

/// Longest query, and longest collection of logs.
const QUERY: Duration = Duration::from_secs(60);
const LOGS: Duration = Duration::from_secs(120);

/// Each dump's name and command.
const DUMPS: [(&str, &str); 5] = [
    ("nodes", "kubectl get nodes -o wide"),
    ("namespaces", "kubectl get namespaces"),
    ("pods", "kubectl get pods -A -o wide"),
    ("all", "kubectl get all -A -o wide"),
    ("events", "kubectl get events -A --sort-by=.metadata.creationTimestamp"),
];

impl Session<'_> {
    /// What comes after the stages, whatever came of them; it decides nothing. `passed`:
    /// whether every one did.
    pub async fn ending(&mut self, passed: bool) -> Result<(), EngineError> {
        let Some(deploy) = &self.judge.pipeline.deploy else {
            return Ok(());
        };
        if let Some(dump) = &deploy.kubectl_dump {
            self.kubectl(dump, &deploy.setup).await?;
        }
        let begun = self.deployed && !deploy.teardown.cmds.is_empty();
        if begun && deploy.teardown_policy.applies(passed) {
            self.teardown(&deploy.teardown).await?;
        }
        Ok(())
    }

    async fn teardown(&mut self, stage: &Stage) -> Result<(), EngineError> {
        if let Some(dir) = &stage.workdir
            && let Err(why) = self.workdir(dir).await?
        {
            let path = format!("{}/deploy_teardown_warning.txt", self.name);
            self.judge.run.write(&path, format!("{why}\n").as_bytes())?;
            return Ok(());
        }
        let summary = self.stage(stage).await?;
        self.ended(summary)?;
        // What it should have stopped goes now, and is counted.
        self.out.services_left = self.sandbox.sweep(&[]).await?.len() as u64;
        Ok(())
    }

    async fn kubectl(&mut self, dump: &KubectlDump, deploy: &Stage) -> Result<(), EngineError> {
        let mut commands = DUMPS.map(|(name, command)| (name, command.to_owned(), QUERY)).to_vec();
        if dump.include_logs && dump.label_selector.is_some() {
            let namespace = match dump.namespace {
                Some(_) => "-n \"$NAMESPACE\"",
                None => "-A",
            };
            let logs = format!("kubectl logs -l \"$SELECTOR\" {namespace} --all-containers --timestamps --tail=2000");
            commands.push(("logs", logs, LOGS));
        }
        for (name, script, longest) in commands {
            let mut env = self.environment(deploy);
            // Hostile words reach the command as values, never as its text.
            env.set("SELECTOR", dump.label_selector.as_deref().unwrap_or_default());
            env.set("NAMESPACE", dump.namespace.as_deref().unwrap_or_default());
            let (inside, run) = (self.sandbox.inside(), self.judge.run);
            let stage = StageName::DeployTeardown.as_str();
            let command = Command {
                script: &script,
                prefix: format!("{}/kubectl/{name}", self.name),
                env: env.finish(inside, stage, run.id(), &self.base, &self.artifacts),
                cwd: inside.workspace.clone(),
                cap: WallCap {
                    wall: longest.min(self.judge.deadline.saturating_duration_since(Instant::now())),
                    rule: "timeout_seconds",
                },
                silence: longest,
                leftovers: Leftovers::Kill,
                reach: Reach::Own,
                terminal: None,
                author: Blame::Verifier,
                undecided: None,
            };
            command.run(&self.sandbox, run).await?;
        }
        Ok(())
    }
}
