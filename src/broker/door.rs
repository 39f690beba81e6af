//! The server on the listening socket of the inside.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use super::{
    BrokerError, DoorConfig, Exhausted, Upstream, Usage,
    answer::{Body, error, exhausted},
    cassette::Player,
    forward::{Call, Shared, Source},
    ledger::Lines,
    meter::Meter,
    past,
    recording::Recorder,
    upstream::Endpoint,
};

/// Largest request body.
const MAX_REQUEST: usize = 16 << 20;
/// Connections served at once.
const MAX_CONNECTIONS: usize = 32;

/// The open door. One a run; it outlives agent sandboxes ([`ModelDoor::serve`]
/// again after a restart).
pub struct ModelDoor {
    shared: Arc<Shared>,
    serving: Mutex<Option<JoinHandle<()>>>,
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
        let opened = config.record_to.map(Recorder::open).transpose()?;
        let (recorder, recorded) = opened.map_or((None, None), |(recorder, recorded)| (Some(recorder), recorded));
        let mut meter = Meter::new(config.per_run, config.per_turn, config.patience);
        let ledger = Lines::open(&config.ledger)?;
        if let Some(past) = config.past {
            let used = past::used(&config.ledger, &past)?;
            meter.go_on(past.turns, used, past.wall);
        }
        let shared = Shared {
            source,
            model: config.model,
            authorization: blake3::hash(format!("Bearer {}", config.inside_key.expose()).as_bytes()),
            meter: Mutex::new(meter),
            ledger,
            recorder,
            recorded,
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

    /// A call of this program's own: it is counted, bounded, recorded and answered as those of
    /// the inside are. `subject` says what it asks, for the ledger and for cassettes: with the
    /// turn's label and a number it names the call, whatever goes on beside it. What comes is
    /// the answer's status and bytes; a provider that takes longer than `within` has failed.
    ///
    /// # Errors
    /// The answer has more than `most` bytes, or broke off.
    pub async fn ask(
        &self,
        subject: &str,
        body: &serde_json::Value,
        most: usize,
        within: Duration,
    ) -> Result<(u16, Vec<u8>), String> {
        let body = body.to_string().into_bytes();
        let admitted = self.shared.meter().admit_as(subject);
        let response = match admitted {
            Ok(id) => {
                let call = Call::new(id, &body);
                let answer = self.shared.clone().respond(call.clone(), &body);
                match tokio::time::timeout(within, answer).await {
                    Ok(response) => response,
                    Err(_) => self.shared.unanswered(&call, within),
                }
            }
            Err(cap) => exhausted(cap),
        };
        let status = response.status().as_u16();
        if matches!(status, 401..=404 | 429 | 500..) {
            self.shared.meter().fail_own();
        }
        let read = Limited::new(response.into_body(), most).collect().await;
        let read = read.map_err(|why| why.to_string())?;
        Ok((status, read.to_bytes().to_vec()))
    }

    /// Usage of the turn and of the run.
    pub fn usage(&self) -> (Usage, Usage) {
        self.shared.meter().usage()
    }

    /// Calls of the turn that the provider failed: it was not to be reached, was busy or
    /// broken, or refused the key.
    pub fn failed(&self) -> u64 {
        self.shared.meter().failed()
    }

    /// The same of the inside's calls alone: whoever made the others knows what they came to.
    pub fn failed_inside(&self) -> u64 {
        self.shared.meter().failed_inside()
    }

    /// Answers that were not recorded, because they were too many or too large.
    pub fn left_out(&self) -> u64 {
        self.shared.recorder.as_ref().map_or(0, Recorder::left_out)
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
        self.shared.recorder.as_ref().map(Recorder::finish).transpose()?;
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

impl Shared {
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
        let admitted = self.meter().admit();
        match admitted {
            Ok(id) => self.respond(Call::new(id, &body), &body).await,
            Err(cap) => exhausted(cap),
        }
    }

    /// What a call comes to that was let through.
    async fn respond(self: Arc<Self>, call: Call, body: &[u8]) -> Response<Body> {
        if let Some(Ok(recorded)) = self.recorded.as_ref().map(|recorded| recorded.play(&call.id, body)) {
            let replayed = true;
            return self.play(Call { replayed, ..call }, Ok(recorded));
        }
        match &self.source {
            Source::Cassette(player) => {
                let played = player.play(&call.id, body);
                self.play(call, played)
            }
            Source::Endpoint(_) => self.forward(call, body).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{broker::Budget, record::Secret};

    #[tokio::test]
    async fn calls_of_our_own_are_counted_bounded_and_played_by_what_they_ask() {
        const SOON: Duration = Duration::from_secs(10);
        let dir = tempfile::tempdir().expect("tempdir");
        let played = |subject: &str, occurrence: u32, text: &str| {
            format!(
                "{{\"turn\": \"t/{subject}\", \"occurrence\": {occurrence}, \"reply\": {{\"text\": \"{text}\"}}}}\n"
            )
        };
        let cassette = format!(
            "{{\"cassette\": 1}}\n{}{}{}",
            played("a", 1, "one"),
            played("b", 1, "two"),
            played("a", 2, "three")
        );
        let path = dir.path().join("cassette.jsonl");
        std::fs::write(&path, cassette).expect("write");
        let ledger = dir.path().join("model.jsonl");
        let door = ModelDoor::open(DoorConfig {
            upstream: Upstream::Cassette(path),
            model: "m".to_owned(),
            inside_key: Secret::new("d00r-key"),
            per_run: Budget::default(),
            per_turn: Budget {
                calls: Some(3),
                ..Budget::default()
            },
            patience: 10,
            ledger: ledger.clone(),
            record_to: None,
            past: None,
        })
        .expect("opens");
        door.begin_turn("t");
        let body = serde_json::json!({});
        for (subject, text) in [("b", "two"), ("a", "one"), ("a", "three")] {
            let (status, bytes) = door.ask(subject, &body, 1 << 16, SOON).await.expect("an answer");
            let said = String::from_utf8_lossy(&bytes).into_owned();
            assert!(status == 200 && said.contains(text), "{subject}: {said}");
        }
        let (status, bytes) = door.ask("a", &body, 1 << 16, SOON).await.expect("an answer");
        assert!(
            status == 400 && String::from_utf8_lossy(&bytes).contains("budget_exhausted"),
            "the fourth is one too many"
        );
        assert_eq!(door.usage().1.calls, 3);
        door.close().expect("closes");
        let lines = std::fs::read_to_string(ledger).expect("a ledger");
        assert_eq!(
            lines.lines().filter(|line| line.contains("\"turn\":\"t/a\"")).count(),
            2,
            "{lines}"
        );
    }

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
            patience: crate::broker::AGENT_PATIENCE,
            ledger: dir.path().join("model.jsonl"),
            record_to: None,
            past: None,
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
