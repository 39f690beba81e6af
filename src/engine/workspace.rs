//! The run's tree: pristine copy, checkpoints, and the sandboxes stacked on them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    engine::EngineError,
    guard::{self, Judged, Phase, Ruling, WriteSets},
    names::RelPath,
    policy::{Limits, ReadOnlyMount, Role, SandboxPlan, Tier, WorkspacePlan},
    sandbox::{Sandbox, jail::Jail},
    tree::{self, Change, Checkpoint, Pristine, Survey, TreeEdits},
};

/// What the settled end of a phase left behind.
#[derive(Default)]
pub(super) struct Settled {
    /// Every change of the phase, judged.
    pub judged: Vec<Judged>,
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
    pub limits: Limits,
    pub min_tier: Tier,
    pub disk_bytes: u64,
    pub disk_inodes: u64,
    pub agent_mounts: Vec<ReadOnlyMount>,
}

/// The tree of one run and everything stacked on it.
pub(super) struct Workspace {
    run: String,
    pristine: Arc<Pristine>,
    sets: WriteSets,
    scratch: PathBuf,
    current: Checkpoint,
    start: Checkpoint,
    walls: Walls,
    serial: u64,
    agent: Option<AgentSite>,
}

/// The live agent sandbox and what it was stacked on.
struct AgentSite {
    sandbox: Sandbox,
    upper: PathBuf,
    base: Checkpoint,
}

impl Workspace {
    /// The workspace of a run; `scratch` is a directory of the run's own.
    pub fn new(
        run: String,
        pristine: Arc<Pristine>,
        sets: WriteSets,
        scratch: PathBuf,
        walls: Walls,
    ) -> Result<Self, EngineError> {
        let start = Checkpoint::empty(&scratch.join("start"))?;
        Ok(Self {
            run,
            pristine,
            sets,
            scratch,
            current: start.clone(),
            start,
            walls,
            serial: 0,
            agent: None,
        })
    }

    /// The accepted state.
    pub fn current(&self) -> &Checkpoint {
        &self.current
    }

    /// The tree as it was copied.
    pub fn pristine(&self) -> &Pristine {
        &self.pristine
    }

    /// Every accepted change since the start.
    pub fn changes(&self) -> Vec<Change> {
        self.current.changes_since(&self.pristine, &self.start)
    }

    /// The paths that decide whether work is accepted.
    pub fn contract(&self) -> &[RelPath] {
        &self.sets.contract
    }

    /// The state at the start.
    pub fn start(&self) -> &Checkpoint {
        &self.start
    }

    /// The agent's sandbox, if it lives.
    pub fn agent(&self) -> Option<&Sandbox> {
        self.agent.as_ref().map(|site| &site.sandbox)
    }

    fn next_dir(&mut self, what: &str) -> PathBuf {
        self.serial += 1;
        self.scratch.join(format!("{:04}-{what}", self.serial))
    }

    fn plan(&mut self, role: Role, lowers: Vec<PathBuf>) -> SandboxPlan {
        let name = match role {
            Role::Agent => "agent",
            Role::Judge => "judge",
        };
        let scratch = self.next_dir(name);
        SandboxPlan {
            label: format!("{}-{name}-{}", self.run, self.serial),
            role,
            workspace: WorkspacePlan {
                lowers,
                scratch,
                max_bytes: self.walls.disk_bytes,
                max_inodes: self.walls.disk_inodes,
            },
            read_only: if role == Role::Agent {
                self.walls.agent_mounts.clone()
            } else {
                Vec::new()
            },
            limits: self.walls.limits.clone(),
            min_tier: self.walls.min_tier,
        }
    }

    /// The layers of the accepted state, lowest first.
    fn lowers(&self) -> Vec<PathBuf> {
        let mut lowers = self.pristine.roots.clone();
        lowers.push(self.current.layer.clone());
        lowers
    }

    /// Builds the agent's sandbox on the accepted state, replacing a dead one.
    pub async fn open_agent(&mut self, jail: &Jail) -> Result<&Sandbox, EngineError> {
        self.close_agent().await?;
        let mask_dir = self.next_dir("mask");
        let mask = tree::mask_layer(&self.pristine, &self.sets.withheld, &mask_dir)?;
        let mut lowers = self.lowers();
        lowers.push(mask);
        let plan = self.plan(Role::Agent, lowers);
        let sandbox = jail.create(&plan).await?;
        let upper = plan.workspace.scratch.join("upper");
        Ok(&self
            .agent
            .insert(AgentSite {
                sandbox,
                upper,
                base: self.current.clone(),
            })
            .sandbox)
    }

