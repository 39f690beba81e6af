//! `KEY=VALUE` files with variables for a run. Values are secrets: no error shows one.

use super::{MAX_DOCUMENT, stage::is_variable_name};

/// Why a dotenv file cannot be used. It never quotes the line, which may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct DotenvError {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: &'static str,
}

/// Reads a dotenv file: one `KEY=VALUE` a line, UTF-8, with or without a byte
/// order mark; blank lines and lines that begin with `#` are skipped; `export `
/// may precede the key; key and value are trimmed; one pair of matching quotes
/// around the value is removed. There are no inline comments, escapes, multi-line
/// values or expansion. A key given twice has its last value, at its first place.
///
/// # Errors
/// [`DotenvError`] for a file over [`MAX_DOCUMENT`], invalid UTF-8, a NUL, a line
/// without `=`, and a key that is no variable name.
pub fn parse_dotenv(text: &[u8]) -> Result<Vec<(String, String)>, DotenvError> {
    if text.len() > MAX_DOCUMENT {
        return Err(DotenvError {
            line: 1,
            message: "the file is larger than 1 MiB",
        });
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut variables = indexmap::IndexMap::new();
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
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| fail("expected KEY=VALUE, there is no `=`"))?;
        let key = key.trim();
        if !is_variable_name(key) {
            return Err(fail("the key is no variable name (letters, digits, `_`)"));
        }
        variables.insert(key.to_owned(), unquoted(value.trim()).to_owned());
    }
    Ok(variables.into_iter().collect())
}

/// The value without one pair of matching quotes around it.
fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        let expected: Vec<_> = expected
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(parse_dotenv(text).unwrap(), expected);
    }

    #[test]
    fn bad_lines_are_named_without_their_content() {
        for (text, line) in [
            (&b"A=1\nsecret sk-123\n"[..], 2),
            (b"=sk-123", 1),
            (b"a b=sk-123", 1),
            (b"A=\xff", 1),
            (b"A=1\nB=sk-\x00123", 2),
            (&[b'#'; MAX_DOCUMENT + 1], 1),
        ] {
            let error = parse_dotenv(text).unwrap_err();
            assert_eq!(error.line, line);
            assert!(!error.to_string().contains("sk-"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_keys_are_variable_names(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for (key, value) in parse_dotenv(&bytes).unwrap_or_default() {
                prop_assert!(is_variable_name(&key) && !value.contains('\0'));
            }
        }
    }
}
