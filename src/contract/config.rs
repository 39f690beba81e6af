//! `config.yml`: what the user of a host wants where no flag and no variable says otherwise.

use crate::document::{self, Fault, Fields};

/// One default of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key, one of those that were asked for.
    pub key: &'static str,
    /// The value as spelled.
    pub value: String,
    /// Where the value begins: line, counted from 1.
    pub line: usize,
    /// And column in characters, counted from 1.
    pub column: usize,
}

/// Why the file cannot be used. Displays as `3:1: unknown key …`, one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ConfigError {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong and how to mend it; one line.
    pub message: String,
}

/// Reads a flat mapping of `keys` to single values, as strictly as a contract. A file
/// with nothing but comments holds no default.
///
/// # Errors
/// [`ConfigError`] as for contracts: bad YAML, an unknown or duplicate key, a value
/// that is empty, a list or a mapping.
pub fn parse_config(text: &[u8], keys: &[&'static str]) -> Result<Vec<ConfigEntry>, ConfigError> {
    let blank = |line: &[u8]| matches!(line.trim_ascii().first(), None | Some(b'#'));
    if text.split(|byte| *byte == b'\n').all(blank) {
        return Ok(Vec::new());
    }
    read(text, keys).map_err(|fault| ConfigError {
        line: fault.at.line,
        column: fault.at.column,
        message: fault.message,
    })
}

fn read(text: &[u8], keys: &[&'static str]) -> Result<Vec<ConfigEntry>, Fault> {
    let mut root = Fields::root(document::parse(text)?)?;
    let mut entries = Vec::new();
    for key in keys {
        if let Some((value, at)) = root.scalar(key)? {
            entries.push(ConfigEntry {
                key,
                value,
                line: at.line,
                column: at.column,
            });
        }
    }
    root.finish()?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: [&str; 3] = ["model", "memory", "max_iters"];

    fn refusal(text: &str) -> String {
        parse_config(text.as_bytes(), &KEYS).expect_err(text).to_string()
    }

    #[test]
    fn values_keep_their_spelling_and_their_place() {
        let entries = parse_config(b"# mine\nmemory: 2G\nmodel: 'local/q: 3'\nmax_iters: 010\n", &KEYS).expect("reads");
        let shown: Vec<_> = entries
            .iter()
            .map(|e| (e.key, e.value.as_str(), e.line, e.column))
            .collect();
        assert_eq!(
            shown,
            [
                ("model", "local/q: 3", 3, 8),
                ("memory", "2G", 2, 9),
                ("max_iters", "010", 4, 12)
            ]
        );
        for empty in ["", "\n", "# nothing yet\n  # more\n"] {
            assert_eq!(parse_config(empty.as_bytes(), &KEYS), Ok(vec![]));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        assert_eq!(
            refusal("memroy: 2G\n"),
            "1:1: unknown key `memroy`, did you mean `memory`?"
        );
        assert_eq!(
            refusal("max-iters: 2\n"),
            "1:1: unknown key `max-iters`, did you mean `max_iters`?"
        );
        assert_eq!(
            refusal("model: [a]\n"),
            "1:8: `model` must be a single value, found a list"
        );
        assert_eq!(
            refusal("a: 1\nmodel:\n"),
            "2:1: `model` is empty; fill it in or remove it"
        );
        assert!(refusal("model: a\nmodel: b\n").starts_with("2:1: duplicate key"));
        assert_eq!(
            refusal("- a\n"),
            "1:1: the file must be a mapping of sections, found a list"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_config(&bytes, &KEYS);
        }
    }
}
