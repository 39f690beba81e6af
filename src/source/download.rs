//! One file from a server: as much as is allowed, gone on with after a break.

use std::time::Duration;

use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE},
};

use super::{
    SourceError,
    http::{self, ATTEMPTS, Ask, Client},
    shelf::Part,
};

/// The pause before going on after a break.
const PAUSE: Duration = Duration::from_millis(200);
/// Breaks of one file that are gone on from, as long as something comes between them.
const MAX_BREAKS: u32 = 50;

/// What is known of a file beforehand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Its bytes, if somebody has said so.
    pub size: Option<u64>,
    /// The most that is taken.
    pub max: u64,
    /// Its name says what it holds, and its digest is looked at: what is there is gone on
    /// with, whatever the server says of it.
    pub pinned: bool,
    /// The flag that takes more.
    pub lifted_by: &'static str,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// All of it; how many bytes came over the network this time.
    All(u64),
    /// The server says that it is what the request's `If-None-Match` names.
    Unchanged,
}

impl Got {
    /// Bytes that came over the network.
    pub fn bytes(self) -> u64 {
        match self {
            Self::All(bytes) => bytes,
            Self::Unchanged => 0,
        }
    }
}

/// Fetches a file into `part`. `tell` hears of the bytes that are there.
pub(super) async fn download(
    client: &Client,
    ask: &Ask,
    part: &mut Part,
    expected: Expected,
    remedy: &str,
    tell: &(dyn Fn(u64) + Sync),
) -> Result<(Got, HeaderMap), SourceError> {
    let what = ask.address.to_string();
    let io = || SourceError::io(format!("keep {what}"));
    let over = |more: &str| SourceError::Limit {
        what: what.clone(),
        why: format!(
            "it has more than {} bytes{more}; {} takes more",
            expected.max, expected.lifted_by
        ),
    };
    let (mut came, mut breaks, mut idle) = (0, 0, 0);
    loop {
        let mut this = ask.clone();
        let begun = match expected.pinned {
            true => Some(part.length()).filter(|length| *length > 0),
            false => part.begun(),
        };
        if let Some(length) = begun {
            if expected.pinned && expected.size == Some(length) {
                return Ok((Got::All(came), HeaderMap::new()));
            }
            this.headers.retain(|(name, _)| name != IF_NONE_MATCH);
            let etag = part.etag().and_then(|etag| HeaderValue::from_str(etag).ok());
            this.headers
                .extend(etag.filter(|_| !expected.pinned).map(|etag| (IF_RANGE, etag)));
            let range = HeaderValue::from_str(&format!("bytes={length}-"));
            this.headers.extend(range.ok().map(|range| (RANGE, range)));
        }
        let mut answer = client.send(&this).await?;
        let headers = answer.response.headers().clone();
        let mut there = match (answer.response.status(), begun) {
            (StatusCode::NOT_MODIFIED, None) => return Ok((Got::Unchanged, headers)),
            (StatusCode::PARTIAL_CONTENT, Some(length)) if goes_on(&headers, length) => part.go_on().map_err(io())?,
            // All of it may be there already, or the server means another file by now.
            (StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT, Some(_)) => {
                part.begin(None).map_err(io())?;
                continue;
            }
            _ => {
                http::good(&answer.response, &ask.address, remedy)?;
                if answer.response.status() != StatusCode::OK {
                    let status = answer.response.status();
                    return Err(SourceError::fetch(&what, format!("the server answered {status}")));
                }
                part.begin(strong_tag(&headers)).map_err(io())?;
                0
            }
        };
        if answer
            .response
            .content_length()
            .is_some_and(|rest| there.saturating_add(rest) > expected.max)
        {
            part.begin(None).map_err(io())?;
            return Err(over(", as the server says"));
        }
        let before = came;
        let broken = loop {
            match answer.response.chunk().await {
                Ok(Some(chunk)) => {
                    there += chunk.len() as u64;
                    came += chunk.len() as u64;
                    if there > expected.max {
                        part.begin(None).map_err(io())?;
                        return Err(over(""));
                    }
                    part.write(&chunk).map_err(io())?;
                    tell(there);
                }
                Ok(None) if expected.size.is_none_or(|size| size == there) => return Ok((Got::All(came), headers)),
                Ok(None) if expected.size.is_some_and(|size| size < there) => {
                    part.begin(None).map_err(io())?;
                    let why = format!(
                        "{there} bytes came where {:?} were announced",
                        expected.size.unwrap_or(0)
                    );
                    return Err(SourceError::Damaged { what, why });
                }
                Ok(None) => break format!("it ended after {there} bytes"),
                Err(why) => break http::chain(&why.without_url()),
            }
        };
        breaks += 1;
        idle = if came > before { 0 } else { idle + 1 };
        if idle >= ATTEMPTS || breaks >= MAX_BREAKS {
            return Err(SourceError::fetch(&what, format!("{broken}, {breaks} times")));
        }
        tracing::debug!("{what}: {broken}; going on from {there} bytes");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a partial answer begins where what is there ends (RFC 9110, 14.4).
fn goes_on(headers: &HeaderMap, length: u64) -> bool {
    let range = headers.get("content-range").and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.trim().starts_with(&format!("bytes {length}-")))
}

/// A tag that stands for every byte (RFC 9110, 8.8.3), the only kind that can be gone on with.
fn strong_tag(headers: &HeaderMap) -> Option<&str> {
    let tag = headers.get("etag")?.to_str().ok()?;
    (!tag.starts_with("W/")).then_some(tag)
}
