//! Words: quotes, escapes and expansions (XCU 2.2, 2.6).

use std::rc::Rc;

use super::{Parsed, Parser, is_meta, nested};
use crate::policy::shell::tree::{Parameter, ParameterOp, Part, Sub, Word};

/// What surrounds the text that is read, and so where it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Words of a command.
    Plain,
    /// Inside `"…"`.
    Double,
    /// A here-document's body.
    Body,
    /// Inside `${…}`; in double quotes or not.
    Braces { quoted: bool },
}

/// Collects parts, text joined to text.
#[derive(Default)]
pub(super) struct Parts {
    parts: Vec<Part>,
}

impl Parts {
    fn text(&mut self, more: &str, is_quoted: bool) {
        if let Some(Part::Text { text, quoted }) = self.parts.last_mut()
            && *quoted == is_quoted
        {
            text.push_str(more);
            return;
        }
        self.parts.push(Part::Text {
            text: more.to_owned(),
            quoted: is_quoted,
        });
    }

    pub(super) fn word(self) -> Word {
        Word {
            parts: self.parts,
            span: 0..0,
        }
    }
}

impl Parser<'_> {
    /// One word, where one begins.
    pub(super) fn word(&mut self) -> Parsed<Option<Word>> {
        if !self.at_word() {
            return Ok(None);
        }
        let begin = self.at;
        let mut parts = Parts::default();
        self.pieces(Mode::Plain, &mut parts)?;
        Ok(Some(Word {
            span: begin..self.at,
            ..parts.word()
        }))
    }

    /// The body of a here-document, whose expansions take place.
    pub(super) fn body_word(&mut self, body: String) -> Parsed<Word> {
        if !body.contains(['$', '`', '\\']) {
            let mut parts = Parts::default();
            parts.text(&body, true);
            return Ok(parts.word());
        }
        let mut inner = Parser {
            text: &body,
            at: 0,
            depth: self.depth,
            bodies: Vec::new(),
            own: Some(Rc::from(body.as_str())),
        };
        let mut parts = Parts::default();
        inner.pieces(Mode::Body, &mut parts)?;
        Ok(parts.word())
    }

    pub(super) fn pieces(&mut self, mode: Mode, parts: &mut Parts) -> Parsed<()> {
        let quoted = matches!(mode, Mode::Double | Mode::Body | Mode::Braces { quoted: true });
        let mut begin = self.at;
        macro_rules! flush {
            () => {
                if begin < self.at {
                    parts.text(&self.text[begin..self.at], quoted);
                }
            };
        }
        while let Some(byte) = self.peek() {
            match byte {
                b'"' if mode == Mode::Double => break,
                b'}' if matches!(mode, Mode::Braces { .. }) => break,
                b'<' | b'>' if mode == Mode::Plain && self.peek_at(1) == Some(b'(') => {
                    flush!();
                    self.process(parts)?;
                    begin = self.at;
                    continue;
                }
                // Extended patterns: `!(keep)`.
                b'(' if mode == Mode::Plain
                    && self.at > begin
                    && matches!(self.bytes()[self.at - 1], b'?' | b'*' | b'+' | b'@' | b'!') =>
                {
                    self.pattern_group()?;
                    continue;
                }
                byte if mode == Mode::Plain && is_meta(byte) => break,
                b'\\' => {
                    flush!();
                    self.escape(mode, quoted, parts);
                    begin = self.at;
                    continue;
                }
                b'\'' if !quoted => {
                    flush!();
                    let text = self.single()?;
                    parts.text(text, true);
                    begin = self.at;
                    continue;
                }
                b'"' if mode != Mode::Body => {
                    flush!();
                    self.at += 1;
                    // `""` is a word, too.
                    parts.text("", true);
                    self.deeper(|parser| parser.pieces(Mode::Double, parts))?;
                    if !self.eat("\"") {
                        return Err(self.unexpected("end of a quoted text"));
                    }
                    begin = self.at;
                    continue;
                }
                b'$' => {
                    flush!();
                    if self.dollar(mode, quoted, parts)? {
                        begin = self.at;
                        continue;
                    }
                    begin = self.at;
                }
                b'`' => {
                    flush!();
                    self.backquotes(quoted, parts)?;
                    begin = self.at;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        flush!();
        Ok(())
    }

    fn escape(&mut self, mode: Mode, quoted: bool, parts: &mut Parts) {
        let Some(next) = self.text[self.at + 1..].chars().next() else {
            parts.text("\\", true);
            self.at += 1;
            return;
        };
        let begin = self.at + 1;
        self.at = begin + next.len_utf8();
        let taken = !quoted || matches!(next, '$' | '`' | '\\') || (next == '"' && mode != Mode::Body);
        match next {
            '\n' => {}
            '}' if matches!(mode, Mode::Braces { .. }) => parts.text("}", true),
            _ if taken => parts.text(&self.text[begin..self.at], true),
            _ => parts.text(&self.text[begin - 1..self.at], true),
        }
    }

    /// `'…'`
    fn single(&mut self) -> Parsed<&str> {
        let begin = self.at + 1;
        let Some(length) = self.bytes()[begin..].iter().position(|byte| *byte == b'\'') else {
            return Err(self.unexpected("end of a quoted text"));
        };
        self.at = begin + length + 1;
        Ok(&self.text[begin..begin + length])
    }

    /// What a `$` begins; `false` where it is only a `$`.
    fn dollar(&mut self, mode: Mode, quoted: bool, parts: &mut Parts) -> Parsed<bool> {
        match self.peek_at(1) {
            Some(b'(') => {
                if self.starts("$((")
                    && let Some(end) = self.arithmetic_end(self.at + 3)
                {
                    let begin = self.at + 3;
                    let word = self.deeper(|parser| parser.arithmetic(begin, end))?;
                    self.at = end + 2;
                    parts.parts.push(Part::Arith(word));
                    return Ok(true);
                }
                self.at += 2;
                let script = self.deeper(Self::script)?;
                if !self.eat(")") {
                    return Err(self.unexpected("end of a substitution"));
                }
                let script = self.sub(script);
                parts.parts.push(Part::Command { script, quoted });
            }
            Some(b'{') => {
                self.at += 2;
                let parameter = self.deeper(|parser| parser.braces(quoted))?;
                parts.parts.push(Part::Parameter(Box::new(parameter)));
            }
            Some(b'\'') if !quoted => {
                self.at += 1;
                let text = self.ansi()?;
                parts.text(&text, true);
            }
            // `$"…"` is translated: the same text, as far as anybody can tell.
            Some(b'"') if !quoted && mode != Mode::Body => self.at += 1,
            Some(b'[') => {
                let rest = &self.bytes()[self.at..];
                let Some(close) = rest.iter().take(200).position(|byte| *byte == b']') else {
                    return Ok(false);
                };
                let (begin, end) = (self.at + 2, self.at + close);
                let word = self.deeper(|parser| parser.arithmetic(begin, end))?;
                self.at = end + 1;
                parts.parts.push(Part::Arith(word));
            }
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => {
                let rest = &self.bytes()[self.at + 1..];
                let length = rest
                    .iter()
                    .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'))
                    .unwrap_or(rest.len());
                self.plain(1, length, quoted, parts);
            }
            Some(b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!' | b'0'..=b'9') => self.plain(1, 1, quoted, parts),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn plain(&mut self, skip: usize, length: usize, quoted: bool, parts: &mut Parts) {
        let begin = self.at + skip;
        let name = self.text[begin..begin + length].to_owned();
        self.at = begin + length;
        parts.parts.push(Part::Parameter(Box::new(Parameter {
            name,
            op: ParameterOp::Plain,
            arg: Word::default(),
            quoted,
        })));
    }

    fn sub(&self, script: crate::policy::shell::tree::Script) -> Sub {
        Sub {
            script: Rc::new(script),
            text: self.own.clone(),
        }
    }

    /// `<(…)`, `>(…)`
    fn process(&mut self, parts: &mut Parts) -> Parsed<()> {
        let reads = self.peek() == Some(b'<');
        self.at += 2;
        let script = self.deeper(Self::script)?;
        if !self.eat(")") {
            return Err(self.unexpected("end of a substitution"));
        }
        let script = self.sub(script);
        parts.parts.push(Part::Process { script, reads });
        Ok(())
    }

    /// `` `…` ``: a script of its own once a level of backslashes is taken off.
    fn backquotes(&mut self, quoted: bool, parts: &mut Parts) -> Parsed<()> {
        let mut inner = String::new();
        let mut rest = self.text[self.at + 1..].char_indices();
        let end = loop {
            match rest.next() {
                None => return Err(self.unexpected("end of a substitution")),
                Some((at, '`')) => break at,
                Some((_, '\\')) => match rest.next() {
                    Some((_, c @ ('$' | '`' | '\\'))) => inner.push(c),
                    Some((_, '"')) if quoted => inner.push('"'),
                    Some((_, c)) => inner.extend(['\\', c]),
                    None => return Err(self.unexpected("end of a substitution")),
                },
                Some((_, c)) => inner.push(c),
            }
        };
        self.at += end + 2;
        let script = self.deeper(|parser| nested(&inner, parser.depth))?;
        parts.parts.push(Part::Command {
            script: Sub {
                script: Rc::new(script),
                text: Some(Rc::from(inner)),
            },
            quoted,
        });
        Ok(())
    }

    /// `(a|b)` after a pattern's mark: taken as it stands.
    fn pattern_group(&mut self) -> Parsed<()> {
        let mut open = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' => self.at += 1,
                b'(' => open += 1,
                b')' => open -= 1,
                b'\n' => break,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                self.at = self.at.min(self.text.len());
                while !self.text.is_char_boundary(self.at) {
                    self.at += 1;
                }
                return Ok(());
            }
        }
        self.at = self.at.min(self.text.len());
        Err(self.unexpected("end of a pattern"))
    }

    /// Where the arithmetic that begins at `begin` has its `))`.
    pub(super) fn arithmetic_end(&self, begin: usize) -> Option<usize> {
        let mut open = 0u32;
        let bytes = self.bytes();
        // An expression is short; what is longer is taken for a subshell, which looks into it all the same.
        for at in begin..bytes.len().min(begin + 4096) {
            match bytes[at] {
                b'(' => open += 1,
                b')' if open == 0 => return (bytes.get(at + 1) == Some(&b')')).then_some(at),
                b')' => open -= 1,
                _ => {}
            }
        }
        None
    }

    /// What expands in the arithmetic from `begin` to `end`.
    pub(super) fn arithmetic(&mut self, begin: usize, end: usize) -> Parsed<Word> {
        let text = &self.text[begin..end];
        let mut parts = Parts::default();
        if !text.contains(['$', '`']) {
            parts.text(text, true);
            return Ok(parts.word());
        }
        let mut inner = Parser {
            text,
            at: 0,
            depth: self.depth,
            bodies: Vec::new(),
            own: Some(Rc::from(text)),
        };
        inner.pieces(Mode::Body, &mut parts)?;
        Ok(parts.word())
    }
}
