//! Bases of several layers, against a real overlay.

use proptest::prelude::*;

use super::{
    overlay::{carried, in_overlay, script, source, walked},
    *,
};

fn lowers<'a>(base: &'a Pristine, checkpoint: &'a Checkpoint) -> Vec<&'a Path> {
    let roots = base.roots.iter().map(std::path::PathBuf::as_path);
    roots.chain([checkpoint.layer.as_path()]).collect()
}

/// Every file of a state reads as its manifest says.
fn reads_true(base: &Pristine, state: &Checkpoint) {
    for (at, entry) in resolved(base, state) {
        if let EntryKind::File { content, .. } = entry.kind {
            let bytes = state.read(base, &at, 1 << 20).unwrap().unwrap();
            assert_eq!(Content::of(&bytes), content, "{at}");
        }
    }
}

/// A layer of what `found` changed over `below`, less what is contested, and the state that it was made from.
fn layer(
    bench: &Bench,
    pristine: &Pristine,
    below: &Checkpoint,
    found: &Checkpoint,
    name: &str,
) -> (BaseLayer, Checkpoint) {
    let back = BaseLayer::contested(pristine, below, found);
    let kept = found
        .with_reverted(pristine, below, &back, &bench.at(&format!("{name}-kept")))
        .unwrap();
    let layer = BaseLayer::between(pristine, below, &kept, &bench.at(name)).unwrap();
    (layer, kept)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_base_of_layers_is_what_the_overlay_shows(first in script(), work in script(), again in script()) {
        let bench = Bench::new();
        source(&bench);
        let pristine = bench.pristine();
        let empty = Checkpoint::empty(&bench.at("l0")).unwrap();

        // What was made once, as part of the base.
        in_overlay(&bench, &[&pristine.roots[0]], "first", &first);
        let found = Checkpoint::freeze(&pristine, None, &bench.at("first-upper"), &bench.at("l1")).unwrap();
        prop_assert!(BaseLayer::contested(&pristine, &empty, &found).is_empty());
        let (made, _) = layer(&bench, &pristine, &empty, &found, "made");
        let base = pristine.with_layer(&made);
        prop_assert_eq!(&base.manifest, &carried(resolved(&pristine, &found)));
        prop_assert!(base.digest != pristine.digest);
        reads_true(&base, &empty);

        // Work over it is measured from it, and can be taken back to it.
        in_overlay(&bench, &lowers(&base, &empty), "work", &work);
        let worked = Checkpoint::freeze(&base, Some(&empty), &bench.at("work-upper"), &bench.at("l2")).unwrap();
        let seen = walked(&bench, &base, "work-view", "w2");
        prop_assert_eq!(resolved(&base, &worked), resolved(&base, &seen));
        reads_true(&base, &worked);
        let owned: Vec<RelPath> = worked
            .changes_since(&base, &empty)
            .into_iter()
            .map(|change| change.path)
            .filter(|at| std::iter::successors(Some(at.clone()), RelPath::parent).any(|up| made.owned().contains(&up)))
            .collect();
        let accepted = worked.with_reverted(&base, &empty, &owned, &bench.at("l3")).unwrap();
        for at in made.owned() {
            prop_assert_eq!(accepted.entry(&base, at), base.manifest.get(at).cloned());
        }

        // The same work without the layer, and the layer made again over the work.
        let bare = accepted.over(&base, &pristine, &bench.at("l4")).unwrap();
        in_overlay(&bench, &lowers(&pristine, &bare), "bare", "true");
        let seen = walked(&bench, &pristine, "bare-view", "w4");
        prop_assert_eq!(carried(resolved(&pristine, &bare)), resolved(&pristine, &seen));
        in_overlay(&bench, &lowers(&pristine, &bare), "again", &again);
        let found = Checkpoint::freeze(&pristine, Some(&bare), &bench.at("again-upper"), &bench.at("l5")).unwrap();
        let (remade, kept) = layer(&bench, &pristine, &bare, &found, "remade");
        let base = pristine.with_layer(&remade);
        let moved = bare.over(&pristine, &base, &bench.at("l6")).unwrap();
        prop_assert_eq!(carried(resolved(&base, &moved)), carried(resolved(&pristine, &kept)));
        reads_true(&base, &moved);
        in_overlay(&bench, &lowers(&base, &moved), "moved", "true");
        let seen = walked(&bench, &base, "moved-view", "w6");
        prop_assert_eq!(resolved(&base, &seen), carried(resolved(&base, &moved)));
        // No work is lost to the layer, and none of the layer's is taken for work.
        for change in bare.changes_since(&pristine, &empty) {
            // A directory of the work may be one of the layer's too; nothing else may.
            if change.before.is_some() || !change.after.as_ref().is_some_and(Entry::is_dir) {
                prop_assert!(moved.diff.contains_key(&change.path), "{}", change.path);
                prop_assert_eq!(moved.entry(&base, &change.path), change.after, "{}", change.path);
            }
        }
        for at in remade.owned() {
            prop_assert!(!moved.diff.contains_key(at), "{}", at);
        }
    }
}

