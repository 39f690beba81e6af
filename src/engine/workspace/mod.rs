//! The run's tree: pristine copy, checkpoints, and the sandboxes stacked on them.
//!
//! | file | holds |
//! |---|---|
//! | `bootstrapped` | what a bootstrap makes, under the accepted state |
//! | `machine` | what the machine itself writes |
//! | `sandboxes` | those that are stacked on it |
//! | `written` | a contract that is written in it, and states to return to |

mod bootstrapped;
mod machine;
mod sandboxes;
mod written;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    agent::{Desk, Server},
    broker::EgressDoor,
    contract::Pipeline,
    engine::{EngineError, branch::Found, evidence::Walled, seat::Seat},
    guard::{self, Judged, Phase, Ruling, WriteSets},
    names::RelPath,
    policy::{Limits, NetworkMode, ReadOnlyMount, Role, Tier},
    record::{RunDir, audit::Digest},
    sandbox::{Backend, Sandbox, WitnessReport},
    tree::{self, Change, Checkpoint, Content, Entry, Pristine, StepWriter, Survey, TreeEdits},
};

pub(super) use written::Mark;

/// What the settled end of a phase left behind.
#[derive(Default)]
pub(super) struct Settled {
    /// What of the changes may stay did stay.
    pub kept: bool,
    /// Every change of the phase that is anybody's work, judged.
    pub judged: Vec<Judged>,
    /// What bootstrap had made, changed and put back.
    pub restored: Vec<RelPath>,
    /// What the refused changes looked like, as a patch.
    pub evidence: Vec<u8>,
    /// Processes that outlived the turn.
    pub leaked: u64,
}

impl Settled {
    /// The findings to show to the agent.
    pub fn violations(&self) -> Vec<String> {
        self.judged
            .iter()
            .filter(|j| j.ruling == Ruling::Violation)
            .map(|j| format!("`{}`: {}", j.change.path, j.because))
            .collect()
    }
}

/// How sandboxes of this run are built.
pub(super) struct Walls {
    pub network: NetworkMode,
    /// The door out, where the network is `allow`.
    pub egress: Option<Arc<EgressDoor>>,
    pub limits: Limits,
    pub min_tier: Tier,
    pub lease: Duration,
    pub disk_bytes: u64,
    pub disk_inodes: u64,
    pub agent_mounts: Vec<ReadOnlyMount>,
}

/// The tree of one run and everything stacked on it.
pub(super) struct Workspace {
    run: Arc<RunDir>,
    /// The target as it was copied.
    copied: Arc<Pristine>,
    /// What everything stands on: the copy, and what bootstrap made over it.
    base: Arc<Pristine>,
    sets: WriteSets,
    scratch: PathBuf,
    current: Checkpoint,
    start: Checkpoint,
    /// The state that was kept last, and what keeps them.
    kept: Checkpoint,
    steps: Option<StepWriter>,
    last_step: Option<(u64, Content)>,
    /// What stands around sandboxes.
    walled: Walled,
    walls: Walls,
    serial: u64,
    agent: Option<Seat>,
    /// What a witness found in the first sandbox of each kind.
    witnessed: HashMap<Role, WitnessReport>,
    /// The user's server, where the agent is not to run inside.
    server: Option<Server>,
}

impl Workspace {
    /// The workspace of a run; `scratch` is a directory of the run's own.
    pub fn new(
        run: Arc<RunDir>,
        copied: Arc<Pristine>,
        sets: WriteSets,
        scratch: PathBuf,
        walls: Walls,
    ) -> Result<Self, EngineError> {
        let start = Checkpoint::empty(&scratch.join("start"))?;
        Ok(Self {
            run,
            base: copied.clone(),
            copied,
            sets,
            scratch,
            current: start.clone(),
            kept: start.clone(),
            start,
            steps: None,
            last_step: None,
            walled: Walled::default(),
            walls,
            serial: 0,
            agent: None,
            witnessed: HashMap::new(),
            server: None,
        })
    }

