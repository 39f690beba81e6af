//! Names that can only be built through a check.
//!
//! A string that came from outside becomes one of these at the door, once;
//! every room behind the door takes the newtype and never checks again.
#![forbid(unsafe_code)]

mod rel_path;
mod run_id;

pub use rel_path::{RelPath, RelPathError};
pub use run_id::{RunId, RunIdError};
