//! Why the engine stopped.

use crate::{
    agent::AgentError,
    broker::BrokerError,
    engine::Widening,
    fsm::Blame,
    image::ImageError,
    names::RelPath,
    policy::PolicyError,
    record::{
        RecordError,
        audit::{AuditError, Break},
    },
    sandbox::{SandboxError, docker},
    source::SourceError,
    tree::TreeError,
};

/// Everything that ends a run from outside the machine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The user asked for something that cannot be (exit 2).
    #[error("{0}")]
    Usage(String),
    /// The contract is malformed (exit 2).
    #[error("{0}")]
    Contract(String),
    /// There is no contract (exit 2).
    #[error(
        "the target has no `{0}`; write one (`opencode-fsm init`, docs/pipeline_spec.md), name another with --pipeline, \
         or have one written (--scaffold-contract, docs/scaffolding.md)"
    )]
    NoContract(RelPath),
    /// Nobody came to a contract that holds (exit 2; 7 and 8 where the sandbox or the
    /// provider failed).
    #[error(
        "scaffold_contract_failed: {why} (turns of the agent: {attempts}; scaffold/ in the artifacts has what was written)"
    )]
    Scaffold {
        /// Turns of the agent.
        attempts: usize,
        /// What was wrong in the end.
        why: String,
        /// Who failed.
        blame: Blame,
    },
    /// A policy file cannot be used (exit 2).
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The user, or the contract, asked for more than the host allows (exit 10).
    #[error("{}", lines(.0))]
    NotAllowed(Vec<Widening>),
    /// A signal came before the run had begun (exit 128 and its number).
    #[error("stopped by signal {0}")]
    Interrupted(i32),
    /// The sandbox (exit 7, or 5 when the walls are too weak).
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The tree on the host (exit 7).
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The agent (exit 8).
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The model door (exit 2 for its configuration, else 8).
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The record (exit 7).
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The runner image (exit 7).
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The target could not be had (exit 11, or 2 where its name is none, 5 and 7 where
    /// this host failed).
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A prompt template (a bug; exit 7).
    #[error(transparent)]
    Prompt(#[from] crate::fsm::PromptError),
    /// Evidence that does not hold (exit 9), or cannot be read (exit 7).
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The host (exit 7).
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The error.
        source: std::io::Error,
    },
}

fn lines(found: &[Widening]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl EngineError {
    /// Who failed.
    pub fn blame(&self) -> Blame {
        match self {
            EngineError::Usage(_)
            | EngineError::Contract(_)
            | EngineError::NoContract(_)
            | EngineError::Policy(_)
            | EngineError::Interrupted(_) => Blame::User,
            EngineError::Scaffold { blame, .. } => *blame,
            EngineError::NotAllowed(_) => Blame::Policy,
            EngineError::Tree(TreeError::MovedOn(_)) => Blame::User,
            EngineError::Sandbox(SandboxError::NoEngine(docker::EngineError::Remote(_))) => Blame::User,
            EngineError::Broker(BrokerError::Config(_) | BrokerError::Cassette { .. }) => Blame::User,
            EngineError::Source(why) if why.is_about_the_target() => Blame::User,
            EngineError::Source(SourceError::Name { .. }) => Blame::User,
            EngineError::Broker(_) => Blame::Provider,
            EngineError::Agent(AgentError::NotFound(_)) => Blame::User,
            EngineError::Agent(AgentError::NotHealthy(_)) => Blame::Agent,
            _ => Blame::Sandbox,
        }
    }

    /// A file of a run that is not what its chain says.
    pub(super) fn damaged(file: &str, expected: &str, found: &str) -> Self {
        EngineError::Audit(AuditError::Broken(Box::new(Break {
            file: file.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
            ..Break::default()
        })))
    }

    /// The exit code (README, table of exit codes).
    pub fn exit_code(&self) -> u8 {
        match self {
            EngineError::Usage(_) | EngineError::Contract(_) | EngineError::NoContract(_) | EngineError::Policy(_) => 2,
            EngineError::Sandbox(SandboxError::NoEngine(docker::EngineError::Remote(_))) => 2,
            EngineError::Broker(BrokerError::Config(_) | BrokerError::Cassette { .. }) => 2,
            EngineError::Scaffold { blame, .. } => match blame {
                Blame::Sandbox => 7,
                Blame::Provider => 8,
                Blame::Budget => 6,
                _ => 2,
            },
            EngineError::NotAllowed(_) => 10,
            EngineError::Audit(AuditError::Broken(_)) => 9,
            EngineError::Record(RecordError::Alive(_)) => 12,
            EngineError::Source(SourceError::Name { .. }) => 2,
            EngineError::Source(why) if why.is_about_the_target() => 11,
            EngineError::Sandbox(SandboxError::TierTooLow { .. })
            | EngineError::Source(SourceError::Sandbox(SandboxError::TierTooLow { .. })) => 5,
            EngineError::Interrupted(signal) => 128 + u8::try_from(*signal).unwrap_or(0),
            // The target moved on under the user: theirs to decide.
            EngineError::Tree(TreeError::MovedOn(_)) => 1,
            EngineError::Agent(AgentError::Sandbox(SandboxError::TierTooLow { .. })) => 5,
            EngineError::Agent(AgentError::Sandbox(_)) => 7,
            EngineError::Agent(AgentError::NotFound(_)) => 2,
            EngineError::Agent(_) | EngineError::Broker(_) => 8,
            _ => 7,
        }
    }
}
