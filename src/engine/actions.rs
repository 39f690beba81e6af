//! `.aider_fsm/actions.yml`: what the agent asks the runner to do after a failure.
//! Performed once, in the agent's own sandbox, with nothing that the agent's shell
//! does not have; the guard judges what it changed like any other change of the phase.

use std::{fmt::Write as _, time::Instant};

use serde::Serialize;

use crate::{
    contract::{Action, ActionKind, MAX_DOCUMENT, parse_actions},
    engine::{
        EngineError, Unattended,
        caps::StageCaps,
        command::{Command, CommandResult},
        environment::Environment,
        judge::Judge,
        lint,
        workspace::Workspace,
    },
    fsm::Blame,
    guard,
    policy::{CommandPolicy, shell},
    report::{Happening, escape},
    sandbox::{Found, Sandbox, SandboxError},
    tree::{TreeEdits, TreeError},
    wire::{Leftovers, Reach},
};

/// The name in artifacts and `AIDER_FSM_STAGE`.
const STAGE: &str = "actions";
/// The exit code of an action that cannot be performed as it is written.
const UNUSABLE: i32 = 2;
/// The exit code of a command that could not be started.
const NOT_STARTED: i32 = 126;

/// What came of them, as `actions_summary.json`.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Performed {
    pub ok: bool,
    /// The action that failed, from 0.
    pub failed_index: Option<usize>,
    /// Results, repetitions included.
    pub total_results: usize,
    /// Exit code of the action that failed, else of the last one.
    pub actions_rc: Option<i32>,
    /// Who failed.
    pub blame: Option<Blame>,
    /// What was taken back of what they changed, and why.
    pub violations: Vec<String>,
    /// For the agent's next prompt.
    #[serde(skip)]
    pub told: String,
}

impl Performed {
    /// The sandbox went away under them.
    pub fn lost(why: &SandboxError) -> Self {
        Self {
            blame: Some(Blame::Sandbox),
            told: format!("They could not be performed to their end: {why}\n"),
            ..Self::default()
        }
    }

    fn count(&mut self, result: &CommandResult) {
        self.total_results += 1;
        self.actions_rc = Some(result.rc);
        self.blame = result.blame;
        self.ok = result.rc == 0;
    }
}

/// Where actions are performed, and how they are recorded.
pub(super) struct Stand<'a> {
    pub judge: &'a Judge<'a>,
    /// Their directory in the run: `iter_0001/actions`.
    pub name: &'a str,
}

