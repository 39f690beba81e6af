//! The end of a container, looked at from outside.
#![allow(unsafe_code)]

use std::{
    fs,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use bollard::{
    Docker,
    errors::Error,
    query_parameters::{KillContainerOptions, RemoveContainerOptions, WaitContainerOptions},
};
use futures_util::StreamExt;
use nix::sys::socket::{Shutdown, shutdown};

use super::{
    cgroup::Cgroups,
    connection::{connect, shown},
};
use crate::sandbox::{SandboxError, guest_link::Teardown};

/// Longest time that a container whose guest was told to end may take to be removed.
const GONE: Duration = Duration::from_secs(10);
/// Longest time that what outlives its container is killed again and again.
const SURVIVAL: Duration = Duration::from_secs(5);
/// Longest answer of an engine to an order at the end.
const ANSWER: Duration = Duration::from_secs(20);

/// A container to be ended.
pub(super) struct ContainerTeardown {
    pub socket: PathBuf,
    pub id: String,
    /// The guest's socket: its end of file is the guest's end.
    pub guest: OwnedFd,
    /// The guest, where it is ours to signal.
    pub pidfd: Option<OwnedFd>,
    pub cgroups: Cgroups,
}

impl Teardown for ContainerTeardown {
    fn kill(&mut self) {
        let _ = shutdown(self.guest.as_raw_fd(), Shutdown::Both);
        if let Some(pidfd) = &self.pidfd {
            signal(pidfd);
        }
    }

    fn finish(&mut self) -> Result<(), SandboxError> {
        // The caller's runtime may be ending; what is asked here needs one of its own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let removed = match runtime {
            Ok(runtime) => runtime.block_on(self.removed()),
            Err(why) => Err(why.to_string()),
        };
        let survivors = self.outlived();
        if !survivors.is_empty() {
            return Err(SandboxError::Uncontained {
                container: self.id.clone(),
                survivors,
            });
        }
        removed.map_err(|why| SandboxError::Engine {
            what: format!("remove the container {}", short(&self.id)),
            why,
            remedy: "nothing runs in it any more; once the engine answers, `opencode-fsm gc` removes what is left"
                .to_owned(),
        })
    }
}

impl ContainerTeardown {
    /// Waits until the engine has removed the container, and insists where it does not.
    async fn removed(&self) -> Result<(), String> {
        let client = connect(&self.socket).map_err(|why| shown(&why))?;
        if let Ok(done) = tokio::time::timeout(GONE, until_removed(&client, &self.id)).await {
            return done.map_err(|why| shown(&why));
        }
        let insist = async {
            let kill = KillContainerOptions {
                signal: "SIGKILL".to_owned(),
            };
            let _ = client.kill_container(&self.id, Some(kill)).await;
            remove(&client, &self.id).await.map_err(|why| shown(&why))
        };
        tokio::time::timeout(ANSWER, insist)
            .await
            .unwrap_or_else(|_| Err("the engine does not answer in time".to_owned()))
    }

    /// What is still in the container's cgroups, after it was killed as far as we may.
    fn outlived(&self) -> Vec<i32> {
        let give_up = Instant::now() + SURVIVAL;
        loop {
            let survivors = self.cgroups.survivors();
            if survivors.is_empty() || Instant::now() > give_up {
                return survivors;
            }
            for pid in &survivors {
                // Between the two calls a pid may become another's: the descriptor is
                // looked at before it is used.
                if let Some(pidfd) = pidfd(*pid)
                    && self.cgroups.survivors().contains(pid)
                {
                    signal(&pidfd);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Has a container and its volumes removed, whatever runs in it, and waits until they are.
pub(super) async fn remove(client: &Docker, id: &str) -> Result<(), Error> {
    let options = RemoveContainerOptions {
        force: true,
        v: true,
        ..RemoveContainerOptions::default()
    };
    match client.remove_container(id, Some(options)).await {
        // Somebody else's removal may be under way, or the engine's own.
        Err(why) if gone(&why) => until_removed(client, id).await,
        done => done,
    }
}

/// Waits until the engine does not know a container any more.
pub(super) async fn until_removed(client: &Docker, id: &str) -> Result<(), Error> {
    let options = WaitContainerOptions {
        condition: "removed".to_owned(),
    };
    match client.wait_container(id, Some(options)).next().await {
        // The guest's exit status is nothing to us.
        Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => Ok(()),
        Some(Err(why)) if gone(&why) => Ok(()),
        Some(Err(why)) => Err(why),
        None => Err(Error::IOError {
            err: std::io::Error::other("the Docker engine has gone in the middle of its answer"),
        }),
    }
}

/// The engine does not know it (any more), or is removing it.
pub(super) fn gone(why: &Error) -> bool {
    matches!(
        why,
        Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }
    )
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A descriptor of a process of this host, if it is one (pidfd_open(2)).
pub(super) fn pidfd(pid: i32) -> Option<OwnedFd> {
    if !fs::exists(format!("/proc/{pid}")).unwrap_or(false) {
        return None;
    }
    // SAFETY: plain numbers.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let raw = i32::try_from(raw).ok().filter(|raw| *raw >= 0)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Some(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn signal(pidfd: &OwnedFd) {
    // SAFETY: numbers and a null siginfo (pidfd_send_signal(2)). Refused where the
    // process is another user's: then the engine's word has to do.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
}
