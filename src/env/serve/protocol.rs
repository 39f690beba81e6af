//! The shapes of requests and answers.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PROTOCOL;
use crate::{
    engine::Unattended,
    env::{
        AgentSettings, Audit, CallOptions, DeployCallResult, EnvError, EnvSession, EvaluationCallResult, Llm,
        RolloutCallResult,
    },
    fsm::Blame,
    names::RelPath,
    record::schema_of,
    report::{Happening, escape},
};

/// One request: a line.
#[derive(Debug)]
pub struct Request {
    pub id: u64,
    pub call: Call,
}

/// Its shape, for the schema.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "a shape")]
struct RequestShape {
    /// A number of its own among the requests under way; its answer and events have it, too.
    id: u64,
    #[serde(flatten)]
    call: Call,
}

/// What is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "method", content = "params", rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// Agrees on the protocol; may be left out.
    Hello(Hello),
    /// Opens a session on a target.
    Setup(SetupParams),
    /// Deploys in a fresh sandbox.
    Deploy(CallParams),
    /// Deploys in a fresh sandbox and rolls out.
    Rollout(CallParams),
    /// Evaluates what is deployed.
    Evaluation(CallParams),
    /// Deploys in a fresh sandbox, rolls out and evaluates.
    RolloutAndEvaluation(CallParams),
    /// Takes down what is deployed; the session stays open.
    Teardown(CallParams),
    /// Ends a session.
    Close(SessionParams),
    /// Gives up a request that is under way.
    Cancel(CancelParams),
}

/// Parameters of `hello`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The protocol that the peer speaks: 1.
    pub protocol: u32,
    /// The peer's process: when it dies, everything is taken down, even where another
    /// process holds the input open.
    pub pid: Option<u32>,
}

/// Parameters of `setup`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetupParams {
    /// The target, as on the command line.
    pub target: String,
    /// The contract, relative to the target [default: `pipeline.yml`].
    pub pipeline_rel: Option<RelPath>,
    /// Whether an evaluation without `ok: true` in its metrics has failed [default: true].
    pub require_metrics: Option<bool>,
    /// What becomes of findings about how a score came about [default: `on`].
    #[serde(default)]
    pub audit: Audit,
    /// `strict` or `guided` [default: the server's].
    pub unattended: Option<UnattendedWord>,
    /// The directory that gets the run's directory [default: the server's].
    pub artifacts_dir: Option<PathBuf>,
    /// For an agent that writes or repairs a contract.
    #[serde(default)]
    pub agent: AgentSettings,
}

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnattendedWord {
    /// Nobody.
    Strict,
    /// Somebody may look in.
    Guided,
}

impl From<UnattendedWord> for Unattended {
    fn from(word: UnattendedWord) -> Self {
        match word {
            UnattendedWord::Strict => Unattended::Strict,
            UnattendedWord::Guided => Unattended::Guided,
        }
    }
}

/// A model.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LlmWord {
    /// Read as the env API reads a text.
    Text(String),
    /// A directory of this host.
    Directory {
        /// Absolute.
        path: PathBuf,
    },
    /// An id, whatever it looks like.
    Remote {
        /// As the endpoint knows it.
        id: String,
    },
}

/// Parameters of the calls of a session.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallParams {
    /// The session, as `setup` named it.
    pub session: String,
    /// The model [default: the session's last]; `evaluation` and `teardown` do not look at it.
    pub llm: Option<LlmWord>,
    /// `AIDER_EVAL_MODE` [default: `smoke`].
    pub mode: Option<String>,
    /// Variables over those of the contract.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A directory that gets a copy of the call's artifacts.
    pub artifacts_dir: Option<PathBuf>,
    /// How often an agent may repair the contract after an attempt that failed [default: 3].
    pub repair_iters: Option<u32>,
    /// Whether a rollout without valid samples has failed [default: false].
    #[serde(default)]
    pub require_samples: bool,
}

impl CallParams {
    /// The model that is named.
    ///
    /// # Errors
    /// As [`Llm::parse`].
    pub fn llm(&self) -> Result<Option<Llm>, EnvError> {
        self.llm
            .as_ref()
            .map(|word| match word {
                LlmWord::Text(text) => Llm::parse(text),
                LlmWord::Directory { path } => Llm::directory(path),
                LlmWord::Remote { id } if id.trim().is_empty() => Err(EnvError::EmptyLlm),
                LlmWord::Remote { id } => Ok(Llm::Remote(id.clone())),
            })
            .transpose()
    }

