//! The host's side of the jail.
#![allow(unsafe_code)]

use std::{
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::chown, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::resource::{Resource, getrlimit},
    unistd::geteuid,
};

use super::spec::{JAIL_UID, JailSpec, Launched};
use crate::{
    policy::{GUEST_GID, GUEST_HOME, GUEST_UID, GUEST_WORKSPACE, SandboxPlan, Tier},
    sandbox::{
        DiskCap, Sandbox, SandboxError, Wall, WallReport, WallState,
        guest_link::Teardown,
        seccomp::{self, Network},
    },
    wire::{self, Confinement, FrameError, LandlockRules, PathAccess, Rlimit},
};

/// Longest time that building a jail may take.
const BUILD: Duration = Duration::from_secs(30);
/// Longest time that a killed jail may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// Builds jails. One launcher serves a whole process: it owns the
/// single-threaded helper that clones namespaces, and dies with it.
pub struct Jail {
    launcher: Mutex<(OwnedFd, Child)>,
    layers_off: Vec<Layer>,
}

/// A layer that a test may leave off, to show that the others hold alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The landlock rules.
    Landlock,
    /// The seccomp filter.
    Seccomp,
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

    /// Builds one sandbox.
    ///
    /// # Errors
    /// [`SandboxError::TierTooLow`], or the step that failed.
    pub async fn create(&self, plan: &SandboxPlan) -> Result<Sandbox, SandboxError> {
        let scratch = &plan.workspace.scratch;
        let io = |source| SandboxError::Io {
            what: format!("prepare {}", scratch.display()),
            source,
        };
        for name in ["upper", "work"] {
            let dir = scratch.join(name);
            std::fs::create_dir_all(&dir).map_err(io)?;
            if geteuid().is_root() {
                chown(&dir, Some(JAIL_UID), Some(JAIL_UID)).map_err(io)?;
            }
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
        let (cgroups, pidfd) = launched(reply).await?;
        let report = report(&spec, &cgroups, plan);
        let teardown = JailTeardown {
            pidfd,
            work: scratch.join("work"),
        };
        if report.tier < plan.min_tier {
            let why = "no cgroup controller could be used: run as root, or have a cgroup delegated".to_owned();
            return Err(SandboxError::TierTooLow {
                got: report.tier,
                wanted: plan.min_tier,
                why,
            });
        }
        let disk = DiskCap {
            dir: scratch.join("upper"),
            max_bytes: plan.workspace.max_bytes,
            max_inodes: plan.workspace.max_inodes,
        };
        Sandbox::connect(guest, report, Some(disk), Box::new(teardown)).await
    }

    fn compile(&self, plan: &SandboxPlan) -> JailSpec {
        let limits = &plan.limits;
        let hard = |resource: Resource, value: u64| {
            // A limit can only be lowered: a stricter one of the host stays.
            getrlimit(resource).map_or(value, |(_, hard)| value.min(hard))
        };
        let mut rlimits = vec![
            (Resource::RLIMIT_NPROC, limits.processes),
            (Resource::RLIMIT_NOFILE, limits.open_files),
            (Resource::RLIMIT_FSIZE, limits.file_bytes),
            (Resource::RLIMIT_CORE, 0),
        ];
        rlimits.extend(limits.address_space_bytes.map(|bytes| (Resource::RLIMIT_AS, bytes)));
        let on = |layer| !self.layers_off.contains(&layer);
        JailSpec {
            label: plan.label.clone(),
            lowers: plan.workspace.lowers.clone(),
            scratch: plan.workspace.scratch.clone(),
            read_only: plan
                .read_only
                .iter()
                .map(|m| (m.host.clone(), m.guest.clone()))
                .collect(),
            scratch_bytes: limits.scratch_bytes,
            scratch_inodes: limits.scratch_inodes,
            memory_bytes: limits.memory_bytes,
            processes: limits.processes,
            cpu_millis: limits.cpu,
            confinement: Confinement {
                uid: GUEST_UID,
                gid: GUEST_GID,
                workspace: GUEST_WORKSPACE.to_owned(),
                rlimits: rlimits
                    .into_iter()
                    .map(|(resource, value)| Rlimit {
                        resource: resource as u32,
                        value: hard(resource, value),
                    })
                    .collect(),
                landlock: on(Layer::Landlock).then(landlock_rules),
                seccomp: on(Layer::Seccomp).then(|| seccomp::compile(Network::Private)),
                nested_userns: true,
                pid1: true,
                memory_bytes: Some(limits.memory_bytes),
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
        let _ = launcher.1.wait();
    }
}

fn landlock_rules() -> LandlockRules {
    let mut paths = vec![("/".to_owned(), PathAccess::ReadExecute)];
    for path in [GUEST_WORKSPACE, GUEST_HOME, "/tmp", "/run", "/dev/shm"] {
        paths.push((path.to_owned(), PathAccess::ReadWrite));
    }
    for path in ["/dev", "/proc"] {
        paths.push((path.to_owned(), PathAccess::Device));
    }
    // ABI 3 is the first that mediates truncation (landlock(7)).
    LandlockRules {
        paths,
        min_abi: 3,
        ..LandlockRules::default()
    }
}

async fn launched(reply: OwnedFd) -> Result<(Vec<String>, OwnedFd), SandboxError> {
    let gone = |why: &str| SandboxError::Gone(format!("jail launcher: {why}"));
    crate::sandbox::exec::nonblocking(reply.as_fd()).map_err(|e| gone(&e.to_string()))?;
    let reply = crate::sandbox::exec::async_fd(reply).map_err(|e| gone(&e.to_string()))?;
    let answer = async {
        loop {
            let mut ready = reply.readable().await.map_err(|e| gone(&e.to_string()))?;
            match wire::recv::<Launched>(reply.as_fd()) {
                Ok((Launched::Built { cgroups }, fds)) => {
                    let pidfd = fds.into_iter().next().ok_or_else(|| gone("no pidfd came"))?;
                    return Ok((cgroups, pidfd));
                }
                Ok((Launched::Failed { step, errno }, _)) => {
                    let source = std::io::Error::from_raw_os_error(errno);
                    let remedy = remedy(&step, errno);
                    return Err(SandboxError::Build { step, source, remedy });
                }
                Err(FrameError::WouldBlock) => ready.clear_ready(),
                Err(why) => return Err(gone(&why.to_string())),
            }
        }
    };
    tokio::time::timeout(BUILD, answer)
        .await
        .unwrap_or_else(|_| Err(gone("it did not answer in time")))
}

/// What a person can do about a step that failed.
pub(super) fn remedy(step: &str, errno: i32) -> String {
    match (step, errno) {
        ("unshare namespaces", libc::ENOSPC) => {
            "user namespaces are switched off: raise the sysctl user.max_user_namespaces".to_owned()
        }
        ("unshare namespaces", _) => "user namespaces are forbidden here: allow them \
             (sysctl kernel.unprivileged_userns_clone=1 or kernel.apparmor_restrict_unprivileged_userns=0), \
             or run outside the container that forbids them"
            .to_owned(),
        ("mount /proc", libc::EPERM) => "an outer container masks /proc: run it with an unmasked /proc".to_owned(),
        ("mount the workspace overlay", _) => {
            "the scratch directory must lie on a file system that can hold an overlay upper (ext4, xfs, btrfs, tmpfs); \
             set XDG_STATE_HOME to one"
                .to_owned()
        }
        _ => "run `opencode-fsm doctor`".to_owned(),
    }
}

fn report(spec: &JailSpec, cgroups: &[String], plan: &SandboxPlan) -> WallReport {
    let wall = |name: &str, state| Wall {
        name: name.to_owned(),
        state,
    };
    let mut walls = vec![
        wall(
            "namespaces: user, mount, pid, network, ipc, uts, cgroup",
            WallState::Enforced,
        ),
        wall(
            "read-only root of host pieces, own /proc, /dev, /tmp, home",
            WallState::Enforced,
        ),
        wall("workspace overlay", WallState::Enforced),
        wall(
            "capabilities dropped, no_new_privs, nested user namespace",
            WallState::Enforced,
        ),
        wall("rlimits", WallState::Enforced),
    ];
    for (name, on) in [
        ("landlock", spec.confinement.landlock.is_some()),
        ("seccomp", spec.confinement.seccomp.is_some()),
    ] {
        let off = || WallState::Absent("left off by the caller".to_owned());
        walls.push(wall(name, if on { WallState::Enforced } else { off() }));
    }
    for (controller, instead) in [
        ("memory", "each stage's private memory is polled by its supervisor"),
        ("pids", "RLIMIT_NPROC of the jail's user namespace bounds it"),
    ] {
        let state = if cgroups.iter().any(|c| c == controller) {
            WallState::Enforced
        } else {
            WallState::Degraded(format!("no cgroup: {instead}"))
        };
        walls.push(wall(&format!("cgroup {controller}"), state));
    }
    if plan.limits.cpu.is_some() && !cgroups.iter().any(|c| c == "cpu") {
        walls.push(wall("cgroup cpu", WallState::Absent("no cgroup".to_owned())));
    }
    walls.push(wall(
        "disk",
        WallState::Degraded("the workspace layer is polled every 200 ms".to_owned()),
    ));
    let both = ["memory", "pids"].iter().all(|c| cgroups.iter().any(|have| have == c));
    WallReport {
        tier: if both { Tier::NamespacesCgroup } else { Tier::Namespaces },
        walls,
    }
}

struct JailTeardown {
    pidfd: OwnedFd,
    work: PathBuf,
}

impl Teardown for JailTeardown {
    fn kill(&mut self) {
        // SAFETY: numbers and a null siginfo (pidfd_send_signal(2)); the
        // descriptor names init itself, never a recycled pid.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
    }

    fn finish(&mut self) -> Result<(), SandboxError> {
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(GONE).unwrap_or(PollTimeout::MAX);
        // init is readable once its whole pid namespace is gone (pid_namespaces(7)).
        if poll(&mut fds, timeout).unwrap_or(0) == 0 {
            return Err(SandboxError::Gone("a killed jail still lives".to_owned()));
        }
        crate::tree::remove_all(&self.work).map_err(|e| SandboxError::Io {
            what: "remove the overlay's work directory".to_owned(),
            source: std::io::Error::other(e),
        })
    }
}
