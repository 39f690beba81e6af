//! The readers of what strangers send to the door, for whoever tries them with hostile bytes.

use super::{head, hello, packet, question};

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// The first message of a TLS client.
    ClientHello,
    /// The head of a `CONNECT`.
    ProxyHead,
    /// A question for a name.
    NameQuestion,
    /// A packet that was sent past the door.
    Packet,
}

/// What a reader makes of bytes, in words.
pub fn read_stranger(reader: Stranger, bytes: &[u8]) -> String {
    match reader {
        Stranger::ClientHello => format!("{:?}", hello::read(bytes)),
        Stranger::ProxyHead => format!("{:?}", head::read(bytes)),
        Stranger::NameQuestion => format!("{:?}", question::read(bytes)),
        Stranger::Packet => format!("{:?}", packet::read(bytes)),
    }
}
