//! The vocabulary of the wire.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::probe;
use crate::{
    dataset::RowsAsk,
    names::RelPath,
    probe::{Layer, Marks},
};

/// Version of this protocol; both ends are the same binary, so only equality is accepted.
pub const PROTOCOL: u32 = 1;

/// The step of a [`Reply::Failed`] that says something of the paths of a [`Request::Get`].
pub const GET: &str = "write the stream";

/// What the host asks of the guest. Descriptors attached are named in each doc.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Run a command. Descriptors: control socket, stdin, stdout, stderr.
    /// [`Reply::Done`] once the stage supervisor is forked; all else comes over the control socket.
    Exec(Box<ExecRequest>),
    /// Bind and listen on 127.0.0.1:`port` inside (0 picks one); answered by
    /// [`Reply::Listening`] with the socket attached.
    Listen { port: u16 },
    /// Bind a datagram socket to 127.0.0.1:`port` inside; answered by [`Reply::Done`] with
    /// it attached.
    Datagrams { port: u16 },
    /// Lead every address to the loopback, and show what is sent there: answered by
    /// [`Reply::Done`] with a packet socket attached. A jail's guest can.
    Tap,
    /// Whose socket of the inside's loopback this is; answered by [`Reply::Peer`].
    Peer(Connection),
    /// A fresh, unconnected, non-blocking TCP socket of the inside's network; answered by [`Reply::Done`] with it attached.
    Socket,
    /// Stop (`SIGSTOP`) every process inside but the supervisors.
    Freeze,
    /// Continue them.
    Thaw,
    /// Kill every process inside that belongs to no stage named in `keep`, and
    /// within those every process but the main one when `mains_only`.
    Sweep { keep: Vec<u64>, mains_only: bool },
    /// Change the workspace as its owner: first the removals, then an
    /// uncompressed tar stream read from the attached descriptor (files,
    /// directories, symlinks; nothing is followed).
    Put { removals: Vec<Removal> },
    /// Write the named paths below the workspace (all of it when empty) as an
    /// uncompressed tar stream to the attached descriptor.
    Get { paths: Vec<RelPath> },
    /// Kill everything and exit.
    Shutdown,
}

/// One path to remove, recursively, without following links.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// The path below the workspace.
    pub path: RelPath,
}

/// The guest's answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// The guest's first frame, unasked: it serves.
    Hello(Hello),
    /// It was done; a socket is attached where the request says so.
    Done,
    /// Answer to [`Request::Listen`]; the listening socket is attached.
    Listening { port: u16 },
    /// Answer to [`Request::Peer`]: nobody's where its process has closed it or is gone.
    Peer { found: Option<Peer> },
    /// Answer to [`Request::Sweep`].
    Swept { leaked: Vec<LeakedProcess> },
    /// It could not be done; `step` names the operation that failed.
    Failed {
        step: String,
        errno: Option<i32>,
        why: String,
    },
}

/// The far end of a connection to a door, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// TCP, else UDP.
    pub stream: bool,
    /// The port that it comes from.
    pub from: u16,
    /// The door's port; a datagram's socket need not be connected to it.
    pub to: u16,
}

/// A process inside that holds a socket. Another may hold it as well: the first that is
/// found is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its pid inside.
    pub pid: u32,
    /// Its `comm`, at most 16 bytes, lossily decoded: hostile text.
    pub comm: String,
    /// The stage whose supervisor it is below; none for what a sandbox's end has orphaned.
    pub stage: Option<u64>,
}

/// What the guest says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL`] of the guest.
    pub protocol: u32,
    /// The guest's crate version.
    pub version: String,
    /// The guest's process id as it sees it (1 in a pid namespace).
    pub pid: u32,
    /// Landlock ABI found inside; 0 is none.
    pub landlock_abi: u32,
    /// What it sees of walls that somebody else has built around it.
    pub found: Option<FoundWalls>,
}

/// The walls of a container as a process in it finds them: an engine may leave out
/// what its host cannot do, and say nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundWalls {
    /// `CapBnd` of `/proc/self/status` (capabilities(7)).
    pub bounding: u64,
    /// `Seccomp` there; 2 is a filter (seccomp(2)).
    pub seccomp: u32,
    /// `NoNewPrivs` there.
    pub no_new_privs: bool,
    /// The root file system is read-only (statvfs(3)).
    pub read_only_root: bool,
    /// Network interfaces (`/proc/net/dev`), at most 16.
    pub interfaces: Vec<String>,
}

/// The host's first and only frame to a guest that came to its door: what a jail's
/// guest is born with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    /// What every command inside is confined by.
    pub confinement: Confinement,
    /// Milliseconds after which the guest ends itself and everything inside, whatever
    /// the host says.
    pub lease_ms: u64,
    /// A directory that the guest empties at its end: the workspace overlay's work
    /// directory, which belongs to the engine's root and not to the host's user.
    pub leave_empty: String,
}

