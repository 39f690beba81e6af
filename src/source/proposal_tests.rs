use proptest::prelude::*;

use super::*;
use crate::{contract::Pipeline, names::RelPath};

fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("tempdir");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, text).expect("write");
    }
    dir
}

/// The commands that the strict reader finds in the proposal.
fn proposed(files: &[(&str, &str)]) -> Vec<String> {
    let dir = repository(files);
    let Some(proposal) = propose(dir.path(), None) else {
        return Vec::new();
    };
    let read = read(&proposal.text);
    assert_eq!(read, proposal.commands);
    read
}

fn read(text: &str) -> Vec<String> {
    let path = RelPath::new("pipeline.yml").expect("a path");
    let pipeline = Pipeline::parse(&path, text.as_bytes()).unwrap_or_else(|why| panic!("{why}\n{text}"));
    assert!(pipeline.warnings.is_empty(), "{:?}", pipeline.warnings);
    pipeline.tests.expect("tests").cmds
}

#[test]
fn every_kind_of_repository_is_recognised_and_its_contract_read() {
    let test = r#"{"scripts": {"test": "node --test"}}"#;
    let none = r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1"}}"#;
    for (files, commands) in [
        (&[("Cargo.toml", "[package]")][..], &["cargo test"][..]),
        (&[("Cargo.toml", ""), ("Cargo.lock", "")], &["cargo test --locked"]),
        (&[("go.mod", "module x")], &["go test ./..."]),
        (&[("package.json", test)], &["npm test"]),
        (&[("package.json", test), ("yarn.lock", "")], &["yarn test"]),
        (&[("package.json", test), ("pnpm-lock.yaml", "")], &["pnpm test"]),
        (&[("package.json", none)], &[]),
        (&[("package.json", "{")], &[]),
        (
            &[("pyproject.toml", "[tool.pytest.ini_options]")],
            &["python3 -m pytest -q"],
        ),
        (&[("setup.py", ""), ("conftest.py", "")], &["python3 -m pytest -q"]),
        (&[("setup.py", "")], &["python3 -m unittest discover"]),
        (&[("Makefile", "all: x\ntest : all\n\tgo test\n")], &["make test"]),
        (&[("GNUmakefile", ".PHONY: check\ncheck:\n")], &["make check"]),
        (&[("Makefile", "test := 1\ntesting:\n")], &[]),
        (&[("tests/run.sh", "true")], &["sh tests/run.sh"]),
        (&[("run_tests.sh", "#!/usr/bin/env bash\n")], &["bash run_tests.sh"]),
        // Several languages have a command each; a repository's own entry stands for them all.
        (
            &[("Cargo.toml", ""), ("package.json", test)],
            &["cargo test", "npm test"],
        ),
        (
            &[("Cargo.toml", ""), ("go.mod", ""), ("Makefile", "test:\n")],
            &["make test"],
        ),
        (&[("README.md", "run `curl x | sh`")], &[]),
        (&[], &[]),
    ] {
        assert_eq!(proposed(files), commands, "{files:?}");
    }
    let dir = repository(&[("Cargo.toml", ""), ("Makefile", "test:\n")]);
    let proposal = propose(dir.path(), None).expect("a proposal");
    assert!(
        proposal.text.contains("    # - \"cargo test\"  # Cargo.toml\n"),
        "{}",
        proposal.text
    );
    let with_env = propose(repository(&[("Cargo.toml", "")]).path(), None).expect("a proposal");
    assert!(with_env.text.contains("    CARGO_NET_OFFLINE: \"true\"\n"));
    let mine = propose(dir.path(), Some("just test")).expect("a proposal");
    assert_eq!(read(&mine.text), ["just test"]);
}

#[test]
fn the_commented_sections_are_right_as_well() {
    let proposal = propose(repository(&[("go.mod", "")]).path(), None).expect("a proposal");
    let mut section = false;
    let uncommented = |line: &str| {
        let begins = line.starts_with("# ") && line.ends_with(':') && !line.contains(". ");
        section = begins || (section && line.starts_with("#   "));
        match line.strip_prefix("# ").filter(|_| section) {
            Some(rest) => format!("{rest}\n"),
            None => format!(
                "{}\n",
                line.replacen("  # ", "  ", usize::from(line.starts_with("  # ")))
            ),
        }
    };
    let text: String = proposal.text.lines().map(uncommented).collect();
    assert_eq!(read(&text), ["go test ./..."]);
    for key in ["\ndeploy:\n", "\nrollout:\n", "\nevaluation:\n", "\n  retries: 0"] {
        assert!(text.contains(key), "{text}");
    }
}

#[test]
fn links_and_pipes_are_not_looked_at() {
    let dir = repository(&[("elsewhere/Cargo.toml", ""), ("elsewhere/run.sh", "")]);
    std::os::unix::fs::symlink("elsewhere/Cargo.toml", dir.path().join("Cargo.toml")).expect("link");
    std::os::unix::fs::symlink("elsewhere", dir.path().join("tests")).expect("link");
    nix::unistd::mkfifo(&dir.path().join("go.mod"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    fs::create_dir(dir.path().join("setup.py")).expect("mkdir");
    assert_eq!(findings(dir.path()), []);
}

#[test]
fn what_is_there_is_never_overwritten() {
    let dir = repository(&[("pipeline.yml", "mine\n")]);
    let path = dir.path().join("pipeline.yml");
    assert!(write_new(&path, "other\n").is_err());
    assert_eq!(fs::read_to_string(&path).expect("read"), "mine\n");
    fs::remove_file(&path).expect("remove");
    std::os::unix::fs::symlink("nowhere", &path).expect("link");
    assert!(write_new(&path, "other\n").is_err() && !dir.path().join("nowhere").exists());
    fs::remove_file(&path).expect("remove");
    write_new(&path, "new\n").expect("write");
    assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(dir.path()).expect("ls").count(), 1, "nothing else stays");
}

proptest! {
    #[test]
    fn any_command_of_the_user_comes_back_as_it_is(command in "[ -~\u{e9}\t\n]{0,60}") {
        let dir = tempfile::tempdir().expect("tempdir");
        let command = command.trim();
        prop_assume!(!command.is_empty());
        let proposal = propose(dir.path(), Some(command)).expect("a proposal");
        prop_assert_eq!(read(&proposal.text), [command]);
    }

    #[test]
    fn no_file_breaks_the_contract(name in "Makefile|package[.]json|pyproject[.]toml|test[.]sh", text in "\\PC{0,80}") {
        proposed(&[(&name, &text)]);
    }
}
