//! IP addresses: blocks that a rule may name, the kinds that are never dialled unasked, and
//! the spellings in which a program may hide one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A block of addresses, as `10.0.0.0/8`; a single address stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Block {
    base: IpAddr,
    prefix: u8,
}

impl Block {
    /// Whether an address lies in it. An IPv4 address lies in no IPv6 block, however that
    /// is written.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => masked4(address, self.prefix) == base,
            (IpAddr::V6(base), IpAddr::V6(address)) => masked6(address, self.prefix) == base,
            _ => false,
        }
    }
}

fn masked4(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn masked6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = text.escape_debug();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = address
            .parse()
            .map_err(|_| format!("`{shown}` is no address; write it as 10.0.0.0/8 or fd00::/8"))?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            // `+8` is a number for Rust and none for a network.
            Some(digits) => Some(digits)
                .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|prefix| *prefix <= most)
                .ok_or_else(|| format!("`{shown}`: the length of a prefix is a number up to {most}"))?,
        };
        let block = match base {
            IpAddr::V4(base) => IpAddr::V4(masked4(base, prefix)),
            IpAddr::V6(base) => IpAddr::V6(masked6(base, prefix)),
        };
        if block != base {
            return Err(format!(
                "`{shown}`: bits are set behind the prefix; the block is {block}/{prefix}"
            ));
        }
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl TryFrom<String> for Block {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Block> for String {
    fn from(block: Block) -> String {
        block.to_string()
    }
}

impl schemars::JsonSchema for Block {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Block".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$"})
    }
}

/// Why an address is not dialled unless a rule names a block that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AddressKind {
    /// "This host" (0.0.0.0/8, `::`): Linux takes it for the loopback.
    Unspecified,
    /// The host itself.
    Loopback,
    /// Where clouds answer with the machine's credentials.
    Metadata,
    /// A private network (RFC 1918), or one for benchmarks (RFC 2544).
    Private,
    /// Behind a carrier's translation (RFC 6598).
    Shared,
    /// The same link only (RFC 3927, RFC 4291).
    LinkLocal,
    /// A private network of IPv6 (RFC 4193).
    UniqueLocal,
    /// Many receivers at once.
    Multicast,
    /// An IPv4 address within an IPv6 one: mapped, compatible, translated (NAT64), 6to4, Teredo.
    Embedded,
    /// Given to nobody.
    Reserved,
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "no particular host",
            Self::Loopback => "the host's own loopback",
            Self::Metadata => "a metadata service",
            Self::Private => "a private network",
            Self::Shared => "a carrier's shared network",
            Self::LinkLocal => "the local link",
            Self::UniqueLocal => "a private network (unique local)",
            Self::Multicast => "multicast",
            Self::Embedded => "IPv4 within IPv6",
            Self::Reserved => "reserved",
        })
    }
}

/// Metadata services that do not lie in a block which is refused as a whole anyway, or are
/// to be called by their name (AWS, Azure, GCP: 169.254.169.254; ECS; Alibaba; Oracle; Azure's wire server).
const METADATA: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];
/// AWS's over IPv6.
const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// What kind of address this is; `None` where anybody may be there (IANA's special-purpose
/// registries). Blocks for documentation are such: they lead nowhere, except in networks that
/// use them for names of their own.
pub fn kind(address: IpAddr) -> Option<AddressKind> {
    match address {
        IpAddr::V4(address) => kind4(address),
        IpAddr::V6(address) => kind6(address),
    }
}

fn kind4(address: Ipv4Addr) -> Option<AddressKind> {
    use AddressKind::{LinkLocal, Loopback, Metadata, Multicast, Private, Reserved, Shared, Unspecified};
    if METADATA.contains(&address) {
        return Some(Metadata);
    }
    Some(match address.octets() {
        [0, ..] => Unspecified,
        [127, ..] => Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [198, 18..=19, ..] => Private,
        [100, 64..=127, ..] => Shared,
        [169, 254, ..] => LinkLocal,
        [224..=239, ..] => Multicast,
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => Reserved,
        _ => return None,
    })
}

