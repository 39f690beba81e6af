//! Sandboxes: walls around a guest, and the host's end of its socket.
//!
//! A back end ([`jail`]; Docker comes later) builds the walls that a
//! [`SandboxPlan`](crate::policy::SandboxPlan) asks for and hands over a socket
//! to the guest; everything after that ([`Sandbox`]) is the same for all.

mod backend;
mod confine;
pub mod docker;
mod error;
mod exec;
mod found;
mod guest_link;
pub mod jail;
mod output;
mod owner;
pub mod seccomp;
mod wall;

pub use backend::Backend;
pub use confine::Layer;
pub use error::SandboxError;
pub use exec::{ExecOutcome, ExecSpec, Running};
pub use found::Found;
pub use guest_link::{DiskCap, Premises, Sandbox, Teardown};
pub use output::{Captured, OutputCaps, OutputSink};
pub use owner::{SANDBOX_UID, owner};
pub use wall::{Wall, WallReport, WallState};
