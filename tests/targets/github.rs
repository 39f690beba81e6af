//! A GitHub of this machine: git that does not get through, archives, keys.

use std::{fs, process::Command};

use base64::Engine as _;

use crate::{
    bench::{Bench, git, repository},
    server::{Reply, Server, git_backend},
};

/// The archive that git makes of a branch, as GitHub does.
fn archive(bench: &Bench, branch: &str) -> Vec<u8> {
    let repo = bench.at("repo");
    if !repo.exists() {
        repository(&repo);
    }
    let out = Command::new("git")
        .current_dir(&repo)
        .args([
            "-c",
            "safe.directory=*",
            "archive",
            "--format=tar.gz",
            "--prefix=r-x/",
            branch,
        ])
        .output()
        .expect("git");
    assert!(out.status.success());
    out.stdout
}

/// Where both servers are.
fn env(server: &Server) -> [(&'static str, String); 2] {
    [
        ("GITHUB_SERVER_URL", server.url("")),
        ("GITHUB_API_URL", server.url("/api")),
    ]
}

fn refs<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    env.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn a_short_name_is_a_repository_of_github_by_git() {
    let bench = Bench::new();
    repository(&bench.at("served/o/r.git"));
    let root = bench.at("served");
    let server = Server::start(move |asked| {
        let pair = base64::engine::general_purpose::STANDARD.encode("x-access-token:gh-t0ken");
        match asked.header("authorization") == Some(&format!("Basic {pair}")) {
            true => git_backend(&root, asked),
            false => Reply::new(404, ""),
        }
    });
    fs::rename(bench.at("served/o/r.git/.git"), bench.at("served/o/x")).expect("rename");
    fs::remove_dir_all(bench.at("served/o/r.git")).expect("rm");
    fs::rename(bench.at("served/o/x"), bench.at("served/o/r.git")).expect("rename");
    let env = env(&server);
    let with = [refs(&env), vec![("GITHUB_TOKEN", "gh-t0ken")]].concat();
    for name in ["o/r", &server.url("/o/r"), &server.url("/o/r/tree/later")] {
        let had = bench.fetch_with(name, &[], &with);
        let expected = if name.ends_with("later") {
            "the future\n"
        } else {
            "two\n"
        };
        assert_eq!(had.text("a"), expected);
        assert_eq!(had.source()["kind"], "git");
        assert!(!had.said.contains("gh-t0ken"));
    }
    bench.nowhere("gh-t0ken");
    let why = bench.refused_with("o/r", &["--history", "full"], &refs(&env), 11);
    assert!(why.contains("GITHUB_TOKEN"), "{why}");
}

#[test]
fn where_git_is_blocked_the_archive_of_the_default_branch_is_taken() {
    let bench = Bench::new();
    let bytes = archive(&bench, "main");
    let head = git(&bench.at("repo"), &["rev-parse", "main"]);
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/api/repos/o/r" => Reply::new(200, r#"{"default_branch": "trunk", "private": false}"#),
        "/o/r/archive/refs/heads/trunk.tar.gz" => Reply::new(200, bytes.clone()),
        path if path.contains("info/refs") => Reply::new(403, ""),
        _ => Reply::new(404, ""),
    });
    let had = bench.fetch_with("o/r", &[], &refs(&env(&server)));
    assert_eq!(had.text("a"), "two\n");
    let source = had.source();
    assert_eq!(
        (source["kind"].as_str(), source["revision"].as_str()),
        (Some("github-archive"), Some("trunk"))
    );
    assert_eq!(
        source["commit"],
        head.as_str(),
        "the archive says of which commit it is"
    );
    assert!(
        source["notes"].to_string().contains("git did not get through"),
        "{source}"
    );
    assert!(!had.tree.join(".git").exists());
    let archives: Vec<String> = server
        .paths()
        .into_iter()
        .filter(|path| path.contains("archive"))
        .collect();
    assert_eq!(archives, ["/o/r/archive/refs/heads/trunk.tar.gz"]);
    // What an archive cannot give is not given in silence.
    bench.refused_with("o/r", &["--history", "reachable"], &refs(&env(&server)), 11);
    bench.refused_with("o/r", &["--submodules"], &refs(&env(&server)), 11);
}

#[test]
fn main_and_then_master_are_tried_where_nobody_says() {
    let bench = Bench::new();
    let bytes = archive(&bench, "main");
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/o/r/archive/refs/heads/master.tar.gz" => Reply::new(200, bytes.clone()),
        _ => Reply::new(404, ""),
    });
    let had = bench.fetch_with("o/r", &[], &refs(&env(&server)));
    assert_eq!(
        (had.text("a").as_str(), had.source()["revision"].as_str()),
        ("two\n", Some("master"))
    );
    let archives: Vec<String> = server
        .paths()
        .into_iter()
        .filter(|path| path.contains("archive"))
        .collect();
    assert_eq!(
        archives,
        [
            "/o/r/archive/refs/heads/main.tar.gz",
            "/o/r/archive/refs/heads/master.tar.gz"
        ]
    );
    let why = bench.refused_with("o/other", &[], &refs(&env(&server)), 11);
    assert!(
        why.contains("by git: ") && why.contains("by its archive: ") && why.contains("GITHUB_TOKEN"),
        "{why}"
    );
}

#[test]
fn a_private_repositorys_archive_comes_by_the_api_and_the_key_stays_there() {
    let bench = Bench::new();
    let bytes = archive(&bench, "later");
    let elsewhere = Server::start(move |asked| Reply::file(asked, &bytes, "\"1\""));
    let place = elsewhere.url("/codeload?token=temp0rary");
    let server = Server::start(
        move |asked| match (asked.path.as_str(), asked.header("authorization")) {
            ("/api/repos/o/r", Some("Bearer gh-t0ken")) => Reply::new(200, r#"{"default_branch": "later"}"#),
            ("/api/repos/o/r/tarball/later", Some("Bearer gh-t0ken")) => Reply::to(&place),
            _ => Reply::new(404, ""),
        },
    );
    let env = env(&server);
    for variable in ["GITHUB_TOKEN", "GH_TOKEN"] {
        let with = [refs(&env), vec![(variable, "gh-t0ken")]].concat();
        let had = bench.fetch_with("o/r", &["--refresh"], &with);
        assert_eq!(had.text("a"), "the future\n");
        assert!(
            !had.said.contains("gh-t0ken") && !had.said.contains("temp0rary"),
            "{}",
            had.said
        );
    }
    assert!(
        elsewhere
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
    bench.nowhere("gh-t0ken");
    bench.nowhere("temp0rary");
    let with = [refs(&env), vec![("GH_TOKEN", "gh-t0ken")]].concat();
    let had = bench.fetch_with("o/r", &["--ref", "later"], &with);
    assert_eq!(had.source()["revision"], "later");
}

#[test]
fn an_archive_that_is_none_is_an_error() {
    let bench = Bench::new();
    let server = Server::start(|asked| match asked.path.contains("archive") {
        true => Reply::new(200, "<html>sign in</html>"),
        false => Reply::new(404, ""),
    });
    let why = bench.refused_with("o/r", &[], &refs(&env(&server)), 11);
    assert!(why.contains("damaged"), "{why}");
}
