//! Run ids: sortable by time, collision-free.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The id of one run: a UUIDv7 (RFC 9562 section 5.7), so ids sort by creation
/// time and two runs started in the same millisecond still differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// Why a string is no run id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a run id (expected a UUID like 0193f2a0-7c1b-7e52-9d8a-0c1f6f3b2a10)")]
pub struct RunIdError(String);

impl RunId {
    /// A fresh id for a run that starts now.
    pub fn fresh() -> Self {
        Self(uuid::Uuid::now_v7().hyphenated().to_string())
    }

    /// When its run began, since 1970.
    pub fn began(&self) -> std::time::Duration {
        // The first 48 bits of a version 7 are milliseconds (RFC 9562 section 5.7); the text
        // was checked when it became an id.
        let bits = uuid::Uuid::try_parse(&self.0).unwrap_or_default().as_u128();
        std::time::Duration::from_millis(u64::try_from(bits >> 80).unwrap_or(u64::MAX))
    }

    /// The id as text; safe as a single path component.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().take(64).collect::<String>().escape_debug().to_string();
        let id = uuid::Uuid::try_parse(text).map_err(|_| RunIdError(shown()))?;
        Ok(Self(id.hyphenated().to_string()))
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fresh_ids_sort_by_time_and_differ() {
        let ids: Vec<RunId> = (0..100).map(|_| RunId::fresh()).collect();
        assert!(ids.is_sorted());
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_one_plain_file_name(text in "[0-9a-f{}:urnid/.-]{0,48}") {
            if let Ok(id) = text.parse::<RunId>() {
                prop_assert_eq!(id.as_str().len(), 36);
                prop_assert!(id.as_str().bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
                prop_assert_eq!(id.as_str().parse::<RunId>().unwrap(), id.clone());
            }
        }
    }

    #[test]
    fn every_spelling_of_an_id_is_the_same_id() {
        let plain: RunId = "0193f2a0-7c1b-7e52-9d8a-0c1f6f3b2a10".parse().unwrap();
        for spelling in [
            "0193F2A0-7C1B-7E52-9D8A-0C1F6F3B2A10",
            "{0193f2a0-7c1b-7e52-9d8a-0c1f6f3b2a10}",
            "0193f2a07c1b7e529d8a0c1f6f3b2a10",
        ] {
            assert_eq!(spelling.parse::<RunId>().unwrap(), plain);
        }
        assert!("../../etc".parse::<RunId>().is_err());
    }
}
