//! Bodies that go through the door, and the answers that are its own.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::Exhausted;

pub(super) type Body = BoxBody<Bytes, Infallible>;

pub(super) async fn bounded_text(mut response: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > 4096 {
            bytes.truncate(4096);
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a request asks for its answer as an event stream.
pub(super) fn wants_stream(body: &[u8]) -> bool {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    value.is_some_and(|request| request.get("stream") == Some(&Value::Bool(true)))
}

pub(super) fn with_model(body: &[u8], model: &str) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(body).ok()?;
    value.as_object_mut()?.insert("model".to_owned(), json!(model));
    serde_json::to_vec(&value).ok()
}

/// Token counts of one `data:` line, if it carries them.
pub(super) fn usage_in(line: &[u8]) -> Option<(u64, u64)> {
    let event: Value = serde_json::from_slice(line.strip_prefix(b"data:")?.trim_ascii()).ok()?;
    let usage = event.get("usage")?;
    Some((
        usage.get("prompt_tokens")?.as_u64()?,
        usage.get("completion_tokens")?.as_u64()?,
    ))
}

pub(super) fn reply(status: StatusCode, kind: &str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert("content-type", kind);
    }
    response
}

/// Token counts of an answer in one piece, if it carries them.
pub(super) fn usage_of(answer: &[u8]) -> Option<(u64, u64)> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let tokens = |name| answer.get("usage")?.get(name)?.as_u64();
    tokens("prompt_tokens").zip(tokens("completion_tokens"))
}

/// The shape of OpenAI's errors.
pub(super) fn error_body(code: &str, message: &str) -> String {
    json!({"error": {"message": message, "type": code, "code": code}}).to_string()
}

/// An error in that shape.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    reply(status, "application/json", error_body(code, message).into())
}

pub(super) fn exhausted(cap: Exhausted) -> Response<Body> {
    error(
        StatusCode::BAD_REQUEST,
        "budget_exhausted",
        &format!("the runner's budget is used up: {cap:?}"),
    )
}
