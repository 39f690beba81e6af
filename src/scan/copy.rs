//! The copied tree.

use crate::{
    names::RelPath,
    policy::shell::{SCRIPT_MAX, Scripts},
    tree::{EntryKind, Manifest, Pristine},
};

/// Longest file that is looked through, in bytes.
pub(super) const FILE_MAX: u64 = 1 << 20;

/// A repository, as it was copied.
pub(super) struct Copy<'a>(pub &'a Pristine);

/// A file's text, or why there is none.
pub(super) enum Text {
    /// The text; what is not UTF-8 is replaced.
    Known(String),
    /// Why not.
    Not(String),
}

impl Copy<'_> {
    /// Everything in it.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Whether a regular file is there.
    pub fn is_file(&self, path: &str) -> bool {
        RelPath::new(path).is_ok_and(|path| {
            let entry = self.0.manifest.get(&path);
            entry.is_some_and(|entry| matches!(entry.kind, EntryKind::File { .. }))
        })
    }

    /// A regular file's bytes.
    pub fn bytes(&self, path: &RelPath) -> Result<Vec<u8>, String> {
        match self.0.read(path, FILE_MAX) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(format!("it has more than {FILE_MAX} bytes")),
            Err(why) => Err(why.to_string()),
        }
    }

    /// A regular file's text.
    pub fn text(&self, path: &RelPath) -> Text {
        match self.bytes(path) {
            Ok(bytes) if bytes.contains(&0) => Text::Not("it is no text".to_owned()),
            Ok(bytes) => Text::Known(String::from_utf8_lossy(&bytes).into_owned()),
            Err(why) => Text::Not(why),
        }
    }
}

impl Scripts for Copy<'_> {
    fn read(&self, path: &[String]) -> Option<String> {
        let path = RelPath::new(path.join("/")).ok()?;
        let entry = self.0.manifest.get(&path)?;
        let EntryKind::File { size, .. } = entry.kind else {
            return None;
        };
        if size > SCRIPT_MAX as u64 {
            return None;
        }
        String::from_utf8(self.bytes(&path).ok()?).ok()
    }
}
