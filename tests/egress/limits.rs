//! Limits of a rule, and of a sandbox.

use serde_json::json;

use crate::{
    support::perl,
    world::{Step, World, reasons},
};

const NAMES: &[(&str, &str)] = &[("plain.example", "127.0.0.1"), ("raw.example", "127.0.0.1")];

fn get(world: &World, path: &str) -> Vec<Step> {
    let port = world.http.port;
    let request = format!("GET http://plain.example:{port}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    vec![Step::text(&request), Step::End]
}

#[tokio::test]
async fn bytes_of_a_rule_are_counted_over_all_connections_and_end_them() {
    let rules = "
- {host: plain.example, ports: [HTTP], addresses: [127.0.0.1], bytes: {down: 30000}}
- {host: raw.example, ports: [ECHO], tls: false, addresses: [127.0.0.1], bytes: {up: 10}}
";
    let world = World::new("bytes", rules, NAMES).await;
    let small = world.talk(&get(&world, "/zeros/20000")).await;
    assert!(small.len() > 20_000);
    let large = world.talk(&get(&world, "/zeros/20000")).await;
    assert!(large.len() < 20_000, "{}", large.len());
    let further = world.talk(&get(&world, "/zeros/1")).await;
    assert!(
        further.starts_with(b"HTTP/1.1 403 "),
        "{}",
        String::from_utf8_lossy(&further)
    );
    let target = format!("raw.example:{}", world.echo.port);
    let said = world
        .connect(
            &target,
            &[Step::text("12345"), Step::Read(5), Step::text("6789012345"), Step::End],
        )
        .await;
    assert!(said.ends_with(b"\r\n\r\n12345"), "{}", String::from_utf8_lossy(&said));
    let lines = world.lines().await;
    let verdicts: Vec<_> = lines
        .iter()
        .map(|line| line["verdict"].as_str().expect("a verdict"))
        .collect();
    assert_eq!(verdicts, ["allowed", "cut", "refused", "cut"]);
    assert_eq!(reasons(&lines)[1..], ["bytes"; 3]);
    assert_eq!((&lines[0]["down"], &lines[3]["up"]), (&json!(20_000), &json!(5)));
}

#[tokio::test]
async fn connections_of_a_rule_are_counted_by_the_second() {
    let rules = "[{host: plain.example, ports: [HTTP], addresses: [127.0.0.1], rate: {connections: 1}}]";
    let world = World::new("rate", rules, NAMES).await;
    // Both on one connection, so that no more than a moment is between them.
    let port = world.http.port;
    let get = |close: &str| format!("GET http://plain.example:{port}/zeros/1 HTTP/1.1\r\nHost: x\r\n{close}\r\n");
    let both = get("") + &get("Connection: close\r\n");
    let said = world.talk(&[Step::text(&both), Step::End]).await;
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("HTTP/1.1 200 OK") && said.contains("HTTP/1.1 429 Too Many"),
        "{said}"
    );
    assert_eq!(reasons(&world.lines().await), ["allowed", "rate"]);
}

/// Opens so many connections at once, says a byte on each, and counts those that are answered
/// with a refusal at once.
const CROWD: &str = r#"
    use IO::Socket::INET; use IO::Select; alarm 30;
    my ($port, $many) = @ARGV;
    my @all = map { IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port) or die "connect: $!" } 1 .. $many;
    my $s = IO::Select->new(@all);
    my $refused = 0;
    while ($refused < $many - 96) {
        for my $one ($s->can_read(20)) {
            sysread($one, my $b, 4096);
            $refused++ if $b =~ /^HTTP\/1.1 503 /;
            $s->remove($one);
        }
    }
    print $refused;
"#;

#[tokio::test]
async fn a_sandbox_has_so_many_connections_at_once() {
    let world = World::new("crowd", "[]", NAMES).await;
    let said = world.stage("crowd", perl(CROWD, &["4098", "110"])).await;
    assert_eq!(said, "14");
    let lines = world.lines().await;
    assert_eq!(lines.iter().filter(|line| line["reason"] == "connections").count(), 14);
}

#[tokio::test]
async fn what_ends_with_its_sandbox_has_its_line() {
    let rules = "[{host: raw.example, ports: [ECHO], tls: false, addresses: [127.0.0.1]}]";
    let world = World::new("end", rules, NAMES).await;
    let target = format!("raw.example:{}", world.echo.port);
    let head = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
    // A tunnel that its process leaves open when it is killed with the sandbox.
    let program = r#"
        use IO::Socket::INET;
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => 4098) or die;
        syswrite($s, $ARGV[0] . "hello"); my $all = "";
        while ($all !~ /hello$/) { sysread($s, my $b, 100) or die; $all .= $b }
        open(my $f, ">", "/workspace/open"); close $f; sleep 600;
    "#;
    let running = world.sandbox.exec(perl(program, &[&head])).await.expect("exec");
    world.sandbox.name_stage(running.stage(), "open");
    let waiting = tokio::spawn(running.wait());
    let opencode_fsm::tree::Place::Overlay(upper) = world.sandbox.place().clone() else {
        panic!("an overlay");
    };
    while !upper.join("open").exists() {
        tokio::task::yield_now().await;
    }
    let lines = world.lines().await;
    let _ = waiting.await;
    assert_eq!(lines.len(), 1);
    assert!(
        matches!(lines[0]["verdict"].as_str(), Some("cut" | "allowed")),
        "{}",
        lines[0]
    );
    assert_eq!(
        (&lines[0]["stage"], &lines[0]["up"]),
        (&json!("open"), &json!(5)),
        "{}",
        lines[0]
    );
}
