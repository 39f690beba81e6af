//! Where a run comes from: what the user asks, one that was cut off, or one that it does again.

use std::path::PathBuf;

use crate::engine::{
    EngineError, RunOptions, StepOf, branch::Found, facts::Seed, inputs::FromLine, replay::Recorded, resume::TakenUp,
};

/// Where a run comes from.
#[derive(Clone, Copy)]
pub(super) enum Whence<'a> {
    /// From what the user asks.
    New,
    /// From one that was cut off.
    TakenUp(&'a TakenUp),
    /// From one that it does again.
    Again(&'a Recorded),
}

impl<'a> Whence<'a> {
    /// The one that was cut off.
    pub fn taken_up(self) -> Option<&'a TakenUp> {
        match self {
            Whence::TakenUp(taken_up) => Some(taken_up),
            Whence::New | Whence::Again(_) => None,
        }
    }

    /// Texts for every snapshot.
    pub fn seeds(self, paths: &[PathBuf]) -> Result<Vec<Seed>, EngineError> {
        match self {
            Whence::TakenUp(taken_up) => Ok(taken_up.kept.seeds()),
            Whence::Again(recorded) => Ok(recorded.kept.seeds()),
            Whence::New => paths.iter().map(|path| Seed::read(path)).collect(),
        }
    }

    /// The step that names the tree it stands on, and the step of another run that it began at.
    pub fn step(self, options: &RunOptions) -> Result<(Option<Found>, Option<FromLine>), EngineError> {
        let (of, branch) = match self {
            Whence::TakenUp(taken_up) => (taken_up.step(), taken_up.past.branch.clone()),
            Whence::Again(recorded) => (Some(recorded.step()), recorded.past.branch.clone()),
            Whence::New => {
                let found = options.from.as_ref().map(StepOf::find).transpose()?;
                let line = options
                    .from
                    .as_ref()
                    .zip(found.as_ref())
                    .map(|(of, found)| of.line(found));
                return Ok((found, line));
            }
        };
        // One that was cut off before it had a step of its own.
        let of = of.or_else(|| options.from.clone());
        Ok((of.as_ref().map(StepOf::find).transpose()?, branch))
    }
}
