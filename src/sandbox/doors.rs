//! Sockets of the inside's network in the host's hands, what serves on them, and who is at
//! their far end.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    io::unix::AsyncFd,
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::Mutex,
    task::JoinSet,
};

use super::{
    Sandbox, SandboxError,
    guest_link::{Link, only, tell},
    output::async_fd,
};
use crate::wire::{Connection, Peer, Reply, Request};

/// Longest wait for the name of a peer: a guest that is busy with a large tree delays no
/// connection for longer.
const NAMED: Duration = Duration::from_secs(1);

/// What the stages of a sandbox are called, and which was named last.
pub(super) type StageNames = Arc<std::sync::Mutex<(HashMap<u64, String>, Option<String>)>>;

/// What serves on a sandbox's sockets. It ends with the sandbox: a socket of the inside
/// would keep the inside's network alive.
#[derive(Default)]
pub(super) struct Doors(std::sync::Mutex<JoinSet<()>>);

impl Doors {
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Sandbox {
    /// A listener on 127.0.0.1:`port` inside, accepted on by the host.
    ///
    /// # Errors
    /// When the port is taken inside or the guest is gone.
    pub async fn listen(&self, port: u16) -> Result<TcpListener, SandboxError> {
        let (_, fds) = self.ask(&Request::Listen { port }, &[]).await?;
        let io = |source| SandboxError::Io {
            what: format!("listen on port {port} inside"),
            source,
        };
        let listener = std::net::TcpListener::from(only(fds)?);
        listener.set_nonblocking(true).map_err(io)?;
        TcpListener::from_std(listener).map_err(io)
    }

    /// A datagram socket at 127.0.0.1:`port` inside.
    ///
    /// # Errors
    /// When the port is taken inside or the guest is gone.
    pub async fn datagrams(&self, port: u16) -> Result<UdpSocket, SandboxError> {
        let (_, fds) = self.ask(&Request::Datagrams { port }, &[]).await?;
        let io = |source| SandboxError::Io {
            what: format!("take datagrams at port {port} inside"),
            source,
        };
        let socket = std::net::UdpSocket::from(only(fds)?);
        socket.set_nonblocking(true).map_err(io)?;
        UdpSocket::from_std(socket).map_err(io)
    }

    /// A packet socket that shows what is sent to addresses outside: every one then leads to
    /// the loopback, where nobody listens. Only where the inside's network is its guest's own.
    ///
    /// # Errors
    /// When the guest may not, or is gone.
    pub async fn tap(&self) -> Result<AsyncFd<OwnedFd>, SandboxError> {
        let (_, fds) = self.ask(&Request::Tap, &[]).await?;
        async_fd(only(fds)?).map_err(|source| SandboxError::Io {
            what: "watch what is sent past the doors".to_owned(),
            source,
        })
    }

    /// A connection to 127.0.0.1:`port` inside.
    ///
    /// # Errors
    /// When nothing listens there (`Io`, connection refused) or the guest is gone.
    pub async fn dial(&self, port: u16) -> Result<TcpStream, SandboxError> {
        self.dialer().dial(port).await
    }

    /// Makes connections to the inside, as long as the sandbox lives.
    pub fn dialer(&self) -> Dialer {
        Dialer(Arc::downgrade(&self.link))
    }

    /// Lets `door` serve as long as the sandbox lives.
    pub fn attend(&self, door: impl Future<Output = ()> + Send + 'static) {
        self.doors.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(door);
    }

    /// Says what a stage ([`super::Running::stage`]) is called in the record.
    pub fn name_stage(&self, stage: u64, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.0.insert(stage, name.to_owned());
        names.1 = Some(name.to_owned());
    }

    /// Who asks at the sandbox's doors.
    pub fn peers(&self) -> Peers {
        Peers {
            link: Arc::downgrade(&self.link),
            names: self.names.clone(),
        }
    }
}

/// Makes connections to ports of a sandbox's 127.0.0.1, as long as it lives.
#[derive(Clone)]
pub struct Dialer(Weak<Mutex<Link>>);

impl Dialer {
    /// As [`Sandbox::dial`].
    ///
    /// # Errors
    /// As there; the sandbox may be gone.
    pub async fn dial(&self, port: u16) -> Result<TcpStream, SandboxError> {
        let io = |source| SandboxError::Io {
            what: format!("connect to port {port} inside"),
            source,
        };
        let link = self
            .0
            .upgrade()
            .ok_or_else(|| SandboxError::Gone("its sandbox has ended".to_owned()))?;
        let (_, fds) = tell(&link, &Request::Socket, &[]).await?.answer().await?;
        let socket = std::net::TcpStream::from(only(fds)?);
        // A read that blocks would hold up the thread that is to write.
        socket.set_nonblocking(true).map_err(io)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpSocket::from_std_stream(socket).connect(address).await.map_err(io)
    }
}

/// Tells who is at the far end of a connection from inside, as long as the sandbox lives.
#[derive(Clone)]
pub struct Peers {
    link: Weak<Mutex<Link>>,
    names: StageNames,
}

impl Peers {
    /// The process; `None` where it is gone, or the guest has no time to look.
    pub async fn find(&self, connection: Connection) -> Option<Peer> {
        let link = self.link.upgrade()?;
        let request = Request::Peer(connection);
        let asked = async { tell(&link, &request, &[]).await?.answer().await };
        match tokio::time::timeout(NAMED, asked).await {
            Ok(Ok((Reply::Peer { found }, _))) => found,
            _ => None,
        }
    }

    /// What a stage is called.
    pub fn stage(&self, stage: u64) -> Option<String> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.0.get(&stage).cloned()
    }

    /// What the stage is called that was begun last.
    pub fn last_stage(&self) -> Option<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}
