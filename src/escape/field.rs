//! Where attempts are made: sandboxes of one back end, canaries and bait.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::Duration,
};

use super::{
    Tried,
    attempt::Place,
    bait::{Bait, State, probe},
};
use crate::{
    policy::{LEASE, Limits, NetworkMode, ReadOnlyMount, Role as SandboxRole, SandboxPlan, Tier, WorkspacePlan},
    probe::{Answer, Ground, Layer, Marks, Role},
    sandbox::{Attribution, Backend, ExecOutcome, ExecSpec, Running, Sandbox, SandboxError, owner},
    tree::{Cache, Checkpoint, CopyLimits, Pristine},
    wire::{Argv, Termination},
};

/// Where the probe and the read-only piece show inside.
const PROBE: &str = "/opt/opencode-fsm/probe";
const PIECE: &str = "/opt/opencode-fsm/piece";
/// Longest time of one act.
const LONGEST: Duration = Duration::from_secs(10);
/// Longest time of a control outside.
const OUTSIDE: Duration = Duration::from_secs(60);
/// Bytes of an act's output that are kept.
const OUTPUT: usize = 16 << 10;

/// Caps of [`Place::Small`].
pub(super) mod small {
    pub const MEMORY: u64 = 96 << 20;
    pub const PROCESSES: u64 = 48;
    pub const OPEN_FILES: u64 = 200;
    pub const FILE: u64 = 16 << 20;
    pub const SCRATCH: u64 = 12 << 20;
    pub const INODES: u64 = 600;
    pub const DISK: u64 = 24 << 20;
}

/// The ground of all attempts on one back end.
pub struct Field {
    pub(super) tried: Tried,
    program: PathBuf,
    pub(super) pristine: Pristine,
    pub(super) start: Checkpoint,
    usual: Sandbox,
    small: Sandbox,
    slow: Sandbox,
    canaries: Mutex<Bait>,
    pub(super) bait: Bait,
    /// A directory of the controls' own.
    pub(super) own: PathBuf,
    serial: Mutex<u64>,
    backend: Backend,
    /// Goes last, with all that is in it.
    pub(super) dir: tempfile::TempDir,
}