fn kind6(address: Ipv6Addr) -> Option<AddressKind> {
    use AddressKind::{Embedded, LinkLocal, Loopback, Metadata, Multicast, Reserved, UniqueLocal, Unspecified};
    if address == METADATA6 {
        return Some(Metadata);
    }
    if address == Ipv6Addr::UNSPECIFIED {
        return Some(Unspecified);
    }
    if address == Ipv6Addr::LOCALHOST {
        return Some(Loopback);
    }
    if let Some(inner) = embedded(address) {
        // Called by what it leads to, where that is worth a name.
        return Some(kind4(inner).unwrap_or(Embedded));
    }
    Some(match address.segments() {
        [0xfc00..=0xfdff, ..] => UniqueLocal,
        [0xfe80..=0xfeff, ..] => LinkLocal,
        [0xff00..=0xffff, ..] => Multicast,
        // Teredo hides the address that it leads to.
        [0x2001, 0, ..] => Embedded,
        [0x2000..=0x3fff, ..] => return None,
        _ => Reserved,
    })
}

/// The IPv4 address in an IPv6 one: RFC 4291 (compatible, mapped), RFC 2765, RFC 6052 and
/// RFC 8215 (translated), RFC 3056 (6to4).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => last(high, low),
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => last(high, low),
        [0x2002, high, low, ..] => last(high, low),
        _ => None,
    }
}

/// The address that a text spells, in any of the ways that some program would take for one:
/// inet_aton(3) (short, hexadecimal, octal, one number), brackets, a zone, a final dot,
/// percent-encoding, digits and dots of other scripts. What is no name is refused either
/// way; this only says what it was.
pub fn spelled(text: &str) -> Option<IpAddr> {
    // Longer ones are no address in any spelling.
    if text.len() > 400 {
        return None;
    }
    let plain: String = percent_decoded(text).chars().filter_map(folded).collect();
    let plain = plain.trim();
    let bare = plain.strip_suffix('.').unwrap_or(plain);
    let bare = bare.strip_prefix('[').unwrap_or(bare);
    let bare = bare.strip_suffix(']').unwrap_or(bare);
    let bare = bare.split('%').next().unwrap_or(bare);
    if let Ok(address) = bare.parse() {
        return Some(IpAddr::V6(address));
    }
    inet_aton(bare).map(IpAddr::V4)
}

/// One pass of `%41`; what is malformed stays.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What domain names in other scripts are mapped to (UTS 46), as far as it gives digits, dots
/// and hexadecimal letters; what is left out of a name entirely gives nothing.
fn folded(c: char) -> Option<char> {
    let shifted = |first: char, to: char| {
        let distance = u32::from(c) - u32::from(first);
        char::from_u32(u32::from(to) + distance)
    };
    match c {
        '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => None,
        '\u{3002}' | '\u{ff61}' | '\u{2024}' => Some('.'),
        '\u{ff01}'..='\u{ff5e}' => shifted('\u{ff01}', '!'),
        '\u{2460}'..='\u{2468}' => shifted('\u{2460}', '1'),
        '\u{24ea}' | '\u{2070}' | '\u{2080}' => Some('0'),
        '\u{b9}' => Some('1'),
        '\u{b2}' => Some('2'),
        '\u{b3}' => Some('3'),
        '\u{2074}'..='\u{2079}' => shifted('\u{2074}', '4'),
        '\u{2081}'..='\u{2089}' => shifted('\u{2081}', '1'),
        '\u{660}'..='\u{669}' => shifted('\u{660}', '0'),
        '\u{1d7ce}'..='\u{1d7ff}' => char::from_digit((u32::from(c) - 0x1d7ce) % 10, 10),
        c => Some(c),
    }
}

/// One to four numbers, the last for all that is left (inet_aton(3)).
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let (last, first) = parts.split_last()?;
    if first.len() > 3 {
        return None;
    }
    let mut bits = 0u32;
    for part in first {
        let octet = number(part).filter(|n| *n < 256)?;
        bits = bits << 8 | octet;
    }
    let left = 32 - 8 * first.len() as u32;
    let rest = number(last).filter(|n| left == 32 || *n < 1 << left)?;
    let bits = bits.checked_shl(left).unwrap_or(0) | rest;
    Some(Ipv4Addr::from_bits(bits))
}

fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    if digits.is_empty() && radix == 16 {
        return Some(0);
    }
    if digits.is_empty() || digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
#[path = "addresses_tests.rs"]
mod tests;
