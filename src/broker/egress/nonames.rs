//! The place for names inside: every question is refused and recorded. Names are the host's
//! to resolve; a question could carry anything out.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
};

use super::{
    attempt::{Asker, Denial},
    ledger::{Reason, Via},
    question::{self, MAX_BYTES},
};
use crate::{policy::NAMES_PORT, wire::Connection};

/// Streams at once.
const MOST: usize = 16;
/// Longest time until a question is there.
const ASKED: Duration = Duration::from_secs(10);
/// Between two tries where this host is out of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers datagrams until the sandbox is gone.
pub(super) async fn datagrams(asker: Asker, socket: UdpSocket) {
    let _open = asker.ledger.open();
    let mut buffer = vec![0; MAX_BYTES];
    loop {
        let Ok((read, from)) = socket.recv_from(&mut buffer).await else {
            // An answer of ours met a closed socket.
            tokio::task::yield_now().await;
            continue;
        };
        let connection = Connection {
            stream: false,
            from: from.port(),
            to: NAMES_PORT,
        };
        if let Some(answer) = answered(&asker, buffer.get(..read).unwrap_or_default(), connection).await {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// Answers streams until the sandbox is gone.
pub(super) async fn streams(asker: Asker, listener: TcpListener) {
    let _open = asker.ledger.open();
    let slots = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let (Ok((stream, from)), Ok(slot)) = (accepted, slots.clone().acquire_owned().await) else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let connection = Connection {
            stream: true,
            from: from.port(),
            to: NAMES_PORT,
        };
        let asker = asker.clone();
        connections.spawn(async move {
            let _ = tokio::time::timeout(ASKED, stream_answered(&asker, stream, connection)).await;
            drop(slot);
        });
    }
}

/// One question a stream, with its length before it (RFC 1035, 4.2.2).
async fn stream_answered(asker: &Asker, mut stream: TcpStream, connection: Connection) -> std::io::Result<()> {
    let length = usize::from(stream.read_u16().await?);
    let mut message = vec![0; length.min(MAX_BYTES)];
    stream.read_exact(&mut message).await?;
    if let Some(answer) = answered(asker, &message, connection).await {
        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes();
        stream.write_all(&[&length[..], &answer].concat()).await?;
    }
    stream.shutdown().await
}

/// Records a question; the answer to it.
async fn answered(asker: &Asker, message: &[u8], connection: Connection) -> Option<Vec<u8>> {
    let peer = asker.peer(connection).await;
    let read = question::read(message);
    let (question, answer) = match read {
        Some((question, answer)) => (question, Some(answer)),
        None => (None, None),
    };
    let name = question.as_ref().map_or(&b""[..], |question| &question.name);
    let mut attempt = asker.begin(peer.as_ref(), Via::Dns, name, None);
    if let Some(question) = &question {
        attempt.method(&question::kind_name(question.kind));
    }
    attempt.denied(&match question {
        Some(_) => Denial::refused(
            Reason::Dns,
            "names are resolved by the proxy alone: ask it for a connection",
        ),
        None => Denial::refused(Reason::Malformed, "no question for a name"),
    });
    answer
}
