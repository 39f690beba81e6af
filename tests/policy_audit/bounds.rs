//! Hostile trees, and a canary that nothing touches.

use std::{fs, os::unix::fs::symlink, time::Instant};

use crate::{Bench, at};

#[test]
fn hostile_trees_are_read_with_bounds() {
    let bench = Bench::new();
    // A hole of 100 MB in the place of each kind of file.
    for name in [
        "pipeline.yml",
        "conftest.py",
        "package.json",
        ".git/config",
        "Makefile",
        ".github/workflows/a.yml",
    ] {
        bench.file(name, "");
        let file = fs::OpenOptions::new()
            .write(true)
            .open(bench.repo().join(name))
            .expect("open");
        file.set_len(100 << 20).expect("grows");
    }
    let deep = "d/".repeat(200) + "setup.py";
    bench.file(&deep, "import os\nos.system('rm -rf /')\n");
    let bomb: String = (0..3000)
        .map(|n| format!("a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1))
        .collect();
    bench
        .file(".gitlab-ci.yml", format!("a0: &a0 x\n{bomb}z:\n  script: rm -rf /\n"))
        .file(".circleci/config.yml", "- ".repeat(200_000))
        .file(".vscode/tasks.json", "[".repeat(200_000))
        .file("tests/test_a.py", "(".repeat(500_000))
        .file(
            "sub/conftest.py",
            b"x = '\xff\xfe'\nimport os\nos.system('rm -rf ~')\n".as_slice(),
        )
        .file("sub/package.json", b"{\"scripts\": {\"install\": \"\xff\"}}".as_slice())
        .file(".travis.yml", "script: |\n".to_owned() + &"  $($($(".repeat(20_000));
    symlink("/etc/shadow", bench.repo().join("leak")).expect("link");
    symlink("../../outside/setup.py", bench.repo().join("sub/setup.py")).expect("link");
    symlink("conftest.py", bench.repo().join("sub/same.py")).expect("link");
    let fifo = bench.repo().join("noxfile.py");
    nix_mkfifo(&fifo);
    let began = Instant::now();
    let report = bench.report(&[]);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    let kinds = |file: &str, line| at(&report, file, line);
    let not_read = [("not-read".to_owned(), "undecided".to_owned())];
    for name in [
        "pipeline.yml",
        "conftest.py",
        "package.json",
        ".git/config",
        "Makefile",
        ".vscode/tasks.json",
    ] {
        let all: Vec<_> = (1..2).flat_map(|line| kinds(name, line)).collect();
        assert!(all.contains(&not_read[0]), "{name}: {all:?}");
    }
    assert_eq!(
        kinds(".gitlab-ci.yml", 3003),
        [("ci-command".to_owned(), "deny".to_owned())]
    );
    assert!(
        kinds(&deep, 2).contains(&("build-hook".to_owned(), "deny".to_owned())),
        "{report:#}"
    );
    assert!(kinds("sub/conftest.py", 3).contains(&("build-hook".to_owned(), "deny".to_owned())));
    assert_eq!(kinds("leak", 1), [("link-outside".to_owned(), "deny".to_owned())]);
    assert_eq!(kinds("sub/setup.py", 1)[0].0, "link-outside");
    assert!(kinds("sub/same.py", 1).is_empty());
    for shown in report["findings"].as_array().expect("findings") {
        assert!(shown.to_string().len() < 20_000);
    }
}

fn nix_mkfifo(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

#[test]
fn many_findings_are_counted_and_what_is_refused_is_kept() {
    let bench = Bench::new();
    let many: String = (0..3000).map(|n| format!("- run: echo {n}\n")).collect();
    bench.file(".github/workflows/a.yml", format!("{many}- run: rm -rf /\n"));
    let report = bench.report(&[]);
    assert_eq!(report["counts"]["allow"], 500);
    assert_eq!(report["left_out"], 2500);
    assert_eq!(
        at(&report, ".github/workflows/a.yml", 3001),
        [("ci-command".to_owned(), "deny".to_owned())]
    );
}

#[test]
fn nothing_of_the_repository_is_run() {
    let bench = Bench::new();
    let canary = bench.dir.path().join("canary");
    let touch = format!("touch {}", canary.display());
    let git = |arguments: &[&str]| {
        let status = std::process::Command::new("git")
            .arg("-C")
            .arg(bench.repo())
            .args(["-c", "user.name=a", "-c", "user.email=a@b.c"])
            .args(arguments)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .expect("git");
        assert!(status.status.success(), "{status:?}");
    };
    bench.file("a.txt", "a\n");
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "a"]);
    for hook in ["post-checkout", "pre-commit", "post-index-change", "post-merge"] {
        bench.file(&format!(".git/hooks/{hook}"), format!("#!/bin/sh\n{touch}\n"));
    }
    let python = format!("import os\nos.system({touch:?})\n");
    bench
        .file("setup.py", &python)
        .file("conftest.py", &python)
        .file("sitecustomize.py", &python)
        .file("Makefile", format!("X := $(shell {touch})\nall:\n\t{touch}\n"))
        .file(
            "package.json",
            format!("{{\"scripts\": {{\"preinstall\": {touch:?}}}}}"),
        )
        .file("pipeline.yml", format!("version: 1\ntests:\n  cmd: {touch}\n"))
        .file(".aider_fsm/bootstrap.yml", format!("cmd: {touch}\n"))
        .file(".envrc", &touch);
    let config = fs::read_to_string(bench.repo().join(".git/config")).expect("config");
    bench.file(
        ".git/config",
        format!("{config}[core]\n\tfsmonitor = {touch}; false\n[alias]\n\tstatus = !{touch}\n"),
    );
    let report = bench.report(&[]);
    assert!(report["counts"]["deny"].as_u64() > Some(3), "{report:#}");
    assert!(!canary.exists(), "something was run");
    // The control: git, asked in that tree, runs it.
    git(&["status"]);
    assert!(canary.exists(), "the trap is none");
    fs::remove_file(&canary).expect("rm");
    // As an archive, and by git itself in its sandbox.
    let archive = bench.dir.path().join("a.tar.gz");
    let packed = std::process::Command::new("tar")
        .args(["-czf"])
        .arg(&archive)
        .arg("-C")
        .arg(bench.dir.path())
        .arg("repo")
        .status();
    assert!(packed.expect("tar").success());
    let report = crate::json(&bench.audit_of(&archive, &["--json"]));
    assert_eq!(report["provenance"]["kind"], "archive");
    assert!(
        report["findings"]
            .as_array()
            .expect("findings")
            .iter()
            .any(|one| one["file"] == "setup.py" && one["line"] == 2)
    );
    assert!(!canary.exists(), "something of the archive was run");
}
