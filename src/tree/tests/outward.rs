//! What comes out: exports and applied changes.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

struct Run {
    bench: Bench,
    pristine: Pristine,
    state: Checkpoint,
    changes: Vec<Change>,
}

/// A source, and what an agent made of a copy of it.
fn work(source: impl FnOnce(&Path), edit: impl FnOnce(&Path)) -> Run {
    let bench = Bench::new();
    source(&bench.source());
    let pristine = bench.pristine();
    cp(&pristine.roots[0], &bench.at("work"));
    edit(&bench.at("work"));
    let empty = Checkpoint::empty(&bench.at("l0")).unwrap();
    let state = Checkpoint::freeze_copy(&pristine, &bench.at("work"), &[], &bench.at("l1")).unwrap();
    let changes = state.changes_since(&pristine, &empty);
    Run {
        bench,
        pristine,
        state,
        changes,
    }
}

impl Run {
    fn export(&self, bytes: u64) -> Vec<(String, String)> {
        self.export_most(ExportCaps { bytes, files: 1000 })
    }

    fn export_most(&self, most: ExportCaps) -> Vec<(String, String)> {
        let out = export(&self.pristine, &self.state, &self.changes, &self.bench.at("out"), most).unwrap();
        out.into_iter().map(|(path, why)| (path.to_string(), why)).collect()
    }

    fn apply(&self) -> Result<(), TreeError> {
        apply_to(&self.bench.source(), &self.bench.at("out"), &self.changes)
    }
}

#[test]
fn export_refuses_what_could_hurt_and_lets_the_rest_out() {
    let run = work(
        |_| {},
        |work| {
            write(work, "good/file", b"good");
            write(work, "Case", b"1");
            write(work, "case", b"2");
            write(work, "set", b"s");
            write(work, ".GIT/hooks/x", b"h");
            write(work, "big", &[1; 5000]);
            fs::set_permissions(work.join("set"), fs::Permissions::from_mode(0o6755)).unwrap();
            symlink("good/file", work.join("in")).unwrap();
            symlink("../good/file", work.join("good/in")).unwrap();
            symlink("/etc/passwd", work.join("abs")).unwrap();
            symlink("../x", work.join("out")).unwrap();
            symlink("good/../../x", work.join("sly")).unwrap();
            nix::unistd::mkfifo(&work.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        },
    );
    assert_eq!(
        run.state.left_out().len(),
        2,
        "the fifo and the set-id bits: {:?}",
        run.state.left_out()
    );
    let mut refused: Vec<String> = run.export(4000).into_iter().map(|(at, _)| at).collect();
    refused.sort();
    assert_eq!(
        refused,
        [
            ".GIT",
            ".GIT/hooks",
            ".GIT/hooks/x",
            "abs",
            "big",
            "case",
            "out",
            "pipe",
            "set",
            "sly"
        ]
    );
    let out = run.bench.at("out");
    assert_eq!(fs::read(out.join("good/in")).unwrap(), b"good");
    assert_eq!(fs::read(out.join("in")).unwrap(), b"good");
    assert_eq!(fs::metadata(out.join("set")).unwrap().mode() & 0o7777, 0o755);
    for absent in ["abs", "out", "sly", "pipe", "big", "case", ".GIT"] {
        assert!(fs::symlink_metadata(out.join(absent)).is_err(), "{absent}");
    }
}

fn plain_work() -> Run {
    work(
        |source| {
            write(source, "keep", b"keep");
            write(source, "edit", b"old");
            write(source, "gone/a", b"a");
            write(source, "gone/b", b"b");
            write(source, "swap/x", b"x");
            write(source, "flip", b"f");
        },
        |work| {
            write(work, "edit", b"new");
            write(work, "new/deep/file", b"n");
            fs::remove_dir_all(work.join("gone")).unwrap();
            fs::remove_dir_all(work.join("swap")).unwrap();
            write(work, "swap", b"now a file");
            fs::remove_file(work.join("flip")).unwrap();
            write(work, "flip/x", b"now a directory");
            symlink("keep", work.join("link")).unwrap();
        },
    )
}

#[test]
fn no_more_files_come_out_than_the_cap_allows() {
    let run = plain_work();
    let few = ExportCaps {
        bytes: 1 << 20,
        files: 3,
    };
    let refused = run.export_most(few);
    let why = "there are more files than the cap allows";
    assert_eq!(refused.len(), 2, "of five files and links: {refused:?}");
    assert!(refused.iter().all(|(_, found)| found == why), "{refused:?}");
}

#[test]
fn applying_makes_the_target_equal_to_the_work() {
    let run = plain_work();
    assert_eq!(run.export(1 << 20), []);
    fs::set_permissions(run.bench.source().join("edit"), fs::Permissions::from_mode(0o644)).unwrap();
    run.apply().unwrap();
    let target = Checkpoint::freeze_copy(&run.pristine, &run.bench.source(), &[], &run.bench.at("l2")).unwrap();
    assert_eq!(resolved(&run.pristine, &target), resolved(&run.pristine, &run.state));
    assert!(
        matches!(run.apply(), Err(TreeError::MovedOn(_))),
        "a second time it is no longer as it was"
    );
}

#[test]
fn a_target_that_moved_on_is_not_touched_at_all() {
    type Disturb = fn(&Path);
    let disturb: [(&str, Disturb); 6] = [
        ("edit", |target| write(target, "edit", b"mine")),
        ("edit", |target| {
            fs::set_permissions(target.join("edit"), fs::Permissions::from_mode(0o755)).unwrap()
        }),
        ("gone/a", |target| fs::remove_file(target.join("gone/a")).unwrap()),
        ("new", |target| write(target, "new/other", b"mine")),
        ("swap", |target| write(target, "swap/mine", b"mine")),
        ("link", |target| symlink("/etc", target.join("link")).unwrap()),
    ];
    for (at, disturb) in disturb {
        let run = plain_work();
        run.export(1 << 20);
        disturb(&run.bench.source());
        let before = run
            .bench
            .cache()
            .pristine(&run.bench.source(), &LIMITS, &|_, _| {})
            .unwrap()
            .digest;
        match run.apply() {
            Err(TreeError::MovedOn(paths)) => assert_eq!(paths, [path(at)]),
            other => panic!("{at}: {other:?}"),
        }
        let after = run
            .bench
            .cache()
            .pristine(&run.bench.source(), &LIMITS, &|_, _| {})
            .unwrap()
            .digest;
        assert_eq!(before, after, "{at}");
    }
}

#[test]
fn applying_goes_through_no_link_of_the_users_and_brings_no_git_files() {
    let run = plain_work();
    run.export(1 << 20);
    let (source, elsewhere) = (run.bench.source(), run.bench.at("elsewhere"));
    fs::rename(source.join("gone"), &elsewhere).unwrap();
    symlink(&elsewhere, source.join("gone")).unwrap();
    assert!(matches!(run.apply(), Err(TreeError::MovedOn(_))));
    assert!(elsewhere.join("a").exists());
    let run = work(|_| {}, |work| write(work, ".git/hooks/post-checkout", b"evil"));
    run.export(1 << 20);
    assert!(matches!(run.apply(), Err(TreeError::Refused(_))));
    assert!(!run.bench.source().join(".git").exists());
}

#[test]
fn a_socket_of_the_users_keeps_its_directory_alive() {
    let run = plain_work();
    run.export(1 << 20);
    nix::unistd::mkfifo(&run.bench.source().join("gone/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    run.apply().unwrap();
    assert!(run.bench.source().join("gone/pipe").exists());
    assert!(!run.bench.source().join("gone/a").exists());
}