    /// The accepted state.
    pub fn current(&self) -> &Checkpoint {
        &self.current
    }

    /// The target as it was copied.
    pub fn copied(&self) -> &Pristine {
        &self.copied
    }

    /// What the accepted state is measured from: the copy, and what bootstrap made.
    pub fn base(&self) -> &Pristine {
        &self.base
    }

    /// Every accepted change since the start.
    pub fn changes(&self) -> Vec<Change> {
        self.current.changes_since(&self.base, &self.start)
    }

    /// What the guard protects.
    pub fn sets(&self) -> &WriteSets {
        &self.sets
    }

    /// What an agent's sandbox shows besides the tree.
    pub fn furnish(&mut self, mounts: Vec<ReadOnlyMount>) {
        self.walls.agent_mounts = mounts;
    }

    /// Protects what the contract says is the judge's, besides what the host's policy does.
    pub fn protect(&mut self, pipeline: &Pipeline) {
        self.sets.protected.extend(pipeline.protections());
    }

    /// The state at the start.
    pub fn start(&self) -> &Checkpoint {
        &self.start
    }

    /// Keeps every accepted state from now on; this one is the first.
    pub fn keep_steps(&mut self) -> Result<(), EngineError> {
        self.steps = Some(StepWriter::new(self.run.path(), self.copied.digest));
        self.keep_step("start")
    }

    /// Goes on from a step of an earlier run over the same tree.
    pub fn go_on(&mut self, from: &Found, label: &str) -> Result<(), EngineError> {
        let dir = self.next_dir("checkpoint");
        self.current = from.state(&self.base, &dir)?;
        self.keep_step(label)
    }

    /// Takes up a run of this workspace that was cut off, at one of its steps.
    pub fn take_up(&mut self, own: &Found) -> Result<(), EngineError> {
        let dir = self.next_dir("checkpoint");
        let mut state = own.state(&self.copied, &dir)?;
        if self.is_bootstrapped() {
            let dir = self.next_dir("checkpoint");
            state = state.over(&self.copied, &self.base, &dir)?;
        }
        self.steps = Some(own.writer());
        self.last_step = Some(own.stand());
        self.kept = state.clone();
        self.current = state;
        Ok(())
    }

    /// What stood around the sandboxes of the run before it was cut off.
    pub fn stood(&mut self, walls: impl Iterator<Item = (String, (Digest, String))>) {
        self.walled.stood(walls);
    }

    /// Keeps the accepted state, where they are kept.
    fn keep_step(&mut self, label: &str) -> Result<(), EngineError> {
        let Some(steps) = &mut self.steps else { return Ok(()) };
        let kept = steps.keep(&self.base, &self.kept, &self.current, label)?;
        self.kept = self.current.clone();
        self.last_step = Some((kept.step.number, kept.step.state));
        Ok(self.run.keep_step(&kept)?)
    }

    /// Number and digest of the state that was kept last.
    pub fn last_step(&self) -> Option<(u64, Content)> {
        self.last_step
    }

    /// Per role: the digest of its sandboxes' plan, and the tier of their walls.
    pub fn walled(&self) -> impl Iterator<Item = (&String, &(Digest, String))> {
        self.walled.all()
    }

    /// Lets the agent work at the user's server, on copies of the tree.
    pub fn seat_outside(&mut self, server: Server) {
        self.server = Some(server);
    }

    /// Whether the agent works at the user's server.
    pub fn is_outside(&self) -> bool {
        self.server.is_some()
    }

    /// The agent's sandbox, if it lives and has one.
    pub fn agent(&self) -> Option<&Sandbox> {
        self.agent.as_ref()?.sandbox()
    }

