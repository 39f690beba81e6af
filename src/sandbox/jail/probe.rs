//! What this host can give, found out by doing it.

use serde::Serialize;

use super::{Jail, host::remedy};
use crate::{
    policy::{Limits, Role, SandboxPlan, Tier, WorkspacePlan},
    sandbox::{ExecSpec, OutputCaps, SandboxError, WallState},
    wire::{Argv, Leftovers, Termination},
};

/// One primitive.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeRow {
    /// Its name.
    pub primitive: String,
    /// Whether it is there.
    pub state: ProbeState,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when nothing is to be done.
    pub remedy: String,
}

/// Whether a primitive is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeState {
    /// It works.
    Ok,
    /// Something weaker stands in.
    Degraded,
    /// It does not work.
    Missing,
}

/// All primitives and the tier they add up to.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    /// The tier; `None` when no jail can be built.
    pub tier: Option<Tier>,
    /// The primitives.
    pub rows: Vec<ProbeRow>,
}

impl Probe {
    /// Builds a throw-away jail in `scratch` and runs `true` in it.
    pub async fn run(jail: &Jail, scratch: &std::path::Path) -> Self {
        let mut rows = Vec::new();
        match attempt(jail, scratch).await {
            Ok(report) => {
                for wall in report.walls {
                    let (state, detail) = match wall.state {
                        WallState::Enforced => (ProbeState::Ok, String::new()),
                        WallState::Degraded(why) => (ProbeState::Degraded, why),
                        WallState::Absent(why) => (ProbeState::Missing, why),
                    };
                    let remedy = match (state, wall.name.starts_with("cgroup")) {
                        (ProbeState::Ok, _) | (_, false) => String::new(),
                        _ => "run as root for cgroup limits".to_owned(),
                    };
                    rows.push(ProbeRow {
                        primitive: wall.name,
                        state,
                        detail,
                        remedy,
                    });
                }
                Self {
                    tier: Some(report.tier),
                    rows,
                }
            }
            Err(why) => {
                let (primitive, detail, remedy) = match why {
                    SandboxError::Build { step, source, remedy } => (step, source.to_string(), remedy),
                    SandboxError::Guest { step, errno, why } => {
                        let remedy = remedy(&step, errno.unwrap_or(0));
                        (step, why, remedy)
                    }
                    other => ("jail".to_owned(), other.to_string(), remedy("", 0)),
                };
                rows.push(ProbeRow {
                    primitive,
                    state: ProbeState::Missing,
                    detail,
                    remedy,
                });
                Self { tier: None, rows }
            }
        }
    }
}

async fn attempt(jail: &Jail, scratch: &std::path::Path) -> Result<crate::sandbox::WallReport, SandboxError> {
    let io = |source| SandboxError::Io {
        what: "prepare a probe".to_owned(),
        source,
    };
    let lower = scratch.join("lower");
    std::fs::create_dir_all(&lower).map_err(io)?;
    let plan = SandboxPlan {
        label: format!("probe-{}", std::process::id()),
        role: Role::Judge,
        workspace: WorkspacePlan {
            lowers: vec![lower],
            scratch: scratch.join("layer"),
            max_bytes: 1 << 20,
            max_inodes: 100,
        },
        read_only: Vec::new(),
        limits: Limits::default(),
        min_tier: Tier::Landlock,
        loopback_ports: Vec::new(),
    };
    let sandbox = jail.create(&plan).await?;
    let report = sandbox.walls().clone();
    let spec = ExecSpec {
        argv: Argv::Direct(vec!["/bin/true".to_owned()]),
        env: Vec::new(),
        cwd: "/".to_owned(),
        wall: std::time::Duration::from_secs(10),
        leftovers: Leftovers::Kill,
        stdout: OutputCaps::default(),
        stderr: OutputCaps::default(),
    };
    let outcome = sandbox.exec(spec).await?.wait().await;
    sandbox.destroy().await?;
    match outcome?.end {
        Termination::Code(0) => Ok(report),
        other => Err(SandboxError::Gone(format!("`true` ended as {other:?}"))),
    }
}
