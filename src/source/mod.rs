//! Where targets and their first contracts come from.
//!
//! | file | holds |
//! |---|---|
//! | `demo` | the demonstration repository that is part of the program |
//! | `proposal` | a contract for a repository that has none |
#![forbid(unsafe_code)]

mod demo;
mod proposal;

pub use demo::write_demo;
pub use proposal::{Finding, Proposal, propose, write_new};
