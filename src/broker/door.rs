//! The server on the listening socket of the inside.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode, body::Frame, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

use super::{
    BrokerError, DoorConfig, Exhausted, Upstream, Usage,
    cassette::{self, Header, Player, Recorded},
    ledger::{self, Lines},
    meter::{CallId, Meter},
    upstream::Endpoint,
};

/// Largest request body.
const MAX_REQUEST: usize = 16 << 20;
/// Largest response that is recorded on a cassette.
const MAX_RECORDED: usize = 16 << 20;
/// Longest line of an event stream that is looked at for usage.
const MAX_LINE: usize = 1 << 20;
/// Connections served at once.
const MAX_CONNECTIONS: usize = 32;

type Body = BoxBody<Bytes, Infallible>;

/// The open door. One a run; it outlives agent sandboxes ([`ModelDoor::serve`]
/// again after a restart).
pub struct ModelDoor {
    shared: Arc<Shared>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    source: Source,
    model: String,
    /// The digest of what the inside has to show: digests compare in constant time.
    authorization: blake3::Hash,
    meter: Mutex<Meter>,
    ledger: Lines,
    recorder: Option<Lines>,
}

enum Source {
    Endpoint(Endpoint),
    Cassette(Player),
}

impl ModelDoor {
    /// Opens ledger, cassette and HTTP client.
    ///
    /// # Errors
    /// A malformed cassette, an unusable base URL, or a file that cannot be made.
    pub fn open(config: DoorConfig) -> Result<Self, BrokerError> {
        let source = match config.upstream {
            Upstream::Http { base_url, key } => Source::Endpoint(Endpoint::new(&base_url, key)?),
            Upstream::Cassette(path) => Source::Cassette(Player::open(&path)?),
            Upstream::Bundled(text) => Source::Cassette(Player::parse("(bundled)", text)?),
        };
        let recorder = config.record_to.as_deref().map(Lines::create).transpose()?;
        if let Some(recorder) = &recorder {
            recorder.append(&Header { cassette: 1 });
        }
        let shared = Shared {
            source,
            model: config.model,
            authorization: blake3::hash(format!("Bearer {}", config.inside_key.expose()).as_bytes()),
            meter: Mutex::new(Meter::new(config.per_run, config.per_turn)),
            ledger: Lines::create(&config.ledger)?,
            recorder,
        };
        Ok(Self {
            shared: Arc::new(shared),
            serving: Mutex::new(None),
        })
    }

    /// Serves on a listener handed out by a sandbox, replacing any earlier one.
    pub fn serve(&self, listener: TcpListener) {
        let task = tokio::spawn(accept(self.shared.clone(), listener));
        if let Some(earlier) = lock(&self.serving).replace(task) {
            earlier.abort();
        }
    }

    /// A new turn begins: its label picks the cassette's answers, its counters start at zero.
    pub fn begin_turn(&self, label: &str) {
        self.shared.meter().begin_turn(label);
    }

    /// Usage of the turn and of the run.
    pub fn usage(&self) -> (Usage, Usage) {
        self.shared.meter().usage()
    }

    /// The first cap hit since the turn began.
    pub fn exhausted(&self) -> Option<Exhausted> {
        self.shared.meter().exhausted()
    }

    /// Stops serving and syncs ledger and cassette.
    ///
    /// # Errors
    /// When a record could not be kept.
    pub fn close(self) -> Result<Usage, BrokerError> {
        if let Some(task) = lock(&self.serving).take() {
            task.abort();
        }
        self.shared.ledger.finish()?;
        self.shared.recorder.as_ref().map(Lines::finish).transpose()?;
        Ok(self.usage().1)
    }
}

impl Drop for ModelDoor {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.serving).take() {
            task.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(shared.answer(request).await) }
            });
            // Only the inside is hurt by a connection that breaks.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .max_buf_size(64 * 1024)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(slot);
        });
    }
}

/// What the ledger needs of a call under way.
struct Call {
    id: CallId,
    began: Instant,
    request: String,
    request_bytes: u64,
}

