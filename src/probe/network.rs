//! Acts that reach beyond the sandbox over sockets.
#![allow(unsafe_code)]

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{self, UnixStream},
    },
    time::Duration,
};

use super::{
    Act, Answer, Layer,
    call::{call, errno_of},
};

/// Longest wait for a connection: nothing is far away.
const SOON: Duration = Duration::from_millis(1500);
/// Of the documentation's own networks (RFC 5737, RFC 3849): routers know nobody there.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

fn refusal(e: &io::Error) -> Answer {
    let errno = errno_of(e);
    let by = match errno {
        // An empty network namespace has nobody at its loopback, and no way out.
        libc::ECONNREFUSED | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL => {
            Some(Layer::NetworkNamespace)
        }
        libc::EACCES => Some(Layer::Landlock),
        libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => Some(Layer::Seccomp),
        _ => None,
    };
    Answer::Refused { errno, by }
}

fn dial(address: SocketAddr) -> Answer {
    match TcpStream::connect_timeout(&address, SOON) {
        Ok(_) => Answer::Done(format!("connected to {address}")),
        Err(e) if e.kind() == io::ErrorKind::TimedOut => Answer::Done(format!("a way to {address}")),
        Err(e) => refusal(&e),
    }
}

/// Connects to a service of the host's.
pub(super) const CONNECT_HOST: Act = Act {
    name: "connect-to-host",
    run: |marks| dial((Ipv4Addr::LOCALHOST, marks.tcp).into()),
};

/// The same over IPv6.
pub(super) const CONNECT_HOST_6: Act = Act {
    name: "connect-to-host-over-ipv6",
    run: |marks| match marks.tcp6 {
        0 => Answer::refused(libc::EAFNOSUPPORT),
        port => dial((Ipv6Addr::LOCALHOST, port).into()),
    },
};

/// The same by the other spellings of the loopback.
pub(super) const CONNECT_HOST_SPELLED: Act = Act {
    name: "connect-to-host-spelled-otherwise",
    run: |marks| {
        let names = [
            "0.0.0.0",
            "127.1",
            "127.0.0.53",
            "::ffff:127.0.0.1",
            "localhost",
            "2130706433",
        ];
        let mut first = None;
        for name in names {
            for address in (name, marks.tcp).to_socket_addrs().into_iter().flatten() {
                match dial(address) {
                    done @ Answer::Done(_) => return done,
                    refused => {
                        first.get_or_insert(refused);
                    }
                }
            }
        }
        first.unwrap_or(Answer::by(0, Layer::NetworkNamespace))
    },
};

/// Whether there is a way out: the kernel looks for a route when a datagram socket gets an
/// address, and sends nothing.
fn route(address: SocketAddr) -> Answer {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    match UdpSocket::bind(any).and_then(|socket| socket.connect(address)) {
        Ok(()) => Answer::Done(format!("a way to {address}")),
        Err(e) => refusal(&e),
    }
}

