//! What is done with the identity of the workspace's owner.
#![allow(unsafe_code)]

use std::{io::Read, os::fd::BorrowedFd, path::Path};

use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};

use super::{Failure, land, payload};
use crate::wire::Confinement;

/// Runs `work` in a child that has become the owner. Where signals have no scope whatever runs
/// inside can kill it, so it shares no memory. The caller is single-threaded.
pub(super) fn run(
    confinement: &Confinement,
    nested: Option<BorrowedFd<'_>>,
    work: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut status, told) = std::io::pipe().map_err(|e| Failure::io("pipe", &e))?;
    // SAFETY: this process is single-threaded, so the child may do anything.
    match unsafe { fork() }.map_err(|e| Failure::new("fork", e))? {
        ForkResult::Child => {
            drop(status);
            let result = payload::become_owner(confinement, nested)
                .and_then(|()| confine(confinement))
                .and_then(|()| work(Path::new(&confinement.workspace)));
            if let Err(Failure { step, errno, why }) = result {
                let _ = serde_json::to_writer(told, &(step, errno, why));
            }
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(told);
            let mut report = Vec::new();
            let _ = status.by_ref().take(16_384).read_to_end(&mut report);
            let ended = waitpid(child, None).map_err(|e| Failure::new("waitpid", e))?;
            match serde_json::from_slice::<(String, Option<i32>, String)>(&report) {
                Ok((step, errno, why)) => Err(Failure { step, errno, why }),
                Err(_) if ended == WaitStatus::Exited(child, 0) && report.is_empty() => Ok(()),
                Err(_) => Err(Failure::plain(
                    "change the workspace",
                    format!("its child ended as {ended:?}"),
                )),
            }
        }
    }
}

/// Where the inside shares the host's files, its commands' rules about them hold for
/// whoever changes the workspace as well.
fn confine(confinement: &Confinement) -> Result<(), Failure> {
    let Some(rules) = confinement.landlock.as_ref().filter(|_| !confinement.pid1) else {
        return Ok(());
    };
    payload::set_no_new_privs()?;
    land::restrict(rules, true, true)
}
