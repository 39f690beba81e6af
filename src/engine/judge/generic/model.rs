//! Who is asked: a remote model through the model door, or what the deployment serves inside.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::{
    super::{sealed::port_of, session::Session},
    Undone,
};
use crate::{
    broker::ModelDoor,
    engine::environment::Environment,
    fsm::Blame,
    rollout::{Failed, Reply, read_reply},
    sandbox::Dialer,
};

/// Largest answer that is read: whoever serves inside is hostile.
const ANSWER_MAX: usize = 4 << 20;

/// A model.
pub(super) struct Model<'a> {
    /// What it is asked for.
    pub name: String,
    way: Way<'a>,
}

enum Way<'a> {
    Door(&'a ModelDoor),
    Served(Served),
}

/// What a deployment listens on.
struct Served {
    dialer: Dialer,
    port: u16,
    path: String,
    key: Option<String>,
}

impl<'a> Session<'a> {
    /// The model of this session.
    pub(super) fn model(&self, env: &Environment) -> Result<Model<'a>, Undone> {
        let given = |name: &str| env.get(name).map(str::trim).filter(|value| !value.is_empty());
        let named = given("AIDER_LLM_MODEL").or_else(|| given("OPENAI_MODEL"));
        if let Some((door, _)) = self.fittings.door {
            let name = named.unwrap_or("default").to_owned();
            return Ok(Model {
                name,
                way: Way::Door(door),
            });
        }
        let offered: Value = match &self.handed.runtime_env {
            // Judged before: it is JSON.
            Some(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
            None => Value::Null,
        };
        let text = |at: &str| {
            offered
                .pointer(at)
                .and_then(Value::as_str)
                .filter(|text| !text.trim().is_empty())
        };
        let url = text("/inference/openai_base_url").or_else(|| text("/service/base_url"));
        let Some(url) = url else {
            return Err(Undone::new(
                Blame::User,
                "missing_model: a generic rollout needs a model: give a remote one and its endpoint (--llm, --base-url), or \
                 let the deployment serve one and name it in `inference.openai_base_url` of `.aider_fsm/runtime_env.json`",
            ));
        };
        let parsed = reqwest::Url::parse(url).ok().filter(|url| url.scheme() == "http");
        let (Some(parsed), Some(port)) = (parsed, port_of(url)) else {
            let shown = crate::report::escape(url.as_bytes(), 200);
            let why =
                format!("missing_model: `{shown}` of runtime_env.json is no http URL of the sandbox's own loopback");
            return Err(Undone::new(Blame::Verifier, why));
        };
        let path = match parsed.path().trim_end_matches('/') {
            "" => "/v1",
            path => path,
        };
        Ok(Model {
            name: named
                .or_else(|| text("/inference/model"))
                .unwrap_or("default")
                .to_owned(),
            way: Way::Served(Served {
                dialer: self.sandbox.dialer(),
                port,
                path: format!("{path}/chat/completions"),
                key: given("OPENAI_API_KEY").map(str::to_owned),
            }),
        })
    }
}

impl Model<'_> {
    /// Which way it is asked, for the record.
    pub fn way(&self) -> &'static str {
        match self.way {
            Way::Door(_) => "door",
            Way::Served(_) => "deployment",
        }
    }

    /// One call; `subject` says what it asks.
    pub async fn ask(&self, subject: &str, body: &Value, within: Duration) -> Result<Reply, Failed> {
        let (status, bytes) = match &self.way {
            Way::Door(door) => door
                .ask(subject, body, ANSWER_MAX, within)
                .await
                .map_err(Failed::passing)?,
            Way::Served(served) => match tokio::time::timeout(within, served.ask(body)).await {
                Ok(answer) => answer.map_err(Failed::passing)?,
                Err(_) => return Err(Failed::passing(format!("no answer in {} s", within.as_secs()))),
            },
        };
        read_reply(status, &bytes)
    }
}

impl Served {
    async fn ask(&self, body: &Value) -> Result<(u16, Vec<u8>), String> {
        let stream = self.dialer.dial(self.port).await.map_err(|why| why.to_string())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|why| why.to_string())?;
        let mut request = Request::post(&self.path)
            .header("host", format!("127.0.0.1:{}", self.port))
            .header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|why| why.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|why| why.to_string())?;
            let status = response.status().as_u16();
            let read = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            Ok((status, read.map_err(|why| why.to_string())?.to_bytes().to_vec()))
        };
        // The connection ends with the exchange, whatever the other side does.
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(why) => Err(why.to_string()),
            },
        }
    }
}