/// A program to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Argv {
    /// `sh -c SCRIPT`.
    Shell(String),
    /// A program found on the request's `PATH`, and its arguments.
    Direct(Vec<String>),
    /// No program: past its walls the process itself tries what is forbidden ([`probe::testify`])
    /// and prints what became of it, a JSON list of [`probe::Testimony`].
    Witness(Box<Marks>),
    /// No program: past its walls the process itself reads rows of a data file
    /// ([`crate::dataset::print_rows`]) and prints them; it exits 1 where it cannot, and says
    /// why on stderr.
    Rows(Box<RowsAsk>),
}

/// One command to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The host's number for this stage; unique within a sandbox.
    pub stage: u64,
    /// What to run.
    pub argv: Argv,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Working directory, absolute inside.
    pub cwd: String,
    /// Milliseconds of wall time before the tree is killed; the guest keeps it,
    /// the host keeps it too with a little grace.
    pub wall_ms: u64,
    /// What happens to processes that outlive the main one.
    pub leftovers: Leftovers,
    /// Whom it may signal.
    pub reach: Reach,
}

/// Which processes a command may signal (and whose abstract sockets it may use), where
/// landlock has scopes for that (landlock(7), ABI 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Those that it started.
    Own,
    /// Every one inside, as far as the sandbox has a pid namespace of its own. A command
    /// that uses it against its supervisor is killed.
    Sandbox,
}

/// Fate of what the main process leaves running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leftovers {
    /// Killed at once and reported as leaked.
    Kill,
    /// They live on until swept (`deploy`); the stage supervisor stays with them.
    Keep,
}

/// Host to stage supervisor, over the control socket. Its end of file means
/// that the host is gone: the tree is killed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(tag = "control", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Control {
    /// Kill the whole tree now.
    Kill,
}

/// Stage supervisor to host, over the control socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Progress {
    /// It could not be started; `step` names the wall or call that failed.
    Refused {
        step: String,
        errno: Option<i32>,
        why: String,
    },
    /// The main process ended and (under [`Leftovers::Kill`]) nothing of its tree is left.
    Ended {
        /// How the main process ended.
        end: Termination,
        /// The wall cap ended it.
        timed_out: bool,
        /// Another cap ended it: `memory`, or `killed` when the host asked.
        cap_hit: Option<String>,
        /// Resources of the whole stage.
        usage: ResourceUse,
        /// The first leftovers.
        leaked: Vec<LeakedProcess>,
        /// How many leftovers there were.
        leaked_total: u64,
    },
}

/// How a process ended (wait(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Termination {
    /// Exit status, 0 to 255.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

/// Resources of the whole stage (getrusage(2), `RUSAGE_CHILDREN` of its supervisor).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceUse {
    /// Wall time, milliseconds.
    pub wall_ms: u64,
    /// User CPU time, milliseconds.
    pub user_ms: u64,
    /// System CPU time, milliseconds.
    pub system_ms: u64,
    /// Largest resident set of one process, bytes.
    pub max_rss_bytes: u64,
}

/// A process that outlived its stage's main process (at most 32 are listed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeakedProcess {
    /// Its pid inside.
    pub pid: u32,
    /// Its `comm`, at most 16 bytes, lossily decoded: hostile text.
    pub comm: String,
}

/// What every command inside is confined by; fixed when the sandbox is made,
/// because the guest reads it before anything hostile runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// How commands come to their ids.
    pub identity: Identity,
    /// Ids that commands run as, as they see them themselves.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// The workspace, absolute inside.
    pub workspace: String,
    /// `setrlimit(2)` values.
    pub rlimits: Vec<Rlimit>,
    /// Landlock rules; `None` leaves landlock off (tests of the other layers only).
    pub landlock: Option<LandlockRules>,
    /// The seccomp program: `struct sock_filter[]` as bytes; `None` leaves it off (tests of the other layers only).
    pub seccomp: Option<Vec<u8>>,
    /// The guest is PID 1 of a pid namespace; otherwise it is a subreaper.
    pub pid1: bool,
    /// Private memory of one stage, bytes, watched by its warden where no cgroup does it.
    pub memory_bytes: Option<u64>,
    /// Further layers that are left off (tests of the other layers only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<Layer>,
}

/// How a command comes to the ids that it runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// It enters a user namespace that maps them to the guest's.
    Nested,
    /// The guest, who is root, gives its own up.
    Changed,
    /// They are the guest's.
    Kept,
}

/// One `setrlimit(2)` value, soft and hard alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// `RLIMIT_*` number of this architecture.
    pub resource: u32,
    /// The limit.
    pub value: u64,
}

/// What landlock allows (landlock(7)).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LandlockRules {
    /// Paths and what may be done below them; a path that does not exist is skipped.
    pub paths: Vec<(String, PathAccess)>,
    /// Restrict TCP bind and connect to the ports below (landlock tier; ABI 4).
    pub restrict_tcp: bool,
    /// TCP ports that may be bound.
    pub bind_ports: Vec<u16>,
    /// TCP ports that may be connected to.
    pub connect_ports: Vec<u16>,
    /// ABI below which the sandbox is refused.
    pub min_abi: u32,
}

/// Access classes for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathAccess {
    /// Read, list and execute.
    ReadExecute,
    /// Read and list.
    Read,
    /// Everything but device ioctl and making devices.
    ReadWrite,
    /// Read, write, ioctl of existing device files.
    Device,
}
