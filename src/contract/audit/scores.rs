//! Scores that stand in a script as numbers.

use std::sync::LazyLock;

use regex::Regex;

use super::python::{Kind, tokens};
use crate::policy::shell::texts;

/// What scores are called.
const NAMES: [&str; 3] = ["score", "reward", "accuracy"];

/// A score in JSON or what looks like it, with its number.
static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"(?i)(?:\\?["'](?:score|reward|accuracy)\\?["']|[{,]\s*(?:score|reward|accuracy))\s*:\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(?:[,}\])]|$)"#;
    // A constant pattern; the tests match with it.
    Regex::new(pattern).expect("a pattern that compiles")
});

/// A place: its byte in the text, its line from 1, and what stands there.
type Place = (usize, usize, String);

/// Whether a number is one that somebody would make up: any but zero.
fn counts(number: &str) -> bool {
    let plain = number.replace('_', "");
    plain.parse::<f64>().is_ok_and(|value| value != 0.0)
}

fn is_score(name: &str) -> bool {
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Pairs in a text that begins on `line`.
fn pairs(text: &str, line: usize) -> impl Iterator<Item = Place> {
    let found = PAIR.captures_iter(text).filter_map(|found| {
        let (whole, number) = (found.get(0)?, found.get(1)?);
        counts(number.as_str()).then(|| (whole.start(), whole.as_str().to_owned()))
    });
    found.map(move |(at, shown)| {
        let lines = text[..at].bytes().filter(|byte| *byte == b'\n').count();
        (at, line + lines, shown)
    })
}

/// Those in a shell script; nothing where it is none that can be parsed.
pub(super) fn of_shell(script: &str) -> Vec<Place> {
    let mut found = Vec::new();
    for piece in texts(script).unwrap_or_default() {
        if piece.name.as_deref().is_some_and(is_score) && counts(piece.text.trim()) {
            let shown = format!("{}={}", piece.name.as_deref().unwrap_or_default(), piece.text);
            found.push((0, piece.line, shown));
        }
        found.extend(pairs(&piece.text, piece.line));
    }
    found
}

/// Those in a Python file: pairs of literals, assignments, keyword arguments, and JSON in strings.
pub(super) fn of_python(text: &str) -> Vec<Place> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let next = |offset: usize| tokens.get(at + offset);
        let operator = |offset: usize, wanted: &str| {
            next(offset).is_some_and(|token| token.kind == Kind::Operator && token.text == wanted)
        };
        // `"score": 1`, `score = 1`, `["score"] = 1`: where the number stands, by what comes before.
        let number = match token.kind {
            Kind::Text if is_score(token.text) && operator(1, ":") => 2,
            Kind::Text if is_score(token.text) && operator(1, "]") && operator(2, "=") => 3,
            Kind::Name if is_score(token.text) && operator(1, "=") => 2,
            Kind::Text => {
                found.extend(pairs(token.text, token.line));
                continue;
            }
            _ => continue,
        };
        let ends = match next(number + 1) {
            None => true,
            Some(after) => after.kind == Kind::End || [",", "}", ")", "]", ";"].contains(&after.text),
        };
        if let Some(value) = next(number).filter(|value| value.kind == Kind::Number)
            && ends
            && counts(value.text)
        {
            found.push((0, value.line, format!("{} {}", token.text, value.text)));
        }
    }
    found
}
