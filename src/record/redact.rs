//! Secrets by value: whatever is written has them taken out, in the forms in which they travel.

use std::{borrow::Cow, fmt, sync::Arc};

use base64::Engine as _;
use serde_json::Value;

/// What stands where a secret stood.
const MARK: &[u8] = b"[redacted]";
/// Shorter values would redact half of every text; they are not taken as secrets.
const SHORTEST: usize = 6;

/// A secret value: never shown, never serialised; its bytes are redacted wherever the record writes.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes a value as a secret.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is taken out of texts: it has at least 6 bytes.
    pub fn is_redacted(&self) -> bool {
        self.0.len() >= SHORTEST
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// The forms of all secrets of a run, longest first.
#[derive(Clone, Default)]
pub struct Redactor(Vec<Vec<u8>>);

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(***)")
    }
}

impl Redactor {
    /// What takes `secrets` out; see [`Secret::is_redacted`].
    pub fn new(secrets: &[Secret]) -> Self {
        let mut forms: Vec<Vec<u8>> = secrets
            .iter()
            .filter(|secret| secret.is_redacted())
            .map(Secret::expose)
            .flat_map(forms_of)
            .collect();
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self(forms)
    }

    /// Whether there is nothing to take out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes without any secret; `None` when there was none in them.
    pub fn redact(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        for form in &self.0 {
            if let Some(changed) = replace(out.as_deref().unwrap_or(bytes), form) {
                out = Some(changed);
            }
        }
        out
    }

    /// A text without any secret.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact(text.as_bytes()) {
            Some(clean) => Cow::Owned(String::from_utf8_lossy(&clean).into_owned()),
            None => Cow::Borrowed(text),
        }
    }

    /// A JSON value without any secret in its texts, names and numbers; it stays one.
    pub fn value(&self, value: Value) -> Value {
        match value {
            _ if self.0.is_empty() => value,
            Value::String(text) => Value::String(self.text(&text).into_owned()),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (self.text(&name).into_owned(), self.value(value)))
                .collect(),
            Value::Number(number) => match self.text(&number.to_string()) {
                Cow::Borrowed(_) => Value::Number(number),
                Cow::Owned(clean) => Value::String(clean),
            },
            Value::Null | Value::Bool(_) => value,
        }
    }
}

/// A value as it is, inside a JSON string, percent-encoded (RFC 3986), in hex, and in
/// base64 (RFC 4648) at each of the three places where it may start in a group.
fn forms_of(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let quoted = serde_json::Value::from(value).to_string();
    let percent: String = bytes
        .iter()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(*b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let mut forms = vec![
        bytes.to_vec(),
        quoted.as_bytes()[1..quoted.len() - 1].to_vec(),
        percent.into_bytes(),
        hex.into_bytes(),
    ];
    for engine in [
        base64::engine::general_purpose::STANDARD_NO_PAD,
        base64::engine::general_purpose::URL_SAFE_NO_PAD,
    ] {
        for lead in 0..3 {
            let mut shifted = vec![0; lead];
            shifted.extend_from_slice(bytes);
            let text = engine.encode(&shifted);
            // The first characters hold bits of what comes before, the last of what follows.
            let first = [0, 2, 3][lead];
            let last = text.len() - usize::from(shifted.len() % 3 != 0);
            forms.push(text.as_bytes()[first..last].to_vec());
        }
    }
    forms
}

fn replace(bytes: &[u8], form: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = bytes;
    let mut found = false;
    while let Some(at) = find(rest, form) {
        found = true;
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(MARK);
        rest = &rest[at + form.len()..];
    }
    out.extend_from_slice(rest);
    found.then_some(out)
}

fn find(bytes: &[u8], form: &[u8]) -> Option<usize> {
    let first = *form.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == first) {
        if bytes[from + at..].starts_with(form) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_form_of_a_secret_survives(
            secret in "[ -~]{8,40}", before in proptest::collection::vec(any::<u8>(), 0..40), after in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let redactor = Redactor::new(&[Secret::new(secret.as_str())]);
            let mut bytes = before.clone();
            bytes.extend_from_slice(secret.as_bytes());
            bytes.extend_from_slice(&after);
            let clean = redactor.redact(&bytes).expect("it is in there");
            prop_assert!(find(&clean, secret.as_bytes()).is_none());
            // Whatever surrounds it, base64 of the whole decodes to nothing with the secret in it.
            let travelled = base64::engine::general_purpose::STANDARD.encode(&bytes);
            prop_assert!(redactor.redact(travelled.as_bytes()).is_some());
            let quoted = serde_json::Value::from(format!("a{secret}b")).to_string();
            prop_assert!(redactor.redact(quoted.as_bytes()).is_some());
        }

        #[test]
        fn what_holds_no_secret_stays(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Redactor::new(&[Secret::new("sk-0123456789abcdefghij")]).redact(&bytes), None);
        }
    }

    #[test]
    fn json_stays_json_without_its_secrets() {
        let redactor = Redactor::new(&[Secret::new("1234567"), Secret::new("s\"cret"), Secret::new("short")]);
        let value = serde_json::json!({"a": [1_234_567, 12, null], "s\"cret": "a s\"cret, short"});
        let clean = serde_json::json!({"a": ["[redacted]", 12, null], "[redacted]": "a [redacted], short"});
        assert_eq!(redactor.value(value.clone()), clean);
        assert_eq!(Redactor::default().value(value.clone()), value);
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("sk-very-secret")), "Secret(***)");
    }
}
