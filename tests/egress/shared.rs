//! The door where the loopback is the host's: a key, and rules about ports.

use std::{os::unix::fs::PermissionsExt, path::Path};

use opencode_fsm::{
    policy::{SandboxPlan, Tier},
    sandbox::{WallState, bare::Bare},
};

use crate::{
    support::{PROGRAM, in_docker},
    world::{Step, World, hello, reasons},
};

const RULES: &str = "[{host: allowed.example, ports: [HTTPS], addresses: [127.0.0.1]}]";

/// `user:password` as `Basic` credentials want it.
fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

#[tokio::test]
async fn whoever_does_not_show_the_sandboxes_key_is_refused() {
    if in_docker() {
        return;
    }
    let world = World::with("shared", RULES, &[("allowed.example", "127.0.0.1")], async |plan| {
        std::fs::set_permissions(
            plan.workspace.scratch.parent().expect("a parent"),
            std::fs::Permissions::from_mode(0o711),
        )
        .expect("chmod");
        let plan = SandboxPlan {
            min_tier: Tier::Landlock,
            ..plan
        };
        let bare = Bare::with_program(Path::new(PROGRAM), "left off by a test");
        bare.create(&plan).await.expect("a sandbox")
    })
    .await;
    let walls = &world.sandbox.walls().walls;
    let door = walls.iter().find(|wall| wall.name == "egress door").expect("named");
    assert!(matches!(door.state, WallState::Degraded(_)));
    let proxy = world.sandbox.inside().proxy.clone().expect("a door");
    let key = proxy.key.clone().expect("a key");
    assert!(proxy.url().contains(&key));
    let port = world.https.port;
    let connect = |credential: &str| {
        let head = format!("CONNECT allowed.example:{port} HTTP/1.1\r\n{credential}\r\n");
        vec![Step::text(&head), Step::Head]
    };
    let with = |password: &str| format!("Proxy-Authorization: Basic {}\r\n", basic("inside", password));
    for credential in [String::new(), with("wrong")] {
        let said = world.talk(&[connect(&credential), vec![Step::End]].concat()).await;
        assert!(said.starts_with(b"HTTP/1.1 407 "), "{}", String::from_utf8_lossy(&said));
    }
    let tls = vec![Step::Send(hello("allowed.example")), Step::Read(5)];
    let said = world.talk(&[connect(&with(&key)), tls.clone()].concat()).await;
    assert!(said.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&said));
    let said = world
        .talk(&[Step::text("GET http://allowed.example/ HTTP/1.0\r\n\r\n"), Step::End])
        .await;
    assert!(said.starts_with(b"HTTP/1.0 407 ") || said.starts_with(b"HTTP/1.1 407 "));
    let name = b"allowed.example";
    let request = [&[5, 1, 0, 3, 15][..], name, &port.to_be_bytes()].concat();
    let shown = [&[1, 6][..], b"inside", &[key.len() as u8], key.as_bytes()].concat();
    let steps = [
        vec![
            Step::Send(vec![5, 1, 2]),
            Step::Read(2),
            Step::Send(shown),
            Step::Read(2),
            Step::Send(request),
            Step::Read(10),
        ],
        tls,
    ]
    .concat();
    let said = world.talk(&steps).await;
    assert_eq!((&said[..4], said[5]), (&[5, 2, 1, 0][..], 0));
    let lines = world.lines().await;
    assert_eq!(
        reasons(&lines),
        ["credential", "credential", "allowed", "credential", "allowed"]
    );
}
