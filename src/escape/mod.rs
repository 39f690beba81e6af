//! The suite of escapes: what a hostile program would try, tried on this host.
//!
//! Each attempt has a positive control: the same act where no wall stands in its way, which
//! must succeed, or the attempt shows nothing. Controls do no harm: they are after a bait of
//! their own, and what would change mounts, names or networks is done in name spaces that
//! end with it. Behind the walls canaries of the host's are what is to be reached, and after
//! each attempt they must be as they were.
//!
//! - `attempt`: what an attempt is, and its verdict; `suite`: all of them, made and judged;
//! - `field`: the sandboxes of one back end, and where probes are run;
//! - `bait`, `segment`: canaries and bait;
//! - `files`, `kernel`, `lifecycle`, `resources`, `network`, `secrets`, `copies` with `archives`, `control`:
//!   the sections I to VIII;
//! - `gaps`: what the tier without namespaces lets through.

mod archives;
mod attempt;
mod bait;
mod control;
mod copies;
mod field;
mod files;
mod gaps;
mod kernel;
mod lifecycle;
mod network;
mod resources;
mod secrets;
mod segment;
mod suite;

pub use attempt::{Attempt, Lack, Method, Outcome, Place, Section, Step, Tried, Verdict};
pub use field::Field;
pub use suite::{Controls, attempts, known_gap, make};
