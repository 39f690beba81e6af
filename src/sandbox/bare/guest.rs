//! From this program to a supervisor without namespaces: this order is the documentation.
//!
//! 1. \[root\] ahead of what will run inside (`setpriority(2)`), the bounding set of
//!    capabilities emptied, supplementary groups dropped, ids set to [`SANDBOX_UID`](crate::sandbox::SANDBOX_UID)
//! 2. capabilities emptied: whose root this is does not matter
//! 3. umask; the guest supervisor serves, as the subreaper of all that it starts
//!
//! It ends when its socket does, and ends everything inside before: no signal tells
//! it of the host's death, which it could not answer any more.
#![allow(unsafe_code)]

use std::{os::fd::AsFd, process::ExitCode};

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};

use crate::{
    guest::{self, Guest, GuestStart},
    sandbox::inherited_socket,
    wire::{self, Confinement, Reply},
};

/// What the host tells the guest first.
#[derive(Serialize, Deserialize)]
pub(super) struct Start {
    pub confinement: Confinement,
    /// The id to become, where the host is root.
    pub owner: Option<u32>,
}

/// The guest's whole life; its socket is descriptor 0.
pub fn guest_main() -> ExitCode {
    let Ok(socket) = inherited_socket() else {
        return ExitCode::from(70);
    };
    let Ok((Start { confinement, owner }, _)) = wire::recv::<Start>(socket.as_fd()) else {
        return ExitCode::from(70);
    };
    let Ok(told) = socket.try_clone() else {
        return ExitCode::from(70);
    };
    let started = lower(owner).and_then(|()| {
        Guest::new(GuestStart {
            socket,
            confinement,
            nested: None,
            lease: None,
        })
    });
    match started {
        Ok(guest) => {
            drop(told);
            ExitCode::from(guest.serve())
        }
        Err(guest::Failure { step, errno, why }) => {
            let _ = wire::send(told.as_fd(), &Reply::Failed { step, errno, why }, &[]);
            ExitCode::FAILURE
        }
    }
}

fn lower(owner: Option<u32>) -> Result<(), guest::Failure> {
    if let Some(id) = owner {
        // SAFETY: numbers only. Where it is refused, commands still are behind ([`guest::BEHIND`]).
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -guest::BEHIND) };
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        // Giving root's id up takes the capability that this needs.
        guest::drop_bounding()?;
        setgroups(&[]).map_err(|e| guest::Failure::new("setgroups", e))?;
        setresgid(gid, gid, gid).map_err(|e| guest::Failure::new("setresgid", e))?;
        setresuid(uid, uid, uid).map_err(|e| guest::Failure::new("setresuid", e))?;
    }
    guest::drop_capabilities()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    Ok(())
}
