//! What is asked for.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    engine::Unattended,
    env::{AgentSettings, Audit, CallOptions, EnvError, Llm},
    names::RelPath,
    report::escape,
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
pub struct RequestShape {
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
