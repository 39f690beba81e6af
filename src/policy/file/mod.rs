//! Policy files: what a host allows, written down, and the layers put together.
//!
//! | file | holds |
//! |---|---|
//! | `document`, `units`, `pattern` | a file's sections, amounts and patterns as types |
//! | `setting` | its single values by name, and which of two is the narrower |
//! | `check` | what types do not say: the examples of each rule |
//! | `load`, `shipped` | finding and reading files |
//! | `effective` | [`Policy`]: the layers put together, with who said what |
//! | `narrow` | what a repository may say itself |
//! | `record` | what a run keeps of it: a canonical document, its digest, who said what |
//! | `restore` | a policy as a run recorded it |
//! | `diff` | what one policy allows and another does not |
//! | `error` | why a policy cannot be used |

mod check;
mod diff;
mod document;
mod effective;
mod error;
mod load;
mod narrow;
mod pattern;
mod record;
mod restore;
mod setting;
mod shipped;
mod units;

pub use diff::{Change, Difference, diff};
pub use effective::{Layer, Origin, Policy, Protection, Said, Words};
pub use error::{PolicyError, Problem};
pub use load::{HostPlaces, Source, host_names, load, load_file, load_host};
pub use narrow::Attempt;
pub use pattern::{PathPattern, WordPattern};
pub use record::{LayerLine, Origins, SaidLine};
pub use setting::{SettingName, SettingValue};
pub use shipped::{DEFAULT, NAMES, file as shipped_file, text as shipped_text};
pub use units::{parse_amount, parse_size, show_size};

/// The JSON Schema of a policy file.
pub fn schema() -> schemars::Schema {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let schema = settings.into_generator().into_root_schema_for::<document::Document>();
    // A key that is there has a value: what may be left out may not be null.
    without_null(schema.to_value()).try_into().unwrap_or_default()
}

fn without_null(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut kept = serde_json::Map::new();
            for (key, value) in map {
                let value = match (key.as_str(), value) {
                    ("type", Value::Array(types)) if types.len() == 2 && types[1] == "null" => types[0].clone(),
                    ("anyOf", Value::Array(of)) => {
                        let null = serde_json::json!({"type": "null"});
                        Value::Array(of.into_iter().filter(|one| *one != null).map(without_null).collect())
                    }
                    (_, value) => without_null(value),
                };
                kept.insert(key, value);
            }
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_null).collect()),
        other => other,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