    /// As the env API takes them.
    pub fn options(&self) -> CallOptions {
        let default = CallOptions::default();
        CallOptions {
            mode: self.mode.clone().unwrap_or(default.mode),
            env: self.env.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            artifacts_dir: self.artifacts_dir.clone(),
            repair_iters: self.repair_iters.unwrap_or(default.repair_iters),
            require_samples: self.require_samples,
        }
    }
}

/// Parameters of `close`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionParams {
    /// The session, as `setup` named it.
    pub session: String,
}

/// Parameters of `cancel`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelParams {
    /// The number of the request that is given up.
    pub request: u64,
}

impl Call {
    /// The session that it is for.
    pub fn session(&self) -> Option<&str> {
        match self {
            Call::Deploy(params)
            | Call::Rollout(params)
            | Call::Evaluation(params)
            | Call::RolloutAndEvaluation(params)
            | Call::Teardown(params) => Some(&params.session),
            Call::Close(params) => Some(&params.session),
            Call::Hello(_) | Call::Setup(_) | Call::Cancel(_) => None,
        }
    }
}

impl Request {
    /// Reads one line.
    ///
    /// # Errors
    /// The request's number, where it could be read, and what is wrong, in one line.
    pub fn parse(line: &[u8]) -> Result<Self, (Option<u64>, String)> {
        let shown = |why: serde_json::Error| escape(why.to_string().as_bytes(), 300);
        let value: Value = serde_json::from_slice(line).map_err(|why| (None, shown(why)))?;
        let Value::Object(mut fields) = value else {
            return Err((None, "a request is an object".to_owned()));
        };
        let id = fields.remove("id").and_then(|id| id.as_u64());
        let Some(id) = id else {
            return Err((None, "`id` must be a whole number".to_owned()));
        };
        let call = serde_json::from_value(Value::Object(fields)).map_err(|why| (Some(id), shown(why)))?;
        Ok(Self { id, call })
    }
}

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

/// The name, the place and the schema of each line of the protocol.
pub fn schemas() -> Vec<(&'static str, &'static str, Schema)> {
    let settings = SchemaSettings::draft2020_12();
    let request = settings.into_generator().into_root_schema_for::<RequestShape>();
    vec![
        ("env_request", "a line to `env serve`", request),
        ("env_reply", "a line of `env serve`", schema_of::<Reply>()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly_and_faults_have_their_number() {
        let good =
            br#"{"id": 7, "method": "rollout", "params": {"session": "s1", "llm": {"id": "m"}, "env": {"A": "1"}}}"#;
        let request = Request::parse(good).expect("a request");
        assert_eq!((request.id, request.call.session()), (7, Some("s1")));
        let Call::Rollout(params) = &request.call else {
            panic!("{request:?}")
        };
        assert_eq!(params.llm().expect("a model"), Some(Llm::Remote("m".to_owned())));
        assert_eq!(params.options().env, [("A".to_owned(), "1".to_owned())]);
        for (text, id, names) in [
            ("", None, "EOF"),
            ("[]", None, "an object"),
            ("{}", None, "`id`"),
            (r#"{"id": -1, "method": "hello"}"#, None, "`id`"),
            (r#"{"id": 1}"#, Some(1), "method"),
            (r#"{"id": 1, "method": "explode", "params": {}}"#, Some(1), "explode"),
            (
                r#"{"id": 1, "method": "close", "params": {"session": "a", "b": 1}}"#,
                Some(1),
                "b",
            ),
            (
                r#"{"id": 1, "method": "close", "params": {"session": "a"}, "more": 1}"#,
                Some(1),
                "more",
            ),
            (r#"{"id": 1, "method": "setup", "params": {}}"#, Some(1), "target"),
            (
                r#"{"id": 1, "method": "setup", "params": {"target": "t", "audit": "maybe"}}"#,
                Some(1),
                "maybe",
            ),
            (
                r#"{"id": 1, "method": "setup", "params": {"target": "t", "pipeline_rel": "../p"}}"#,
                Some(1),
                "..",
            ),
        ] {
            let (found, why) = Request::parse(text.as_bytes()).expect_err(text);
            assert_eq!(found, id, "{text}");
            assert!(why.contains(names) && !why.contains('\n'), "{text}: {why}");
        }
    }
}
