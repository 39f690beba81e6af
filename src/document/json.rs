//! JSON as editors and other tools read it (comments, commas at the end) to located nodes.
//!
//! It is for looking through files of other programs: what is not quite JSON is an error with
//! its place, and nothing is honoured.

use super::{
    MAX_DOCUMENT,
    error::{Fault, Position},
    yaml::{Key, Node, Value},
};

/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Most values of one file.
const MAX_NODES: usize = 50_000;

/// Parses one value.
///
/// # Errors
/// A [`Fault`] for text over [`MAX_DOCUMENT`], not UTF-8 or no JSON, and for too many or too
/// deep values.
pub fn parse_json(bytes: &[u8]) -> Result<Node, Fault> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(Position::START.fault(format!(
            "the file has {} bytes; at most {MAX_DOCUMENT} are read",
            bytes.len()
        )));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Position::START.fault("the file is not UTF-8"))?;
    let mut reader = Reader {
        rest: text.trim_start_matches('\u{feff}').chars(),
        at: Position::START,
        nodes: 0,
    };
    let node = reader.value(0)?;
    reader.blanks()?;
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.at.fault("more stands behind the value")),
    }
}

struct Reader<'t> {
    rest: std::str::Chars<'t>,
    at: Position,
    nodes: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        match c {
            '\n' => {
                self.at = Position {
                    line: self.at.line + 1,
                    column: 1,
                };
            }
            _ => self.at.column += 1,
        }
        Some(c)
    }

    /// Blanks and comments.
    fn blanks(&mut self) -> Result<(), Fault> {
        loop {
            match self.peek() {
                Some(c) if c.is_whitespace() => drop(self.next()),
                Some('/') => {
                    let at = self.at;
                    self.next();
                    match self.next() {
                        Some('/') => {
                            while self.peek().is_some_and(|c| c != '\n') {
                                self.next();
                            }
                        }
                        Some('*') => {
                            let mut before = ' ';
                            loop {
                                match self.next() {
                                    Some('/') if before == '*' => break,
                                    Some(c) => before = c,
                                    None => return Err(at.fault("a comment that does not end")),
                                }
                            }
                        }
                        _ => return Err(at.fault("no JSON: `/`")),
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        self.blanks()?;
        let at = self.at;
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(at.fault("too many values, or too deep ones"));
        }
        let value = match self.peek() {
            Some('{') => Value::Mapping(self.mapping(depth)?),
            Some('[') => Value::Sequence(self.sequence(depth)?),
            Some('"') => Value::Scalar {
                text: self.string()?,
                plain: false,
            },
            _ => {
                let mut text = String::new();
                while let Some(c) = self.peek()
                    && (c.is_ascii_alphanumeric() || "+-._".contains(c))
                {
                    text.push(c);
                    self.next();
                }
                if text.is_empty() {
                    return Err(at.fault("a value is expected"));
                }
                Value::Scalar { text, plain: true }
            }
        };
        Ok(Node { at, value })
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Fault> {
        self.next();
        let mut pairs = Vec::new();
        loop {
            self.blanks()?;
            let at = self.at;
            match self.peek() {
                Some('}') => {
                    self.next();
                    return Ok(pairs);
                }
                Some(',') => drop(self.next()),
                Some('"') => {
                    let text = self.string()?;
                    self.blanks()?;
                    if self.next() != Some(':') {
                        return Err(at.fault("a key without a `:`"));
                    }
                    pairs.push((Key { text, at }, self.value(depth + 1)?));
                }
                _ => return Err(at.fault("a key is expected")),
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        self.next();
        let mut items = Vec::new();
        loop {
            self.blanks()?;
            match self.peek() {
                Some(']') => {
                    self.next();
                    return Ok(items);
                }
                Some(',') => drop(self.next()),
                _ => items.push(self.value(depth + 1)?),
            }
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        let at = self.at;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('b') => text.push('\u{8}'),
                    Some('f') => text.push('\u{c}'),
                    Some('u') => {
                        let mut code = 0;
                        for _ in 0..4 {
                            let digit = self.next().and_then(|c| c.to_digit(16));
                            code = code * 16 + digit.ok_or_else(|| at.fault("`\\u` without four digits"))?;
                        }
                        // Half of a pair says nothing here.
                        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    Some(c) => text.push(c),
                    None => return Err(at.fault("a string that does not end")),
                },
                Some(c) => text.push(c),
                None => return Err(at.fault("a string that does not end")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_comments_and_commas_are_read_as_editors_do() {
        let node = parse_json(b"// c\n{\"a\": [1, \"b\\u0063\",], /* d\n */ \"e\":\n\ttrue,}\n").unwrap();
        let Value::Mapping(pairs) = &node.value else {
            panic!("{node:?}")
        };
        assert_eq!(
            (pairs[0].0.text.as_str(), pairs[0].0.at.line, pairs[0].0.at.column),
            ("a", 2, 2)
        );
        let Value::Sequence(items) = &pairs[0].1.value else {
            panic!("{node:?}")
        };
        assert_eq!(
            items[1].value,
            Value::Scalar {
                text: "bc".into(),
                plain: false
            }
        );
        assert_eq!(
            (pairs[1].0.at.line, pairs[1].1.at.line, pairs[1].1.kind()),
            (3, 4, "a boolean")
        );
    }

    #[test]
    fn hostile_texts_are_errors() {
        for text in [
            "",
            "{",
            "[1",
            "\"a",
            "{\"a\" 1}",
            "/* ",
            "{a: 1}",
            "1 2",
            "\"\\u12\"",
            "/x",
        ] {
            assert!(parse_json(text.as_bytes()).is_err(), "{text}");
        }
        for deep in [
            "[".repeat(1 << 19),
            "{\"a\":".repeat(1 << 17),
            "1,".repeat(1 << 18),
            format!("[{}", "1,".repeat(1 << 18)),
        ] {
            assert!(parse_json(deep.as_bytes()).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}\":,/*\\\\u0-9a ]{0,60}") {
            let _ = parse_json(text.as_bytes());
        }
    }
}
