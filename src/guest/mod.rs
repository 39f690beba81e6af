//! The supervisor inside every sandbox.
//!
//! Single-threaded and synchronous: it forks, and a fork of a threaded process
//! may not do much. One file a concern:
//!
//! - `door`: how the guest of a container comes to its host;
//! - `supervisor`: the loop over the host's socket; one warden a stage, used again where nothing
//!   of its stage is left;
//! - `ready`: a stage that waits for its command;
//! - `warden`: a stage's own subreaper: time and memory caps, the end of its tree;
//! - `payload`: the ordered list of walls between a warden and `execve`; `vfork`: the process
//!   around which they are built;
//! - `capabilities`, `land`: two of these walls;
//! - `nested`: the user namespace that every command enters;
//! - `memory`: what a stage holds of the host's memory;
//! - `process`: what runs below a process (`/proc`), stopping and killing it;
//! - `kin`: proof that nobody is left, and that all stand still;
//! - `doors`: sockets of the inside's network; `peers`: which process holds one;
//! - `tap`: what is sent past them;
//! - `text`: pages of the executable given back while nothing happens;
//! - `owner`: who the workspace belongs to; `tree`: it, changed and read as that.

mod capabilities;
mod door;
mod doors;
mod kin;
mod land;
mod memory;
mod nested;
mod owner;
mod payload;
mod peers;
mod process;
mod ready;
mod supervisor;
mod tap;
mod text;
mod tree;
mod vfork;
mod warden;

pub(crate) use capabilities::{drop_bounding, drop_capabilities};
pub use door::{DOOR, guest_main};
pub(crate) use land::landlock_abi;
pub(crate) use nested::nest;
pub(crate) use payload::BEHIND;

use std::{os::fd::OwnedFd, time::Instant};

use crate::wire::Confinement;

/// What a guest starts with; all of it was made before anything hostile runs.
pub struct GuestStart {
    /// The host's SEQPACKET socket.
    pub socket: OwnedFd,
    /// What every command is confined by.
    pub confinement: Confinement,
    /// The user namespace that every command enters ([`nest`]); where there is none,
    /// commands run with the guest's own ids.
    pub nested: Option<OwnedFd>,
    /// When the guest ends itself and everything inside, whatever the host says.
    pub lease: Option<Instant>,
}

/// A supervisor whose own walls stand.
pub struct Guest(supervisor::Supervisor);

impl Guest {
    /// Makes the calling process a supervisor: signals, subreaper, undumpable.
    ///
    /// # Errors
    /// The step that failed.
    pub fn new(start: GuestStart) -> Result<Self, Failure> {
        supervisor::Supervisor::new(start).map(Self)
    }

    /// Serves the host until it asks for a shutdown or goes away; then
    /// everything inside is dead. Returns the process's exit code.
    pub fn serve(self) -> u8 {
        self.0.serve()
    }
}

/// A step that failed, with what the kernel said.
#[derive(Debug)]
pub struct Failure {
    /// The step.
    pub step: String,
    /// `errno`, where there was one.
    pub errno: Option<i32>,
    /// Its text.
    pub why: String,
}

impl Failure {
    pub(crate) fn new(step: &str, errno: nix::Error) -> Self {
        Self {
            step: step.to_owned(),
            errno: Some(errno as i32),
            why: errno.desc().to_owned(),
        }
    }

    fn plain(step: &str, why: impl ToString) -> Self {
        Self {
            step: step.to_owned(),
            errno: None,
            why: why.to_string(),
        }
    }

    fn io(step: &str, error: &std::io::Error) -> Self {
        Self {
            step: step.to_owned(),
            errno: error.raw_os_error(),
            why: error.to_string(),
        }
    }
}
