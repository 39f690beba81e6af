//! What a repository declares about itself, read strictly.
//!
//! Every byte here was written by the repository or by the agent, so every
//! reader is bounded ([`MAX_DOCUMENT`]), never panics, never ignores what it
//! does not know, and answers with one line that names file, line and column.
//!
//! | file | holds |
//! |---|---|
//! | `error` | [`ContractError`] |
//! | `stage` | [`Stage`], [`StageName`] and the fields that all stages share |
//! | `pipeline`, `sections` | [`Pipeline`]: `pipeline.yml` version 1, and its sections |
//! | `generic` | [`GenericRollout`]: a rollout without code of the repository |
//! | `hinted` | [`GenericEvaluation`]: an evaluation without code of the repository |
//! | `bootstrap`, `expand` | [`Bootstrap`]: `bootstrap.yml` version 1, and variables in its values |
//! | `actions` | [`Action`]: `actions.yml` version 1 |
//! | `plan`, `plan_lines`, `plan_edit` | [`Plan`]: the grammar of `PLAN.md`, and the edits the runner makes |
//! | `metrics`, `rollout`, `samples`, `outputs` | the JSON files that stages leave behind |
//! | `audit` | a look at how scores come about |
//! | `scaffold` | what a contract lacks that an agent wrote |
//! | `dotenv` | `KEY=VALUE` files and arguments |
//! | `shape` | their JSON Schemas |
//! | `config` | the host's own defaults, `config.yml` |
//!
//! The formats are documented in `docs/pipeline_spec.md`, `docs/bootstrap_spec.md`
//! and `docs/metrics_schema.md`.
#![forbid(unsafe_code)]

mod actions;
mod audit;
mod bootstrap;
mod config;
mod dotenv;
mod error;
mod expand;
mod generic;
mod hinted;
mod metrics;
mod outputs;
mod pipeline;
mod plan;
mod plan_edit;
mod plan_lines;
mod rollout;
mod samples;
mod scaffold;
mod sections;
mod shape;
mod stage;

pub use actions::{Action, ActionKind, parse_actions};
pub use audit::{AuditFinding, AuditRule, AuditedTree, audit, executes, line_of};
pub use bootstrap::Bootstrap;
pub use config::{ConfigEntry, ConfigError, parse_config};
pub use dotenv::{Dotenv, DotenvError, parse_assignment, parse_dotenv};
pub use error::ContractError;
pub use generic::{GenericRollout, PromptSource};
pub use hinted::{GenericEvaluation, HintUse};
pub use metrics::{Metrics, validate_metrics};
pub use outputs::{hint_proof, truthy, validate_hints_run, validate_runtime_env};
pub use pipeline::{Pipeline, default_path, policy_path};
pub use plan::{Plan, PlanError, PlanErrors, Step};
pub use rollout::validate_rollout;
pub use samples::{Samples, validate_samples};
pub use scaffold::{Demands, Shortcoming, Want, shortcomings};
pub use sections::{Auth, Deploy, KubectlDump, Measurement, Security, TeardownPolicy};
pub use shape::schemas;
pub use stage::{Stage, StageName};

pub use crate::document::MAX_DOCUMENT;
