//! A shell script's text to its parse tree.
//!
//! One pass from left to right, bounded in depth and in bytes: whatever the text holds, the
//! work is linear in its length times the depth, and the stack stays small. It reads what
//! bash reads, and a little more (extended patterns; `${{ … }}` of CI files), because a
//! script that is refused as unreadable is one that nobody looked into.
//!
//! | file | holds |
//! |---|---|
//! | `script` | lists, pipelines, compound commands |
//! | `simple` | assignments, words of a command, redirections, here-documents |
//! | `word` | quotes and expansions |
//! | `braces` | parameter expansions in braces |
//! | `escape` | C's escapes |

mod braces;
mod escape;
mod script;
mod simple;
#[cfg(test)]
mod tests;
mod word;

use std::{cell::OnceCell, rc::Rc};

use super::tree::{Script, Word};

/// Longest script, in bytes.
pub const SCRIPT_MAX: usize = 256 << 10;
/// Deepest nesting of commands, substitutions and expansions together.
pub const DEPTH_MAX: u32 = 40;

/// Why a text has no parse tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a shell script.
    #[error("unexpected {what} at byte {at}")]
    Syntax {
        /// Where.
        at: usize,
        /// What stands there.
        what: &'static str,
    },
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    Depth,
    /// Longer than [`SCRIPT_MAX`].
    #[error("longer than {SCRIPT_MAX} bytes")]
    Length,
}

impl ParseError {
    /// Line and column in the text that was read, from 1; of its end where there is none.
    pub fn place(&self, text: &str) -> (usize, usize) {
        let at = match self {
            ParseError::Syntax { at, .. } => *at,
            ParseError::Depth | ParseError::Length => 0,
        };
        let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |place| place + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        (line, column)
    }
}

/// Whether a text is a shell script.
///
/// # Errors
/// See [`ParseError`].
pub fn check(text: &str) -> Result<(), ParseError> {
    parse(text).map(drop)
}

type Parsed<T> = Result<T, ParseError>;

/// Parses a whole script.
///
/// # Errors
/// See [`ParseError`].
pub fn parse(text: &str) -> Parsed<Script> {
    nested(text, 0)
}

/// Parses a script that stands `depth` levels deep in another one.
fn nested(text: &str, depth: u32) -> Parsed<Script> {
    if text.len() > SCRIPT_MAX {
        return Err(ParseError::Length);
    }
    let mut parser = Parser {
        text,
        at: 0,
        depth,
        bodies: Vec::new(),
        own: None,
    };
    let script = parser.script()?;
    match parser.peek() {
        None => parser.take_bodies().map(|()| script),
        Some(b')') => Err(parser.unexpected("`)`")),
        Some(_) => Err(parser.unexpected("word")),
    }
}

struct Parser<'t> {
    text: &'t str,
    /// The next byte.
    at: usize,
    depth: u32,
    /// Here-documents whose bodies begin after this line.
    bodies: Vec<Pending>,
    /// The text, where it is not the whole script's.
    own: Option<Rc<str>>,
}

/// A here-document whose body is still to come, and where it will be put.
struct Pending {
    delimiter: String,
    /// `<<-`
    strips: bool,
    /// The delimiter was quoted: nothing in the body expands.
    literal: bool,
    body: Rc<OnceCell<Word>>,
}

impl Parser<'_> {
    fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    fn peek_at(&self, offset: usize) -> Option<u8> {
        self.bytes().get(self.at + offset).copied()
    }

    fn starts(&self, with: &str) -> bool {
        self.bytes()[self.at..].starts_with(with.as_bytes())
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let there = self.starts(wanted);
        if there {
            self.at += wanted.len();
        }
        there
    }

    fn unexpected(&self, what: &'static str) -> ParseError {
        ParseError::Syntax { at: self.at, what }
    }

    /// One level deeper for `inner`.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return Err(ParseError::Depth);
        }
        self.depth += 1;
        let done = inner(self);
        self.depth -= 1;
        done
    }

    /// Blanks, and newlines that a backslash takes away.
    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'\\') if self.peek_at(1) == Some(b'\n') => self.at += 2,
                _ => return,
            }
        }
    }

    /// Blanks, newlines and comments; bodies of here-documents with them.
    fn newlines(&mut self) -> Parsed<()> {
        loop {
            self.blanks();
            match self.peek() {
                Some(b'\n') => self.newline()?,
                Some(b'#') => self.comment(),
                _ => return Ok(()),
            }
        }
    }

    fn newline(&mut self) -> Parsed<()> {
        self.at += 1;
        self.take_bodies()
    }

    fn comment(&mut self) {
        let rest = &self.bytes()[self.at..];
        self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
}

/// A byte that ends a word.
fn is_meta(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>'
    )
}
