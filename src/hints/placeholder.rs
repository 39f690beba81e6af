//! Words that whoever reads a documentation is meant to fill in: `<model>`, `[train|eval]`,
//! `${{ matrix.python }}`, `path/to/x`.
//!
//! To a shell `<model>` is a redirection and `[a|b]` a pipe. So they are taken for one mark each
//! before a text is parsed, and put back after.

use std::ops::Range;

/// Around the number of what is hidden. Of the private use area: no text of ours has them.
const MARKS: [char; 2] = ['\u{f8f0}', '\u{f8f1}'];
/// Most in one text.
const MOST: usize = 500;
/// Longest, bytes.
const LONGEST: usize = 120;

/// A text in which what is to be filled in is hidden.
pub(super) struct Hidden {
    pub text: String,
    /// What is hidden, by its number.
    pub words: Vec<String>,
}

impl Hidden {
    /// A piece of the text as it was.
    pub fn shown(&self, piece: &str) -> String {
        self.with(piece, |word| word.to_owned())
    }

    /// A piece of the text with something else in each one's place.
    pub fn with(&self, piece: &str, mut other: impl FnMut(&str) -> String) -> String {
        let mut whole = String::with_capacity(piece.len());
        let mut rest = piece;
        while let Some((before, after)) = rest.split_once(MARKS[0]) {
            whole.push_str(before);
            let (number, after) = after.split_once(MARKS[1]).unwrap_or((after, ""));
            let word = number.parse().ok().and_then(|at: usize| self.words.get(at));
            whole.push_str(&other(word.map_or("", String::as_str)));
            rest = after;
        }
        whole.push_str(rest);
        whole
    }
}

/// Whether it is an expression of GitHub's.
pub(super) fn is_expression(word: &str) -> bool {
    word.starts_with("${{")
}

/// Hides what is to be filled in. A text that holds the marks already is emptied.
pub(super) fn hide(text: &str) -> Hidden {
    let mut hidden = Hidden {
        text: String::with_capacity(text.len()),
        words: Vec::new(),
    };
    if text.contains(MARKS) {
        return hidden;
    }
    let mut at = 0;
    let mut quote: Option<u8> = None;
    let bytes = text.as_bytes();
    let mut kept = 0;
    while at < bytes.len() {
        let found = match (bytes[at], quote) {
            (b'$', _) => expression(text, at),
            (b'<', None) => angles(text, at),
            (b'[', None) => brackets(text, at),
            _ => None,
        };
        if let Some(range) = found.filter(|_| hidden.words.len() < MOST) {
            hidden.text.push_str(&text[kept..range.start]);
            hidden
                .text
                .push_str(&format!("{}{}{}", MARKS[0], hidden.words.len(), MARKS[1]));
            hidden.words.push(text[range.clone()].to_owned());
            (at, kept) = (range.end, range.end);
            continue;
        }
        match (bytes[at], quote) {
            (b'\\', None | Some(b'"')) => at += 1,
            (byte @ (b'\'' | b'"'), None) => quote = Some(byte),
            (byte, Some(open)) if byte == open => quote = None,
            _ => {}
        }
        at += 1;
    }
    hidden.text.push_str(&text[kept..]);
    hidden
}

/// `${{ … }}`
fn expression(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at..];
    let end = rest.starts_with("${{").then(|| rest.find("}}"))??;
    (end < LONGEST).then_some(at..at + end + 2)
}

/// `<…>`: words, ended where a redirection could not end.
fn angles(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at + 1..];
    let end = rest
        .bytes()
        .take(LONGEST)
        .position(|byte| matches!(byte, b'<' | b'>' | b'\n'))?;
    let inside = &rest[..end];
    let is_name = |c: char| c.is_alphanumeric() || "_-. /:|,'".contains(c);
    let named = inside.starts_with(char::is_alphabetic) && inside.chars().all(is_name);
    // `<in 2>err`: the number belongs to a redirection.
    let last = inside.rsplit(' ').next().unwrap_or_default();
    let whole = !last.is_empty() && !last.bytes().all(|byte| byte.is_ascii_digit());
    let after = rest[end + 1..].chars().next();
    // `<in>out` redirects twice; so does a `<` of a descriptor.
    let closed = rest.as_bytes()[end] == b'>' && after.is_none_or(|c| c.is_whitespace() || "/.,:;)\"'@=<".contains(c));
    let before = text[..at].bytes().next_back();
    let opens = !before.is_some_and(|byte| byte.is_ascii_digit() || byte == b'<');
    (named && whole && closed && opens).then_some(at..at + end + 2)
}

