//! Where something lies on a network: without the secrets that were written into it.

use std::{fmt, net::IpAddr};

use base64::Engine as _;
use reqwest::Url;

use crate::record::Secret;

/// An `http` or `https` URL. User and password are kept apart, and never shown.
#[derive(Clone, Debug)]
pub struct Address {
    url: Url,
    basic: Option<Secret>,
}

impl Address {
    /// Takes what stands before `@` out of a URL (RFC 3986, 3.2.1).
    ///
    /// # Errors
    /// When it is no http or https URL with a host; the text is not repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|why| format!("it is no URL: {why}"))?;
        Self::of(url)
    }

    fn of(mut url: Url) -> Result<Self, String> {
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("it is no http or https URL".to_owned());
        }
        let decoded = |text: &str| String::from_utf8_lossy(&percent_decoded(text.as_bytes())).into_owned();
        let (user, password) = (decoded(url.username()), url.password().map(decoded));
        let basic = (!user.is_empty() || password.is_some())
            .then(|| Secret::new(format!("{user}:{}", password.unwrap_or_default())));
        // Neither fails where there is a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        Ok(Self { url, basic })
    }

    /// The URL without user and password.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Value of an `Authorization` header for the user and password that were in it.
    pub fn authorization(&self) -> Option<Secret> {
        self.basic.as_ref().map(|pair| basic(pair.expose()))
    }

    /// What must not be shown: the password, and a user that stands alone, which is a token.
    pub fn secrets(&self) -> Vec<Secret> {
        let Some(pair) = &self.basic else { return Vec::new() };
        let (user, password) = pair.expose().split_once(':').unwrap_or((pair.expose(), ""));
        let shown = if password.is_empty() { user } else { password };
        vec![Secret::new(shown), basic(pair.expose())]
    }

    /// Another URL with the same credentials if it has the same origin, else without any.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn join(&self, reference: &str) -> Result<Self, String> {
        let url = self.url.join(reference).map_err(|why| format!("it is no URL: {why}"))?;
        let mut joined = Self::of(url)?;
        if joined.basic.is_none() && joined.origin() == self.origin() {
            joined.basic.clone_from(&self.basic);
        }
        Ok(joined)
    }

    /// The same server, with a path of which every segment is taken as it is.
    pub fn with_segments<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut other = self.clone();
        other.url.set_query(None);
        if let Ok(mut path) = other.url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        other
    }

    /// The same with a query.
    pub fn with_query(&self, query: &str) -> Self {
        let mut other = self.clone();
        other.url.set_query(Some(query));
        other
    }

    /// Scheme, host and port: whom credentials are for.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Whether what travels there can be read on the way: plain http to another machine.
    pub fn is_exposed(&self) -> bool {
        self.url.scheme() == "http" && !self.is_loopback()
    }

    /// Whether it is on this machine.
    fn is_loopback(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        }
    }
}

/// As it may be shown: without user, password and query, which may hold a signature.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        if shown.query().is_some() {
            shown.set_query(Some("***"));
        }
        f.write_str(shown.as_str())
    }
}

/// Value of an `Authorization` header (RFC 7617).
pub(super) fn basic(pair: &str) -> Secret {
    let pair = base64::engine::general_purpose::STANDARD.encode(pair);
    Secret::new(format!("Basic {pair}"))
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits make one byte.
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// A place that ssh(1) reaches: `[user@]host[:port]` and a path there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAddress {
    /// The user there.
    pub user: Option<String>,
    /// The host, as ssh takes it.
    pub host: String,
    /// The port, where it is not ssh's own choice.
    pub port: Option<u16>,
    /// The path there.
    pub path: String,
}

