//! What this host can give, found out by doing it.

use std::{io, path::Path};

use serde::Serialize;

use super::{
    Jail, cgroup,
    primitive::{PRIMITIVES, Primitive, Unbuilt},
    walls::{GROUPS, WHOLE_LANDLOCK, landlock_bits},
};
use crate::{
    guest::landlock_abi,
    policy::{LEASE, Limits, Role, SandboxPlan, Tier, WorkspacePlan},
    sandbox::{ExecSpec, Sandbox, SandboxError, Wall, WallReport, WallState, bare::Bare},
    wire::{Argv, Termination},
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
    /// Builds a throw-away jail in `scratch` and runs `true` in it; where the host
    /// refuses that, what is weaker and can be had.
    pub async fn run(jail: &Jail, scratch: &Path) -> Self {
        let why = match attempt(jail, scratch).await {
            Ok(report) => {
                return Self {
                    tier: Some(report.tier),
                    rows: report.walls.into_iter().map(stands).collect(),
                };
            }
            Err(why) => why,
        };
        let refusal = why.refusal();
        let mut rows = refused(why);
        let mut tier = None;
        if let Some((_, refusal)) = refusal {
            let plan = SandboxPlan {
                workspace: WorkspacePlan {
                    scratch: scratch.join("bare"),
                    ..plan(scratch).workspace
                },
                ..plan(scratch)
            };
            match tried(Bare::new(&refusal).create(&plan).await).await {
                Ok(report) => {
                    tier = Some(report.tier);
                    rows.extend(report.walls.into_iter().map(|wall| ProbeRow {
                        primitive: format!("{}: {}", report.tier, wall.name),
                        ..stands(wall)
                    }));
                }
                Err(why) => rows.push(ProbeRow {
                    primitive: format!("tier {}", Tier::Landlock),
                    state: ProbeState::Missing,
                    detail: why.to_string(),
                    remedy: String::new(),
                }),
            }
        }
        Self { tier, rows }
    }
}

impl Jail {
    /// What this host refuses so that no jail can be built, though what is weaker can;
    /// `None` where one stands. Tried in `scratch`.
    ///
    /// # Errors
    /// What failed for another reason than a refusal.
    pub async fn refusal(&self, scratch: &Path) -> Result<Option<String>, SandboxError> {
        match attempt(self, scratch).await {
            Ok(_) => Ok(None),
            Err(why) => match why.refusal() {
                Some((_, refusal)) => Ok(Some(refusal)),
                None => Err(why.into_error(Tier::Landlock)),
            },
        }
    }
}

/// The row of a wall of the jail that was built.
fn stands(wall: Wall) -> ProbeRow {
    let (state, detail) = match wall.state {
        WallState::Enforced if wall.name == Primitive::Landlock.name() => {
            let abi = landlock_abi();
            (ProbeState::Ok, format!("ABI {abi}: {}", landlock_bits(abi)))
        }
        WallState::Enforced => (ProbeState::Ok, String::new()),
        WallState::Degraded(why) => (ProbeState::Degraded, why),
        WallState::Absent(why) => (ProbeState::Missing, why),
    };
    let remedy = if state == ProbeState::Ok {
        String::new()
    } else if wall.name == Primitive::Landlock.name() {
        Primitive::Landlock.remedy(0)
    } else if wall.name.starts_with("cgroup ") {
        cgroup::remedy().to_owned()
    } else if wall.name == GROUPS {
        "start it without them: sudo setpriv --reuid=$(id -u) --regid=$(id -g) --clear-groups opencode-fsm ..."
            .to_owned()
    } else {
        String::new()
    };
    ProbeRow {
        primitive: wall.name,
        state,
        detail,
        remedy,
    }
}

/// The rows where no jail could be built: what comes before the refused
/// primitive works, what comes after it was not reached.
fn refused(why: Unbuilt) -> Vec<ProbeRow> {
    let (step, detail, errno) = match why {
        Unbuilt::Step { step, errno } => (step, io::Error::from_raw_os_error(errno).to_string(), errno),
        Unbuilt::Other(SandboxError::Guest { step, errno, why }) => (step, why, errno.unwrap_or(0)),
        Unbuilt::Other(other) => ("jail".to_owned(), other.to_string(), 0),
    };
    let row = |primitive: &str, state, detail: String, remedy: String| ProbeRow {
        primitive: primitive.to_owned(),
        state,
        detail,
        remedy,
    };
    let Some(culprit) = Primitive::of(&step) else {
        return vec![row(&step, ProbeState::Missing, detail, String::new())];
    };
    let at = PRIMITIVES.iter().position(|p| *p == culprit).unwrap_or(0);
    let mut rows: Vec<ProbeRow> = PRIMITIVES[..at]
        .iter()
        .map(|p| row(p.name(), ProbeState::Ok, String::new(), String::new()))
        .collect();
    let detail = format!("{step}: {detail}");
    rows.push(row(culprit.name(), ProbeState::Missing, detail, culprit.remedy(errno)));
    for after in &PRIMITIVES[at + 1..] {
        rows.push(match (after, landlock_abi()) {
            // This one the kernel tells by itself (landlock_create_ruleset(2)).
            (Primitive::Landlock, 0) => row(
                after.name(),
                ProbeState::Missing,
                "the kernel has none".to_owned(),
                after.remedy(0),
            ),
            (Primitive::Landlock, abi) => row(
                after.name(),
                if abi < WHOLE_LANDLOCK {
                    ProbeState::Degraded
                } else {
                    ProbeState::Ok
                },
                format!("ABI {abi}: {}; not tried in a jail", landlock_bits(abi)),
                String::new(),
            ),
            _ => row(
                after.name(),
                ProbeState::Missing,
                format!("not reached: {} comes first", culprit.name()),
                String::new(),
            ),
        });
    }
    rows
}

async fn attempt(jail: &Jail, scratch: &Path) -> Result<WallReport, Unbuilt> {
    let lower = scratch.join("lower");
    std::fs::create_dir_all(&lower).map_err(|source| SandboxError::Io {
        what: "prepare a probe".to_owned(),
        source,
    })?;
    let sandbox = jail.build(&plan(scratch)).await?;
    Ok(tried(Ok(sandbox)).await?)
}

/// A plan over an empty tree.
fn plan(scratch: &Path) -> SandboxPlan {
    SandboxPlan {
        label: format!("probe-{}", std::process::id()),
        role: Role::Judge,
        workspace: WorkspacePlan {
            lowers: vec![scratch.join("lower")],
            scratch: scratch.join("layer"),
            max_bytes: 1 << 20,
            max_inodes: 100,
        },
        read_only: Vec::new(),
        network: crate::policy::NetworkMode::None,
        limits: Limits {
            // Far from what `true` needs; asked for so that it is tried.
            cpu: Some(1000),
            ..Limits::default()
        },
        min_tier: Tier::Landlock,
        lease: LEASE,
    }
}

/// Runs `true` in a sandbox and ends it; gives its walls.
async fn tried(sandbox: Result<Sandbox, SandboxError>) -> Result<WallReport, SandboxError> {
    let sandbox = sandbox?;
    let report = sandbox.walls().clone();
    let argv = Argv::Direct(vec!["/bin/true".to_owned()]);
    let wall = std::time::Duration::from_secs(10);
    let spec = ExecSpec::question(argv, &sandbox.inside().workspace, wall, 0);
    let outcome = sandbox.exec(spec).await?.wait().await;
    sandbox.destroy().await?;
    match outcome?.end {
        Termination::Code(0) => Ok(report),
        other => Err(SandboxError::Gone(format!("`true` ended as {other:?}"))),
    }
}
