//! Documents in YAML, read strictly: what is not understood is refused, with its place.
//!
//! Whoever wrote them may be hostile, so every reader is bounded ([`MAX_DOCUMENT`]), never
//! panics, and says in one line what is wrong, at which line and column.
//!
//! | file | holds |
//! |---|---|
//! | `error` | [`Position`], [`Fault`], and how hostile text is shown |
//! | `yaml` | YAML text to a tree of located nodes |
//! | `json` | JSON with comments, as editors read it, to the same tree |
//! | `foreign` | going over documents of other programs |
//! | `makefile` | rules of a Makefile, and what is run for a goal |
//! | `fields` | typed reading of one mapping; unknown keys and near misses |
//! | `typed`, `refusal` | the tree read as any type of serde's, with the place of what does not fit |
//! | `located` | a value that remembers its place |
#![forbid(unsafe_code)]

mod error;
mod fields;
mod foreign;
mod json;
mod located;
mod makefile;
mod refusal;
mod typed;
mod yaml;

pub use error::{Fault, Position, shown};
pub use fields::Fields;
pub use foreign::{Foreign, Spot, get, scalars, text};
pub use json::parse_json;
pub use located::Located;
pub use makefile::{Makefile, logical as makefile_lines};
pub use typed::read;
pub use yaml::{Key, Node, Value, parse, parse_foreign};

/// Longest document that any reader takes, in bytes.
pub const MAX_DOCUMENT: usize = 1 << 20;
