//! The sandboxes that are stacked on the accepted state.

use std::path::PathBuf;

use super::Workspace;
use crate::{
    engine::{EngineError, seat::Seat},
    policy::{ReadOnlyMount, Role, SandboxPlan, WorkspacePlan},
    sandbox::{Backend, Sandbox},
    tree::{self, Checkpoint, Place},
};

impl Workspace {
    fn plan(&mut self, role: Role, name: &str, lowers: Vec<PathBuf>) -> SandboxPlan {
        let scratch = self.next_dir(name);
        SandboxPlan {
            label: format!("{}-{name}-{}", self.run.id(), self.serial),
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
            network: self.walls.network,
            limits: self.walls.limits.clone(),
            min_tier: self.walls.min_tier,
            lease: self.walls.lease,
        }
    }

    /// A sandbox with its door out, where it is to have one.
    /// `role` is what the record calls it.
    async fn build(&mut self, backend: &Backend, role: &str, plan: &SandboxPlan) -> Result<Sandbox, EngineError> {
        let sandbox = self.create(backend, plan).await?;
        self.walled.note(&self.run, role, plan, sandbox.walls())?;
        if let Some(egress) = &self.walls.egress {
            egress.serve(&sandbox, &plan.label, plan.role).await?;
        }
        Ok(sandbox)
    }

    /// The layers of the accepted state, lowest first.
    fn lowers(&self) -> Vec<PathBuf> {
        let mut lowers = self.base.roots.clone();
        lowers.push(self.current.layer.clone());
        lowers
    }

    /// Gives the agent a place on the accepted state, in place of any earlier one: a
    /// sandbox, or for the user's server a copy of what a sandbox would show.
    pub async fn open_agent(&mut self, backend: &Backend) -> Result<(), EngineError> {
        self.close_agent().await?;
        let mask_dir = self.next_dir("mask");
        let mask = tree::mask_layer(&self.base, &self.sets.withheld, &mask_dir)?;
        let mut lowers = self.lowers();
        lowers.push(mask);
        let seat = match self.server.clone() {
            Some(server) => {
                let dir = self.next_dir("outside");
                Seat::outside(&server, &lowers, dir, self.current.clone())?
            }
            None => {
                let plan = self.plan(Role::Agent, "agent", lowers);
                Seat::inside(self.build(backend, "agent", &plan).await?, self.current.clone())
            }
        };
        self.agent = Some(seat);
        Ok(())
    }

    /// Builds a sandbox. In the first of its kind a witness tries the walls before anything
    /// else runs there; what it found is told of those after it as well, which are built alike.
    async fn create(&mut self, backend: &Backend, plan: &SandboxPlan) -> Result<Sandbox, EngineError> {
        let mut sandbox = backend.create(plan).await?;
        match self.witnessed.get(&plan.role) {
            Some(report) => sandbox.set_witness(report.clone()),
            None => {
                sandbox.witness().await?;
                self.witnessed
                    .extend(sandbox.walls().witness.clone().map(|report| (plan.role, report)));
            }
        }
        Ok(sandbox)
    }

    /// Ends the agent's sandbox, or removes its copy.
    pub async fn close_agent(&mut self) -> Result<(), EngineError> {
        match self.agent.take() {
            Some(seat) => seat.leave().await,
            None => Ok(()),
        }
    }

    /// A fresh judge over the accepted state, and where its own changes will lie.
    /// `read_only` shows there besides.
    pub async fn open_judge(
        &mut self,
        backend: &Backend,
        read_only: Vec<ReadOnlyMount>,
    ) -> Result<(Sandbox, Place), EngineError> {
        self.open_fresh(backend, "judge", "judge", read_only).await
    }

    /// The same for one measurement alone.
    pub async fn open_sealed(
        &mut self,
        backend: &Backend,
        read_only: Vec<ReadOnlyMount>,
    ) -> Result<(Sandbox, Place), EngineError> {
        self.open_fresh(backend, "sealed-judge", "sealed", read_only).await
    }

    /// A sandbox of its own for the bootstrap, with the judge's walls, likewise.
    pub async fn open_bootstrap(&mut self, backend: &Backend) -> Result<(Sandbox, Place), EngineError> {
        self.open_fresh(backend, "judge", "bootstrap", Vec::new()).await
    }

    async fn open_fresh(
        &mut self,
        backend: &Backend,
        role: &str,
        name: &str,
        read_only: Vec<ReadOnlyMount>,
    ) -> Result<(Sandbox, Place), EngineError> {
        let mut plan = self.plan(Role::Judge, name, self.lowers());
        plan.read_only = read_only;
        let sandbox = self.build(backend, role, &plan).await?;
        let place = sandbox.place().clone();
        Ok((sandbox, place))
    }

    /// What a finished judge wrote, on top of the accepted state.
    pub fn judge_outputs(&mut self, place: &Place) -> Result<Checkpoint, EngineError> {
        let dir = self.next_dir("judged");
        Ok(Checkpoint::freeze_place(&self.base, &self.current, place, &[], &dir)?)
    }
}
