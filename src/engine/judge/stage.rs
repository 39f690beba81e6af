//! One stage: its commands, repetitions and artifacts.

use std::time::Instant;

use super::{Judge, StageSummary, millis, session::Session, terminal::Terminal};
use crate::{
    contract::{Stage, StageName},
    engine::{
        EngineError, Unattended,
        caps::StageCaps,
        command::{Command, CommandResult},
        lint,
    },
    fsm::Blame,
    names::RelPath,
    report::{Happening, escape},
    sandbox::SandboxError,
    wire::{Leftovers, Reach},
};

/// The exit code of a stage whose directory or terminal is not to be had.
const UNUSABLE: i32 = 2;
/// The exit code of a command that could not be started (`sh` gives it for the same).
const NOT_STARTED: i32 = 126;

/// Says whether `$1` is a directory below `$2` once all links are resolved.
const CHECK_WORKDIR: &str = r#"
root=$(cd -P -- "$2" && pwd -P) && here=$(cd -P -- "$1" 2>/dev/null && pwd -P) || { echo gone; exit; }
case "$here/" in "$root"/*) echo in ;; *) echo out ;; esac"#;

/// What a stage needs before its first command.
enum Premises {
    /// Where it runs, and its terminal if it gets one.
    Ready { cwd: String, terminal: Option<Terminal> },
    /// It cannot run: what is wrong, what was attempted, and what that came to.
    Unusable {
        what: &'static str,
        script: String,
        result: Box<CommandResult>,
    },
}

impl Session<'_> {
    /// Runs a stage to its end.
    pub async fn stage(&mut self, stage: &Stage) -> Result<StageSummary, EngineError> {
        let began = Instant::now();
        let mut summary = StageSummary::new(stage.name);
        let (options, security) = (self.judge.options, &self.judge.pipeline.security);
        let caps = StageCaps::new(stage.timeout, security, &options.caps, self.judge.deadline);
        match self.premises(stage).await? {
            Premises::Ready { cwd, terminal } => {
                let last = self.commands(stage, &caps, &cwd, terminal, &mut summary).await;
                self.record()?;
                if let Some(prefix) = last? {
                    self.judge.alias(&prefix, &self.files_of(stage.name))?;
                }
            }
            Premises::Unusable { what, script, result } => {
                let own = self.files_of(stage.name);
                let prefix = format!("{own}_{what}_error");
                let result = result.keep(self.judge.run, &prefix, &script)?;
                let reason = String::from_utf8_lossy(&result.tails[1]).trim().to_owned();
                summary.count(&result, &script, reason, &prefix);
                summary.ok = false;
                self.show(stage, &result, &script);
                self.judge.alias(&prefix, &own)?;
            }
        }
        summary.wall_ms = millis(began.elapsed());
        Ok(summary)
    }

    /// Writes the record of the last command, where that was left for later.
    pub(super) fn record(&mut self) -> Result<(), EngineError> {
        self.unrecorded
            .take()
            .map_or(Ok(()), |ended| ended.record(self.judge.run))
    }

    /// Runs a stage's commands; gives the prefix of the one that decided.
    async fn commands(
        &mut self,
        stage: &Stage,
        caps: &StageCaps,
        cwd: &str,
        terminal: Option<Terminal>,
        summary: &mut StageSummary,
    ) -> Result<Option<String>, EngineError> {
        let own = self.files_of(stage.name);
        let mut last = None;
        for (index, script) in stage.cmds.iter().enumerate() {
            self.judge.reporter.say(Happening::StageStarted {
                stage: stage.name.to_string(),
                command: escape(script.as_bytes(), 200),
                output: Some(format!("{own}_cmd{:02}_try01", index + 1)),
            });
            for attempt in 1..=stage.retries + 1 {
                let prefix = format!("{own}_cmd{:02}_try{attempt:02}", index + 1);
                let result = self
                    .command(stage, script, &prefix, caps, cwd, terminal.as_ref())
                    .await?;
                summary.count(&result, script, result.reason(script), &prefix);
                let failed = result.rc != 0;
                if failed && (attempt > stage.retries || !result.may_be_repeated()) {
                    summary.ok = false;
                    summary.failed_index = Some(index);
                    self.show(stage, &result, script);
                    return Ok(Some(prefix));
                }
                last = Some(prefix);
                if !failed {
                    break;
                }
            }
        }
        Ok(last)
    }

    /// One command of a stage, by the policy and under its caps.
    pub async fn command(
        &mut self,
        stage: &Stage,
        script: &str,
        prefix: &str,
        caps: &StageCaps,
        cwd: &str,
        terminal: Option<&Terminal>,
    ) -> Result<CommandResult, EngineError> {
        let judge = self.judge;
        let strict = judge.options.unattended == Unattended::Strict;
        let undecided = match lint::check(&self.policy, script, cwd, strict, &self.sandbox).await {
            Ok(undecided) => undecided,
            Err(refusal) => {
                self.record()?;
                return CommandResult::refused(&refusal).keep(judge.run, prefix, script);
            }
        };
        let deploys = matches!(stage.name, StageName::DeploySetup | StageName::DeployHealth);
        self.deployed |= deploys;
        let inside = self.sandbox.inside();
        let env = self.environment(stage);
        let command = Command {
            script,
            prefix: prefix.to_owned(),
            env: env.finish(inside, stage.name.as_str(), judge.run.id(), &self.base, &self.artifacts),
            cwd: cwd.to_owned(),
            cap: caps.next(Instant::now()),
            silence: judge.options.caps.silence(),
            leftovers: match stage.name {
                StageName::DeploySetup => Leftovers::Keep,
                _ => Leftovers::Kill,
            },
            // A teardown that cannot signal a service cannot stop it. What is deployed
            // outlives its stage and stays where it can reach nobody.
            reach: match stage.name {
                StageName::DeploySetup => Reach::Own,
                _ if self.deployed => Reach::Sandbox,
                _ => Reach::Own,
            },
            terminal: terminal.map(Terminal::descriptor),
            author: Blame::Verifier,
            undecided,
        };
        match command.run_after(&mut self.unrecorded, &self.sandbox, judge.run).await {
            Ok(result) => {
                if stage.name == StageName::DeploySetup {
                    self.kept.push(prefix.to_owned());
                }
                Ok(result)
            }
            Err(EngineError::Sandbox(why)) => match not_the_sandbox(&why, self.deployed) {
                Some((rc, why)) => CommandResult::never_run(rc, Blame::Verifier, &why).keep(judge.run, prefix, script),
                None => Err(why.into()),
            },
            Err(other) => Err(other),
        }
    }

    async fn premises(&self, stage: &Stage) -> Result<Premises, EngineError> {
        let cwd = match &stage.workdir {
            None => self.sandbox.inside().workspace.clone(),
            Some(dir) => match self.workdir(dir).await? {
                Ok(cwd) => cwd,
                Err(why) => {
                    return Ok(Premises::Unusable {
                        what: "workdir",
                        script: format!("cd {dir}"),
                        result: Box::new(CommandResult::never_run(UNUSABLE, Blame::Verifier, &why)),
                    });
                }
            },
        };
        let wants = self.judge.pipeline.auth.as_ref().is_some_and(|auth| auth.interactive);
        if stage.name != StageName::Auth || !wants || self.judge.options.unattended != Unattended::Guided {
            return Ok(Premises::Ready { cwd, terminal: None });
        }
        Ok(match Terminal::open(self.judge.reporter) {
            Ok(terminal) => Premises::Ready {
                cwd,
                terminal: Some(terminal),
            },
            Err(why) => {
                let why = format!("`auth.interactive` needs a terminal: /dev/tty: {why}");
                Premises::Unusable {
                    what: "terminal",
                    script: "open /dev/tty".to_owned(),
                    result: Box::new(CommandResult::never_run(UNUSABLE, Blame::User, &why)),
                }
            }
        })
    }

    /// The absolute path of a stage's directory, or what is wrong with it.
    pub async fn workdir(&self, dir: &RelPath) -> Result<Result<String, String>, EngineError> {
        let root = &self.sandbox.inside().workspace;
        let cwd = format!("{root}/{dir}");
        let answer = self
            .ask(&["/bin/sh", "-c", CHECK_WORKDIR, "sh", &cwd, root], Vec::new())
            .await?;
        Ok(match answer.as_deref().map(str::trim) {
            Some("in") => Ok(cwd),
            Some("out") => Err(format!("the workdir `{dir}` leads out of the repository")),
            _ => Err(format!("the workdir `{dir}` is no directory")),
        })
    }

    /// Keeps what the agent is shown of a failure.
    fn show(&mut self, stage: &Stage, result: &CommandResult, script: &str) {
        if stage.name != StageName::DeployTeardown {
            self.out.evidence.text = self.judge.run.redact(&result.evidence(stage.name.as_str(), script));
        }
    }
}

impl Judge<'_> {
    /// Gives the artifacts of a stage's deciding command the stage's own names.
    pub(super) fn alias(&self, prefix: &str, stage: &str) -> Result<(), EngineError> {
        for ending in ["cmd.txt", "stdout.txt", "stderr.txt", "result.json"] {
            self.run
                .alias(&format!("{prefix}_{ending}"), &format!("{stage}_{ending}"))?;
        }
        Ok(())
    }

    /// Keeps a stage's summary, whose files begin with `own`, and tells of its end.
    pub(super) fn tell_ended(&self, own: &str, summary: &StageSummary) -> Result<(), EngineError> {
        self.run.keep_json(&format!("{own}_summary.json"), summary)?;
        self.reporter.say(Happening::StageEnded {
            stage: summary.stage.to_string(),
            ok: summary.ok,
            wall_ms: summary.wall_ms,
            reason: summary.reason.clone().filter(|_| !summary.ok),
        });
        Ok(())
    }
}

/// Whether the repository itself kept a command from starting: its directory went
/// away, or the services that it left running take every process or all memory.
fn not_the_sandbox(why: &SandboxError, deployed: bool) -> Option<(i32, String)> {
    let SandboxError::Guest { step, errno, why } = why else {
        return None;
    };
    if step.starts_with("chdir ") {
        return Some((UNUSABLE, format!("the workdir is gone: {why}")));
    }
    let exhausted = matches!(errno, Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE));
    (deployed && exhausted).then(|| {
        let why = format!("what the deployment left running keeps the command from starting: {step}: {why}");
        (NOT_STARTED, why)
    })
}
