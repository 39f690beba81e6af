//! Where the agent works: its server's address, and the tree as that server sees it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use tokio::net::TcpStream;

use crate::{
    policy::Inside,
    sandbox::{Sandbox, SandboxError},
};

/// Where a turn is taken.
#[derive(Clone, Copy)]
pub enum Desk<'a> {
    /// At the server inside a sandbox.
    Inside(&'a Sandbox),
    /// At a server of the user's, which no sandbox holds.
    Outside {
        /// The server.
        server: &'a Server,
        /// Where it finds the tree.
        inside: &'a Inside,
    },
}

impl<'a> Desk<'a> {
    /// Where things are for the agent.
    pub fn inside(&self) -> &'a Inside {
        match self {
            Self::Inside(sandbox) => sandbox.inside(),
            Self::Outside { inside, .. } => inside,
        }
    }

    /// A connection to the server.
    pub(super) async fn dial(&self) -> Result<TcpStream, SandboxError> {
        match self {
            Self::Inside(sandbox) => sandbox.dial(sandbox.inside().server_port).await,
            Self::Outside { server, .. } => {
                TcpStream::connect(server.address)
                    .await
                    .map_err(|source| SandboxError::Io {
                        what: format!("connect to {}", server.url),
                        source,
                    })
            }
        }
    }

    /// What stands before the server's paths.
    pub(super) fn prefix(&self) -> &str {
        match self {
            Self::Inside(_) => "",
            Self::Outside { server, .. } => &server.prefix,
        }
    }
}

/// An OpenCode server that is not ours (`--opencode-url`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    url: String,
    address: SocketAddr,
    prefix: String,
}

impl Server {
    /// Reads its URL.
    ///
    /// # Errors
    /// Why it is none that can be used, in one line.
    pub fn parse(url: &str) -> Result<Self, String> {
        let parsed = reqwest::Url::parse(url).map_err(|why| format!("it is no URL: {why}"))?;
        if parsed.scheme() != "http" {
            return Err("the server shares this host's files, so plain http:// to this host is expected".to_owned());
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("give user and password as OPENCODE_SERVER_USERNAME and OPENCODE_SERVER_PASSWORD".to_owned());
        }
        let host = parsed.host_str().unwrap_or_default();
        let ip = match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(ip) => ip,
            Err(_) if host == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Err(_) => return Err("the server must be on this host: `localhost` or an address is expected".to_owned()),
        };
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            address: SocketAddr::from((ip, parsed.port().unwrap_or(80))),
            prefix: parsed.path().trim_end_matches('/').to_owned(),
        })
    }

    /// As it was given, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where such a server finds a tree that lies at `tree` of this host; `None` where
    /// that cannot be said in a request.
    pub fn inside(&self, tree: &Path) -> Option<Inside> {
        let workspace = tree.to_str()?.to_owned();
        Some(Inside {
            workspace,
            server_port: self.address.port(),
            ..Inside::private()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_one_of_this_host_by_plain_http() {
        let server = Server::parse("http://localhost:4100/base/").expect("a server");
        assert_eq!(
            (
                server.url(),
                server.address.to_string().as_str(),
                server.prefix.as_str()
            ),
            ("http://localhost:4100/base", "127.0.0.1:4100", "/base")
        );
        assert_eq!(
            Server::parse("http://[::1]").expect("one").address.to_string(),
            "[::1]:80"
        );
        for (bad, why) in [
            ("https://localhost", "http://"),
            ("http://example.org:1", "this host"),
            ("http://me:pw@127.0.0.1", "OPENCODE_SERVER_PASSWORD"),
            ("localhost:1", "http://"),
            ("", "no URL"),
        ] {
            let refused = Server::parse(bad).expect_err(bad);
            assert!(refused.contains(why), "{bad}: {refused}");
        }
    }
}
