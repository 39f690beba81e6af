//! What is answered.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::PROTOCOL;
use crate::{
    env::{DeployCallResult, EnvError, EnvSession, EvaluationCallResult, RolloutCallResult},
    fsm::Blame,
    report::Happening,
};

/// One line to the peer.
#[derive(Serialize, JsonSchema)]
pub struct Reply {
    /// The request's number; nothing for a line that is no request.
    pub id: Option<u64>,
    #[serde(flatten)]
    pub said: Said,
}

/// What it says: an answer ends a request, events come before it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It was done.
    Result(Box<Answer>),
    /// It was not.
    Error(Failure),
    /// Something happened meanwhile. Events that find a slow reader are left out.
    #[schemars(with = "Happening")]
    Event(Value),
}

/// Why a request was not done.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failure {
    /// One of docs/env_api.md.
    pub code: String,
    /// In one line.
    pub message: String,
    /// Who failed.
    pub blame: Blame,
    /// The exit code that goes with it.
    pub exit: u8,
    /// The call's artifacts, where there are some.
    pub artifacts_dir: Option<PathBuf>,
}

impl Failure {
    /// A request that is none.
    pub fn protocol(code: &str, message: String) -> Self {
        Self {
            code: code.to_owned(),
            message: format!("{code}: {message}"),
            blame: Blame::User,
            exit: 2,
            artifacts_dir: None,
        }
    }

    /// Of an error.
    pub fn of(why: &EnvError) -> Self {
        Self {
            code: why.code().to_owned(),
            message: why.line(),
            blame: why.blame(),
            exit: why.exit_code(),
            artifacts_dir: match why {
                EnvError::SandboxFailed { artifacts, .. } => Some(artifacts.clone()),
                _ => None,
            },
        }
    }
}

/// A session that is open.
#[derive(Serialize, JsonSchema)]
pub struct Opened {
    /// Its name, for the calls.
    pub session: String,
    /// The run's id.
    pub run_id: String,
    /// The target: an absolute path, or what it was named where it is no directory.
    pub repo: String,
    /// The contract, relative to it.
    pub pipeline_path: String,
    /// The contract's commands, by stage.
    pub pipeline: BTreeMap<String, Vec<String>>,
    /// The run's directory.
    pub artifacts_dir: PathBuf,
}

/// What was done.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Answer {
    /// To `hello`.
    Hello {
        /// 1.
        protocol: u32,
        /// The program's.
        version: &'static str,
        /// The server's process.
        pid: u32,
    },
    /// To `setup`.
    Session(Box<Opened>),
    /// To `deploy`.
    Deploy(Box<DeployCallResult>),
    /// To `rollout`.
    Rollout(Box<RolloutCallResult>),
    /// To `evaluation`.
    Evaluation(Box<EvaluationCallResult>),
    /// To `rollout_and_evaluation`.
    RolloutAndEvaluation {
        /// The first.
        rollout: Box<RolloutCallResult>,
        /// The second.
        evaluation: Box<EvaluationCallResult>,
    },
    /// To `teardown`.
    Teardown {
        /// It passed, or there was none.
        ok: bool,
    },
    /// To `close`.
    Closed {
        /// The run's directory.
        artifacts_dir: PathBuf,
    },
    /// To `cancel`.
    Cancelled {
        /// The request was under way.
        found: bool,
    },
}

impl Answer {
    /// To `hello`.
    pub fn hello() -> Self {
        Self::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
        }
    }

    /// To `setup`.
    pub fn session(name: &str, session: &EnvSession) -> Self {
        let target = session.target();
        let pipeline = target.pipeline();
        let stages = pipeline
            .stages()
            .map(|stage| (stage.name.to_string(), stage.cmds.clone()));
        Self::Session(Box::new(Opened {
            session: name.to_owned(),
            run_id: target.run_id().to_owned(),
            repo: target.target().to_string(),
            pipeline_path: pipeline.source.to_string(),
            pipeline: stages.collect(),
            artifacts_dir: target.artifacts().to_path_buf(),
        }))
    }
}
