//! Sockets of the inside's network, made here and used by the host.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::Failure;

/// A listener on 127.0.0.1:`port`; 0 picks a free one.
pub(super) fn listener(port: u16) -> Result<(u16, OwnedFd), Failure> {
    let step = format!("listen on 127.0.0.1:{port}");
    let listener =
        TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).map_err(|e| Failure::io(&step, &e))?;
    let bound = listener.local_addr().map_err(|e| Failure::io(&step, &e))?;
    Ok((bound.port(), listener.into()))
}

/// A datagram socket at 127.0.0.1:`port`.
pub(super) fn datagrams(port: u16) -> Result<OwnedFd, Failure> {
    let step = format!("take datagrams at 127.0.0.1:{port}");
    let bound = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    bound.map(Into::into).map_err(|e| Failure::io(&step, &e))
}

/// An unconnected, non-blocking TCP socket.
pub(super) fn stream() -> Result<OwnedFd, Failure> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Inet, SockType::Stream, flags, None).map_err(|e| Failure::new("socket", e))
}