impl Stand<'_> {
    /// Takes the file away and performs what it says, up to the first failure; `None`
    /// when there is no file.
    pub async fn perform(&self, workspace: &mut Workspace) -> Result<Option<Performed>, EngineError> {
        let path = guard::actions_path();
        if workspace.current().entry(workspace.base(), &path).is_none() {
            return Ok(None);
        }
        let read = match workspace.read(&path, MAX_DOCUMENT as u64) {
            Ok(bytes) => bytes.ok_or_else(|| format!("{path} is no regular file")),
            Err(EngineError::Tree(why @ TreeError::Limit(_))) => Err(why.to_string()),
            Err(other) => return Err(other),
        };
        // Before anything else, so that whatever comes of it comes of it once.
        workspace.remove(self.judge.backend, &path).await?;
        let mut done = Performed {
            ok: true,
            ..Performed::default()
        };
        let run = self.judge.run;
        let outside = "the agent works outside the sandbox, and commands of its choice are not performed there";
        let read = read.and_then(|bytes| {
            (!workspace.is_outside())
                .then_some(bytes)
                .ok_or_else(|| outside.to_owned())
        });
        if let Ok(bytes) = &read {
            run.write(&format!("{}/actions.yml", self.name), bytes)?;
        }
        match read.and_then(|bytes| parse_actions(&path, &bytes).map_err(|why| why.to_string())) {
            Ok(actions) => {
                if workspace.agent().is_none() {
                    workspace.open_agent(self.judge.backend).await?;
                }
                self.each(workspace, &actions, &mut done).await?;
            }
            Err(why) => {
                let prefix = format!("{}/actions_parse", self.name);
                let result = CommandResult::never_run(UNUSABLE, Blame::Agent, &why).keep(run, &prefix, STAGE)?;
                done.count(&result);
                let _ = writeln!(done.told, "The file is removed, and nothing of it was done: {why}");
            }
        }
        Ok(Some(done))
    }

    async fn each(&self, workspace: &Workspace, actions: &[Action], done: &mut Performed) -> Result<(), EngineError> {
        let judge = self.judge;
        let policy = judge.pipeline.security.policy(shell::Judge::new(&judge.options.policy));
        let policy = policy.map_err(|why| EngineError::Contract(why.to_string()))?;
        let began = Instant::now();
        for (index, action) in actions.iter().enumerate() {
            let prefix = format!("{}/actions_{:02}_{}", self.name, index + 1, action.file_id());
            let text = match &action.kind {
                ActionKind::Run { cmd } | ActionKind::Serve { cmd } => cmd.clone(),
                ActionKind::Write { path, .. } => format!("write_file {path}"),
            };
            judge.reporter.say(Happening::StageStarted {
                stage: STAGE.to_owned(),
                command: escape(text.as_bytes(), 200),
                output: None,
            });
            let result = match &action.kind {
                ActionKind::Run { cmd } | ActionKind::Serve { cmd } => {
                    self.repeat(workspace, action, cmd, (&policy, began), &prefix, done)
                        .await?
                }
                ActionKind::Write { path, content } => {
                    let result = self.write(workspace, path, content).await?;
                    let result = result.keep(judge.run, &prefix, &text)?;
                    done.count(&result);
                    result
                }
            };
            let id = escape(action.id.as_bytes(), 100);
            if result.rc != 0 {
                done.failed_index = Some(index);
                let evidence = judge.run.redact(&result.evidence(STAGE, &text));
                let _ = writeln!(
                    done.told,
                    "`{id}` failed; what comes after it was not done.\n{evidence}"
                );
                break;
            }
            let _ = writeln!(done.told, "`{id}`: done");
        }
        judge.reporter.say(Happening::StageEnded {
            stage: STAGE.to_owned(),
            ok: done.ok,
            wall_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            reason: (!done.ok).then(|| "see the next prompt".to_owned()),
        });
        Ok(())
    }

    async fn repeat(
        &self,
        workspace: &Workspace,
        action: &Action,
        cmd: &str,
        (policy, began): (&CommandPolicy, Instant),
        prefix: &str,
        done: &mut Performed,
    ) -> Result<CommandResult, EngineError> {
        let mut attempt = 1;
        loop {
            let prefix = format!("{prefix}_try{attempt:02}");
            let result = self.command(workspace, action, cmd, policy, began, &prefix).await?;
            done.count(&result);
            if result.rc == 0 || attempt > action.retries || !result.may_be_repeated() {
                return Ok(result);
            }
            attempt += 1;
        }
    }

    async fn command(
        &self,
        workspace: &Workspace,
        action: &Action,
        cmd: &str,
        policy: &CommandPolicy,
        began: Instant,
        prefix: &str,
    ) -> Result<CommandResult, EngineError> {
        let judge = self.judge;
        let strict = judge.options.unattended == Unattended::Strict;
        let sandbox = agent(workspace)?;
        let root = &sandbox.inside().workspace;
        let undecided = match lint::check(policy, cmd, root, strict, sandbox).await {
            Ok(undecided) => undecided,
            Err(refusal) => return CommandResult::refused(&refusal).keep(judge.run, prefix, cmd),
        };
        let inside = sandbox.inside();
        let mut env = Environment::new(inside);
        if let Some(bootstrap) = judge.bootstrap {
            env.extend(&bootstrap.env(inside)?);
        }
        env.set("AIDER_FSM_ACTION_ID", action.id.as_str());
        let caps = StageCaps::new(
            action.timeout,
            &judge.pipeline.security,
            &judge.options.caps,
            judge.deadline,
        );
        let command = Command {
            script: cmd,
            prefix: prefix.to_owned(),
            env: env.finish(inside, STAGE, judge.run.id(), &inside.tmp, &inside.tmp),
            cwd: inside.workspace.clone(),
            cap: caps.since(began).next(Instant::now()),
            silence: judge.options.caps.silence(),
            leftovers: match action.kind {
                ActionKind::Serve { .. } => Leftovers::Keep,
                _ => Leftovers::Kill,
            },
            reach: Reach::Own,
            terminal: None,
            author: Blame::Agent,
            undecided,
        };
        match command.run(sandbox, judge.run).await {
            // What the agent runs inside may take every process; that is its own doing.
            Err(EngineError::Sandbox(SandboxError::Guest { step, why, .. })) => {
                let why = format!("the command cannot be started: {step}: {why}");
                CommandResult::never_run(NOT_STARTED, Blame::Agent, &why).keep(judge.run, prefix, cmd)
            }
            Err(EngineError::Sandbox(why)) => {
                CommandResult::never_run(NOT_STARTED, Blame::Sandbox, &why.to_string()).keep(judge.run, prefix, cmd)
            }
            other => other,
        }
    }

    /// Writes one file where the guard lets a step write, through no link.
    async fn write(&self, workspace: &Workspace, given: &str, content: &str) -> Result<CommandResult, EngineError> {
        let refused = |why: String| Ok(CommandResult::never_run(UNUSABLE, Blame::Policy, &why));
        let sandbox = agent(workspace)?;
        let path = match workspace.place(sandbox.inside(), given) {
            Ok(path) => path,
            Err(why) => return refused(why),
        };
        match sandbox.read(&path, MAX_DOCUMENT as u64).await? {
            Found::Nothing | Found::File(_) | Found::TooLarge => {}
            Found::Refused(why) => return refused(format!("not_a_file: {path}: {why}")),
        }
        let known = workspace.current().entry(workspace.base(), &path);
        let mode = known
            .filter(|entry| !entry.is_dir())
            .map_or(0o644, |entry| entry.mode & 0o777);
        let edits = TreeEdits::write_file(&path, content.as_bytes(), mode | 0o600);
        match sandbox.put(&edits.removals, edits.tar).await {
            Ok(()) => Ok(CommandResult::default()),
            Err(SandboxError::Guest { why, .. }) => refused(format!("cannot_be_written: {path}: {why}")),
            Err(other) => Err(other.into()),
        }
    }
}

fn agent(workspace: &Workspace) -> Result<&Sandbox, EngineError> {
    workspace
        .agent()
        .ok_or_else(|| EngineError::Usage("the agent's sandbox is not open".to_owned()))
}
