//! From a name to a connection: resolved by the host when a rule has allowed it, once, and
//! what is dialled is what was judged.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use tokio::net::TcpStream;

use super::{attempt::Denial, ledger::Reason};
use crate::{
    broker::BrokerError,
    policy::{AddressKind, HostName, HostRule, kind},
};

/// Longest time for a name.
const RESOLVE: Duration = Duration::from_secs(10);
/// Longest time for one address to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const TRIED: usize = 4;

/// The host's way to names.
pub(super) struct Names(TokioResolver);

impl Names {
    /// At a name server of the operator's choice, else as this host does it.
    pub fn new(server: Option<SocketAddr>) -> Result<Self, BrokerError> {
        let unusable = |why: &dyn std::fmt::Display| BrokerError::Config(format!("the host's resolver: {why}"));
        let mut builder = match server {
            Some(server) => {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                let server = NameServerConfig::new(server.ip(), true, connections);
                let config = ResolverConfig::from_name_servers(vec![server]);
                let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
                builder.options_mut().use_hosts_file = ResolveHosts::Never;
                builder
            }
            None => TokioResolver::builder_tokio().map_err(|why| unusable(&why))?,
        };
        let options = builder.options_mut();
        // An answer counts for the connection that it was asked for.
        options.cache_size = 0;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = Duration::from_secs(3);
        options.attempts = 2;
        builder.build().map(Self).map_err(|why| unusable(&why))
    }

    /// Resolves a name and judges what it leads to.
    pub async fn addresses(&self, host: &HostName, rule: &HostRule) -> Result<Vec<IpAddr>, Denial> {
        let unresolved = |why: String| Denial::failed(Reason::Unresolved, format!("{host} was not found: {why}"));
        // With its final dot, so that no search list is gone through.
        let found = tokio::time::timeout(RESOLVE, self.0.lookup_ip(format!("{host}.")));
        let found = found
            .await
            .map_err(|_| unresolved("no answer in time".to_owned()))?
            .map_err(|why| unresolved(why.to_string()))?;
        let mut found: Vec<IpAddr> = found.iter().collect();
        found.sort_by_key(IpAddr::is_ipv6);
        found.dedup();
        if found.is_empty() {
            return Err(unresolved("it has no address".to_owned()));
        }
        // One that may not be is enough: who answers so wants something.
        let own = own_addresses();
        for address in &found {
            judge(host, *address, rule, &own)?;
        }
        Ok(found)
    }
}

/// Whether a name may lead to an address.
fn judge(host: &HostName, address: IpAddr, rule: &HostRule, own: &[IpAddr]) -> Result<(), Denial> {
    let refuse = |kind: Option<AddressKind>, what: String| {
        let why = format!("{host} leads to {address}: {what}");
        Err(Denial::refused(Reason::ForbiddenAddress, why).at(address, kind))
    };
    let found = kind(address);
    if !rule.addresses.is_empty() {
        return match rule.addresses.iter().any(|block| block.contains(address)) {
            true => Ok(()),
            false => refuse(found, format!("none of the `addresses` of rule {rule}")),
        };
    }
    match found {
        Some(kind) => refuse(
            Some(kind),
            format!("{kind}, which rule {rule} does not name in `addresses`"),
        ),
        None if own.contains(&address) => refuse(None, "an address of this host".to_owned()),
        None => Ok(()),
    }
}

/// The addresses of this host: what listens there may trust whoever comes from itself.
fn own_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect()
}

/// Dials the addresses in turn.
pub(super) async fn dial(host: &HostName, addresses: &[IpAddr], port: u16) -> Result<(TcpStream, IpAddr), Denial> {
    let mut last = Denial::failed(Reason::Unreachable, format!("{host} has no address"));
    for address in addresses.iter().take(TRIED) {
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        let why = match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok(stream)) => {
                // Small messages of a handshake are not held back.
                let _ = stream.set_nodelay(true);
                return Ok((stream, *address));
            }
            Ok(Err(why)) => why.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        let why = format!("{host} ({address}) port {port}: {why}");
        last = Denial::failed(Reason::Unreachable, why).at(*address, None);
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_lead_to_public_addresses_or_to_those_that_its_rule_names() {
        let host = HostName::parse("a.example").expect("a name");
        let judged = |rule: &str, address: &str| {
            let rule: HostRule = rule.parse().expect(rule);
            let address: IpAddr = address.parse().expect(address);
            judge(&host, address, &rule, &["192.0.2.7".parse().expect("an address")]).map_err(|denial| denial.kind)
        };
        assert_eq!(judged("a.example", "192.0.2.8"), Ok(()));
        assert_eq!(judged("a.example", "192.0.2.7"), Err(None), "this host's own");
        assert_eq!(judged("a.example", "127.0.0.1"), Err(Some(AddressKind::Loopback)));
        assert_eq!(
            judged("a.example", "::ffff:169.254.169.254"),
            Err(Some(AddressKind::Metadata))
        );
        assert_eq!(judged("a.example@10.0.0.0/8", "10.1.2.3"), Ok(()));
        assert_eq!(judged("a.example@192.0.2.7", "192.0.2.7"), Ok(()));
        // Exactly these: neither other private ones nor public ones.
        assert_eq!(
            judged("a.example@10.0.0.0/8", "127.0.0.1"),
            Err(Some(AddressKind::Loopback))
        );
        assert_eq!(judged("a.example@10.0.0.0/8", "192.0.2.8"), Err(None));
        assert_eq!(
            judged("a.example@127.0.0.0/8", "::ffff:127.0.0.1"),
            Err(Some(AddressKind::Loopback))
        );
    }

    #[test]
    fn this_host_knows_its_own_addresses() {
        assert!(own_addresses().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
