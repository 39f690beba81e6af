//! Verdicts on shell commands.
//!
//! | file | holds |
//! |---|---|
//! | `effect` | [`Effect`]: what a command does, in classes |
//! | `rules` | the section `commands` of a policy file, as it is written |
//! | `verdict` | [`Verdict`]: what is said of a command line |
//! | `judge` | [`Judge`]: rules over a command line |

mod effect;
mod judge;
mod parse;
mod rules;
mod tree;
mod verdict;

pub use effect::Effect;
pub use judge::Judge;
pub use rules::{CommandRule, CommandRules, Effects, Ruling, When, WhenUndecided, Words};
pub use verdict::Verdict;
