//! The only way out of the sandbox that git runs in: a listening socket of its loopback,
//! accepted on here, that leads to the repositories which were named and to nothing else.
//!
//! What git says there in its smart or dumb HTTP protocol (gitprotocol-http(5)) is asked
//! of the server by this program: names are resolved, certificates checked, redirections
//! followed and keys shown here, and git sees none of it. What it says in the protocol of
//! git's own daemon (gitprotocol-pack(5)) is passed to `ssh`, which talks the same.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use reqwest::header::HeaderName;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::ssh;
use crate::{
    record::Secret,
    source::{
        Address, SourceError, SshAddress,
        http::{self, Ask, Client},
    },
};

/// Largest request body: what git wants, not what it gives.
const MAX_REQUEST: usize = 16 << 20;
/// Connections at once.
const MAX_CONNECTIONS: usize = 16;
/// What git says of itself and of what it takes.
const REQUEST_HEADERS: [&str; 4] = ["accept", "content-type", "content-encoding", "git-protocol"];

type Body = BoxBody<Bytes, std::io::Error>;

/// Where a route leads.
#[derive(Clone, Debug)]
pub(super) enum Upstream {
    /// A web server, with the key for its origin.
    Http(Address, Option<(String, Secret)>),
    /// `ssh`.
    Ssh(SshAddress),
}

/// The relay of one sandbox. It ends when it is dropped.
pub(super) struct Relay {
    shared: Arc<Shared>,
    port: u16,
    serving: JoinHandle<()>,
}

/// What all connections share.
pub(super) struct Shared {
    client: Client,
    routes: Mutex<Vec<Upstream>>,
    /// Stands in every URL: where the inside shares the host's loopback others could connect.
    word: String,
    remedy: &'static str,
    max: u64,
    bytes: AtomicU64,
    failure: Mutex<Option<SourceError>>,
}

impl Relay {
    /// Serves on a listener of the inside. At most `max` bytes come through.
    pub fn serve(listener: TcpListener, port: u16, client: Client, max: u64, remedy: &'static str) -> Self {
        let shared = Arc::new(Shared {
            client,
            routes: Mutex::default(),
            word: uuid::Uuid::new_v4().simple().to_string(),
            remedy,
            max,
            bytes: AtomicU64::new(0),
            failure: Mutex::default(),
        });
        let serving = tokio::spawn(accept(shared.clone(), listener));
        Self { shared, port, serving }
    }

    /// A URL for git inside that leads there.
    pub fn route(&self, upstream: Upstream) -> String {
        let scheme = match upstream {
            Upstream::Http(..) => "http",
            Upstream::Ssh(_) => "git",
        };
        let mut routes = self.shared.routes();
        routes.push(upstream);
        let (word, number) = (&self.shared.word, routes.len() - 1);
        format!("{scheme}://127.0.0.1:{}/{word}/{number}", self.port)
    }

    /// Bytes that came through so far.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// What went wrong out there since this was last asked.
    pub fn failure(&self) -> Option<SourceError> {
        lock(&self.shared.failure).take()
    }

    /// What git says, without the way here.
    pub fn told(&self, text: &str) -> String {
        text.replace(&format!("127.0.0.1:{}/{}/", self.port, self.shared.word), "(relay)/")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections live no longer than this, which lives no longer than the relay.
async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(shared.clone().connection(stream));
    }
}

