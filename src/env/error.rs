//! Why a session or a call comes to no verdict.

use std::path::PathBuf;

use crate::{
    engine::EngineError, fsm::Blame, policy::PolicyError, report::escape, sandbox::SandboxError, source::SourceError,
};

/// Why there is no verdict. What a stage does, right or wrong, is a result and no error.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// The model's name is blank.
    #[error("empty_llm: a model id or a directory is expected")]
    EmptyLlm,
    /// The call needs a model, and none was ever named in the session.
    #[error("missing_llm: this call deploys, and no model was named; pass `llm`")]
    MissingLlm,
    /// The model's directory is not there.
    #[error("llm_path_not_found: {}", .0.display())]
    LlmPathNotFound(PathBuf),
    /// The model's path is no directory.
    #[error("llm_not_directory: {}", .0.display())]
    LlmNotDirectory(PathBuf),
    /// The model's directory cannot be shown inside as it is.
    #[error("llm_not_usable: {}: {why}", path.display())]
    LlmNotUsable {
        /// The directory, or the entry in it.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A variable that a call may not set.
    #[error("invalid_env: {0}")]
    InvalidEnv(String),
    /// The target has no contract, and nobody was to write one.
    #[error("contract_missing: {0}")]
    ContractMissing(EngineError),
    /// Nobody came to a contract that holds.
    #[error("{0}")]
    ScaffoldFailed(EngineError),
    /// The sandbox failed under the stages, as often as it was replaced.
    #[error("sandbox_failed: {why} (artifacts: {})", artifacts.display())]
    SandboxFailed {
        /// Why.
        why: String,
        /// The call's directory.
        artifacts: PathBuf,
    },
    /// Anything else that the engine ends with.
    #[error("{code}: {why}", code = code_of(.0), why = .0)]
    Engine(EngineError),
}

impl From<EngineError> for EnvError {
    fn from(why: EngineError) -> Self {
        match why {
            EngineError::NoContract(_) => Self::ContractMissing(why),
            EngineError::Scaffold { .. } => Self::ScaffoldFailed(why),
            why => Self::Engine(why),
        }
    }
}

impl From<PolicyError> for EnvError {
    fn from(why: PolicyError) -> Self {
        Self::Engine(why.into())
    }
}

fn code_of(why: &EngineError) -> &'static str {
    match why {
        EngineError::Usage(_) => "usage",
        EngineError::Contract(_) => "contract_invalid",
        EngineError::NoContract(_) => "contract_missing",
        EngineError::Scaffold { .. } => "scaffold_contract_failed",
        EngineError::Policy(_) => "policy_invalid",
        EngineError::NotAllowed(_) => "not_allowed",
        EngineError::Interrupted(_) => "interrupted",
        EngineError::Sandbox(SandboxError::TierTooLow { .. }) => "walls_too_weak",
        EngineError::Sandbox(_) => "sandbox_failed",
        EngineError::Source(why) if why.is_about_the_target() => "target_unavailable",
        EngineError::Source(SourceError::Name { .. }) => "usage",
        EngineError::Broker(_) => "provider",
        EngineError::Agent(_) => "agent",
        _ => "host_failed",
    }
}

impl EnvError {
    /// Its code: what its text begins with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyLlm => "empty_llm",
            Self::MissingLlm => "missing_llm",
            Self::LlmPathNotFound(_) => "llm_path_not_found",
            Self::LlmNotDirectory(_) => "llm_not_directory",
            Self::LlmNotUsable { .. } => "llm_not_usable",
            Self::InvalidEnv(_) => "invalid_env",
            Self::ContractMissing(_) => "contract_missing",
            Self::ScaffoldFailed(_) => "scaffold_contract_failed",
            Self::SandboxFailed { .. } => "sandbox_failed",
            Self::Engine(why) => code_of(why),
        }
    }

    /// Who failed.
    pub fn blame(&self) -> Blame {
        match self {
            Self::SandboxFailed { .. } => Blame::Sandbox,
            Self::Engine(why) | Self::ScaffoldFailed(why) => why.blame(),
            _ => Blame::User,
        }
    }

    /// The exit code that goes with it (README, table of exit codes).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::SandboxFailed { .. } => 7,
            Self::Engine(why) | Self::ScaffoldFailed(why) => why.exit_code(),
            _ => 2,
        }
    }

    /// In one line, escaped.
    pub fn line(&self) -> String {
        escape(self.to_string().as_bytes(), 4000)
    }
}
