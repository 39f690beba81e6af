//! The sandbox plan: mounts, ids, limits and walls as one serialisable value.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::NetworkMode;

/// The workspace inside every sandbox.
pub const GUEST_WORKSPACE: &str = "/workspace";
/// The agent's and the stages' private home inside every sandbox.
pub const GUEST_HOME: &str = "/home/agent";
/// The user id that stages and the agent see inside.
pub const GUEST_UID: u32 = 1000;
/// The group id that stages and the agent see inside.
pub const GUEST_GID: u32 = 1000;

/// Port of the agent's server where the sandbox has a loopback of its own.
pub const SERVER_PORT: u16 = 4096;
/// Port of the model door there.
pub const MODEL_PORT: u16 = 4097;
/// Port of the egress door there.
pub const PROXY_PORT: u16 = 4098;
/// Port of names (RFC 1035), which are not resolved inside.
pub const NAMES_PORT: u16 = 53;
/// The certificates that programs inside trust, where a root has them (Debian's ca-certificates).
pub const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where things are as the inside of one sandbox sees them. A back end that shares
/// the host's file system or loopback has other places than [`Inside::private`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// The tree (absolute).
    pub workspace: String,
    /// The home of agent and stages (absolute).
    pub home: String,
    /// Temporary files (absolute).
    pub tmp: String,
    /// What stands before the inside path of each of [`SandboxPlan::read_only`]: nothing
    /// where they appear at that path itself.
    pub pieces: String,
    /// TCP port of the agent's server on the inside's loopback.
    pub server_port: u16,
    /// TCP port of the model door there.
    pub model_port: u16,
    /// The egress door, where there is one.
    pub proxy: Option<Proxy>,
}

/// The egress door as the inside sees it: an HTTP proxy that speaks SOCKS5 as well, on its loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Its TCP port.
    pub port: u16,
    /// What it wants to be shown, where others than the inside could reach it.
    pub key: Option<String>,
    /// Whether the inside has [`CERTIFICATES`].
    pub certificates: bool,
    /// Whether what is sent past it can be seen.
    pub tapped: bool,
}

/// The user of a proxy that wants a key (`Basic`, RFC 7617; RFC 1929 for SOCKS).
pub const PROXY_USER: &str = "inside";

impl Proxy {
    /// As a URL, for the usual variables.
    pub fn url(&self) -> String {
        match &self.key {
            Some(key) => format!("http://{PROXY_USER}:{key}@127.0.0.1:{}", self.port),
            None => format!("http://127.0.0.1:{}", self.port),
        }
    }

    /// The variables by which programs find it, and the certificates that they are to trust.
    /// `ALL_PROXY` is of HTTP, too: some clients refuse to start at a `socks5h` URL.
    pub fn variables(&self) -> Vec<(String, String)> {
        let own = "localhost,127.0.0.1,::1";
        let proxies = ["http_proxy", "https_proxy", "all_proxy"].map(|name| (name, self.url()));
        let both = proxies.into_iter().chain([("no_proxy", own.to_owned())]);
        let mut all: Vec<_> = both
            .flat_map(|(name, value)| [(name.to_ascii_uppercase(), value.clone()), (name.to_owned(), value)])
            .collect();
        // Node's own fetch looks at the others only then (Node 24, 22.21).
        all.push(("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned()));
        // Programs with a store of their own would not know what the host trusts.
        let trusting = [
            "SSL_CERT_FILE",
            "NODE_EXTRA_CA_CERTS",
            "PIP_CERT",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "GIT_SSL_CAINFO",
            "CARGO_HTTP_CAINFO",
        ];
        let trusting = trusting.iter().filter(|_| self.certificates);
        all.extend(trusting.map(|name| ((*name).to_owned(), CERTIFICATES.to_owned())));
        all
    }
}

impl Inside {
    /// The places in a sandbox with a mount and a network namespace of its own.
    pub fn private() -> Self {
        Self {
            workspace: GUEST_WORKSPACE.to_owned(),
            home: GUEST_HOME.to_owned(),
            tmp: "/tmp".to_owned(),
            pieces: String::new(),
            server_port: SERVER_PORT,
            model_port: MODEL_PORT,
            proxy: None,
        }
    }

    /// The same with the egress door that `network` asks for; see [`Proxy`] for the others.
    #[must_use]
    pub fn with_door(self, network: NetworkMode, certificates: bool, tapped: bool) -> Self {
        let proxy = (network == NetworkMode::Allow).then_some(Proxy {
            port: PROXY_PORT,
            key: None,
            certificates,
            tapped,
        });
        Self { proxy, ..self }
    }

    /// The directory of the host that the workspace lies in, where it lies in one: what
    /// is found by looking upwards from the workspace ends below it.
    pub fn above(&self) -> Option<&str> {
        let (above, _) = self.workspace.rsplit_once('/')?;
        Some(above).filter(|above| !above.is_empty())
    }

    /// Where the read-only piece shows that the plan puts at `guest`.
    pub fn piece(&self, guest: &str) -> String {
        format!("{}{guest}", self.pieces)
    }
}

/// The lease where nobody names another: a day, which is also the longest run.
pub const LEASE: Duration = Duration::from_secs(86_400);

/// Thousandths of one CPU.
pub type CpuMillis = u32;

/// Everything a back end needs to know to build one sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxPlan {
    /// Owner's name for leases and cgroups: `<run id>-<role>-<n>`.
    pub label: String,
    /// What the sandbox is for.
    pub role: Role,
    /// The tree at [`GUEST_WORKSPACE`].
    pub workspace: WorkspacePlan,
    /// Further read-only pieces of the host (the OpenCode binary, its configuration).
    pub read_only: Vec<ReadOnlyMount>,
    /// How much of the network programs inside may see.
    pub network: NetworkMode,
    /// Resource caps.
    pub limits: Limits,
    /// The weakest set of walls the user accepts.
    pub min_tier: Tier,
    /// How long the sandbox may live at most; a back end whose sandboxes do not die with
    /// their host (Docker) lets the guest end itself then.
    pub lease: Duration,
}

/// Agent or judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the OpenCode server for a whole run.
    Agent,
    /// Runs the stages of one verification.
    Judge,
}

