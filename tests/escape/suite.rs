//! The suite, as it is shipped: `opencode-fsm escape-test`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use opencode_fsm::sandbox::docker::Engine;
use serde_json::Value;

use crate::support::PROGRAM;

/// What a host may lack, so that an attempt can show nothing there, and what that is. An
/// attempt that is unsupported and not on this list fails the test.
const MAY_LACK: &[(&str, &str)] = &[
    ("kernel-ciphers", "a kernel without AF_ALG"),
    ("call-by-x32-table", "a kernel without x32, as most are"),
    ("call-by-32-bit-table", "a kernel without the table of i386"),
    ("load-kernel", "a kernel without kexec"),
    ("load-module", "a kernel without modules"),
    ("unload-module", "a kernel without modules"),
    ("hardware-ports", "a kernel without port permissions"),
    ("secret-memory", "a kernel without memfd_secret, or booted without it"),
    ("rare-families", "a kernel without any of them"),
    ("multipath-connection", "a kernel without MPTCP"),
    ("perf-event", "a host that keeps it from its users"),
    ("userfaultfd", "a host that keeps it from its users"),
    ("io-uring", "a host that has it switched off"),
    ("bpf", "a host that keeps it from its users"),
    ("vsock", "a kernel without AF_VSOCK"),
    ("ping-socket", "a host that lets nobody ping by a datagram socket"),
    ("dump-core", "a host that writes no cores"),
    ("open-fuse-device", "a kernel without FUSE"),
    ("type-into-terminal", "a host that has TIOCSTI switched off"),
    ("connect-to-engines", "a host without an engine and a bus"),
    ("connect-to-host-over-ipv6", "a host without IPv6"),
    ("connect-outside-over-ipv6", "a host without a way out over IPv6"),
    ("connect-outside", "a host without a way out"),
    ("send-outside", "a host without a way out"),
    ("ask-name-servers", "a host without a way out"),
    ("ask-names-over-https", "a host without a way out"),
    ("ask-cloud-metadata", "a host without a way out"),
    ("see-interfaces", "a host without interfaces"),
    ("see-host-cgroup", "a test that runs in the root of all control groups"),
    ("see-host-process", "a host that hides processes"),
    ("raise-limits", "a root that may not raise limits, or an ordinary user"),
    ("run-host-git", "a host without git"),
];

/// What the tier without namespaces lets through, as docs/security_model.md says.
pub const KNOWN_GAPS: &[&str] = &[
    "be-reached",
    "change-host-file",
    "change-read-only-piece",
    "have-bounding-set",
    "read-kernel-secrets",
    "see-host-cgroup",
    "see-host-name",
    "see-host-process",
    "see-interfaces",
    "spin",
    "watch-host-file",
];

/// Whether attempts of root's have nobody to show them.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn escape_test(sandbox: &str) -> (Option<i32>, BTreeMap<String, Value>, String) {
    let cache = tempfile::tempdir().expect("tempdir");
    std::fs::set_permissions(cache.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).expect("chmod");
    let output = Command::new(PROGRAM)
        .args(["escape-test", "--json", "--sandbox", sandbox])
        .env("XDG_CACHE_HOME", cache.path())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdicts = text.lines().map(|line| {
        let verdict: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        (verdict["attempt"].as_str().expect("a name").to_owned(), verdict)
    });
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), verdicts.collect(), errors)
}

fn with(verdicts: &BTreeMap<String, Value>, outcome: &str) -> BTreeSet<String> {
    let those = verdicts.iter().filter(|(_, verdict)| verdict["outcome"] == outcome);
    those.map(|(name, _)| name.clone()).collect()
}

