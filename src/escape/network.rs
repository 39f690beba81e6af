//! V: ways out over sockets.

use std::{
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use super::{
    Field,
    attempt::{Attempt, Lack, Place, Section::Network},
    field,
};
use crate::{
    names::RelPath,
    probe::{Answer, Ground, Layer},
    sandbox::{Found, SandboxError},
};

const NO_WAY: Lack = Lack::Errno(libc::ENETUNREACH, "this host has no such way out itself");
const NO_IPV6: Lack = Lack::Errno(libc::EAFNOSUPPORT, "this host has no IPv6");
const NO_PING: Lack = Lack::Errno(libc::EACCES, "this host lets nobody of its users ping so");
const NONE_THERE: Lack = Lack::Errno(libc::ENOENT, "no engine and no bus runs here");
const ONLY_LOOPBACK: Lack = Lack::Errno(0, "this host has no other interface itself");

/// How long something listens inside.
const LISTENS: u64 = 800;

pub(super) fn attempts() -> Vec<Attempt> {
    let act = |number, name| Attempt::act(number, Network, name);
    vec![
        act(83, "connect-to-host"),
        act(83, "connect-outside").lacking(&[NO_WAY]),
        act(83, "send-outside").lacking(&[NO_WAY]),
        act(83, "see-interfaces").lacking(&[ONLY_LOOPBACK]),
        act(84, "connect-to-host-over-ipv6").lacking(&[NO_IPV6]),
        act(84, "connect-outside-over-ipv6").lacking(&[NO_WAY, NO_IPV6]),
        act(85, "ask-name-servers").lacking(&[NO_WAY]),
        act(86, "ask-names-over-https").lacking(&[NO_WAY]),
        act(87, "tunnel-by-names"),
        act(88, "ask-cloud-metadata").lacking(&[NO_WAY]),
        act(89, "connect-to-host-spelled-otherwise"),
        Attempt::host(
            89,
            Network,
            "send-to-host",
            |field| sent_outside(field).boxed(),
            |field| sent_inside(field).boxed(),
        ),
        act(101, "connect-to-host-socket"),
        act(101, "connect-to-abstract-socket"),
        act(101, "connect-to-engines").lacking(&[NONE_THERE, Lack::Root]),
        act(104, "ping-socket").lacking(&[NO_PING, Lack::Errno(libc::EPROTONOSUPPORT, "this kernel cannot")]),
        Attempt::host(
            105,
            Network,
            "be-reached",
            |field| reached_outside(field).boxed(),
            |field| reached_inside(field).boxed(),
        ),
    ]
}

/// A datagram that is sent does not say whether it came: the host looks.
async fn sent_outside(field: &Field) -> Result<Answer, SandboxError> {
    let io = |source| SandboxError::Io {
        what: "wait for a datagram".to_owned(),
        source,
    };
    let _ = field
        .outside("send-to-host", Ground::Here, field.bait_marks(0))
        .await
        .map_err(io)?;
    let udp = &field.bait.udp;
    udp.set_nonblocking(true).map_err(io)?;
    let mut text = [0; 64];
    Ok(match udp.recv(&mut text) {
        Ok(length) if text.starts_with(field.bait.token.as_bytes()) => Answer::Done(format!("{length} bytes came")),
        _ => Answer::Refused { errno: 0, by: None },
    })
}

/// That nothing came is seen with the other canaries.
async fn sent_inside(field: &Field) -> Result<Answer, SandboxError> {
    let marks = field.marks(Place::Usual, 0);
    let outcome = field.inside(Place::Usual, "send-to-host", marks).await?;
    Ok(match field::outcome_of(&outcome).map_err(SandboxError::Gone)? {
        Answer::Done(_) => Answer::Refused {
            errno: 0,
            by: Some(Layer::NetworkNamespace),
        },
        refused => refused,
    })
}

async fn reached_outside(field: &Field) -> Result<Answer, SandboxError> {
    let port = field.own.join("port");
    let _ = std::fs::remove_file(&port);
    let marks = field.bait_marks(LISTENS);
    let listening = field.outside("be-reached", Ground::Here, marks);
    let (answer, ()) = tokio::join!(listening, knock(|| async { std::fs::read_to_string(&port).ok() }));
    answer.map_err(|source| SandboxError::Io {
        what: "listen outside".to_owned(),
        source,
    })
}

async fn reached_inside(field: &Field) -> Result<Answer, SandboxError> {
    let sandbox = field.sandbox(Place::Usual);
    let mut marks = field.marks(Place::Usual, LISTENS);
    marks.own.clone_from(&sandbox.inside().workspace);
    let path = RelPath::new("port").map_err(|why| SandboxError::Gone(why.to_string()))?;
    sandbox.put(std::slice::from_ref(&path), Vec::new()).await?;
    let listening = field.inside(Place::Usual, "be-reached", marks);
    let read = || async {
        match sandbox.read(&path, 16).await {
            Ok(Found::File(bytes)) => String::from_utf8(bytes).ok(),
            _ => None,
        }
    };
    let (outcome, ()) = tokio::join!(listening, knock(read));
    field::outcome_of(&outcome?).map_err(SandboxError::Gone)
}

/// Connects to the port that somebody says to be listening at, as soon as it is said.
async fn knock<F: Future<Output = Option<String>>>(said: impl Fn() -> F) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(LISTENS) {
        if let Some(port) = said().await.and_then(|text| text.parse::<u16>().ok()) {
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
