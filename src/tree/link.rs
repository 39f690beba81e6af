//! Where a symbolic link may point.
#![forbid(unsafe_code)]

use crate::names::RelPath;

/// Why a link at `path` with this target must not leave its tree; `None` when it
/// stays inside. Any `..` must come first: behind a name it would start from
/// wherever that name leads, which need not be where it seems.
pub(super) fn outward(path: &RelPath, target: &[u8]) -> Option<&'static str> {
    if target.first() == Some(&b'/') {
        return Some("a link to an absolute path");
    }
    if target.is_empty() || target.contains(&0) {
        return Some("a link to nothing");
    }
    let mut depth = path.names().count() - 1;
    let mut descended = false;
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if descended => return Some("a link that climbs after it descended"),
            b".." if depth == 0 => return Some("a link that leaves the tree"),
            b".." => depth -= 1,
            _ => descended = true,
        }
    }
    None
}

/// Whether a component of the path is `.git` in any case: git's own files are never brought to anybody.
pub(super) fn is_git_metadata(path: &RelPath) -> bool {
    path.names().any(|name| name.eq_ignore_ascii_case(b".git"))
}

/// The path as a case-insensitive file system would compare it.
pub(super) fn folded(path: &RelPath) -> String {
    String::from_utf8_lossy(path.as_bytes()).to_lowercase()
}
