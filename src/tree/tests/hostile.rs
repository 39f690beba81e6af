//! Trees that were made to hurt.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nix::{
    fcntl::OFlag,
    sys::stat::{Mode, mkdirat},
};

use super::{super::at, *};

/// A chain of directories far deeper than any path can name.
fn deep(root: &Path, depth: usize, name: &[u8]) {
    let mut dir = at::open_root(root).unwrap();
    for _ in 0..depth {
        mkdirat(&dir, name, Mode::S_IRWXU).unwrap();
        dir = at::open_name(&dir, name, OFlag::O_DIRECTORY | OFlag::O_RDONLY, 0).unwrap();
    }
}

#[test]
fn removal_takes_depth_closed_directories_and_links() {
    let bench = Bench::new();
    let victim = bench.at("victim");
    write(&victim, "closed/inner/file", b"x");
    write(&victim, "0", b"a name that the remover likes");
    write(&bench.dir.path().join("outside"), "file", b"stays");
    symlink(bench.at("outside"), victim.join("link")).unwrap();
    deep(&victim, 1200, b"twenty-bytes-of-name");
    for dir in ["closed/inner", "closed"] {
        fs::set_permissions(victim.join(dir), fs::Permissions::from_mode(0o000)).unwrap();
    }
    remove_all(&victim).unwrap();
    assert!(fs::symlink_metadata(&victim).is_err());
    assert!(bench.at("outside/file").exists());
    symlink(bench.at("outside"), &victim).unwrap();
    remove_all(&victim).unwrap();
    assert!(bench.at("outside/file").exists());
    remove_all(&victim).unwrap();
}

#[test]
fn what_is_too_deep_becomes_one_special_that_can_be_taken_back() {
    // Too many levels; and too long a path within few levels.
    for (depth, name) in [(400, "d".to_string()), (30, "n".repeat(200))] {
        let bench = Bench::new();
        let pristine = bench.pristine();
        let upper = bench.at("upper");
        fs::create_dir(&upper).unwrap();
        deep(&upper, depth, name.as_bytes());
        let state = Checkpoint::freeze(&pristine, None, &upper, &bench.at("l1")).unwrap();
        let empty = Checkpoint::empty(&bench.at("l0")).unwrap();
        let changes = state.changes_since(&pristine, &empty);
        let is_special = |c: &&Change| c.after.as_ref().unwrap().kind == EntryKind::Special;
        assert_eq!(changes.iter().filter(is_special).count(), 1);
        assert_eq!(state.left_out().len(), 1);
        assert!(is_special(&changes.last().unwrap()), "nothing below it is kept");
        let back = state
            .with_reverted(&pristine, &empty, &[path(&name)], &bench.at("l2"))
            .unwrap();
        assert!(back.changes_since(&pristine, &empty).is_empty());
        assert!(
            usage(&upper, u64::MAX).is_err(),
            "what cannot be measured counts as over the cap"
        );
        remove_all(&upper).unwrap();
    }
}