impl SshAddress {
    /// `user@host:path`, as scp(1) has it, or `ssh://[user@]host[:port]/path`.
    ///
    /// # Errors
    /// When it is neither, holds a password, or a part could be taken for an option.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = match text.strip_prefix("ssh://") {
            Some(_) => Self::of_url(text)?,
            None => {
                let (place, path) = text.split_once(':').ok_or("it has no path behind a colon")?;
                let (user, host) = match place.rsplit_once('@') {
                    Some((user, host)) => (Some(user.to_owned()), host),
                    None => (None, place),
                };
                Self {
                    user,
                    host: host.to_owned(),
                    port: None,
                    path: path.to_owned(),
                }
            }
        };
        let plain = |text: &str, also: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
        };
        if !plain(&found.host, "._-:") || !found.user.as_deref().is_none_or(|user| plain(user, "._-+")) {
            return Err("its user or host has characters that names do not have".to_owned());
        }
        let path = found.path.clone();
        found.with_path(path)
    }

    fn of_url(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|why| format!("it is no URL: {why}"))?;
        if url.password().is_some() {
            return Err("ssh takes no password from a URL; use a key or an agent".to_owned());
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let path = String::from_utf8(percent_decoded(url.path().as_bytes())).map_err(|_| "its path is not UTF-8")?;
        Ok(Self {
            user: Some(url.username().to_owned()).filter(|user| !user.is_empty()),
            host: host.to_owned(),
            port: url.port(),
            // `/~user/…` is relative to that user's home, as git has it.
            path: path.strip_prefix("/~").map_or(path.clone(), |rest| format!("~{rest}")),
        })
    }

    /// Another path of the same server.
    ///
    /// # Errors
    /// When it is none, or could be taken for something else.
    pub fn with_path(&self, path: String) -> Result<Self, String> {
        match path.is_empty() || path.starts_with(['-', ':']) || path.contains(char::is_control) {
            true => Err("its path cannot be one".to_owned()),
            false => Ok(Self { path, ..self.clone() }),
        }
    }
}

impl fmt::Display for SshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        write!(f, "{slash}{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_and_kept_for_their_origin() {
        let address = Address::parse("https://me:p%40ss@host.example/a?sig=x#f").expect("parses");
        assert_eq!(address.to_string(), "https://host.example/a?***");
        let header = address.authorization().expect("there is one");
        assert_eq!(header.expose(), basic("me:p@ss").expose());
        assert!(address.secrets().iter().any(|secret| secret.expose() == "p@ss"));
        let same = address.join("/b").expect("joins");
        assert!(same.authorization().is_some() && same.url().path() == "/b");
        for other in [
            "https://other.example/b",
            "https://host.example:444/",
            "http://host.example/",
        ] {
            assert!(address.join(other).expect("joins").authorization().is_none(), "{other}");
        }
        assert!(address.join("file:///etc/passwd").is_err());
        for text in ["ftp://h/x", "https://", "h/x", "file:///x"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        let token = Address::parse("https://tok3n@h/").expect("parses");
        assert_eq!(token.secrets()[0].expose(), "tok3n");
    }

    #[test]
    fn plain_http_is_exposed_but_on_this_machine() {
        for (text, exposed) in [
            ("http://a.example/", true),
            ("http://10.0.0.1/", true),
            ("https://a.example/", false),
            ("http://127.0.0.1:8/", false),
            ("http://localhost/", false),
            ("http://[::1]/", false),
            ("http://127.0.0.1.evil.example/", true),
        ] {
            assert_eq!(Address::parse(text).expect(text).is_exposed(), exposed, "{text}");
        }
    }

    #[test]
    fn segments_cannot_climb() {
        let base = Address::parse("https://h/api/").expect("parses");
        let of = |segments: &[&str]| base.with_segments(segments.iter().copied()).url().as_str().to_owned();
        assert_eq!(of(&["a b", "c/d?e#f"]), "https://h/api/a%20b/c%2Fd%3Fe%23f");
        assert_eq!(of(&["..", "x"]), "https://h/api/x");
    }

    #[test]
    fn ssh_places_are_read_and_nothing_passes_for_an_option() {
        let of = |text: &str| SshAddress::parse(text).expect(text).to_string();
        assert_eq!(of("git@github.com:o/r.git"), "ssh://git@github.com/o/r.git");
        assert_eq!(of("ssh://me@h:2222/~me/r%20x"), "ssh://me@h:2222/~me/r x");
        assert_eq!(of("ssh://[::1]/r"), "ssh://[::1]/r");
        for bad in [
            "ssh://-oProxyCommand=x/r",
            "-oProxyCommand=x:r",
            "a@-b:r",
            "-a@b:r",
            "h:-r",
            "h:",
            "ssh://u:p@h/r",
            "h:a\nb",
            "h h:r",
            "nothing",
        ] {
            assert!(SshAddress::parse(bad).is_err(), "{bad}");
        }
    }
}
