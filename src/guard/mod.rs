//! Which changes a phase may make, and what becomes of the rest. Arithmetic, not trust.
//!
//! | file | holds |
//! |---|---|
//! | `paths` | what is protected and what is hidden |
//! | `authoring` | the ruling where contracts are written and repaired |
//! | `verdict` | the ruling on one change, and what must be taken back |
#![forbid(unsafe_code)]

mod authoring;
mod paths;
mod verdict;

pub use paths::{WriteSets, actions_path, contract_dir, contract_paths, withheld};
pub use verdict::{Judged, Ruling, judge, revert_paths, source, source_of};

pub use crate::policy::Phase;
