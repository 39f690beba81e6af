//! What the machine itself writes into the accepted state.

use super::Workspace;
use crate::{
    engine::EngineError,
    guard::{self, Phase, Ruling},
    names::RelPath,
    policy::Inside,
    sandbox::Backend,
    tree::{Change, ChangeKind, Checkpoint, Entry, TreeEdits},
};

impl Workspace {
    /// Writes one file as the machine: into the accepted state and the live tree.
    pub async fn write(&mut self, backend: &Backend, path: &RelPath, bytes: &[u8]) -> Result<(), EngineError> {
        let dir = self.next_dir("checkpoint");
        let target = self.current.with_file(&self.base, path, bytes, &dir)?;
        let mut edits = TreeEdits::write_file(path, bytes, 0o644);
        edits.removals.push(path.clone());
        self.amend(backend, &edits, target).await?;
        self.keep_step(&format!("the machine wrote {path}"))
    }

    /// Removes one path as the machine, from the accepted state and the live tree.
    pub async fn remove(&mut self, backend: &Backend, path: &RelPath) -> Result<(), EngineError> {
        let dir = self.next_dir("checkpoint");
        let target = self.current.without(&self.base, path, &dir)?;
        let edits = TreeEdits {
            removals: vec![path.clone()],
            ..TreeEdits::default()
        };
        self.amend(backend, &edits, target).await?;
        self.keep_step(&format!("the machine removed {path}"))
    }

    async fn amend(&mut self, backend: &Backend, edits: &TreeEdits, target: Checkpoint) -> Result<(), EngineError> {
        if let Some(sandbox) = self.agent() {
            sandbox.freeze().await?;
        }
        let restored = self.put_and_compare(edits, &target).await?;
        self.current = target;
        if restored {
            self.thaw().await
        } else {
            self.open_agent(backend).await
        }
    }

    /// The path of the tree that an action may write a file to, or why it may not.
    pub fn place(&self, inside: &Inside, given: &str) -> Result<RelPath, String> {
        let below = given
            .strip_prefix(&inside.workspace)
            .filter(|rest| rest.starts_with('/'));
        let path = below.map_or(given, |rest| rest.trim_start_matches('/'));
        let path = RelPath::new(path).map_err(|why| format!("path_outside_repo: {why}"))?;
        let change = Change {
            path: path.clone(),
            kind: ChangeKind::Modified,
            before: self.current.entry(&self.base, &path),
            after: Some(Entry::file(&[], 0o644)),
        };
        match guard::judge(Phase::ExecuteStep, &self.sets, vec![change]).pop() {
            Some(judged) if judged.ruling != Ruling::Allowed => {
                Err(format!("path_is_protected: {path}: {}", judged.because))
            }
            _ => Ok(path),
        }
    }
}