/// How the workspace is stacked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkspacePlan {
    /// Read-only layers, lowest first; the first is the pristine tree. Layers
    /// above it are in overlayfs upper-directory format (whiteouts, `user.overlay.*`).
    pub lowers: Vec<PathBuf>,
    /// A directory of our own on a file system that can hold an overlay upper;
    /// the back end makes `upper/` and `work/` in it (or `tree/`, where overlay
    /// cannot be had and the layers are copied).
    pub scratch: PathBuf,
    /// Most bytes the upper may take before the running command is killed.
    pub max_bytes: u64,
    /// Most inodes the upper may take.
    pub max_inodes: u64,
}

/// One host path shown read-only inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadOnlyMount {
    /// Where it lies on the host.
    pub host: PathBuf,
    /// Where it appears inside (absolute).
    pub guest: PathBuf,
}

/// Resource caps of a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Limits {
    /// Memory of everything inside together, bytes (cgroup; polled where there is none).
    pub memory_bytes: u64,
    /// Processes and threads inside together (`RLIMIT_NPROC` of the sandbox's user namespace, cgroup pids where available).
    pub processes: u64,
    /// CPU share; `None` is unlimited (cgroup only).
    pub cpu: Option<CpuMillis>,
    /// Largest single file, bytes (`RLIMIT_FSIZE`).
    pub file_bytes: u64,
    /// Open descriptors per process (`RLIMIT_NOFILE`).
    pub open_files: u64,
    /// Size of `/tmp`, of home and of `/dev/shm` each, bytes.
    pub scratch_bytes: u64,
    /// Inodes of `/tmp`, of home and of `/dev/shm` each.
    pub scratch_inodes: u64,
    /// Address space per process, bytes (`RLIMIT_AS`); `None` where the
    /// program needs it unlimited (OpenCode reserves 135 GB).
    pub address_space_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            processes: 1024,
            cpu: None,
            file_bytes: 2 << 30,
            open_files: 4096,
            scratch_bytes: 512 << 20,
            scratch_inodes: 65_536,
            address_space_bytes: None,
        }
    }
}

/// How strong the walls are, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Landlock, seccomp and rlimits only; the host's processes are visible.
    Landlock,
    /// All namespaces, but the host's `/proc` is shown read-only because an outer container masks it.
    NamespacesNoProc,
    /// All namespaces, pivoted root, own `/proc`, landlock, seccomp.
    Namespaces,
    /// As `Namespaces`, with cgroup limits on top.
    NamespacesCgroup,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tier::Landlock => "landlock",
            Tier::NamespacesNoProc => "namespaces-no-proc",
            Tier::Namespaces => "namespaces",
            Tier::NamespacesCgroup => "namespaces-cgroup",
        })
    }
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Tier::Landlock,
            Tier::NamespacesNoProc,
            Tier::Namespaces,
            Tier::NamespacesCgroup,
        ]
        .into_iter()
        .find(|t| t.to_string() == text)
        .ok_or_else(|| "expected landlock, namespaces-no-proc, namespaces or namespaces-cgroup".to_string())
    }
}
