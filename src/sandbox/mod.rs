//! Sandboxes: walls around a guest, and the host's end of its socket.
//!
//! A back end ([`jail`], or [`bare`] where a kernel gives no more; Docker comes later) builds the walls that a
//! [`SandboxPlan`](crate::policy::SandboxPlan) asks for and hands over a socket
//! to the guest; everything after that ([`Sandbox`]) is the same for all.

mod backend;
pub mod bare;
mod confine;
mod denied;
pub mod docker;
mod doors;
mod error;
mod etc;
mod exec;
mod found;
mod guest_link;
mod inherited;
pub mod jail;
pub mod look;
mod output;
mod owner;
pub mod seccomp;
pub mod view;
mod wall;
mod witness;

pub use crate::probe::Layer;
pub use backend::Backend;
pub use denied::{Attribution, Denied};
pub use doors::{Dialer, Peers};
pub use error::SandboxError;
pub use exec::{ExecOutcome, ExecSpec, Running};
pub use found::Found;
pub use guest_link::{DiskCap, Premises, Sandbox, Teardown};
use inherited::inherited_socket;
pub use output::{Captured, OutputCaps, OutputSink};
pub use owner::{SANDBOX_UID, owner};
pub use wall::{Wall, WallReport, WallState};
pub use witness::{Denial, WitnessReport};
