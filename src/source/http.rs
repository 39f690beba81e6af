//! Requests to servers that nobody trusts: bounded in time, in redirections and in
//! repetitions, and with credentials for one origin alone.

use std::time::Duration;

use reqwest::{
    Method, Response, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use super::{Address, SourceError};
use crate::record::Secret;

/// Redirections of one request.
const MAX_REDIRECTS: usize = 10;
/// Times that one request is made.
pub(super) const ATTEMPTS: u32 = 5;
/// Times that a server is called which nobody answers for.
const CALLS: u32 = 3;
/// The pause before the first repetition; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest time that a server may ask to be left alone for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest time without a byte.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest answer that is read into memory.
const MAX_TEXT: usize = 32 << 20;

/// Who asks.
const AGENT: &str = concat!("opencode-fsm/", env!("CARGO_PKG_VERSION"));

/// A client for all servers of a run.
#[derive(Clone, Debug)]
pub(super) struct Client(reqwest::Client);

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub method: Method,
    pub address: Address,
    /// Value of the `Authorization` header, and the origin that it is for.
    pub key: Option<(String, Secret)>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: bytes::Bytes,
}

/// What a request came to.
pub(super) struct Answer {
    pub response: Response,
    /// Who answered in the end.
    pub from: Address,
}

impl Ask {
    /// A GET with whatever credentials the address has.
    pub fn get(address: &Address) -> Self {
        Self {
            method: Method::GET,
            key: address.authorization().map(|value| (address.origin(), value)),
            address: address.clone(),
            headers: Vec::new(),
            body: bytes::Bytes::new(),
        }
    }

    /// The same with a bearer token for its own origin, unless the address has credentials.
    pub fn with_token(mut self, token: Option<&Secret>) -> Self {
        if self.key.is_none()
            && let Some(token) = token
        {
            let value = Secret::new(format!("Bearer {}", token.expose()));
            self.key = Some((self.address.origin(), value));
        }
        self
    }

    /// The same with one more header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Client {
    /// # Errors
    /// When the system's certificates cannot be read.
    pub fn new() -> Result<Self, SourceError> {
        // Installing it twice is harmless: the first stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(SILENCE)
            .user_agent(AGENT)
            .build()
            .map(Self)
            .map_err(|why| SourceError::fetch("HTTP client", why))
    }

