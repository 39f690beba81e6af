//! Rollouts without code of the target: what a model is asked, whether it answered right, and
//! whether a rollout's samples are what they should be.
//!
//! Pure: bytes and texts in, values out.
//!
//! - `answer`, `number`, `plain`: whether a completion gives the answer, exactly;
//! - `question`: questions and answers in the rows of a data set;
//! - `manifest`: which of a data set's files is the one to ask;
//! - `prompts`: what is asked where there is no data set;
//! - `check`: demands on samples: how many, how diverse, whose questions;
//! - `model`: requests to a model, and what of its answers counts.
#![forbid(unsafe_code)]

mod answer;
mod check;
mod manifest;
mod model;
mod number;
mod plain;
mod prompts;
mod question;

pub use answer::{Choice, Compared, Judged, Reference, Said, judge};
pub use check::{Anchors, check_counts, check_prompts};
pub use manifest::{MANIFEST, candidates, is_manifest};
pub use model::{Failed, Reply, read_reply, request};
pub use plain::{folded, plain};
pub use prompts::{PROMPTS_MAX, of_commands, of_readme};
pub use question::{ASKED, Question, asked, columns, question};
