//! What builds the walls.

use crate::{
    policy::SandboxPlan,
    sandbox::{Sandbox, SandboxError, docker::Docker, jail::Jail},
};

/// The back ends; each compiles the same plan and hands over a guest.
pub enum Backend {
    /// Namespaces, landlock and seccomp of this host's kernel.
    Jail(Jail),
    /// Containers of a Docker engine.
    Docker(Box<Docker>),
}

impl Backend {
    /// Builds one sandbox.
    ///
    /// # Errors
    /// [`SandboxError::TierTooLow`] where the walls are weaker than the plan demands,
    /// or the step that failed.
    pub async fn create(&self, plan: &SandboxPlan) -> Result<Sandbox, SandboxError> {
        match self {
            Self::Jail(jail) => jail.create(plan).await,
            Self::Docker(docker) => docker.create(plan).await,
        }
    }
}
