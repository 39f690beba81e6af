//! Files as they are read, and layers as they are put together.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::policy::{Limits, Phase, Tier};

/// A directory with one host file and one of named policies.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir(dir.path().join("named")).expect("mkdir");
        Self(dir)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("write");
        path.display().to_string()
    }

    fn host(&self) -> HostPlaces {
        HostPlaces {
            files: vec![self.0.path().join("host.yml")],
            named: vec![self.0.path().join("named")],
        }
    }

    fn refusal(&self, text: &str) -> String {
        let file = self.file("p.yml", text);
        let why = Policy::alone(&file, &self.host()).expect_err(text).to_string();
        why.strip_prefix(&file)
            .map_or(why.clone(), |rest| rest.trim_start_matches(':').to_owned())
    }
}

#[test]
fn the_shipped_policies_hold_and_say_what_they_are_for() {
    for name in NAMES {
        let sources = load(name, &HostPlaces::default()).unwrap_or_else(|why| panic!("{name}: {why}"));
        let source = sources.last().expect("itself");
        assert!(source.purpose().is_some_and(|text| !text.contains('\n')), "{name}");
        let text = shipped_text(name).expect("shipped");
        assert!(text.starts_with("# "), "{name} is commented");
    }
    assert_eq!(load("default", &HostPlaces::default()).expect("reads").len(), 1);
}

#[test]
fn the_default_gives_every_value_but_the_networks_and_those_are_the_programs_own() {
    let policy = Policy::shipped().expect("holds");
    for name in SettingName::ALL
        .into_iter()
        .filter(|name| *name != SettingName::Network)
    {
        assert!(policy.setting(name).is_some(), "{name}");
    }
    let limits = Limits::default();
    for (name, value) in [
        (SettingName::Memory, limits.memory_bytes),
        (SettingName::Processes, limits.processes),
        (SettingName::FileSize, limits.file_bytes),
        (SettingName::OpenFiles, limits.open_files),
    ] {
        assert_eq!(policy.number(name), Some(value), "{name}");
    }
    assert_eq!(limits.cpu, None);
    assert_eq!(
        policy.setting(SettingName::Cpu).expect("said").value,
        SettingValue::Unlimited
    );
}

#[test]
fn later_layers_win_and_rules_come_together() {
    let bench = Bench::new();
    bench.file(
        "host.yml",
        "version: 1\nsandbox:\n  limits: {memory: 1G, processes: 100}\n  images: ['a/*', b]\nguards:\n  protected: [{path: x, because: mine}]\nnetwork:\n  rules: [{host: a.example}]\n",
    );
    let named = bench.file(
        "n.yml",
        "version: 1\nsandbox:\n  limits:\n    memory: 2G\n    because: larger\n  images: [c]\nguards:\n  protected: [{path: y, phases: [execute-step]}]\nnetwork:\n  mode: allow\n  rules: [{host: b.example}]\n",
    );
    let policy = Policy::of_host(&bench.host(), Some(&named)).expect("holds");
    let memory = policy.setting(SettingName::Memory).expect("said");
    assert_eq!(memory.value, SettingValue::Bytes(2 << 30));
    assert_eq!(
        (memory.origin.to_string(), memory.because.as_deref()),
        (format!("{named}:4:13"), Some("larger"))
    );
    assert_eq!(policy.number(SettingName::Processes), Some(100));
    assert_eq!(policy.number(SettingName::Disk), Some(4 << 30));
    let words: Vec<_> = policy
        .images()
        .words
        .iter()
        .map(|said| said.value.as_str().to_owned())
        .collect();
    assert_eq!(words, ["c"], "a list of names takes the place of the one below");
    let paths: Vec<_> = policy
        .protected()
        .iter()
        .map(|said| said.value.path.to_string())
        .collect();
    assert_eq!(paths, ["x", "y"]);
    let path = |text: &str| crate::names::RelPath::new(text).expect("a path");
    let y = &policy.protected()[1].value;
    assert!(y.covers(Phase::ExecuteStep, &path("y/z")) && !y.covers(Phase::PlanUpdate, &path("y")));
    let hosts: Vec<_> = policy.network().rules.iter().map(ToString::to_string).collect();
    assert_eq!(
        hosts,
        ["b.example:443", "a.example:443"],
        "the higher layer's rules come first"
    );
    let layers: Vec<_> = policy.layers().iter().map(|(layer, _)| *layer).collect();
    assert_eq!(layers, [Layer::Shipped, Layer::Host, Layer::Named]);
}

