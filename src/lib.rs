//! opencode-fsm: a small, auditable closed-loop executor.
//!
//! The rooms of this house, from the ground up; a room may use those above it
//! in this list, never those below. `docs/architecture.md` tells the story.
#![deny(unsafe_code)]

pub mod agent;
pub mod broker;
pub mod cli;
pub mod contract;
pub mod dataset;
pub mod document;
pub mod engine;
pub mod env;
pub mod escape;
pub mod fsm;
pub mod guard;
pub mod guest;
pub mod hints;
pub mod image;
pub mod names;
pub mod policy;
pub mod probe;
pub mod record;
pub mod report;
pub mod rollout;
pub mod sandbox;
pub mod scan;
pub mod source;
pub mod suite;
pub mod tree;
pub mod wire;
