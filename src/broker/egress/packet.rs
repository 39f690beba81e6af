//! The first packet of something that was sent past the door, read for where it was to go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Protocols (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Where it was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub to: IpAddr,
    pub port: u16,
    /// Where it comes from, in the same protocol.
    pub from: u16,
    /// TCP, else UDP.
    pub stream: bool,
    /// What a datagram holds, as far as it was taken.
    pub content: &'a [u8],
}

/// Reads one from its IP header on (RFC 791, RFC 8200); no extension headers.
pub(super) fn read(bytes: &[u8]) -> Option<Packet<'_>> {
    let first = *bytes.first()?;
    let (to, protocol, header) = match first >> 4 {
        4 => {
            let octets: [u8; 4] = bytes.get(16..20)?.try_into().ok()?;
            (
                IpAddr::from(Ipv4Addr::from(octets)),
                *bytes.get(9)?,
                usize::from(first & 15) * 4,
            )
        }
        6 => {
            let octets: [u8; 16] = bytes.get(24..40)?.try_into().ok()?;
            (IpAddr::from(Ipv6Addr::from(octets)), *bytes.get(6)?, 40)
        }
        _ => return None,
    };
    let rest = bytes.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    let content = match protocol {
        TCP => &[],
        UDP => rest.get(8..)?,
        _ => return None,
    };
    Some(Packet {
        to,
        port: port(2)?,
        from: port(0)?,
        stream: protocol == TCP,
        content,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn where_a_packet_goes_is_read_from_its_headers() {
        let mut v4 = vec![0x46; 1];
        v4.resize(24, 0);
        (v4[9], v4[16], v4[19]) = (UDP, 1, 2);
        v4.extend([0x12, 0x34, 0, 53, 0, 9, 0, 0, b'x']);
        let packet = read(&v4).expect("a packet");
        assert_eq!(
            (packet.to, packet.port, packet.from),
            ("1.0.0.2".parse().expect("an address"), 53, 0x1234)
        );
        assert_eq!((packet.stream, packet.content), (false, &b"x"[..]));
        let mut v6 = vec![0x60; 1];
        v6.resize(40, 0);
        (v6[6], v6[24], v6[39]) = (TCP, 0x20, 1);
        v6.extend([0, 1, 1, 0xbb]);
        let packet = read(&v6).expect("a packet");
        assert_eq!(
            (packet.to, packet.port, packet.stream),
            ("2000::1".parse().expect("an address"), 443, true)
        );
        for (at, to) in [(0, 0x50), (6, 1)] {
            let mut other = v6.clone();
            other[at] = to;
            assert_eq!(read(&other), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
        }
    }
}
