//! HTTP/1.1 to the server inside, over sockets of its network; every answer is bounded.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::{config, desk::Desk};

/// Largest answer that is read.
const ANSWER_BYTES: usize = 8 << 20;
/// Longest time that a request may take; a first session can take many seconds.
const ANSWER: Duration = Duration::from_secs(180);

/// Why a request did not get the answer that was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    #[error("the server answered {status} to {what}: {text}")]
    Status {
        what: String,
        status: StatusCode,
        text: String,
    },
    #[error("the server's answer to {what} is no good: {why}")]
    Nonsense { what: String, why: String },
}

/// Talks to one server.
#[derive(Clone)]
pub(super) struct Client {
    /// `None` for a server without a password.
    authorization: Option<String>,
}

impl Client {
    pub fn new(password: &str) -> Self {
        Self::with_user(config::USER, password)
    }

    /// Without a password nothing is shown.
    pub fn with_user(user: &str, password: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let authorization = (!password.is_empty()).then(|| format!("Basic {pair}"));
        Self { authorization }
    }

    /// One request over a connection of its own; the answer's head has come.
    pub async fn open(
        &self,
        desk: Desk<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, HttpError> {
        let unreachable = |why: String| HttpError::Unreachable(why);
        let exchange = async {
            let stream = desk.dial().await.map_err(|e| unreachable(e.to_string()))?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|e| unreachable(e.to_string()))?;
            // Ends with the response body that it carries.
            tokio::spawn(connection);
            let mut request = Request::builder()
                .method(method.clone())
                .uri(format!("{}{path}", desk.prefix()))
                .header("host", "127.0.0.1")
                .header("content-type", "application/json");
            if let Some(authorization) = &self.authorization {
                request = request.header("authorization", authorization);
            }
            let request = request
                .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
                .map_err(|e| unreachable(e.to_string()))?;
            sender
                .send_request(request)
                .await
                .map_err(|e| unreachable(e.to_string()))
        };
        tokio::time::timeout(ANSWER, exchange).await.unwrap_or_else(|_| {
            Err(unreachable(format!(
                "no answer to {method} {path} in {} s",
                ANSWER.as_secs()
            )))
        })
    }

    /// One request and its JSON answer (`null` where it is empty).
    pub async fn ask(
        &self,
        desk: Desk<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, HttpError> {
        let what = format!("{method} {path}");
        let response = self.open(desk, method, path, body).await?;
        let status = response.status();
        let read = tokio::time::timeout(ANSWER, Limited::new(response.into_body(), ANSWER_BYTES).collect()).await;
        let bytes = match read {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(why)) => {
                return Err(HttpError::Nonsense {
                    what,
                    why: why.to_string(),
                });
            }
            Err(_) => return Err(HttpError::Unreachable(format!("the answer to {what} never ended"))),
        };
        if !status.is_success() {
            return Err(HttpError::Status {
                what,
                status,
                text: crate::report::escape(&bytes, 500),
            });
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|e| HttpError::Nonsense {
            what,
            why: e.to_string(),
        })
    }
}
