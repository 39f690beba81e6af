//! What a bootstrap makes, under the accepted state.

use std::sync::Arc;

use super::Workspace;
use crate::{
    engine::EngineError,
    guard::{self, Phase, WriteSets},
    names::RelPath,
    tree::{BaseLayer, Checkpoint, Place},
};

/// Why something that a bootstrap wrote is not kept.
const PROTECTED: &str = "it is protected, or of a kind that is never kept";
const CONTESTED: &str = "the run had changed it already";

impl Workspace {
    /// Whether a bootstrap's layer is a part of the base.
    pub fn is_bootstrapped(&self) -> bool {
        self.base.roots.len() > self.copied.roots.len()
    }

    /// What a finished bootstrap wrote, without what it may not, and why each of that is left out.
    pub fn bootstrapped(&mut self, place: &Place) -> Result<(Checkpoint, Vec<(RelPath, String)>), EngineError> {
        let dir = self.next_dir("bootstrapped");
        let found = Checkpoint::freeze_place(&self.base, &self.current, place, &[], &dir)?;
        let changes = found.changes_since(&self.base, &self.current);
        // What a policy protects is kept from the agent; a bootstrap is the contract's own.
        let sets = WriteSets {
            protected: Vec::new(),
            ..self.sets.clone()
        };
        let judged = guard::judge(Phase::ExecuteStep, &sets, changes);
        let mut back = guard::revert_paths(&judged);
        let mut left_out: Vec<_> = back.iter().map(|path| (path.clone(), PROTECTED.to_owned())).collect();
        let contested = BaseLayer::contested(&self.base, &self.current, &found);
        left_out.extend(contested.iter().map(|path| (path.clone(), CONTESTED.to_owned())));
        back.extend(contested);
        left_out.extend(found.left_out().iter().cloned());
        left_out.sort();
        left_out.dedup_by(|a, b| a.0 == b.0);
        if back.is_empty() {
            return Ok((found, left_out));
        }
        let dir = self.next_dir("bootstrapped");
        Ok((found.with_reverted(&self.base, &self.current, &back, &dir)?, left_out))
    }

    /// Puts a bootstrap's layer under the accepted state. The agent's sandbox, which
    /// stands on what was before, is ended.
    pub async fn stand_on(&mut self, layer: &BaseLayer) -> Result<(), EngineError> {
        self.close_agent().await?;
        let base = self.copied.with_layer(layer);
        let dir = self.next_dir("checkpoint");
        self.current = self.current.over(&self.base, &base, &dir)?;
        self.kept = self.current.clone();
        self.base = Arc::new(base);
        self.sets.made.clone_from(layer.owned());
        Ok(())
    }

    /// Takes a bootstrap's layer from under the accepted state: another one is to be made.
    pub async fn leave_bootstrap(&mut self) -> Result<(), EngineError> {
        if !self.is_bootstrapped() {
            return Ok(());
        }
        self.close_agent().await?;
        let dir = self.next_dir("checkpoint");
        self.current = self.current.over(&self.base, &self.copied, &dir)?;
        self.kept = self.current.clone();
        self.base = self.copied.clone();
        self.sets.made.clear();
        Ok(())
    }
}
