//! Untrusted bytes made fit for a terminal.

/// Bytes as one line of text that a terminal shows and does not obey: control
/// characters, bidirectional and other invisible characters and invalid UTF-8
/// are escaped; past `max_chars` characters of the result comes an ellipsis.
pub fn escape(bytes: &[u8], max_chars: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    // Pieces go in whole, so that no escape is ever cut in half.
    let mut push = |piece: &str| {
        count += piece.chars().count();
        if count > max_chars {
            out.push('…');
            return false;
        }
        out.push_str(piece);
        true
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let fits = match c {
                '\'' | '"' | '\\' => push(c.encode_utf8(&mut [0; 4])),
                // `escape_debug` leaves what is printable as it is.
                c if invisible(c) => push(&c.escape_unicode().to_string()),
                c => push(&c.escape_debug().to_string()),
            };
            if !fits {
                return out;
            }
        }
        for byte in chunk.invalid() {
            if !push(&format!("\\x{byte:02x}")) {
                return out;
            }
        }
    }
    out
}

/// Format characters (Unicode category Cf) and others that change or hide what is around them.
pub(super) fn invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_comes_through(bytes in proptest::collection::vec(any::<u8>(), 0..300), max in 0_usize..200) {
            let shown = escape(&bytes, max);
            prop_assert!(shown.chars().count() <= max + 1);
            prop_assert!(shown.chars().all(|c| !c.is_control() && !invisible(c)), "{shown:?}");
        }

        #[test]
        fn plain_text_stays_as_it_is(text in "[ -~äöü€]{0,80}") {
            prop_assert_eq!(escape(text.as_bytes(), 80), text);
        }
    }

    #[test]
    fn escapes_are_readable_and_bounded() {
        assert_eq!(escape(b"a\n\x1b[31m\xff", 80), "a\\n\\u{1b}[31m\\xff");
        assert_eq!(escape("\u{202e}x".as_bytes(), 80), "\\u{202e}x");
        assert_eq!(escape(b"abcdef", 3), "abc…");
        assert_eq!(escape(b"ab\x1b", 4), "ab…", "an escape is never cut");
    }
}
