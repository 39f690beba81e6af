//! ZIP archives that nobody trusts, made by another program (Python's zipfile) and by hand.

use std::{fs::File, process::Command};

use proptest::prelude::*;

use super::{super::zip_reader::unpack, *};

const ZIP_LIMITS: ArchiveLimits = ArchiveLimits {
    max_entries: 100,
    max_bytes: 1_000_000,
    case_matters: true,
};

/// Runs a script with `z`, an open `zipfile.ZipFile`, and `put(name, data, mode)`.
fn python(script: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zip");
    let head = "import zipfile, sys, stat\n\
                z = zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED)\n\
                def put(name, data=b'', mode=0o100644, **more):\n\
                \u{20}   i = zipfile.ZipInfo(name); i.create_system = 3; i.external_attr = mode << 16\n\
                \u{20}   i.compress_type = zipfile.ZIP_DEFLATED\n\
                \u{20}   for k, v in more.items(): setattr(i, k, v)\n\
                \u{20}   z.writestr(i, data)\n";
    let done = Command::new("python3")
        .args(["-c", &format!("{head}{script}\nz.close()"), path.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read(path).unwrap()
}

fn opened(bytes: &[u8]) -> (tempfile::TempDir, Result<Unpacked, TreeError>) {
    let dir = tempfile::tempdir().unwrap();
    let (out, zip) = (dir.path().join("out"), dir.path().join("a.zip"));
    fs::create_dir(&out).unwrap();
    fs::write(&zip, bytes).unwrap();
    let got = unpack(&mut File::open(&zip).unwrap(), &ZIP_LIMITS, &out);
    (dir, got)
}

fn why(bytes: &[u8]) -> String {
    opened(bytes).1.unwrap_err().to_string()
}

/// Overwrites the `nth` place where `find` stands.
fn patched(bytes: &[u8], find: &[u8], nth: usize, offset: usize, with: &[u8]) -> Vec<u8> {
    let mut places = bytes
        .windows(find.len())
        .enumerate()
        .filter(|(_, window)| *window == find);
    let (at, _) = places.nth(nth).expect("it is there");
    let mut out = bytes.to_vec();
    out[at + offset..at + offset + with.len()].copy_from_slice(with);
    out
}

#[test]
fn what_python_packs_comes_out_as_it_was() {
    let bytes = python(
        "put('top/', mode=0o40755)\nput('top/run.sh', b'#!/bin/sh\\n', 0o100755)\n\
         put('top/link', b'run.sh', 0o120777)\nput('top/empty')\n\
         z.writestr('top/plain', b'x' * 5000, zipfile.ZIP_STORED)\nput('top/Plain', b'case')\n\
         z.comment = b'0123456789abcdef'",
    );
    let (dir, got) = opened(&bytes);
    let got = got.unwrap();
    assert!(got.refused.is_empty() && got.notes.is_empty(), "{got:?}");
    assert_eq!(got.comment.as_deref(), Some("0123456789abcdef"));
    assert_eq!(got.manifest[&path("top/run.sh")], Entry::file(b"#!/bin/sh\n", 0o755));
    assert_eq!(got.manifest[&path("top/Plain")], Entry::file(b"case", 0o644));
    assert_eq!(got.manifest.len(), 6);
    let link = fs::read_link(dir.path().join("out/top/link")).unwrap();
    assert_eq!(link, Path::new("run.sh"));
    assert_eq!(fs::read(dir.path().join("out/top/plain")).unwrap(), vec![b'x'; 5000]);
}

#[test]
fn large_records_are_read() {
    let bytes = python("f = z.open(zipfile.ZipInfo('big'), 'w', force_zip64=True); f.write(b'bytes'); f.close()");
    let got = opened(&bytes).1.unwrap();
    assert_eq!(got.manifest[&path("big")], Entry::file(b"bytes", 0o600));
}

#[test]
fn only_what_stays_inside_comes_out() {
    let bytes = python(
        "put('ok/file', b'fine')\nput('../climb', b'x')\nput('/etc/abs', b'x')\nput('ok/../../climb', b'x')\n\
         put('away', b'/tmp', 0o120777)\nput('up', b'../x', 0o120777)\nput('dir', b'ok', 0o120777)\n\
         put('dir/through', b'x')\nput('pipe', b'', 0o010644)\nput('null', b'', 0o020644)\n\
         import warnings; warnings.simplefilter('ignore')\nput('ok/file', b'twice')\n\
         put('set', b'x', 0o104755)\nput('back\\\\slash', b'x', 0o100644, create_system=0)\nput('last', b'z')",
    );
    let (dir, got) = opened(&bytes);
    let got = got.unwrap();
    let names: Vec<String> = got.manifest.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["dir", "last", "ok", "ok/file", "set"]);
    assert_eq!((got.refused.len(), got.notes.len()), (10, 1), "{:?}", got.refused);
    assert_eq!(got.manifest[&path("ok/file")], Entry::file(b"fine", 0o644));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn bombs_are_stopped_by_size_and_count() {
    let bytes = python("put('zeros', b'\\0' * 2_000_000)");
    assert!(matches!(opened(&bytes).1, Err(TreeError::Limit(_))));
    let bytes = python("[put(str(n)) for n in range(200)]");
    assert!(matches!(opened(&bytes).1, Err(TreeError::Limit(_))));
    // A small size in the headers does not let more bytes through.
    let bytes = python("put('zeros', b'\\0' * 2_000_000)");
    let size = 2_000_000u32.to_le_bytes();
    let lying = patched(&patched(&bytes, &size, 0, 0, &[9, 0, 0, 0]), &size, 0, 0, &[9, 0, 0, 0]);
    assert!(why(&lying).contains("more bytes than it says"), "{}", why(&lying));
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let bytes = python("put('first', b'one')\nput('other', b'two')");
    assert!(opened(&bytes).1.is_ok(), "the control");
    // Another name in the local header, and another in the directory.
    for nth in [0, 1] {
        assert!(why(&patched(&bytes, b"first", nth, 0, b"third")).contains("differs"));
    }
    // Encrypted, by the flag of both headers.
    let local = patched(&bytes, &0x0403_4b50u32.to_le_bytes(), 0, 6, &[1]);
    let both = patched(&local, &0x0201_4b50u32.to_le_bytes(), 0, 8, &[1]);
    assert!(why(&local).contains("differs"));
    assert_eq!(opened(&both).1.unwrap().refused.len(), 1);
    // A checksum that is not the bytes'.
    let wrong = patched(&bytes, &0x0201_4b50u32.to_le_bytes(), 0, 16, &[1, 2, 3, 4]);
    assert!(why(&wrong).contains("checksum"), "{}", why(&wrong));
    // Two entries over the same bytes.
    let second = bytes
        .windows(4)
        .rposition(|window| window == 0x0201_4b50u32.to_le_bytes())
        .unwrap();
    let mut over = bytes.clone();
    over[second + 42..second + 46].copy_from_slice(&[0; 4]);
    over[second + 46..second + 51].copy_from_slice(b"first");
    let packed: Vec<u8> = bytes[bytes
        .windows(4)
        .position(|w| w == 0x0201_4b50u32.to_le_bytes())
        .unwrap()..][16..28]
        .to_vec();
    over[second + 16..second + 28].copy_from_slice(&packed);
    assert!(why(&over).contains("over one another"), "{}", why(&over));
    // Something before it or behind it.
    assert!(why(&[b"MZ", bytes.as_slice()].concat()).contains("not where it says"));
    assert!(why(&[bytes.as_slice(), b"x"].concat()).contains("no ZIP archive"));
    assert!(why(&bytes[..bytes.len() - 30]).contains("no ZIP archive"));
    assert!(why(b"").contains("no ZIP archive"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn mutated_archives_never_panic_and_never_leave_the_directory(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        static MADE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let made = MADE.get_or_init(|| python(
            "put('a/b', b'text' * 50)\nput('l', b'a/b', 0o120777)\nput('d/', mode=0o40755)\n\
             f = z.open(zipfile.ZipInfo('big'), 'w', force_zip64=True); f.write(b'bytes'); f.close()",
        ));
        let mut bytes = made.clone();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len() * 8).saturating_sub(bytes.len() * 7));
        let (dir, _got) = opened(&bytes);
        prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
