use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;

/// Files copied by one call.
fn copied(bench: &Bench, cache: &Cache) -> (Pristine, u64) {
    let count = AtomicU64::new(0);
    let pristine = cache.pristine(&bench.source(), &LIMITS, &|_, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    (pristine.unwrap(), count.into_inner())
}

/// Lets the clock of the file system tick, so that what was written is not racy.
fn settle(bench: &Bench) {
    let then = std::fs::metadata(bench.source()).unwrap().modified().unwrap();
    while then.elapsed().unwrap_or_default().as_millis() < 60 {
        std::thread::yield_now();
    }
}

#[test]
fn an_unchanged_source_is_not_copied_again_and_a_changed_one_is() {
    let bench = Bench::new();
    bench.write("a/b.txt", b"hello");
    settle(&bench);
    let cache = bench.cache();
    let (first, files) = copied(&bench, &cache);
    assert_eq!(files, 1);
    let (second, files) = copied(&bench, &cache);
    assert_eq!((files, second.digest), (0, first.digest));
    bench.write("a/b.txt", b"hallo");
    let (third, files) = copied(&bench, &cache);
    assert_eq!(files, 1);
    assert_ne!(third.digest, first.digest);
    assert_eq!(fs::read(first.roots[0].join("a/b.txt")).unwrap(), b"hello");
}

#[test]
fn copies_are_faithful_and_take_nothing_dangerous_along() {
    let bench = Bench::new();
    bench.write("run.sh", b"#!/bin/sh\n");
    bench.write(".git/config", b"[core]\n");
    bench.write("empty", b"");
    bench.write("closed", b"x");
    let sparse = fs::File::create(bench.source().join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    let set =
        |name: &str, mode| fs::set_permissions(bench.source().join(name), fs::Permissions::from_mode(mode)).unwrap();
    set("run.sh", 0o4755);
    set("closed", 0o040);
    symlink("/etc/passwd", bench.source().join("link")).unwrap();
    fs::hard_link(bench.source().join("run.sh"), bench.source().join("hard")).unwrap();
    nix::unistd::mkfifo(&bench.source().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pristine = bench.pristine();
    let at = |name: &str| fs::symlink_metadata(pristine.roots[0].join(name)).unwrap();
    assert_eq!(at("run.sh").mode() & 0o7777, 0o755);
    assert!(at("link").is_symlink());
    assert_eq!(at("hard").nlink(), 1);
    assert_eq!(fs::read(pristine.roots[0].join(".git/config")).unwrap(), b"[core]\n");
    assert!(at("sparse").blocks() * 512 < 1 << 20, "holes stay holes");
    assert_eq!(
        at("run.sh").mtime(),
        fs::metadata(bench.source().join("run.sh")).unwrap().mtime()
    );
    if nix::unistd::geteuid().is_root() {
        assert_eq!(at("closed").mode() & 0o7777, 0o440);
    }
    assert_eq!(pristine.skipped.iter().filter(|(at, _)| *at == path("pipe")).count(), 1);
    assert!(!pristine.roots[0].join("pipe").exists());
    assert_eq!(pristine.manifest[&path("empty")], Entry::file(b"", 0o644));
    assert_eq!(pristine.manifest[&path("run.sh")], Entry::file(b"#!/bin/sh\n", 0o755));
}

#[test]
fn limits_refuse_before_anything_is_copied() {
    let bench = Bench::new();
    bench.write("a", &[0; 100]);
    bench.write("b", &[0; 100]);
    let cache = bench.cache();
    for (max_files, max_bytes) in [(1, 1000), (10, 150)] {
        let limits = CopyLimits { max_files, max_bytes };
        let got = cache.pristine(&bench.source(), &limits, &|_, _| {});
        assert!(matches!(got, Err(TreeError::Limit(_))));
    }
    assert_eq!(fs::read_dir(bench.at("cache/trees")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(bench.at("cache/tmp")).unwrap().count(), 0);
}

#[test]
fn a_source_that_never_holds_still_is_reported() {
    let bench = Bench::new();
    bench.write("a", b"x");
    bench.write("b", b"x");
    let victim = bench.source().join("b");
    let changing = |files, _| {
        fs::write(
            &victim,
            vec![b'y'; usize::try_from(files).unwrap() + fs::read(&victim).unwrap().len()],
        )
        .unwrap()
    };
    let got = bench.cache().pristine(&bench.source(), &LIMITS, &changing);
    assert!(matches!(got, Err(TreeError::Refused(_))), "{got:?}");
}

#[test]
fn pruning_takes_the_oldest_and_spares_what_is_used() {
    let bench = Bench::new();
    let cache = bench.cache();
    let mut kept = Vec::new();
    for round in 0..3u8 {
        bench.write("a", &vec![round; 100_000]);
        kept.push(bench.cache().pristine(&bench.source(), &LIMITS, &|_, _| {}).unwrap());
    }
    let roots: Vec<_> = kept.iter().map(|p| p.roots[0].clone()).collect();
    let in_use = kept.remove(0);
    drop(kept);
    cache.prune(150_000).unwrap();
    assert!(roots[0].exists(), "in use");
    assert!(!roots[1].exists(), "older than the last");
    cache.prune(0).unwrap();
    assert!(!roots[2].exists());
    drop(in_use);
    assert_eq!(cache.prune(0).unwrap(), 0);
    assert!(!roots[0].exists());
}

#[test]
fn a_tree_is_measured_once_and_a_note_that_was_cut_short_is_none() {
    let bench = Bench::new();
    bench.write("a", &[7; 100_000]);
    let pristine = bench.cache().pristine(&bench.source(), &LIMITS, &|_, _| {}).unwrap();
    let note = pristine.roots[0].with_file_name("size");
    drop(pristine);
    let cache = bench.cache();
    let measured = cache.prune(u64::MAX).unwrap();
    assert!(measured >= 100_000, "{measured}");
    assert_eq!(fs::read_to_string(&note).unwrap(), format!("{measured}\n"));
    fs::write(&note, "123\n").unwrap();
    assert_eq!(cache.prune(u64::MAX).unwrap(), 123, "not measured again");
    fs::write(&note, "12").unwrap();
    assert!(cache.prune(u64::MAX).unwrap() >= measured, "measured again");
}

#[test]
fn a_damaged_tree_is_copied_anew_and_debris_of_the_dead_goes() {
    let bench = Bench::new();
    bench.write("a", b"hello");
    settle(&bench);
    let cache = bench.cache();
    let pristine = bench.pristine();
    let manifest = pristine.roots[0].parent().unwrap().join("manifest");
    drop(pristine);
    fs::write(&manifest, b"nonsense").unwrap();
    let (again, files) = copied(&bench, &cache);
    assert_eq!(files, 1);
    assert_eq!(fs::read(again.roots[0].join("a")).unwrap(), b"hello");
    write(&bench.at("cache"), "tmp/dead/tree/x", b"x");
    write(&bench.at("cache"), "tmp/dead/lock", b"");
    bench.cache();
    assert!(!bench.at("cache/tmp/dead").exists());
}

#[test]
fn the_cache_may_not_lie_in_the_target() {
    let bench = Bench::new();
    let cache = Cache::open(&bench.source().join("cache"), None).unwrap();
    assert!(matches!(
        cache.pristine(&bench.source(), &LIMITS, &|_, _| {}),
        Err(TreeError::Refused(_))
    ));
}

#[test]
fn manifests_survive_their_encoding() {
    let mut manifest = Manifest::new();
    manifest.insert(path(b"\xff\n"), Entry::file(b"x", 0o755));
    manifest.insert(path("d"), Entry::dir(0o700));
    let target = b"../\xfe".to_vec();
    manifest.insert(
        path("d/l"),
        Entry {
            kind: EntryKind::Symlink { target },
            mode: 0,
        },
    );
    let bytes = super::super::manifest::encode(&manifest);
    assert_eq!(super::super::manifest::decode(&bytes), Some(manifest));
    for cut in 1..bytes.len() {
        // A cut between two entries is a shorter manifest; the digest tells the difference.
        let _ = super::super::manifest::decode(&bytes[..cut]);
    }
}

#[test]
fn many_may_copy_and_clean_up_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let sources: Vec<_> = (0..4)
        .map(|n| {
            let source = dir.path().join(format!("source-{n}"));
            std::fs::create_dir(&source).unwrap();
            std::fs::write(source.join("file"), format!("{n}")).unwrap();
            source
        })
        .collect();
    let root = dir.path().join("cache");
    std::thread::scope(|scope| {
        for source in &sources {
            scope.spawn(|| {
                for _ in 0..50 {
                    let cache = Cache::open(&root, None).unwrap();
                    cache.pristine(source, &LIMITS, &|_, _| {}).unwrap();
                    // So old that without their locks they would be debris.
                    for tree in std::fs::read_dir(root.join("trees")).unwrap().flatten() {
                        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
                        let _ = std::fs::File::open(tree.path()).and_then(|tree| tree.set_modified(old));
                    }
                    cache.prune(0).unwrap();
                }
            });
        }
    });
}

#[test]
fn what_is_kept_under_a_name_is_recalled_by_it_until_it_is_pruned() {
    let bench = Bench::new();
    bench.write("a", b"one");
    let cache = bench.cache();
    assert!(cache.recall("name").unwrap().is_none());
    let kept = cache.keep("name", &bench.source(), &LIMITS, &|_, _| {}).unwrap();
    fs::remove_dir_all(bench.source()).unwrap();
    let found = cache.recall("name").unwrap().expect("it is there");
    assert_eq!((found.digest, found.manifest), (kept.digest, kept.manifest.clone()));
    assert!(cache.recall("another").unwrap().is_none());
    drop(found._locks);
    drop(kept);
    cache.prune(0).unwrap();
    assert!(cache.recall("name").unwrap().is_none());
}
