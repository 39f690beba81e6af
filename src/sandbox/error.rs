//! Why a sandbox could not be built or used.

/// Everything that can go wrong with a sandbox; exit code 7 unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A step of building the walls failed.
    #[error("cannot build the sandbox: {step}: {source}; remedy: {remedy}")]
    Build {
        /// The step, in the words of docs/security_model.md.
        step: String,
        /// What the kernel said.
        source: std::io::Error,
        /// What the user can do about it.
        remedy: String,
    },
    /// This host cannot give the walls that the user demands (exit code 5).
    #[error("this host gives tier `{got}` ({why}); `{wanted}` is demanded; remedy: {remedy}")]
    TierTooLow {
        /// What the host gives.
        got: crate::policy::Tier,
        /// What was demanded.
        wanted: crate::policy::Tier,
        /// The missing primitive.
        why: String,
        /// What the user can do about it.
        remedy: String,
    },
    /// Forbidden acts of the witness were done: a wall that was reported does not stand.
    #[error(
        "the walls do not hold: before anything of the repository's ran, a witness in the sandbox could do what is \
         forbidden ({}); remedy: do not run anything here until `opencode-fsm escape-test` says that nothing escapes",
        .0.join("; ")
    )]
    Witness(Vec<String>),
    /// The guest answered that a request failed.
    #[error("the guest could not {step}: {why}")]
    Guest {
        /// The operation.
        step: String,
        /// `errno`, where there was one.
        errno: Option<i32>,
        /// Escaped text.
        why: String,
    },
    /// The guest is gone or broke the protocol.
    #[error("the sandbox's supervisor is gone ({0})")]
    Gone(String),
    /// An engine could not do its part.
    #[error("cannot {what}: {why}; remedy: {remedy}")]
    Engine {
        /// What was asked of it.
        what: String,
        /// What it said, escaped.
        why: String,
        /// What the user can do about it.
        remedy: String,
    },
    /// The engine that was asked for cannot be used.
    #[error(transparent)]
    NoEngine(#[from] crate::sandbox::docker::EngineError),
    /// Processes of a sandbox live on after its end (containment failed).
    #[error(
        "containment failed: processes of the container {container} live on after its end ({survivors:?}); \
         stop the engine and end them by hand"
    )]
    Uncontained {
        /// The container's id.
        container: String,
        /// Pids of this host.
        survivors: Vec<i32>,
    },
    /// A host-side operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The error.
        source: std::io::Error,
    },
}
