//! The jail: namespaces, landlock, seccomp and cgroups, without Docker.

use crate::{
    policy::SandboxPlan,
    sandbox::{Sandbox, SandboxError},
};

/// Builds jails. One launcher serves a whole process: it owns the
/// single-threaded helper that clones namespaces, and dies with it.
pub struct Jail {
    _private: (),
}

impl Jail {
    /// Starts the helper and finds out, by doing, what this host can give.
    ///
    /// # Errors
    /// When the helper cannot be started.
    pub async fn new() -> Result<Self, SandboxError> {
        unimplemented!()
    }

    /// Builds one sandbox.
    ///
    /// # Errors
    /// [`SandboxError::TierTooLow`], or the step that failed.
    pub async fn create(&self, _plan: &SandboxPlan) -> Result<Sandbox, SandboxError> {
        unimplemented!()
    }
}
