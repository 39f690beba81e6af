//! Places in a document, what is wrong at one, and how hostile text is shown.

/// A place in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

impl Position {
    /// The first character of a document.
    pub const START: Position = Position { line: 1, column: 1 };

    /// What is wrong here.
    pub fn fault(self, message: impl Into<String>) -> Fault {
        Fault {
            at: self,
            message: message.into(),
        }
    }
}

/// What is wrong at a place of a document whose file is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: Position,
    /// What, in one line.
    pub message: String,
}

/// Longest excerpt of hostile text in a message, in characters.
const SHOWN_MAX: usize = 80;

/// Hostile text made fit for one line of a message: bounded, everything that is not printable escaped.
pub fn shown(text: &str) -> String {
    bounded(text, SHOWN_MAX)
}

/// The same with another bound, in characters.
pub(super) fn bounded(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == most {
            out.push('…');
            break;
        }
        match c {
            '\'' | '"' | '\\' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_on_one_line_and_is_bounded() {
        assert_eq!(shown("a\nb\u{1b}[31m\u{202e}"), "a\\nb\\u{1b}[31m\\u{202e}");
        assert_eq!(shown("say \"it's\" \\d"), "say \"it's\" \\d");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), SHOWN_MAX + 1);
    }
}
