//! `evaluation.generic`: an evaluation that needs no code of the repository.

use crate::document::{Fault, Fields};

/// Most commands that one evaluation runs.
const ATTEMPTS_MAX: u64 = 20;

/// Whether documented commands are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HintUse {
    /// Where there are some; else the rollout's rewards are averaged.
    #[default]
    Auto,
    /// Nothing else gives a score.
    Require,
    /// None is run: the rollout's rewards are averaged.
    Off,
}

/// `evaluation.generic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenericEvaluation {
    /// Whether documented commands are run.
    pub hints: HintUse,
    /// Most commands that are run; what is passed over does not count.
    pub max_attempts: usize,
}

impl Default for GenericEvaluation {
    fn default() -> Self {
        Self {
            hints: HintUse::Auto,
            max_attempts: 3,
        }
    }
}

/// Reads the mapping under `generic`.
pub(super) fn evaluation(mut fields: Fields) -> Result<GenericEvaluation, Fault> {
    let default = GenericEvaluation::default();
    let words = [
        ("auto", HintUse::Auto),
        ("require", HintUse::Require),
        ("off", HintUse::Off),
    ];
    let hints = fields.choice("hints", &words)?.unwrap_or_default();
    let max_attempts = match fields.whole_number("max_attempts", ATTEMPTS_MAX)? {
        Some((0, at)) => return Err(at.fault("`evaluation.generic.max_attempts` must be at least 1")),
        // At most ATTEMPTS_MAX, which fits.
        Some((most, _)) => most as usize,
        None => default.max_attempts,
    };
    fields.finish()?;
    Ok(GenericEvaluation { hints, max_attempts })
}
