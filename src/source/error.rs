//! Why a target could not be had.

use crate::{sandbox::SandboxError, tree::TreeError};

/// Why a target could not be had. Nothing of it is in the cache then.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// What was named is nothing that a target can be (exit 2).
    #[error("target {what}: {why}")]
    Name {
        /// As the user wrote it, without credentials.
        what: String,
        /// Why, and what to write instead.
        why: String,
    },
    /// It could not be got from where it lies.
    #[error("{what}: {why}")]
    Fetch {
        /// What was being fetched, without credentials.
        what: String,
        /// Why not, and what to do about it.
        why: String,
    },
    /// It lies behind a door for which there is no key, or the wrong one.
    #[error("{what}: {why}")]
    Denied {
        /// What was being fetched.
        what: String,
        /// The variable or the flag that gives a key.
        why: String,
    },
    /// It is larger or slower than allowed.
    #[error("{what}: {why}")]
    Limit {
        /// What was being fetched.
        what: String,
        /// The bound, and the flag that lifts it.
        why: String,
    },
    /// What came is not what was announced.
    #[error("{what}: {why}")]
    Damaged {
        /// What was fetched.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// An archive that cannot be a tree: it climbs, leads out, collides, or holds devices.
    #[error("{what}: {count} of its entries cannot be taken; first {first}")]
    Archive {
        /// The archive.
        what: String,
        /// How many.
        count: usize,
        /// The first, escaped, and why.
        first: String,
    },
    /// The sandbox in which git runs.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A tree on the host.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The host.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The error.
        source: std::io::Error,
    },
}

impl SourceError {
    /// For `map_err`: says what was being done.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err`: it could not be fetched, and why.
    pub(super) fn fetch(what: impl ToString, why: impl ToString) -> Self {
        Self::Fetch {
            what: what.to_string(),
            why: why.to_string(),
        }
    }

    /// Whether another way to the same thing may still lead there.
    pub(super) fn leaves_hope(&self) -> bool {
        matches!(self, Self::Fetch { .. } | Self::Denied { .. } | Self::Damaged { .. })
    }

    /// Whether it is the target that could not be had, and not this host that failed.
    pub fn is_about_the_target(&self) -> bool {
        !matches!(
            self,
            Self::Name { .. } | Self::Sandbox(_) | Self::Tree(_) | Self::Io { .. }
        )
    }
}
