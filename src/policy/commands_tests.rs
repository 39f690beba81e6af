use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn policy(mode: SecurityMode, allow: &[&str], deny: &[&str]) -> CommandPolicy {
    let owned = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    CommandPolicy::new(mode, &owned(allow), &owned(deny)).expect("the patterns compile")
}

fn safe(command: &str) -> String {
    let checked = policy(SecurityMode::Safe, &[], &[]).check(command);
    checked.map_or_else(|refusal| refusal.to_string(), |()| "allowed".to_owned())
}

#[test]
fn programs_are_refused_where_they_run_and_nowhere_else() {
    for command in [
        "sudo x",
        "/usr/bin/sudo x",
        "a && sudo x",
        "a; sudo x",
        "a | sudo tee b",
        "a & sudo b",
        "a\nsudo b",
        "env sudo x",
        "env A=b -i sudo x",
        "timeout 5 sudo x",
        "A=b sudo x",
        "> out sudo x",
        "2>/dev/null sudo x",
        "if true; then sudo x; fi",
        "! sudo x",
        "{ sudo x; }",
        "(sudo x)",
        "echo $(sudo x)",
        "echo \"$(sudo x)\"",
        "echo `sudo x`",
        "echo \"`sudo x`\"",
        "'sudo' x",
        "s\\udo x",
        "sh -c 'sudo x'",
        "bash -ec \"a; sudo x\"",
        "eval 'sudo x'",
        "cat <<END\nx\nEND\nsudo y",
        "echo $(echo $(sudo x) y) z",
    ] {
        assert_eq!(safe(command), "blocked_by_default_safe_deny: sudo", "{command}");
    }
    for (command, rule) in [
        ("dd if=/dev/zero of=/dev/sda", "dd"),
        ("mkfs.ext4 /dev/sda", "mkfs"),
        ("nohup reboot", "reboot"),
        ("shutdown -h now", "shutdown"),
        ("docker --debug system prune -af", "docker system prune"),
        ("docker volume prune", "docker volume prune"),
        ("brew uninstall x", "brew uninstall"),
    ] {
        assert_eq!(
            safe(command),
            format!("blocked_by_default_safe_deny: {rule}"),
            "{command}"
        );
        assert_eq!(
            policy(SecurityMode::System, &[], &[]).check(command),
            Ok(()),
            "{command}"
        );
    }
    for command in [
        "grep sudo README.md",
        "ls dd",
        "echo 'do not reboot'",
        "pytest -k reboot",
        "git log --grep=sudo",
        "docker system df",
        "docker run prune",
        "echo a > sudo",
        "echo a 2> sudo",
        "cat < dd",
        "true # sudo x",
        "cat <<END\nsudo x\nEND",
        "cat <<-'END'\n\tsudo x\n\tEND",
        "echo 'a; sudo b'",
        "echo \"a; sudo b\"",
        "echo a\\;sudo",
        "./sudoku",
        "python3 -m dd.mm",
    ] {
        assert_eq!(safe(command), "allowed", "{command}");
    }
}

#[test]
fn the_root_is_never_removed() {
    for mode in [SecurityMode::Safe, SecurityMode::System] {
        for command in [
            "rm -rf /",
            "rm -rf /*",
            "rm -rf ~",
            "rm -rf $HOME",
            "rm -fr /",
            "rm -r -f /",
            "rm --recursive --force /",
            "rm -rf -- /",
            "rm -rf //",
            "rm -rf '/'",
            "rm -rf ~/",
            "rm -rf \"${HOME}\"",
            "rm -rf build /",
            "cd x && /bin/rm -Rf /.",
            "busybox rm -rf /",
            "a\nrm -rf /\nb",
            ":(){ :|:& };:",
        ] {
            let refused = policy(mode, &[], &[]).check(command).expect_err(command);
            assert_eq!(refused.code, "blocked_by_hard_deny", "{command}");
        }
        for command in [
            "rm -rf /tmp/x",
            "rm -r /",
            "rm -rf ./build",
            "rm -rf ~/x",
            "rm -rf $HOME/.cache/x",
            "rm -rf .",
            "echo 'rm -rf /'",
            "echo ':(){ :|:& };:'",
        ] {
            assert_eq!(policy(mode, &[], &[]).check(command), Ok(()), "{command}");
        }
    }
}

#[test]
fn patterns_are_searched_for_anywhere_whatever_the_case() {
    let patterns = policy(SecurityMode::System, &["pytest", "^make"], &["--pdb"]);
    assert_eq!(patterns.check("cd x && PyTest -q"), Ok(()));
    assert_eq!(patterns.check("make all"), Ok(()));
    let refused = |command: &str| patterns.check(command).expect_err(command).to_string();
    assert_eq!(refused("pytest --PDB"), "blocked_by_denylist: --pdb");
    assert_eq!(refused("cmake ."), "blocked_by_allowlist");
    assert_eq!(refused(" \n"), "empty_command");
    let both = policy(SecurityMode::System, &["x"], &["x"]);
    assert_eq!(both.check("x").expect_err("denied").code, "blocked_by_denylist");
}

#[test]
fn a_pattern_that_does_not_compile_is_named() {
    let error = CommandPolicy::new(SecurityMode::Safe, &[], &["a(".to_owned()]).expect_err("refused");
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
        let refused = policy.interactive(command).expect(command);
        assert_eq!(
            refused.to_string(),
            "likely_interactive_command_disallowed_in_strict_mode"
        );
    }
    for command in [
        "docker login -p x",
        "docker login --password=x",
        "docker login --password-stdin < f",
        "gh auth login --with-token < f",
        "echo docker login",
        "gh auth status",
    ] {
        assert_eq!(policy.interactive(command), None, "{command}");
    }
}

#[test]
fn hostile_commands_cost_no_time() {
    let began = Instant::now();
    for piece in [
        "$(", "`", "\"$(", "(", "<<a\n", "'", "sh -c ", "eval ", "env ", "\\\n", "a;",
    ] {
        let _ = safe(&piece.repeat(131_000 / piece.len()));
    }
    let nested = (0..200).fold("sudo x".to_owned(), |inner, _| format!("$({inner})"));
    let _ = safe(&nested);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

proptest! {
    #[test]
    fn no_command_panics(command in "[ -~\n\t]{0,80}") {
        let policy = policy(SecurityMode::Safe, &["a"], &["b"]);
        let _ = policy.check(&command);
        let _ = policy.interactive(&command);
    }

    #[test]
    fn a_quoted_text_runs_nothing(text in "[a-z ;&|<>(){}!#$*/]{0,40}") {
        prop_assert_eq!(safe(&format!("echo '{text} sudo x; rm -rf /'")), "allowed");
    }
}
