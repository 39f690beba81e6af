//! The tier without namespaces: landlock, seccomp and limits around a copy.
//!
//! For hosts that forbid user namespaces, and only where the user accepts it by name
//! (`--min-tier landlock`): the inside shares the host's processes, network and file
//! system, and rules stand where walls would.
//!
//! - `host`: the host's side, [`Bare`];
//! - `guest`: from this program to a supervisor;
//! - `rules`: what commands may touch; `walls`: what stands, and what does not.

mod guest;
mod host;
mod rules;
mod walls;

pub use guest::guest_main;
pub use host::Bare;

pub(super) use rules::system as system_rules;
