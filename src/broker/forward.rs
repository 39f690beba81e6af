//! One call through the door: answered from a cassette, or by the provider.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::{Response, StatusCode, body::Frame};
use tokio::sync::mpsc;

use super::{
    Exhausted,
    answer::{Body, bounded_text, error, error_body, exhausted, reply, usage_in, usage_of, wants_stream, with_model},
    cassette::{Player, Recorded},
    ledger::{self, Lines},
    meter::{CallId, Meter},
    recording::Recorder,
    upstream::Endpoint,
};

/// Largest response that is recorded on a cassette.
const MAX_RECORDED: u64 = 16 << 20;
/// Largest answer in one piece.
const MAX_WHOLE: usize = 16 << 20;
/// Longest line of an event stream that is looked at for usage.
const MAX_LINE: usize = 1 << 20;

/// What all calls through one door share.
pub(super) struct Shared {
    pub source: Source,
    pub model: String,
    /// The digest of what the inside has to show: digests compare in constant time.
    pub authorization: blake3::Hash,
    pub meter: Mutex<Meter>,
    pub ledger: Lines,
    pub recorder: Option<Recorder>,
    /// What was recorded before the run was cut off.
    pub recorded: Option<Player>,
}

/// Where answers come from.
pub(super) enum Source {
    Endpoint(Endpoint),
    Cassette(Player),
}

/// What the ledger needs of a call under way.
#[derive(Clone)]
pub(super) struct Call {
    pub id: CallId,
    pub began: Instant,
    pub request: String,
    pub request_bytes: u64,
    pub replayed: bool,
}

impl Call {
    /// A call that begins now.
    pub fn new(id: CallId, body: &[u8]) -> Self {
        Self {
            id,
            began: Instant::now(),
            request: blake3::hash(body).to_hex().to_string(),
            request_bytes: body.len() as u64,
            replayed: false,
        }
    }
}

/// How a call went.
#[derive(Default)]
pub(super) struct Outcome {
    status: u16,
    bytes: u64,
    usage: Option<(u64, u64)>,
    why: Option<String>,
}

impl Outcome {
    fn failed(status: u16, why: String) -> Self {
        Self {
            status,
            why: Some(why),
            ..Self::default()
        }
    }
}

impl Shared {
    pub fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn play(&self, call: Call, played: Result<Recorded, String>) -> Response<Body> {
        let recorded = match played {
            Ok(recorded) => recorded,
            Err(why) => {
                self.meter().exhaust(Exhausted::CassetteEnded);
                let answer = error(StatusCode::BAD_REQUEST, "cassette_ended", &why);
                // What holds no answer holds none the next time.
                self.finish(&call, Outcome::failed(400, why), None);
                return answer;
            }
        };
        // What the provider's errors came to, they come to again.
        let status = recorded.status;
        let again = match status {
            429 | 500.. => {
                self.meter().fail();
                self.meter().transient()
            }
            401..=404 => {
                self.meter().fail();
                true
            }
            _ => true,
        };
        let body = &recorded.body;
        let outcome = Outcome {
            status,
            bytes: body.len() as u64,
            usage: match recorded.content_type.as_str() {
                "application/json" => usage_of(body.as_bytes()),
                _ => body.lines().filter_map(|line| usage_in(line.as_bytes())).next_back(),
            },
            why: None,
        };
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let answer = match again {
            true => reply(code, &recorded.content_type, body.clone().into()),
            false => exhausted(Exhausted::ProviderErrors),
        };
        self.finish(&call, outcome, Some(recorded));
        answer
    }