#[test]
fn what_does_not_hold_is_named_with_its_place() {
    let bench = Bench::new();
    for (text, expected) in [
        ("version: 2\n", "1:10: `version` must be the integer 1, found `2`"),
        ("purpose: x\n", "1:1: the file lacks `version`"),
        (
            "version: 1\nsandbx: {}\n",
            "2:1: unknown key `sandbx`, did you mean `sandbox`?",
        ),
        (
            "version: 1\nsandbox:\n  limits: {memroy: 1G}\n",
            "3:12: unknown key `memroy`, did you mean `memory`?",
        ),
        (
            "version: 1\nsandbox: {limits: {memory: 4GB}}\n",
            "2:28: `sandbox.limits.memory`: expected a number of bytes, or one with K, M, G or T",
        ),
        (
            "version: 1\nsandbox: {min_tier: none}\n",
            "2:21: `sandbox.min_tier` must be one of `landlock`, `namespaces-no-proc`, `namespaces`, `namespaces-cgroup`, found `none`",
        ),
        (
            "version: 1\nsandbox: {limits: {processes: 8}}\n",
            "2:31: `sandbox.limits.processes` must be at least 64",
        ),
        (
            "version: 1\ntime: {run: 0}\n",
            "2:13: `time.run`: expected 1 to 2592000",
        ),
        (
            "version: 1\nagent: {tokens: many}\n",
            "2:17: `agent.tokens` must be a number of 1 or more, or `unlimited`, found string \"many\"",
        ),
        (
            "version: 1\nguards: {protected: [{path: ../x}]}\n",
            "2:29: `guards.protected[0].path`: `../x` climbs out of the tree with `..`",
        ),
        (
            "version: 1\nnetwork: {rules: [{host: 10.0.0.1}]}\n",
            "2:26: `network.rules[0].host`: `10.0.0.1`: an address (10.0.0.1) and no name; rules are about names, and `addresses` says where a name may lead",
        ),
        (
            "version: 1\nextends: nothing-like-it\n",
            "2:10: `extends`: there is no policy `nothing-like-it`; there are benchmark, ci, default, strict, system, and files by their path",
        ),
    ] {
        assert_eq!(bench.refusal(text), expected, "{text}");
    }
}

#[test]
fn examples_are_tried_when_a_file_is_read() {
    let bench = Bench::new();
    let text = "version: 1\nguards:\n  protected:\n    - path: 'a/*.py'\n      match: [a/x.py, a/b/x.py]\n      not_match: [a/y.py]\n      because: b\n";
    let file = bench.file("p.yml", text);
    let Err(PolicyError::Malformed(problems)) = load(&file, &bench.host()) else {
        panic!("must be refused")
    };
    let shown: Vec<String> = problems
        .iter()
        .map(|p| format!("{}:{}: {}", p.line, p.column, p.message))
        .collect();
    assert_eq!(
        shown,
        [
            "5:23: `a/b/x.py` is an example of what `a/*.py` matches, and it does not match",
            "6:19: `a/y.py` is an example of what `a/*.py` does not match, and it matches",
        ]
    );
    let words = "version: 1\nenvironment:\n  stages:\n    - {pattern: 'HF_*', match: [HFX], not_match: [A]}\n";
    assert!(
        bench.refusal(words).starts_with("4:33: `HFX` is an example"),
        "{}",
        bench.refusal(words)
    );
    let host = "version: 1\nnetwork:\n  rules:\n    - {host: a.example, match: [b.example]}\n";
    assert!(
        bench.refusal(host).starts_with("4:7: a.example:443: `match`: "),
        "{}",
        bench.refusal(host)
    );
}

