//! The bootstrap before the stages: its layer found ready, or made and kept.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Judge, Verification, millis, session::Session};
use crate::{
    engine::{
        EngineError,
        bootstrap::{Bootstrap, Places},
        workspace::Workspace,
    },
    names::RelPath,
    report::Happening,
    tree::{BaseLayer, Content},
};

/// Between two looks whether another process has made the layer.
const LOOK: Duration = Duration::from_millis(20);

/// What is written down with a layer.
#[derive(Serialize, Deserialize)]
struct Note {
    /// The run that made it.
    made_by: String,
    /// What its commands wrote and it does not hold, and why.
    left_out: Vec<(RelPath, String)>,
}

/// `bootstrap_layer.json`.
#[derive(Serialize)]
struct Record<'a> {
    key: Content,
    /// It was there before this run.
    ready: bool,
    #[serde(flatten)]
    note: &'a Note,
    /// Paths that it adds, changes or takes away.
    changes: usize,
    /// The target's own files among them: the agent's changes to them are put back.
    of_the_target: Vec<&'a RelPath>,
    /// Finding or making it, milliseconds.
    wall_ms: u64,
}

impl Judge<'_> {
    /// Sees to it that what bootstrap makes lies under the accepted state. `out` has
    /// failed in the stage `bootstrap` when it cannot be made.
    pub(super) async fn prepare(
        &self,
        workspace: &mut Workspace,
        name: &str,
        mut out: Verification,
    ) -> Result<Verification, EngineError> {
        let Some(bootstrap) = self.bootstrap else {
            return Ok(out);
        };
        if workspace.is_bootstrapped() {
            out.prepared();
            return Ok(out);
        }
        let began = Instant::now();
        let places = Places::of(self.backend, self.run.id());
        bootstrap.keep(self.run, name, &places)?;
        if !bootstrap.has_commands() {
            out.prepared();
            return Ok(out);
        }
        let key = bootstrap.key(workspace, self.pipeline, self.options, &places)?;
        let mut claim = None;
        let mut waits = false;
        loop {
            if let Some((layer, note)) = self.cache.layer(key, workspace.copied())? {
                // A note that cannot be read is not worth a layer that can.
                let note = serde_json::from_slice(&note).unwrap_or_else(|_| Note {
                    made_by: String::new(),
                    left_out: Vec::new(),
                });
                out.prepared();
                let text = "what bootstrap makes was ready".to_owned();
                self.reporter.say(Happening::Note { text });
                self.stand(workspace, name, key, &layer, (note, true), began).await?;
                return Ok(out);
            }
            // A run that is over makes nothing any more: its first command says so.
            if claim.is_some() || Instant::now() >= self.deadline {
                break;
            }
            claim = self.cache.claim(key)?;
            if claim.is_none() {
                if !waits {
                    let text = "another run is making what bootstrap makes; waiting for it".to_owned();
                    self.reporter.say(Happening::Note { text });
                }
                waits = true;
                tokio::time::sleep(LOOK).await;
            }
        }
        self.make(workspace, name, bootstrap, key, out, began).await
    }

    async fn make(
        &self,
        workspace: &mut Workspace,
        name: &str,
        bootstrap: &Bootstrap,
        key: Content,
        out: Verification,
        began: Instant,
    ) -> Result<Verification, EngineError> {
        let (sandbox, place) = workspace.open_bootstrap(self.backend).await?;
        let mut session = Session::new(self, sandbox, name, out)?;
        // It must not lie in the tree, which is kept.
        session.base.clone_from(&session.sandbox.inside().tmp);
        session.artifacts.clone_from(&session.base);
        let stage = bootstrap.stage(session.sandbox.inside())?;
        let ran = session.bootstrap(&stage).await;
        let out = session.end(ran).await?;
        if !out.ok {
            return Ok(out);
        }
        let (found, left_out) = workspace.bootstrapped(&place)?;
        let note = Note {
            made_by: self.run.id().to_string(),
            left_out,
        };
        let text = serde_json::to_vec(&note).unwrap_or_default();
        let (copied, current) = (workspace.copied(), workspace.current());
        let layer = self.cache.keep_layer(key, copied, current, &found, &text)?;
        self.stand(workspace, name, key, &layer, (note, false), began).await?;
        Ok(out)
    }

    async fn stand(
        &self,
        workspace: &mut Workspace,
        name: &str,
        key: Content,
        layer: &BaseLayer,
        (note, ready): (Note, bool),
        began: Instant,
    ) -> Result<(), EngineError> {
        let changes = layer.changes(workspace.copied());
        let record = Record {
            key,
            ready,
            note: &note,
            changes: changes.len(),
            of_the_target: layer
                .owned()
                .iter()
                .filter(|path| workspace.copied().manifest.contains_key(path))
                .collect(),
            wall_ms: millis(began.elapsed()),
        };
        for (path, why) in &note.left_out {
            let text = format!("bootstrap wrote {path}, which is not kept: {why}");
            self.reporter.say(Happening::Warning { text });
        }
        self.run.write_json(&format!("{name}/bootstrap_layer.json"), &record)?;
        self.run.journal("bootstrapped", &record)?;
        workspace.stand_on(layer).await
    }
}
