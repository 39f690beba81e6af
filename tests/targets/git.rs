//! Repositories over HTTP, file URLs and ssh: the right tree, and nothing leaked.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use base64::Engine as _;

use crate::{
    bench::{Bench, commit, git, objects, repository},
    program::{Forbidden, json_file},
    server::{Reply, Server, git_backend},
};

/// A web server with the repositories of a directory.
fn served(root: std::path::PathBuf) -> Server {
    Server::start(move |asked| git_backend(&root, asked))
}

#[test]
fn a_repository_of_a_web_server_comes_whole_once_and_from_the_cache_after() {
    let bench = Bench::new();
    let repo = repository(&bench.at("served/o/r"));
    let server = served(bench.at("served"));
    let url = server.url("/o/r/.git");
    let had = bench.fetch(&url, &[]);
    assert_eq!(had.text("a"), "two\n");
    let head = git(&repo, &["rev-parse", "HEAD"]);
    let source = had.source();
    assert_eq!(source["kind"], "git");
    assert_eq!(source["location"], url.as_str());
    assert_eq!(
        (source["commit"].as_str(), source["revision"].as_str()),
        (Some(head.as_str()), Some("main"))
    );
    assert_eq!(
        (source["history"].as_str(), source["cached"].as_bool()),
        (Some("depth:1"), Some(false))
    );
    assert!(source["fetched_bytes"].as_u64() > Some(100));
    // A work tree on its branch, one commit deep, which does not know where it comes from.
    assert_eq!(git(&had.tree, &["status", "--porcelain", "--branch"]), "## main");
    assert_eq!(git(&had.tree, &["rev-list", "--count", "HEAD"]), "1");
    for gone in [".git/FETCH_HEAD", ".git/logs", ".git/hooks", ".git/refs/fetched"] {
        assert!(!had.tree.join(gone).exists(), "{gone}");
    }
    assert!(!had.text(".git/config").contains("http"));
    bench.nowhere(&format!("127.0.0.1:{}", 4097));

    server.forget();
    let again = bench.fetch(&url, &[]);
    assert_eq!(again.summary["target_digest"], had.summary["target_digest"]);
    assert_eq!(again.source()["cached"], true);
    assert_eq!(
        server.paths().len(),
        2,
        "only its references are asked for: {:?}",
        server.paths()
    );
    drop(server);
    let offline = bench.fetch(&url, &["--offline"]);
    assert_eq!(offline.summary["target_digest"], had.summary["target_digest"]);
    let why = bench.refused(&url, &["--offline", "--ref", "later"], 11);
    assert!(why.contains("--offline asks no server"), "{why}");
    let why = bench.refused(&url, &[], 11);
    assert!(why.contains(&url) && why.contains("refused"), "{why}");
}

#[test]
fn a_branch_a_tag_and_a_commit_are_named_by_ref() {
    let bench = Bench::new();
    let repo = repository(&bench.at("served/r"));
    let server = served(bench.at("served"));
    let url = server.url("/r/.git");
    let first = git(&repo, &["rev-parse", "main~1"]);
    for (name, text, branch) in [
        ("later", "the future\n", "later"),
        ("v1", "one\n", "HEAD"),
        ("refs/heads/later", "the future\n", "later"),
        (first.as_str(), "one\n", "HEAD"),
    ] {
        let had = bench.fetch(&url, &["--ref", name]);
        assert_eq!(had.text("a"), text, "{name}");
        assert_eq!(git(&had.tree, &["rev-parse", "--abbrev-ref", "HEAD"]), branch, "{name}");
        assert_eq!(had.source()["revision"], name);
    }
    // What is named by its commit needs no server, once it is there.
    server.forget();
    bench.fetch(&url, &["--ref", &first]);
    assert!(server.asked().is_empty());
    let why = bench.refused(&url, &["--ref", "nothing"], 2);
    assert!(why.contains("no branch or tag `nothing`"), "{why}");
    let why = bench.refused(&url, &["--ref", &"0123456789".repeat(4)], 2);
    assert!(why.contains("no commit"), "{why}");
    for bad in ["--ref=--upload-pack=touch x", "--ref=a b", "--ref=x:y"] {
        bench.refused(&url, &[bad], 2);
    }
}

#[test]
fn a_server_without_git_will_do() {
    let bench = Bench::new();
    repository(&bench.at("served/r"));
    git(&bench.at("served/r"), &["repack", "-q", "-a", "-d"]);
    commit(&bench.at("served/r"), "b", "loose\n");
    git(&bench.at("served/r"), &["update-server-info"]);
    let root = bench.at("served");
    let server = Server::start(move |asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        fs::read(root.join(&path[1..])).map_or(Reply::new(404, ""), |bytes| Reply::new(200, bytes))
    });
    let had = bench.fetch(&server.url("/r/.git"), &[]);
    assert_eq!((had.text("a").as_str(), had.text("b").as_str()), ("two\n", "loose\n"));
}

