//! Files that Git LFS would have fetched: what is there is a pointer to them.

use std::path::{Path, PathBuf};

/// How a pointer begins (the specification of Git LFS, `docs/spec.md`).
const BEGINS: &[u8] = b"version https://git-lfs.github.com/spec/";
/// Largest pointer.
const MAX_POINTER: u64 = 1024;
/// Files that are looked at.
const MAX_LOOKED_AT: usize = 200_000;
/// Those that are named.
const NAMED: usize = 5;

/// Says how many pointers a tree at rest holds, where it holds any. It is looked through
/// only if it says that it uses Git LFS.
pub(super) fn note(tree: &Path) -> Option<String> {
    let mut dirs = vec![tree.to_path_buf()];
    let mut small = Vec::new();
    let mut uses = false;
    let mut looked_at = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > MAX_LOOKED_AT {
                break;
            }
            // Of the entry itself: no link is followed.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && entry.file_name() != ".git" {
                dirs.push(entry.path());
            } else if meta.is_file() && entry.file_name() == ".gitattributes" {
                uses |= begins(&entry.path(), 1 << 20)
                    .windows(10)
                    .any(|window| window == b"filter=lfs");
            } else if meta.is_file() && (BEGINS.len() as u64..=MAX_POINTER).contains(&meta.len()) {
                small.push(entry.path());
            }
        }
    }
    if !uses {
        return None;
    }
    let mut found: Vec<PathBuf> = small
        .into_iter()
        .filter(|path| begins(path, BEGINS.len() as u64) == BEGINS)
        .filter_map(|path| path.strip_prefix(tree).ok().map(Path::to_path_buf))
        .collect();
    found.sort();
    let names: Vec<String> = found
        .iter()
        .take(NAMED)
        .map(|path| path.display().to_string().escape_debug().to_string())
        .collect();
    let more = if found.len() > NAMED { ", …" } else { "" };
    let count = found.len();
    (count > 0).then(|| {
        format!(
            "{count} files are pointers of Git LFS, whose contents are not fetched: {}{more}",
            names.join(", ")
        )
    })
}

fn begins(path: &Path, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        let _ = std::io::Read::read_to_end(&mut std::io::Read::take(file, most), &mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_told_where_the_repository_says_that_it_has_them() {
        let dir = tempfile::tempdir().expect("tempdir");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
        std::fs::create_dir(dir.path().join("data")).expect("mkdir");
        write("data/a.bin", pointer);
        write("other", "version of something else, which is long enough to be one\n");
        std::os::unix::fs::symlink("data/a.bin", dir.path().join("link")).expect("link");
        assert_eq!(note(dir.path()), None, "nothing says so");
        write(".gitattributes", "*.bin filter=lfs diff=lfs\n");
        let text = note(dir.path()).expect("one");
        assert!(text.starts_with("1 files") && text.contains("data/a.bin"), "{text}");
    }
}
