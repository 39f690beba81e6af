//! Tests of the network rules.

use proptest::prelude::*;

use super::{super::host_rule::Destination, *};

fn rules(text: &str) -> Result<NetworkRules, String> {
    let rules: NetworkRules = serde_yaml::from_str(text).map_err(|why| why.to_string())?;
    rules.check().map_err(|why| why.to_string())?;
    Ok(rules)
}

fn verdict<'a>(rules: &'a NetworkRules, host: &str, port: u16) -> HostVerdict<'a> {
    rules.verdict(&HostName::parse(host).expect(host), port)
}

#[test]
fn the_first_rule_about_a_host_and_a_port_counts() {
    let rules = rules(
        "mode: allow\nrules:\n  - {host: pypi.org}\n  - {host: '*.example.org', ports: [80, 443]}\n  \
         - {host: a.example.org, ports: [8080], tls: false}\n",
    )
    .expect("well formed");
    let by = |host, port| match verdict(&rules, host, port) {
        HostVerdict::Allow(index, _) => Some(index),
        HostVerdict::Deny(_) => None,
    };
    assert_eq!(by("pypi.org", 443), Some(0));
    assert_eq!(by("a.example.org", 80), Some(1));
    assert_eq!(by("a.example.org", 8080), Some(2));
    assert!(matches!(
        verdict(&rules, "pypi.org", 22),
        HostVerdict::Deny(HostDenial::Port(0, _))
    ));
    assert_eq!(
        verdict(&rules, "example.org", 443),
        HostVerdict::Deny(HostDenial::NoRule)
    );
}

#[test]
fn nothing_but_allow_lets_anybody_out() {
    for (mode, expected) in [
        (None, NetworkMode::None),
        (Some(NetworkMode::None), NetworkMode::None),
        (Some(NetworkMode::Model), NetworkMode::Model),
    ] {
        let rules = NetworkRules {
            mode,
            rules: vec!["pypi.org".parse().expect("a rule")],
        };
        let denied = HostVerdict::Deny(HostDenial::Mode(expected));
        assert_eq!(verdict(&rules, "pypi.org", 443), denied);
    }
    assert!(NetworkMode::None < NetworkMode::Model && NetworkMode::Model < NetworkMode::Allow);
}

#[test]
fn a_rule_is_written_in_one_word() {
    let rule: HostRule = "Registry.Example:443,8443@10.0.0.0/8,fd00::/8".parse().expect("a rule");
    assert_eq!(rule.to_string(), "registry.example:443,8443");
    assert_eq!(rule.addresses.len(), 2);
    let rule: HostRule = "*.a.example".parse().expect("a rule");
    assert_eq!((rule.ports(), rule.tls), (&[443][..], true));
    for bad in [
        "",
        "a:",
        "a:0",
        "a:65536",
        "a:+1",
        "a:1,",
        "a@",
        "a@10.0.0.1/8",
        "127.0.0.1",
        "[::1]:443",
        "::1",
        "*",
        "http://a",
        "a:443:1",
    ] {
        assert!(bad.parse::<HostRule>().is_err(), "{bad}");
    }
}

#[test]
fn mistakes_are_refused_by_name() {
    for (text, expected) in [
        ("mode: open", "unknown variant"),
        ("rules: [{hosts: a}]", "unknown field"),
        ("rules: [{host: '*'}]", "a host is"),
        ("rules: [{host: 10.0.0.1}]", "`addresses`"),
        ("rules: [{host: a, ports: [0]}]", "no port 0"),
        ("rules: [{host: a, methods: [get]}]", "in capitals"),
        ("rules: [{host: a, methods: [CONNECT]}]", "CONNECT"),
        ("rules: [{host: a, addresses: [10.0.0.1/8]}]", "10.0.0.0/8"),
        ("rules: [{host: a, rate: {speed: 1}}]", "unknown field"),
        ("rules: [{host: a, bytes: {up: -1}}]", "up"),
        ("rules: [{host: '*.a', header: {name: x, secret: X}}]", "one host"),
        (
            "rules: [{host: a, tls: false, header: {name: x, secret: X}}]",
            "in the clear",
        ),
        ("rules: [{host: a, header: {name: Host, secret: X}}]", "the door's own"),
        ("rules: [{host: a, header: {name: 'x: y', secret: X}}]", "header.name"),
        ("rules: [{host: a, header: {name: x, secret: ''}}]", "header.secret"),
        (
            "rules: [{host: a}, {host: b.example, match: [c.example]}]",
            "network rule 2 (b.example:443): `match`",
        ),
        (
            "rules: [{host: b.example, not_match: ['b.example:443']}]",
            "is allowed by this rule",
        ),
        ("rules: [{host: b.example, match: ['b.example:22']}]", "is not allowed"),
        ("rules: [{host: b.example, match: ['0x7f.1']}]", "127.0.0.1"),
    ] {
        let why = rules(text).expect_err(text);
        assert!(why.contains(expected), "{text}: {why}");
    }
    rules(
        "rules: [{host: '*.b.example', ports: [80], methods: [GET, POST], because: b, match: ['a.b.example', \
         'a.b.example:80'], not_match: [b.example, 'a.b.example:443']}]",
    )
    .expect("its examples hold");
}

#[test]
fn methods_of_plain_http_are_those_that_only_read_unless_they_are_named() {
    let rule: HostRule = "a:80".parse().expect("a rule");
    assert!(rule.takes("GET") && rule.takes("HEAD") && !rule.takes("POST") && !rule.takes("get"));
    let rules = rules("rules: [{host: a, methods: [POST]}]").expect("well formed");
    assert!(rules.rules[0].takes("POST") && !rules.rules[0].takes("GET"));
}

#[test]
fn what_gets_a_header_is_asked_for_in_the_clear() {
    let rules =
        rules("mode: allow\nrules: [{host: a, header: {name: authorization, secret: TOKEN}}]").expect("well formed");
    assert!(matches!(verdict(&rules, "a", 80), HostVerdict::Allow(0, _)));
    assert!(matches!(verdict(&rules, "a", 8080), HostVerdict::Deny(_)));
}

proptest! {
    #[test]
    fn no_text_is_too_odd_for_a_rule(text in any::<String>()) {
        let _ = text.parse::<HostRule>();
        let _ = text.parse::<Destination>();
    }

    #[test]
    fn rules_read_what_they_write(host in "(\\*\\.)?[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", ports in prop::collection::vec(1u16.., 0..3)) {
        let rule = HostRule { ports, ..HostRule::about(host.parse().expect("a pattern")) };
        let rules = NetworkRules { mode: Some(NetworkMode::Allow), rules: vec![rule.clone()] };
        let text = serde_json::to_string(&rules).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<NetworkRules>(&text).expect("reads"), rules);
        let read: HostRule = rule.to_string().parse().expect("reads");
        prop_assert_eq!(read.ports(), rule.ports());
    }
}