#[test]
fn credentials_go_to_their_server_and_are_found_nowhere_else() {
    let bench = Bench::new();
    repository(&bench.at("served/r"));
    let second = served(bench.at("served"));
    let moved = second.url("");
    let first = Server::start(move |asked| {
        let pair = base64::engine::general_purpose::STANDARD.encode("me:s3cret-word");
        match asked.header("authorization") {
            Some(shown) if shown == format!("Basic {pair}") => Reply::to(&format!("{moved}{}", asked.path)),
            _ => Reply::new(401, "").with("www-authenticate", "Basic realm=x"),
        }
    });
    let url = format!("http://me:s3cret-word@127.0.0.1:{}/r/.git", first.port);
    let had = bench.fetch(&url, &[]);
    assert_eq!(had.text("a"), "two\n");
    assert!(!second.asked().is_empty());
    for asked in second.asked() {
        assert_eq!(asked.header("authorization"), None, "{asked:?}");
    }
    assert!(!had.said.contains("s3cret-word"), "{}", had.said);
    assert_eq!(had.source()["location"], first.url("/r/.git"));
    bench.nowhere("s3cret-word");
    bench.nowhere(&base64::engine::general_purpose::STANDARD.encode("me:s3cret-word"));
    let wrong = format!("http://me:wr0ng-word@127.0.0.1:{}/r/.git", first.port);
    let why = bench.refused(&wrong, &["--refresh"], 11);
    assert!(why.contains("401") && !why.contains("wr0ng-word"), "{why}");
    let (mut command, _) = bench.command(&url, &["--print-config"]);
    let shown = command.output().expect("starts").stdout;
    assert!(!String::from_utf8_lossy(&shown).contains("s3cret-word"));
}

#[test]
fn passing_trouble_passes_and_too_much_of_it_does_not() {
    let bench = Bench::new();
    repository(&bench.at("served/r"));
    let (root, times) = (bench.at("served"), Arc::new(std::sync::atomic::AtomicU32::new(0)));
    let server = Server::start(
        move |asked| match times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Reply::new(503, "").with("retry-after", "0"),
            2 => Reply::new(429, "").with("retry-after", "0"),
            _ => git_backend(&root, asked),
        },
    );
    assert_eq!(bench.fetch(&server.url("/r/.git"), &[]).text("a"), "two\n");
    let busy = Server::start(|_| Reply::new(429, "").with("retry-after", "100000"));
    let why = bench.refused(&busy.url("/r.git"), &[], 11);
    assert!(why.contains("100000 s"), "{why}");
    let round = Server::start(|asked| Reply::to(&asked.path));
    let why = bench.refused(&round.url("/r.git"), &[], 11);
    assert!(why.contains("leads on more than"), "{why}");
}

#[test]
fn more_than_is_allowed_is_not_taken() {
    let bench = Bench::new();
    let repo = repository(&bench.at("served/r"));
    // Bytes that do not pack.
    let noise: String = (0..20_000u32)
        .map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761)))
        .collect();
    commit(&repo, "noise", &noise);
    let server = served(bench.at("served"));
    let url = server.url("/r/.git");
    let why = bench.refused(&url, &["--fetch-max-bytes", "20K"], 11);
    assert!(why.contains("--fetch-max-bytes"), "{why}");
    assert_eq!(bench.fetch(&url, &[]).text("noise"), noise);
}

#[test]
fn a_file_url_is_a_repository_and_not_its_directory() {
    let bench = Bench::new();
    let repo = repository(&bench.at("repo"));
    fs::write(repo.join("a"), "not committed\n").expect("write");
    git(&bench.at(""), &["clone", "-q", "--bare", "repo", "bare.git"]);
    for name in ["repo", "bare.git"] {
        let had = bench.fetch(&format!("file://{}", bench.at(name).display()), &[]);
        assert_eq!(had.text("a"), "two\n", "{name}");
        assert_eq!(git(&had.tree, &["rev-list", "--count", "HEAD"]), "1");
    }
    let plain = bench.fetch("repo", &[]);
    assert_eq!(plain.text("a"), "not committed\n");
    assert_eq!(plain.source()["kind"], "directory");
}

#[test]
fn a_sub_directory_of_a_repository_is_a_target() {
    let bench = Bench::new();
    let repo = repository(&bench.at("repo"));
    commit(&repo, "sub/x", "x\n");
    let had = bench.fetch("repo/sub", &[]);
    assert_eq!((had.text("x").as_str(), had.tree.join("a").exists()), ("x\n", false));
}

