//! Why a value is no such type, until it is known where it stands.

use std::fmt;

use serde::de::{self, Unexpected};

use super::{
    error::{Position, bounded, shown},
    fields::nearest,
};

/// Longest text by which a type refuses a value, in characters.
const SAID_MAX: usize = 300;

/// What is wrong, until its place is known.
#[derive(Debug)]
pub(super) struct Error {
    pub at: Option<Position>,
    pub message: Message,
}

#[derive(Debug)]
pub(super) enum Message {
    /// A sentence.
    Whole(String),
    /// One that lacks its subject: the place in the document.
    OfSomething(String),
}

/// What is said of a subject: a predicate, or after a colon what its type says.
pub(super) fn sentence(subject: &str, text: &str) -> String {
    let blank = if text.starts_with(':') { "" } else { " " };
    format!("{subject}{blank}{text}")
}

impl Error {
    pub fn of_something(text: impl Into<String>) -> Self {
        Self {
            at: None,
            message: Message::OfSomething(text.into()),
        }
    }

    /// The error at a place, unless it has a nearer one.
    pub fn within(self, at: Position, place: &str) -> Self {
        let message = match self.message {
            Message::OfSomething(text) if !place.is_empty() => Message::Whole(sentence(&format!("`{place}`"), &text)),
            message => message,
        };
        Self {
            at: self.at.or(Some(at)),
            message,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Message::Whole(text) | Message::OfSomething(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::of_something(format!(": {}", bounded(&text.to_string(), SAID_MAX)))
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::of_something(format!("must be {wanted}, found {}", shown(&found.to_string())))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        let remedy = match nearest(key, known) {
            Some(name) => format!(", did you mean `{name}`?"),
            None => format!("; known here: {}", known.join(", ")),
        };
        Self {
            at: None,
            message: Message::Whole(format!("unknown key `{}`{remedy}", shown(key))),
        }
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        let words: Vec<_> = known.iter().map(|word| format!("`{word}`")).collect();
        Self::of_something(format!("must be one of {}, found `{}`", words.join(", "), shown(found)))
    }

    fn missing_field(name: &'static str) -> Self {
        Self::of_something(format!("lacks `{name}`"))
    }
}
