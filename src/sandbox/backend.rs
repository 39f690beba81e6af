//! What builds the walls.

use std::path::Path;

use crate::{
    policy::{Inside, SandboxPlan, Tier},
    sandbox::{Sandbox, SandboxError, bare::Bare, docker::Docker, jail::Jail},
};

/// The back ends; each compiles the same plan and hands over a guest.
pub enum Backend {
    /// Namespaces, landlock and seccomp of this host's kernel.
    Jail(Jail),
    /// Landlock and seccomp alone.
    Bare(Bare),
    /// Containers of a Docker engine.
    Docker(Box<Docker>),
}

impl Backend {
    /// What it is called in the record.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Jail(_) => "jail",
            Self::Bare(_) => "jail without namespaces",
            Self::Docker(_) => "docker",
        }
    }

    /// The image of its containers, by its id.
    pub fn image(&self) -> Option<&str> {
        match self {
            Self::Docker(docker) => Some(docker.image_id()),
            Self::Jail(_) | Self::Bare(_) => None,
        }
    }

    /// The jail; or, where this kernel refuses what it is made of and `min_tier` accepts
    /// that by name, what can be had without. `scratch` is a directory for the trial.
    ///
    /// # Errors
    /// When neither can be built.
    pub async fn of_this_kernel(min_tier: Tier, scratch: &Path) -> Result<Self, SandboxError> {
        let jail = Jail::new()?;
        if min_tier == Tier::Landlock
            && let Some(refusal) = jail.refusal(scratch).await?
        {
            return Ok(Self::Bare(Bare::new(&refusal)));
        }
        Ok(Self::Jail(jail))
    }

    /// Builds one sandbox.
    ///
    /// # Errors
    /// [`SandboxError::TierTooLow`] where the walls are weaker than the plan demands,
    /// or the step that failed.
    pub async fn create(&self, plan: &SandboxPlan) -> Result<Sandbox, SandboxError> {
        match self {
            Self::Jail(jail) => jail.create(plan).await,
            Self::Bare(bare) => bare.create(plan).await,
            Self::Docker(docker) => docker.create(plan).await,
        }
    }

    /// Where things are in every sandbox; `None` where each has places of its own.
    pub fn inside(&self) -> Option<Inside> {
        match self {
            Self::Jail(_) | Self::Docker(_) => Some(Inside::private()),
            Self::Bare(_) => None,
        }
    }
}
