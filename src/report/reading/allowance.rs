//! How much text a view of a run may hold.

use super::{folder::Folder, text::Preview};

/// Bytes of previews of one view; what comes after is left out, and said so.
const PREVIEWS: usize = 1_500_000;

/// How much text may still be taken into a view.
pub(super) struct Allowance {
    left: usize,
    /// Texts that were left out.
    pub refused: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            left: PREVIEWS,
            refused: 0,
        }
    }
}

impl Allowance {
    /// A preview of a text.
    pub fn text(&mut self, text: &str, head: usize, tail: usize) -> Preview {
        self.bytes(text.as_bytes(), head, tail)
    }

    /// A preview of bytes.
    pub fn bytes(&mut self, bytes: &[u8], head: usize, tail: usize) -> Preview {
        let (head, tail) = self.take(bytes.len() as u64, head, tail);
        Preview::of(bytes, head, tail)
    }

    /// A preview of a file, where there is one.
    pub fn file(&mut self, folder: &Folder, name: &str, head: usize, tail: usize) -> Option<Preview> {
        let (_, length) = folder.file(name).ok()?;
        let (head, tail) = self.take(length, head, tail);
        folder.preview(name, head, tail)
    }

    fn take(&mut self, length: u64, head: usize, tail: usize) -> (usize, usize) {
        let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(head + tail);
        if wanted > self.left {
            self.refused += 1;
            return (0, 0);
        }
        self.left -= wanted;
        (head, tail)
    }
}
