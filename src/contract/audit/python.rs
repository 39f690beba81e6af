//! The tokens of a Python file (Python 3 reference, 2: lexical analysis), as far as an audit
//! needs them: names, numbers, strings and operators, each with its line. Comments are none.

/// Longest file that is read, bytes.
pub(super) const FILE_MAX: usize = 256 << 10;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Number,
    /// Its text is what stands between the quotes, as it is written.
    Text,
    /// One character.
    Operator,
    /// The end of a line outside of brackets.
    End,
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub kind: Kind,
    pub text: &'t str,
    /// From 1.
    pub line: usize,
}

/// The tokens of a text, whatever it holds; what is no token is left out.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
        open: 0,
        found: Vec::new(),
    };
    while let Some(c) = lexer.rest().chars().next() {
        lexer.token(c);
    }
    lexer.push(Kind::End, 0);
    lexer.found
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    /// Brackets that are open.
    open: u32,
    found: Vec<Token<'t>>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Takes `length` bytes as a token.
    fn push(&mut self, kind: Kind, length: usize) {
        let text = &self.rest()[..length];
        self.found.push(Token {
            kind,
            text,
            line: self.line,
        });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest()[..length].bytes().filter(|byte| *byte == b'\n').count();
        self.at += length;
    }

    /// How many bytes at the beginning of the rest are `wanted`.
    fn run(&self, wanted: impl Fn(char) -> bool) -> usize {
        self.rest().find(|c| !wanted(c)).unwrap_or(self.rest().len())
    }

    fn token(&mut self, c: char) {
        match c {
            '\n' => match self.open {
                0 => self.push(Kind::End, 1),
                _ => self.skip(1),
            },
            '#' => {
                let length = self.run(|c| c != '\n');
                self.skip(length);
            }
            '\'' | '"' => self.string(0),
            '0'..='9' => self.number(),
            '.' if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(),
            c if c.is_alphabetic() || c == '_' => {
                let length = self.run(|c| c.is_alphanumeric() || c == '_');
                let after = self.rest()[length..].chars().next();
                let prefix = length <= 2 && self.rest()[..length].chars().all(|c| "rRbBuUfFtT".contains(c));
                match after {
                    Some('\'' | '"') if prefix => self.string(length),
                    _ => self.push(Kind::Name, length),
                }
            }
            // A backslash joins the next line to this one.
            '\\' if self.rest()[1..].starts_with('\n') => self.skip(2),
            c if c.is_whitespace() => self.skip(c.len_utf8()),
            c => {
                match c {
                    '(' | '[' | '{' => self.open += 1,
                    ')' | ']' | '}' => self.open = self.open.saturating_sub(1),
                    _ => {}
                }
                self.push(Kind::Operator, c.len_utf8());
            }
        }
    }

    fn number(&mut self) {
        let mut length = 0;
        let mut before = ' ';
        for c in self.rest().chars() {
            let sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E');
            if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign) {
                break;
            }
            length += c.len_utf8();
            before = c;
        }
        self.push(Kind::Number, length);
    }

    /// A string whose quotes follow `prefix` bytes; one without an end goes to the end of its
    /// line, or of the text.
    fn string(&mut self, prefix: usize) {
        self.skip(prefix);
        let quote = &self.rest()[..1];
        let three = self.rest().as_bytes().get(..3);
        let triple = three.is_some_and(|three| three.iter().all(|byte| *byte == quote.as_bytes()[0]));
        let width = if triple { 3 } else { 1 };
        self.skip(width);
        let (mut length, mut escaped) = (0, false);
        for c in self.rest().chars() {
            let ends = match triple {
                true => self.rest()[length..].starts_with(&quote.repeat(3)),
                false => c == '\n' || quote.starts_with(c),
            };
            if ends && !escaped {
                break;
            }
            // A quote behind a backslash ends nothing in a raw string either.
            escaped = c == '\\' && !escaped;
            length += c.len_utf8();
        }
        self.push(Kind::Text, length);
        let closed = self.rest().starts_with(quote);
        if closed {
            self.skip(width.min(self.rest().len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(Kind, &str, usize)> {
        let all = tokens(text).into_iter().filter(|token| token.kind != Kind::End);
        all.map(|token| (token.kind, token.text, token.line)).collect()
    }

    #[test]
    fn comments_and_strings_are_told_from_code() {
        use Kind::{Name, Number, Operator, Text};
        assert_eq!(
            shown("x = 1.5e-3 # \"score\": 1\ns = rb'a\\'b' + \"\"\"c\n\"d\"\"\"\ny\n"),
            [
                (Name, "x", 1),
                (Operator, "=", 1),
                (Number, "1.5e-3", 1),
                (Name, "s", 2),
                (Operator, "=", 2),
                (Text, "a\\'b", 2),
                (Operator, "+", 2),
                (Text, "c\n\"d", 2),
                (Name, "y", 4),
            ]
        );
        assert_eq!(shown("'never closed\nz"), [(Text, "never closed", 1), (Name, "z", 2)]);
    }

    #[test]
    fn whatever_the_text_is_there_is_an_end() {
        for text in [
            "",
            "\\",
            "'",
            "\"\"\"",
            "'''a",
            "é = .5",
            "0x_",
            ".",
            "f\"",
            "'é'",
            "'你",
            "''é'''",
            "\"\"\"é\"",
            "\u{0}\u{feff}'\\",
        ] {
            tokens(text);
        }
    }
}
