//! Tests of the reader of TLS hellos.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};

use super::*;

/// What a real client sends first.
fn real(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("writes");
    bytes
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(content.len() as u16).to_be_bytes(), content].concat()
}

fn counted(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u16).to_be_bytes()[..], content].concat()
}

fn named(name: &[u8]) -> Vec<u8> {
    extension(0, &counted(&[&[0][..], &counted(name)].concat()))
}

/// The body of a hello with these extensions.
fn body(extensions: &[u8]) -> Vec<u8> {
    let fixed = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    [fixed, counted(extensions)].concat()
}

fn message_of(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[1], &length[1..], body].concat()
}

/// In records of at most `size` bytes each.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1][..], &counted(part)].concat();
    message.chunks(size).flat_map(record).collect()
}

fn hello(extensions: &[u8]) -> Vec<u8> {
    records(&message_of(&body(extensions)), MAX_RECORD)
}

fn host(name: &str) -> Hello {
    Hello::For(HostName::parse(name).expect(name))
}

#[test]
fn a_real_client_is_read_from_its_last_byte_on() {
    let bytes = real("pypi.org");
    for end in 0..bytes.len() {
        assert_eq!(read(&bytes[..end]), Hello::More, "{end} of {}", bytes.len());
    }
    assert_eq!(read(&bytes), host("pypi.org"));
    // What follows it (early data) is not looked at.
    assert_eq!(read(&[&bytes[..], &[23, 3, 3, 0, 1, 0]].concat()), host("pypi.org"));
    // Each byte of the message in a record of its own.
    let message = &bytes[5..];
    for size in [1, 2, 3, 5, 100] {
        assert_eq!(read(&records(message, size)), host("pypi.org"), "{size}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_not_read() {
    let twice = [named(b"a.example"), named(b"b.example")].concat();
    let two = {
        let entry = |name: &[u8]| [&[0][..], &counted(name)].concat();
        extension(0, &counted(&[entry(b"a.example"), entry(b"b.example")].concat()))
    };
    let of_another_kind = extension(0, &counted(&[&[1][..], &counted(b"a.example")].concat()));
    let behind = extension(
        0,
        &[counted(&[&[0][..], &counted(b"a.example")].concat()), vec![0]].concat(),
    );
    for (extensions, why) in [
        (twice, "the same extension twice"),
        (two, "more than one name"),
        (of_another_kind, "a name of an unknown kind"),
        (behind, "more behind its names"),
        (extension(0, &counted(b"")), "an empty list"),
        (extension(0, b""), "a field longer"),
        (named(b"\xff\xfe"), "no text"),
        (vec![0], "a field longer"),
        (vec![0, 0, 0, 9, 1], "a field longer"),
    ] {
        match read(&hello(&extensions)) {
            Hello::Not(Fault::Unreadable(found)) => assert!(found.contains(why), "{found}"),
            other => panic!("{why}: {other:?}"),
        }
    }
    let good = message_of(&body(&named(b"a.example")));
    assert_eq!(read(&records(&good, 99)), host("a.example"), "the control");
    let unreadable = |bytes: &[u8]| matches!(read(bytes), Hello::Not(Fault::Unreadable(_)));
    // A second message in the same record; a record of another kind between two parts; an
    // empty one; one that is too long; a message that is.
    assert!(unreadable(&records(&[&good[..], &good].concat(), MAX_RECORD)));
    let mut between = records(&good[..9], 9);
    between.extend([23, 3, 3, 0, 1, 0]);
    assert!(unreadable(&between));
    assert!(unreadable(&[22, 3, 1, 0, 0]) && unreadable(&[22, 3, 1, 0x40, 1]));
    assert!(unreadable(&records(&[1, 0xff, 0xff, 0xff, 0], 9)));
    assert!(unreadable(&records(&[2, 0, 0, 1, 0], 9)));
    let endless = records(&message_of(&vec![0; MAX_BYTES - 8]), 1);
    assert!(unreadable(&endless[..MAX_BYTES]));
    let mut behind = body(&named(b"a.example"));
    behind.push(0);
    assert!(unreadable(&records(&message_of(&behind), 99)));
    // Bytes of TLS 1.3's own fields that are wrong.
    let mut session = body(&named(b"a.example"));
    session[34] = 33;
    assert!(unreadable(&records(&message_of(&session), 99)));
}

#[test]
fn who_names_nobody_or_hides_it_is_told_apart() {
    assert_eq!(read(&hello(&[])), Hello::Not(Fault::NoName));
    assert_eq!(read(&hello(&extension(43, &[2, 3, 4]))), Hello::Not(Fault::NoName));
    let bare = &body(&[])[..41];
    assert_eq!(read(&records(&message_of(bare), 99)), Hello::Not(Fault::NoName));
    for kind in [ENCRYPTED_CLIENT_HELLO, ENCRYPTED_SERVER_NAME] {
        let extensions = [named(b"a.example"), extension(kind, &[0; 9])].concat();
        assert_eq!(read(&hello(&extensions)), Hello::Not(Fault::Encrypted));
    }
    for odd in [&b"127.0.0.1"[..], b"a b", b"", b"a\0.example"] {
        assert!(
            matches!(read(&hello(&named(odd))), Hello::Not(Fault::OddName(_))),
            "{odd:?}"
        );
    }
    assert_eq!(read(&hello(&named(b"A.Example."))), host("a.example"));
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"SSH-2.0-x",
        &[0x80, 0x2e, 1, 3, 1],
        &[22, 2, 0],
        &[0],
    ] {
        assert_eq!(read(other), Hello::Not(Fault::NotTls), "{other:?}");
    }
    assert_eq!(
        read(&real("127.0.0.1")),
        Hello::Not(Fault::NoName),
        "an address is not sent as a name"
    );
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&bytes);
        let _ = read(&records(&message_of(&bytes), 77));
        let _ = read(&hello(&bytes));
    }

    #[test]
    fn one_changed_byte_never_makes_another_known_host(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = hello(&[named(b"allowed.example"), extension(43, &[2, 3, 4])].concat());
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Hello::For(name) = read(&bytes) {
            // The name is what its bytes are: nothing else in the message makes one.
            let text = b"allowed.example";
            let start = bytes.windows(text.len()).position(|w| w.iter().zip(text).filter(|(a, b)| a != b).count() <= 1);
            let start = start.expect("the name's bytes");
            prop_assert!(bytes[start..start + text.len()].eq_ignore_ascii_case(name.as_str().as_bytes()) || name.as_str().len() < text.len());
        }
    }

    #[test]
    fn records_may_be_cut_anywhere(size in 1_usize..200, name in "[a-z]{1,20}\\.example") {
        let message = message_of(&body(&named(name.as_bytes())));
        let bytes = records(&message, size);
        prop_assert_eq!(read(&bytes), host(&name));
        for end in 0..bytes.len() {
            prop_assert_eq!(read(&bytes[..end]), Hello::More);
        }
    }
}