/// One state with a file more than the copy.
fn with_file(bench: &Bench, pristine: &Pristine, name: &str) -> (Checkpoint, Checkpoint) {
    let empty = Checkpoint::empty(&bench.at(&format!("{name}-0"))).unwrap();
    let one = empty
        .with_file(pristine, &path("deps/lib"), b"library", &bench.at(&format!("{name}-1")))
        .unwrap();
    (empty, one)
}

#[test]
fn a_kept_layer_is_found_again_until_it_is_damaged_or_pruned() {
    let bench = Bench::new();
    bench.write("a", b"hello");
    let pristine = bench.pristine();
    let cache = bench.cache();
    let key = Content::of(b"key");
    assert!(cache.layer(key, &pristine).unwrap().is_none());
    let (empty, one) = with_file(&bench, &pristine, "s");
    let made = cache.keep_layer(key, &pristine, &empty, &one, b"note").unwrap();
    let (found, note) = cache.layer(key, &pristine).unwrap().unwrap();
    assert_eq!(
        (note.as_slice(), found.changes(&pristine)),
        (&b"note"[..], made.changes(&pristine))
    );
    assert_eq!(found.owned(), &[path("deps")].into());
    assert_eq!(made.owned(), found.owned());
    let base = pristine.with_layer(&found);
    assert_eq!(empty.read(&base, &path("deps/lib"), 100).unwrap().unwrap(), b"library");
    assert_eq!(empty.read(&base, &path("a"), 100).unwrap().unwrap(), b"hello");
    assert_eq!(empty.read(&pristine, &path("deps/lib"), 100).unwrap(), None);

    // In use by a base: it stays.
    let root = found.root.clone();
    drop((found, made));
    cache.prune(0).unwrap();
    assert!(root.exists());
    drop(base);
    let manifest = root.parent().unwrap().join("manifest");
    let mut bytes = fs::read(&manifest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&manifest, bytes).unwrap();
    assert!(cache.layer(key, &pristine).unwrap().is_none());
    assert!(!root.exists(), "what is damaged goes");
    drop(cache.keep_layer(key, &pristine, &empty, &one, b"").unwrap());
    cache.prune(0).unwrap();
    assert!(cache.layer(key, &pristine).unwrap().is_none());
    assert_eq!(fs::read_dir(bench.at("cache/tmp")).unwrap().count(), 0);
}

#[test]
fn a_layer_is_made_by_one_at_a_time() {
    let bench = Bench::new();
    let (cache, other) = (bench.cache(), bench.cache());
    let key = Content::of(b"key");
    let claim = cache.claim(key).unwrap();
    assert!(other.try_claim(key).unwrap().is_none());
    assert!(other.try_claim(Content::of(b"another")).unwrap().is_some());
    let waiting = std::thread::spawn(move || other.claim(key).map(|claim| (claim, std::time::Instant::now())));
    let released = std::time::Instant::now();
    drop(claim);
    let (second, since) = waiting.join().unwrap().unwrap();
    assert!(since >= released);
    assert!(
        cache.try_claim(key).unwrap().is_none(),
        "a claim on a name that went would be no claim"
    );
    drop(second);
    assert_eq!(fs::read_dir(bench.at("cache/making")).unwrap().count(), 0);
}

