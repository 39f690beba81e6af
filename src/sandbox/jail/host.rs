//! The host's side of the jail.
#![allow(unsafe_code)]

use std::{
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::chown, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    cgroup,
    primitive::Unbuilt,
    spec::{Bounds, JailSpec, Launched},
    walls,
};
use crate::{
    policy::{CERTIFICATES, GUEST_GID, GUEST_UID, GUEST_WORKSPACE, Inside, NetworkMode, SandboxPlan},
    sandbox::{
        DiskCap, Layer, Premises, Sandbox, SandboxError, confine,
        guest_link::Teardown,
        owner,
        seccomp::{self, Network},
    },
    tree::Place,
    wire::{self, Confinement, FrameError, Identity},
};

/// Longest time that building a jail may take.
const BUILD: Duration = Duration::from_secs(30);
/// Longest time that a killed jail may take to be gone.
const GONE: Duration = Duration::from_secs(10);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(5);

/// Builds jails. One launcher serves a whole process: it owns the
/// single-threaded helper that clones namespaces, and dies with it.
pub struct Jail {
    launcher: Mutex<(OwnedFd, Child)>,
    layers_off: Vec<Layer>,
}

impl Jail {
    /// Starts the launcher from this very program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn new() -> Result<Self, SandboxError> {
        Self::with_launcher(Path::new("/proc/self/exe"))
    }

    /// Starts the launcher from another copy of the program (tests).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn with_launcher(program: &Path) -> Result<Self, SandboxError> {
        let io = |source| SandboxError::Io {
            what: "start the jail launcher".to_owned(),
            source,
        };
        let (ours, theirs) = wire::pair().map_err(io)?;
        let child = Command::new(program)
            .arg0("opencode-fsm")
            .arg("guest-launcher")
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io)?;
        Ok(Self {
            launcher: Mutex::new((ours, child)),
            layers_off: Vec::new(),
        })
    }

    /// Leaves layers off. For tests that show what each layer is worth; no flag reaches this.
    #[must_use]
    pub fn without(mut self, layers: &[Layer]) -> Self {
        self.layers_off = layers.to_vec();
        self
    }

    fn on(&self, layer: Layer) -> bool {
        !self.layers_off.contains(&layer)
    }

    /// Builds one sandbox.
    ///
    /// # Errors
    /// [`SandboxError::TierTooLow`] where a primitive of the kernel is refused,
    /// or the step that failed.
    pub async fn create(&self, plan: &SandboxPlan) -> Result<Sandbox, SandboxError> {
        self.build(plan).await.map_err(|why| why.into_error(plan.min_tier))
    }

    pub(super) async fn build(&self, plan: &SandboxPlan) -> Result<Sandbox, Unbuilt> {
        let scratch = &plan.workspace.scratch;
        let io = |source| SandboxError::Io {
            what: format!("prepare {}", scratch.display()),
            source,
        };
        std::fs::create_dir_all(scratch).map_err(io)?;
        if let Some(id) = owner().filter(|_| self.on(Layer::Ids) && self.on(Layer::UserNamespace)) {
            chown(scratch, Some(id), Some(id)).map_err(io)?;
        }
        let spec = self.compile(plan);
        let (guest, theirs) = wire::pair().map_err(io)?;
        let (reply, reply_theirs) = wire::pair().map_err(io)?;
        {
            let launcher = self.launcher.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            wire::send(launcher.0.as_fd(), &spec, &[theirs.as_fd(), reply_theirs.as_fd()])
                .map_err(|why| SandboxError::Gone(format!("jail launcher: {why}")))?;
        }
        drop((theirs, reply_theirs));
        let built = launched(reply).await?;
        let report = walls::report(&spec, &built.bounds.controllers, built.landlock_abi);
        let disk = DiskCap {
            dir: scratch.join("upper"),
            max_bytes: plan.workspace.max_bytes,
            max_inodes: plan.workspace.max_inodes,
        };
        let teardown = JailTeardown(built.pidfd);
        let tier = report.tier;
        let premises = Premises {
            walls: report,
            inside: Inside::private().with_door(plan.network, Path::new(CERTIFICATES).exists(), true),
            place: Place::Overlay(scratch.join("upper")),
            disk: self.on(Layer::Disk).then_some(disk),
            oom_events: built.bounds.oom_events,
            fork_events: built.bounds.fork_events,
        };
        let (sandbox, _) = Sandbox::connect(guest, premises, Box::new(teardown)).await?;
        let landlock = spec.confinement.landlock.as_ref();
        if landlock.is_some_and(|rules| built.landlock_abi < rules.min_abi) {
            sandbox.destroy().await?;
            return Err(Unbuilt::Step {
                step: format!("landlock (ABI {})", built.landlock_abi),
                errno: libc::EOPNOTSUPP,
            });
        }
        if tier < plan.min_tier {
            sandbox.destroy().await?;
            return Err(Unbuilt::Other(SandboxError::TierTooLow {
                got: tier,
                wanted: plan.min_tier,
                why: "no cgroup takes limits for memory and processes".to_owned(),
                remedy: format!(
                    "{}; or accept the weaker walls by name with --min-tier {tier}",
                    cgroup::remedy()
                ),
            }));
        }
        Ok(sandbox)
    }

    fn compile(&self, plan: &SandboxPlan) -> JailSpec {
        let limits = &plan.limits;
        let on = |layer| self.on(layer);
        JailSpec {
            off: self.layers_off.clone(),
            lowers: plan.workspace.lowers.clone(),
            scratch: plan.workspace.scratch.clone(),
            read_only: plan
                .read_only
                .iter()
                .map(|m| (m.host.clone(), m.guest.clone()))
                .collect(),
            asks_for_names: plan.network == NetworkMode::Allow,
            scratch_bytes: limits.scratch_bytes,
            scratch_inodes: limits.scratch_inodes,
            memory_bytes: limits.memory_bytes,
            processes: limits.processes,
            cpu_millis: limits.cpu,
            confinement: Confinement {
                uid: GUEST_UID,
                gid: GUEST_GID,
                workspace: GUEST_WORKSPACE.to_owned(),
                rlimits: if on(Layer::Rlimits) {
                    confine::rlimits(limits, Some(limits.processes))
                } else {
                    Vec::new()
                },
                landlock: on(Layer::Landlock).then(confine::landlock_rules),
                seccomp: on(Layer::Seccomp).then(|| seccomp::compile(Network::Private)),
                identity: if on(Layer::CommandId) {
                    Identity::Nested
                } else {
                    Identity::Kept
                },
                pid1: on(Layer::PidNamespace),
                memory_bytes: Some(limits.memory_bytes),
                off: self.layers_off.clone(),
            },
        }
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        let launcher = self
            .launcher
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // The end of its socket ends the launcher and every jail; wait so that
        // nothing outlives us.
        let _ = nix::sys::socket::shutdown(launcher.0.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if launcher.1.wait().is_ok_and(|status| status.success()) {
            return;
        }
        // Somebody killed it, and by that its jails: what it answered for is ours to put away.
        let give_up = Instant::now() + GONE;
        while cgroup::remove_stale() > 0 && Instant::now() < give_up {
            std::thread::sleep(LOOK);
        }
    }
}

