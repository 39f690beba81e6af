//! A path inside a tree, as the kernel sees it: bytes, never `..`, never absolute.

use std::{
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest single name, in bytes (`NAME_MAX`, limits.h).
const NAME_MAX: usize = 255;
/// Longest whole path, in bytes (`PATH_MAX` less its NUL, limits.h).
const PATH_MAX: usize = 4095;

/// A normalised path relative to the root of a tree: one or more names joined
/// by `/`; no name is empty, `.` or `..`, none holds a NUL. Ordering is that of
/// the path's components, so a directory sorts directly before its contents.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Vec<u8>);

/// Why bytes are no path inside a tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RelPathError {
    /// Nothing was given, or nothing but `.` and slashes.
    #[error("the path is empty")]
    Empty,
    /// The path begins with `/`.
    #[error("`{0}` is absolute; a path inside the tree is needed")]
    Absolute(String),
    /// A component is `..`.
    #[error("`{0}` climbs out of the tree with `..`")]
    Climbs(String),
    /// A NUL byte cannot be part of a name.
    #[error("`{0}` holds a NUL byte")]
    Nul(String),
    /// A component or the whole is longer than the kernel takes.
    #[error("`{0}…` is too long for a path")]
    TooLong(String),
}

impl RelPath {
    /// Checks and normalises bytes (`./a//b/` becomes `a/b`).
    ///
    /// # Errors
    /// See [`RelPathError`]; `..` is refused even where it would stay inside.
    pub fn new(raw: impl AsRef<[u8]>) -> Result<Self, RelPathError> {
        let raw = raw.as_ref();
        let shown = || {
            String::from_utf8_lossy(&raw[..raw.len().min(120)])
                .escape_debug()
                .to_string()
        };
        if raw.contains(&0) {
            return Err(RelPathError::Nul(shown()));
        }
        if raw.first() == Some(&b'/') {
            return Err(RelPathError::Absolute(shown()));
        }
        let mut out = Vec::with_capacity(raw.len());
        for name in raw.split(|b| *b == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return Err(RelPathError::Climbs(shown())),
                _ if name.len() > NAME_MAX => return Err(RelPathError::TooLong(shown())),
                _ => {
                    if !out.is_empty() {
                        out.push(b'/');
                    }
                    out.extend_from_slice(name);
                }
            }
        }
        if out.is_empty() {
            return Err(RelPathError::Empty);
        }
        if out.len() > PATH_MAX {
            return Err(RelPathError::TooLong(shown()));
        }
        Ok(Self(out))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for use with the file system, still relative.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The path below `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(self.as_path())
    }

    /// The names, outermost first.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/')
    }

    /// The last name.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// The directory that holds this path; `None` at the top of the tree.
    pub fn parent(&self) -> Option<RelPath> {
        let cut = self.0.iter().rposition(|b| *b == b'/')?;
        Some(Self(self.0[..cut].to_vec()))
    }

    /// This path extended by another, checked like it.
    ///
    /// # Errors
    /// As [`RelPath::new`] for `tail` alone, for instance when it is `..` or empty;
    /// [`RelPathError::TooLong`] for the whole.
    pub fn join(&self, tail: impl AsRef<[u8]>) -> Result<RelPath, RelPathError> {
        let tail = Self::new(tail)?;
        if self.0.len() + 1 + tail.0.len() > PATH_MAX {
            return Err(RelPathError::TooLong(tail.to_string().chars().take(120).collect()));
        }
        Ok(Self([&self.0[..], b"/", &tail.0].concat()))
    }

    /// Whether this path is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &RelPath) -> bool {
        self.0 == ancestor.0 || (self.0.starts_with(&ancestor.0) && self.0.get(ancestor.0.len()) == Some(&b'/'))
    }
}

impl std::str::FromStr for RelPath {
    type Err = RelPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // By components without splitting: no name holds a NUL, so a `/` that counts
        // as one sorts below every byte of a name and above the end of a path.
        let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
        match self.0.iter().zip(&other.0).find(|(a, b)| a != b) {
            Some((a, b)) => rank(*a).cmp(&rank(*b)),
            None => self.0.len().cmp(&other.0.len()),
        }
    }
}

/// Shown with control bytes and invalid UTF-8 escaped: these names are hostile.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\'' | '"' => write!(f, "{c}")?,
                    _ => write!(f, "{}", c.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}

/// As text: what is UTF-8 stays as it is, and each byte that is not, and `%`, is
/// percent-encoded (RFC 3986 section 2.1), so that every path survives the way there and back.
impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            text.push_str(&chunk.valid().replace('%', "%25"));
            for byte in chunk.invalid() {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        serializer.serialize_str(&text)
    }
}

impl schemars::JsonSchema for RelPath {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RelPath".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "minLength": 1})
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = text.as_bytes();
        let mut raw = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
            match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
                (b'%', Some(byte)) => {
                    raw.push(byte);
                    at += 3;
                }
                (byte, _) => {
                    raw.push(byte);
                    at += 1;
                }
            }
        }
        Self::new(raw).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Paths of a few odd names, some not UTF-8.
    fn path() -> impl Strategy<Value = RelPath> {
        let byte = prop::sample::select(&b"aZ.-0%/ \n\\\xff\xc3\xa9"[..]);
        prop::collection::vec(byte, 1..12).prop_filter_map("not a path", |raw| RelPath::new(raw).ok())
    }

    #[test]
    fn nothing_gets_out_of_the_tree() {
        use RelPathError::*;
        let error = |raw: &[u8]| RelPath::new(raw).unwrap_err();
        assert_eq!(error(b""), Empty);
        assert_eq!(error(b"./."), Empty);
        assert!(matches!(error(b"/etc"), Absolute(_)));
        assert!(matches!(error(b"a/../b"), Climbs(_)));
        assert!(matches!(error(b".."), Climbs(_)));
        assert!(matches!(error(b"a\0b"), Nul(_)));
        assert!(matches!(error(&[b'a'; 256]), TooLong(_)));
        assert!(matches!(error(&b"a/".repeat(2049)), TooLong(_)));
        assert_eq!(RelPath::new(".//a/./b/").unwrap().as_bytes(), b"a/b");
        assert_eq!(RelPath::new("...").unwrap().as_bytes(), b"...");
        assert!(RelPath::new("a").unwrap().join("../b").is_err());
        assert!(RelPath::new("a").unwrap().join("/b").is_err());
        assert!(
            RelPath::new("a").unwrap().join("").is_err(),
            "joining nothing would be the path itself"
        );
    }

    #[test]
    fn display_escapes_what_could_move_a_cursor() {
        let shown = RelPath::new(b"a\x1b[2J\n\xff'\"\xe2\x80\xae").unwrap().to_string();
        assert_eq!(shown, "a\\u{1b}[2J\\n\\xff'\"\\u{202e}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_normal_path_or_an_error(raw in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(path) = RelPath::new(&raw) {
                prop_assert_eq!(&RelPath::new(path.as_bytes()).unwrap(), &path);
                prop_assert!(path.names().all(|name| !name.is_empty() && name != b"." && name != b".."));
                prop_assert!(path.as_path().is_relative());
            }
        }

        #[test]
        fn text_brings_every_path_back(path in path()) {
            let text = serde_json::to_string(&path).unwrap();
            prop_assert_eq!(serde_json::from_str::<RelPath>(&text).unwrap(), path);
        }

        #[test]
        fn order_is_that_of_components(a in path(), b in path()) {
            prop_assert_eq!(a.cmp(&b), a.names().cmp(b.names()));
        }

        #[test]
        fn family_agrees(a in path(), b in path()) {
            if let Some(parent) = a.parent() {
                prop_assert!(a.starts_with(&parent) && parent < a);
                prop_assert_eq!(parent.join(a.file_name()).unwrap(), a.clone());
            }
            let below = a.join(b.as_bytes());
            if let Ok(below) = below {
                prop_assert!(below.starts_with(&a) && !a.starts_with(&below));
            }
            prop_assert_eq!(a.starts_with(&b), a.names().zip(b.names()).filter(|(x, y)| x == y).count() == b.names().count());
        }
    }
}