    /// Ends the agent's sandbox.
    pub async fn close_agent(&mut self) -> Result<(), EngineError> {
        if let Some(site) = self.agent.take() {
            site.sandbox.destroy().await?;
        }
        Ok(())
    }

    /// Ends a phase: stops what the turn left running, takes a checkpoint,
    /// judges every change, takes back what may not stay and goes on from there.
    /// With `discard`, or when anything is a violation, the whole phase goes.
    pub async fn settle(
        &mut self,
        jail: &Jail,
        server: Option<u64>,
        phase: Phase,
        discard: bool,
    ) -> Result<Settled, EngineError> {
        let Some(site) = self.agent.as_ref() else {
            return Ok(Settled::default());
        };
        let keep: Vec<u64> = server.into_iter().collect();
        let leaked = site.sandbox.sweep(&keep).await?.len() as u64;
        site.sandbox.freeze().await?;
        let (upper, base) = (site.upper.clone(), site.base.clone());
        let dir = self.next_dir("checkpoint");
        let found = Checkpoint::freeze(&self.pristine, Some(&base), &upper, &dir)?;
        let changes = found.changes_since(&self.pristine, &self.current);
        let judged = guard::judge(phase, &self.sets, changes);
        let refused: Vec<Change> = judged
            .iter()
            .filter(|j| j.ruling != Ruling::Allowed)
            .map(|j| j.change.clone())
            .collect();
        let evidence = if refused.is_empty() {
            Vec::new()
        } else {
            tree::patch(&self.pristine, &self.current, &found, &refused)?
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
            found.with_reverted(&self.pristine, &self.current, &back, &dir)?
        };
        let restored = back.is_empty() || self.take_back(&found, &target, &back).await?;
        self.current = target;
        if restored {
            self.thaw().await?;
        } else {
            // The live tree could not be brought back: drop its layer instead.
            self.open_agent(jail).await?;
        }
        Ok(Settled {
            judged,
            evidence,
            leaked,
        })
    }

    /// Restores `paths` in the live, frozen tree; `false` if it does not then
    /// equal `target` byte for byte.
    async fn take_back(&self, found: &Checkpoint, target: &Checkpoint, paths: &[RelPath]) -> Result<bool, EngineError> {
        let edits = found.edits_back_masked(&self.pristine, target, paths, &self.sets.withheld)?;
        self.put_and_compare(&edits, target).await
    }

    async fn put_and_compare(&self, edits: &TreeEdits, target: &Checkpoint) -> Result<bool, EngineError> {
        let Some(site) = self.agent.as_ref() else {
            return Ok(true);
        };
        if let Err(why) = site.sandbox.put(&edits.removals, edits.tar.clone()).await {
            tracing::warn!("the tree could not be restored in place: {why}");
            return Ok(false);
        }
        let now = Survey::of_upper(&self.pristine, Some(&site.base), &site.upper)?;
        Ok(now.changes_since(&self.pristine, target).is_empty())
    }

    async fn thaw(&self) -> Result<(), EngineError> {
        if let Some(site) = &self.agent {
            site.sandbox.thaw().await?;
        }
        Ok(())
    }

    /// The plan's bytes in the accepted state, bounded.
    pub fn read(&self, path: &RelPath, max: u64) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.current.read(&self.pristine, path, max)?)
    }

    /// Writes one file as the machine: into the accepted state and the live tree.
    pub async fn write(&mut self, jail: &Jail, path: &RelPath, bytes: &[u8]) -> Result<(), EngineError> {
        let dir = self.next_dir("checkpoint");
        let target = self.current.with_file(&self.pristine, path, bytes, &dir)?;
        let mut edits = TreeEdits::write_file(path, bytes, 0o644);
        edits.removals.push(path.clone());
        if let Some(site) = &self.agent {
            site.sandbox.freeze().await?;
        }
        let restored = self.put_and_compare(&edits, &target).await?;
        self.current = target;
        if restored {
            self.thaw().await
        } else {
            self.open_agent(jail).await.map(|_| ())
        }
    }

    /// A fresh judge over the accepted state, and where its own changes will lie.
    pub async fn open_judge(&mut self, jail: &Jail) -> Result<(Sandbox, PathBuf), EngineError> {
        let plan = self.plan(Role::Judge, self.lowers());
        let sandbox = jail.create(&plan).await?;
        Ok((sandbox, plan.workspace.scratch.join("upper")))
    }

    /// What a finished judge wrote, on top of the accepted state.
    pub fn judge_outputs(&mut self, upper: &Path) -> Result<Checkpoint, EngineError> {
        let dir = self.next_dir("judged");
        Ok(Checkpoint::freeze(&self.pristine, Some(&self.current), upper, &dir)?)
    }
}
