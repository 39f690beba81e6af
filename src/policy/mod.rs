//! What this host allows.
//!
//! | file | holds |
//! |---|---|
//! | `choices` | words that files and flags choose from |
//! | `file` | policy files, their layers, and what holds in the end |
//! | `plan` | [`SandboxPlan`]: walls and limits as one plain value that every back end builds |
//! | `commands` | [`CommandPolicy`]: verdicts on shell commands |
//! | `shell` | [`shell::Judge`]: rules over what a shell script would do |
//! | `network`, `host_rule` | [`NetworkRules`]: the mode, and rules about hosts |
//! | `hosts` | host names and patterns as checked newtypes |
//! | `addresses` | blocks of IP addresses, the kinds that are refused, and every spelling of one |
#![forbid(unsafe_code)]

mod addresses;
mod choices;
mod commands;
mod file;
mod host_rule;
mod hosts;
mod network;
mod plan;
pub mod shell;

pub use addresses::{AddressKind, Block, kind, spelled};
pub use choices::{BackendChoice, BashMode, Isolation, Phase};
pub use commands::{CommandPolicy, PatternError, Refusal, SecurityMode, check_pattern};
pub use file::{
    Attempt, Change, DEFAULT, Difference, HostPlaces, Layer, LayerLine, NAMES, Origin, Origins, PathPattern, Policy,
    PolicyError, Problem, Protection, Said, SaidLine, SettingName, SettingValue, Source, WordPattern, Words, diff,
    host_names, load, load_file, load_host, parse_amount, parse_size, schema, shipped_file, shipped_text, show_size,
};
pub use host_rule::{ByteCaps, Destination, HeaderGrant, HostRule, Method, Rate};
pub use hosts::{HostName, HostPattern, NotAName};
pub use network::{HostDenial, HostVerdict, NetworkMode, NetworkRules, RuleFault};
pub use plan::{
    CERTIFICATES, CpuMillis, GUEST_GID, GUEST_HOME, GUEST_UID, GUEST_WORKSPACE, Inside, LEASE, Limits, MODEL_PORT,
    NAMES_PORT, PROXY_PORT, PROXY_USER, Proxy, ReadOnlyMount, Role, SERVER_PORT, SandboxPlan, Tier, WorkspacePlan,
};
