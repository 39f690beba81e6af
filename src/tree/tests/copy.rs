//! The workspace that is a copy, against the real overlay that it stands in for.

use super::{
    overlay::{in_overlay, source, walked},
    *,
};

/// What each layer does to the tree: hides, replaces, merges, changes modes.
const SCRIPTS: [&str; 2] = [
    "rm -r a/b; rm c; ln -s a c; mv b/x/y b/z; rm -r b/x; echo file > b/x; chmod 700 a; mkdir new; echo 1 > new/one",
    "rm b/x; mkdir b/x; echo again > b/x/y; rm -r a; mkdir a; echo other > a/x; echo two > new/two; chmod 640 b/z; \
     truncate -s 1M sparse; rm y",
];

#[test]
fn a_copy_of_layers_is_what_overlay_shows_of_them() {
    let bench = Bench::new();
    source(&bench);
    let pristine = bench.pristine();
    let mut lowers = pristine.roots.clone();
    for (at, script) in SCRIPTS.into_iter().enumerate() {
        let name = format!("l{at}");
        let below: Vec<&Path> = lowers.iter().map(std::path::PathBuf::as_path).collect();
        in_overlay(&bench, &below, &name, script);
        lowers.push(bench.at(&format!("{name}-upper")));
        // Raw uppers of the kernel, opaque directories included.
        let copy = format!("copy{at}");
        lay_copy(&lowers, &bench.at(&copy), None).unwrap();
        let seen = walked(&bench, &pristine, &format!("{name}-view"), &format!("seen{at}"));
        let laid = walked(&bench, &pristine, &copy, &format!("laid{at}"));
        assert_eq!(resolved(&pristine, &laid), resolved(&pristine, &seen));
        assert!(!laid.diff.is_empty());
    }
    assert!(bench.at("copy1/a/x").is_file() && !bench.at("copy1/a/y").exists());
    // Nothing of the copy is the layers': writing to one leaves the other.
    fs::write(bench.at("copy1/new/two"), "changed").unwrap();
    assert_eq!(fs::read(bench.at("l1-upper/new/two")).unwrap(), b"two\n");
}

#[test]
fn what_changed_is_the_same_in_an_overlay_and_in_a_copy() {
    let bench = Bench::new();
    source(&bench);
    let pristine = bench.pristine();
    let lowers: Vec<&Path> = pristine.roots.iter().map(std::path::PathBuf::as_path).collect();
    in_overlay(&bench, &lowers, "base", SCRIPTS[0]);
    let base = Checkpoint::freeze(&pristine, None, &bench.at("base-upper"), &bench.at("base")).unwrap();
    let stack = [&pristine.roots[..], std::slice::from_ref(&base.layer)].concat();
    let stack_ref: Vec<&Path> = stack.iter().map(std::path::PathBuf::as_path).collect();
    in_overlay(&bench, &stack_ref, "work", SCRIPTS[1]);
    lay_copy(&stack, &bench.at("tree"), None).unwrap();
    run(std::process::Command::new("sh")
        .args(["-c", SCRIPTS[1]])
        .current_dir(bench.at("tree")));

    let places = [Place::Overlay(bench.at("work-upper")), Place::Copy(bench.at("tree"))];
    let [over, copy] = places.each_ref().map(|place| {
        let name = format!("frozen-{}", matches!(place, Place::Copy(_)));
        Checkpoint::freeze_place(&pristine, &base, place, &[], &bench.at(&name)).unwrap()
    });
    assert_eq!(
        copy.changes_since(&pristine, &base),
        over.changes_since(&pristine, &base)
    );
    assert!(!copy.changes_since(&pristine, &base).is_empty());
    for place in &places {
        let survey = Survey::of_place(&pristine, &base, place, &[]).unwrap();
        assert_eq!(survey.changes_since(&pristine, &over), []);
    }
    // Paths that the sandbox was made without count as they were.
    remove_all(&bench.at("tree/b")).unwrap();
    let hidden = Survey::of_place(&pristine, &over, &places[1], &[path("b")]).unwrap();
    assert!(
        hidden
            .changes_since(&pristine, &over)
            .iter()
            .all(|change| change.path.starts_with(&path("b")))
    );
    let seen = Survey::of_place(&pristine, &over, &places[1], &[]).unwrap();
    assert!(
        seen.changes_since(&pristine, &over)
            .iter()
            .any(|change| change.after.is_none())
    );
}
