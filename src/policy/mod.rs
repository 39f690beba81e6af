//! What this host allows, compiled to one plain plan that every back end builds.
#![forbid(unsafe_code)]

mod plan;

pub use plan::{
    CpuMillis, GUEST_GID, GUEST_HOME, GUEST_UID, GUEST_WORKSPACE, Inside, Limits, MODEL_PORT, ReadOnlyMount, Role,
    SERVER_PORT, SandboxPlan, Tier, WorkspacePlan,
};
