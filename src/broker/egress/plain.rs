//! Plain HTTP through the door: requests in absolute form (RFC 9112, 3.2.2), each judged and
//! dialled by itself. Both ends are spoken to by an HTTP implementation of ours, so nothing
//! that is framed in two ways comes through.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, Uri, Version,
    body::Incoming,
    client::conn::http1 as client,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, task::JoinSet};

use super::{
    attempt::{Attempt, Denial},
    body::Metered,
    copy::{IDLE, TOTAL},
    door::Way,
    head,
    ledger::{Reason, Via},
    meter, names,
    rewound::Rewound,
    serve::{Place, credential, phrase, status},
};
use crate::wire::Peer;

/// Longest head.
const HEAD_BYTES: usize = 32 * 1024;
const HEADERS: usize = 100;
/// Longest time until a head is there.
const HEAD: Duration = Duration::from_secs(30);
/// Ports of plain HTTP and of TLS.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What is between the two ends and not for the other one (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Serves one connection; `read` was read of it already.
pub(super) async fn serve(place: &Place, peer: Option<Peer>, read: Vec<u8>, stream: TcpStream) {
    let first = target(&read);
    let served = Mutex::new(false);
    let service = service_fn(|request| {
        if let Ok(mut served) = served.lock() {
            *served = true;
        }
        let peer = peer.clone();
        async move { Ok::<_, Infallible>(answer(place, peer.as_ref(), request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Rewound::new(read, stream)), service);
    let ended = tokio::time::timeout(TOTAL, connection).await;
    if let Ok(Err(why)) = ended
        && (why.is_parse() || why.is_parse_too_large())
    {
        // What came before it has its own line.
        let (host, port) = if served.lock().is_ok_and(|served| *served) {
            (Vec::new(), None)
        } else {
            first
        };
        let attempt = place.asker.begin(peer.as_ref(), Via::Unknown, &host, port);
        attempt.denied(&Denial::refused(Reason::Malformed, why.to_string()));
    }
}

/// Host and port of the first line of a request, however malformed, for the record.
fn target(read: &[u8]) -> (Vec<u8>, Option<u16>) {
    let line = read.split(|b| *b == b'\n').next().unwrap_or_default();
    let target = line.split(|b| *b == b' ').nth(1).unwrap_or_default();
    let text = String::from_utf8_lossy(target.get(..target.len().min(300)).unwrap_or_default());
    let after = text.split_once("://").map_or(text.as_ref(), |(_, after)| after);
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (host, port) = head::authority(after.get(..end).unwrap_or_default());
    (host.as_bytes().to_vec(), port)
}

async fn answer(place: &Place, peer: Option<&Peer>, request: Request<Incoming>) -> Response<Body> {
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    let (host, port) = head::authority(authority);
    let port = port.unwrap_or(HTTP);
    let mut attempt = place.asker.begin(peer, Via::Http, host.as_bytes(), Some(port));
    attempt.method(request.method().as_str());
    let host = host.as_bytes().to_vec();
    match fetch(place, &host, port, request, &mut attempt).await {
        Ok(answer) => {
            attempt.let_through();
            answer.with(attempt)
        }
        Err(denial) => {
            attempt.denied(&denial);
            refusal(&denial)
        }
    }
}

/// An answer from outside, and what keeps its connection.
struct Answer {
    response: Response<Incoming>,
    meter: Arc<meter::Meter>,
    connection: JoinSet<()>,
}

impl Answer {
    fn with(self, attempt: Attempt) -> Response<Body> {
        let (mut parts, body) = self.response.into_parts();
        strip(&mut parts.headers);
        let body = Metered::answer(body, self.meter, attempt, self.connection);
        Response::from_parts(parts, BodyExt::boxed_unsync(body))
    }
}

async fn fetch(
    place: &Place,
    host: &[u8],
    port: u16,
    mut request: Request<Incoming>,
    attempt: &mut Attempt,
) -> Result<Answer, Denial> {
    if let Some(key) = &place.key {
        let shown = request.headers().get(header::PROXY_AUTHORIZATION);
        if !head::opens(shown.map(HeaderValue::as_bytes), key) {
            return Err(credential());
        }
    }
    let unfit = |why: &str| Err(Denial::refused(Reason::NotAProxyRequest, why));
    match request.uri().scheme_str() {
        Some("http") => {}
        Some("https") => return unfit("https goes through CONNECT"),
        Some(_) => return unfit("only http is spoken in the clear"),
        None => return unfit("this is a proxy: it is asked for whole URLs, or to CONNECT"),
    }
    if request.method() == Method::CONNECT {
        return unfit("a tunnel is asked for first");
    }
    let way = place.door.judge(host, port, attempt)?;
    if port == HTTPS && way.rule.tls && way.header.is_none() {
        let why = format!(
            "port {HTTPS} of {} is for TLS by rule {}: ask for https",
            way.host, way.rule
        );
        return Err(Denial::refused(Reason::NotTls, why));
    }
    if !way.rule.takes(request.method().as_str()) {
        let (method, rule) = (request.method(), way.rule);
        let why = format!("{method} is no method of rule {rule}");
        return Err(Denial::refused(Reason::Method, why));
    }
    way.admit()?;
    let addresses = place.door.names.addresses(&way.host, way.rule).await?;
    // What gets a secret goes over TLS.
    let secret = way.header.cloned();
    let port = match (&secret, port) {
        (Some(_), HTTP) => *way.rule.ports().iter().find(|port| **port != HTTP).unwrap_or(&HTTPS),
        _ => port,
    };
    let (stream, address) = names::dial(&way.host, &addresses, port).await?;
    attempt.pinned(address);
    prepare(&mut request, &way, secret.clone());
    let meter = way.meter.clone();
    let moved = attempt.moved.clone();
    let cut = Arc::default();
    let request = request.map(|body| Metered::request(body, meter.clone(), moved, Arc::clone(&cut)));
    let (sent, connection) = if secret.is_some() {
        let config = place.door.trust.client();
        let broken = |why: String| Denial::failed(Reason::Unreachable, format!("TLS with {}: {why}", way.host));
        let config = config.map_err(broken)?;
        let name = rustls::pki_types::ServerName::try_from(way.host.to_string());
        let name = name.map_err(|why| broken(why.to_string()))?;
        let connecting = tokio_rustls::TlsConnector::from(config).connect(name, stream);
        let stream = match tokio::time::timeout(HEAD, connecting).await {
            Ok(stream) => stream.map_err(|why| broken(why.to_string()))?,
            Err(_) => return Err(broken("no answer in time".to_owned())),
        };
        send(request, stream).await
    } else {
        send(request, stream).await
    };
    let response = sent.map_err(|why| {
        // A request that was cut off on its way fails for that.
        let failed = || Denial::failed(Reason::Unreachable, format!("{}: {why}", way.host));
        cut.get().cloned().unwrap_or_else(failed)
    })?;
    Ok(Answer {
        response,
        meter,
        connection,
    })
}

/// Sends a request; what drives its connection comes with the answer.
async fn send<S>(request: Request<Metered>, stream: S) -> (Result<Response<Incoming>, String>, JoinSet<()>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut driven = JoinSet::new();
    let sent = async {
        let (mut sender, connection) = client::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|why| why.to_string())?;
        driven.spawn(async {
            let _ = connection.await;
        });
        match tokio::time::timeout(IDLE, sender.send_request(request)).await {
            Ok(sent) => sent.map_err(|why| why.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
    .await;
    (sent, driven)
}

/// Makes it a request for the host itself.
fn prepare(request: &mut Request<Incoming>, way: &Way<'_>, secret: Option<HeaderValue>) {
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.version_mut() = Version::HTTP_11;
    strip(request.headers_mut());
    if let Ok(host) = HeaderValue::from_str(&authority) {
        request.headers_mut().insert(header::HOST, host);
    }
    if let (Some(secret), Some(grant)) = (secret, &way.rule.header)
        && let Ok(name) = HeaderName::from_bytes(grant.name.as_bytes())
    {
        // The name of the host as TLS knows it, and the secret in place of what the inside says.
        if let Ok(host) = HeaderValue::from_str(way.host.as_str()) {
            request.headers_mut().insert(header::HOST, host);
        }
        request.headers_mut().insert(name, secret);
    }
}

/// Takes away what is between two ends alone, and what they say is.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("proxy-connection");
}

fn refusal(denial: &Denial) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("opencode-fsm: {}\n", phrase(denial))));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status(denial);
    if let Ok(phrase) = hyper::ext::ReasonPhrase::try_from(phrase(denial)) {
        response.extensions_mut().insert(phrase);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if denial.reason == Reason::Credential {
        let basic = HeaderValue::from_static("Basic realm=\"opencode-fsm\"");
        headers.insert(header::PROXY_AUTHENTICATE, basic);
    }
    response
}
