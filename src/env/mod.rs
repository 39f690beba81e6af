//! The env API: a target opened as an environment, deployed, rolled out and evaluated by a
//! training program, inside the walls.
//!
//! ```no_run
//! # async fn example() -> Result<(), opencode_fsm::env::EnvError> {
//! use opencode_fsm::env::{self, CallOptions, Llm, SetupOptions};
//!
//! let mut session = env::setup(SetupOptions::of_host("./repo")?).await?;
//! let llm = Llm::parse("my-model")?;
//! let (rollout, evaluation) =
//!     env::rollout_and_evaluation(&mut session, Some(&llm), &CallOptions::default()).await?;
//! println!("{:?} {:?}", rollout.rollout_path, evaluation.metrics);
//! env::teardown(&mut session, &CallOptions::default()).await?;
//! session.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A program that uses it is started again by itself, as the sandbox's other side: its
//! `main` begins with [`crate::cli::inner_role`].
//!
//! | file | holds |
//! |---|---|
//! | `options` | what a session and a call are asked for |
//! | `authoring` | the agents that write and repair its contract |
//! | `llm` | the model that the stages work with |
//! | `session` | [`EnvSession`]: which stages a call runs, in which sandbox |
//! | `repairs` | attempts of a call, with repairs between them |
//! | `variables` | what the stages of a call get |
//! | `brought` | what a rollout leaves, brought out for a training program |
//! | `results` | what a call comes to |
//! | `error` | [`EnvError`] and its codes |
//! | `evaluate` | [`Evaluation`]: one target from beginning to end |
//! | `serve` | the same for programs in any language |
#![forbid(unsafe_code)]

mod authoring;
mod brought;
mod error;
mod evaluate;
mod llm;
mod options;
mod repairs;
mod results;
pub mod serve;
mod session;
mod variables;

pub use authoring::{AgentSettings, ScaffoldWord, narrowed_shell};
pub use error::EnvError;
pub use evaluate::{Evaluated, Evaluation};
pub use llm::{Endpoint, Llm};
pub use options::{CallOptions, SetupOptions};

pub use crate::engine::Audit;
pub use results::{DeployCallResult, EvaluationCallResult, RolloutCallResult, StageResult, VerificationResult};
pub use session::EnvSession;

/// Opens a target: copies it and reads its contract, or has one written. Nothing of it runs yet.
///
/// # Errors
/// [`EnvError`]: `contract_missing` for a target without one, `scaffold_contract_failed`
/// where nobody came to one that holds, among others.
pub async fn setup(options: SetupOptions) -> Result<EnvSession, EnvError> {
    EnvSession::setup(options).await
}

/// Deploys in a fresh sandbox: `auth`, `deploy_setup`, `deploy_health`. What it starts
/// lives on until the next deployment, a call that fails, or the teardown.
///
/// # Errors
/// When there is no verdict: [`EnvError`]. A stage that fails is a result.
pub async fn deploy(session: &mut EnvSession, llm: &Llm, call: &CallOptions) -> Result<DeployCallResult, EnvError> {
    session.deploy(llm, call).await
}

/// Deploys in a fresh sandbox, then runs `rollout`. Without `llm` it is the session's last.
///
/// # Errors
/// As [`deploy`]; `missing_llm` where none was ever named.
pub async fn rollout(
    session: &mut EnvSession,
    llm: Option<&Llm>,
    call: &CallOptions,
) -> Result<RolloutCallResult, EnvError> {
    session.rollout(llm, call).await
}

/// Runs `evaluation` on what is deployed; where nothing is, deploys and rolls out before.
///
/// # Errors
/// As [`rollout`].
pub async fn evaluation(session: &mut EnvSession, call: &CallOptions) -> Result<EvaluationCallResult, EnvError> {
    session.evaluation(call).await
}

/// Deploys in a fresh sandbox, then runs `rollout` and `evaluation` as one verification.
///
/// # Errors
/// As [`rollout`].
pub async fn rollout_and_evaluation(
    session: &mut EnvSession,
    llm: Option<&Llm>,
    call: &CallOptions,
) -> Result<(RolloutCallResult, EvaluationCallResult), EnvError> {
    session.rollout_and_evaluation(llm, call).await
}

/// Takes down what is deployed: the contract's teardown by its policy, and the sandbox.
/// The session can deploy again. Gives whether the teardown passed; there being none, too.
///
/// # Errors
/// When the record cannot be kept, or the sandbox failed; it is gone then, too.
pub async fn teardown(session: &mut EnvSession, call: &CallOptions) -> Result<bool, EnvError> {
    session.teardown(call).await
}
