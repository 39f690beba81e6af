//! Tunnels: CONNECT and SOCKS5.

use serde_json::json;

use crate::world::{Step, World, hello, reasons};

const RULES: &str = "
- {host: allowed.example, ports: [HTTPS], addresses: [127.0.0.1]}
- {host: '*.below.example', ports: [HTTPS], addresses: [127.0.0.1]}
- {host: raw.example, ports: [ECHO], tls: false, addresses: [127.0.0.1]}
- {host: strict.example, ports: [ECHO], addresses: [127.0.0.1]}
";
const NAMES: &[(&str, &str)] = &[
    ("allowed.example", "127.0.0.1"),
    ("a.below.example", "127.0.0.1"),
    ("raw.example", "127.0.0.1"),
    ("strict.example", "127.0.0.1"),
];
/// What a client of TLS is told of a refusal.
const ALERT: &[u8] = &[21, 3, 1, 0, 2, 2, 49];

/// A first message, and the head of the server's.
fn tls(name: &str) -> Vec<Step> {
    vec![Step::Send(hello(name)), Step::Read(5)]
}

fn after_head(said: &[u8]) -> &[u8] {
    let end = said.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    &said[end + 4..]
}

#[tokio::test]
async fn a_host_that_a_rule_allows_is_reached_and_the_ledger_says_by_whom() {
    let world = World::new("allowed", RULES, NAMES).await;
    let port = world.https.port;
    for (target, name) in [
        (format!("allowed.example:{port}"), "allowed.example"),
        (format!("ALLOWED.Example.:{port}"), "allowed.example"),
        (format!("a.below.example:{port}"), "a.below.example"),
    ] {
        let said = world.connect(&target, &tls(name)).await;
        assert!(said.starts_with(b"HTTP/1.1 200 "), "{target}");
        assert_eq!(after_head(&said)[..2], [22, 3], "{target}: a server's answer");
    }
    // Once each, for the connection that it was for.
    assert_eq!(
        world.names.asked(),
        ["allowed.example", "allowed.example", "a.below.example"]
    );
    assert_eq!(world.https.heard(), ["a connection"; 3]);
    let lines = world.lines().await;
    assert_eq!(reasons(&lines), ["allowed"; 3]);
    let line = &lines[1];
    for (field, value) in [
        ("host", json!("ALLOWED.Example.")),
        ("port", json!(port)),
        ("rule", json!(format!("allowed.example:{port}"))),
        ("address", json!("127.0.0.1")),
        ("sandbox", json!("allowed")),
        ("role", json!("judge")),
        ("stage", json!("talk")),
        ("via", json!("connect")),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert_eq!(line["process"]["comm"], "perl");
    assert!(
        line["up"].as_u64() > Some(100) && line["down"].as_u64() >= Some(5),
        "{line}"
    );
}

#[tokio::test]
async fn what_no_rule_allows_is_refused_without_a_question_to_anybody() {
    let world = World::new("refused", RULES, NAMES).await;
    let port = world.https.port;
    let mut expected = Vec::new();
    let at_port = |host: &str| format!("{host}:{port}");
    for (target, reason, kind) in [
        (at_port("unknown.example"), "no-rule", None),
        (at_port("below.example"), "no-rule", None),
        (at_port("notallowed.example"), "no-rule", None),
        ("allowed.example:22".to_owned(), "port", None),
        ("allowed.example".to_owned(), "malformed", None),
        ("allowed.example:0".to_owned(), "malformed", None),
        (at_port("93.184.216.34"), "address-literal", None),
        (at_port("127.0.0.1"), "address-literal", Some("loopback")),
        (at_port("localhost"), "no-rule", None),
        (at_port("[2606:4700::1111]"), "address-literal", None),
        (at_port("[::1]"), "address-literal", Some("loopback")),
        (at_port("::1"), "address-literal", Some("loopback")),
        (at_port("0x7f.1"), "address-literal", Some("loopback")),
        (at_port("2130706433"), "address-literal", Some("loopback")),
        (at_port("0177.0.0.1"), "address-literal", Some("loopback")),
        // A metadata service in eleven spellings.
        (at_port("169.254.169.254"), "address-literal", Some("metadata")),
        (at_port("169.254.169.254."), "address-literal", Some("metadata")),
        (at_port("2852039166"), "address-literal", Some("metadata")),
        (at_port("0xA9FEA9FE"), "address-literal", Some("metadata")),
        (at_port("0251.0376.0251.0376"), "address-literal", Some("metadata")),
        (at_port("169.254.43518"), "address-literal", Some("metadata")),
        (at_port("[::ffff:169.254.169.254]"), "address-literal", Some("metadata")),
        (at_port("[64:ff9b::a9fe:a9fe]"), "address-literal", Some("metadata")),
        (at_port("[fd00:ec2::254]"), "address-literal", Some("metadata")),
        (at_port("%31%36%39.254.169.254"), "address-literal", Some("metadata")),
        (at_port("１６９.254.169.254"), "address-literal", Some("metadata")),
        (at_port("metadata.google.internal"), "no-rule", None),
        (at_port("allowed.example%00.evil.example"), "not-a-name", None),
        (at_port("user@allowed.example"), "not-a-name", None),
        (at_port("allowed..example"), "not-a-name", None),
        (at_port("bücher.example"), "not-a-name", None),
    ] {
        let said = world.connect(&target, &[Step::End]).await;
        let said = String::from_utf8_lossy(&said).into_owned();
        let status = if reason == "malformed" {
            "400 Bad Request ("
        } else {
            "403 Forbidden ("
        };
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{target}: {said}");
        assert!(said.contains("\r\n\r\nopencode-fsm: "), "{target}: {said}");
        expected.push((target, reason, kind));
    }
    assert!(world.names.asked().is_empty(), "{:?}", world.names.asked());
    assert!(world.https.heard().is_empty());
    let lines = world.lines().await;
    assert_eq!(lines.len(), expected.len());
    for (line, (target, reason, kind)) in lines.iter().zip(expected) {
        assert_eq!(
            (&line["reason"], &line["verdict"]),
            (&json!(reason), &json!("refused")),
            "{target}: {line}"
        );
        assert_eq!(line["address_kind"].as_str(), kind, "{target}: {line}");
        let host = line["host"].as_str().expect("a host");
        assert!(target.starts_with(host), "{target}: {line}");
        assert_eq!(line["process"]["comm"], "perl", "{target}");
    }
}

#[tokio::test]
async fn a_tunnel_is_for_the_host_that_it_was_asked_for() {
    let world = World::new("sni", RULES, NAMES).await;
    let target = format!("allowed.example:{}", world.https.port);
    // Hiding another name: an extension behind those of a real client.
    let hiding = {
        let mut bytes = hello("allowed.example");
        let extension = [0xfe, 0x0d, 0, 1, 0];
        let session = 5 + 4 + 34;
        let ciphers = session + 1 + usize::from(bytes[session]);
        let compression = ciphers + 2 + usize::from(u16::from_be_bytes([bytes[ciphers], bytes[ciphers + 1]]));
        let extensions = compression + 1 + usize::from(bytes[compression]);
        bytes.extend(extension);
        for at in [3, 7, extensions] {
            let longer = u16::from_be_bytes([bytes[at], bytes[at + 1]]) + extension.len() as u16;
            bytes[at..at + 2].copy_from_slice(&longer.to_be_bytes());
        }
        bytes
    };
    let mut broken = hello("allowed.example");
    broken[5] = 2;
    for (first, reason) in [
        (hello("other.example"), "sni-mismatch"),
        (hello("127.0.0.1"), "sni-absent"),
        (hiding, "sni-encrypted"),
        (broken, "hello-unreadable"),
        (b"GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n".to_vec(), "not-tls"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "not-tls"),
    ] {
        let said = world.connect(&target, &[Step::Send(first), Step::End]).await;
        assert!(said.starts_with(b"HTTP/1.1 200 "), "{reason}");
        assert_eq!(after_head(&said), ALERT, "{reason}");
    }
    // The control: the right name, whole, and in pieces that come one by one.
    let whole = hello("allowed.example");
    let said = world.connect(&target, &tls("allowed.example")).await;
    assert_eq!(after_head(&said)[..2], [22, 3]);
    let pieces: Vec<Step> = whole
        .chunks(40)
        .map(|piece| Step::Send(piece.to_vec()))
        .chain([Step::Read(5)])
        .collect();
    let said = world.connect(&target, &pieces).await;
    assert_eq!(after_head(&said)[..2], [22, 3]);
    let lines = world.lines().await;
    let expected = [
        "sni-mismatch",
        "sni-absent",
        "sni-encrypted",
        "hello-unreadable",
        "not-tls",
        "not-tls",
    ];
    assert_eq!(reasons(&lines), [&expected[..], &["allowed"; 2]].concat());
    for line in &lines[..6] {
        assert_eq!(
            (&line["verdict"], &line["up"]),
            (&json!("refused"), &json!(0)),
            "{line}"
        );
    }
    assert!(
        lines[0]["why"]
            .as_str()
            .is_some_and(|why| why.contains("other.example")),
        "{}",
        lines[0]
    );
}

#[tokio::test]
async fn other_protocols_pass_where_a_rule_says_so() {
    let world = World::new("raw", RULES, NAMES).await;
    let port = world.echo.port;
    let greeting = || [Step::text("hello?"), Step::Read(6)];
    let said = world.connect(&format!("raw.example:{port}"), &greeting()).await;
    assert_eq!(after_head(&said), b"hello?");
    let said = world
        .connect(&format!("strict.example:{port}"), &[Step::text("hello?"), Step::End])
        .await;
    assert_eq!(after_head(&said), ALERT);
    assert_eq!(world.echo.heard(), ["hello?"], "nothing came of the second");
    assert_eq!(reasons(&world.lines().await), ["allowed", "not-tls"]);
}

fn socks(command: u8, kind: u8, address: &[u8], port: u16) -> Step {
    Step::Send([&[5, command, 0, kind], address, &port.to_be_bytes()[..]].concat())
}

fn named(name: &str) -> Vec<u8> {
    [&[name.len() as u8], name.as_bytes()].concat()
}

#[tokio::test]
async fn socks_takes_names_and_makes_connections_alone() {
    let world = World::new("socks", RULES, NAMES).await;
    let port = world.https.port;
    let ask = async |request: Step, then: &[Step]| {
        let steps = [
            &[Step::Send(vec![5, 1, 0]), Step::Read(2), request, Step::Read(10)],
            then,
        ]
        .concat();
        world.talk(&steps).await
    };
    let said = ask(socks(1, 3, &named("allowed.example"), port), &tls("allowed.example")).await;
    assert_eq!(
        (said[..2].to_vec(), said[3], &said[12..14]),
        (vec![5, 0], 0, &[22, 3][..])
    );
    let refused = [
        (socks(1, 3, &named("unknown.example"), port), 2),
        (socks(1, 3, &named("allowed.example"), 22), 2),
        (socks(1, 1, &[169, 254, 169, 254], port), 2),
        (socks(1, 4, &[0; 16], port), 2),
        (socks(3, 1, &[0; 4], 0), 7),
        (socks(2, 3, &named("allowed.example"), port), 7),
        (socks(1, 3, &named("2852039166"), port), 2),
    ];
    for (request, code) in refused {
        let said = ask(request.clone(), &[Step::End]).await;
        assert_eq!((said.len(), said[3]), (12, code), "{request:?}");
    }
    let mismatch = [Step::Send(hello("other.example")), Step::End];
    let said = ask(socks(1, 3, &named("allowed.example"), port), &mismatch).await;
    assert_eq!(&said[12..], ALERT);
    // An older version of it.
    let said = world
        .talk(&[Step::Send(vec![4, 1, 0, 80, 127, 0, 0, 1, 0]), Step::End])
        .await;
    assert_eq!(said, b"");
    let lines = world.lines().await;
    let expected = [
        "allowed",
        "no-rule",
        "port",
        "address-literal",
        "address-literal",
        "command",
        "command",
        "address-literal",
        "sni-mismatch",
        "malformed",
    ];
    assert_eq!(reasons(&lines), expected);
    assert_eq!(lines[5]["method"], "UDP ASSOCIATE");
    assert!(lines.iter().all(|line| line["via"] == "socks5"));
    assert_eq!(
        (&lines[3]["host"], &lines[4]["host"]),
        (&json!("169.254.169.254"), &json!("[::]"))
    );
}
