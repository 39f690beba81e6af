//! Archives that nobody trusts.

use ::tar::{Builder, EntryType, Header};
use proptest::prelude::*;

use super::{super::tar_reader::unpack, *};

const TAR_LIMITS: ArchiveLimits = ArchiveLimits {
    max_entries: 100,
    max_bytes: 100_000,
    case_matters: false,
};

/// A header whose name is written raw, so that it may be anything.
fn raw(name: &[u8], kind: EntryType, link: &[u8], size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    header
}

/// Name, kind, link target, bytes.
type Raw<'a> = (&'a [u8], EntryType, &'a [u8], &'a [u8]);

fn archive(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, link, bytes) in entries {
        builder
            .append(&raw(name, *kind, link, bytes.len() as u64), *bytes)
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn opened(bytes: &[u8]) -> (tempfile::TempDir, Result<Unpacked, TreeError>) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let got = unpack(bytes, &TAR_LIMITS, &out);
    (dir, got)
}

#[test]
fn only_what_stays_inside_comes_out() {
    use EntryType as E;
    let bytes = archive(&[
        (b"./", E::Directory, b"", b""),
        (b"ok/file", E::Regular, b"", b"fine"),
        (b"ok/link", E::Symlink, b"../ok/file", b""),
        (b"../climb", E::Regular, b"", b"x"),
        (b"/etc/abs", E::Regular, b"", b"x"),
        (b"ok/../../climb", E::Regular, b"", b"x"),
        (b"away", E::Symlink, b"/tmp", b""),
        (b"up", E::Symlink, b"../x", b""),
        (b"dir", E::Symlink, b"ok", b""),
        (b"dir/through", E::Regular, b"", b"x"),
        (b"ok/file", E::Regular, b"", b"twice"),
        (b"OK/other", E::Regular, b"", b"x"),
        (b"hard", E::Link, b"ok/file", b""),
        (b"hard/out", E::Link, b"../file", b""),
        (b"early", E::Link, b"last", b""),
        (b"hard-dir", E::Link, b"ok", b""),
        (b"null", E::Char, b"", b""),
        (b"pipe", E::Fifo, b"", b""),
        (b"last", E::Regular, b"", b"z"),
    ]);
    let (dir, got) = opened(&bytes);
    let got = got.unwrap();
    let names: Vec<String> = got.manifest.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["dir", "hard", "last", "ok", "ok/file", "ok/link"]);
    assert_eq!(got.refused.len(), 13, "{:?}", got.refused);
    assert_eq!(got.manifest[&path("hard")], Entry::file(b"fine", 0o644));
    assert_eq!(fs::read(dir.path().join("out/ok/file")).unwrap(), b"fine");
    assert_eq!(got.manifest[&path("ok/file")], Entry::file(b"fine", 0o644));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn bombs_are_stopped_by_the_count() {
    let many: Vec<Vec<u8>> = (0..200).map(|n| format!("f{n}").into_bytes()).collect();
    let entries: Vec<_> = many
        .iter()
        .map(|name| (name.as_slice(), EntryType::Regular, &b""[..], &b""[..]))
        .collect();
    assert!(matches!(opened(&archive(&entries)).1, Err(TreeError::Limit(_))));
    let huge = raw(b"huge", EntryType::Regular, b"", 1 << 40);
    assert!(matches!(opened(huge.as_bytes()).1, Err(TreeError::Limit(_))));
    for kind in [EntryType::GNULongName, EntryType::XHeader] {
        let mut bytes = raw(b"x", kind, b"", 1 << 30).as_bytes().to_vec();
        bytes.resize(1 << 20, b'a');
        assert!(opened(&bytes).1.is_err() || opened(&bytes).1.unwrap().manifest.is_empty());
    }
}

#[test]
fn our_own_edits_come_back_through_it() {
    let long = "d/".repeat(200) + &"n".repeat(250);
    let edits = TreeEdits::write_file(&path(&long), b"bytes", 0o600);
    let (_dir, got) = opened(&edits.tar);
    assert_eq!(got.unwrap().manifest[&path(&long)], Entry::file(b"bytes", 0o600));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn mutated_archives_never_panic_and_never_leave_the_directory(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(),
        fix in any::<bool>(),
    ) {
        let mut bytes = archive(&[
            (b"a/b", EntryType::Regular, b"", b"text"),
            (b"l", EntryType::Symlink, b"a/b", b""),
            (b"@", EntryType::GNULongName, b"", b"long/name\0"),
            (b"x", EntryType::Regular, b"", b"y"),
            (b"p", EntryType::XHeader, b"", b"18 path=pax/name1\n"),
            (b"x", EntryType::Directory, b"", b""),
        ]);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
            if fix {
                // A right checksum lets the damage through to what reads the fields.
                let block = at / 512 * 512;
                let sum: u32 = (0..512).map(|n| if (148..156).contains(&n) { 32 } else { u32::from(bytes[block + n]) }).sum();
                bytes[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 4);
        let (dir, _got) = opened(&bytes);
        prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
