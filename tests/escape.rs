//! Ways out, tried: the suite of escapes on every back end, and what each layer is worth.
//!
//! `ESCAPE_INTO=docs/security_model.md cargo test --test escape`, as root on a machine with an
//! engine and the runner image, also writes the tables into that file, between their marks.

mod support;

#[path = "escape/layers.rs"]
mod layers;
#[path = "escape/suite.rs"]
mod suite;
#[path = "escape/table.rs"]
mod table;
#[path = "escape/walks.rs"]
mod walks;
