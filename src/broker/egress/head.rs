//! The head of a `CONNECT` (RFC 9110, 9.3.6), read by itself: what follows belongs to the
//! tunnel and to no HTTP server.

use base64::Engine as _;

use super::socks::digests_equal;
use crate::policy::PROXY_USER;

/// Longest head, and most headers in it.
pub(super) const MAX_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// What the bytes hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// The beginning of something.
    More,
    /// A request that is no `CONNECT`.
    Other,
    /// A `CONNECT`, and how many bytes its head has.
    Connect(Connect, usize),
    /// A `CONNECT` that cannot be read, and what it asked for as far as that was seen.
    Malformed(&'static str, Vec<u8>),
}

/// A `CONNECT`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Connect {
    /// As it was given.
    pub host: Vec<u8>,
    /// `None` where what stands there is no port.
    pub port: Option<u16>,
    /// `Proxy-Authorization`.
    pub credential: Option<Vec<u8>>,
}

/// Looks at the bytes that a client has sent so far.
pub(super) fn read(bytes: &[u8]) -> Head {
    const METHOD: &[u8] = b"CONNECT ";
    if !bytes.starts_with(METHOD) {
        return if METHOD.starts_with(bytes) {
            Head::More
        } else {
            Head::Other
        };
    }
    let target = || {
        let rest = bytes.get(METHOD.len()..).unwrap_or_default();
        let end = rest.iter().position(|b| b" \r\n".contains(b)).unwrap_or(rest.len());
        rest.get(..end.min(300)).unwrap_or_default().to_vec()
    };
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_BYTES => return Head::More,
        Ok(httparse::Status::Partial) => return Head::Malformed("its head is too long", target()),
        Err(httparse::Error::TooManyHeaders) => return Head::Malformed("it has too many headers", target()),
        Err(_) => return Head::Malformed("its head is no HTTP", target()),
    };
    // A tunnel has no body: one that is announced would be taken for what comes through it.
    let framed = |name: &str| {
        ["content-length", "transfer-encoding"]
            .iter()
            .any(|framing| name.eq_ignore_ascii_case(framing))
    };
    if request
        .headers
        .iter()
        .any(|header| framed(header.name) && header.value != b"0")
    {
        return Head::Malformed("it announces a body", target());
    }
    let credential = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("proxy-authorization"))
        .map(|header| header.value.to_vec());
    let (host, port) = authority(request.path.unwrap_or_default());
    let connect = Connect {
        host: host.as_bytes().to_vec(),
        port,
        credential,
    };
    Head::Connect(connect, length)
}

/// Host and port of an authority; the host of an IPv6 address with its brackets.
pub(super) fn authority(text: &str) -> (&str, Option<u16>) {
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    let colon = text.get(after_brackets..).and_then(|rest| rest.rfind(':'));
    let Some(colon) = colon.map(|at| after_brackets + at) else {
        return (text, None);
    };
    let (host, digits) = (
        text.get(..colon).unwrap_or_default(),
        text.get(colon + 1..).unwrap_or_default(),
    );
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    (host, digits.parse().ok().filter(|port| plain && *port > 0))
}

/// Whether `Basic` credentials (RFC 7617) are those of the inside.
pub(super) fn opens(credential: Option<&[u8]>, key: &str) -> bool {
    let shown = credential.and_then(|value| {
        let (scheme, rest) = value.split_at_checked(6)?;
        let engine = base64::engine::general_purpose::STANDARD;
        scheme.eq_ignore_ascii_case(b"basic ").then_some(())?;
        engine.decode(rest.trim_ascii()).ok()
    });
    shown.is_some_and(|shown| digests_equal(&shown, &format!("{PROXY_USER}:{key}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connect(target: &str) -> (String, Option<u16>) {
        let text = format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        match read(text.as_bytes()) {
            Head::Connect(connect, length) if length == text.len() => {
                (String::from_utf8(connect.host).expect("text"), connect.port)
            }
            other => panic!("{target}: {other:?}"),
        }
    }

    #[test]
    fn a_target_is_taken_as_it_is_given() {
        for (target, host, port) in [
            ("pypi.org:443", "pypi.org", Some(443)),
            ("[::1]:22", "[::1]", Some(22)),
            ("::1:22", "::1", Some(22)),
            ("[::1]", "[::1]", None),
            ("pypi.org", "pypi.org", None),
            ("pypi.org:", "pypi.org", None),
            ("pypi.org:0", "pypi.org", None),
            ("pypi.org:+443", "pypi.org", None),
            ("pypi.org:99999", "pypi.org", None),
            ("0x7f.1:80", "0x7f.1", Some(80)),
            ("%31%36%39.254.169.254:80", "%31%36%39.254.169.254", Some(80)),
            ("u:p@pypi.org:443", "u:p@pypi.org", Some(443)),
        ] {
            assert_eq!(connect(target), (host.to_owned(), port), "{target}");
        }
    }

    #[test]
    fn a_head_is_read_only_when_it_is_whole_and_never_beyond() {
        let head = b"CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic eA==\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(read(&head[..end]), Head::More, "{end}");
        }
        let more = [&head[..], b"\x16\x03\x01"].concat();
        match read(&more) {
            Head::Connect(connect, length) => {
                assert_eq!(
                    (length, connect.credential.as_deref()),
                    (head.len(), Some(&b"Basic eA=="[..]))
                );
            }
            other => panic!("{other:?}"),
        }
        for other in [
            "GET http://a/ HTTP/1.1\r\n\r\n",
            "connect a:1 HTTP/1.1\r\n\r\n",
            "CONNECTED",
            "\r\n",
        ] {
            assert_eq!(read(other.as_bytes()), Head::Other, "{other:?}");
        }
        for (bad, why) in [
            (
                format!("CONNECT a:1 HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65)),
                "too many",
            ),
            (
                format!("CONNECT a:1 HTTP/1.1\r\nX: {}", "y".repeat(MAX_BYTES)),
                "too long",
            ),
            ("CONNECT a:1 HTTP/1.1\r\nContent-Length: 5\r\n\r\n".to_owned(), "a body"),
            (
                "CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
                "a body",
            ),
            ("CONNECT a:1 HTTP/1.1\r\nX y\r\n\r\n".to_owned(), "no HTTP"),
            ("CONNECT a:1 FTP\r\n\r\n".to_owned(), "no HTTP"),
        ] {
            match read(bad.as_bytes()) {
                Head::Malformed(found, target) => {
                    assert!(found.contains(why), "{found}");
                    assert_eq!(target, b"a:1");
                }
                other => panic!("{why}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_key_is_shown_as_basic_credentials() {
        // inside:secret
        for (credential, expected) in [
            (Some(&b"Basic aW5zaWRlOnNlY3JldA=="[..]), true),
            (Some(b"basic  aW5zaWRlOnNlY3JldA=="), true),
            (Some(b"Basic aW5zaWRlOnNlY3JldB=="), false),
            (Some(b"Bearer secret"), false),
            (Some(b"Basic"), false),
            (None, false),
        ] {
            assert_eq!(opens(credential, "secret"), expected, "{credential:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for head in [bytes.clone(), [b"CONNECT ", &bytes[..]].concat(), [b"CONNECT a:1 HTTP/1.1\r\n", &bytes[..], b"\r\n\r\n"].concat()] {
                if let Head::Connect(_, length) = read(&head) {
                    prop_assert!(length <= head.len());
                }
            }
            let _ = opens(Some(&bytes), "secret");
        }
    }
}
