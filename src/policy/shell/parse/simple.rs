//! Simple commands, redirections and here-documents (XCU 2.7, 2.9.1).

use std::{cell::OnceCell, rc::Rc};

use super::{Parsed, Parser, Pending, is_meta};
use crate::policy::shell::tree::{Assign, Command, Kind, Part, Redirect, RedirectOp, Target, Value, Word};

/// Longest operators first.
const OPERATORS: [(&str, RedirectOp); 12] = [
    ("&>>", RedirectOp::AppendBoth),
    ("<<<", RedirectOp::HereString),
    ("<<-", RedirectOp::HereDoc),
    ("&>", RedirectOp::WriteBoth),
    ("<<", RedirectOp::HereDoc),
    ("<>", RedirectOp::ReadWrite),
    ("<&", RedirectOp::DupRead),
    (">>", RedirectOp::Append),
    (">&", RedirectOp::DupWrite),
    (">|", RedirectOp::Write),
    ("<", RedirectOp::Read),
    (">", RedirectOp::Write),
];

impl Parser<'_> {
    /// A simple command, or the definition of a function, that begins at `begin`.
    pub(super) fn simple(&mut self, begin: usize) -> Parsed<Command> {
        let (mut assigns, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        let mut end = self.at;
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                end = self.at;
                continue;
            }
            if self.peek() == Some(b'#') {
                self.comment();
                break;
            }
            if words.is_empty()
                && let Some(assign) = self.assignment()?
            {
                assigns.push(assign);
                end = self.at;
                continue;
            }
            match self.argument(words.is_empty())? {
                Some(word) => words.push(word),
                None => break,
            }
            end = self.at;
            let alone = words.len() == 1 && assigns.is_empty() && redirects.is_empty();
            if alone && let Some(kind) = self.function(&words[0])? {
                return Ok(Command {
                    kind,
                    redirects: Vec::new(),
                    span: begin..self.at,
                });
            }
        }
        if assigns.is_empty() && words.is_empty() && redirects.is_empty() {
            return Err(self.unexpected("operator"));
        }
        Ok(Command {
            kind: Kind::Simple { assigns, words },
            redirects,
            span: begin..end,
        })
    }

    /// A word of a command; after the program `NAME=(…)` is one, too.
    fn argument(&mut self, is_program: bool) -> Parsed<Option<Word>> {
        let begin = self.at;
        let Some(mut word) = self.word()? else { return Ok(None) };
        if !is_program && self.peek() == Some(b'(') && self.text[begin..self.at].ends_with('=') {
            for (index, mut element) in self.array()?.into_iter().enumerate() {
                if index > 0 {
                    word.parts.push(Part::Text {
                        text: " ".to_owned(),
                        quoted: true,
                    });
                }
                word.parts.append(&mut element.parts);
            }
            word.span = begin..self.at;
        }
        Ok(Some(word))
    }

    /// `NAME ()` and what follows.
    fn function(&mut self, name: &Word) -> Parsed<Option<Kind>> {
        let before = self.at;
        self.blanks();
        if self.eat("(") {
            self.blanks();
            if self.eat(")")
                && !name.is_quoted()
                && let Some(name) = name.literal()
            {
                return self.function_body(name).map(Some);
            }
            return Err(self.unexpected("`(`"));
        }
        self.at = before;
        Ok(None)
    }

    /// `NAME=`, `NAME+=`, `NAME[…]=` with its value.
    fn assignment(&mut self) -> Parsed<Option<Assign>> {
        let rest = &self.bytes()[self.at..];
        let name = rest
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'))
            .unwrap_or(rest.len());
        if name == 0 || rest[0].is_ascii_digit() {
            return Ok(None);
        }
        let mut after = name;
        let mut adds = false;
        if rest.get(after) == Some(&b'[') {
            let Some(close) = rest[after..]
                .iter()
                .take(200)
                .take_while(|byte| !matches!(byte, b'\n' | b' ' | b';'))
                .position(|byte| *byte == b']')
            else {
                return Ok(None);
            };
            after += close + 1;
            adds = true;
        }
        if rest.get(after) == Some(&b'+') {
            after += 1;
            adds = true;
        }
        if rest.get(after) != Some(&b'=') {
            return Ok(None);
        }
        let name = self.text[self.at..self.at + name].to_owned();
        self.at += after + 1;
        let value = match self.peek() {
            Some(b'(') => Value::Array(self.array()?),
            _ => Value::Word(self.word()?.unwrap_or_default()),
        };
        Ok(Some(Assign { name, adds, value }))
    }

    /// `( WORDS )`
    fn array(&mut self) -> Parsed<Vec<Word>> {
        self.at += 1;
        let mut words = Vec::new();
        loop {
            self.newlines()?;
            if self.eat(")") {
                return Ok(words);
            }
            match self.word()? {
                Some(word) => words.push(word),
                None => return Err(self.unexpected("end of an array")),
            }
        }
    }

    /// What follows a compound command.
    pub(super) fn redirects(&mut self) -> Parsed<Vec<Redirect>> {
        let mut redirects = Vec::new();
        loop {
            let before = self.at;
            self.blanks();
            match self.redirect()? {
                Some(redirect) => redirects.push(redirect),
                None => {
                    self.at = before;
                    return Ok(redirects);
                }
            }
        }
    }

    fn redirect(&mut self) -> Parsed<Option<Redirect>> {
        let rest = &self.bytes()[self.at..];
        let digits = rest.iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
        let mut prefix = digits;
        if rest.first() == Some(&b'{') {
            let name = rest[1..]
                .iter()
                .take(100)
                .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
                .count();
            prefix = if name > 0 && rest.get(name + 1) == Some(&b'}') {
                name + 2
            } else {
                0
            };
        }
        let tail = &rest[prefix..];
        // `<(…)` and `>(…)` are words.
        let redirects = matches!(tail.first(), Some(b'<' | b'>')) || (prefix == 0 && tail.starts_with(b"&>"));
        if !redirects || matches!(tail, [b'<' | b'>', b'(', ..]) {
            return Ok(None);
        }
        let Some((operator, op)) = OPERATORS.iter().find(|(name, _)| tail.starts_with(name.as_bytes())) else {
            return Ok(None);
        };
        let fd = self.text[self.at..self.at + digits].parse().ok();
        self.at += prefix + operator.len();
        self.blanks();
        let quoted = self.at;
        let word = self.word()?.ok_or_else(|| self.unexpected("end of a redirection"))?;
        let target = if *op == RedirectOp::HereDoc {
            let body = Rc::new(OnceCell::new());
            self.bodies.push(Pending {
                delimiter: word.literal().unwrap_or_else(|| self.text[quoted..self.at].to_owned()),
                strips: *operator == "<<-",
                literal: word.is_quoted(),
                body: body.clone(),
            });
            Target::Body(body)
        } else {
            Target::Word(word)
        };
        Ok(Some(Redirect { fd, op: *op, target }))
    }

    /// The bodies of the here-documents of the line that has just ended.
    pub(super) fn take_bodies(&mut self) -> Parsed<()> {
        for pending in std::mem::take(&mut self.bodies) {
            let mut body = String::new();
            while self.at < self.text.len() {
                let rest = &self.text[self.at..];
                let (line, next) = match rest.find('\n') {
                    Some(end) => (&rest[..end], end + 1),
                    None => (rest, rest.len()),
                };
                let line = if pending.strips {
                    line.trim_start_matches('\t')
                } else {
                    line
                };
                let ends = line.trim_end_matches('\r') == pending.delimiter;
                // `$(cat <<END … END)`: the substitution ends on the delimiter's line.
                let closes = self.depth > 0
                    && line
                        .strip_prefix(pending.delimiter.as_str())
                        .is_some_and(|after| after.starts_with(')'));
                if closes {
                    self.at += rest.find(&pending.delimiter).unwrap_or_default() + pending.delimiter.len();
                    break;
                }
                self.at += next;
                if ends {
                    break;
                }
                body.push_str(line);
                body.push('\n');
            }
            let word = match pending.literal {
                true => Word {
                    parts: vec![Part::Text {
                        text: body,
                        quoted: true,
                    }],
                    span: 0..0,
                },
                false => self.body_word(body)?,
            };
            // Set only here, once for each.
            let _ = pending.body.set(word);
        }
        Ok(())
    }

    /// Whether a word could begin here.
    pub(super) fn at_word(&self) -> bool {
        match self.peek() {
            None => false,
            Some(b'<' | b'>') => self.peek_at(1) == Some(b'('),
            Some(byte) => !is_meta(byte),
        }
    }
}
