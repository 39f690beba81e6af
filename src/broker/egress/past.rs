//! What programs send past the door: it reaches nobody, and is recorded.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use tokio::io::unix::AsyncFd;

use super::{
    attempt::{Asker, Denial},
    ledger::{Open, Reason, Via},
    packet, question,
};
use crate::{
    policy::{NAMES_PORT, kind},
    report::escape,
    wire::{Connection, Peer},
};

/// Packets that are read after the sandbox's end.
const LAST: usize = 1000;

/// The tap, and a packet that has no line yet.
struct Tap {
    asker: Asker,
    socket: AsyncFd<OwnedFd>,
    buffer: [u8; 2048],
    /// Bytes of it in the buffer.
    unwritten: Option<usize>,
    _open: Open,
}

/// Records until the sandbox is gone.
pub(super) async fn watch(asker: Asker, socket: AsyncFd<OwnedFd>) {
    let mut tap = Tap {
        _open: asker.ledger.open(),
        asker,
        socket,
        buffer: [0; 2048],
        unwritten: None,
    };
    loop {
        let Ok(mut ready) = tap.socket.readable().await else {
            return;
        };
        match recv(tap.socket.as_raw_fd(), &mut tap.buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(read) => {
                drop(ready);
                tap.unwritten = Some(read);
                let peer = tap.peer().await;
                tap.write(peer.as_ref());
            }
            Err(Errno::EAGAIN) => ready.clear_ready(),
            // Packets that there was no room for are lost to the record alone.
            Err(Errno::EINTR | Errno::ENOBUFS | Errno::ENETDOWN) => {}
            Err(_) => return,
        }
    }
}

impl Tap {
    fn packet(&self) -> Option<packet::Packet<'_>> {
        packet::read(self.buffer.get(..self.unwritten?)?)
    }

    /// Who sent it. A stream's socket is gone with the answer, before anybody could look.
    async fn peer(&self) -> Option<Peer> {
        let packet = self.packet().filter(|packet| !packet.stream)?;
        let connection = Connection {
            stream: false,
            from: packet.from,
            to: packet.port,
        };
        self.asker.peer(connection).await
    }

    fn write(&mut self, peer: Option<&Peer>) {
        if let Some(packet) = self.packet() {
            record(&self.asker, peer, &packet);
        }
        self.unwritten = None;
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // What was sent just before the end.
        self.write(None);
        for _ in 0..LAST {
            let read = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT);
            let Ok(read) = read else { return };
            self.unwritten = Some(read);
            self.write(None);
        }
    }
}

fn record(asker: &Asker, peer: Option<&Peer>, packet: &packet::Packet<'_>) {
    let host = packet.to.to_string();
    let mut attempt = asker.begin(peer, Via::Direct, host.as_bytes(), Some(packet.port));
    attempt.method(if packet.stream { "TCP" } else { "UDP" });
    let asked = (packet.port == NAMES_PORT && !packet.stream)
        .then(|| question::read(packet.content)?.0)
        .flatten()
        .map(|question| {
            let name = escape(&question.name, 255);
            format!(", with a question for {name} ({})", question::kind_name(question.kind))
        });
    let why = format!("past the proxy, which is the only way out{}", asked.unwrap_or_default());
    attempt.denied(&Denial::refused(Reason::PastTheDoor, why).at(packet.to, kind(packet.to)));
}
