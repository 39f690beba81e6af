//! What a repository would do or change where somebody works with it: found by reading, never
//! by running anything of it.
//!
//! Every byte here is the repository's. Files are read from the copy in the cache, each up to a
//! bound; no link is followed; what cannot be read or understood is a finding of its own.
//!
//! | file | holds |
//! |---|---|
//! | `finding` | [`Finding`], [`Kind`]: one thing that would be done, and what is said of it |
//! | `look` | [`scan`]: which file is read by whom, and what becomes of what they find |
//! | `copy` | the copied tree: bounded reading, scripts for the judge |
//! | `contract` | contract, bootstrap, actions, stage scripts |
//! | `ci` | pipelines of CI services |
//! | `agents`, `editors` | what agents and editors load and run |
//! | `git`, `git_config` | git's own configuration, hooks and attributes |
//! | `hooks`, `commits`, `images` | what builds, installations, commits and images run |
//! | `makefile` | what `make` without arguments runs |
//! | `source` | programs: what a build runs of them, and tests that write what is to be measured |
//! | `lines` | statements and quoted texts of a program, with their lines |
#![forbid(unsafe_code)]

mod agents;
mod ci;
mod commits;
mod contract;
mod copy;
mod editors;
mod finding;
mod git;
mod git_config;
mod hooks;
mod images;
mod lines;
mod look;
mod makefile;
mod source;

pub use finding::{Counts, Finding, Kind};
pub use look::{Scanned, scan};
