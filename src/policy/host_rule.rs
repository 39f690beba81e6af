//! One rule about a host: how it is written, and what it means by itself.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    addresses::Block,
    hosts::{HostName, HostPattern, NotAName},
};

/// Most examples of a rule, ports, methods and blocks.
const MANY: usize = 1000;
/// The port of a rule that names none.
const HTTPS: u16 = 443;
/// The port of plain HTTP.
const HTTP: u16 = 80;

/// One host, or all below a name, that programs inside may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostRule {
    /// `pypi.org`, or `*.example.org` for all below it.
    pub host: HostPattern,
    /// TCP ports; 443 where none is named. Plain HTTP needs its port (80) here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Whether a tunnel must begin with TLS for that very host. `false` lets any protocol
    /// through, to whomever it really speaks.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub tls: bool,
    /// Methods of plain HTTP; GET and HEAD where none is named. What is within TLS is not seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// Most bytes of the whole run.
    #[serde(default, skip_serializing_if = "ByteCaps::is_empty")]
    pub bytes: ByteCaps,
    /// How fast.
    #[serde(default, skip_serializing_if = "Rate::is_empty")]
    pub rate: Rate,
    /// Where the name may lead: these blocks and no other address. Without it, every address
    /// but the private, local and reserved ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Block>,
    /// A header that the door adds to plain HTTP requests to this host, which it then sends over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderGrant>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// `HOST[:PORT]` that this rule must allow, checked when it is read.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<String>,
    /// `HOST[:PORT]` that this rule must not allow, checked when it is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_match: Vec<String>,
}

/// Caps on bytes of one rule, for the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ByteCaps {
    /// From the inside to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<u64>,
    /// From the host to the inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<u64>,
}

impl ByteCaps {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Rates of one rule; all that it allows counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rate {
    /// Connections (of plain HTTP: requests) a second; further ones are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Bytes a second, both ways together; faster ones wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Rate {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A secret that a door adds to what it sends; programs inside never have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderGrant {
    /// The header's name, for instance `authorization`.
    pub name: String,
    /// The name of the host's variable that holds its whole value.
    pub secret: String,
}

/// A method of HTTP (RFC 9110, 9.1): a token, which is case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

impl Method {
    /// The method.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        match text.as_str() {
            "CONNECT" | "TRACE" => Err(format!("`{text}` is not a method that a rule can allow")),
            _ if plain => Ok(Self(text)),
            _ => Err(format!(
                "`{}` is no method; write it in capitals, as GET",
                text.escape_debug()
            )),
        }
    }
}

impl From<Method> for String {
    fn from(method: Method) -> String {
        method.0
    }
}

impl schemars::JsonSchema for Method {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Method".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[A-Z-]{1,32}$"})
    }
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

impl HostRule {
    /// A rule about a host, with the defaults in all else.
    pub fn about(host: HostPattern) -> Self {
        Self {
            host,
            ports: Vec::new(),
            tls: true,
            methods: Vec::new(),
            bytes: ByteCaps::default(),
            rate: Rate::default(),
            addresses: Vec::new(),
            header: None,
            because: None,
            matches: Vec::new(),
            not_match: Vec::new(),
        }
    }

    /// Its ports.
    pub fn ports(&self) -> &[u16] {
        if self.ports.is_empty() { &[HTTPS] } else { &self.ports }
    }

    /// Whether a port is meant. What gets a header is asked for in the clear, at port 80,
    /// wherever it then goes.
    pub fn opens(&self, port: u16) -> bool {
        self.ports().contains(&port) || (self.header.is_some() && port == HTTP)
    }

    /// Whether a method of plain HTTP is.
    pub fn takes(&self, method: &str) -> bool {
        match self.methods.as_slice() {
            [] => matches!(method, "GET" | "HEAD"),
            some => some.iter().any(|known| known.as_str() == method),
        }
    }

