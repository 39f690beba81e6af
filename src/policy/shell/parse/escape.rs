//! `$'…'`: text with C's escapes.

use super::{Parsed, Parser};

impl Parser<'_> {
    /// `'…'` after a `$`: with C's escapes.
    pub(super) fn ansi(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let Some(c) = self.text[self.at..].chars().next() else {
                return Err(self.unexpected("end of a quoted text"));
            };
            self.at += c.len_utf8();
            match c {
                '\'' => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                '\\' => self.ansi_escape(&mut bytes),
                c => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn ansi_escape(&mut self, out: &mut Vec<u8>) {
        let Some(c) = self.text[self.at..].chars().next() else {
            return;
        };
        self.at += c.len_utf8();
        let number = |parser: &mut Self, radix: u32, most: usize, first: u32| {
            let mut value = first;
            let mut taken = 0;
            while taken < most
                && let Some(digit) = parser.peek().and_then(|byte| char::from(byte).to_digit(radix))
            {
                value = value.wrapping_mul(radix).wrapping_add(digit);
                parser.at += 1;
                taken += 1;
            }
            value
        };
        match c {
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            'r' => out.push(b'\r'),
            'a' => out.push(7),
            'b' => out.push(8),
            'e' | 'E' => out.push(27),
            'f' => out.push(12),
            'v' => out.push(11),
            'x' => out.push(number(self, 16, 2, 0) as u8),
            'u' | 'U' => {
                let code = number(self, 16, if c == 'u' { 4 } else { 8 }, 0);
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            '0'..='7' => {
                let first = c.to_digit(8).unwrap_or_default();
                out.push(number(self, 8, 2, first) as u8);
            }
            'c' => {
                if let Some(c) = self.text[self.at..].chars().next() {
                    self.at += c.len_utf8();
                    out.push(c as u8 & 0x1f);
                }
            }
            c => {
                if !matches!(c, '\\' | '\'' | '"' | '?') {
                    out.push(b'\\');
                }
                out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
}
