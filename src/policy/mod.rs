//! What this host allows.
//!
//! | file | holds |
//! |---|---|
//! | `choices` | words that files and flags choose from |
//! | `plan` | [`SandboxPlan`]: walls and limits as one plain value that every back end builds |
//! | `commands` | [`CommandPolicy`]: verdicts on shell commands |
//! | `shell` | [`shell::Judge`]: rules over what a shell script would do |
//! | `words` | a shell script cut into its simple commands |
#![forbid(unsafe_code)]

mod choices;
mod commands;
mod plan;
pub mod shell;
mod words;

pub use choices::{BackendChoice, BashMode, Phase};
pub use commands::{CommandPolicy, PatternError, Refusal, SecurityMode, check_pattern};

pub use plan::{
    CpuMillis, GUEST_GID, GUEST_HOME, GUEST_UID, GUEST_WORKSPACE, Inside, LEASE, Limits, MODEL_PORT, ReadOnlyMount,
    Role, SERVER_PORT, SandboxPlan, Tier, WorkspacePlan,
};