/// All of the list, each with a control that did it or a lack that is known.
fn well_made(sandbox: &str, verdicts: &BTreeMap<String, Value>) {
    let all = opencode_fsm::escape::attempts();
    assert_eq!(verdicts.len(), all.len());
    let numbers: BTreeSet<u16> = all.iter().map(|attempt| attempt.number).collect();
    assert!(numbers.len() >= 110, "{} of the list", numbers.len());
    for verdict in verdicts.values() {
        assert_eq!(verdict["sandbox"], sandbox);
        for field in ["section", "number", "outcome", "layer", "detail", "control", "micros"] {
            assert!(verdict.get(field).is_some(), "{field}: {verdict}");
        }
    }
    let failed = with(verdicts, "control_failed");
    let why: Vec<&Value> = failed.iter().map(|name| &verdicts[name]).collect();
    assert!(failed.is_empty(), "{why:#?}");
    for name in with(verdicts, "unsupported") {
        let detail = verdicts[&name]["detail"].as_str().unwrap_or_default();
        let of_root = detail.starts_with("only root") || detail.starts_with("what is inside has this user's own id");
        let known = MAY_LACK.iter().any(|(lacked, _)| *lacked == name) || (of_root && !is_root());
        assert!(known, "{}", verdicts[&name]);
    }
    // Most are shown on any host.
    assert!(with(verdicts, "blocked").len() > 100, "{sandbox}");
}

fn holds(sandbox: &str) {
    let (code, verdicts, errors) = escape_test(sandbox);
    let mut escaped = with(&verdicts, "escaped");
    let proven = escaped.is_empty();
    // An ordinary user may have no control groups, which the report on the walls says.
    escaped.retain(|name| is_root() || sandbox != "jail" || name != "spin");
    let why: Vec<&Value> = escaped.iter().map(|name| &verdicts[name]).collect();
    assert!(escaped.is_empty(), "{why:#?}");
    well_made(sandbox, &verdicts);
    assert_eq!(code, Some(i32::from(!proven)), "{errors}");
}

#[test]
fn nothing_escapes_from_a_jail() {
    holds("jail");
}

/// The engine, in a test that does not wait; where one must be (CI), its absence is a failure.
pub async fn engine() -> bool {
    match Engine::reach().await {
        Ok(_) => true,
        Err(why) if std::env::var_os("CI").is_some() => panic!("{why}"),
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            false
        }
    }
}

#[tokio::test]
async fn nothing_escapes_from_a_container() {
    if engine().await {
        holds("docker");
    }
}

#[test]
fn without_namespaces_what_escapes_is_what_is_said_to() {
    let (code, verdicts, errors) = escape_test("landlock");
    let escaped = with(&verdicts, "escaped");
    let unknown: Vec<&Value> = escaped
        .iter()
        .filter(|name| !KNOWN_GAPS.contains(&name.as_str()))
        .map(|name| &verdicts[name])
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    // What is no gap any more is to be taken off the list.
    let depends = ["spin", "have-bounding-set"];
    for gap in KNOWN_GAPS.iter().filter(|gap| !depends.contains(*gap)) {
        let outcome = &verdicts[*gap]["outcome"];
        assert!(outcome == "escaped" || outcome == "unsupported", "{}", verdicts[*gap]);
        assert!(opencode_fsm::escape::known_gap(opencode_fsm::escape::Tried::Landlock, gap).is_some());
    }
    well_made("landlock", &verdicts);
    // It is not proven that nothing escapes.
    assert_eq!(code, Some(1), "{errors}");
}

#[test]
fn what_cannot_be_tried_is_an_error_with_a_remedy() {
    let output = Command::new(PROGRAM)
        .args(["escape-test", "--sandbox", "docker"])
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains("remedy") || text.contains("start"), "{text}");
    let output = Command::new(PROGRAM)
        .args(["escape-test", "--only", "no-such-attempt"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn attempts_have_names_of_their_own_and_are_listed() {
    let all = opencode_fsm::escape::attempts();
    let names: BTreeSet<&str> = all.iter().map(|attempt| attempt.name).collect();
    assert_eq!(names.len(), all.len());
    for (name, why) in MAY_LACK {
        assert!(names.contains(name) && !why.is_empty(), "{name}");
    }
    let output = Command::new(PROGRAM)
        .args(["escape-test", "--list"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && names.iter().all(|name| text.contains(name)),
        "{text}"
    );
}