    /// What is wrong with it by itself.
    pub(super) fn fault(&self) -> Option<String> {
        if self.ports.contains(&0) {
            return Some("`ports`: there is no port 0".to_owned());
        }
        if [self.ports.len(), self.methods.len(), self.addresses.len()]
            .iter()
            .any(|n| *n > MANY)
            || self.matches.len() + self.not_match.len() > MANY
        {
            return Some(format!("more than {MANY} entries in one list"));
        }
        if let Some(HeaderGrant { name, secret }) = &self.header {
            let token = |text: &str| {
                text.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            };
            if name.is_empty() || name.len() > 128 || !token(name) {
                return Some("`header.name`: letters, digits, `-` and `_` are expected".to_owned());
            }
            if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
                return Some(format!("`header.name`: `{name}` is the door's own to say"));
            }
            if secret.is_empty() || !token(secret) {
                return Some("`header.secret`: the name of a variable is expected".to_owned());
            }
            if !matches!(self.host, HostPattern::Exact(_)) {
                return Some("`header`: a secret goes to one host, not to all below a name".to_owned());
            }
            if !self.tls {
                return Some("`header`: a secret is not sent in the clear; leave `tls: false` out".to_owned());
            }
        }
        let meant = |text: &String| -> Result<bool, String> {
            let Destination { host, port } = text.parse()?;
            let ports: &[u16] = match &port {
                Some(port) => std::slice::from_ref(port),
                None => self.ports(),
            };
            Ok(self.host.matches(&host) && ports.iter().all(|port| self.opens(*port)))
        };
        for (field, examples, expected) in [("match", &self.matches, true), ("not_match", &self.not_match, false)] {
            for example in examples {
                match meant(example) {
                    Ok(found) if found == expected => {}
                    Ok(_) if expected => return Some(format!("`{field}`: `{example}` is not allowed by this rule")),
                    Ok(_) => return Some(format!("`{field}`: `{example}` is allowed by this rule")),
                    Err(why) => return Some(format!("`{field}`: {why}")),
                }
            }
        }
        None
    }
}

/// Headers that say how a message is framed or where it goes.
const FRAMING: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "expect",
];

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        for (at, port) in self.ports().iter().enumerate() {
            write!(f, "{}{port}", if at == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

/// `HOST[:PORT[,PORT…]][@BLOCK[,BLOCK…]]`, as `--allow-host` has it.
impl FromStr for HostRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, blocks) = match text.split_once('@') {
            Some((name, blocks)) => (name, Some(blocks)),
            None => (text, None),
        };
        // An address has colons of its own; it is refused as what it is.
        let (host, ports) = match name.rsplit_once(':') {
            Some((host, ports)) if !host.contains(':') => (host, Some(ports)),
            _ => (name, None),
        };
        let mut rule = Self::about(host.parse()?);
        for digits in ports.iter().flat_map(|ports| ports.split(',')) {
            rule.ports.push(port(digits)?);
        }
        for block in blocks.iter().flat_map(|blocks| blocks.split(',')) {
            rule.addresses.push(block.parse()?);
        }
        match rule.fault() {
            Some(why) => Err(why),
            None => Ok(rule),
        }
    }
}

fn port(digits: &str) -> Result<u16, String> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse() {
        Ok(port) if plain && port > 0 => Ok(port),
        _ => Err(format!(
            "`{}` is no port; a number from 1 to 65535 is expected",
            digits.escape_debug()
        )),
    }
}

/// A host and perhaps a port, as somebody writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The name.
    pub host: HostName,
    /// The port, where one is named.
    pub port: Option<u16>,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, digits) = match text.rsplit_once(':') {
            Some((host, digits)) if !host.contains(':') => (host, Some(digits)),
            _ => (text, None),
        };
        let named = |why: NotAName| format!("`{}`: {why}", text.escape_debug());
        Ok(Self {
            host: HostName::parse(host).map_err(named)?,
            port: digits.map(port).transpose()?,
        })
    }
}