    pub async fn forward(self: Arc<Self>, call: Call, body: &[u8]) -> Response<Body> {
        let Source::Endpoint(endpoint) = &self.source else {
            return error(StatusCode::BAD_REQUEST, "no_endpoint", "no endpoint is configured");
        };
        let whole = !wants_stream(body);
        let Some(body) = with_model(body, &self.model) else {
            let why = "the request is not a JSON object";
            return self.refuse(
                &call,
                Outcome::failed(400, "not JSON".to_owned()),
                (400, "invalid_request", why),
            );
        };
        let response = match endpoint.send(body).await {
            Ok(response) => response,
            Err(why) => return self.transient(&call, 502, why),
        };
        let status = response.status();
        let kind = response
            .headers()
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        if status.as_u16() == 429 || status.is_server_error() {
            return self.transient(&call, status.as_u16(), format!("the provider answered {status}"));
        }
        if !status.is_success() {
            // Between the provider and us: its key, its bill, its address. All else is about the request.
            if [401, 402, 403, 404].contains(&status.as_u16()) {
                self.meter().fail();
            }
            let text = bounded_text(response).await;
            let code = if status.is_client_error() { status.as_u16() } else { 400 };
            let outcome = Outcome {
                status: status.as_u16(),
                bytes: text.len() as u64,
                ..Outcome::default()
            };
            return self.refuse(&call, outcome, (code, "provider_error", &text));
        }
        if whole {
            return self.pass_whole(&call, response).await;
        }
        if !kind.starts_with("text/event-stream") {
            // Passed on as 200, OpenCode would ask again at once, without end.
            let why = format!("the provider answered `{kind}` where an event stream was asked for");
            return self.refuse(&call, Outcome::failed(200, why.clone()), (400, "no_event_stream", &why));
        }
        let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(16);
        tokio::spawn(self.clone().pump(call, response, sender));
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|frame| (frame, receiver))
        });
        let mut out = Response::new(BodyExt::boxed(StreamBody::new(frames)));
        out.headers_mut().insert(
            "content-type",
            hyper::header::HeaderValue::from_static("text/event-stream"),
        );
        out
    }

    /// Streams an answer through, counting; a budget that is passed midway cuts it.
    async fn pump(
        self: Arc<Self>,
        call: Call,
        mut response: reqwest::Response,
        to: mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
    ) {
        let mut outcome = Outcome {
            status: 200,
            ..Outcome::default()
        };
        let mut line = Vec::new();
        let mut kept = Vec::new();
        let mut hung_up = false;
        loop {
            let chunk = tokio::select! {
                chunk = response.chunk() => chunk,
                // The inside went away: stop paying for the answer.
                () = to.closed() => {
                    outcome.why = Some("the inside hung up".to_owned());
                    hung_up = true;
                    break;
                }
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(e) => {
                    outcome.why = Some(e.without_url().to_string());
                    break;
                }
            };
            outcome.bytes += chunk.len() as u64;
            for part in chunk.split_inclusive(|b| *b == b'\n') {
                if line.len() + part.len() <= MAX_LINE {
                    line.extend_from_slice(part);
                }
                if part.ends_with(b"\n") {
                    outcome.usage = usage_in(&line).or(outcome.usage);
                    line.clear();
                }
            }
            if self.recorder.is_some() && outcome.bytes <= MAX_RECORDED {
                kept.extend_from_slice(&chunk);
            }
            if to.send(Ok(Frame::data(chunk))).await.is_err() {
                hung_up = true;
                break;
            }
            if let Some(cap) = self.meter().cut() {
                outcome.why = Some(format!("cut off: {cap:?}"));
                break;
            }
        }
        // What nobody waited for was no answer to anybody.
        let recorded = (!hung_up).then(|| Recorded {
            status: 200,
            content_type: "text/event-stream".to_owned(),
            body: String::from_utf8_lossy(&kept).into_owned(),
        });
        self.finish(&call, outcome, recorded);
    }

    /// Passes on an answer that was asked for in one piece: a JSON object.
    async fn pass_whole(&self, call: &Call, mut response: reqwest::Response) -> Response<Body> {
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > MAX_WHOLE => {
                    let why = format!("the provider's answer has more than {MAX_WHOLE} bytes");
                    return self.unfit(call, bytes.len(), why);
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(why) => return self.transient(call, 502, why.without_url().to_string()),
            }
        }
        if !matches!(serde_json::from_slice(&bytes), Ok(serde_json::Value::Object(_))) {
            return self.unfit(call, bytes.len(), "the provider's answer is no JSON object".to_owned());
        }
        let outcome = Outcome {
            status: 200,
            bytes: bytes.len() as u64,
            usage: usage_of(&bytes),
            why: None,
        };
        let kind = "application/json";
        let recorded = Recorded {
            status: 200,
            content_type: kind.to_owned(),
            body: String::from_utf8_lossy(&bytes).into_owned(),
        };
        self.finish(call, outcome, Some(recorded));
        reply(StatusCode::OK, kind, bytes.into())
    }

    /// The provider's answer cannot be passed on.
    fn unfit(&self, call: &Call, bytes: usize, why: String) -> Response<Body> {
        self.meter().fail();
        let outcome = Outcome {
            bytes: bytes as u64,
            ..Outcome::failed(200, why.clone())
        };
        self.refuse(call, outcome, (502, "provider_error", &why))
    }

    /// An answer of the door's own: its status, its code and its words.
    fn refuse(&self, call: &Call, outcome: Outcome, (status, code, why): (u16, &str, &str)) -> Response<Body> {
        let recorded = Recorded {
            status,
            content_type: "application/json".to_owned(),
            body: error_body(code, why),
        };
        self.finish(call, outcome, Some(recorded));
        error(
            StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            code,
            why,
        )
    }

    /// A transient error is passed on so that OpenCode retries, but only so often.
    fn transient(&self, call: &Call, status: u16, why: String) -> Response<Body> {
        self.meter().fail();
        let again = self.meter().transient();
        let answer = self.refuse(
            call,
            Outcome::failed(status, why.clone()),
            (status, "provider_unavailable", &why),
        );
        if again {
            answer
        } else {
            exhausted(Exhausted::ProviderErrors)
        }
    }

    /// The provider took longer than whoever asked waits.
    pub fn unanswered(&self, call: &Call, within: Duration) -> Response<Body> {
        self.transient(call, 504, format!("no answer in {} s", within.as_secs()))
    }

    /// Counts a call and keeps what it came to; `recorded` is its answer.
    fn finish(&self, call: &Call, outcome: Outcome, recorded: Option<Recorded>) {
        if let (Some(recorder), false) = (&self.recorder, call.replayed) {
            match recorded {
                _ if outcome.bytes > MAX_RECORDED => recorder.leave_out(),
                Some(recorded) => recorder.keep(&call.id, recorded),
                None => {}
            }
        }
        let estimated = outcome.usage.is_none() && outcome.status == 200 && outcome.bytes > 0;
        let (input, output) = match outcome.usage {
            Some(usage) => usage,
            None if estimated => (call.request_bytes / 4, outcome.bytes / 4),
            None => (0, 0),
        };
        self.meter().count(input, output);
        self.ledger.append(&ledger::Entry {
            ts: ledger::now(),
            id: call.id.clone(),
            request: call.request.clone(),
            request_bytes: call.request_bytes,
            status: outcome.status,
            response_bytes: outcome.bytes,
            input_tokens: input,
            output_tokens: output,
            estimated,
            ms: u64::try_from(call.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            why: outcome.why,
            replayed: call.replayed,
        });
    }
}
