//! Repositories that want something of whoever fetches them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use crate::{
    bench::{Bench, commit, git, repository},
    server::{Reply, Server, git_backend},
};

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// Settings, hooks and filters that run a program when git of the host looks at them.
fn booby_trapped(bench: &Bench) -> (std::path::PathBuf, std::path::PathBuf) {
    let repo = repository(&bench.at("repo"));
    let (trap, sprung) = (bench.at("trap"), bench.at("sprung"));
    script(&trap, &format!("echo x >>{}; echo x >>pwned; cat", sprung.display()));
    commit(&repo, ".gitattributes", "* filter=evil diff=evil\n");
    let trap_text = trap.display().to_string();
    for (key, value) in [
        ("core.fsmonitor", trap_text.as_str()),
        ("filter.evil.smudge", &trap_text),
        ("filter.evil.clean", &trap_text),
        ("filter.evil.process", &trap_text),
        ("core.sshCommand", &trap_text),
        ("core.askPass", &trap_text),
        ("uploadpack.packObjectsHook", &trap_text),
        ("credential.helper", &trap_text),
        ("core.pager", &trap_text),
        ("alias.reset", &format!("!{trap_text}")),
    ] {
        git(&repo, &["config", key, value]);
    }
    for hook in [
        "post-checkout",
        "reference-transaction",
        "post-index-change",
        "pre-auto-gc",
        "fsmonitor-watchman",
    ] {
        script(&repo.join(".git/hooks").join(hook), &trap_text);
    }
    (repo, sprung)
}

#[test]
fn nothing_that_a_repository_names_is_run() {
    let bench = Bench::new();
    let (repo, sprung) = booby_trapped(&bench);
    let place = format!("file://{}", repo.display());
    for (target, flags) in [
        (place.as_str(), &[][..]),
        (place.as_str(), &["--history", "full"]),
        ("repo", &[]),
        ("repo", &["--scrub-git-future"]),
    ] {
        let had = bench.fetch(target, flags);
        assert!(!sprung.exists(), "{target} {flags:?}");
        assert!(!had.tree.join("pwned").exists() && !had.tree.join(".git/pwned").exists());
        assert!(had.text("a").contains("two"));
        if target != "repo" || !flags.is_empty() {
            let config = had.text(".git/config");
            assert!(!config.contains("trap") && !config.contains("fsmonitor"), "{config}");
            assert!(!had.tree.join(".git/hooks").exists());
        }
    }
    // The control: git of the host does run it.
    let _ = Command::new("git")
        .current_dir(&repo)
        .args(["-c", "safe.directory=*", "status"])
        .output()
        .expect("git");
    assert!(sprung.exists(), "the trap works");
}