impl Shared {
    fn routes(&self) -> MutexGuard<'_, Vec<Upstream>> {
        lock(&self.routes)
    }

    /// The first failure says why all others came.
    pub fn fail(&self, why: SourceError) {
        lock(&self.failure).get_or_insert(why);
    }

    /// Counts bytes that come in; `false` once they are too many.
    pub fn count(&self, bytes: usize) -> bool {
        let all = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if all > self.max {
            let why = format!("it sent more than {} bytes; --fetch-max-bytes takes more", self.max);
            let what = "the repository's server".to_owned();
            self.fail(SourceError::Limit { what, why });
        }
        all <= self.max
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        // A packet of git's own protocol begins with its length in four digits, and no
        // HTTP method does.
        let mut head = [0; 4];
        loop {
            match stream.peek(&mut head).await {
                Ok(4) => break,
                Ok(0) | Err(_) => return,
                // The rest is under way.
                Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        if head.iter().all(u8::is_ascii_hexdigit) {
            let found = |path: &str| match self.find(path) {
                Some((_, Upstream::Ssh(address), "")) => Some(address),
                _ => None,
            };
            return ssh::pass(&self, stream, found).await;
        }
        let service = service_fn(|request| {
            let shared = self.clone();
            async move { Ok::<_, Infallible>(shared.answer(request).await) }
        });
        // Only the inside is hurt by a connection that breaks.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(30))
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    /// The route of a path, its number, and what stands behind it.
    fn find<'p>(&self, path: &'p str) -> Option<(usize, Upstream, &'p str)> {
        let rest = path
            .strip_prefix('/')?
            .strip_prefix(self.word.as_str())?
            .strip_prefix('/')?;
        let (digits, _) = rest.split_once('/').unwrap_or((rest, ""));
        let number = digits.parse().ok()?;
        let upstream = self.routes().get::<usize>(number).cloned()?;
        Some((number, upstream, &rest[digits.len()..]))
    }

    /// Remembers where a repository has moved to: what is asked for next is asked there.
    fn moved(&self, number: usize, suffix: &str, to: &Address) {
        let path = to.url().path().to_owned();
        let base = path.strip_suffix(suffix).and_then(|base| to.join(base).ok());
        if let (Some(base), Some(Upstream::Http(address, _))) = (base, self.routes().get_mut(number)) {
            *address = base;
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let Some((number, Upstream::Http(base, key), suffix)) = self.find(&path) else {
            return refusal(StatusCode::NOT_FOUND);
        };
        let query = head.uri.query();
        let first = suffix == "/info/refs";
        let taken = match (&head.method, suffix) {
            (&Method::GET, "/info/refs") => matches!(query, None | Some("service=git-upload-pack")),
            (&Method::POST, "/git-upload-pack") => query.is_none(),
            (&Method::GET, "/HEAD") => query.is_none(),
            (&Method::GET, other) => query.is_none() && is_object(other),
            _ => false,
        };
        if !taken {
            return refusal(StatusCode::FORBIDDEN);
        }
        let Ok(body) = Limited::new(body, MAX_REQUEST).collect().await else {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let mut address = base.with_segments(suffix.split('/').filter(|part| !part.is_empty()));
        if let Some(query) = query {
            address = address.with_query(query);
        }
        let headers = head
            .headers
            .iter()
            .filter(|(name, _)| REQUEST_HEADERS.contains(&name.as_str()));
        let ask = Ask {
            method: head.method.clone(),
            address: address.clone(),
            key,
            headers: headers
                .map(|(name, value)| (HeaderName::clone(name), value.clone()))
                .collect(),
            body: body.to_bytes(),
        };
        let answer = match self.client.send(&ask).await {
            Ok(answer) => answer,
            Err(why) => {
                self.fail(why);
                return refusal(StatusCode::BAD_GATEWAY);
            }
        };
        if !answer.response.status().is_success() {
            if let (true, Err(why)) = (first, http::good(&answer.response, &base, self.remedy)) {
                self.fail(why);
            }
            // Whatever it says, git must not ask for a key.
            return refusal(StatusCode::NOT_FOUND);
        }
        if first && answer.from.url() != address.url() {
            self.moved(number, suffix, &answer.from);
        }
        self.stream(answer.response)
    }

    fn stream(self: Arc<Self>, response: reqwest::Response) -> Response<Body> {
        let kind = response.headers().get("content-type").cloned();
        let frames = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(|why| {
                let text = http::chain(&why.without_url());
                self.fail(SourceError::fetch("the repository's server", &text));
                std::io::Error::other(text)
            })?;
            match self.count(chunk.len()) {
                true => Ok(Frame::data(chunk)),
                false => Err(std::io::Error::other("too many bytes")),
            }
        });
        let mut out = Response::new(BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(Box::pin(
            frames,
        ))))));
        out.headers_mut()
            .extend(kind.map(|kind| (hyper::header::CONTENT_TYPE, kind)));
        out
    }
}

/// A stream that one reader polls at a time, as a boxed body has to be.
struct SyncStream<S>(Mutex<S>);

impl<S: futures_util::Stream + Unpin> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        lock(&self.0).poll_next_unpin(context)
    }
}

/// A file that a server without git has (gitprotocol-http(5), dumb clients).
fn is_object(suffix: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part != ".." && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    suffix
        .strip_prefix("/objects/")
        .is_some_and(|rest| rest.split('/').all(plain))
}

fn refusal(status: StatusCode) -> Response<Body> {
    let mut out = Response::new(Full::new(Bytes::new()).map_err(|never| match never {}).boxed());
    *out.status_mut() = status;
    out
}
