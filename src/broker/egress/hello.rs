//! The first message of a TLS client, read for whom it is meant for (RFC 8446, 4.1.2;
//! RFC 6066, 3). It reads bytes of the inside: bounded, strict, and whatever could be read
//! in two ways is unreadable.

use crate::policy::{HostName, NotAName};

/// Most bytes that are looked at; a hello with the largest keys of today has less than 8 KiB.
pub(super) const MAX_BYTES: usize = 32 * 1024;
/// Largest record (RFC 8446, 5.1).
const MAX_RECORD: usize = 1 << 14;

/// Record and handshake types.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Extensions (IANA): the name, and those that hide another one.
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// What the bytes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// The beginning of a hello.
    More,
    /// One for this host.
    For(HostName),
    /// None that can be let through.
    Not(Fault),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it does not begin with TLS")]
    NotTls,
    #[error("its first message names no host")]
    NoName,
    #[error("its first message hides the host that it is for (ECH)")]
    Encrypted,
    #[error("its first message names {0}")]
    OddName(NotAName),
    #[error("its first message cannot be read ({0})")]
    Unreadable(&'static str),
}

/// Looks at the bytes that a client has sent so far.
pub(super) fn read(bytes: &[u8]) -> Hello {
    match message(bytes) {
        Ok(Some(body)) => name_in(&body).map_or_else(Hello::Not, Hello::For),
        Ok(None) if bytes.len() >= MAX_BYTES => Hello::Not(Fault::Unreadable("it is too long")),
        Ok(None) => Hello::More,
        Err(fault) => Hello::Not(fault),
    }
}

/// The body of the hello, put together from its records; `None` while it is not complete.
fn message(bytes: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut rest = bytes;
    let mut message = Vec::new();
    loop {
        let (kind, major) = match rest {
            [] => return Ok(None),
            [kind] => (*kind, 3),
            [kind, major, ..] => (*kind, *major),
        };
        if kind != HANDSHAKE || major != 3 {
            let first = message.is_empty();
            return Err(if first {
                Fault::NotTls
            } else {
                Fault::Unreadable("another record within it")
            });
        }
        let [_, _, _, high, low, after @ ..] = rest else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 || length > MAX_RECORD {
            return Err(Fault::Unreadable("a record of a wrong length"));
        }
        let part = after.get(..length);
        message.extend_from_slice(part.unwrap_or(after));
        match message.as_slice() {
            [kind, ..] if *kind != CLIENT_HELLO => return Err(Fault::Unreadable("another message")),
            [_, a, b, c, body @ ..] => {
                let wanted = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                if wanted > MAX_BYTES {
                    return Err(Fault::Unreadable("it is too long"));
                }
                if body.len() > wanted {
                    return Err(Fault::Unreadable("more than it in its record"));
                }
                if body.len() == wanted && part.is_some() {
                    return Ok(Some(body.to_vec()));
                }
            }
            _ => {}
        }
        match part {
            Some(part) => rest = after.get(part.len()..).unwrap_or_default(),
            None => return Ok(None),
        }
    }
}

/// A reader of the fields of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Fault::Unreadable("a field longer than the message"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn short(&mut self) -> Result<u16, Fault> {
        let bytes = self.take(2)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u16::from(*byte)))
    }

    /// A field with its length before it, in one byte or two.
    fn counted(&mut self, bytes: usize) -> Result<Fields<'a>, Fault> {
        let length = if bytes == 1 {
            u16::from(self.byte()?)
        } else {
            self.short()?
        };
        self.take(usize::from(length)).map(Fields)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn name_in(body: &[u8]) -> Result<HostName, Fault> {
    let mut hello = Fields(body);
    let _version_and_random = hello.take(2 + 32)?;
    if hello.counted(1)?.0.len() > 32 {
        return Err(Fault::Unreadable("a session of a wrong length"));
    }
    let ciphers = hello.counted(2)?.0.len();
    if ciphers < 2 || ciphers % 2 != 0 {
        return Err(Fault::Unreadable("ciphers of a wrong length"));
    }
    if hello.counted(1)?.is_empty() {
        return Err(Fault::Unreadable("no compression"));
    }
    if hello.is_empty() {
        return Err(Fault::NoName);
    }
    let mut extensions = hello.counted(2)?;
    if !hello.is_empty() {
        return Err(Fault::Unreadable("more behind its extensions"));
    }
    let mut name = None;
    let mut seen = Vec::new();
    while !extensions.is_empty() {
        let kind = extensions.short()?;
        let content = extensions.counted(2)?;
        if seen.contains(&kind) {
            return Err(Fault::Unreadable("the same extension twice"));
        }
        seen.push(kind);
        match kind {
            SERVER_NAME => name = Some(server_name(content)?),
            // One that only pretends to (GREASE) looks the same.
            ENCRYPTED_CLIENT_HELLO | ENCRYPTED_SERVER_NAME => return Err(Fault::Encrypted),
            _ => {}
        }
    }
    name.ok_or(Fault::NoName)
}

/// The one name in the extension.
fn server_name(mut content: Fields<'_>) -> Result<HostName, Fault> {
    let mut names = content.counted(2)?;
    if !content.is_empty() {
        return Err(Fault::Unreadable("more behind its names"));
    }
    if names.is_empty() {
        return Err(Fault::Unreadable("an empty list of names"));
    }
    if names.byte()? != 0 {
        return Err(Fault::Unreadable("a name of an unknown kind"));
    }
    let name = names.counted(2)?;
    if !names.is_empty() {
        return Err(Fault::Unreadable("more than one name"));
    }
    let text = std::str::from_utf8(name.0).map_err(|_| Fault::Unreadable("a name that is no text"))?;
    HostName::parse(text).map_err(Fault::OddName)
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
