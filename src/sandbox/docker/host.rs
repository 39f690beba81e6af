//! The host's side of a container.

use std::{
    fs,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, chown},
    },
    path::PathBuf,
    time::Duration,
};

use bollard::{
    errors::Error,
    query_parameters::{CreateContainerOptions, StartContainerOptions, WaitContainerOptions},
};
use futures_util::StreamExt;
use nix::unistd::{getegid, geteuid};
use tokio::sync::OnceCell;

use super::{
    cgroup::Cgroups,
    connection::{Engine, shown, unanswered},
    container::{self, Parts, WORK},
    door::{Arrival, Door},
    files,
    image::Image,
    label::Owner,
    reaper::Reaper,
    teardown::{ContainerTeardown, pidfd, remove},
    walls,
};
use crate::{
    policy::{GUEST_WORKSPACE, Inside, NetworkMode, Role, SandboxPlan, Tier},
    sandbox::{
        DiskCap, Layer, Premises, Sandbox, SandboxError, confine, owner,
        seccomp::{self, Network},
    },
    tree::Place,
    wire::{self, Admission, Confinement, Identity},
};

/// Longest time from a container's start to its guest's arrival.
const ARRIVAL: Duration = Duration::from_secs(60);

/// What a label's lease is longer than the guest's own, whose clock starts later: the
/// guest ends itself before anybody else may.
const MARGIN: Duration = Duration::from_secs(60);

/// How containers are made.
#[derive(Clone, Debug)]
pub struct Start {
    /// This very program, which is the guest.
    pub program: PathBuf,
    /// The image, by name or digest.
    pub image: String,
    /// A runtime of the engine other than its default.
    pub runtime: Option<String>,
}

/// Builds containers with one engine.
pub struct Docker {
    engine: Engine,
    image: Image,
    program: PathBuf,
    runtime: Option<String>,
    owner: Owner,
    /// The ids that commands run as, which are those of the workspace's files.
    ids: (u32, u32),
    /// What the image lacks for OpenCode.
    libraries: OnceCell<Vec<PathBuf>>,
    layers_off: Vec<Layer>,
    /// Kept until the last container is gone.
    _reaper: Reaper,
}

impl Docker {
    /// Looks the image up and takes stock; makes nothing.
    ///
    /// # Errors
    /// When the engine lacks the image or the runtime.
    pub async fn new(engine: Engine, start: Start) -> Result<Self, SandboxError> {
        let refused = |what: &str, why: String, remedy: String| SandboxError::Engine {
            what: what.to_owned(),
            why,
            remedy,
        };
        if let Some(runtime) = start.runtime.as_ref().filter(|r| !engine.about.runtimes.contains(r)) {
            let mut known = engine.about.runtimes.clone();
            known.sort();
            return Err(refused(
                "use a runtime",
                format!(
                    "the engine has none named `{}`",
                    crate::report::escape(runtime.as_bytes(), 100)
                ),
                format!("--docker-runtime takes one of: {}", known.join(", ")),
            ));
        }
        let ids = match owner() {
            Some(id) => (id, id),
            None => (geteuid().as_raw(), getegid().as_raw()),
        };
        if ids.0 == 0 {
            return Err(refused(
                "choose an id for commands",
                "this program is the root of a user namespace, so files of its own are the host root's for the engine"
                    .to_owned(),
                "run it outside that namespace, or with --sandbox jail".to_owned(),
            ));
        }
        if !start.program.exists() {
            return Err(refused(
                "show this program to containers",
                format!("{} is not there any more", start.program.display()),
                "it was replaced while it ran: run it anew".to_owned(),
            ));
        }
        let owner = Owner::this().ok_or_else(|| {
            let why = "/proc does not tell about this process".to_owned();
            refused("label containers", why, "mount /proc".to_owned())
        })?;
        let image = Image::find(&engine, &start.image).await?;
        let reaper = Reaper::start(&start.program).map_err(|source| SandboxError::Io {
            what: format!("start {}", start.program.display()),
            source,
        })?;
        Ok(Self {
            engine,
            image,
            program: start.program,
            runtime: start.runtime,
            owner,
            ids,
            libraries: OnceCell::new(),
            layers_off: Vec::new(),
            _reaper: reaper,
        })
    }

    /// What [`Docker::without`] can leave off, each alone. The others are an engine's own and
    /// stand together: its root, the ids that are the host's, the pid namespace (in the host's
    /// our guest would take every process for its own), and `no_new_privs`, without which an
    /// ordinary id can load neither filter nor rules.
    pub const LEAVABLE: [Layer; 13] = [
        Layer::Seccomp,
        Layer::Landlock,
        Layer::CommandId,
        Layer::NetworkNamespace,
        Layer::IpcNamespace,
        Layer::UtsNamespace,
        Layer::CgroupNamespace,
        Layer::ReadOnly,
        Layer::ProcMasks,
        Layer::Capabilities,
        Layer::Rlimits,
        Layer::Cgroup,
        Layer::Disk,
    ];