    /// Asks until there is an answer that is neither a redirection nor passing trouble.
    /// Whatever its status is, the caller looks at it.
    ///
    /// # Errors
    /// [`SourceError::Fetch`] when the server cannot be reached, leads in circles or to
    /// where nobody should go, or asks for more patience than there is.
    pub async fn send(&self, ask: &Ask) -> Result<Answer, SourceError> {
        let mut attempt = 1;
        loop {
            let (why, wait, most) = match self.follow(ask).await? {
                Ok(answer) => match passing(&answer.response) {
                    None => return Ok(answer),
                    Some(_) if attempt >= ATTEMPTS => return Ok(answer),
                    Some(wait) => (format!("it answered {}", answer.response.status()), wait, ATTEMPTS),
                },
                Err((why, true)) => (why, None, CALLS),
                Err((why, false)) => (why, None, ATTEMPTS),
            };
            let fail = |why: String| Err(SourceError::fetch(&ask.address, why));
            if attempt >= most {
                return fail(format!("{why}, {attempt} times"));
            }
            let wait = wait.unwrap_or(PAUSE * 2u32.pow(attempt - 1));
            if wait > PATIENCE {
                return fail(format!("{why} and wants to be asked again in {} s", wait.as_secs()));
            }
            tracing::debug!("{}: {why}; asking again in {wait:?}", ask.address);
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// One attempt; the inner error is worth another, and says whether there was no connection.
    async fn follow(&self, ask: &Ask) -> Result<Result<Answer, (String, bool)>, SourceError> {
        let mut address = ask.address.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self
                .0
                .request(ask.method.clone(), address.url().clone())
                .header("accept-encoding", "identity")
                .headers(ask.headers.iter().cloned().collect::<HeaderMap>());
            if !ask.body.is_empty() {
                request = request.body(ask.body.clone());
            }
            if let Some((origin, key)) = &ask.key
                && *origin == address.origin()
            {
                let mut value = HeaderValue::from_str(key.expose()).map_err(|_| {
                    SourceError::fetch(&ask.address, "its key has characters that a header cannot have")
                })?;
                value.set_sensitive(true);
                request = request.header("authorization", value);
            }
            let response = match request.send().await {
                Ok(response) => response,
                Err(why) => {
                    let connect = why.is_connect();
                    return Ok(Err((chain(&why.without_url()), connect)));
                }
            };
            let Some(next) = redirection(&response) else {
                return Ok(Ok(Answer {
                    response,
                    from: address,
                }));
            };
            let to = address
                .join(&next)
                .map_err(|why| SourceError::fetch(&ask.address, format!("it leads elsewhere, and {why}")))?;
            if to.is_exposed() && !address.is_exposed() {
                let why = format!("it leads to {to}, where anybody on the way could change what comes");
                return Err(SourceError::fetch(&ask.address, why));
            }
            address = to;
        }
        Err(SourceError::fetch(
            &ask.address,
            format!("it leads on more than {MAX_REDIRECTS} times"),
        ))
    }

    /// The text of a good answer.
    ///
    /// # Errors
    /// As [`Client::send`]; [`SourceError::Denied`] for 401 and 403; for any other status,
    /// and where the text is longer than 32 MiB.
    pub async fn text(&self, ask: &Ask, remedy: &str) -> Result<(Vec<u8>, HeaderMap), SourceError> {
        let mut answer = self.send(ask).await?;
        good(&answer.response, &ask.address, remedy)?;
        let headers = answer.response.headers().clone();
        let mut text = Vec::new();
        loop {
            match answer.response.chunk().await {
                Ok(Some(chunk)) if text.len() + chunk.len() > MAX_TEXT => {
                    return Err(SourceError::fetch(&ask.address, "its answer is too long"));
                }
                Ok(Some(chunk)) => text.extend_from_slice(&chunk),
                Ok(None) => return Ok((text, headers)),
                Err(why) => return Err(SourceError::fetch(&ask.address, chain(&why.without_url()))),
            }
        }
    }
}

/// Whether an answer is what was asked for.
pub(super) fn good(response: &Response, what: &Address, remedy: &str) -> Result<(), SourceError> {
    let status = response.status();
    let what = what.to_string();
    match status {
        _ if status.is_success() || status == StatusCode::NOT_MODIFIED => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(SourceError::Denied {
            what,
            why: format!("the server answered {status}; {remedy}"),
        }),
        StatusCode::NOT_FOUND => Err(SourceError::fetch(
            what,
            format!("the server answered {status}: it is not there, or not for whoever shows no key; {remedy}"),
        )),
        _ => Err(SourceError::fetch(what, format!("the server answered {status}"))),
    }
}

/// Where an answer leads to.
fn redirection(response: &Response) -> Option<String> {
    let leads = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let place = response.headers().get("location").filter(|_| leads)?;
    place.to_str().ok().map(str::to_owned)
}

/// For trouble that may pass: how long the server wants to be left alone, if it says.
fn passing(response: &Response) -> Option<Option<Duration>> {
    let passes = matches!(response.status().as_u16(), 429 | 500 | 502 | 503 | 504);
    let told = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok());
    passes.then(|| told.and_then(retry_after))
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let seconds = then.duration_since(jiff::Timestamp::now()).as_secs();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// An error and what is behind it, in one line.
pub(super) fn chain(why: &dyn std::error::Error) -> String {
    let mut text = why.to_string();
    let mut below = why.source();
    while let Some(cause) = below {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        below = cause.source();
    }
    crate::report::escape(text.as_bytes(), 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_for_patience_in_seconds_or_by_date() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
        assert!(retry_after("Thu, 21 Oct 2500 07:28:00 GMT").expect("a date") > PATIENCE);
    }
}
