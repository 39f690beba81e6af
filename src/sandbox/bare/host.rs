//! The host's side of a sandbox without namespaces.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, MetadataExt, chown, symlink},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::socket::{Shutdown, shutdown};

use super::{guest::Start, rules, walls};
use crate::{
    guest::landlock_abi,
    policy::{CERTIFICATES, Inside, NetworkMode, Proxy, SandboxPlan, Tier},
    sandbox::{
        DiskCap, Premises, Sandbox, SandboxError, confine,
        guest_link::Teardown,
        owner,
        seccomp::{self, Network},
    },
    tree::{self, Place},
    wire::{self, Confinement, Identity},
};

/// Longest time that a sandbox may take to be gone: the guest's own patience, and some.
const GONE: Duration = Duration::from_secs(15);

/// Builds sandboxes without namespaces.
pub struct Bare {
    program: PathBuf,
    /// What the kernel did not give.
    refusal: String,
}

impl Bare {
    /// `refusal`: why it is not the jail that is built, for the report.
    #[must_use]
    pub fn new(refusal: &str) -> Self {
        Self::with_program(Path::new("/proc/self/exe"), refusal)
    }

    /// With another copy of the program as the guest (tests).
    #[must_use]
    pub fn with_program(program: &Path, refusal: &str) -> Self {
        Self {
            program: program.to_path_buf(),
            refusal: refusal.to_owned(),
        }
    }

    /// Why it is not the jail that is built.
    pub fn refusal(&self) -> &str {
        &self.refusal
    }

    /// Builds one sandbox: the copy of the layers, its private directories, the guest.
    ///
    /// # Errors
    /// [`SandboxError::TierTooLow`] where more is demanded, [`SandboxError::Build`] where
    /// the kernel's landlock does not mediate enough, or the step that failed.
    pub async fn create(&self, plan: &SandboxPlan) -> Result<Sandbox, SandboxError> {
        if plan.min_tier > Tier::Landlock {
            return Err(SandboxError::TierTooLow {
                got: Tier::Landlock,
                wanted: plan.min_tier,
                why: self.refusal.clone(),
                remedy: "run `opencode-fsm doctor`, or accept the weaker walls by name with --min-tier landlock"
                    .to_owned(),
            });
        }
        let abi = landlock_abi();
        if abi < rules::MIN_ABI {
            return Err(SandboxError::Build {
                step: format!("landlock (ABI {abi})"),
                source: io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("tier `landlock` stands on ABI {}", rules::MIN_ABI),
                ),
                remedy: "boot Linux 6.12 or later with landlock among the security modules, or allow user namespaces"
                    .to_owned(),
            });
        }
        passable(&plan.workspace.scratch)?;
        let laid = plan.clone();
        let inside = tokio::task::spawn_blocking(move || furnish(&laid))
            .await
            .unwrap_or_else(|why| Err(SandboxError::Gone(why.to_string())))?;
        let scratch = &plan.workspace.scratch;
        let io = |source| SandboxError::Io {
            what: format!("measure {}", scratch.display()),
            source,
        };
        let (bytes, inodes) = tree::usage(scratch, u64::MAX).map_err(|why| io(io::Error::other(why)))?;
        let limits = &plan.limits;
        // Home and /tmp, which are file systems of their own elsewhere, count as well.
        let disk = DiskCap {
            dir: scratch.clone(),
            max_bytes: bytes + plan.workspace.max_bytes + 2 * limits.scratch_bytes,
            max_inodes: inodes + plan.workspace.max_inodes + 2 * limits.scratch_inodes,
        };
        let others = tasks_of(owner().unwrap_or_else(|| nix::unistd::getuid().as_raw()));
        let start = Start {
            confinement: Confinement {
                identity: Identity::Kept,
                uid: 0,
                gid: 0,
                workspace: inside.workspace.clone(),
                rlimits: confine::rlimits(limits, Some(limits.processes + others)),
                landlock: Some(rules::of(plan, &inside)),
                seccomp: Some(seccomp::compile(Network::Shared)),
                pid1: false,
                memory_bytes: Some(limits.memory_bytes),
                off: Vec::new(),
            },
            owner: owner(),
        };
        let (socket, guest) = self.start(&start)?;
        let premises = Premises {
            walls: walls::report(plan, &self.refusal, others),
            place: Place::Copy(PathBuf::from(&inside.workspace)),
            inside,
            disk: Some(disk),
            oom_events: None,
            fork_events: None,
        };
        let (sandbox, _) = Sandbox::connect(socket, premises, Box::new(guest)).await?;
        Ok(sandbox)
    }

    /// Starts the guest from this very program.
    fn start(&self, start: &Start) -> Result<(OwnedFd, BareTeardown), SandboxError> {
        let io = |source| SandboxError::Io {
            what: "start the guest".to_owned(),
            source,
        };
        let (ours, theirs) = wire::pair().map_err(io)?;
        let child = Command::new(&self.program)
            .arg0("opencode-fsm")
            .arg("guest-bare")
            .env_clear()
            .current_dir("/")
            // Ctrl-C on the terminal is the host's to answer.
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io)?;
        let guest = BareTeardown {
            socket: ours.try_clone().map_err(io)?,
            guest: child,
        };
        wire::send(ours.as_fd(), start, &[]).map_err(|why| SandboxError::Gone(format!("guest: {why}")))?;
        Ok((ours, guest))
    }
}

