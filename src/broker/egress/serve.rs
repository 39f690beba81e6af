//! The server on a sandbox's loopback: who speaks SOCKS, who wants a tunnel, who plain HTTP.

use std::{sync::Arc, time::Duration};

use hyper::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use super::{
    attempt::{Asker, Attempt, Denial},
    door::Door,
    head::{self, Head},
    ledger::{Reason, Verdict, Via},
    plain,
    rewound::Rewound,
    socks::{self, Answer, Command},
    tunnel::{self, Wanted},
};
use crate::{
    policy::PROXY_USER,
    report::escape,
    wire::{Connection, Peer},
};

/// Connections of one sandbox at once.
const MOST: usize = 96;
/// Longest time until a request is there.
const HEAD: Duration = Duration::from_secs(30);
/// Between two tries where this host is out of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// What every connection of a sandbox knows.
#[derive(Clone)]
pub(super) struct Place {
    pub door: Arc<Door>,
    pub asker: Asker,
    pub key: Option<Arc<str>>,
}

/// Accepts until the sandbox is gone.
pub(super) async fn accept(door: Arc<Door>, asker: Asker, listener: TcpListener, port: u16, key: Option<Arc<str>>) {
    let _open = asker.ledger.open();
    let place = Place { door, asker, key };
    let slots = Arc::new(Semaphore::new(MOST));
    // They end with this.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            stream: true,
            from: from.port(),
            to: port,
        };
        let (place, slot) = (place.clone(), slots.clone().try_acquire_owned());
        connections.spawn(async move {
            match slot {
                Ok(_slot) => one(&place, stream, connection).await,
                Err(_) => crowded(&place, stream).await,
            }
        });
    }
}

/// More than fit: told so, without a look at who it is.
async fn crowded(place: &Place, mut stream: TcpStream) {
    let why = format!("more than {MOST} connections of one sandbox at once");
    let denial = Denial::refused(Reason::Connections, why);
    place.asker.begin(None, Via::Unknown, b"", None).denied(&denial);
    let _ = stream.write_all(&refusal(&denial)).await;
}

async fn one(place: &Place, mut stream: TcpStream, connection: Connection) {
    let mut read = vec![0; 4096];
    let Ok(Ok(first)) = tokio::time::timeout(HEAD, stream.read(&mut read)).await else {
        return;
    };
    read.truncate(first);
    let Some(byte) = read.first() else { return };
    let peer = place.asker.peer(connection).await;
    if matches!(*byte, 4 | socks::VERSION) {
        return socks5(place, peer, Rewound::new(read, stream)).await;
    }
    let heard = tokio::time::timeout(HEAD, async {
        loop {
            match head::read(&read) {
                Head::More => {}
                known => return Some(known),
            }
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        }
    });
    match heard.await.ok().flatten() {
        Some(Head::Connect(connect, length)) => {
            let beyond = read.split_off(length);
            let wanted = Wanted { stream, beyond };
            connect_to(place, peer, connect, wanted).await;
        }
        Some(Head::Other) => plain::serve(place, peer, read, stream).await,
        Some(Head::Malformed(why, target)) => {
            let (host, port) = target_of(&target);
            let attempt = place.asker.begin(peer.as_ref(), Via::Connect, &host, port);
            let denial = Denial::refused(Reason::Malformed, why);
            let _ = stream.write_all(&refusal(&denial)).await;
            attempt.denied(&denial);
        }
        Some(Head::More) | None => {
            let attempt = place.asker.begin(peer.as_ref(), Via::Unknown, b"", None);
            attempt.denied(&Denial::refused(Reason::Malformed, "it ended before its request did"));
        }
    }
}

fn target_of(target: &[u8]) -> (Vec<u8>, Option<u16>) {
    match std::str::from_utf8(target) {
        Ok(text) => {
            let (host, port) = head::authority(text);
            (host.as_bytes().to_vec(), port)
        }
        Err(_) => (target.to_vec(), None),
    }
}

async fn connect_to(place: &Place, peer: Option<Peer>, connect: head::Connect, mut wanted: Wanted) {
    let mut attempt = place
        .asker
        .begin(peer.as_ref(), Via::Connect, &connect.host, connect.port);
    let ended = connected(place, &connect, &mut wanted, &mut attempt).await;
    end(attempt, ended);
}

async fn connected(
    place: &Place,
    connect: &head::Connect,
    wanted: &mut Wanted,
    attempt: &mut Attempt,
) -> Result<(), Denial> {
    let dialled = async {
        if let Some(key) = &place.key
            && !head::opens(connect.credential.as_deref(), key)
        {
            return Err(credential());
        }
        let port = connect
            .port
            .ok_or_else(|| Denial::refused(Reason::Malformed, "it names no port"))?;
        tunnel::dial(&place.door, &connect.host, port, attempt).await
    };
    let (way, mut outside) = match dialled.await {
        Ok(dialled) => dialled,
        Err(denial) => {
            let _ = wanted.stream.write_all(&refusal(&denial)).await;
            return Err(denial);
        }
    };
    let answered = wanted
        .stream
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await;
    answered.map_err(|why| Denial::cut(Reason::Broken, format!("the inside broke off: {why}")))?;
    tunnel::through(&way, wanted, &mut outside, attempt).await
}

