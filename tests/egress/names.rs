//! Names: where they may lead, and that nobody inside resolves one.

use serde_json::json;

use crate::{
    support::{in_docker, perl},
    world::{Step, World, hello},
};

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_whatever_it_led_to_before() {
    let rules = "
- {host: rebinding.example, ports: [HTTPS], addresses: [127.0.0.1]}
- {host: '*.public.example', ports: [HTTPS]}
- {host: localhost, ports: [HTTPS]}
";
    let names = [
        ("rebinding.example", "127.0.0.1; 169.254.169.254; 127.0.0.2"),
        ("loopback.public.example", "127.0.0.1"),
        ("private.public.example", "10.1.2.3"),
        ("carrier.public.example", "100.64.1.1"),
        ("link.public.example", "169.254.7.7"),
        ("metadata.public.example", "169.254.169.254"),
        ("unspecified.public.example", "0.0.0.0"),
        ("multicast.public.example", "224.0.0.1"),
        ("mapped.public.example", "::ffff:8.8.8.8"),
        ("translated.public.example", "64:ff9b::10.0.0.1"),
        ("unique.public.example", "fd12::1"),
        ("six.public.example", "fd00:ec2::254"),
        // One of several is enough.
        ("mixed.public.example", "192.0.2.1 127.0.0.1"),
        ("none.public.example", ""),
    ];
    let world = World::new("names", rules, &names).await;
    let port = world.https.port;
    let target = format!("rebinding.example:{port}");
    let tls = [Step::Send(hello("rebinding.example")), Step::Read(5)];
    let said = world.connect(&target, &tls).await;
    assert!(
        said.starts_with(b"HTTP/1.1 200 "),
        "the first time, where a rule allows it: the control"
    );
    let refused = [
        ("rebinding.example", "forbidden-address", Some("metadata")),
        ("rebinding.example", "forbidden-address", Some("loopback")),
        ("loopback.public.example", "forbidden-address", Some("loopback")),
        ("private.public.example", "forbidden-address", Some("private")),
        ("carrier.public.example", "forbidden-address", Some("shared")),
        ("link.public.example", "forbidden-address", Some("link-local")),
        ("metadata.public.example", "forbidden-address", Some("metadata")),
        ("unspecified.public.example", "forbidden-address", Some("unspecified")),
        ("multicast.public.example", "forbidden-address", Some("multicast")),
        ("mapped.public.example", "forbidden-address", Some("embedded")),
        ("translated.public.example", "forbidden-address", Some("private")),
        ("unique.public.example", "forbidden-address", Some("unique-local")),
        ("six.public.example", "forbidden-address", Some("metadata")),
        ("mixed.public.example", "forbidden-address", Some("loopback")),
        ("localhost", "forbidden-address", Some("loopback")),
        ("none.public.example", "unresolved", None),
        ("unknown.public.example", "unresolved", None),
    ];
    for (host, reason, _) in refused {
        let said = world.connect(&format!("{host}:{port}"), &[Step::End]).await;
        let expected = if reason == "unresolved" { "502" } else { "403" };
        assert!(said.starts_with(format!("HTTP/1.1 {expected} ").as_bytes()), "{host}");
    }
    assert_eq!(
        world.https.heard(),
        ["a connection"],
        "nothing but the first was dialled"
    );
    let asked = world.names.asked();
    assert_eq!(asked.iter().filter(|name| *name == "rebinding.example").count(), 3);
    let lines = world.lines().await;
    for (line, (host, reason, kind)) in lines[1..].iter().zip(refused) {
        assert_eq!(
            (&line["host"], &line["reason"]),
            (&json!(host), &json!(reason)),
            "{line}"
        );
        assert_eq!(line["address_kind"].as_str(), kind, "{line}");
    }
    assert_eq!(lines.len(), 1 + refused.len());
}

/// Sends a question for a name to 127.0.0.1 by datagram (`u`) or stream (`t`); prints the
/// answer's code.
const ASK: &str = r#"
    use Socket; alarm 20;
    my ($kind, $name) = @ARGV;
    my $q = pack("n6", 7, 0x100, 1, 0, 0, 0) . join("", map { pack("C/a", $_) } split /\./, $name) . pack("Cnn", 0, 16, 1);
    socket(my $s, PF_INET, $kind eq "u" ? SOCK_DGRAM : SOCK_STREAM, 0) or die "socket: $!";
    connect($s, pack_sockaddr_in(53, inet_aton("127.0.0.1"))) or die "connect: $!";
    syswrite($s, $kind eq "u" ? $q : pack("n/a", $q));
    sysread($s, my $a, 600) or die "no answer: $!";
    $a = substr($a, 2) if $kind eq "t";
    my ($id, $flags) = unpack("n2", $a);
    print "$id ", $flags & 15;