/// Writes an object as it is, whatever git thinks of it; its id.
fn raw(repo: &Path, kind: &str, bytes: &[u8]) -> String {
    let mut child = Command::new("git")
        .current_dir(repo)
        .args(["hash-object", "-t", kind, "-w", "--stdin", "--literally"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), bytes).expect("written");
    let out = child.wait_with_output().expect("ends");
    assert!(out.status.success());
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// A tree object of names that no git would write.
fn tree(entries: &[(&str, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend(format!("{mode} {name}\0").as_bytes());
        bytes.extend((0..20).map(|n| u8::from_str_radix(&id[2 * n..2 * n + 2], 16).expect("hex")));
    }
    bytes
}

#[test]
fn names_that_lead_elsewhere_are_an_error() {
    for (mode, name) in [
        ("100644", ".."),
        ("40000", ".git"),
        ("40000", ".GIT"),
        ("40000", "git~1"),
        ("100644", "../../../../tmp/climb"),
        ("120000", ".gitmodules"),
    ] {
        let bench = Bench::new();
        let repo = repository(&bench.at("served/r"));
        let blob = raw(&repo, "blob", b"/etc/passwd");
        let inner = raw(&repo, "tree", &tree(&[("100644", "config", &blob)]));
        let id = if mode == "40000" { &inner } else { &blob };
        let top = raw(&repo, "tree", &tree(&[(mode, name, id)]));
        let evil = git(&repo, &["commit-tree", &top, "-m", "evil"]);
        git(&repo, &["update-ref", "refs/heads/main", &evil]);
        let root = bench.at("served");
        let server = Server::start(move |asked| git_backend(&root, asked));
        let why = bench.refused(&server.url("/r/.git"), &[], 11);
        assert!(why.contains("git: "), "{name}: {why}");
    }
}

#[test]
fn links_stay_links_and_lead_nowhere_on_the_host() {
    let bench = Bench::new();
    let repo = repository(&bench.at("repo"));
    std::os::unix::fs::symlink("/etc/passwd", repo.join("link")).expect("link");
    std::os::unix::fs::symlink(".git", repo.join("git")).expect("link");
    commit(&repo, "x", "links\n");
    let had = bench.fetch(&format!("file://{}", repo.display()), &[]);
    assert_eq!(
        fs::read_link(had.tree.join("link")).expect("a link"),
        Path::new("/etc/passwd")
    );
}

#[test]
fn submodules_lead_only_to_where_a_user_could_have_named() {
    for (url, path) in [
        ("--upload-pack=touch${IFS}sprung", "sub"),
        ("-u./trap", "sub"),
        ("ext::sh -c touch% sprung", "sub"),
        ("file:///etc", "sub"),
        ("/etc", "sub"),
        ("git://127.0.0.1:1/x", "sub"),
        ("ssh://-oProxyCommand=touch${IFS}sprung/x", "sub"),
        ("http://host.invalid/x", "sub"),
    ] {
        let bench = Bench::new();
        let repo = repository(&bench.at("served/r"));
        let head = git(&repo, &["rev-parse", "HEAD"]);
        git(
            &repo,
            &["update-index", "--add", "--cacheinfo", &format!("160000,{head},{path}")],
        );
        fs::write(
            repo.join(".gitmodules"),
            format!("[submodule \"s\"]\n\tpath = {path}\n\turl = \"{url}\"\n"),
        )
        .expect("write");
        git(&repo, &["add", ".gitmodules"]);
        git(&repo, &["commit", "-q", "-m", "sub"]);
        let root = bench.at("served");
        let server = Server::start(move |asked| git_backend(&root, asked));
        let target = server.url("/r/.git");
        let why = bench.refused(&target, &["--submodules"], 11);
        assert!(
            why.contains("submodule") || why.contains("gitmodules") || why.contains("fsck"),
            "{url}: {why}"
        );
        assert!(!bench.at("sprung").exists() && !Path::new("sprung").exists(), "{url}");
    }
}

#[test]
fn a_server_that_lies_gets_an_error_and_no_more() {
    let bench = Bench::new();
    let kind = "application/x-git-upload-pack-advertisement";
    for body in [
        &b"garbage"[..],
        b"001e# service=git-upload-pack\n0000ffff",
        b"",
        b"001e# service=git-upload-pack\n0000000eversion 2\n0000",
        b"<html>sign in</html>",
    ] {
        let body = body.to_vec();
        let server = Server::start(move |_| Reply::new(200, body.clone()).with("content-type", kind));
        bench.refused(&server.url("/r.git"), &[], 11);
    }
}

#[test]
fn a_signal_ends_it_in_order_and_a_kill_leaves_the_cache_usable() {
    let bench = Bench::new();
    repository(&bench.at("served/r"));
    let (root, open) = (bench.at("served"), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let gate = open.clone();
    let server =
        Server::start(
            move |asked| match asked.body.is_empty() || gate.load(std::sync::atomic::Ordering::Relaxed) {
                true => git_backend(&root, asked),
                // The first half of an answer, and then nothing more.
                false => {
                    let mut reply = git_backend(&root, asked);
                    reply.cut = Some(reply.body.len() / 2);
                    reply.stall = true;
                    reply
                }
            },
        );
    let url = server.url("/r/.git");
    for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGKILL] {
        server.forget();
        let (mut command, runs) = bench.command(&url, &[]);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let began = std::time::Instant::now();
        while !server.asked().iter().any(|asked| !asked.body.is_empty()) {
            assert!(began.elapsed().as_secs() < 60, "it never asks");
            std::thread::yield_now();
        }
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("kill");
        let output = child.wait_with_output().expect("ends");
        assert!(began.elapsed().as_secs() < 60);
        let had = bench.had(&output, &runs);
        match signal {
            nix::sys::signal::Signal::SIGINT => {
                assert_eq!(had.code, 130, "{}", had.said);
                bench.nothing_under_way();
            }
            _ => assert_eq!(had.code, -1),
        }
        assert_eq!(bench.trees(), 0);
    }
    open.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(bench.fetch(&url, &[]).text("a"), "two\n");
    bench.nothing_under_way();
}
