//! JSON of which nothing is certain.

use jiff::Timestamp;
use serde_json::Value;

use super::text::line;

/// Lenient access: what is missing or of another type is `None`, never an error.
pub(super) trait Fields {
    /// A field, or null.
    fn at(&self, name: &str) -> &Value;
    /// A text, in one escaped line of at most `max` characters.
    fn line(&self, name: &str, max: usize) -> Option<String>;
    /// A whole number.
    fn count(&self, name: &str) -> Option<u64>;
    /// A list, empty where there is none.
    fn list(&self, name: &str) -> &[Value];
    /// A moment, in milliseconds since 1970.
    fn moment(&self, name: &str) -> Option<i64>;
}

impl Fields for Value {
    fn at(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }

    fn line(&self, name: &str, max: usize) -> Option<String> {
        Some(line(self.get(name)?.as_str()?, max))
    }

    fn count(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn moment(&self, name: &str) -> Option<i64> {
        let text = self.get(name)?.as_str()?;
        Some(text.parse::<Timestamp>().ok()?.as_millisecond())
    }
}

/// The word of a value that is one, or an object with one key: how Rust's enums are written.
pub(super) fn word(value: &Value) -> Option<&str> {
    match value {
        Value::String(word) => Some(word),
        Value::Object(fields) => fields.keys().next().map(String::as_str),
        _ => None,
    }
}