/// How a call went.
#[derive(Default)]
struct Outcome {
    status: u16,
    bytes: u64,
    usage: Option<(u64, u64)>,
    why: Option<String>,
}

impl Shared {
    fn meter(&self) -> MutexGuard<'_, Meter> {
        lock(&self.meter)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let shown = request
            .headers()
            .get("authorization")
            .map(|value| blake3::hash(value.as_bytes()));
        if shown != Some(self.authorization) {
            let why = "this door opens to the agent of this run alone";
            return error(StatusCode::UNAUTHORIZED, "unauthorized", why);
        }
        if request.method() != Method::POST || !request.uri().path().ends_with("/chat/completions") {
            return error(
                StatusCode::NOT_FOUND,
                "not_found",
                "only POST /v1/chat/completions is served here",
            );
        }
        let body = match Limited::new(request.into_body(), MAX_REQUEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the request is too large"),
        };
        let id = match self.meter().admit() {
            Ok(id) => id,
            Err(cap) => return exhausted(cap),
        };
        let call = Call {
            id,
            began: Instant::now(),
            request: blake3::hash(&body).to_hex().to_string(),
            request_bytes: body.len() as u64,
        };
        match &self.source {
            Source::Cassette(player) => {
                let played = player.play(&call.id, &body);
                self.play(call, played)
            }
            Source::Endpoint(_) => self.forward(call, &body).await,
        }
    }

    fn play(&self, call: Call, played: Result<Recorded, String>) -> Response<Body> {
        match played {
            Ok(recorded) => {
                let usage = recorded
                    .body
                    .lines()
                    .filter_map(|line| usage_in(line.as_bytes()))
                    .next_back();
                let bytes = recorded.body.len() as u64;
                self.finish(
                    &call,
                    Outcome {
                        status: recorded.status,
                        bytes,
                        usage,
                        why: None,
                    },
                );
                let status = StatusCode::from_u16(recorded.status).unwrap_or(StatusCode::BAD_GATEWAY);
                reply(status, &recorded.content_type, recorded.body.into())
            }
            Err(why) => {
                self.meter().exhaust(Exhausted::CassetteEnded);
                self.finish(
                    &call,
                    Outcome {
                        status: 400,
                        why: Some(why.clone()),
                        ..Outcome::default()
                    },
                );
                error(StatusCode::BAD_REQUEST, "cassette_ended", &why)
            }
        }
    }

    async fn forward(self: Arc<Self>, call: Call, body: &[u8]) -> Response<Body> {
        let Source::Endpoint(endpoint) = &self.source else {
            return error(StatusCode::BAD_REQUEST, "no_endpoint", "no endpoint is configured");
        };
        let Some(body) = with_model(body, &self.model) else {
            self.finish(
                &call,
                Outcome {
                    status: 400,
                    why: Some("not JSON".to_owned()),
                    ..Outcome::default()
                },
            );
            return error(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "the request is not a JSON object",
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
            let text = bounded_text(response).await;
            let code = StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::BAD_REQUEST);
            let code = if code.is_client_error() {
                code
            } else {
                StatusCode::BAD_REQUEST
            };
            self.finish(
                &call,
                Outcome {
                    status: status.as_u16(),
                    bytes: text.len() as u64,
                    ..Outcome::default()
                },
            );
            return error(code, "provider_error", &text);
        }
        if !kind.starts_with("text/event-stream") {
            // Passed on as 200, OpenCode would ask again at once, without end.
            let why = format!("the provider answered `{kind}` where an event stream was asked for");
            self.finish(
                &call,
                Outcome {
                    status: 200,
                    why: Some(why.clone()),
                    ..Outcome::default()
                },
            );
            return error(StatusCode::BAD_REQUEST, "no_event_stream", &why);
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
        loop {
            let chunk = tokio::select! {
                chunk = response.chunk() => chunk,
                // The inside went away: stop paying for the answer.
                () = to.closed() => { outcome.why = Some("the inside hung up".to_owned()); break }
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
            if self.recorder.is_some() && kept.len() + chunk.len() <= MAX_RECORDED {
                kept.extend_from_slice(&chunk);
            }
            if to.send(Ok(Frame::data(chunk))).await.is_err() {
                break;
            }
            if let Some(cap) = self.meter().cut() {
                outcome.why = Some(format!("cut off: {cap:?}"));
                break;
            }
        }
        if let Some(recorder) = &self.recorder {
            recorder.append(&cassette::Entry {
                turn: call.id.turn.clone(),
                occurrence: call.id.occurrence,
                call: call.id.call,
                expect: Vec::new(),
                reply: None,
                recorded: Some(Recorded {
                    status: 200,
                    content_type: "text/event-stream".to_owned(),
                    body: String::from_utf8_lossy(&kept).into_owned(),
                }),
            });
        }
        self.finish(&call, outcome);
    }

    /// A transient error is passed on so that OpenCode retries, but only so often.
    fn transient(&self, call: &Call, status: u16, why: String) -> Response<Body> {
        let again = self.meter().transient();
        self.finish(
            call,
            Outcome {
                status,
                why: Some(why.clone()),
                ..Outcome::default()
            },
        );
        if again {
            let code = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            error(code, "provider_unavailable", &why)
        } else {
            exhausted(Exhausted::ProviderErrors)
        }
    }

    fn finish(&self, call: &Call, outcome: Outcome) {
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
        });
    }
}

