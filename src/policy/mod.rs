//! What this host allows.
//!
//! | file | holds |
//! |---|---|
//! | `plan` | [`SandboxPlan`]: walls and limits as one plain value that every back end builds |
//! | `commands` | [`CommandPolicy`]: verdicts on shell commands |
//! | `words` | a shell script cut into its simple commands |
//! | `network` | [`NetworkRules`]: the mode, and rules about hosts |
//! | `hosts` | host names and patterns as checked newtypes |
//! | `addresses` | blocks of IP addresses, the kinds that are refused, and every spelling of one |
#![forbid(unsafe_code)]

mod addresses;
mod commands;
mod hosts;
mod network;
mod plan;
mod words;

pub use addresses::{AddressKind, Block, kind, spelled};
pub use commands::{CommandPolicy, PatternError, Refusal, SecurityMode, check_pattern};
pub use hosts::{HostName, HostPattern, NotAName};
pub use network::{
    ByteCaps, Destination, HeaderGrant, HostDenial, HostRule, HostVerdict, Method, NetworkMode, NetworkRules, Rate,
    RuleFault,
};
pub use plan::{
    CERTIFICATES, CpuMillis, GUEST_GID, GUEST_HOME, GUEST_UID, GUEST_WORKSPACE, Inside, LEASE, Limits, MODEL_PORT,
    NAMES_PORT, PROXY_PORT, PROXY_USER, Proxy, ReadOnlyMount, Role, SERVER_PORT, SandboxPlan, Tier, WorkspacePlan,
};
