//! Patches against the real `git apply`.

use std::{
    collections::BTreeMap,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    process::Command,
};

use proptest::prelude::*;

use super::*;

/// What git would keep of one path.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    File(Vec<u8>, bool),
    Link(Vec<u8>),
}

type Tree = BTreeMap<Vec<u8>, Node>;

fn build(root: &Path, tree: &Tree) {
    fs::create_dir_all(root).unwrap();
    for (at, node) in tree {
        let full = path(at).under(root);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        match node {
            Node::File(bytes, exec) => {
                fs::write(&full, bytes).unwrap();
                fs::set_permissions(&full, fs::Permissions::from_mode(if *exec { 0o755 } else { 0o644 })).unwrap();
            }
            Node::Link(target) => std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), &full).unwrap(),
        }
    }
}

fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let full = entry.unwrap().path();
            let meta = fs::symlink_metadata(&full).unwrap();
            let at = full.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            if at == b".git" {
                continue;
            }
            if meta.is_dir() {
                dirs.push(full);
            } else if meta.is_symlink() {
                tree.insert(
                    at,
                    Node::Link(fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec()),
                );
            } else {
                tree.insert(
                    at,
                    Node::File(fs::read(&full).unwrap(), meta.permissions().mode() & 0o100 != 0),
                );
            }
        }
    }
    tree
}

/// The patch from one tree to the other.
fn diff(bench: &Bench, old: &Tree, new: &Tree) -> Vec<u8> {
    build(&bench.source(), old);
    build(&bench.at("new"), new);
    let pristine = bench.pristine();
    let from = Checkpoint::empty(&bench.at("l0")).unwrap();
    let to = Checkpoint::freeze_copy(&pristine, &bench.at("new"), &[], &bench.at("l1")).unwrap();
    super::super::patch(&pristine, &from, &to, &to.changes_since(&pristine, &from)).unwrap()
}

fn assert_applies(old: &Tree, new: &Tree) {
    let bench = Bench::new();
    let patch = diff(&bench, old, new);
    fs::write(bench.at("p"), &patch).unwrap();
    cp(&bench.source(), &bench.at("applied"));
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(args)
            .current_dir(bench.at("applied"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", bench.dir.path());
        command
    };
    run(&mut git(&["init", "-q"]));
    if !patch.is_empty() {
        let out = git(&["apply", "--whitespace=nowarn", "../p"]).output().unwrap();
        let shown = String::from_utf8_lossy(&patch);
        assert!(
            out.status.success(),
            "{}\n{shown}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    assert_eq!(read(&bench.at("applied")), *new, "{}", String::from_utf8_lossy(&patch));
}

fn tree(nodes: &[(&[u8], Node)]) -> Tree {
    nodes.iter().map(|(at, node)| (at.to_vec(), node.clone())).collect()
}

fn text(bytes: &[u8]) -> Node {
    Node::File(bytes.to_vec(), false)
}

#[test]
fn git_applies_every_kind_of_change() {
    let big: Vec<u8> = (0..300_000u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes())
        .collect();
    let old = tree(&[
        (b"text", text(b"1\n2\n3\n4\n5\n6\n7\n8\n9\n")),
        (b"crlf", text(b"a\r\nb\r\n")),
        (b"no newline", text(b"a\nb")),
        (b"tab\there", text(b"x\n")),
        (b"quote\"d\\", text(b"x\n")),
        (b"line\nbreak", text(b"x\n")),
        (b"\xff\xfe", text(b"x\n")),
        (b"empty", text(b"")),
        (b"fill", text(b"")),
        (b"binary", text(b"\0\x01")),
        (b"gone/deep/file", text(b"x\n")),
        (b"mode", text(b"x\n")),
        (b"to-link", text(b"x\n")),
        (b"link", Node::Link(b"text".to_vec())),
        (b"to-dir", text(b"x\n")),
        (b"from-dir/x", text(b"x\n")),
    ]);
    let new = tree(&[
        (b"text", text(b"1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n")),
        (b"crlf", text(b"a\r\nc\r\n\rd\n")),
        (b"no newline", text(b"a\nb\n")),
        (b"tab\there", text(b"y")),
        (b"quote\"d\\", text(b"y\n")),
        (b"line\nbreak", text(b"y\n")),
        (b"\xff\xfe", text(b"\xff\n")),
        (b"fill", text(b"z")),
        (b"binary", text(&big)),
        (b"mode", Node::File(b"x\n".to_vec(), true)),
        (b"to-link", Node::Link(b"tex t".to_vec())),
        (b"link", Node::Link(b"../elsewhere".to_vec())),
        (b"to-dir/x", text(b"x\n")),
        (b"from-dir", text(b"x\n")),
        (b"new empty", Node::File(Vec::new(), true)),
        (b"new\x7fbinary", text(b"\0")),
        (b"-- a", text(b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n")),
    ]);
    assert_applies(&old, &new);
    assert_applies(&new, &old);
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(prop::sample::select(vec![&b"a\n"[..], b"b\n", b"\n", b"a\r\n", b"c", b" \t\n", b"\xff\n"]), 0..12).prop_map(|lines| lines.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        6 => (bytes(), any::<bool>()).prop_map(|(bytes, exec)| Node::File(bytes, exec)),
        1 => prop::sample::select(vec![&b"a"[..], b"../b c", b"\xff\n"]).prop_map(|target| Node::Link(target.to_vec())),
    ]
}

fn random_tree() -> impl Strategy<Value = Tree> {
    let name = prop::sample::select(vec![
        &b"a"[..],
        b"b c",
        b"d\te",
        b"q\"",
        b"\xc3\xa9",
        b"\xff",
        b"n\nl",
        b"d1/x",
        b"d1/y z",
        b"d 2/\\",
    ]);
    prop::collection::btree_map(name.prop_map(<[u8]>::to_vec), node(), 0..7)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn git_applies_what_we_write(old in random_tree(), new in random_tree()) {
        assert_applies(&old, &new);
    }
}