/// Starts a connection to nobody in particular outside; it is not waited for.
fn begin(address: SocketAddr) -> Answer {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let fd = match call(libc::SYS_socket, &[family as usize, kind as usize, 0]) {
        Ok(fd) => fd,
        Err(errno) => return refusal(&io::Error::from_raw_os_error(errno)),
    };
    let mut raw = [0u8; 28];
    raw[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    raw[2..4].copy_from_slice(&address.port().to_be_bytes());
    let length = match address {
        SocketAddr::V4(v4) => {
            raw[4..8].copy_from_slice(&v4.ip().octets());
            16
        }
        SocketAddr::V6(v6) => {
            raw[8..24].copy_from_slice(&v6.ip().octets());
            28
        }
    };
    let got = call(libc::SYS_connect, &[fd, super::call::at(&raw), length]);
    let _ = call(libc::SYS_close, &[fd]);
    match got {
        Ok(_) | Err(libc::EINPROGRESS) => Answer::Done(format!("a connection to {address} began")),
        Err(errno) => refusal(&io::Error::from_raw_os_error(errno)),
    }
}

/// Connects to an address outside.
pub(super) const CONNECT_OUTSIDE: Act = Act {
    name: "connect-outside",
    run: |_| begin((OUTSIDE, 443).into()),
};

/// The same over IPv6.
pub(super) const CONNECT_OUTSIDE_6: Act = Act {
    name: "connect-outside-over-ipv6",
    run: |_| begin((OUTSIDE_6, 443).into()),
};

/// Sends a datagram outside.
pub(super) const SEND_OUTSIDE: Act = Act {
    name: "send-outside",
    run: |_| route((OUTSIDE, 53).into()),
};

/// Asks servers of names, each way that there is.
pub(super) const ASK_NAMES: Act = Act {
    name: "ask-name-servers",
    run: |_| {
        let server = Ipv4Addr::new(1, 1, 1, 1);
        let mut first = None;
        for answer in [
            route((server, 53).into()),
            begin((server, 53).into()),
            begin((server, 853).into()),
        ] {
            match answer {
                done @ Answer::Done(_) => return done,
                refused => {
                    first.get_or_insert(refused);
                }
            }
        }
        first.unwrap_or(Answer::in_vain(None))
    },
};

/// Asks for names over HTTPS, which no rule about port 53 sees.
pub(super) const ASK_NAMES_OVER_HTTPS: Act = Act {
    name: "ask-names-over-https",
    run: |_| {
        let servers = [
            Ipv4Addr::new(1, 1, 1, 1),
            Ipv4Addr::new(8, 8, 8, 8),
            Ipv4Addr::new(9, 9, 9, 9),
        ];
        let mut first = None;
        for server in servers {
            match begin((server, 443).into()) {
                done @ Answer::Done(_) => return done,
                refused => {
                    first.get_or_insert(refused);
                }
            }
        }
        first.unwrap_or(Answer::in_vain(None))
    },
};

/// Has a resolver ask for a name that says something.
pub(super) const TUNNEL_NAMES: Act = Act {
    name: "tunnel-by-names",
    run: |marks| {
        // What resolv.conf names, else the loopback (resolv.conf(5)).
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let servers = text
            .lines()
            .filter_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok());
        let mut servers: Vec<std::net::IpAddr> = servers.collect();
        servers.push(Ipv4Addr::LOCALHOST.into());
        let mut first = None;
        for server in servers {
            let port = if server.is_loopback() { marks.udp } else { 53 };
            let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
                socket.connect((server, port))?;
                socket.send(question(&marks.token).as_slice())?;
                // Nobody there is told of by the next call (udp(7)).
                socket.set_read_timeout(Some(Duration::from_millis(300)))?;
                socket.recv(&mut [0; 512])
            });
            match sent {
                Ok(_) => return Answer::Done(format!("{server} answered")),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Answer::Done(format!("{server} was asked"));
                }
                Err(e) => {
                    first.get_or_insert(refusal(&e));
                }
            }
        }
        first.unwrap_or(Answer::in_vain(None))
    },
};

/// A question for an address (RFC 1035).
fn question(label: &str) -> Vec<u8> {
    let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let label = &label.as_bytes()[..label.len().min(63)];
    out.push(label.len() as u8);
    out.extend(label);
    out.extend(b"\x07invalid\0\0\x01\0\x01");
    out
}

/// Asks clouds what they tell their machines.
pub(super) const METADATA: Act = Act {
    name: "ask-cloud-metadata",
    run: |_| {
        let addresses: [SocketAddr; 4] = [
            (Ipv4Addr::new(169, 254, 169, 254), 80).into(),
            (Ipv4Addr::new(169, 254, 170, 2), 80).into(),
            (Ipv4Addr::new(100, 100, 100, 200), 80).into(),
            (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 80).into(),
        ];
        let mut first = None;
        for address in addresses {
            match route(address) {
                done @ Answer::Done(_) => return done,
                _ => match begin(address) {
                    done @ Answer::Done(_) => return done,
                    refused => {
                        first.get_or_insert(refused);
                    }
                },
            }
        }
        first.unwrap_or(Answer::in_vain(None))
    },
};

fn speak_to(address: &net::SocketAddr) -> io::Result<()> {
    UnixStream::connect_addr(address).map(|_| ())
}

