//! Tests of addresses: blocks, kinds, spellings.

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn a_block_holds_its_own_addresses_and_no_others() {
    let holds = |block: &str, text: &str| block.parse::<Block>().expect(block).contains(address(text));
    for (block, inside, outside) in [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("0.0.0.0/0", "255.255.255.255", "::"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("fd00::/8", "fdff::1", "fc00::1"),
        ("::1", "::1", "::2"),
        ("::/0", "ffff::", "0.0.0.0"),
        ("127.0.0.0/8", "127.0.0.1", "::ffff:127.0.0.1"),
    ] {
        assert!(holds(block, inside) && !holds(block, outside), "{block}");
    }
    for bad in [
        "",
        "10/8",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.1/8",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "10.0.0.0/8/8",
        "a.example",
    ] {
        assert!(bad.parse::<Block>().is_err(), "{bad}");
    }
    let why = "10.0.0.1/8".parse::<Block>().expect_err("bits behind the prefix");
    assert!(why.contains("10.0.0.0/8"), "{why}");
}

#[test]
fn every_address_that_leads_inside_has_a_kind() {
    use AddressKind::*;
    for (text, expected) in [
        ("0.0.0.0", Unspecified),
        ("0.1.2.3", Unspecified),
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("10.1.2.3", Private),
        ("172.16.0.1", Private),
        ("172.31.255.255", Private),
        ("192.168.1.1", Private),
        ("198.19.0.1", Private),
        ("100.64.0.1", Shared),
        ("100.127.255.255", Shared),
        ("169.254.1.1", LinkLocal),
        ("169.254.169.254", Metadata),
        ("169.254.170.2", Metadata),
        ("100.100.100.200", Metadata),
        ("168.63.129.16", Metadata),
        ("192.0.0.8", Reserved),
        ("192.88.99.1", Reserved),
        ("224.0.0.1", Multicast),
        ("240.0.0.1", Reserved),
        ("255.255.255.255", Reserved),
        ("::", Unspecified),
        ("::1", Loopback),
        ("::7f00:1", Loopback),
        ("::ffff:127.0.0.1", Loopback),
        ("::ffff:8.8.8.8", Embedded),
        ("::8.8.8.8", Embedded),
        ("::ffff:0:10.0.0.1", Private),
        ("::ffff:169.254.169.254", Metadata),
        ("64:ff9b::a9fe:a9fe", Metadata),
        ("64:ff9b::8.8.8.8", Embedded),
        ("64:ff9b:1::10.0.0.1", Private),
        ("2002:7f00:1::", Loopback),
        ("2002:808:808::1", Embedded),
        ("2001::1", Embedded),
        ("fc00::1", UniqueLocal),
        ("fd12::1", UniqueLocal),
        ("fd00:ec2::254", Metadata),
        ("fe80::1", LinkLocal),
        ("fec0::1", LinkLocal),
        ("ff02::1", Multicast),
        ("100::1", Reserved),
        ("5f00::1", Reserved),
        ("4000::1", Reserved),
    ] {
        assert_eq!(kind(address(text)), Some(expected), "{text}");
    }
    for public in [
        "8.8.8.8",
        "172.15.0.1",
        "172.32.0.1",
        "100.63.0.1",
        "100.128.0.1",
        "198.17.0.1",
        "198.20.0.1",
        "192.0.1.1",
        "223.255.255.255",
        "203.0.113.80",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2001:db8::1",
    ] {
        assert_eq!(kind(address(public)), None, "{public}");
    }
}

#[test]
fn an_address_is_seen_in_every_spelling() {
    for text in [
        "169.254.169.254",
        "169.254.169.254.",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::FFFF:A9FE:A9FE]",
        "0xa9fea9fe",
        "0XA9FEA9FE",
        "0xa9.0xfe.0xa9.0xfe",
        "2852039166",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.16689662",
        "169.254.0xa9.0376",
        "025177524776",
        "%31%36%39.254.169.254",
        "169%2e254%2E169%2e254",
        "１６９.２５４.１６９.２５４",
        "169。254。169。254",
        "①⑥⑨.②⑤④.①⑥⑨.②⑤④",
        "169.254.169.2\u{200b}54",
        "[64:ff9b::169.254.169.254]",
        "[fe80::1%25eth0]",
        "[fd00:ec2::254]",
    ] {
        let found = spelled(text).unwrap_or_else(|| panic!("{text}"));
        let expected = if text.contains("fe80") {
            AddressKind::LinkLocal
        } else {
            AddressKind::Metadata
        };
        assert_eq!(kind(found), Some(expected), "{text}");
    }
    for (text, expected) in [
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("4294967295", "255.255.255.255"),
        ("[::1]", "::1"),
    ] {
        assert_eq!(spelled(text), Some(address(expected)), "{text}");
    }
    for name in [
        "",
        "a.example",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.256",
        "4294967296",
        "0x1ffffffff",
        "08.1",
        "1..2",
        "dead.beef",
        "169.254.169.254.nip.example",
    ] {
        assert_eq!(spelled(name), None, "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in any::<String>(), block in any::<String>()) {
        let _ = spelled(&text);
        let _ = block.parse::<Block>();
    }

    #[test]
    fn dotted_and_single_numbers_mean_the_same(bits in any::<u32>()) {
        let address = Ipv4Addr::from_bits(bits);
        let [a, b, c, d] = address.octets();
        for text in [
            address.to_string(),
            bits.to_string(),
            format!("{bits:#x}"),
            format!("0{bits:o}"),
            format!("{a:#x}.0{b:o}.{c}.{d:#x}."),
            format!("{a}.{b}.{}", u32::from(c) << 8 | u32::from(d)),
            format!("[::ffff:{address}]"),
        ] {
            let expected = if text.starts_with('[') { kind(IpAddr::V6(address.to_ipv6_mapped())) } else { kind4(address) };
            let found = spelled(&text).expect("an address");
            prop_assert_eq!(kind(found), expected, "{}", text);
        }
    }
}