/// A jail as the launcher made it.
struct Built {
    bounds: Bounds,
    landlock_abi: u32,
    pidfd: OwnedFd,
}

async fn launched(reply: OwnedFd) -> Result<Built, Unbuilt> {
    let gone = |why: &str| Unbuilt::Other(SandboxError::Gone(format!("jail launcher: {why}")));
    crate::sandbox::output::nonblocking(reply.as_fd()).map_err(|e| gone(&e.to_string()))?;
    let reply = crate::sandbox::output::async_fd(reply).map_err(|e| gone(&e.to_string()))?;
    let answer = async {
        loop {
            let mut ready = reply.readable().await.map_err(|e| gone(&e.to_string()))?;
            match wire::recv::<Launched>(reply.as_fd()) {
                Ok((Launched::Built { bounds, landlock_abi }, fds)) => {
                    let pidfd = fds.into_iter().next().ok_or_else(|| gone("no pidfd came"))?;
                    return Ok(Built {
                        bounds,
                        landlock_abi,
                        pidfd,
                    });
                }
                Ok((Launched::Failed { step, errno }, _)) => return Err(Unbuilt::Step { step, errno }),
                Err(FrameError::WouldBlock) => ready.clear_ready(),
                Err(why) => return Err(gone(&why.to_string())),
            }
        }
    };
    tokio::time::timeout(BUILD, answer)
        .await
        .unwrap_or_else(|_| Err(gone("it did not answer in time")))
}

/// Init's pidfd. What lies in the scratch directory is its owner's to remove.
struct JailTeardown(OwnedFd);

impl Teardown for JailTeardown {
    fn kill(&mut self) {
        // SAFETY: numbers and a null siginfo (pidfd_send_signal(2)); the
        // descriptor names init itself, never a recycled pid.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
    }

    fn finish(&mut self) -> Result<(), SandboxError> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(GONE).unwrap_or(PollTimeout::MAX);
        // init is readable once its whole pid namespace is gone (pid_namespaces(7)).
        if poll(&mut fds, timeout).unwrap_or(0) == 0 {
            return Err(SandboxError::Gone("a killed jail still lives".to_owned()));
        }
        Ok(())
    }
}