    /// Leaves layers off, those of [`Docker::LEAVABLE`]. For tests that show what each layer is
    /// worth; no flag reaches this.
    #[must_use]
    pub fn without(mut self, layers: &[Layer]) -> Self {
        let leavable = |layer: &&Layer| Self::LEAVABLE.contains(layer);
        self.layers_off = layers.iter().filter(leavable).copied().collect();
        self
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The digest of the image that containers are made of.
    pub fn image_id(&self) -> &str {
        &self.image.id
    }

    /// Builds one sandbox.
    ///
    /// # Errors
    /// The step that failed, with what the engine said of it.
    pub async fn create(&self, plan: &SandboxPlan) -> Result<Sandbox, SandboxError> {
        let scratch = &plan.workspace.scratch;
        self.prepare(plan).map_err(|source| SandboxError::Io {
            what: format!("prepare {}", scratch.display()),
            source,
        })?;
        let door = Door::open(&scratch.join("door")).map_err(|source| SandboxError::Io {
            what: "open the door for the guest".to_owned(),
            source,
        })?;
        let id = self.make(plan).await?;
        let arrival = match self.arrival(&id, &door).await {
            Ok(arrival) => arrival,
            Err(why) => {
                self.remove(&id).await;
                return Err(why);
            }
        };
        drop(door);
        self.admit(plan, id, arrival).await
    }

    /// The directories that are bound or stacked. What is removed with the run lies in
    /// `scratch` alone.
    fn prepare(&self, plan: &SandboxPlan) -> std::io::Result<()> {
        let scratch = &plan.workspace.scratch;
        fs::DirBuilder::new().recursive(true).mode(0o711).create(scratch)?;
        for name in ["upper", "work"] {
            let dir = scratch.join(name);
            fs::create_dir_all(&dir)?;
            if owner().is_some() {
                chown(&dir, Some(self.ids.0), Some(self.ids.1))?;
            }
        }
        // As in the jail, where it is made under a umask that takes nothing.
        fs::set_permissions(
            scratch.join("upper"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let asks_for_names = plan.network == NetworkMode::Allow;
        files::write(&scratch.join("etc"), self.ids.0, self.ids.1, asks_for_names)
    }

    /// Creates the container; what it lacks is looked for once.
    async fn make(&self, plan: &SandboxPlan) -> Result<String, SandboxError> {
        let libraries: &[PathBuf] = if plan.read_only.is_empty() {
            &[]
        } else {
            let labels = self.owner.labels(&plan.label, "look", "", plan.lease + MARGIN);
            let missing = || self.image.missing_libraries(&self.engine, labels);
            self.libraries.get_or_try_init(missing).await?
        };
        let text = serde_json::to_vec(plan).unwrap_or_default();
        let role = match plan.role {
            Role::Agent => "agent",
            Role::Judge => "judge",
        };
        let hash = blake3::hash(&text).to_hex();
        let parts = Parts {
            image: &self.image,
            program: &self.program,
            runtime: self.runtime.as_deref(),
            labels: self.owner.labels(&plan.label, role, &hash[..16], plan.lease + MARGIN),
            libraries,
            ids: self.ids,
            off: &self.layers_off,
        };
        let failed = |why: String, remedy: &str| SandboxError::Engine {
            what: "create a container".to_owned(),
            why,
            remedy: remedy.to_owned(),
        };
        let order = container::order(plan, parts).map_err(|why| failed(why, "see docs/docker.md"))?;
        let options = CreateContainerOptions::default();
        let made = self.engine.client.create_container(Some(options), order).await;
        made.map(|made| made.id)
            .map_err(|why| failed(shown(&why), remedy(&why)))
    }

    /// Starts it and waits for its guest.
    async fn arrival(&self, id: &str, door: &Door) -> Result<Arrival, SandboxError> {
        let failed = |why: String, remedy: &str| SandboxError::Engine {
            what: "start a container".to_owned(),
            why,
            remedy: remedy.to_owned(),
        };
        let start = self.engine.client.start_container(id, None::<StartContainerOptions>);
        let options = WaitContainerOptions {
            condition: "next-exit".to_owned(),
        };
        let mut ended = self.engine.client.wait_container(id, Some(options));
        // Its end is watched from before its beginning: one that never arrives is known at once.
        let coming = async {
            start.await.map_err(|why| failed(shown(&why), remedy(&why)))?;
            door.arrival().await.map_err(|source| SandboxError::Io {
                what: "wait for the guest".to_owned(),
                source,
            })
        };
        let arrival = async {
            tokio::select! {
                biased;
                arrival = coming => arrival,
                end = ended.next() => Err(match end {
                    Some(Err(Error::DockerContainerWaitError { code, .. })) => failed(
                        format!("its guest ended with status {code} before it arrived"),
                        "the image must be for this machine's architecture; run `opencode-fsm doctor`",
                    ),
                    Some(Err(why)) => failed(shown(&why), remedy(&why)),
                    _ => failed("its guest ended before it arrived".to_owned(), "run `opencode-fsm doctor`"),
                }),
            }
        };
        tokio::time::timeout(ARRIVAL, arrival).await.unwrap_or_else(|_| {
            Err(failed(
                "its guest did not arrive in time".to_owned(),
                "is the host overloaded?",
            ))
        })
    }

    /// Tells the guest what it is to be, and hears what it finds.
    async fn admit(&self, plan: &SandboxPlan, id: String, arrival: Arrival) -> Result<Sandbox, SandboxError> {
        let Arrival { socket, pid } = arrival;
        let io = |source| SandboxError::Io {
            what: "take over the guest's socket".to_owned(),
            source,
        };
        let cgroups = Cgroups::of(pid);
        let teardown = ContainerTeardown {
            socket: self.engine.socket.clone(),
            id,
            guest: socket.try_clone().map_err(io)?,
            pidfd: geteuid().is_root().then(|| pidfd(pid)).flatten(),
            cgroups: cgroups.clone(),
        };
        let limits = &plan.limits;
        let on = |layer| !self.layers_off.contains(&layer);
        let admission = Admission {
            confinement: Confinement {
                identity: Identity::Changed,
                uid: if on(Layer::CommandId) { self.ids.0 } else { 0 },
                gid: if on(Layer::CommandId) { self.ids.1 } else { 0 },
                workspace: GUEST_WORKSPACE.to_owned(),
                // Processes are counted by the cgroup: the id is shared with other containers.
                rlimits: if on(Layer::Rlimits) {
                    confine::rlimits(limits, None)
                } else {
                    Vec::new()
                },
                landlock: on(Layer::Landlock).then(confine::landlock_rules),
                seccomp: on(Layer::Seccomp).then(|| seccomp::compile(Network::Private)),
                pid1: true,
                memory_bytes: None,
                off: self.layers_off.clone(),
            },
            lease_ms: u64::try_from((plan.lease).as_millis()).unwrap_or(u64::MAX),
            leave_empty: WORK.to_owned(),
        };
        let sent = wire::send(socket.as_fd(), &admission, &[]);
        let premises = Premises {
            walls: crate::sandbox::WallReport {
                tier: Tier::NamespacesCgroup,
                walls: Vec::new(),
                witness: None,
            },
            inside: Inside::private().with_door(plan.network, self.image.certificates, false),
            place: Place::Overlay(plan.workspace.scratch.join("upper")),
            disk: on(Layer::Disk).then(|| DiskCap {
                dir: plan.workspace.scratch.join("upper"),
                max_bytes: plan.workspace.max_bytes,
                max_inodes: plan.workspace.max_inodes,
            }),
            oom_events: cgroups.oom_events.clone(),
            fork_events: cgroups.fork_events.clone(),
        };
        let (mut sandbox, hello) = Sandbox::connect(socket, premises, Box::new(teardown)).await?;
        sent.map_err(|why| SandboxError::Gone(why.to_string()))?;
        let missing = walls::missing(&hello);
        if !missing.is_empty() && self.layers_off.is_empty() {
            sandbox.destroy().await?;
            return Err(SandboxError::Engine {
                what: "build the walls".to_owned(),
                why: missing.join("; "),
                remedy: "the engine left out what was asked for: see docs/docker.md, or use --sandbox jail".to_owned(),
            });
        }
        let mut report = walls::report(
            &hello,
            &self.engine.about,
            &self.image.id,
            limits.cpu.is_some(),
            cgroups.seen(),
        );
        walls::leave_off(&mut report, &self.layers_off);
        sandbox.set_walls(report);
        Ok(sandbox)
    }

    /// Removes a container whose guest never came.
    async fn remove(&self, id: &str) {
        // What cannot be removed now is found by its label later.
        let _ = remove(&self.engine.client, id).await;
    }
}

/// What to do about an engine's refusal.
fn remedy(why: &Error) -> &'static str {
    let said = why.to_string();
    if unanswered(why) {
        "start the engine again (systemctl start docker), then run anew; `opencode-fsm gc` removes what it has left"
    } else if said.contains("overlay") || said.contains("failed to mount local volume") {
        "the engine could not mount the workspace: the cache must lie on a file system that can hold an overlay upper \
         (ext4, xfs, btrfs, tmpfs; Linux 5.11 or later): set XDG_CACHE_HOME to a directory on one"
    } else if said.contains("bind source path does not exist") {
        "the engine does not see this machine's files: is it one of another machine or container?"
    } else {
        "see the engine's log, or use --sandbox jail"
    }
}
