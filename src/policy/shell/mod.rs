//! Verdicts on shell commands.
//!
//! | file | holds |
//! |---|---|
//! | `effect` | [`Effect`]: what a command does, in classes |
//! | `rules` | the section `commands` of a policy file, as it is written |
//! | `verdict` | [`Verdict`]: what is said of a command line |
//! | `judge` | [`Judge`]: rules over a command line |

mod acts;
mod builtin;
mod effect;
mod expand;
mod judge;
mod output;
mod parse;
mod pattern;
mod place;
mod program;
mod rules;
mod scene;
mod tree;
mod value;
mod verdict;
mod walk;
mod wrapper;

pub use effect::Effect;
pub use judge::{Judge, Judged, Setting, problems};
pub use parse::SCRIPT_MAX;
pub use rules::{CommandRule, CommandRules, Effects, Ruling, When, WhenUndecided, Words};
pub use verdict::Verdict;
pub use walk::{Scripts, Seen};
