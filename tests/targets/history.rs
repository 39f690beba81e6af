//! How much of the past comes along, and that nothing of the future does.

use std::fs;

use crate::{
    bench::{Bench, commit, git, objects, repository},
    program::fingerprint,
    server::{Server, git_backend},
};

#[test]
fn reachable_is_all_that_head_reaches_and_nothing_else() {
    let bench = Bench::new();
    let repo = repository(&bench.at("served/r"));
    let root = bench.at("served");
    let server = Server::start(move |asked| git_backend(&root, asked));
    let url = server.url("/r/.git");
    let full = bench.fetch(&url, &["--history", "full"]);
    assert_eq!(objects(&full.tree), objects(&repo), "the control: the future is there");
    assert_eq!(full.source()["history"], "full");
    assert!(git(&full.tree, &["for-each-ref"]).contains("refs/remotes/origin/later"));
    assert!(git(&full.tree, &["tag"]).contains("v9"));
    for flag in [&["--history", "reachable"][..], &["--scrub-git-future"]] {
        let had = bench.fetch(&url, flag);
        let reachable = git(&repo, &["rev-list", "--objects", "main"]).lines().count();
        assert_eq!(objects(&had.tree), reachable);
        assert_eq!(git(&had.tree, &["rev-list", "--count", "HEAD"]), "2");
        assert_eq!(
            git(&had.tree, &["for-each-ref", "--format=%(refname)"]),
            "refs/heads/main"
        );
        let counted = serde_json::json!({"reachable": reachable, "present": reachable});
        assert_eq!(had.source()["objects"], counted);
        assert_eq!(had.source()["history"], "reachable");
    }
    let deeper = bench.fetch(&url, &["--depth", "2"]);
    assert_eq!(git(&deeper.tree, &["rev-list", "--count", "HEAD"]), "2");
    assert_eq!(deeper.source()["history"], "depth:2");
}

#[test]
fn a_directorys_future_can_be_cut_and_its_files_stay_as_they_are() {
    let bench = Bench::new();
    let repo = repository(&bench.at("repo"));
    // What lies about in a repository that somebody works in.
    git(&repo, &["config", "core.logAllRefUpdates", "true"]);
    let lost = commit(&repo, "a", "the lost solution\n");
    git(&repo, &["reset", "-q", "--hard", "HEAD~1"]);
    git(&repo, &["update-ref", "refs/remotes/origin/main", &lost]);
    fs::write(repo.join("a"), "the stashed solution\n").expect("write");
    git(&repo, &["stash", "-q"]);
    fs::write(repo.join("a"), "not committed\n").expect("write");
    fs::write(repo.join("new"), "new\n").expect("write");
    fs::write(repo.join("run.sh"), "#!/bin/sh\n").expect("write");
    let before = fingerprint(&repo);
    let whole = bench.fetch("repo", &[]);
    assert_eq!(git(&whole.tree, &["cat-file", "-t", &lost]), "commit", "the control");
    let had = bench.fetch("repo", &["--scrub-git-future"]);
    let reachable = git(&repo, &["rev-list", "--objects", "main"]).lines().count();
    assert_eq!(objects(&had.tree), reachable);
    assert!(objects(&whole.tree) > reachable + 3);
    assert_eq!(had.source()["objects"]["present"], reachable);
    assert_eq!(
        git(&had.tree, &["for-each-ref", "--format=%(refname)"]),
        "refs/heads/main"
    );
    assert!(!had.tree.join(".git/logs").exists());
    assert_eq!(
        (had.text("a").as_str(), had.text("new").as_str()),
        ("not committed\n", "new\n")
    );
    assert_eq!(git(&had.tree, &["status", "--porcelain"]), "M a\n?? new\n?? run.sh");
    assert_eq!(fingerprint(&repo), before, "the target is as it was");
    let again = bench.fetch("repo", &["--scrub-git-future"]);
    assert_eq!(again.source()["cached"], true);
    // Where there is no repository there is nothing to cut, and that is said.
    fs::create_dir(bench.at("plain")).expect("mkdir");
    fs::write(bench.at("plain/x"), "x").expect("write");
    let plain = bench.fetch("plain", &["--scrub-git-future"]);
    assert!(
        plain.source()["notes"].to_string().contains("no repository"),
        "{:?}",
        plain.source()
    );
}