#[test]
fn a_policy_stands_on_another_by_name_or_path_and_never_in_a_circle() {
    let bench = Bench::new();
    bench.file("base.yml", "version: 1\nextends: strict\ntime: {run: 100}\n");
    let file = bench.file("top.yml", "version: 1\nextends: base.yml\ntime: {command: 10}\n");
    let policy = Policy::alone(&file, &bench.host()).expect("holds");
    assert_eq!(policy.number(SettingName::Run), Some(100));
    assert_eq!(policy.number(SettingName::Command), Some(10));
    assert_eq!(
        policy.setting(SettingName::MinTier).expect("said").value,
        SettingValue::Tier(Tier::NamespacesCgroup)
    );
    bench.file("named/ours.yml", "version: 1\nextends: ours\n");
    let circle = Policy::alone("ours", &bench.host()).expect_err("a circle").to_string();
    assert!(circle.contains("in a circle"), "{circle}");
    assert_eq!(host_names(&bench.host())[0].0, "ours");
    bench.file("named/strict.yml", "version: 1\npurpose: the host's own\n");
    let strict = Policy::alone("strict", &bench.host()).expect("holds");
    assert_eq!(
        strict.number(SettingName::Run),
        Some(86400),
        "a host's policy hides the shipped one of its name"
    );
}

#[test]
fn what_holds_is_a_document_again_and_has_one_digest() {
    let bench = Bench::new();
    for name in NAMES {
        let policy = Policy::alone(name, &HostPlaces::default()).expect("holds");
        let file = bench.file("canonical.json", &policy.canonical());
        let again = Policy::alone(&file, &HostPlaces::default()).expect("is a policy");
        assert_eq!(again.digest(), policy.digest(), "{name}");
        assert_eq!(diff(&policy, &again), [], "{name}");
    }
    let own = "version: 1\nextends: nothing\nguards: {protected: [{path: x}]}\n";
    let alone = Policy::alone(&bench.file("p.yml", own), &HostPlaces::default()).expect("holds");
    assert!(alone.commands().is_empty() && alone.protected().len() == 1);
    assert!(!Policy::shipped().expect("holds").commands().is_empty());
    let reordered = bench.file("p.yml", "time: {run: 10, command: 5}\nversion: 1\n");
    let one = Policy::alone(&reordered, &HostPlaces::default())
        .expect("holds")
        .digest();
    let other = bench.file(
        "p.yml",
        "# other words\nversion: 1\ntime:\n  command: 5\n  run: 10\n  because: x\n",
    );
    let other = Policy::alone(&other, &HostPlaces::default()).expect("holds").digest();
    assert_eq!(one, other);
}

#[test]
fn differences_are_told_by_which_way_they_go() {
    let default = Policy::shipped().expect("holds");
    let strict = Policy::alone("strict", &HostPlaces::default()).expect("holds");
    let there = diff(&default, &strict);
    let back = diff(&strict, &default);
    assert_eq!(there.len(), back.len());
    let find = |all: &[Difference], what: &str| {
        let found = all.iter().find(|difference| difference.what == what);
        found.unwrap_or_else(|| panic!("{what}")).clone()
    };
    for what in [
        "sandbox.limits.memory",
        "sandbox.min_tier",
        "agent.outside",
        "guards.protected",
        "sandbox.images",
    ] {
        assert_eq!(find(&there, what).change, Change::Lost, "{what}");
        assert_eq!(find(&back, what).change, Change::Gained, "{what}");
    }
    assert_eq!(
        find(&there, "sandbox.limits.memory").words,
        "memory of a sandbox: 2G, before 4G"
    );
    assert_eq!(find(&there, "network.mode").change, Change::Changed);
    assert_eq!(
        find(&there, "environment.stages").words,
        "stages may be granted variables no longer *"
    );
}

proptest! {
    #[test]
    fn of_two_values_the_narrower_is_within_the_wider(a in 1..1000u64, b in 1..1000u64) {
        let (a, b) = (SettingValue::Number(a), SettingValue::Number(b));
        prop_assert!(a.is_within(b) || b.is_within(a));
        prop_assert!(a.is_within(SettingValue::Unlimited));
        prop_assert!(!SettingValue::Unlimited.is_within(a));
        prop_assert_eq!(a.is_within(b) && b.is_within(a), a == b);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bench = Bench::new();
        let path = bench.0.path().join("p.yml");
        fs::write(&path, &bytes).expect("write");
        let _ = load(&path.display().to_string(), &bench.host());
    }
}