#[test]
fn ssh_is_the_hosts_and_git_is_not() {
    let bench = Bench::new();
    repository(&bench.at("served/it's here"));
    fs::create_dir(bench.at("bin")).expect("mkdir");
    let ssh = bench.at("bin/ssh");
    // What the other end would do with the command that comes over.
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >{}\nfor last; do :; done\nexec sh -c \"$last\"\n",
        bench.at("words").display()
    );
    fs::write(&ssh, script).expect("write");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("chmod");
    let path = format!("{}:{}", bench.at("bin").display(), std::env::var("PATH").expect("PATH"));
    let place = bench.at("served/it's here");
    let url = format!("me@host.example:{}", place.display());
    let had = bench.fetch_with(&url, &[], &[("PATH", &path)]);
    assert_eq!(had.text("a"), "two\n");
    let words = fs::read_to_string(bench.at("words")).expect("it was asked");
    let words: Vec<&str> = words.lines().collect();
    assert!(
        words.contains(&"-oBatchMode=yes") && words.contains(&"-oClearAllForwardings=yes"),
        "{words:?}"
    );
    let at = words.iter().position(|word| *word == "--").expect("an end of options");
    assert_eq!(words[at + 1], "me@host.example");
    fs::write(&ssh, "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n").expect("write");
    let why = bench.refused_with(&url, &["--ref", "later"], &[("PATH", &path)], 11);
    assert!(why.contains("Permission denied (publickey)"), "{why}");
}

#[test]
fn submodules_come_only_where_they_are_asked_for() {
    let bench = Bench::new();
    repository(&bench.at("served/inner"));
    let outer = repository(&bench.at("served/outer"));
    git(
        &outer,
        &["submodule", "--quiet", "add", "--name", "in", "../inner", "lib/inner"],
    );
    // As the web server has it.
    fs::write(
        outer.join(".gitmodules"),
        "[submodule \"in\"]\n\tpath = lib/inner\n\turl = ../../inner/.git\n",
    )
    .expect("write");
    git(&outer, &["add", "-A"]);
    git(&outer, &["commit", "-q", "-m", "sub"]);
    let server = served(bench.at("served"));
    let url = server.url("/outer/.git");
    let without = bench.fetch(&url, &[]);
    assert_eq!(
        fs::read_dir(without.tree.join("lib/inner"))
            .expect("a directory")
            .count(),
        0
    );
    assert!(!server.paths().iter().any(|path| path.contains("inner")));
    let with = bench.fetch(&url, &["--submodules"]);
    assert_eq!(with.text("lib/inner/a"), "two\n");
    assert_eq!(
        git(&with.tree.join("lib/inner"), &["rev-parse", "HEAD"]),
        git(&bench.at("served/inner"), &["rev-parse", "HEAD"])
    );
}

#[test]
fn pointers_of_lfs_are_told() {
    let bench = Bench::new();
    let repo = repository(&bench.at("served/r"));
    commit(&repo, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    commit(&repo, "data/weights.bin", pointer);
    let server = served(bench.at("served"));
    let had = bench.fetch(&server.url("/r/.git"), &[]);
    assert_eq!(had.text("data/weights.bin"), pointer);
    let notes = had.source()["notes"].to_string();
    assert!(
        notes.contains("1 files are pointers of Git LFS") && notes.contains("data/weights.bin"),
        "{notes}"
    );
    assert!(had.said.contains("pointers of Git LFS"), "{}", had.said);
}

#[test]
fn git_does_without_namespaces_where_that_is_accepted() {
    for forbidden in Forbidden::all() {
        let bench = Bench::new();
        let repo = repository(&bench.at("served/r"));
        let server = served(bench.at("served"));
        let url = server.url("/r/.git");
        for (target, flag) in [
            (url.as_str(), "--history=reachable"),
            (repo.to_str().expect("UTF-8"), "--scrub-git-future"),
        ] {
            let (mut command, runs) = bench.command(target, &["--sandbox", "jail", "--min-tier", "landlock", flag]);
            command.env("OPENCODE_FSM_SANDBOX", "jail");
            let (code, text) = forbidden.output(&command);
            assert_eq!(code, Some(0), "{forbidden:?}: {text}");
            let run = fs::read_dir(&runs)
                .expect("runs")
                .next()
                .expect("a run")
                .expect("entry")
                .path();
            let summary = json_file(&run.join("summary.json"));
            assert_eq!(summary["walls"]["tier"], "landlock");
            let digest = summary["target_digest"].as_str().expect("a digest");
            let tree = bench.cache().join("targets/trees").join(digest).join("tree");
            assert_eq!(
                objects(&tree),
                git(&repo, &["rev-list", "--objects", "main"]).lines().count()
            );
        }
    }
}