/// Commands of another user than ours have to get to their directories by themselves.
fn passable(scratch: &Path) -> Result<(), SandboxError> {
    let closed = |dir: &&Path| fs::metadata(dir).is_ok_and(|meta| meta.mode() & 0o001 == 0);
    match scratch.ancestors().skip(1).find(closed) {
        Some(dir) if owner().is_some() => Err(SandboxError::Build {
            step: format!("pass through {}", dir.display()),
            source: io::ErrorKind::PermissionDenied.into(),
            remedy: "set XDG_CACHE_HOME to a directory to which every user may pass through (chmod o+x)".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Makes the sandbox's directories in its scratch directory.
fn furnish(plan: &SandboxPlan) -> Result<Inside, SandboxError> {
    let scratch = &plan.workspace.scratch;
    let io = |source| SandboxError::Io {
        what: format!("prepare {}", scratch.display()),
        source,
    };
    let owner = owner();
    let make = |dir: &Path, mode: u32, owner: Option<u32>| {
        fs::DirBuilder::new().recursive(true).mode(mode).create(dir)?;
        chown(dir, owner, owner)
    };
    // Others pass through and see nothing.
    make(scratch, 0o711, None).map_err(io)?;
    let tree = scratch.join("tree");
    let (home, tmp, pieces) = (scratch.join("home"), scratch.join("tmp"), scratch.join("pieces"));
    for dir in [&home, &tmp] {
        make(dir, 0o700, owner).map_err(io)?;
    }
    for piece in &plan.read_only {
        let place = pieces.join(piece.guest.strip_prefix("/").unwrap_or(&piece.guest));
        make(place.parent().unwrap_or(&pieces), 0o755, None).map_err(io)?;
        symlink(&piece.host, &place).map_err(io)?;
    }
    tree::lay_copy(&plan.workspace.lowers, &tree, owner.map(|id| (id, id))).map_err(|why| io(io::Error::other(why)))?;
    let text = |path: PathBuf| {
        path.into_os_string()
            .into_string()
            .map_err(|path| io(io::Error::other(format!("{} is not UTF-8", path.display()))))
    };
    let [server_port, model_port, proxy_port] = free_ports().map_err(io)?;
    // Others of this host can connect to it as well.
    let proxy = (plan.network == NetworkMode::Allow).then(|| Proxy {
        port: proxy_port,
        key: Some(uuid::Uuid::new_v4().simple().to_string()),
        certificates: Path::new(CERTIFICATES).exists(),
        tapped: false,
    });
    Ok(Inside {
        workspace: text(tree)?,
        home: text(home)?,
        tmp: text(tmp)?,
        pieces: text(pieces)?,
        server_port,
        model_port,
        proxy,
    })
}

/// Ports of the loopback that nobody has. Who takes one before the sandbox does
/// makes it fail to listen, and gains nothing: no door opens without a secret.
fn free_ports() -> io::Result<[u16; 3]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [listen()?, listen()?, listen()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Tasks of a user on this host, which all count for his `RLIMIT_NPROC`.
fn tasks_of(uid: u32) -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == uid))
        .filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok())
        .filter_map(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Threads:"))?;
            line.trim().parse::<u64>().ok()
        })
        .sum()
}

/// The guest, which ends everything inside when its socket ends.
struct BareTeardown {
    socket: OwnedFd,
    guest: Child,
}

impl Teardown for BareTeardown {
    fn kill(&mut self) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }

    fn finish(&mut self) -> Result<(), SandboxError> {
        let give_up = Instant::now() + GONE;
        while Instant::now() < give_up {
            if self.guest.try_wait().is_ok_and(|ended| ended.is_some()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.guest.kill();
        let _ = self.guest.wait();
        Err(SandboxError::Gone(
            "a sandbox's supervisor did not end in time".to_owned(),
        ))
    }
}
