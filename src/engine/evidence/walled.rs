//! What stands around the sandboxes of a run.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    engine::EngineError,
    policy::SandboxPlan,
    record::{RunDir, audit::Digest},
    sandbox::WallReport,
};

/// What stands around the sandboxes of a run, by their role: told when it is new.
#[derive(Default)]
pub(in crate::engine) struct Walled(BTreeMap<String, (Digest, String)>, BTreeMap<String, Digest>);

impl Walled {
    /// A sandbox stands.
    pub fn note(
        &mut self,
        run: &RunDir,
        role: &str,
        plan: &SandboxPlan,
        report: &WallReport,
    ) -> Result<(), EngineError> {
        let plan = plan_digest(plan);
        let seen = Digest::of(json!([plan, report]).to_string().as_bytes());
        if self.1.insert(role.to_owned(), seen) == Some(seen) {
            return Ok(());
        }
        self.0.insert(role.to_owned(), (plan, report.tier.to_string()));
        run.note("walls", &json!({"role": role, "plan": plan, "report": report}))?;
        Ok(())
    }

    /// What stood before the run was cut off.
    pub fn stood(&mut self, walls: impl Iterator<Item = (String, (Digest, String))>) {
        self.0.extend(walls);
    }

    pub fn all(&self) -> impl Iterator<Item = (&String, &(Digest, String))> {
        self.0.iter()
    }
}

/// The digest of what a plan asks for, without the names of this one run and of places on
/// this one host.
fn plan_digest(plan: &SandboxPlan) -> Digest {
    let mut plan = plan.clone();
    plan.label.clear();
    plan.workspace.lowers.clear();
    plan.workspace.scratch.clear();
    plan.read_only.iter_mut().for_each(|mount| mount.host.clear());
    // Plain values: encoding them never fails.
    Digest::of(&serde_json::to_vec(&plan).unwrap_or_default())
}
