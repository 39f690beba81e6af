//! A contract that is written or repaired in the accepted state, and states to return to.

use std::{collections::BTreeSet, sync::Arc};

use super::Workspace;
use crate::{
    engine::EngineError,
    guard,
    names::RelPath,
    tree::{Checkpoint, Content, Pristine},
};

/// An accepted state, to return to.
#[derive(Clone)]
pub(in crate::engine) struct Mark {
    base: Arc<Pristine>,
    current: Checkpoint,
    made: BTreeSet<RelPath>,
}

impl Mark {
    /// The digest of its difference from the base.
    pub fn digest(&self) -> Content {
        self.current.digest()
    }
}

impl Workspace {
    /// The accepted contract is one now that was written in the run: what there is of it is
    /// no agent's to change from here on.
    pub fn contract_stands(&mut self) {
        let dir = guard::contract_dir();
        let is = |path: &RelPath| *path == self.sets.pipeline || path.starts_with(&dir);
        let changes = self.changes().into_iter();
        let files = changes.filter(|change| change.after.as_ref().is_some_and(|entry| !entry.is_dir()));
        let own: Vec<RelPath> = files.map(|change| change.path).filter(|path| is(path)).collect();
        self.sets.contract.extend(own);
        self.sets.contract.sort_unstable();
        self.sets.contract.dedup();
    }

    /// What is accepted now, to return to.
    pub fn mark(&self) -> Mark {
        Mark {
            base: self.base.clone(),
            current: self.current.clone(),
            made: self.sets.made.clone(),
        }
    }

    /// Returns to an earlier accepted state. The agent's place, which stands on what was
    /// before, is ended.
    pub async fn return_to(&mut self, mark: Mark) -> Result<(), EngineError> {
        self.close_agent().await?;
        let Mark { base, current, made } = mark;
        self.base = base;
        self.current = current;
        self.sets.made = made;
        self.keep_step("an earlier state was taken up again")
    }
}
