//! Where a tree comes from, as the record keeps it.

use serde::{Deserialize, Serialize};

/// What a target turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A directory of this host.
    Directory,
    /// An archive of this host, or from a server.
    Archive,
    /// A git repository.
    Git,
    /// The archive that GitHub makes of a repository, because git did not get through.
    GithubArchive,
    /// A data set of the Hugging Face hub.
    Dataset,
}

/// Objects of a repository, counted in the sandbox where git ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Objects {
    /// That HEAD reaches.
    pub reachable: u64,
    /// That are there.
    pub present: u64,
}

/// Where a tree comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Provenance {
    /// What it is.
    pub kind: Kind,
    /// Where it lies, without credentials.
    pub location: String,
    /// The branch, tag or revision that was taken.
    #[serde(default)]
    pub revision: Option<String>,
    /// The commit, where there is one.
    #[serde(default)]
    pub commit: Option<String>,
    /// SHA-256 of the archive.
    #[serde(default)]
    pub sha256: Option<String>,
    /// How much of the past came along: `as-is`, `depth:N`, `reachable` or `full`.
    #[serde(default)]
    pub history: Option<String>,
    /// The objects of a history that was cut to what HEAD reaches.
    #[serde(default)]
    pub objects: Option<Objects>,
    /// Bytes that came over a network in this run.
    #[serde(default)]
    pub fetched_bytes: u64,
    /// It was in the cache.
    #[serde(default)]
    pub cached: bool,
    /// What the user should know: pointers without their files, what was left out, ways that failed.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Provenance {
    /// Of which only the place is known yet.
    pub(super) fn new(kind: Kind, location: impl ToString) -> Self {
        Self {
            kind,
            location: location.to_string(),
            revision: None,
            commit: None,
            sha256: None,
            history: None,
            objects: None,
            fetched_bytes: 0,
            cached: false,
            notes: Vec::new(),
        }
    }
}