#[test]
fn freezing_carries_no_set_id_bits_and_no_specials_but_tells_of_them() {
    let bench = Bench::new();
    bench.write("was-file", b"x");
    let pristine = bench.pristine();
    let upper = bench.at("upper");
    write(&upper, "su", b"x");
    write(&upper, "closed", b"secret");
    fs::set_permissions(upper.join("su"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(upper.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    nix::unistd::mkfifo(&upper.join("was-file"), Mode::S_IRWXU).unwrap();
    let sparse = fs::File::create(upper.join("sparse")).unwrap();
    sparse.set_len(256 << 20).unwrap();
    let state = Checkpoint::freeze(&pristine, None, &upper, &bench.at("l1")).unwrap();
    assert!(state.entry(&pristine, &path("su")).unwrap().has_set_id());
    assert_eq!(
        state.entry(&pristine, &path("was-file")).unwrap().kind,
        EntryKind::Special
    );
    let at = |name: &str| fs::symlink_metadata(state.layer.join(name)).unwrap();
    assert_eq!(at("su").mode() & 0o7777, 0o711);
    assert_eq!(
        (at("was-file").mode() & 0o170_000, at("was-file").rdev()),
        (0o020_000, 0),
        "hidden in the layer"
    );
    assert!(at("sparse").blocks() * 512 < 1 << 20, "holes stay holes");
    assert_eq!(at("closed").mode() & 0o7777, 0o400, "as the state records it");
    assert_eq!(state.read(&pristine, &path("closed"), 100).unwrap().unwrap(), b"secret");
    assert!(matches!(
        state.read(&pristine, &path("sparse"), 100),
        Err(TreeError::Limit(_))
    ));
}

#[test]
fn marks_that_our_mounts_never_make_are_refused() {
    let bench = Bench::new();
    let pristine = bench.pristine();
    for (mark, value) in [("redirect", "/etc"), ("metacopy", ""), ("opaque", "x")] {
        let upper = bench.at(mark);
        fs::create_dir_all(upper.join("dir")).unwrap();
        let name = std::ffi::CString::new(format!("user.overlay.{mark}")).unwrap();
        at::set_xattr(at::open_root(&upper.join("dir")).unwrap(), &name, value.as_bytes()).unwrap();
        let got = Checkpoint::freeze(&pristine, None, &upper, &bench.at("layer"));
        assert!(matches!(got, Err(TreeError::Refused(_))), "{mark}: {got:?}");
        assert!(!bench.at("layer").exists(), "nothing half-made is left");
    }
}

#[test]
fn hostile_names_stay_bytes() {
    let bench = Bench::new();
    let pristine = bench.pristine();
    let names: [&[u8]; 4] = [b"\xff\xfe", b"a\nb", b"\x1b[31m", b"-rf"];
    fs::create_dir(bench.at("upper")).unwrap();
    for name in names {
        fs::write(path(name).under(&bench.at("upper")), name).unwrap();
    }
    let state = Checkpoint::freeze(&pristine, None, &bench.at("upper"), &bench.at("l1")).unwrap();
    for name in names {
        assert_eq!(state.read(&pristine, &path(name), 100).unwrap().unwrap(), name);
    }
    let empty = Checkpoint::empty(&bench.at("l0")).unwrap();
    let gone = empty.edits_back(&pristine, &state, &names.map(path)).unwrap();
    fs::create_dir(bench.at("live")).unwrap();
    ::tar::Archive::new(gone.tar.as_slice())
        .unpack(bench.at("live"))
        .unwrap();
    for name in names {
        assert_eq!(fs::read(path(name).under(&bench.at("live"))).unwrap(), name);
    }
}

#[test]
fn usage_counts_blocks_and_inodes_and_stops_early() {
    let bench = Bench::new();
    for n in 0..50 {
        bench.write(&format!("d{n}/f"), &[1; 8192]);
    }
    let (bytes, inodes) = usage(&bench.source(), u64::MAX).unwrap();
    assert_eq!(inodes, 100);
    assert!(bytes >= 50 * 8192);
    let (stopped, seen) = usage(&bench.source(), 10_000).unwrap();
    assert!(stopped > 10_000 && seen < 100);
}

#[test]
fn as_root_copies_and_layers_belong_to_the_jail() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let bench = Bench::new();
    bench.write("d/f", b"x");
    symlink("f", bench.source().join("d/l")).unwrap();
    let cache = Cache::open(&bench.at("cache"), Some((2_000_000_000, 2_000_000_000))).unwrap();
    let pristine = cache.pristine(&bench.source(), &LIMITS, &|_, _| {}).unwrap();
    let empty = Checkpoint::empty(&bench.at("l0")).unwrap();
    let state = empty
        .with_file(&pristine, &path("d/new/f"), b"y", &bench.at("l1"))
        .unwrap();
    let mask = mask_layer(&pristine, &[path("d/f")], &bench.at("mask")).unwrap();
    for file in [
        pristine.roots[0].clone(),
        pristine.roots[0].join("d"),
        pristine.roots[0].join("d/f"),
        pristine.roots[0].join("d/l"),
        state.layer.clone(),
        state.layer.join("d/new"),
        state.layer.join("d/new/f"),
        mask.join("d/f"),
    ] {
        assert_eq!(
            fs::symlink_metadata(&file).unwrap().uid(),
            2_000_000_000,
            "{}",
            file.display()
        );
    }
}
