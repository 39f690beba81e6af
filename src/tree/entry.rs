//! What a tree holds, by content.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::RelPath;

/// A BLAKE3 digest (32 bytes), shown as hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content(pub [u8; 32]);

/// One thing in a tree. Times and owners are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Entry {
    /// What it is.
    #[serde(flatten)]
    pub kind: EntryKind,
    /// Permission bits, `0o7777` (0 for symlinks).
    pub mode: u32,
}

/// The setuid and setgid bits of a file.
const SET_ID_BITS: u32 = 0o6000;

impl Entry {
    /// A directory with these permission bits.
    pub fn dir(mode: u32) -> Self {
        let kind = EntryKind::Dir;
        Self { kind, mode }
    }

    /// A regular file that holds `bytes`.
    pub fn file(bytes: &[u8], mode: u32) -> Self {
        let kind = EntryKind::File {
            content: Content::of(bytes),
            size: bytes.len() as u64,
        };
        Self { kind, mode }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == EntryKind::Dir
    }

    /// Whether it is a file with a setuid or setgid bit.
    pub fn has_set_id(&self) -> bool {
        self.mode & SET_ID_BITS != 0
    }

    /// Mode bits as this room keeps them. The owner can always read, and enter
    /// directories, or nobody could copy or remove them; the sticky bit goes, and
    /// set-id bits stay only on files, where the guard wants to see them.
    pub(super) fn kept_mode(kind: &EntryKind, mode: u32) -> u32 {
        match kind {
            EntryKind::File { .. } => mode & (0o777 | SET_ID_BITS) | 0o400,
            EntryKind::Dir => mode & 0o777 | 0o700,
            EntryKind::Symlink { .. } | EntryKind::Special => 0,
        }
    }

    /// This entry as a frozen layer holds it: no set-id bits; specials are nothing.
    pub(super) fn carried(&self) -> Option<Entry> {
        (self.kind != EntryKind::Special).then(|| Entry {
            kind: self.kind.clone(),
            mode: self.mode & 0o777,
        })
    }
}

/// Kinds of entry that a tree may hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Digest of its bytes.
        content: Content,
        /// Length in bytes.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link; the target is bytes, lossily shown.
    Symlink {
        /// Raw target.
        target: Vec<u8>,
    },
    /// A fifo, socket or device: seen, never copied.
    Special,
}

/// A whole tree: every path below its root. Component order, parents first.
pub type Manifest = BTreeMap<RelPath, Entry>;

/// How a path differs between two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Only in the new tree.
    Added,
    /// In both, with other content, target or mode.
    Modified,
    /// Only in the old tree.
    Deleted,
}

/// One differing path (directories whose mode alone is equal never appear).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Change {
    /// The path.
    pub path: RelPath,
    /// How it differs.
    pub kind: ChangeKind,
    /// What was there.
    pub before: Option<Entry>,
    /// What is there.
    pub after: Option<Entry>,
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Content {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Content {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(serde::de::Error::custom("a digest is 64 hex digits"));
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(serde::de::Error::custom)?;
        }
        Ok(Self(bytes))
    }
}
