//! Containers of a Docker engine, with our guest for PID 1.
//!
//! - `connection`: the engine and what it says of itself; `image`: what a container starts from;
//! - `container`: a plan compiled for the engine; `files`: what `/etc` holds inside;
//! - `overlay`: the workspace, mounted by the engine;
//! - `door`: the socket that the guest comes to;
//! - `host`: the host's side, [`Docker`]; `walls`: what stands, as the guest finds it;
//! - `label`: whose a container is; `collect`: those of the dead removed; `reaper`: at once;
//! - `cgroup`, `teardown`: its end, looked at from outside.
//!
//! Nothing is ever run with `docker exec`, no port is published, and no directory of the
//! user's is bound: the workspace is an overlay over the pristine tree.

mod cgroup;
mod collect;
mod connection;
mod container;
mod door;
mod files;
mod host;
mod image;
mod label;
mod overlay;
mod reaper;
mod teardown;
mod walls;

pub use collect::{Leftover, collect};
pub use connection::{About, Engine, EngineError, listens};
pub use host::{Docker, Start};
pub use label::{Orphaned, PREFIX};
pub use reaper::reaper_main;
