//! Amounts as a person writes them.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// Letters of a size, and by how many bits each shifts.
const LETTERS: [(&str, u32); 5] = [("T", 40), ("G", 30), ("M", 20), ("K", 10), ("", 0)];

/// Bytes, at least a mebibyte, of a number with an optional K, M, G or T (powers of 1024).
///
/// # Errors
/// One line about what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    at_least(text, 1 << 20, "1M")
}

/// The same, at least one byte.
///
/// # Errors
/// As there.
pub fn parse_amount(text: &str) -> Result<u64, String> {
    at_least(text, 1, "1")
}

fn at_least(text: &str, least: u64, shown: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let letter = text[digits.len()..].to_ascii_uppercase();
    let known = LETTERS.iter().find(|(known, _)| *known == letter);
    let Some((_, shift)) = known else {
        return Err("expected a number of bytes, or one with K, M, G or T".to_owned());
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes >= least)
        .ok_or_else(|| format!("expected at least {shown} and at most what 64 bits hold"))
}

/// The shortest spelling of a size.
pub fn show_size(bytes: u64) -> String {
    let exact = LETTERS
        .iter()
        .find(|(_, shift)| bytes.is_multiple_of(1 << shift) && bytes > 0);
    let (letter, shift) = exact.copied().unwrap_or(("", 0));
    format!("{}{letter}", bytes >> shift)
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or one with K, M, G or T")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Size, E> {
                parse_size(&number.to_string()).map(Size).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text).map(Size).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 1 << 20},
            {"type": "string", "pattern": "^[0-9]+[KMGTkmgt]?$"},
        ]})
    }
}

/// Processors: thousandths of one, written as a number with a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Processors(pub u32);

impl<'de> Deserialize<'de> for Processors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        let millis = (number * 1000.0).round();
        if !(10.0..=1e6).contains(&millis) {
            return Err(de::Error::custom("expected 0.01 to 1000 processors"));
        }
        // Within the range that was just checked.
        Ok(Self(millis as u32))
    }
}

impl JsonSchema for Processors {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Processors".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0.01, "maximum": 1000})
    }
}

/// A whole number of 1 or more: of seconds (at most thirty days) or of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole<const MOST: u64>(pub u64);

/// Seconds, at most thirty days, as in contracts.
pub(super) type Seconds = Whole<2_592_000>;
/// A number of things.
pub(super) type Count = Whole<1_000_000_000_000>;

impl<'de, const MOST: u64> Deserialize<'de> for Whole<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            number if (1..=MOST).contains(&number) => Ok(Self(number)),
            _ => Err(de::Error::custom(format!("expected 1 to {MOST}"))),
        }
    }
}

impl<const MOST: u64> JsonSchema for Whole<MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Whole".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": MOST})
    }
}

/// A cap that can be lifted by the word `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cap<T> {
    /// At most so much.
    Most(T),
    /// None.
    Unlimited,
}

/// The word that lifts a cap.
pub(super) const UNLIMITED: &str = "unlimited";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Cap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Cap<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of 1 or more, or `{UNLIMITED}`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Cap<T>, E> {
                T::deserialize(de::value::U64Deserializer::new(number)).map(Cap::Most)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Cap<T>, E> {
                T::deserialize(de::value::F64Deserializer::new(number)).map(Cap::Most)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Cap<T>, E> {
                match text {
                    UNLIMITED => Ok(Cap::Unlimited),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Cap<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cap".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let most = generator.subschema_for::<T>();
        json_schema!({"anyOf": [most, {"const": UNLIMITED}]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_alike() {
        for (text, bytes) in [
            ("1M", 1 << 20),
            ("4g", 4 << 30),
            ("1048577", 1_048_577),
            ("3T", 3 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(show_size(bytes), text.to_ascii_uppercase());
        }
        for wrong in ["", "0", "1K", "4GB", "-1M", "99999999999T", "M"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
