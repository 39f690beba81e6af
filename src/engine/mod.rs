//! The engine: performs what the machine commands, on real trees, sandboxes and agents.
//!
//! | file | holds |
//! |---|---|
//! | `options`, `summary`, `error`, `stop` | what goes in, what comes out, and how it is stopped |
//! | `permit` | what the host's policy says to all that, and to the contract |
//! | `run`, `verify` | the two things that a user asks for |
//! | `open` | a target whose stages run some at a time |
//! | `resume` | a run that was cut off, gone on with |
//! | `replay` | a run that is done again by what was recorded, or judged again |
//! | `kept`, `carried`, `past` | what that is asked for by, what it knew, and what its chain says |
//! | `whence` | where a run comes from |
//! | `answers` | the model's answers: where from, and how kept |
//! | `bring` | what comes out of a run |
//! | `site`, `scratch` | what both stand on: run directory, copied target, contract, jail |
//! | `drive` | the loop between the machine and the world |
//! | `turn` | one turn of the agent, and who failed in it |
//! | `turns` | what turns share, whoever takes them |
//! | `branch` | a step of an earlier run, and the tree that it stands on |
//! | `workspace`, `seat` | checkpoints, the sandboxes stacked on them, and the agent's place |
//! | `judge` | one verification in a fresh sandbox |
//! | `bootstrap` | what a target wants prepared, and the key of the layer that comes of it |
//! | `actions` | what the agent asks for after a failure |
//! | `author` | contracts that an agent writes or repairs |
//! | `command`, `caps`, `environment` | one command: artifacts, caps on time, variables |
//! | `explain` | what becomes of a system call, a path or a host, and what enforces it |
//! | `evidence`, `inputs` | what the journal says so that a stranger can check it |
//! | `facts` | what the prompts are told |
//! | `fetched` | a target brought into the cache, and nothing more |
//! | `schemas` | JSON Schemas of all that a run leaves behind |
#![forbid(unsafe_code)]

mod actions;
mod answers;
mod author;
mod bootstrap;
mod branch;
mod bring;
mod caps;
mod carried;
mod command;
mod drive;
mod environment;
mod error;
mod evidence;
mod explain;
mod facts;
mod fetched;
mod inputs;
mod judge;
mod kept;
mod lint;
mod open;
mod options;
mod past;
mod permit;
mod replay;
mod resume;
mod run;
mod schemas;
mod scratch;
mod seat;
mod site;
mod slots;
mod stop;
mod summary;
mod turn;
mod turns;
mod verify;
mod walls;
mod whence;
mod workspace;

use std::path::PathBuf;

pub use author::{
    Authoring, By, ContractFile, FileStatus, Provenance, RepairProvenance, Repaired, Scaffold, ScaffoldBy, Scribe,
};
pub use bootstrap::hides;
pub use branch::{StepOf, checkout};
pub use bring::{apply, target_of};
pub use error::EngineError;
pub use explain::{
    Answer, CaseLine, CommandAnswer, Enforcement, PathQuestion, explain_command, explain_host, explain_path,
    explain_syscall,
};
pub use fetched::fetch;
pub use judge::{CommandLine, ExitCodes, Overrides, SandboxFailure, StageSummary, Verification};
pub use kept::Given;
pub use open::{BRING_MAX, ContractMark, Ending, ModelUse, OpenTarget, Ran, RepairOf, StageModel};
pub use options::{
    Audit, Caps, ModelChoice, NetworkOptions, OutsideAgent, RunOptions, StageTime, TargetOptions, Trial, Unattended,
    WallOptions,
};
pub use permit::{Widening, widened};
pub use replay::{Denied, Elsewhere, Judged, Recorded, Replayed};
pub use resume::resume;
pub use run::run;
pub use schemas::schemas;
pub use scratch::{DeadScratch, collect_scratch};
pub use stop::{Stop, Stopper};
pub use summary::{ChangeLine, PlanSummary, PolicyLine, SUMMARY_VERSION, Summary};
pub use verify::verify;
pub use walls::told;

/// What came of a run or a verification.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// As in `summary.json`.
    pub summary: Summary,
    /// The run's directory.
    pub artifacts: PathBuf,
}
