//! Messages between the host and the guest supervisor.
//!
//! One SEQPACKET unix socket a sandbox carries [`Request`] and [`Reply`], each
//! one JSON frame of at most [`MAX_FRAME`] bytes, strictly one reply a request.
//! Whatever carries bytes (stdio, tar streams, sockets) is a descriptor attached
//! to a frame with `SCM_RIGHTS` (unix(7)); a running command has a SEQPACKET
//! socket of its own ([`Control`], [`Progress`]), so nothing is multiplexed.
//! Both ends treat what they read as hostile: bounded, typed, refused otherwise.

mod frame;
mod message;

pub use frame::{FrameError, MAX_FDS, MAX_FRAME, pair, recv, send};
pub(crate) use frame::{forward, parse, recv_frame};
pub use message::{
    Admission, Argv, Confinement, Connection, Control, ExecRequest, FoundWalls, GET, Hello, Identity, LandlockRules,
    LeakedProcess, Leftovers, PROTOCOL, PathAccess, Peer, Progress, Reach, Removal, Reply, Request, ResourceUse,
    Rlimit, Termination,
};
