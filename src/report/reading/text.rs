//! Untrusted text, made fit to be read, and never more of it than asked for.

use schemars::JsonSchema;
use serde::Serialize;

use crate::report::escape::{escape, invisible};

/// A piece of a text: its beginning, its end, and how much is left out between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Preview {
    /// Where all of it lies, relative to the run's directory, when it is a file.
    pub file: Option<String>,
    /// Bytes of the whole.
    pub bytes: u64,
    /// Its beginning.
    pub head: String,
    /// Bytes between beginning and end that are not shown.
    pub more: u64,
    /// Its end; empty where nothing is left out.
    pub tail: String,
}

impl Preview {
    /// At most `head` bytes of the beginning and `tail` bytes of the end of `bytes`.
    pub fn of(bytes: &[u8], head: usize, tail: usize) -> Self {
        if bytes.len() <= head.saturating_add(tail) {
            return Self {
                bytes: bytes.len() as u64,
                head: visible(bytes),
                ..Self::default()
            };
        }
        let (first, last) = (&bytes[..head], &bytes[bytes.len() - tail..]);
        Self::cut(first, last, bytes.len() as u64)
    }

    /// The two ends of a text of `bytes` bytes.
    pub(super) fn cut(first: &[u8], last: &[u8], bytes: u64) -> Self {
        Self {
            file: None,
            bytes,
            more: bytes.saturating_sub((first.len() + last.len()) as u64),
            head: visible(first),
            tail: visible(last),
        }
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// One line of at most `max` characters, as [`escape`].
pub(super) fn line(text: &str, max: usize) -> String {
    escape(text.as_bytes(), max)
}

/// Bytes as lines of text in which nothing hides: line ends and tabs stay, colours of a
/// terminal (SGR sequences, ECMA-48 8.3.117) are dropped, other control characters become
/// the pictures that Unicode has of them (U+2400), characters that are invisible or turn
/// the direction are named, bytes that are no UTF-8 are shown in hex. The result holds no
/// character that XML 1.0 forbids.
pub fn visible(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(c) = rest.chars().next() {
            if let Some(after) = colour(rest).or_else(|| rest.strip_prefix("\r\n").map(|_| &rest[1..])) {
                rest = after;
                continue;
            }
            rest = &rest[c.len_utf8()..];
            match c {
                '\n' | '\t' => out.push(c),
                '\0'..='\x1f' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
                '\x7f' => out.push('\u{2421}'),
                '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => name(&mut out, c),
                c if invisible(c) => name(&mut out, c),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

fn name(out: &mut String, c: char) {
    out.push_str(&format!("\u{2039}U+{:04X}\u{203a}", u32::from(c)));
}

/// What follows an SGR sequence at the beginning of a text.
fn colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'))?;
    parameters[end..].strip_prefix('m')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_hides(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x1b), Just(b'[')], 0..400)) {
            let shown = visible(&bytes);
            prop_assert!(shown.chars().all(|c| c == '\n' || c == '\t' || (!c.is_control() && !invisible(c))), "{shown:?}");
        }

        #[test]
        fn a_preview_accounts_for_every_byte(bytes in proptest::collection::vec(any::<u8>(), 0..300), head in 0_usize..100, tail in 0_usize..100) {
            let preview = Preview::of(&bytes, head, tail);
            prop_assert_eq!(preview.bytes, bytes.len() as u64);
            let shown = if preview.more == 0 { bytes.len() } else { head + tail };
            prop_assert_eq!(preview.more, (bytes.len() - shown) as u64);
        }
    }

    #[test]
    fn colours_go_and_everything_else_that_a_terminal_obeys_is_shown() {
        assert_eq!(visible(b"a\x1b[1;31mred\x1b[0m\r\nb\r\tc"), "ared\nb\u{240d}\tc");
        assert_eq!(
            visible(b"\x1b]0;title\x07 \x1b[2J"),
            "\u{241b}]0;title\u{2407} \u{241b}[2J"
        );
        assert_eq!(
            visible("a\u{202e}b\u{85}\u{ffff}".as_bytes()),
            "a\u{2039}U+202E\u{203a}b\u{2039}U+0085\u{203a}\u{2039}U+FFFF\u{203a}"
        );
        assert_eq!(visible(b"x\xff\xc3"), "x\\xff\\xc3");
        assert_eq!(visible("<script>ä€😀".as_bytes()), "<script>ä€😀");
    }
}