/// Connects to a socket of the host's by its path.
pub(super) const PATH_SOCKET: Act = Act {
    name: "connect-to-host-socket",
    run: |marks| {
        let mut first = None;
        for path in [format!("/..{}", marks.socket), marks.socket.clone()] {
            let reached = net::SocketAddr::from_pathname(&path).and_then(|address| speak_to(&address));
            match reached {
                Ok(()) => return Answer::Done(format!("connected to {path}")),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    first = Some(Answer::by(libc::ENOENT, Layer::Root));
                }
                Err(e) => first = Some(refusal(&e)),
            }
        }
        first.unwrap_or(Answer::in_vain(None))
    },
};

/// Connects to one by its abstract name.
pub(super) const ABSTRACT_SOCKET: Act = Act {
    name: "connect-to-abstract-socket",
    run: |marks| {
        let reached = net::SocketAddr::from_abstract_name(&marks.name).and_then(|address| speak_to(&address));
        match reached {
            Ok(()) => Answer::Done(format!("connected to @{}", marks.name)),
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => Answer::by(libc::EPERM, Layer::Landlock),
            Err(e) => refusal(&e),
        }
    },
};

/// Connects to container engines and agents of keys where they usually are.
pub(super) const ENGINE_SOCKETS: Act = Act {
    name: "connect-to-engines",
    run: |_| {
        let mut first = None;
        for path in [
            "/var/run/docker.sock",
            "/run/docker.sock",
            "/run/containerd/containerd.sock",
            "/run/podman/podman.sock",
            "/run/dbus/system_bus_socket",
            "/run/systemd/private",
        ] {
            match net::SocketAddr::from_pathname(path).and_then(|address| speak_to(&address)) {
                Ok(()) => return Answer::Done(format!("connected to {path}")),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    first.get_or_insert(Answer::by(libc::ENOENT, Layer::Root));
                }
                Err(e) => {
                    first.get_or_insert(refusal(&e));
                }
            }
        }
        first.unwrap_or(Answer::in_vain(None))
    },
};

/// Sees interfaces other than a loopback.
pub(super) const INTERFACES: Act = Act {
    name: "see-interfaces",
    run: |_| {
        let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
        let mut names = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim());
        match names.find(|name| *name != "lo") {
            Some(name) => Answer::Done(format!("interface {name}")),
            None => Answer::in_vain(Some(Layer::NetworkNamespace)),
        }
    },
};

/// Sends a datagram to a port of the host's; whether it came the host knows.
pub(super) const SEND_TO_HOST: Act = Act {
    name: "send-to-host",
    run: |marks| {
        let sent = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.send_to(marks.token.as_bytes(), (Ipv4Addr::LOCALHOST, marks.udp)));
        match sent {
            Ok(_) => Answer::Done("sent".to_owned()),
            Err(e) => refusal(&e),
        }
    },
};

/// Listens at a port that the kernel picks for who asked for none (listen(2)).
fn listen_unbound() -> io::Result<TcpListener> {
    use std::os::fd::FromRawFd;
    let kind = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as usize;
    let fd = call(libc::SYS_socket, &[libc::AF_INET as usize, kind, 0]).map_err(io::Error::from_raw_os_error)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let listener = unsafe { TcpListener::from_raw_fd(fd as i32) };
    call(libc::SYS_listen, &[fd, 1]).map_err(io::Error::from_raw_os_error)?;
    Ok(listener)
}

/// Listens on every address, says where, and waits to be reached.
pub(super) const LISTEN: Act = Act {
    name: "be-reached",
    run: |marks| {
        let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).or_else(|_| listen_unbound()) {
            Ok(listener) => listener,
            Err(e) => return refusal(&e),
        };
        let port = listener.local_addr().map_or(0, |address| address.port());
        if std::fs::write(format!("{}/port", marks.own), port.to_string()).is_err() {
            return Answer::in_vain(None);
        }
        let _ = listener.set_nonblocking(true);
        let until = std::time::Instant::now() + Duration::from_millis(marks.amount);
        while std::time::Instant::now() < until {
            if listener.accept().is_ok() {
                return Answer::Done(format!("reached at port {port}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Answer::by(0, Layer::NetworkNamespace)
    },
};
