//! The names of targets, the predecessor's among them.

use super::*;

fn endpoints() -> Endpoints {
    Endpoints::of(|_| None).expect("the defaults")
}

/// Kind and what is shown, or the reason.
fn read(text: &str) -> Result<(&'static str, String), String> {
    match Target::parse(OsStr::new(text), &endpoints()) {
        Ok(Named { target, .. }) => {
            let kind = match &target {
                Target::Directory(_) => "directory",
                Target::ArchiveFile(..) => "archive file",
                Target::Archive(..) => "archive",
                Target::Git(repository) if repository.github.is_some() => "github",
                Target::Git(_) => "git",
                Target::Dataset(_) => "dataset",
            };
            Ok((kind, target.to_string()))
        }
        Err(why) => Err(why.to_string()),
    }
}

#[test]
fn every_name_is_read_as_what_it_is() {
    for (text, kind, shown) in [
        ("https://host.example/o/r.git", "git", "https://host.example/o/r.git"),
        ("https://host.example/o/r", "git", "https://host.example/o/r"),
        ("http://host.example/o/r.git", "git", "http://host.example/o/r.git"),
        (
            "ssh://git@host.example/o/r.git",
            "git",
            "ssh://git@host.example/o/r.git",
        ),
        ("git@github.com:o/r.git", "git", "ssh://git@github.com/o/r.git"),
        ("host.example:o/r.git", "git", "ssh://host.example/o/r.git"),
        ("o/r", "github", "https://github.com/o/r.git"),
        (
            "my-org/my_repo.rs",
            "github",
            "https://github.com/my-org/my_repo.rs.git",
        ),
        ("o/digit.git", "github", "https://github.com/o/digit.git"),
        ("https://github.com/o/r", "github", "https://github.com/o/r.git"),
        (
            "https://www.github.com/o/r.git/",
            "github",
            "https://github.com/o/r.git",
        ),
        (
            "https://github.com/o/r/tree/dev",
            "github",
            "https://github.com/o/r.git",
        ),
        ("https://tok@github.com/o/r.git", "git", "https://github.com/o/r.git"),
        (
            "https://host.example/a/b.tar.gz",
            "archive",
            "https://host.example/a/b.tar.gz",
        ),
        (
            "https://u:p@host.example/b.ZIP?sig=s",
            "archive",
            "https://host.example/b.ZIP?***",
        ),
        (
            "https://github.com/o/r/archive/refs/heads/main.zip",
            "archive",
            "https://github.com/o/r/archive/refs/heads/main.zip",
        ),
        ("hf:squad", "dataset", "hf:squad"),
        ("hf:org/name@v1.0", "dataset", "hf:org/name"),
        ("https://huggingface.co/datasets/org/name", "dataset", "hf:org/name"),
        (
            "https://www.huggingface.co/datasets/org/name/",
            "dataset",
            "hf:org/name",
        ),
        ("https://hf.co/datasets/squad", "dataset", "hf:squad"),
        ("https://huggingface.co/datasets/squad/tree/main", "dataset", "hf:squad"),
        (
            "https://huggingface.co/datasets/org/name/viewer/a/b",
            "dataset",
            "hf:org/name",
        ),
        (
            "https://huggingface.co/org/model",
            "git",
            "https://huggingface.co/org/model",
        ),
    ] {
        assert_eq!(read(text), Ok((kind, shown.to_owned())), "{text}");
    }
}

#[test]
fn revisions_in_names_are_kept() {
    let revision = |text: &str| match Target::parse(OsStr::new(text), &endpoints()).expect(text).target {
        Target::Git(repository) => repository.revision,
        Target::Dataset(dataset) => dataset.revision,
        _ => None,
    };
    assert_eq!(revision("https://github.com/o/r/tree/dev").as_deref(), Some("dev"));
    assert_eq!(revision("hf:a/b@refs/pr/1").as_deref(), Some("refs/pr/1"));
    let url = "https://huggingface.co/datasets/a/b/tree/refs%2Fpr%2F1/data";
    assert_eq!(revision(url).as_deref(), Some("refs/pr/1"));
    assert_eq!(
        revision("https://huggingface.co/datasets/squad/tree/v2").as_deref(),
        Some("v2")
    );
}

/// The predecessor sent some of these to GitHub, and gave others to git as options.
#[test]
fn what_is_nothing_is_an_error_and_never_something_else() {
    for text in [
        "./typo",
        "../typo",
        "./owner/repo",
        "typo/",
        "owner/repo/",
        "/no/such/dir",
        "~/no-such-directory-here",
        "typo",
        "",
        "a/b/c",
        "-x/y.git",
        "--upload-pack=x",
        "-oProxyCommand=x:y.git",
        "owner/-repo",
        "owner/..",
        "no/such.zip",
        "no-such.tar.gz",
        "git://host.example/o/r.git",
        "ftp://host.example/a.zip",
        "ext::sh -c id",
        "https://",
        "https://host.example/",
        "https://github.com/o/r/tree/dev/sub",
        "hf:",
        "hf:a/b/c",
        "hf:../x",
        "hf:a/b@",
        "https://huggingface.co/datasets/",
        "file:///no/such/dir",
        "ssh://-oProxyCommand=x/y",
    ] {
        let why = read(text).expect_err(text);
        assert!(why.starts_with("target "), "{why}");
    }
    let why = read("https://me:s3cret@host.example").expect_err("no repository");
    assert!(!why.contains("s3cret") && why.contains("***@host.example"), "{why}");
}

#[test]
fn what_exists_here_comes_first_and_that_is_said() {
    let dir = tempfile::tempdir().expect("tempdir");
    let inner = dir.path().join("owner/repo");
    std::fs::create_dir_all(&inner).expect("mkdir");
    std::fs::write(dir.path().join("a.tar.gz"), "").expect("write");
    std::fs::write(dir.path().join("plain"), "").expect("write");
    let at = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    assert_eq!(read(&at("owner/repo")).expect("there").0, "directory");
    assert_eq!(read(&at("a.tar.gz")).expect("there").0, "archive file");
    assert_eq!(
        read(&format!("file://{}", at("a.tar.gz"))).expect("there").0,
        "archive file"
    );
    assert_eq!(read(&format!("file://{}", at("owner"))).expect("there").0, "git");
    assert!(
        read(&at("plain"))
            .expect_err("no archive")
            .contains("no directory, and no archive")
    );
    // The test's own directory is the package's root, which has this.
    let named = Target::parse(OsStr::new("src/source"), &endpoints()).expect("there");
    assert!(named.target.directory().is_some());
    assert!(named.note.expect("said").contains("is a local directory"));
    let elsewhere = Target::parse(OsStr::new("no-such/thing"), &endpoints()).expect("GitHub's");
    assert!(elsewhere.note.expect("said").contains("GitHub"));
}
