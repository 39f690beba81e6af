//! What a request may ask for.

use std::io;

use hyper::{HeaderMap, Method, Uri, header::HOST};
use ring::rand::{SecureRandom, SystemRandom};

use crate::report::reading::Detail;

/// Random bytes of a token.
const TOKEN: usize = 24;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The page about the run.
    Page(Detail),
    /// A file or a directory, relative to the run's.
    File(Vec<u8>),
    /// Nothing that is here, or that whoever asks may know to be here.
    Nothing,
    /// Another method than GET.
    Method,
}

/// What a request has to show.
pub(super) struct Key {
    /// Of the token: digests compare in constant time.
    token: blake3::Hash,
    hosts: [String; 2],
}

impl Key {
    /// A random one for the server at `port`, with the token in hex.
    pub fn fresh(port: u16) -> io::Result<(Self, String)> {
        let mut bytes = [0; TOKEN];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| io::Error::other("no random numbers"))?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = Self {
            token: blake3::hash(token.as_bytes()),
            hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
        };
        Ok((key, token))
    }

    /// What a request asks for, if it may.
    pub fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Asked {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let path = uri.path().strip_prefix('/').unwrap_or_default();
        let (token, rest) = path.split_once('/').unwrap_or((path, ""));
        // The digest is made whatever was sent: what takes time says nothing of the token.
        let known = blake3::hash(token.as_bytes()) == self.token;
        if !known || !host.is_some_and(|host| self.hosts.iter().any(|own| own == host)) {
            return Asked::Nothing;
        }
        if method != Method::GET {
            return Asked::Method;
        }
        match rest {
            "" if path.ends_with('/') => Asked::Page(detail(uri.query().unwrap_or_default())),
            _ => match rest.strip_prefix("files/").and_then(unescaped) {
                Some(name) => Asked::File(name),
                None => Asked::Nothing,
            },
        }
    }
}

/// `iterations=A-B` or `iterations=N`.
fn detail(query: &str) -> Detail {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("iterations="));
    let range = asked.and_then(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    range.map_or(Detail::Auto, Detail::Only)
}

/// A path without its percent-encoding (RFC 3986, 2.1), as the bytes of a name; nothing
/// where it is not one. What leads out is refused by whoever opens it.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        };
        out.push(byte);
    }
    (!out.contains(&0)).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_at_the_loopback_gets_anything() {
        let (key, token) = Key::fresh(8080).expect("random");
        let ask = |method: Method, path: &str, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().expect("a host"));
            key.check(&method, &path.parse().expect("a path"), &headers)
        };
        let own = |rest: &str| ask(Method::GET, &format!("/{token}/{rest}"), "127.0.0.1:8080");
        assert_eq!(own(""), Asked::Page(Detail::Auto));
        assert_eq!(own("?iterations=3-7"), Asked::Page(Detail::Only(3..=7)));
        assert_eq!(own("files/a/b%20c%ff"), Asked::File(b"a/b c\xff".to_vec()));
        for nothing in ["x", "files", "files/%0", "files/%zz", "files/a%00b"] {
            assert_eq!(own(nothing), Asked::Nothing, "{nothing}");
        }
        let path = format!("/{token}/");
        assert_eq!(ask(Method::GET, &path, "localhost:8080"), Asked::Page(Detail::Auto));
        assert_eq!(ask(Method::GET, &path, "elsewhere.example:8080"), Asked::Nothing);
        assert_eq!(ask(Method::POST, &path, "127.0.0.1:8080"), Asked::Method);
        for path in [
            "/",
            "//",
            "/x/",
            &path[..path.len() - 2],
            &format!("/{}/", token.to_uppercase()),
        ] {
            assert_eq!(ask(Method::GET, path, "127.0.0.1:8080"), Asked::Nothing, "{path}");
            assert_eq!(ask(Method::POST, path, "127.0.0.1:8080"), Asked::Nothing, "{path}");
        }
    }
}
