//! What a person (or a program, with `--json`) sees while a run goes on.
//!
//! [`Happening`] is the vocabulary; [`Reporter`] shows it as a live line on a
//! terminal, as plain lines elsewhere, or as JSON lines. Texts from the sandbox
//! come in escaped ([`escape`]).
#![forbid(unsafe_code)]

mod escape;
mod face;
pub mod formats;
mod html;
mod live;
pub mod reading;
mod serve;
pub mod trajectory;

use serde::Serialize;

pub use escape::escape;
pub use face::{Aside, Face, Reporter};
pub use html::{Links, PageError, html, suite_html};
pub use serve::serve;

/// One thing that happened, for the terminal or as one JSON line.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Happening {
    /// A run began.
    RunStarted {
        /// Its id.
        run: String,
        /// The target, as given.
        target: String,
        /// Its directory.
        artifacts: String,
    },
    /// The walls of a sandbox stand.
    Walls {
        /// What stands and what does not.
        report: crate::sandbox::WallReport,
    },
    /// What the run may use up.
    Caps {
        /// How much of what.
        caps: Caps,
    },
    /// The target is being copied.
    Copying {
        /// Files so far.
        files: u64,
        /// Bytes so far.
        bytes: u64,
    },
    /// The machine moved.
    State {
        /// Where to, in the predecessor's names.
        state: String,
        /// The iteration, from 1.
        iteration: u64,
        /// The step in hand.
        step: Option<String>,
    },
    /// The agent did something.
    Agent {
        /// What, in one line.
        line: String,
        /// Model calls of the run.
        calls: u64,
        /// Tokens of the run.
        tokens: u64,
    },
    /// A command of a stage began.
    StageStarted {
        /// The stage.
        stage: String,
        /// The command.
        command: String,
        /// Where its output goes meanwhile: the beginning of the names of its files, relative
        /// to the run's directory.
        output: Option<String>,
    },
    /// A stage is over.
    StageEnded {
        /// The stage.
        stage: String,
        /// Whether it passed.
        ok: bool,
        /// How long it took, milliseconds.
        wall_ms: u64,
        /// Why it failed.
        reason: Option<String>,
    },
    /// The guard took something back.
    Guard {
        /// The phase.
        phase: crate::guard::Phase,
        /// How bad it is.
        ruling: crate::guard::Ruling,
        /// The path.
        path: String,
        /// The rule.
        because: String,
    },
    /// A target of a suite is done.
    Target {
        /// The target, as it was named.
        target: String,
        /// How many are done.
        done: u64,
        /// How many there are.
        of: u64,
        /// `passed`, `failed` or `infra`.
        outcome: String,
        /// Whose it is, where it did not pass.
        attribution: Option<String>,
        /// The score of its metrics.
        score: Option<f64>,
        /// In one line.
        reason: Option<String>,
        /// How long it took, milliseconds.
        wall_ms: u64,
    },
    /// Long work goes on.
    Working {
        /// What is being done, in one line.
        text: String,
    },
    /// Something worth a line.
    Note {
        /// The line.
        text: String,
    },
    /// Something that the user should know.
    Warning {
        /// The line.
        text: String,
    },
    /// The program ends without a result.
    Error {
        /// The exit code.
        exit: u8,
        /// Why, in one line.
        message: String,
    },
    /// A run ended.
    Ended {
        /// The exit code.
        exit: u8,
        /// The machine's reason.
        reason: String,
        /// `summary.json`.
        summary: serde_json::Value,
    },
}

/// What a run may use up; `None` is no limit.
#[derive(Clone, Debug, Default, Serialize, schemars::JsonSchema)]
pub struct Caps {
    /// Iterations.
    pub iterations: Option<u64>,
    /// Model calls.
    pub calls: Option<u64>,
    /// Tokens, both ways.
    pub tokens: Option<u64>,
    /// Seconds.
    pub seconds: Option<u64>,
}
