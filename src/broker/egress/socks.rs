//! SOCKS5 as a client of the inside speaks it (RFC 1928, RFC 1929): read strictly, with
//! names that the client has not resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Versions of the protocol and of its password's part.
pub(super) const VERSION: u8 = 5;
const PASSWORD_VERSION: u8 = 1;
/// Ways to say who one is.
const NOBODY: u8 = 0;
const PASSWORD: u8 = 2;
const NONE_OF_THEM: u8 = 0xff;

/// What a client wants (RFC 1928, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Connect,
    Bind,
    UdpAssociate,
    Unknown(u8),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub command: Command,
    /// As it was given; an address in its usual spelling.
    pub host: Vec<u8>,
    pub port: u16,
}

/// Answers (RFC 1928, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Answer {
    Done = 0,
    Failed = 1,
    NotAllowed = 2,
    HostUnreachable = 4,
    CommandUnknown = 7,
}

/// Why a client could not be heard to the end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It went away.
    #[error("{0}")]
    Gone(#[from] std::io::Error),
    #[error("it does not speak SOCKS5 ({0})")]
    Malformed(&'static str),
    #[error("it does not show the sandbox's key")]
    Credential,
}

/// Hears a client's request; `key` is the user and the password that it has to show.
pub(super) async fn request<S>(stream: &mut S, key: Option<(&str, &str)>) -> Result<Request, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let version = stream.read_u8().await?;
    if version != VERSION {
        return Err(Fault::Malformed("another version"));
    }
    let ways = counted(stream).await?;
    let wanted = if key.is_some() { PASSWORD } else { NOBODY };
    if !ways.contains(&wanted) {
        stream.write_all(&[VERSION, NONE_OF_THEM]).await?;
        return Err(match key {
            Some(_) => Fault::Credential,
            None => Fault::Malformed("no way without a password"),
        });
    }
    stream.write_all(&[VERSION, wanted]).await?;
    if let Some((user, password)) = key {
        if stream.read_u8().await? != PASSWORD_VERSION {
            return Err(Fault::Malformed("another version of passwords"));
        }
        let shown = (counted(stream).await?, counted(stream).await?);
        let same = digests_equal(&shown.0, user) & digests_equal(&shown.1, password);
        stream.write_all(&[PASSWORD_VERSION, u8::from(!same)]).await?;
        if !same {
            return Err(Fault::Credential);
        }
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, command, reserved, kind] = head;
    if version != VERSION || reserved != 0 {
        return Err(Fault::Malformed("a request of another version"));
    }
    let host = match kind {
        1 => {
            let mut octets = [0; 4];
            stream.read_exact(&mut octets).await?;
            IpAddr::from(Ipv4Addr::from(octets)).to_string().into_bytes()
        }
        3 => counted(stream).await?,
        4 => {
            let mut octets = [0; 16];
            stream.read_exact(&mut octets).await?;
            format!("[{}]", Ipv6Addr::from(octets)).into_bytes()
        }
        _ => return Err(Fault::Malformed("an unknown kind of address")),
    };
    let port = stream.read_u16().await?;
    let command = match command {
        1 => Command::Connect,
        2 => Command::Bind,
        3 => Command::UdpAssociate,
        other => Command::Unknown(other),
    };
    Ok(Request { command, host, port })
}

/// A field with its length in one byte before it.
async fn counted<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, Fault> {
    let length = stream.read_u8().await?;
    let mut field = vec![0; usize::from(length)];
    stream.read_exact(&mut field).await?;
    Ok(field)
}

/// Digests compare in constant time.
pub(super) fn digests_equal(shown: &[u8], expected: &str) -> bool {
    blake3::hash(shown) == blake3::hash(expected.as_bytes())
}

/// The answer to a request; no address of this host is told.
pub(super) fn reply(answer: Answer) -> [u8; 10] {
    [VERSION, answer as u8, 0, 1, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hears `bytes`, and gives what was answered as well.
    fn heard(bytes: &[u8], key: Option<(&str, &str)>) -> (Result<Request, Fault>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (mut ours, mut theirs) = tokio::io::duplex(4096);
            ours.write_all(bytes).await.expect("fits");
            ours.shutdown().await.expect("ends");
            let request = request(&mut theirs, key).await;
            drop(theirs);
            let mut answered = Vec::new();
            ours.read_to_end(&mut answered).await.expect("reads");
            (request, answered)
        })
    }

    fn connect(kind: u8, address: &[u8]) -> Vec<u8> {
        [&[5, 1, 0, 5, 1, 0, kind][..], address, &[1, 187]].concat()
    }

    #[test]
    fn names_and_addresses_are_taken_as_they_are_given() {
        for (bytes, host) in [
            (connect(3, b"\x08pypi.org"), "pypi.org"),
            (connect(3, b"\x00"), ""),
            (connect(1, &[169, 254, 169, 254]), "169.254.169.254"),
            (connect(4, &[0; 16]), "[::]"),
        ] {
            let (request, answered) = heard(&bytes, None);
            let request = request.expect("a request");
            assert_eq!((request.host, request.port), (host.as_bytes().to_vec(), 443));
            assert_eq!(answered, [5, 0]);
        }
        let mut bytes = connect(1, &[0; 4]);
        for (number, command) in [(2, Command::Bind), (3, Command::UdpAssociate), (9, Command::Unknown(9))] {
            bytes[4] = number;
            assert_eq!(heard(&bytes, None).0.expect("a request").command, command);
        }
    }

    #[test]
    fn a_key_has_to_be_shown_where_one_is_wanted() {
        let with = |user: &[u8], password: &[u8]| {
            let shown = [&[1, user.len() as u8][..], user, &[password.len() as u8], password].concat();
            [&[5, 2, 0, 2][..], &shown, &connect(3, b"\x01a")[3..]].concat()
        };
        let key = Some(("inside", "secret"));
        assert_eq!(heard(&with(b"inside", b"secret"), key).0.expect("a request").host, b"a");
        for wrong in [with(b"inside", b"secreT"), with(b"", b"secret"), with(b"inside", b"")] {
            let (request, answered) = heard(&wrong, key);
            assert!(matches!(request, Err(Fault::Credential)));
            assert_eq!(answered, [5, 2, 1, 1]);
        }
        let (request, answered) = heard(&connect(3, b"\x01a"), key);
        assert!(matches!(request, Err(Fault::Credential)));
        assert_eq!(answered, [5, 0xff]);
    }

    #[test]
    fn other_protocols_are_refused() {
        for bytes in [
            &b"\x04\x01\x00\x50"[..],
            &[5, 1, 7],
            &[5, 1, 0, 4, 1, 0, 1],
            &[5, 1, 0, 5, 1, 1, 1],
            &[5, 1, 0, 5, 1, 0, 2],
        ] {
            assert!(matches!(heard(bytes, None).0, Err(Fault::Malformed(_))), "{bytes:?}");
        }
        let whole = connect(3, b"\x08pypi.org");
        for end in 0..whole.len() {
            assert!(matches!(heard(&whole[..end], None).0, Err(Fault::Gone(_))), "{end}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..400), key in any::<bool>()) {
            let key = key.then_some(("inside", "secret"));
            let _ = heard(&bytes, key);
            let _ = heard(&[&[5, 1, 0, 5, 1, 0][..], &bytes].concat(), key);
        }
    }
}
