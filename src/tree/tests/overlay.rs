//! Checkpoints against a real overlay: what the kernel shows and what we resolve must be one.

use std::process::Command;

use proptest::prelude::*;

use super::*;

/// Mounts `lowers` (lowest first) with a fresh upper, runs `script` in the merged
/// tree, and copies what it then shows to `view`. In a user namespace of its own.
pub(super) fn in_overlay(bench: &Bench, lowers: &[&Path], name: &str, script: &str) {
    for dir in ["upper", "work", "merged"] {
        fs::create_dir(bench.at(&format!("{name}-{dir}"))).unwrap();
    }
    let lower: Vec<String> = lowers.iter().rev().map(|dir| dir.display().to_string()).collect();
    let at = |dir: &str| bench.at(&format!("{name}-{dir}")).display().to_string();
    let whole = format!(
        "set -e\nmount -t overlay -o userxattr,lowerdir={},upperdir={},workdir={} overlay {merged}\n\
         cd {merged}\nset +e\n( :\n{script}\n) 2>/dev/null\nset -e\ncp -a {merged} {}\n",
        lower.join(":"),
        at("upper"),
        at("work"),
        at("view"),
        merged = at("merged"),
    );
    run(Command::new("unshare").args(["-Urm", "sh", "-c", &whole]));
}

/// Reads a whole tree as a checkpoint over `pristine`.
pub(super) fn walked(bench: &Bench, pristine: &Pristine, view: &str, name: &str) -> Checkpoint {
    Checkpoint::freeze_copy(pristine, &bench.at(view), &[], &bench.at(name)).unwrap()
}

pub(super) fn source(bench: &Bench) {
    for name in ["a/x", "a/y", "a/b/x", "b/x/y", "c"] {
        bench.write(name, name.as_bytes());
    }
    std::os::unix::fs::symlink("c", bench.source().join("y")).unwrap();
}

/// Takes the edits to a copied tree as the guest does to a live one.
fn edit(tree: &Path, edits: &TreeEdits) {
    for removal in &edits.removals {
        let full = removal.under(tree);
        if fs::symlink_metadata(&full).is_ok() {
            remove_all(&full).unwrap();
        }
    }
    let mut archive = ::tar::Archive::new(edits.tar.as_slice());
    archive.set_preserve_permissions(true);
    archive.unpack(tree).unwrap();
}

#[test]
fn a_replaced_directory_hides_what_was_in_it() {
    let bench = Bench::new();
    source(&bench);
    let pristine = bench.pristine();
    in_overlay(
        &bench,
        &[&pristine.roots[0]],
        "one",
        "rm -r a; mkdir a; echo new > a/new; rm -r b; ln -s a b; chmod 600 c; cat y >> /dev/null; touch y",
    );
    let opaque = xattr_of(&bench.at("one-upper/a"));
    assert!(
        opaque,
        "the case is not what it should be: the kernel made no opaque directory"
    );
    let frozen = Checkpoint::freeze(&pristine, None, &bench.at("one-upper"), &bench.at("l1")).unwrap();
    assert_eq!(frozen.entry(&pristine, &path("a/x")), None);
    assert_eq!(frozen.entry(&pristine, &path("a/b/x")), None);
    assert_eq!(frozen.read(&pristine, &path("a/new"), 100).unwrap().unwrap(), b"new\n");
    assert_eq!(frozen.read(&pristine, &path("b/x/y"), 100).unwrap(), None);
    let empty = Checkpoint::empty(&bench.at("l0")).unwrap();
    let changes = frozen.changes_since(&pristine, &empty);
    let kinds: Vec<(String, ChangeKind)> = changes.iter().map(|c| (c.path.to_string(), c.kind)).collect();
    use ChangeKind::*;
    let expected = [
        ("a/b", Deleted),
        ("a/b/x", Deleted),
        ("a/new", Added),
        ("a/x", Deleted),
        ("a/y", Deleted),
        ("b", Modified),
        ("b/x", Deleted),
        ("b/x/y", Deleted),
        ("c", Modified),
    ];
    assert_eq!(kinds, expected.map(|(at, kind)| (at.to_string(), kind)));
}

