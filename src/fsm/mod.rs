//! The machine: what happens next, and why. Pure: no clock, no disk, no agent.
//!
//! [`Machine::advance`] takes one [`Event`] and answers one [`Command`]; the engine
//! performs the command and reports back with the next event. Both sides are
//! plain values, so a run's whole course is its journal of events.
//!
//! ```text
//!            +------------------------------------------------------------+
//!            v                                                            |
//! Begin -> S1_SNAPSHOT -> S2_PLAN_UPDATE -> S3_EXECUTE_STEP -> S4_VERIFY -> S5_DECIDE
//!                          |  (<= 3 tries)     (<= 3 tries)       |         pass: mark done
//!                          +-- no step left ----------------------+         fail: fix | block
//!                                                                 +-- no step left and pass: DONE
//! ```
#![forbid(unsafe_code)]

mod author_prompt;
mod authoring;
mod blame;
mod machine;
mod prompt;
mod state;

pub use author_prompt::{RepairFacts, ScaffoldFacts, repair_prompt, scaffold_prompt};
pub use authoring::{Attempts, Then, Tried};
pub use blame::Blame;
pub use machine::Machine;
pub use prompt::{Evidence, PromptError, Prompts};
pub use state::{
    Command, End, EndReason, Event, Limits, PlanEdit, PlanView, Position, Purpose, Step, TurnFailure, TurnResult,
    Verdict,
};
