//! How much of a target is taken, and how it is asked for.

use std::time::Duration;

/// Bounds on what is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// The whole of it.
    pub wall: Duration,
    /// Bytes that come over a network.
    pub max_bytes: u64,
    /// Bytes of the files of an archive, unpacked.
    pub max_unpacked: u64,
    /// Entries of an archive, files of a data set.
    pub max_entries: u64,
    /// How much larger than the archive its files may be, together, once they are large.
    pub max_ratio: u64,
    /// Bytes of a data set's files, together.
    pub hub_total: u64,
    /// Bytes of one file of a data set.
    pub hub_file: u64,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(1800),
            max_bytes: 2 << 30,
            max_unpacked: 16 << 30,
            max_entries: 1_000_000,
            max_ratio: 200,
            // The predecessor's.
            hub_total: 512 << 20,
            hub_file: 256 << 20,
        }
    }
}

/// How much of a repository's past comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum History {
    /// Every branch and tag, and all that they reach.
    Full,
    /// What HEAD reaches, and nothing else: no other branch, no later tag, no reflog.
    Reachable,
}

/// What is asked of a target beyond its name.
#[derive(Clone, Debug, Default)]
pub struct FetchOptions {
    /// Branch, tag or commit of a repository; revision of a data set.
    pub revision: Option<String>,
    /// Commits of each branch that come along; 0 is all. 1 where nothing is said, or all
    /// with a history.
    pub depth: Option<u32>,
    /// See [`History`].
    pub history: Option<History>,
    /// Whether submodules are fetched, too.
    pub submodules: bool,
    /// Fetch anew what the cache has.
    pub refresh: bool,
    /// Ask no server.
    pub offline: bool,
    /// Accept plain http to other machines.
    pub allow_http: bool,
    /// Bounds.
    pub limits: FetchLimits,
}
