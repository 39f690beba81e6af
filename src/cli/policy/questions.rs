//! `policy explain` about anything but commands: the question, and the answer as text.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    contract,
    engine::{Answer, EngineError, PathQuestion, explain_host, explain_path, explain_syscall},
    names::RelPath,
    policy::{Phase, Policy},
    report::{Reporter, escape},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Questions {
    /// A path of the tree: whether the agent may change it; an absolute path: what a command may do with it inside.
    #[arg(long, value_name = "PATH", group = "question")]
    path: Option<String>,
    /// For --path: the phase of the agent, plan-update, execute-step, fix-or-replan, scaffold or repair [default: each].
    #[arg(long, value_name = "PHASE", requires = "path")]
    phase: Option<Phase>,
    /// For --path: the repository, to see which stage scripts it has; for a command: to follow its scripts.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["host", "syscall", "stdin"])]
    pub repo: Option<PathBuf>,
    /// For --path: the contract, relative to the repository [default: pipeline.yml].
    #[arg(long, value_name = "PATH", requires = "path")]
    pipeline: Option<RelPath>,
    /// For --path: the plan, relative to the repository.
    #[arg(long, value_name = "PATH", default_value = "PLAN.md")]
    plan: RelPath,
    /// A host, perhaps with a port (else 443): whether programs inside reach it.
    #[arg(long, value_name = "HOST[:PORT]", group = "question")]
    host: Option<String>,
    /// A system call, by its name: what the filter says of it.
    #[arg(long, value_name = "NAME", group = "question")]
    syscall: Option<String>,
}

impl Questions {
    /// The answer to whichever was asked; `None` where none was.
    ///
    /// # Errors
    /// [`EngineError::Usage`] for what cannot be asked about.
    pub fn answer(&self, policy: &Policy) -> Result<Option<Answer>, EngineError> {
        if let Some(name) = &self.syscall {
            return explain_syscall(name).map(Some);
        }
        if let Some(host) = &self.host {
            return explain_host(policy, host).map(Some);
        }
        let Some(path) = &self.path else { return Ok(None) };
        let pipeline = self.pipeline.clone().unwrap_or_else(contract::default_path);
        let question = PathQuestion {
            path,
            phase: self.phase,
            repo: self.repo.as_deref(),
            plan: &self.plan,
            pipeline: &pipeline,
        };
        explain_path(policy, &question).map(Some)
    }
}

/// Prints an answer.
pub(super) fn tell(answer: &Answer, reporter: &Reporter) {
    let shown = |text: &str| escape(text.as_bytes(), 500);
    let mut text = format!(
        "{}: {}\n  rule     {}\n  because  {}\n  at       {}",
        answer.verdict,
        answer.subject,
        shown(&answer.rule),
        shown(&answer.because),
        shown(&answer.at),
    );
    for case in &answer.cases {
        text += &format!("\n  case     {}: {}", shown(&case.when), shown(&case.verdict));
        if let (Some(because), Some(at)) = (&case.because, &case.at) {
            text += &format!(" ({}, {})", shown(because), shown(at));
        }
    }
    for wall in &answer.enforced_by {
        let here = if wall.here.can { "here: yes" } else { "here: no" };
        let (backend, verdict) = (wall.backend, shown(&wall.verdict));
        text += &format!(
            "\n  {backend:<8} {verdict}, by {}\n           {here}, {}",
            shown(&wall.mechanism),
            shown(&wall.here.why)
        );
    }
    reporter.result(&json!(answer), &text);
}
