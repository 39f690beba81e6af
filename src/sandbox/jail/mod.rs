//! The jail: namespaces, landlock, seccomp and cgroups, without Docker.
//!
//! - `spec`: a plan compiled for the launcher;
//! - `launcher`: the single-threaded process that forks jails;
//! - `init`: the ordered way from there to PID 1;
//! - `root`: the new root file system; `mount`: the calls it needs;
//! - `cgroup`: limits for all processes of a jail together;
//! - `host`: the host's side, [`Jail`];
//! - `primitive`: what a jail is made of and what a refusal means; `walls`: what stands;
//! - `probe`: what this host can give, for `doctor`.

mod cgroup;
mod host;
mod init;
mod launcher;
mod mount;
mod primitive;
mod probe;
mod root;
mod spec;
mod walls;

pub use host::Jail;
pub use launcher::launcher_main;
pub(super) use root::shows;

pub use probe::{Probe, ProbeRow, ProbeState};