/// `[a|b]`, `[options]`, as a word of its own that no shell would take for a pattern of files.
fn brackets(text: &str, at: usize) -> Option<Range<usize>> {
    let starts = at == 0 || text[..at].ends_with([' ', '\t', '=']);
    let rest = &text[at + 1..];
    let end = rest
        .bytes()
        .take(LONGEST)
        .position(|byte| matches!(byte, b']' | b'[' | b'\n'))?;
    let inside = &rest[..end];
    let after = rest[end + 1..].chars().next();
    let ends = after.is_none_or(|c| c.is_whitespace() || c == '.');
    // `[ -f x ]` is a command.
    let tight =
        !inside.is_empty() && !inside.starts_with(char::is_whitespace) && !inside.ends_with(char::is_whitespace);
    (starts && ends && tight && rest.as_bytes()[end] == b']').then_some(at..at + end + 2)
}

/// Whether a literal word is one that somebody is to fill in, though a shell would take it.
pub(super) fn is_blank(word: &str) -> bool {
    let low = word.to_ascii_lowercase();
    let value = low.rsplit('=').next().unwrap_or(&low);
    let parts = || {
        value
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|part| !part.is_empty())
    };
    let angled = value.len() > 2
        && value.starts_with('<')
        && value.ends_with('>')
        && !value[1..value.len() - 1].contains(['<', '>']);
    let braced = value.len() > 2 && value.starts_with('{') && value.ends_with('}') && !value.contains([',', ' ', '.']);
    let dotted = matches!(value, "..." | "…");
    angled || braced || dotted || value.contains("path/to") || parts().next() == Some("your") || low.contains("/your_")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hidden(text: &str) -> Vec<String> {
        hide(text).words
    }

    #[test]
    fn what_is_to_be_filled_in_is_told_from_redirections_and_patterns() {
        for (text, words) in [
            ("run --model <model> --out <out dir>", &["<model>", "<out dir>"][..]),
            ("run --model=<org/name>", &["<org/name>"]),
            ("run [train|eval] [--flag] x", &["[train|eval]", "[--flag]"]),
            (
                "tox -e py${{ matrix.v }} \"${{ a.b }}\"",
                &["${{ matrix.v }}", "${{ a.b }}"],
            ),
            ("curl <url>/x", &["<url>"]),
        ] {
            assert_eq!(hidden(text), words, "{text}");
        }
        for plain in [
            "sort <in >out",
            "sort <in>out",
            "sort <in 2>err",
            "sort <in 2> err",
            "sort 0<in",
            "cat <<E\nx\nE",
            "cat <<<word",
            "pip install .[dev]",
            "pytest 'a.py::t[x|y]'",
            "pytest a.py::t[x]",
            "[ -f x ] && y",
            "[[ -f x ]] && y",
            "ls [ab]*.c",
            "diff <(a) <(b)",
            "grep '<div>' x",
            "echo ${x}",
        ] {
            assert!(hidden(plain).is_empty(), "{plain}: {:?}", hidden(plain));
        }
    }

    #[test]
    fn words_to_fill_in_that_a_shell_would_take() {
        for blank in [
            "path/to/model",
            "--key=YOUR_KEY",
            "your-model",
            "...",
            "<model>",
            "{name}",
            "/path/to/x",
        ] {
            assert!(is_blank(blank), "{blank}");
        }
        for word in ["tests/path.py", "yourself.py", "{a,b}", "a<b", ".", "..", "x/...", "{}"] {
            assert!(!is_blank(word), "{word}");
        }
    }

    proptest! {
        #[test]
        fn what_is_hidden_comes_back(text in "[a-z<>|\\[\\]${} '\"\\\\\n/.é]{0,80}") {
            let hidden = hide(&text);
            prop_assert_eq!(hidden.shown(&hidden.text), text);
        }
    }
}
