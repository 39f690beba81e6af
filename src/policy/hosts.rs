//! Host names as newtypes: what a program may ask for, and what a rule may name.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::addresses::spelled;

/// Longest name, without the final dot (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 253;
/// Longest label.
const LONGEST_LABEL: usize = 63;

/// A host's name: ASCII letters, digits, `-` and `_`, in lower case, without a final dot. It
/// is never an address in any spelling that a program might take for one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// An address, in whatever spelling.
    #[error("an address ({0}) and no name")]
    Address(IpAddr),
    /// Something else; in one line, without the text.
    #[error("{0}")]
    Malformed(&'static str),
}

impl HostName {
    /// Reads one.
    ///
    /// # Errors
    /// What it is instead.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        if let Some(address) = spelled(text) {
            return Err(NotAName::Address(address));
        }
        let wrong = |why| Err(NotAName::Malformed(why));
        if !text.is_ascii() {
            return wrong("a name that is not ASCII; ask for it in its `xn--` form");
        }
        let bare = text.strip_suffix('.').unwrap_or(text);
        if bare.is_empty() {
            return wrong("no name at all");
        }
        if bare.len() > LONGEST_NAME {
            return wrong("a name of more than 253 bytes");
        }
        for label in bare.split('.') {
            if label.is_empty() || label.len() > LONGEST_LABEL {
                return wrong("a name with a part that is empty or longer than 63 bytes");
            }
            if !label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            {
                return wrong("a name with other characters than letters, digits, `-`, `_` and `.`");
            }
        }
        // Resolvers and URL parsers differ on what a final number is (WHATWG URL, "ends in a number").
        let last = bare.rsplit('.').next().unwrap_or(bare);
        let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
        if last.bytes().all(|b| b.is_ascii_digit())
            || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return wrong("a name that ends in a number, which some take for an address");
        }
        Ok(Self(bare.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|why| format!("`{}`: {why}", text.escape_debug()))
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> String {
        name.0
    }
}

/// Which hosts a rule is about: one name (`pypi.org`), or all below one (`*.example.org`,
/// which is not `example.org` itself).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// That name alone.
    Exact(HostName),
    /// Every name that ends in it after a dot.
    Below(HostName),
}

impl HostPattern {
    /// Whether a name is meant.
    pub fn matches(&self, name: &HostName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Below(suffix) => {
                let before = name.as_str().strip_suffix(suffix.as_str());
                before.is_some_and(|before| before.len() > 1 && before.ends_with('.'))
            }
        }
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (suffix, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = HostName::parse(name).map_err(|why| {
            let remedy = match why {
                NotAName::Address(_) => "; rules are about names, and `addresses` says where a name may lead",
                NotAName::Malformed(_) => "; a host is `name.example`, or `*.example` for all below it",
            };
            format!("`{}`: {why}{remedy}", text.escape_debug())
        })?;
        Ok(if suffix { Self::Below(name) } else { Self::Exact(name) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> String {
        pattern.to_string()
    }
}

impl schemars::JsonSchema for HostPattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HostPattern".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(\\*\\.)?[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*\\.?$"})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for text in ["Pypi.ORG", "pypi.org", "pypi.org.", "PYPI.ORG."] {
            assert_eq!(HostName::parse(text).expect(text).as_str(), "pypi.org");
        }
        for text in [
            "localhost",
            "xn--bcher-kva.example",
            "_dns.a-b.example",
            "1e100.net",
            "0x.example",
        ] {
            assert!(HostName::parse(text).is_ok(), "{text}");
        }
        let long = format!("{}.example", "a".repeat(64));
        let longer = format!("{}.", "a".repeat(63)).repeat(4);
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "a\0b",
            "a%2eb",
            "büch.example",
            "a:b",
            "a.1",
            "a.0x1f",
            "a.0x",
            "*",
            "*.a",
            "a@b",
            "[a]",
            &long,
            &longer,
        ] {
            assert!(matches!(HostName::parse(text), Err(NotAName::Malformed(_))), "{text}");
        }
        for text in [
            "127.0.0.1",
            "0x7f.1",
            "[::1]",
            "::1",
            "2130706433",
            "１２７.1",
            "127.0.0.1.",
        ] {
            assert!(matches!(HostName::parse(text), Err(NotAName::Address(_))), "{text}");
        }
    }

    #[test]
    fn a_pattern_means_one_name_or_all_below_one() {
        let matches = |pattern: &str, name: &str| {
            let pattern: HostPattern = pattern.parse().expect(pattern);
            pattern.matches(&HostName::parse(name).expect(name))
        };
        assert!(matches("Pypi.org", "pypi.ORG."));
        assert!(!matches("pypi.org", "a.pypi.org") && !matches("pypi.org", "xpypi.org"));
        assert!(matches("*.a.example", "b.a.example") && matches("*.a.example", "c.b.a.example"));
        assert!(!matches("*.a.example", "a.example") && !matches("*.a.example", "ba.example"));
        for bad in [
            "*",
            "**.a",
            "a.*",
            "*a.example",
            "*.",
            "127.0.0.1",
            "*.1",
            "a:443",
            "https://a.example",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
        let why = "127.1".parse::<HostPattern>().expect_err("an address");
        assert!(why.contains("`addresses`"), "{why}");
    }

    proptest! {
        #[test]
        fn what_is_read_is_plain_and_reads_again(text in "\\PC*") {
            if let Ok(name) = HostName::parse(&text) {
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b)));
                prop_assert_eq!(HostName::parse(name.as_str()), Ok(name));
            }
        }

        #[test]
        fn a_suffix_is_never_its_own(name in "[a-z]{1,5}(\\.[a-z]{1,5}){0,3}", label in "[a-z0-9-]{1,5}") {
            let pattern: HostPattern = format!("*.{name}").parse().expect("a pattern");
            prop_assert!(!pattern.matches(&HostName::parse(&name).expect("a name")));
            let below = HostName::parse(&format!("{label}.{name}")).expect("a name");
            prop_assert!(pattern.matches(&below));
            let beside = HostName::parse(&format!("{label}{name}")).expect("a name");
            prop_assert!(!pattern.matches(&beside));
        }
    }
}
