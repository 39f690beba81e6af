//! What there is outside: a name server, a TLS server, a plain HTTP server, a server that
//! sends what it gets back. All on the loopback.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// What a server was asked, in order.
pub type Heard = Arc<Mutex<Vec<String>>>;

/// A server, as long as it is kept.
pub struct Server {
    pub port: u16,
    pub heard: Heard,
    _task: JoinSet<()>,
}

impl Server {
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("unpoisoned").clone()
    }

    /// Serves each connection with `serve`.
    async fn start<F, S>(serve: F) -> Self
    where
        F: Fn(tokio::net::TcpStream, Heard) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("address").port();
        let heard = Heard::default();
        let shared = heard.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, shared.clone()));
            }
        });
        Self {
            port,
            heard,
            _task: task,
        }
    }

    /// Sends back what it gets, and says so.
    pub async fn echo() -> Self {
        Self::start(|mut stream, heard| async move {
            let mut buffer = [0; 4096];
            while let Ok(read) = stream.read(&mut buffer).await {
                if read == 0 {
                    break;
                }
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                heard.lock().expect("unpoisoned").push(text);
                if stream.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        })
        .await
    }

    /// Plain HTTP: answers with the request as it came; `/zeros/N` with so many zeros.
    pub async fn http() -> Self {
        Self::start(answer).await
    }

    /// The same over TLS; says for whom each connection was.
    pub async fn https(certificate: &Certificate) -> Self {
        let acceptor = TlsAcceptor::from(certificate.server());
        Self::start(move |stream, heard| {
            let acceptor = acceptor.clone();
            async move {
                heard.lock().expect("unpoisoned").push("a connection".to_owned());
                if let Ok(stream) = acceptor.accept(stream).await {
                    let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
                    heard.lock().expect("unpoisoned").push(format!("TLS for {name}"));
                    answer(stream, heard).await;
                }
            }
        })
        .await
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, heard: Heard) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        while read.len() < end + length.unwrap_or(0) {
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                return;
            }
        }
        let request = String::from_utf8_lossy(&read[..end + length.unwrap_or(0)]).into_owned();
        read.drain(..end + length.unwrap_or(0));
        let zeros = request
            .split(' ')
            .nth(1)
            .and_then(|path| path.strip_prefix("/zeros/")?.parse().ok());
        let body = zeros.map_or_else(|| request.clone().into_bytes(), |n| vec![b'0'; n]);
        heard.lock().expect("unpoisoned").push(request);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-secret: no\r\nconnection: x-secret\r\n\r\n",
            body.len()
        );
        if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
            return;
        }
    }
}

/// A certificate of our own for some names.
pub struct Certificate(CertifiedKey<rcgen::KeyPair>);

impl Certificate {
    pub fn of(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Self(generate_simple_self_signed(names).expect("a certificate"))
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.cert.der().clone()
    }

    fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.der()], key)
            .expect("a server");
        Arc::new(config)
    }
}

/// Answers by name; each time that one is asked for, the next, and then the last again.
type Table = HashMap<String, Vec<Vec<IpAddr>>>;

/// A name server.
pub struct NameServer {
    pub at: SocketAddr,
    asked: Heard,
    _task: JoinSet<()>,
}

impl NameServer {
    /// `[("name", "1.2.3.4 ::1; 5.6.7.8")]`: what is found at the first time, then at the second.
    pub async fn start(names: &[(&str, &str)]) -> Self {
        let answers = |text: &str| -> Vec<Vec<IpAddr>> {
            let addresses = |one: &str| one.split_whitespace().map(|a| a.parse().expect(a)).collect();
            text.split(';').map(addresses).collect()
        };
        let table: Table = names
            .iter()
            .map(|(name, text)| ((*name).to_owned(), answers(text)))
            .collect();
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let at = socket.local_addr().expect("address");
        let asked = Heard::default();
        let shared = asked.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut buffer = [0; 1500];
            let mut times: HashMap<(String, u16), usize> = HashMap::new();
            while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
                let (name, kind, end) = question(&buffer[..read]);
                let time = times.entry((name.clone(), kind)).or_default();
                let found = table.get(&name).map(|all| all[(*time).min(all.len() - 1)].clone());
                *time += 1;
                if kind == 1 {
                    shared.lock().expect("unpoisoned").push(name);
                }
                let answer = reply(&buffer[..end], kind, found);
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Self { at, asked, _task: task }
    }

    /// The names whose IPv4 addresses were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("unpoisoned").clone()
    }
}

fn question(message: &[u8]) -> (String, u16, usize) {
    let (mut at, mut name) = (12, String::new());
    while message[at] != 0 {
        let length = usize::from(message[at]);
        name += &String::from_utf8_lossy(&message[at + 1..at + 1 + length]);
        name += ".";
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([message[at + 1], message[at + 2]]);
    (name.trim_end_matches('.').to_lowercase(), kind, at + 5)
}

fn reply(asked: &[u8], kind: u16, found: Option<Vec<IpAddr>>) -> Vec<u8> {
    let octets: Vec<Vec<u8>> = found
        .iter()
        .flatten()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), 1) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), 28) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut out = asked.to_vec();
    out[2..12].copy_from_slice(&[
        0x81,
        if found.is_some() { 0x80 } else { 0x83 },
        0,
        1,
        0,
        octets.len() as u8,
        0,
        0,
        0,
        0,
    ]);
    for address in octets {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 0, 0, address.len() as u8]);
        out.extend(address);
    }
    out
}
