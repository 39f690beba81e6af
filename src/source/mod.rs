//! Where targets and their first contracts come from.
//!
//! | file | holds |
//! |---|---|
//! | `target`, `address`, `endpoints` | what a user names, read once; where it lies, without its secrets; whose short names are meant |
//! | `obtain`, `means`, `provenance` | from a target to a tree in the cache: with what, and where it comes from |
//! | `limits`, `error` | how much of it is taken, and why it could not be had |
//! | `http`, `download`, `shelf` | requests with bounds; a file, gone on with after a break; what is remembered |
//! | `archives`, `archive`, `github` | archives as targets; unpacked; of a repository where git does not get through |
//! | `hub` | data sets of the Hugging Face hub |
//! | `git` | repositories |
//! | `demo` | the demonstration repository that is part of the program |
//! | `proposal` | a contract for a repository that has none |
#![forbid(unsafe_code)]

mod address;
mod archive;
mod archives;
mod demo;
mod download;
mod endpoints;
mod error;
mod git;
mod github;
mod http;
mod hub;
mod limits;
mod means;
mod obtain;
mod proposal;
mod provenance;
mod shelf;
mod target;

pub use address::{Address, SshAddress};
pub use demo::write_demo;
pub use endpoints::Endpoints;
pub use error::SourceError;
pub use limits::{FetchLimits, FetchOptions, History};
pub use means::{Means, Obtained};
pub use obtain::obtain;
pub use proposal::{Finding, Proposal, propose, write_new};
pub use provenance::{Kind, Objects, Provenance};
pub use target::{Dataset, GitPlace, Named, Packing, Repository, Target, redacted};