fn xattr_of(dir: &Path) -> bool {
    let fd = super::super::at::open_root(dir).unwrap();
    super::super::at::xattr(&fd, c"user.overlay.opaque").unwrap().is_some()
}

#[test]
fn a_mask_layer_hides_and_a_checkpoint_over_it_does_not_miss_what_it_hid() {
    let bench = Bench::new();
    source(&bench);
    let pristine = bench.pristine();
    let hidden = [path("a"), path("absent/x")];
    let mask = mask_layer(&pristine, &hidden, &bench.at("mask")).unwrap();
    in_overlay(
        &bench,
        &[&pristine.roots[0], &mask],
        "one",
        "test ! -e a && mkdir a && echo planted > a/planted",
    );
    let frozen = Checkpoint::freeze(&pristine, None, &bench.at("one-upper"), &bench.at("l1")).unwrap();
    let empty = Checkpoint::empty(&bench.at("l0")).unwrap();
    let edits = frozen
        .edits_back_masked(&pristine, &empty, &[path("a")], &hidden)
        .unwrap();
    assert_eq!(edits.removals, [path("a")]);
    assert!(edits.tar.is_empty(), "what is hidden is not brought back");
    in_overlay(
        &bench,
        &[&pristine.roots[0], &mask],
        "two",
        "echo work > c; mkdir a; echo x > a/f; rm -r a; echo x > a; rm a",
    );
    let frozen = Checkpoint::freeze(&pristine, None, &bench.at("two-upper"), &bench.at("l2")).unwrap();
    assert_eq!(frozen.changes_since(&pristine, &empty).len(), 1);
}

#[test]
fn what_was_not_there_is_taken_back_without_what_stands_above_it() {
    let bench = Bench::new();
    source(&bench);
    let pristine = bench.pristine();
    in_overlay(&bench, &[&pristine.roots[0]], "one", "rm -r b; printf '' > b");
    let one = Checkpoint::freeze(&pristine, None, &bench.at("one-upper"), &bench.at("l1")).unwrap();
    in_overlay(&bench, &[&pristine.roots[0], &one.layer], "two", "ln -sfn a b");
    let two = Checkpoint::freeze(&pristine, Some(&one), &bench.at("two-upper"), &bench.at("l2")).unwrap();
    // Neither state has anything below `b`, so there is nothing to do.
    let edits = two.edits_back(&pristine, &one, &[path("b/x")]).unwrap();
    assert!(edits.removals.is_empty() && edits.tar.is_empty());
}

#[test]
fn a_file_is_written_without_following_what_is_there() {
    let bench = Bench::new();
    source(&bench);
    let pristine = bench.pristine();
    let empty = Checkpoint::empty(&bench.at("l0")).unwrap();
    let one = empty
        .with_file(&pristine, &path("y"), b"plan", &bench.at("l1"))
        .unwrap();
    assert_eq!(one.read(&pristine, &path("y"), 10).unwrap().unwrap(), b"plan");
    assert_eq!(one.read(&pristine, &path("c"), 10).unwrap().unwrap(), b"c");
    let two = one
        .with_file(&pristine, &path("new/dir/f"), b"x", &bench.at("l2"))
        .unwrap();
    assert_eq!(two.read(&pristine, &path("y"), 10).unwrap().unwrap(), b"plan");
    assert_eq!(two.changes_since(&pristine, &one).len(), 3);
    assert!(two.with_file(&pristine, &path("c/f"), b"x", &bench.at("l3")).is_err());
    assert!(two.with_file(&pristine, &path("a"), b"x", &bench.at("l4")).is_err());
    in_overlay(&bench, &[&pristine.roots[0], &two.layer], "seen", "true");
    let seen = walked(&bench, &pristine, "seen-view", "l5");
    assert_eq!(resolved(&pristine, &seen), resolved(&pristine, &two));
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "x", "y", "'n w'"]), 1..4)
        .prop_map(|names| names.join("/"))
}

