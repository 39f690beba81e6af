//! Where targets and their first contracts come from.
//!
//! | file | holds |
//! |---|---|
//! | `target`, `address`, `endpoints` | what a user names, read once; where it lies, without its secrets; whose short names are meant |
//! | `error` | why it could not be had |
//! | `demo` | the demonstration repository that is part of the program |
//! | `proposal` | a contract for a repository that has none |
#![forbid(unsafe_code)]

mod address;
mod demo;
mod endpoints;
mod error;
mod proposal;
mod target;

pub use address::{Address, SshAddress};
pub use demo::write_demo;
pub use endpoints::Endpoints;
pub use error::SourceError;
pub use proposal::{Finding, Proposal, propose, write_new};
pub use target::{Dataset, GitPlace, Named, Packing, Repository, Target, redacted};