async fn bounded_text(mut response: reqwest::Response) -> String {
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

fn with_model(body: &[u8], model: &str) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(body).ok()?;
    value.as_object_mut()?.insert("model".to_owned(), json!(model));
    serde_json::to_vec(&value).ok()
}

/// Token counts of one `data:` line, if it carries them.
fn usage_in(line: &[u8]) -> Option<(u64, u64)> {
    let event: Value = serde_json::from_slice(line.strip_prefix(b"data:")?.trim_ascii()).ok()?;
    let usage = event.get("usage")?;
    Some((
        usage.get("prompt_tokens")?.as_u64()?,
        usage.get("completion_tokens")?.as_u64()?,
    ))
}

fn reply(status: StatusCode, kind: &str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert("content-type", kind);
    }
    response
}

/// The shape of OpenAI's errors.
fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = json!({"error": {"message": message, "type": code, "code": code}});
    reply(status, "application/json", body.to_string().into())
}

fn exhausted(cap: Exhausted) -> Response<Body> {
    error(
        StatusCode::BAD_REQUEST,
        "budget_exhausted",
        &format!("the runner's budget is used up: {cap:?}"),
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{broker::Budget, record::Secret};

    #[tokio::test]
    async fn it_opens_to_whoever_shows_the_key_of_the_run() {
        let dir = tempfile::tempdir().expect("tempdir");
        let door = ModelDoor::open(DoorConfig {
            upstream: Upstream::Bundled(
                "{\"cassette\": 1}\n{\"turn\": \"t\", \"occurrence\": 1, \"call\": 1, \"reply\": {\"text\": \"yes\"}}\n",
            ),
            model: "m".to_owned(),
            inside_key: Secret::new("d00r-key"),
            per_run: Budget::default(),
            per_turn: Budget::default(),
            ledger: dir.path().join("model.jsonl"),
            record_to: None,
        })
        .expect("opens");
        door.begin_turn("t");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        door.serve(listener);
        let ask = async |header: &str| {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("connect");
            let request = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{header}connection: close\r\ncontent-length: 2\r\n\r\n{{}}"
            );
            stream.write_all(request.as_bytes()).await.expect("write");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("read");
            answer
        };
        for wrong in [
            "",
            "authorization: Bearer none\r\n",
            "authorization: Bearer d00r-key2\r\n",
            "authorization: Basic d00r-key\r\n",
        ] {
            let answer = ask(wrong).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{wrong}: {answer}");
            assert!(answer.contains("\"error\"") && !answer.contains("d00r-key"), "{answer}");
        }
        assert_eq!(door.usage().1.calls, 0, "what is turned away is not counted");
        let answer = ask("authorization: Bearer d00r-key\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("yes"),
            "{answer}"
        );
    }
}