#[test]
fn a_layer_that_cannot_be_written_leaves_nothing() {
    let bench = Bench::new();
    bench.write("a", b"hello");
    let pristine = bench.pristine();
    let cache = bench.cache();
    let (empty, one) = with_file(&bench, &pristine, "s");
    fs::write(one.layer.join("deps/lib"), b"gone").unwrap();
    fs::remove_file(one.layer.join("deps/lib")).unwrap();
    assert!(
        cache
            .keep_layer(Content::of(b"key"), &pristine, &empty, &one, b"")
            .is_err()
    );
    assert_eq!(fs::read_dir(bench.at("cache/tmp")).unwrap().count(), 0);
    assert!(cache.layer(Content::of(b"key"), &pristine).unwrap().is_none());
}

#[test]
fn only_what_a_layer_made_is_its_own() {
    let bench = Bench::new();
    source(&bench);
    let pristine = bench.pristine();
    let empty = Checkpoint::empty(&bench.at("l0")).unwrap();
    in_overlay(
        &bench,
        &[&pristine.roots[0]],
        "one",
        "mkdir -p new/deep b/more; touch new/deep/f b/more/f a/added; echo x > a/x; rm a/y; chmod 700 a; rm c; mkdir c; touch c/f",
    );
    let found = Checkpoint::freeze(&pristine, None, &bench.at("one-upper"), &bench.at("l1")).unwrap();
    let layer = BaseLayer::between(&pristine, &empty, &found, &bench.at("l2")).unwrap();
    let owned: Vec<String> = layer.owned().iter().map(ToString::to_string).collect();
    assert_eq!(owned, ["a/added", "a/x", "a/y", "b/more", "c", "new"]);

    // Directories that others made and it only needs are not its own.
    let below = empty
        .with_file(&pristine, &path("work/src"), b"s", &bench.at("l3"))
        .unwrap();
    let above = below
        .with_file(&pristine, &path("work/out"), b"o", &bench.at("l4"))
        .unwrap();
    let layer = BaseLayer::between(&pristine, &below, &above, &bench.at("l5")).unwrap();
    assert_eq!(layer.owned(), &[path("work/out")].into());
    let base = pristine.with_layer(&layer);
    assert_eq!(base.manifest[&path("work")], Entry::dir(0o755));
    assert_eq!(base.manifest.get(&path("work/src")), None);
}

#[test]
fn a_directory_that_the_work_put_in_the_place_of_a_file_is_not_the_layers() {
    let bench = Bench::new();
    source(&bench);
    let pristine = bench.pristine();
    let empty = Checkpoint::empty(&bench.at("l0")).unwrap();
    in_overlay(&bench, &[&pristine.roots[0]], "work", "rm c; mkdir c; touch c/f");
    let work = Checkpoint::freeze(&pristine, None, &bench.at("work-upper"), &bench.at("l1")).unwrap();
    in_overlay(&bench, &lowers(&pristine, &work), "boot", "touch c/g other");
    let found = Checkpoint::freeze(&pristine, Some(&work), &bench.at("boot-upper"), &bench.at("l2")).unwrap();
    assert_eq!(BaseLayer::contested(&pristine, &work, &found), [path("c/g")]);
    let (made, _) = layer(&bench, &pristine, &work, &found, "made");
    let base = pristine.with_layer(&made);
    let moved = work.over(&pristine, &base, &bench.at("l3")).unwrap();
    let kinds: Vec<_> = moved
        .changes_since(&base, &empty)
        .into_iter()
        .map(|c| (c.path.to_string(), c.kind))
        .collect();
    assert_eq!(
        kinds,
        [("c".into(), ChangeKind::Modified), ("c/f".into(), ChangeKind::Added)]
    );
}
