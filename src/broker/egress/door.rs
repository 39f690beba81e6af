//! The open door: the rules and all that is counted by them.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Instant};

use rustls::pki_types::CertificateDer;

use super::{
    attempt::{Asker, Attempt, Denial},
    ledger::{EgressCount, Ledger, Reason},
    meter::Meter,
    names::Names,
    nonames, past, serve,
    trust::Trust,
};
use crate::{
    broker::BrokerError,
    policy::{HostDenial, HostName, HostRule, HostVerdict, NAMES_PORT, NetworkRules, NotAName, Role, kind},
    record::{Redactor, Secret},
    sandbox::{Sandbox, SandboxError},
};

/// What the door is made of.
#[derive(Clone, Debug, Default)]
pub struct EgressConfig {
    /// Whom it lets through.
    pub rules: NetworkRules,
    /// The secrets that rules name, by their names.
    pub secrets: HashMap<String, Secret>,
    /// What is taken out of the ledger: everything that is secret in this run.
    pub hidden: Vec<Secret>,
    /// A name server in place of those of this host.
    pub resolver: Option<SocketAddr>,
    /// Whom it trusts where it speaks TLS itself; empty for what this host trusts.
    pub certificates: Vec<CertificateDer<'static>>,
    /// `egress.jsonl`.
    pub ledger: PathBuf,
}

/// The egress door of a run. One for all of its sandboxes.
pub struct EgressDoor(Arc<Door>);

pub(super) struct Door {
    rules: NetworkRules,
    /// One a rule, in their order.
    meters: Vec<Arc<Meter>>,
    /// Likewise: the value of its header, where it has one.
    headers: Vec<Option<hyper::header::HeaderValue>>,
    pub names: Names,
    pub trust: Trust,
    ledger: Arc<Ledger>,
}

/// What the rules say of a connection that may be tried.
pub(super) struct Way<'a> {
    pub host: HostName,
    pub rule: &'a HostRule,
    pub meter: Arc<Meter>,
    pub header: Option<&'a hyper::header::HeaderValue>,
}

impl EgressDoor {
    /// Opens it: nothing is served yet.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for rules that cannot hold or name a secret that is not there,
    /// and for a resolver that cannot be used; else a ledger that cannot be made.
    pub fn open(config: EgressConfig) -> Result<Self, BrokerError> {
        config
            .rules
            .check()
            .map_err(|why| BrokerError::Config(why.to_string()))?;
        let header = |rule: &HostRule| {
            let Some(grant) = &rule.header else { return Ok(None) };
            let unusable = |why: &str| {
                let name = &grant.secret;
                BrokerError::Config(format!(
                    "network rule {rule}: the secret {name} for `{}` {why}",
                    grant.name
                ))
            };
            let secret = config
                .secrets
                .get(&grant.secret)
                .ok_or_else(|| unusable("is not set"))?;
            let mut value = hyper::header::HeaderValue::from_str(secret.expose())
                .map_err(|_| unusable("has characters that no header can hold"))?;
            value.set_sensitive(true);
            Ok(Some(value))
        };
        let headers = config.rules.rules.iter().map(header).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Door {
            meters: config
                .rules
                .rules
                .iter()
                .map(|rule| Arc::new(Meter::new(rule)))
                .collect(),
            headers,
            rules: config.rules,
            names: Names::new(config.resolver)?,
            trust: Trust::of(config.certificates),
            ledger: Arc::new(Ledger::create(&config.ledger, Redactor::new(&config.hidden))?),
        })))
    }

    /// Serves the programs of a sandbox as long as it lives; `label` is what the ledger calls it.
    ///
    /// # Errors
    /// When the sandbox has no place for it, or is gone.
    pub async fn serve(&self, sandbox: &Sandbox, label: &str, role: Role) -> Result<(), SandboxError> {
        let Some(proxy) = &sandbox.inside().proxy else {
            return Ok(());
        };
        let asker = Asker {
            sandbox: label.into(),
            role,
            peers: sandbox.peers(),
            ledger: self.0.ledger.clone(),
        };
        let listener = sandbox.listen(proxy.port).await?;
        let key = proxy.key.as_deref().map(Arc::from);
        sandbox.attend(serve::accept(self.0.clone(), asker.clone(), listener, proxy.port, key));
        // Where the loopback is the host's, the port of names is not ours to take, and no
        // command could send to it.
        if proxy.key.is_none() {
            let datagrams = sandbox.datagrams(NAMES_PORT).await?;
            let streams = sandbox.listen(NAMES_PORT).await?;
            sandbox.attend(nonames::datagrams(asker.clone(), datagrams));
            sandbox.attend(nonames::streams(asker.clone(), streams));
        }
        if proxy.tapped {
            sandbox.attend(past::watch(asker, sandbox.tap().await?));
        }
        Ok(())
    }

    /// Waits until every attempt has its line (those of sandboxes that are gone have ended),
    /// tells what was only counted, and syncs.
    ///
    /// # Errors
    /// When the record could not be kept.
    pub async fn finish(&self) -> Result<EgressCount, BrokerError> {
        self.0.ledger.settled().await;
        self.0.ledger.finish()
    }
}

impl Door {
    /// Whether a connection may be tried, by what was asked for; the attempt learns the rule.
    pub fn judge(&self, host: &[u8], port: u16, attempt: &mut Attempt) -> Result<Way<'_>, Denial> {
        let name = name_of(host)?;
        let (index, rule) = match self.rules.verdict(&name, port) {
            HostVerdict::Allow(index, rule) => (index, rule),
            HostVerdict::Deny(HostDenial::Port(_, rule)) => {
                attempt.by_rule(rule.to_string());
                let why = format!("port {port} of {name} is none of rule {rule}");
                return Err(Denial::refused(Reason::Port, why));
            }
            HostVerdict::Deny(HostDenial::NoRule) => {
                return Err(Denial::refused(Reason::NoRule, format!("no rule is about {name}")));
            }
            HostVerdict::Deny(HostDenial::Mode(mode)) => {
                return Err(Denial::refused(Reason::NoRule, format!("the network is `{mode}`")));
            }
        };
        attempt.by_rule(rule.to_string());
        let meter = self.meters[index].clone();
        Ok(Way {
            host: name,
            rule,
            meter,
            header: self.headers[index].as_ref(),
        })
    }
}

impl Way<'_> {
    /// Counts the connection.
    pub fn admit(&self) -> Result<(), Denial> {
        self.meter.admit(Instant::now())
    }
}

/// The name that was asked for.
fn name_of(host: &[u8]) -> Result<HostName, Denial> {
    let text = String::from_utf8_lossy(host);
    HostName::parse(&text).map_err(|why| match why {
        NotAName::Address(address) => {
            let kind = kind(address);
            let what = kind.map_or(String::new(), |kind| format!(", {kind}"));
            let why = format!("{address}{what}: an address, and rules are about names");
            Denial::refused(Reason::AddressLiteral, why).at(address, kind)
        }
        NotAName::Malformed(why) => Denial::refused(Reason::NotAName, why),
    })
}
