//! Patterns of paths and of names, and the examples that a rule is tried on.

use std::{borrow::Cow, fmt};

use regex::bytes::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::{document::Located, names::RelPath};

/// Longest pattern, in bytes.
const LONGEST: usize = 1000;

/// A path of the tree, or a pattern of paths: `*` stands for anything in one name, `?` for
/// one character of it, `**` for anything of any depth. What it names is meant with all
/// below it.
#[derive(Clone, Debug)]
pub struct PathPattern {
    text: String,
    regex: Regex,
    /// The path itself, where nothing stands for anything.
    literal: Option<RelPath>,
}

impl PathPattern {
    /// # Errors
    /// One line: a pattern that is no path inside a tree, or too long.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches('/');
        if text.len() > LONGEST {
            return Err(format!("a pattern has at most {LONGEST} bytes"));
        }
        let wild = text.contains(['*', '?']);
        let literal = RelPath::new(text).map_err(|why| why.to_string())?;
        let mut regex = "(?s-u)^".to_owned();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            // `**/` may stand for no directory at all.
            let (taken, part) = if rest.starts_with("**/") {
                (3, Cow::Borrowed("(?:.*/)?"))
            } else if rest.starts_with("**") {
                (2, Cow::Borrowed(".*"))
            } else {
                match c {
                    '*' => (1, Cow::Borrowed("[^/]*")),
                    '?' => (1, Cow::Borrowed("(?:[^/\\x80-\\xff]|[\\xc0-\\xff][\\x80-\\xbf]*)")),
                    c => (c.len_utf8(), Cow::Owned(escaped(c))),
                }
            };
            regex.push_str(&part);
            rest = &rest[taken..];
        }
        regex.push_str("(?:/.*)?$");
        Ok(Self {
            regex: Regex::new(&regex).map_err(|why| why.to_string())?,
            literal: (!wild).then_some(literal),
            text: text.to_owned(),
        })
    }

    /// Whether `path` is, or lies below, what the pattern names.
    pub fn covers(&self, path: &RelPath) -> bool {
        self.regex.is_match(path.as_bytes())
    }

    /// The one path that it names, where it is no pattern.
    pub fn literal(&self) -> Option<&RelPath> {
        self.literal.as_ref()
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// One character as bytes that stand for themselves.
fn escaped(c: char) -> String {
    let mut bytes = [0; 4];
    c.encode_utf8(&mut bytes)
        .bytes()
        .map(|byte| format!("\\x{byte:02x}"))
        .collect()
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PathPattern {}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A pattern of single words (names of variables, references of images): `*` stands for
/// anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordPattern(String);

impl WordPattern {
    /// # Errors
    /// One line: an empty pattern, one too long or with a blank.
    pub fn new(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("a pattern is not empty".to_owned()),
            _ if text.len() > LONGEST => Err(format!("a pattern has at most {LONGEST} bytes")),
            _ if text.contains(char::is_whitespace) => Err("a pattern has no blanks".to_owned()),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// Whether the whole of `word` is what the pattern names. A `*` in `word` is one like
    /// any other character: what covers a pattern as a word covers all that it names.
    pub fn covers(&self, word: &str) -> bool {
        let mut parts = self.0.split('*');
        // A split has at least one part.
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = word.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads a pattern from a string.
macro_rules! of_text {
    ($pattern:ident) => {
        impl<'de> Deserialize<'de> for $pattern {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $pattern {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($pattern).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "minLength": 1, "maxLength": LONGEST})
            }
        }
    };
}

of_text!(PathPattern);
of_text!(WordPattern);

/// Examples of a rule: they are tried whenever its file is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Examples<'a> {
    pub matching: &'a [Located<String>],
    pub other: &'a [Located<String>],
}

impl Examples<'_> {
    /// What is wrong with them: each with its place.
    pub fn failures(
        &self,
        rule: &str,
        covers: impl Fn(&str) -> Result<bool, String>,
        failed: &mut Vec<crate::document::Fault>,
    ) {
        let wanted = self.matching.iter().map(|example| (example, true));
        for (example, wanted) in wanted.chain(self.other.iter().map(|example| (example, false))) {
            let shown = crate::document::shown(&example.value);
            let why = match covers(&example.value) {
                Ok(found) if found == wanted => continue,
                Ok(true) => format!("`{shown}` is an example of what `{rule}` does not match, and it matches"),
                Ok(false) => format!("`{shown}` is an example of what `{rule}` matches, and it does not match"),
                Err(why) => format!("`{shown}` is no example: {why}"),
            };
            failed.push(example.at.fault(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(pattern: &str, path: &str) -> bool {
        PathPattern::new(pattern)
            .expect(pattern)
            .covers(&RelPath::new(path).expect(path))
    }

    #[test]
    fn a_path_covers_itself_and_what_is_below() {
        for (pattern, yes, no) in [
            ("src", &["src", "src/a/b"][..], &["src2", "a/src"][..]),
            ("src/", &["src", "src/a"], &["srca"]),
            ("*.lock", &["a.lock", ".lock", "a.lock/x"], &["d/a.lock", "a.locks"]),
            ("**/*.lock", &["a.lock", "d/a.lock", "d/e/f.lock"], &["lock"]),
            ("tests/**", &["tests/a", "tests/a/b"], &["tests", "test/a"]),
            ("a?c", &["abc", "aéc", "abc/d"], &["ac", "a/c", "abbc"]),
            ("a.c", &["a.c"], &["abc"]),
            (
                ".github/workflows/*.yml",
                &[".github/workflows/ci.yml"],
                &[".github/workflows/a/b.yaml"],
            ),
        ] {
            for path in yes {
                assert!(covers(pattern, path), "{pattern} covers {path}");
            }
            for path in no {
                assert!(!covers(pattern, path), "{pattern} does not cover {path}");
            }
        }
        for wrong in ["", "/etc", "../x", "a//b/../c", &"x".repeat(1001)] {
            assert!(PathPattern::new(wrong).is_err(), "{wrong}");
        }
        assert_eq!(PathPattern::new("a*").expect("reads").literal(), None);
        assert!(PathPattern::new("a/b").expect("reads").literal().is_some());
    }

    #[test]
    fn a_word_is_covered_as_a_whole() {
        let covers = |pattern: &str, word: &str| WordPattern::new(pattern).expect(pattern).covers(word);
        for (pattern, yes, no) in [
            ("HF_*", &["HF_TOKEN", "HF_", "HF_*"][..], &["XHF_", "HF"][..]),
            ("*", &["", "a", "*"], &[]),
            ("a*b*c", &["abc", "aXbYc", "abbc"], &["ab", "acb", "abcX"]),
            ("abc", &["abc"], &["abcd", "ab"]),
            ("a*a", &["aa", "aba"], &["a"]),
        ] {
            yes.iter()
                .for_each(|word| assert!(covers(pattern, word), "{pattern} {word}"));
            no.iter()
                .for_each(|word| assert!(!covers(pattern, word), "{pattern} {word}"));
        }
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in "[a-z*?/.é\\[(\\\\]{1,20}", path in "[a-z/.é]{1,20}") {
            if let (Ok(pattern), Ok(path)) = (PathPattern::new(&pattern), RelPath::new(&path)) {
                let _ = pattern.covers(&path);
            }
        }
    }
}