async fn socks5(place: &Place, peer: Option<Peer>, mut stream: Rewound<TcpStream>) {
    let key = place.key.as_deref().map(|key| (PROXY_USER, key));
    let request = match tokio::time::timeout(HEAD, socks::request(&mut stream, key)).await {
        Ok(Ok(request)) => request,
        failed => {
            let denial = match failed {
                Ok(Err(socks::Fault::Credential)) => credential(),
                Ok(Err(why)) => Denial::refused(Reason::Malformed, escape(why.to_string().as_bytes(), 200)),
                _ => Denial::refused(Reason::Malformed, "it ended before its request did"),
            };
            let attempt = place.asker.begin(peer.as_ref(), Via::Socks5, b"", None);
            return attempt.denied(&denial);
        }
    };
    let mut attempt = place
        .asker
        .begin(peer.as_ref(), Via::Socks5, &request.host, Some(request.port));
    let (beyond, stream) = stream.into_parts();
    let mut wanted = Wanted { stream, beyond };
    let ended = async {
        let name = match request.command {
            Command::Connect => "CONNECT".to_owned(),
            Command::Bind => "BIND".to_owned(),
            Command::UdpAssociate => "UDP ASSOCIATE".to_owned(),
            Command::Unknown(number) => format!("command {number}"),
        };
        attempt.method(&name);
        let dialled = match request.command {
            Command::Connect => tunnel::dial(&place.door, &request.host, request.port, &mut attempt).await,
            _ => Err(Denial::refused(
                Reason::Command,
                format!("{name}: the door makes TCP connections, and nothing else"),
            )),
        };
        let (way, mut outside) = match dialled {
            Ok(dialled) => dialled,
            Err(denial) => {
                let _ = wanted.stream.write_all(&socks::reply(answer(&denial))).await;
                return Err(denial);
            }
        };
        let answered = wanted.stream.write_all(&socks::reply(Answer::Done)).await;
        answered.map_err(|why| Denial::cut(Reason::Broken, format!("the inside broke off: {why}")))?;
        tunnel::through(&way, &mut wanted, &mut outside, &mut attempt).await
    }
    .await;
    end(attempt, ended);
}

pub(super) fn end(attempt: Attempt, ended: Result<(), Denial>) {
    match ended {
        Ok(()) => attempt.done(),
        Err(denial) => attempt.denied(&denial),
    }
}

pub(super) fn credential() -> Denial {
    Denial::refused(Reason::Credential, "the key of the sandbox was not shown")
}

fn answer(denial: &Denial) -> Answer {
    match (denial.verdict, denial.reason) {
        (_, Reason::Command) => Answer::CommandUnknown,
        (Verdict::Failed, Reason::Unresolved | Reason::Unreachable) => Answer::HostUnreachable,
        (Verdict::Refused, _) => Answer::NotAllowed,
        _ => Answer::Failed,
    }
}

/// The status that a refusal has in HTTP.
pub(super) fn status(denial: &Denial) -> StatusCode {
    match denial.reason {
        Reason::Unresolved | Reason::Unreachable | Reason::Broken => StatusCode::BAD_GATEWAY,
        Reason::Malformed | Reason::NotAProxyRequest => StatusCode::BAD_REQUEST,
        Reason::Credential => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        Reason::Rate => StatusCode::TOO_MANY_REQUESTS,
        Reason::Connections => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Idle | Reason::TooLong => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::FORBIDDEN,
    }
}

/// The same in one line of plain ASCII: many clients show the status line and nothing else.
pub(super) fn phrase(denial: &Denial) -> String {
    let usual = status(denial).canonical_reason().unwrap_or("Refused");
    let text = escape(denial.why.as_bytes(), 300);
    let plain: String = text
        .chars()
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .collect();
    format!("{usual} ({plain})")
}

/// A whole answer to a `CONNECT` that is refused.
fn refusal(denial: &Denial) -> Vec<u8> {
    let (status, phrase) = (status(denial), phrase(denial));
    let asked = match denial.reason {
        Reason::Credential => "proxy-authenticate: Basic realm=\"opencode-fsm\"\r\n",
        _ => "",
    };
    let body = format!("opencode-fsm: {phrase}\n");
    format!(
        "HTTP/1.1 {} {phrase}\r\n{asked}content-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        status.as_u16(),
        body.len(),
    )
    .into_bytes()
}
