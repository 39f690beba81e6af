//! Parameter expansions in braces: `${NAME:-word}`.

use super::{
    Parsed, Parser,
    word::{Mode, Parts},
};
use crate::policy::shell::tree::{Parameter, ParameterOp};

impl Parser<'_> {
    /// What stands between `${` and `}`.
    pub(super) fn braces(&mut self, quoted: bool) -> Parsed<Parameter> {
        let mut op = ParameterOp::Plain;
        if self.peek() == Some(b'#') && self.peek_at(1).is_some_and(|byte| byte != b'}') {
            self.at += 1;
            op = ParameterOp::Length;
        } else if self.peek() == Some(b'!') && self.peek_at(1).is_some_and(|byte| byte != b'}') {
            self.at += 1;
            op = ParameterOp::Indirect;
        }
        let rest = &self.bytes()[self.at..];
        let length = match rest.first() {
            Some(b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!') => 1,
            _ => rest
                .iter()
                .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'))
                .unwrap_or(rest.len()),
        };
        let name = self.text[self.at..self.at + length].to_owned();
        self.at += length;
        if op == ParameterOp::Plain {
            op = self.operator(&name);
        }
        let mut parts = Parts::default();
        if name.is_empty() {
            // `${{ github.ref }}`: to its own end, with balanced braces.
            self.unknown_braces()?;
        } else {
            // In `"${x:-'a'}"` the single quotes stay; in `"${x%'a'}"` they are quotes.
            let keeps = matches!(
                op,
                ParameterOp::Default | ParameterOp::AssignDefault | ParameterOp::Alternative | ParameterOp::Demand
            );
            self.pieces(
                Mode::Braces {
                    quoted: quoted && keeps,
                },
                &mut parts,
            )?;
        }
        if !self.eat("}") {
            return Err(self.unexpected("end of an expansion"));
        }
        Ok(Parameter {
            name,
            op,
            arg: parts.word(),
            quoted,
        })
    }

    fn operator(&mut self, name: &str) -> ParameterOp {
        let table: [(&str, ParameterOp); 20] = [
            (":-", ParameterOp::Default),
            (":=", ParameterOp::AssignDefault),
            (":+", ParameterOp::Alternative),
            (":?", ParameterOp::Demand),
            ("-", ParameterOp::Default),
            ("=", ParameterOp::AssignDefault),
            ("+", ParameterOp::Alternative),
            ("?", ParameterOp::Demand),
            ("##", ParameterOp::CutStart { longest: true }),
            ("#", ParameterOp::CutStart { longest: false }),
            ("%%", ParameterOp::CutEnd { longest: true }),
            ("%", ParameterOp::CutEnd { longest: false }),
            ("//", ParameterOp::Replace { all: true }),
            ("/", ParameterOp::Replace { all: false }),
            (":", ParameterOp::Slice),
            ("^^", ParameterOp::Upper),
            ("^", ParameterOp::Upper),
            (",,", ParameterOp::Lower),
            (",", ParameterOp::Lower),
            ("[", ParameterOp::Element),
        ];
        if name.is_empty() || self.peek() == Some(b'}') {
            return ParameterOp::Plain;
        }
        match table.iter().find(|(text, _)| self.starts(text)) {
            Some((text, op)) => {
                self.at += text.len();
                *op
            }
            None => ParameterOp::Other,
        }
    }

    fn unknown_braces(&mut self) -> Parsed<()> {
        let mut open = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b'{' => open += 1,
                b'}' if open == 0 => return Ok(()),
                b'}' => open -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Err(self.unexpected("end of an expansion"))
    }
}
