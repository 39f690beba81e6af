//! Why there is no runner image.

use std::{io, path::PathBuf};

/// What went wrong, with the remedy where there is one.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The engine refused or failed.
    #[error("the Docker engine could not {what}: {source}")]
    Engine {
        /// What was asked of it.
        what: String,
        /// Its answer.
        source: bollard::errors::Error,
    },
    /// A program that the build needs is not installed.
    #[error(
        "{tool} is missing, which {purpose}; install it (apt-get install {package}), \
         or build on an image of a registry: opencode-fsm image build --from debian:stable-slim"
    )]
    ToolMissing {
        /// The program.
        tool: &'static str,
        /// Debian's package with it.
        package: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
    /// The host has no Debian archive to build from.
    #[error("{0}; or build on an image of a registry: opencode-fsm image build --from debian:stable-slim")]
    NoArchive(String),
    /// A program of the build failed.
    #[error("{what} failed ({status}){remedy}; its last words: {words}")]
    Build {
        /// Which.
        what: String,
        /// How it ended.
        status: String,
        /// What may help; empty, or beginning with `; `.
        remedy: &'static str,
        /// The end of its output, escaped.
        words: String,
    },
    /// What was fetched is not what is pinned.
    #[error("{what} has the digest {found}, and {pinned} is pinned; the source that gave it is not to be trusted")]
    WrongDigest {
        /// What.
        what: String,
        /// Its digest.
        found: String,
        /// The recipe's.
        pinned: String,
    },
    /// The registry did not give the base image.
    #[error(
        "cannot pull {image}: {why}; `opencode-fsm image build` without --from needs no registry, \
         only Debian packages"
    )]
    Pull {
        /// The image.
        image: String,
        /// The engine's words, escaped.
        why: String,
    },
    /// What was built is not what was asked for.
    #[error("the root file system that was built is malformed: {0}")]
    Malformed(String),
    /// There is no place for caches.
    #[error(transparent)]
    Record(#[from] crate::record::RecordError),
    /// The host.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

impl ImageError {
    pub(super) fn engine(what: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> Self {
        let what = what.into();
        move |source| ImageError::Engine { what, source }
    }

    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| ImageError::Io { what, path, source }
    }
}
