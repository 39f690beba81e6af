//! What becomes of a connection to a host.

use super::{Answer, in_each};
use crate::{
    document::shown,
    engine::EngineError,
    policy::{Destination, HostDenial, HostName, HostVerdict, NetworkMode, NotAName, Policy, SettingName, kind},
};

/// The port of a question that names none.
const HTTPS: u16 = 443;

/// Whether a program inside reaches `HOST[:PORT]`.
///
/// # Errors
/// [`EngineError::Usage`] for what is neither a name nor an address, and for a bad port.
pub fn explain_host(policy: &Policy, asked: &str) -> Result<Answer, EngineError> {
    let wrong = |why: String| EngineError::Usage(format!("--host {}: {why}", shown(asked)));
    let network = policy.network();
    let mode = network.mode.unwrap_or_default();
    let said = policy.setting(SettingName::Network);
    let mode_at = said.map_or_else(|| "nobody says it".to_owned(), |said| said.origin.to_string());
    let (verdict, rule, because, at) = match asked.parse::<Destination>() {
        Ok(Destination { host, port }) => match network.verdict(&host, port.unwrap_or(HTTPS)) {
            HostVerdict::Allow(index, rule) => {
                let said = &policy.hosts()[index];
                let why = said.because.as_deref().unwrap_or("a rule names it");
                (
                    "allow",
                    format!("network.rules: {rule}"),
                    why.to_owned(),
                    said.origin.to_string(),
                )
            }
            HostVerdict::Deny(HostDenial::Mode(mode)) => {
                let because = match said.and_then(|said| said.because.as_deref()) {
                    Some(because) => because.to_owned(),
                    None => "no packet of a program inside leaves the sandbox".to_owned(),
                };
                ("deny", format!("network.mode: {mode}"), because, mode_at)
            }
            HostVerdict::Deny(HostDenial::NoRule) => (
                "deny",
                "network.rules".to_owned(),
                "no rule names the host".to_owned(),
                mode_at,
            ),
            HostVerdict::Deny(HostDenial::Port(index, rule)) => {
                let at = policy.hosts()[index].origin.to_string();
                (
                    "deny",
                    format!("network.rules: {rule}"),
                    "the rule has other ports".to_owned(),
                    at,
                )
            }
        },
        Err(why) => {
            let (host, _) = asked
                .rsplit_once(':')
                .filter(|(host, _)| !host.contains(':'))
                .unwrap_or((asked, ""));
            let address = match HostName::parse(host) {
                Err(NotAName::Address(address)) => address,
                _ => return Err(wrong(why)),
            };
            let because = match kind(address) {
                Some(kind) => format!("{address} is an address ({kind}), and only names are reached"),
                None => {
                    format!("{address} is an address, and only names are reached: a name is resolved by the host, once")
                }
            };
            (
                "deny",
                "network: names only".to_owned(),
                because,
                "src/broker/egress".to_owned(),
            )
        }
    };
    let open = mode == NetworkMode::Allow;
    let enforced_by = in_each(|backend| {
        let wall = match backend {
            "jail" => "a network namespace with nothing but its own loopback",
            "docker" => "a container without a network, its own loopback alone",
            _ => "landlock: TCP to one port of the loopback; seccomp: no UDP, no unix sockets",
        };
        let door = match (open, verdict) {
            (true, "allow") => "; the egress door connects in its place, and writes it down",
            (true, _) => "; the egress door refuses it, and writes it down",
            (false, _) => "; there is no egress door",
        };
        (verdict.to_owned(), format!("{wall}{door}"))
    });
    Ok(Answer {
        subject: format!("host {}", shown(asked)),
        verdict,
        rule,
        because,
        at,
        cases: Vec::new(),
        enforced_by,
    })
}
