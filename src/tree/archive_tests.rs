//! Every byte of an archive counts.

use std::io::{Seek, SeekFrom};

use super::*;

fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(text).expect("a path")
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("tempfile");
    file.write_all(bytes).expect("write");
    file.seek(SeekFrom::Start(0)).expect("seek");
    file
}

fn sample() -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new());
    writer.file(&path("a"), 3, &b"abc"[..]).expect("a");
    writer.file(&path("a.b"), 0, &b""[..]).expect("a.b");
    writer.link(&path(b"l\xffnk"), b"a").expect("link");
    writer.link(&path("m"), &[b'x'; 300]).expect("long link");
    writer.file(&path([b'n'; 200]), 512, &[7; 512][..]).expect("long name");
    writer.finish().expect("finish")
}

#[test]
fn what_is_written_is_read_back_and_other_programs_read_it_too() {
    let bytes = sample();
    assert_eq!(bytes, sample());
    let archive = Archive::open(file_of(&bytes)).expect("open");
    let items: Vec<_> = archive
        .members()
        .map(|(path, item)| (path.clone(), item.clone()))
        .collect();
    assert_eq!(items[2], (path(b"l\xffnk"), Item::Link(b"a".to_vec())));
    assert_eq!(items[3].1, Item::Link(vec![b'x'; 300]));
    assert_eq!(items[4], (path([b'n'; 200]), Item::File(512)));
    let mut text = String::new();
    archive
        .read(&path("a"))
        .expect("a")
        .read_to_string(&mut text)
        .expect("read");
    assert_eq!(text, "abc");
    assert!(archive.read(&path("m")).is_none() && archive.read(&path("z")).is_none());
    let mut read = tar::Archive::new(bytes.as_slice());
    let names: Vec<_> = read
        .entries()
        .expect("entries")
        .map(|e| e.expect("entry").path_bytes().into_owned())
        .collect();
    assert_eq!(
        names,
        items
            .iter()
            .map(|(path, _)| path.as_bytes().to_vec())
            .collect::<Vec<_>>()
    );
}

#[test]
fn every_bit_outside_of_the_files_counts() {
    let bytes = sample();
    let named = |archive: &Archive| -> Vec<_> {
        archive
            .members()
            .map(|(path, item)| (path.clone(), item.clone()))
            .collect()
    };
    let whole = Archive::open(file_of(&bytes)).expect("open");
    // The bytes of `a` and of the long name are files' own.
    let own = |at: usize| (512..515).contains(&at) || (bytes.len() - 1024 - 512..bytes.len() - 1024).contains(&at);
    for at in (0..bytes.len()).filter(|at| !own(*at)) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        match Archive::open(file_of(&flipped)) {
            Err(ArchiveError::Damaged { at: found, .. }) => assert!(found <= bytes.len() as u64),
            // The end of a long name or target: what it says is then something else.
            Ok(other) => assert_ne!(named(&other), named(&whole), "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
    }
    for cut in 0..bytes.len() {
        assert!(Archive::open(file_of(&bytes[..cut])).is_err(), "cut at {cut}");
    }
    let more = [&bytes[..], &[0; 512]].concat();
    assert!(Archive::open(file_of(&more)).is_err());
}

#[test]
fn members_out_of_order_are_refused() {
    let mut writer = ArchiveWriter::new(Vec::new());
    writer.file(&path("b"), 0, &b""[..]).expect("b");
    assert!(writer.file(&path("a"), 0, &b""[..]).is_err());
    assert!(writer.file(&path("c"), 2, &b"1"[..]).is_err());
    let swapped = [&head(b"b", &Item::File(0))[..], &head(b"a", &Item::File(0)), &[0; 1024]].concat();
    let why = Archive::open(file_of(&swapped)).expect_err("order").to_string();
    assert!(why.contains("out of order"), "{why}");
}
