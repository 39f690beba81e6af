//! Names on the command line.

use std::fs;

use crate::bench::Bench;

#[test]
fn a_mistyped_path_is_an_error_and_nobody_is_asked() {
    let bench = Bench::new();
    fs::create_dir(bench.at("there")).expect("mkdir");
    let dead = [
        ("GITHUB_SERVER_URL", "http://127.0.0.1:1"),
        ("GITHUB_API_URL", "http://127.0.0.1:1"),
    ];
    for name in [
        "./typo",
        "../typo",
        "typo/",
        "./owner/repo",
        "/no/such/place",
        "typo",
        "no-such.tar.gz",
    ] {
        let why = bench.refused_with(name, &[], &dead, 2);
        assert!(why.contains("there is no such directory"), "{name}: {why}");
    }
    for name in [
        "git://host.invalid/x",
        "ftp://host.invalid/x.zip",
        "ext::sh -c id",
        "hf:../x",
        "a/b/c",
    ] {
        bench.refused_with(name, &[], &dead, 2);
    }
    // The control: the same name without `./` is a repository of that server.
    let why = bench.refused_with("owner/repo", &[], &dead, 11);
    assert!(why.contains("http://127.0.0.1:1/owner/repo"), "{why}");
}

#[test]
fn what_is_here_comes_first_and_it_is_said() {
    let bench = Bench::new();
    fs::create_dir_all(bench.at("owner/repo")).expect("mkdir");
    fs::write(bench.at("owner/repo/x"), "local\n").expect("write");
    let had = bench.fetch("owner/repo", &[]);
    assert_eq!(had.text("x"), "local\n");
    assert!(
        had.said.contains("is a local directory") && had.said.contains("https://github.com/owner/repo"),
        "{}",
        had.said
    );
}

#[test]
fn plain_http_to_others_has_to_be_accepted_by_name() {
    let bench = Bench::new();
    for target in ["http://host.invalid/r.git", "http://host.invalid/a.zip"] {
        let why = bench.refused(target, &[], 2);
        assert!(why.contains("--allow-http"), "{why}");
        let why = bench.refused(target, &["--allow-http", "--offline"], 11);
        assert!(why.contains("--offline"), "{why}");
    }
}

#[test]
fn flags_that_say_nothing_about_a_target_are_errors() {
    let bench = Bench::new();
    fs::create_dir(bench.at("here")).expect("mkdir");
    for flags in [&["--ref", "x"][..], &["--depth", "3"], &["--submodules"]] {
        let why = bench.refused("here", flags, 2);
        assert!(why.contains(flags[0]), "{why}");
    }
    for flags in [&["--history", "full"][..], &["--depth", "3"]] {
        bench.refused("hf:squad", flags, 2);
    }
}
