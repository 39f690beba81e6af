//! `KEY=VALUE` texts with variables for a run. Values may be secrets: no error shows one.

use super::{
    MAX_DOCUMENT,
    stage::{ARGUMENT_MAX, RESERVED, is_variable_name},
};

/// Why a dotenv file cannot be used. It never quotes the line, which may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:1: {message}")]
pub struct DotenvError {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: &'static str,
}

/// What a dotenv file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dotenv {
    /// Names and values, in the order of their first place; a name given twice has its last value.
    pub variables: Vec<(String, String)>,
    /// Lines that are no `KEY=VALUE` and were skipped, counted from 1.
    pub skipped: Vec<usize>,
}

/// Reads a dotenv file: one `KEY=VALUE` a line, UTF-8, with or without a byte
/// order mark. Blank lines and lines that begin with `#` are nothing; `export `
/// may precede the key; key and value are trimmed; one pair of matching quotes
/// around the value is removed; blank and `#` after a value begin a comment. There
/// are no escapes, multi-line values or expansion. A line without `=` or with a key
/// that is no variable name is skipped and named in [`Dotenv::skipped`].
///
/// # Errors
/// [`DotenvError`] for a file over [`MAX_DOCUMENT`], invalid UTF-8 and a NUL.
pub fn parse_dotenv(text: &[u8]) -> Result<Dotenv, DotenvError> {
    if text.len() > MAX_DOCUMENT {
        return Err(DotenvError {
            line: 1,
            message: "the file is larger than 1 MiB",
        });
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut variables = indexmap::IndexMap::new();
    let mut skipped = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let fail = |message| DotenvError {
            line: index + 1,
            message,
        };
        let line = std::str::from_utf8(line).map_err(|_| fail("not UTF-8"))?.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.contains('\0') {
            return Err(fail("holds a NUL character"));
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        match line.split_once('=') {
            Some((key, value)) if is_variable_name(key.trim()) => {
                variables.insert(key.trim().to_owned(), value_of(value).to_owned());
            }
            _ => skipped.push(index + 1),
        }
    }
    Ok(Dotenv {
        variables: variables.into_iter().collect(),
        skipped,
    })
}

/// The value without quotes around it and without a comment after it.
fn value_of(raw: &str) -> &str {
    let value = raw.trim();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    if let Some(quote) = quote {
        // A quote closes where nothing but a comment follows: `'it''s'` is one value.
        let closes = |(at, _): &(usize, &str)| is_over(&value[at + 1..]);
        if let Some((at, _)) = value[1..].match_indices(quote).map(|(at, q)| (at + 1, q)).find(closes) {
            return &value[1..at];
        }
    }
    let comment = raw
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| raw[..*at].ends_with(char::is_whitespace));
    raw[..comment.unwrap_or(raw.len())].trim()
}

/// Whether nothing, or nothing but a comment, is left of a line.
fn is_over(rest: &str) -> bool {
    let trimmed = rest.trim_start();
    trimmed.is_empty() || (trimmed.starts_with('#') && trimmed.len() < rest.len())
}

/// A variable that a user gives on the command line: `NAME=VALUE`, or `NAME` for the
/// value that the environment has. Answers the name, and the value if it is given.
///
/// # Errors
/// What is wrong; it shows no more than a well-formed name, because what is
/// malformed may be a secret in the wrong place.
pub fn parse_assignment(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if !is_variable_name(name) {
        return Err("expected NAME=VALUE or NAME, where NAME is made of letters, digits and `_`".to_owned());
    }
    if RESERVED.contains(&name) {
        return Err(format!("{name} is set by the runner; remove it"));
    }
    if name.len() + 1 + value.map_or(0, str::len) > ARGUMENT_MAX {
        return Err(format!(
            "the value is longer than the {ARGUMENT_MAX} bytes that a program takes"
        ));
    }
    Ok((name.to_owned(), value.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables(text: &[u8]) -> Vec<(String, String)> {
        parse_dotenv(text).expect("reads").variables
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn the_documented_syntax_is_read() {
        let text = b"\xef\xbb\xbfA=1\r\n# note\n\n export B = \"two # words\" \nC='it''s'\nD=\nA=last\nE=a=b\nF=\"\n";
        let expected = [
            ("A", "last"),
            ("B", "two # words"),
            ("C", "it''s"),
            ("D", ""),
            ("E", "a=b"),
            ("F", "\""),
        ];
        assert_eq!(variables(text), pairs(&expected));
    }

    #[test]
    fn comments_after_a_value_are_no_part_of_it() {
        let text =
            b"A=one # note\nB=one#two\nC=\"a # b\" # it's \"c\"\nD= # nothing\nE=#5\nF='x'y # z\nG=\"open # note\n";
        let expected = [
            ("A", "one"),
            ("B", "one#two"),
            ("C", "a # b"),
            ("D", ""),
            ("E", "#5"),
            ("F", "'x'y"),
            ("G", "\"open"),
        ];
        assert_eq!(variables(text), pairs(&expected));
    }

    #[test]
    fn lines_that_are_no_variable_are_skipped_and_named() {
        let read = parse_dotenv(b"A=1\nno variable\n=x\na b=c\nexport\tT=1\nB=2\n").expect("reads");
        assert_eq!(read.variables, pairs(&[("A", "1"), ("B", "2")]));
        assert_eq!(read.skipped, [2, 3, 4, 5]);
    }

    #[test]
    fn what_is_no_text_is_refused_without_showing_it() {
        for (text, line) in [
            (&b"A=1\nB=sk-\xff"[..], 2),
            (b"A=1\nB=sk-\x00123", 2),
            (&[b'#'; MAX_DOCUMENT + 1], 1),
        ] {
            let error = parse_dotenv(text).unwrap_err();
            assert_eq!(error.line, line);
            assert!(!error.to_string().contains("sk-"), "{error}");
        }
    }

    #[test]
    fn assignments_have_a_name_and_perhaps_a_value() {
        let some = |value: &str| Some(value.to_owned());
        assert_eq!(parse_assignment("A=b=c"), Ok(("A".to_owned(), some("b=c"))));
        assert_eq!(parse_assignment("A="), Ok(("A".to_owned(), some(""))));
        assert_eq!(parse_assignment("_a1"), Ok(("_a1".to_owned(), None)));
        for bad in [
            "",
            "=sk-1",
            "sk-1",
            "1a=sk-1",
            "a b=sk-1",
            " A=sk-1",
            "AIDER_FSM_STAGE=sk-1",
            "\u{e9}=sk-1",
        ] {
            let why = parse_assignment(bad).unwrap_err();
            assert!(!why.contains("sk-"), "{why}");
        }
        assert!(parse_assignment(&format!("A={}", "x".repeat(ARGUMENT_MAX))).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_keys_are_variable_names(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for (key, value) in parse_dotenv(&bytes).unwrap_or_default().variables {
                prop_assert!(is_variable_name(&key) && !value.contains('\0'));
            }
        }

        #[test]
        fn no_value_panics(value in "[ \t#'\"a\u{e9}]{0,12}") {
            let read = variables(format!("A={value}").as_bytes());
            prop_assert_eq!(read.len(), 1);
        }

        #[test]
        fn a_quoted_value_comes_back_as_it_is(value in "[ -!#-~]{0,30}") {
            prop_assert_eq!(variables(format!("A=\"{value}\" # c").as_bytes()), pairs(&[("A", &value)]));
        }
    }
}