impl Field {
    /// Lays out canaries and bait and builds the sandboxes. `program` is this very program,
    /// `dir` a directory to which every user may pass through.
    ///
    /// # Errors
    /// What could not be laid out, or built.
    pub async fn new(tried: Tried, backend: Backend, program: &Path, dir: &Path) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Io {
            what: "lay out what is to be reached".to_owned(),
            source,
        };
        let dir = tempfile::Builder::new()
            .prefix("escape-")
            .permissions(Permissions::from_mode(0o711))
            .tempdir_in(dir)
            .map_err(failed)?;
        let at = |name: &str| dir.path().join(name);
        let canaries = Bait::lay(&at("canaries"), program).map_err(failed)?;
        let bait = Bait::lay(&at("bait"), program).map_err(failed)?;
        let own = at("own");
        fs::create_dir(&own).map_err(failed)?;
        let pristine = pristine(&at("target"), &at("cache")).map_err(failed)?;
        let start = Checkpoint::empty(&at("start")).map_err(|why| failed(io::Error::other(why)))?;
        let plan = |name: &str, limits: Limits, disk: u64| SandboxPlan {
            label: format!("escape-{}-{name}", std::process::id()),
            role: SandboxRole::Judge,
            workspace: WorkspacePlan {
                lowers: pristine.roots.clone(),
                scratch: dir.path().join(name),
                max_bytes: disk,
                max_inodes: 10_000,
            },
            read_only: vec![
                ReadOnlyMount {
                    host: program.to_path_buf(),
                    guest: PROBE.into(),
                },
                ReadOnlyMount {
                    host: canaries.dir.join("piece"),
                    guest: PIECE.into(),
                },
            ],
            limits,
            min_tier: if tried == Tried::Landlock {
                Tier::Landlock
            } else {
                Tier::Namespaces
            },
            lease: LEASE,
            network: NetworkMode::None,
        };
        let usual = Limits {
            memory_bytes: 1 << 30,
            scratch_bytes: 64 << 20,
            ..Limits::default()
        };
        let tight = Limits {
            memory_bytes: small::MEMORY,
            // Without namespaces all that the id runs on this host counts, others' included.
            processes: match tried {
                Tried::Landlock => 8 * small::PROCESSES,
                Tried::Jail | Tried::Docker => small::PROCESSES,
            },
            open_files: small::OPEN_FILES,
            file_bytes: small::FILE,
            scratch_bytes: small::SCRATCH,
            scratch_inodes: small::INODES,
            ..Limits::default()
        };
        let starved = Limits {
            cpu: Some(50),
            ..usual.clone()
        };
        let [usual, small, slow] = [
            plan("usual", usual, 256 << 20),
            plan("small", tight, small::DISK),
            plan("slow", starved, 256 << 20),
        ];
        Ok(Self {
            usual: backend.create(&usual).await?,
            small: backend.create(&small).await?,
            slow: backend.create(&slow).await?,
            tried,
            program: program.to_path_buf(),
            pristine,
            start,
            canaries: Mutex::new(canaries),
            bait,
            own,
            serial: Mutex::new(0),
            backend,
            dir,
        })
    }

    /// Ends the sandboxes.
    ///
    /// # Errors
    /// What could not be ended.
    pub async fn leave(self) -> Result<(), SandboxError> {
        let Self {
            usual,
            small,
            slow,
            backend,
            dir,
            ..
        } = self;
        for sandbox in [usual, small, slow] {
            sandbox.destroy().await?;
        }
        drop(backend);
        // What sandboxes leave can be closed or deep.
        let _ = crate::tree::remove_all(dir.path());
        Ok(())
    }

    /// The walls of its sandboxes.
    pub fn walls(&self) -> &crate::sandbox::WallReport {
        self.usual.walls()
    }

    pub(super) fn sandbox(&self, place: Place) -> &Sandbox {
        match place {
            Place::Usual => &self.usual,
            Place::Small => &self.small,
            Place::Slow => &self.slow,
        }
    }

    /// What an act inside is told: the canaries.
    pub(super) fn marks(&self, place: Place, amount: u64) -> Marks {
        let inside = self.sandbox(place).inside();
        let canaries = self.canaries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Marks {
            piece: inside.piece(PIECE),
            own: inside.tmp.clone(),
            amount,
            ..canaries.marks()
        }
    }

    /// What a control is told: the bait, for which its supervisor is a process of its own kind.
    pub(super) fn bait_marks(&self, amount: u64) -> Marks {
        let marks = self.bait.marks();
        Marks {
            supervisor: marks.pid,
            own: self.own.to_string_lossy().into_owned(),
            amount,
            ..marks
        }
    }

    pub(super) fn canaries(&self) -> Result<State, SandboxError> {
        let mut canaries = self.canaries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        canaries.state().map_err(|source| SandboxError::Io {
            what: "look after the canaries".to_owned(),
            source,
        })
    }

    /// A name below the field that nobody has yet.
    pub(super) fn fresh(&self, name: &str) -> PathBuf {
        let mut serial = self.serial.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *serial += 1;
        self.dir.path().join(format!("{name}-{serial}"))
    }

    /// An act as a command of a sandbox.
    pub(super) fn spec(&self, place: Place, act: &str, marks: Marks) -> ExecSpec {
        let inside = self.sandbox(place).inside();
        let role = Role {
            act: act.to_owned(),
            ground: Ground::Here,
            marks,
        };
        let argv = Argv::Direct(vec![
            inside.piece(PROBE),
            "escape-probe".to_owned(),
            serde_json::to_string(&role).unwrap_or_default(),
        ]);
        let mut spec = ExecSpec::question(argv, &inside.workspace, LONGEST, OUTPUT);
        spec.env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        spec
    }

    /// Starts an act.
    pub(super) async fn start(&self, place: Place, act: &str, marks: Marks) -> Result<Running, SandboxError> {
        self.sandbox(place).exec(self.spec(place, act, marks)).await
    }

    /// Tries an act inside, to its end.
    pub(super) async fn inside(&self, place: Place, act: &str, marks: Marks) -> Result<ExecOutcome, SandboxError> {
        self.start(place, act, marks).await?.wait().await
    }

    /// Tries it outside, as this program's own user.
    pub(super) async fn outside(&self, act: &str, ground: Ground, marks: Marks) -> io::Result<Answer> {
        let role = Role {
            act: act.to_owned(),
            ground,
            marks,
        };
        let mut command = probe(&self.program, &role);
        command.stdout(Stdio::piped()).current_dir(&self.own);
        let token = &self.bait.token;
        command.env("OPENCODE_FSM_BAIT", token);
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
        let output = tokio::time::timeout(OUTSIDE, child.wait_with_output())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        answer(&output.stdout).ok_or_else(|| io::Error::other(format!("it ended as {}", output.status)))
    }

    /// A probe of an act outside, to be started and looked after.
    pub(super) fn outside_command(&self, act: &str, marks: Marks) -> std::process::Command {
        let role = Role {
            act: act.to_owned(),
            ground: Ground::Here,
            marks,
        };
        let mut command = probe(&self.program, &role);
        command.current_dir(&self.own);
        command
    }
}

/// The target of all sandboxes: a repository with a contract, and something under version control.
fn pristine(target: &Path, cache: &Path) -> io::Result<Pristine> {
    for (path, text) in [
        ("pipeline.yml", "version: 1\ntests: {cmd: 'true'}\n"),
        ("source.txt", "source\n"),
        (".aider_fsm/stages/tests.sh", "exit 0\n"),
        ("sub/file", "below\n"),
    ] {
        let path = target.join(path);
        fs::create_dir_all(path.parent().unwrap_or(target))?;
        fs::write(path, text)?;
    }
    let failed = |why: crate::tree::TreeError| io::Error::other(why);
    let cache = Cache::open(cache, owner().map(|id| (id, id))).map_err(failed)?;
    let bounds = CopyLimits {
        max_files: 1000,
        max_bytes: 1 << 20,
    };
    cache.pristine(target, &bounds, &|_, _| {}).map_err(failed)
}

/// The last line of a probe's output.
pub(super) fn answer(output: &[u8]) -> Option<Answer> {
    let text = output.trim_ascii_end();
    let last = text.rsplit(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(last).ok()
}

/// What became of an act inside: what it said, or what ended it before it could.
///
/// # Errors
/// An end that no wall brought about, in one line.
pub(super) fn outcome_of(outcome: &ExecOutcome) -> Result<Answer, String> {
    if let Some(answer) = answer(&outcome.stdout.tail) {
        return Ok(answer);
    }
    let layers = outcome.denied.iter().map(|denied| denied.by);
    let by = layers.into_iter().find_map(|by| match by {
        Attribution::Layer(Layer::Record) | Attribution::Unattributed => None,
        Attribution::Layer(layer) => Some(layer),
    });
    match outcome.end {
        // A filter kills by it; nothing else of a probe's ends so.
        Termination::Signal(libc::SIGSYS) => Ok(Answer::Refused { errno: 0, by }),
        _ if by.is_some() => Ok(Answer::Refused { errno: 0, by }),
        end => Err(format!("the probe said nothing, and ended as {end:?}")),
    }
}
