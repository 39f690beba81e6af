//! The agent's place: a sandbox, or for a server of the user's a copy of what one would show.

use std::path::PathBuf;

use crate::{
    agent::{Desk, Server},
    engine::EngineError,
    policy::Inside,
    sandbox::Sandbox,
    tree::{self, Checkpoint, Place, TreeEdits},
};

/// Where the agent works, and what its tree was stacked on.
pub(super) struct Seat {
    holder: Holder,
    pub place: Place,
    pub base: Checkpoint,
}

enum Holder {
    Sandbox(Box<Sandbox>),
    /// Nothing of ours: the server runs outside.
    Nobody {
        server: Server,
        inside: Box<Inside>,
    },
}

impl Seat {
    /// In a sandbox that was made on `base`.
    pub fn inside(sandbox: Sandbox, base: Checkpoint) -> Self {
        Self {
            place: sandbox.place().clone(),
            holder: Holder::Sandbox(Box::new(sandbox)),
            base,
        }
    }

    /// At the user's server, in a new directory `dir` with a copy of `lowers`.
    pub fn outside(server: &Server, lowers: &[PathBuf], dir: PathBuf, base: Checkpoint) -> Result<Self, EngineError> {
        let inside = server.inside(&dir).ok_or_else(|| {
            let shown = dir.display();
            EngineError::Usage(format!("{shown} is not UTF-8, which a request must be"))
        })?;
        tree::lay_copy(lowers, &dir, None)?;
        Ok(Self {
            holder: Holder::Nobody {
                server: server.clone(),
                inside: Box::new(inside),
            },
            place: Place::Copy(dir),
            base,
        })
    }

    /// The sandbox, where it is one.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        match &self.holder {
            Holder::Sandbox(sandbox) => Some(sandbox),
            Holder::Nobody { .. } => None,
        }
    }

    /// Where turns are taken.
    pub fn desk(&self) -> Desk<'_> {
        match &self.holder {
            Holder::Sandbox(sandbox) => Desk::Inside(sandbox),
            Holder::Nobody { server, inside } => Desk::Outside { server, inside },
        }
    }

    /// Kills what a turn left running but for the stage `server`, and stops the rest; how
    /// many were killed. Outside nothing can be.
    pub async fn hold_still(&self, server: Option<u64>) -> Result<u64, EngineError> {
        let Some(sandbox) = self.sandbox() else { return Ok(0) };
        let keep: Vec<u64> = server.into_iter().collect();
        let leaked = sandbox.sweep(&keep).await?.len() as u64;
        sandbox.freeze().await?;
        Ok(leaked)
    }

    /// Changes the tree, which holds still; `false` where it could not, and has to be replaced.
    pub async fn put(&self, edits: &TreeEdits) -> bool {
        // Nothing is ever written where something may write that nobody holds still.
        let Some(sandbox) = self.sandbox() else { return false };
        match sandbox.put(&edits.removals, edits.tar.clone()).await {
            Ok(()) => true,
            Err(why) => {
                tracing::warn!("the tree could not be restored in place: {why}");
                false
            }
        }
    }

    /// Ends the sandbox, or removes the copy.
    pub async fn leave(self) -> Result<(), EngineError> {
        match (self.holder, &self.place) {
            (Holder::Sandbox(sandbox), _) => sandbox.destroy().await?,
            (Holder::Nobody { .. }, Place::Overlay(dir) | Place::Copy(dir)) => {
                // What still writes there cannot be ended from here; it goes with the run's directory.
                if let Err(why) = tree::remove_all(dir) {
                    tracing::warn!("{why}");
                }
            }
        }
        Ok(())
    }
}