    /// Where the agent works, if that is there.
    pub fn desk(&self) -> Option<Desk<'_>> {
        self.agent.as_ref().map(Seat::desk)
    }

    fn next_dir(&mut self, what: &str) -> PathBuf {
        self.serial += 1;
        self.scratch.join(format!("{:04}-{what}", self.serial))
    }

    /// Ends a phase: stops what the turn left running, takes a checkpoint,
    /// judges every change, takes back what may not stay and goes on from there.
    /// With `discard`, or when anything is a violation, the whole phase goes.
    pub async fn settle(
        &mut self,
        backend: &Backend,
        server: Option<u64>,
        phase: Phase,
        label: &str,
        discard: bool,
    ) -> Result<Settled, EngineError> {
        let Some(site) = self.agent.as_ref() else {
            return Ok(Settled::default());
        };
        let leaked = site.hold_still(server).await?;
        let (place, base) = (site.place.clone(), site.base.clone());
        let dir = self.next_dir("checkpoint");
        let found = Checkpoint::freeze_place(&self.base, &base, &place, &self.sets.withheld, &dir)?;
        let changes = found.changes_since(&self.base, &self.current);
        let judged = guard::judge(phase, &self.sets, changes);
        let refused: Vec<Change> = judged
            .iter()
            .filter(|j| !matches!(j.ruling, Ruling::Allowed | Ruling::Restored))
            .map(|j| j.change.clone())
            .collect();
        let evidence = if refused.is_empty() {
            Vec::new()
        } else {
            tree::patch(&self.base, &self.current, &found, &refused)?
        };
        let violated = judged.iter().any(|j| j.ruling == Ruling::Violation);
        let back: Vec<RelPath> = if violated || discard {
            judged.iter().map(|j| j.change.path.clone()).collect()
        } else {
            guard::revert_paths(&judged)
        };
        let target = if back.is_empty() {
            found.clone()
        } else if violated || discard {
            self.current.clone()
        } else {
            let dir = self.next_dir("checkpoint");
            found.with_reverted(&self.base, &self.current, &back, &dir)?
        };
        let restored = back.is_empty() || self.take_back(&found, &target, &back).await?;
        self.current = target;
        let kept = !(violated || discard);
        if kept {
            self.keep_step(label)?;
        }
        if restored {
            self.thaw().await?;
        } else {
            // The live tree could not be brought back: drop its layer instead.
            self.open_agent(backend).await?;
        }
        let (restored, judged): (Vec<Judged>, _) = judged.into_iter().partition(|j| j.ruling == Ruling::Restored);
        Ok(Settled {
            kept,
            judged,
            restored: restored.into_iter().map(|j| j.change.path).collect(),
            evidence,
            leaked,
        })
    }

    /// Restores `paths` in the live, frozen tree; `false` if it does not then
    /// equal `target` byte for byte.
    async fn take_back(&self, found: &Checkpoint, target: &Checkpoint, paths: &[RelPath]) -> Result<bool, EngineError> {
        let edits = found.edits_back_masked(&self.base, target, paths, &self.sets.withheld)?;
        self.put_and_compare(&edits, target).await
    }

    async fn put_and_compare(&self, edits: &TreeEdits, target: &Checkpoint) -> Result<bool, EngineError> {
        let Some(site) = self.agent.as_ref() else {
            return Ok(true);
        };
        if !site.put(edits).await {
            return Ok(false);
        }
        let now = Survey::of_place(&self.base, &site.base, &site.place, &self.sets.withheld)?;
        Ok(now.changes_since(&self.base, target).is_empty())
    }

    async fn thaw(&self) -> Result<(), EngineError> {
        if let Some(sandbox) = self.agent() {
            sandbox.thaw().await?;
        }
        Ok(())
    }

    /// What lies at `path` in the accepted state.
    pub fn entry(&self, path: &RelPath) -> Option<Entry> {
        self.current.entry(&self.base, path)
    }

    /// The bytes of a file in the accepted state, bounded.
    pub fn read(&self, path: &RelPath, max: u64) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.current.read(&self.base, path, max)?)
    }

    /// The walls of this run, and the caps of its sandboxes.
    pub fn walls(&self) -> &Walls {
        &self.walls
    }
}