/// None of them may wait: a write to a fifo that nobody reads would.
fn command() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (name(), "[a-z]{0,3}").prop_map(|(at, text)| format!("test -p {at} || printf '{text}' > {at}")),
        2 => name().prop_map(|at| format!("rm -rf {at}")),
        2 => name().prop_map(|at| format!("mkdir -p {at}")),
        1 => name().prop_map(|at| format!("rm -rf {at}; mkdir -p {at}; echo z > {at}/x")),
        1 => (name(), name()).prop_map(|(to, at)| format!("ln -sfn {to} {at}")),
        2 => (name(), name()).prop_map(|(from, to)| format!("mv -T {from} {to}")),
        1 => (name(), prop::sample::select(vec!["700", "755", "644", "600", "444"])).prop_map(|(at, mode)| format!("chmod {mode} {at}")),
        1 => name().prop_map(|at| format!("touch {at}")),
        1 => name().prop_map(|at| format!("mkfifo {at}")),
    ]
}

pub(super) fn script() -> impl Strategy<Value = String> {
    prop::collection::vec(command(), 0..14).prop_map(|commands| commands.join("\n"))
}

/// A state as its layer holds it: specials are nothing.
pub(super) fn carried(mut all: Manifest) -> Manifest {
    all.retain(|_, entry| entry.kind != EntryKind::Special);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn checkpoints_show_what_the_overlay_shows(first in script(), second in script(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let bench = Bench::new();
        source(&bench);
        let pristine = bench.pristine();
        let empty = Checkpoint::empty(&bench.at("l0")).unwrap();

        // The upper resolves to what the kernel shows, and so does a walk of the copy.
        in_overlay(&bench, &[&pristine.roots[0]], "one", &first);
        let one = Checkpoint::freeze(&pristine, None, &bench.at("one-upper"), &bench.at("l1")).unwrap();
        let seen = walked(&bench, &pristine, "one-view", "w1");
        prop_assert_eq!(resolved(&pristine, &one), resolved(&pristine, &seen));

        // Its layer mounts to the same, and a second upper over it is cumulative.
        in_overlay(&bench, &[&pristine.roots[0], &one.layer], "again", "true");
        let again = walked(&bench, &pristine, "again-view", "w2");
        prop_assert_eq!(resolved(&pristine, &again), carried(resolved(&pristine, &one)));
        in_overlay(&bench, &[&pristine.roots[0], &one.layer], "two", &second);
        let two = Checkpoint::freeze(&pristine, Some(&one), &bench.at("two-upper"), &bench.at("l2")).unwrap();
        let seen = walked(&bench, &pristine, "two-view", "w3");
        prop_assert_eq!(resolved(&pristine, &two), resolved(&pristine, &seen));
        let reopened = Checkpoint::open_layer(&pristine, &two.layer).unwrap();
        prop_assert_eq!(resolved(&pristine, &reopened), carried(resolved(&pristine, &two)));

        // Taking everything back gives the old state, in the layer and in the live tree.
        let changes = two.changes_since(&pristine, &empty);
        let all: Vec<RelPath> = changes.iter().map(|change| change.path.clone()).collect();
        let back = two.with_reverted(&pristine, &empty, &all, &bench.at("l3")).unwrap();
        prop_assert!(back.changes_since(&pristine, &empty).is_empty());

        // Taking some of it back does the same to the layer and to the live tree.
        let some: Vec<RelPath> = if all.is_empty() { Vec::new() } else { picks.iter().map(|pick| pick.get(&all).clone()).collect() };
        let part = two.with_reverted(&pristine, &one, &some, &bench.at("l4")).unwrap();
        for at in &some {
            // The old state held no special that a layer could bring back.
            let old = one.entry(&pristine, at);
            prop_assert_eq!(part.entry(&pristine, at), old);
        }
        edit(&bench.at("two-view"), &two.edits_back(&pristine, &one, &some).unwrap());
        let edited = walked(&bench, &pristine, "two-view", "w4");
        prop_assert_eq!(carried(resolved(&pristine, &edited)), carried(resolved(&pristine, &part)));
        in_overlay(&bench, &[&pristine.roots[0], &part.layer], "part", "true");
        let mounted = walked(&bench, &pristine, "part-view", "w5");
        prop_assert_eq!(resolved(&pristine, &mounted), carried(resolved(&pristine, &part)));
    }
}