"#;

#[tokio::test]
async fn nobody_inside_resolves_a_name_and_whoever_tries_is_seen() {
    let world = World::new("dns", "[]", &[("secret.evil.example", "192.0.2.1")]).await;
    for kind in ["u", "t"] {
        let said = world.stage("ask", perl(ASK, &[kind, "secret.evil.example"])).await;
        assert_eq!(said, "7 5", "refused");
    }
    let said = world
        .stage(
            "resolve",
            perl(
                "print defined gethostbyname('other.evil.example') ? 'found' : 'not found'",
                &[],
            ),
        )
        .await;
    assert_eq!(said, "not found");
    assert!(world.names.asked().is_empty());
    let lines = world.lines().await;
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["host"].as_str(), line["method"].as_str()))
        .collect();
    let txt = (Some("secret.evil.example"), Some("TXT"));
    assert_eq!(told[..2], [txt, txt]);
    assert!(
        told[2..].iter().all(|(host, _)| *host == Some("other.evil.example")) && told.len() > 2,
        "{told:?}"
    );
    for line in &lines {
        assert_eq!(
            (&line["reason"], &line["via"]),
            (&json!("dns"), &json!("dns")),
            "{line}"
        );
        assert_eq!(line["process"]["comm"], "perl", "{line}");
    }
    assert_eq!(
        (&lines[0]["stage"], &lines[2]["stage"]),
        (&json!("ask"), &json!("resolve"))
    );
}

/// Tries to reach addresses past the door; prints what the kernel says.
const PAST: &str = r#"
    use Socket qw(:DEFAULT inet_pton AF_INET6 pack_sockaddr_in6); use Errno; alarm 20;
    for (["1.1.1.1", 443, SOCK_STREAM], ["169.254.169.254", 80, SOCK_STREAM], ["2606:4700::1111", 443, SOCK_STREAM],
         ["1.1.1.1", 9999, SOCK_DGRAM], ["8.8.8.8", 53, SOCK_DGRAM], ["2606:4700::1111", 9999, SOCK_DGRAM]) {
        my ($ip, $port, $type) = @$_;
        my $six = $ip =~ /:/;
        socket(my $s, $six ? AF_INET6 : AF_INET, $type, 0) or die "socket: $!";
        my $to = $six ? pack_sockaddr_in6($port, inet_pton(AF_INET6, $ip)) : pack_sockaddr_in($port, inet_aton($ip));
        my $ok = connect($s, $to);
        if ($ok && $type == SOCK_DGRAM) {
            # A question for the address of a.evil.example.
            syswrite($s, pack("n6", 7, 0x100, 1, 0, 0, 0) . "\x01a\x04evil\x07example\x00" . pack("nn", 1, 1));
            $ok = sysread($s, my $b, 100);
        }
        print $ok ? "reached " : $!{ENETUNREACH} ? "unreachable " : $!{ECONNREFUSED} ? "refused " : "other($!) ";
    }
"#;

#[tokio::test]
async fn past_the_door_there_is_nothing_and_who_tries_is_seen_where_that_can_be() {
    let world = World::new("past", "[]", &[]).await;
    let said = world.stage("past", perl(PAST, &[])).await;
    let lines = world.lines().await;
    if in_docker() {
        assert_eq!(said, "unreachable ".repeat(6));
        assert!(lines.is_empty(), "{lines:?}");
        return;
    }
    assert_eq!(said, "refused ".repeat(6));
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["host"].as_str(),
                line["port"].as_u64(),
                line["method"].as_str(),
                line["address_kind"].as_str(),
            )
        })
        .collect();
    let six = Some("2606:4700::1111");
    let expected = [
        (Some("1.1.1.1"), Some(443), Some("TCP"), None),
        (Some("169.254.169.254"), Some(80), Some("TCP"), Some("metadata")),
        (six, Some(443), Some("TCP"), None),
        (Some("1.1.1.1"), Some(9999), Some("UDP"), None),
        (Some("8.8.8.8"), Some(53), Some("UDP"), None),
        (six, Some(9999), Some("UDP"), None),
    ];
    assert_eq!(told, expected);
    for line in &lines {
        assert_eq!(
            (&line["reason"], &line["via"]),
            (&json!("past-the-door"), &json!("direct")),
            "{line}"
        );
        assert_eq!(line["stage"], "past", "{line}");
    }
    let why = lines[4]["why"].as_str().unwrap_or_default();
    assert!(why.contains("a question for a.evil.example (A)"), "{why}");
}
