//! `summary.json`: what a run came to, in one document.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    broker::Usage,
    contract::AuditFinding,
    engine::{EngineError, Outcome, judge::Verification, site::Site},
    fsm::Blame,
    names::RelPath,
    policy::Policy,
    record::RunDir,
    report::{Happening, Reporter},
    sandbox::WallReport,
    source::{Kind, Provenance},
    tree::Change,
};

/// Version of [`Summary`].
pub const SUMMARY_VERSION: u32 = 1;

/// The outcome of one run.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// 1; it rises when a field changes its meaning.
    pub version: u32,
    /// The run.
    pub run_id: String,
    /// The target: an absolute path, or where it lies, without credentials.
    pub target: String,
    /// Where its tree comes from.
    #[serde(default)]
    pub source: Option<Provenance>,
    /// `DONE`, `MAX_ITERS`, …; `VERIFIED` or `VERIFICATION_FAILED`; `ERROR` (see docs/overview.md).
    pub exit_reason: String,
    /// One line about it.
    pub detail: String,
    /// The process exit code.
    pub exit_code: u8,
    /// Who failed, when somebody did.
    pub blame: Option<Blame>,
    /// Where the evidence of the last failed verification lies, relative to the run's directory.
    pub evidence: Option<String>,
    /// Iterations begun.
    pub iterations: u64,
    /// Agent turns taken.
    pub turns: u64,
    /// Phases in which the guard took something back.
    pub guard_events: u64,
    /// The plan's steps at the end.
    pub plan: PlanSummary,
    /// Accepted changes.
    pub changes: Vec<ChangeLine>,
    /// Changes that could not be copied out, each with its reason.
    pub refused: Vec<(RelPath, String)>,
    /// The last verification passed.
    pub verified: bool,
    /// Its metrics.
    pub metrics: Option<serde_json::Value>,
    /// What the audit found about how they came about.
    #[serde(default)]
    pub audit: Vec<AuditFinding>,
    /// The user's server at which the agent worked, outside every sandbox (`--opencode-url`).
    #[serde(default)]
    pub outside_agent: Option<String>,
    /// Model usage, where the door counted it; of an agent outside, what it says itself.
    pub usage: Option<Usage>,
    /// The walls that stood.
    pub walls: Option<WallReport>,
    /// What the host allowed: the digest of `policy.json`, and the files that it is made of.
    #[serde(default)]
    pub policy: Option<PolicyLine>,
    /// The changes were brought to the target (`--apply`).
    pub applied: bool,
    /// Digest of the target as copied.
    pub target_digest: String,
    /// The engine's own time per iteration, milliseconds: median and largest.
    pub own_ms: Option<(u64, u64)>,
    /// Wall time of the run, milliseconds.
    pub wall_ms: u64,
}

impl Summary {
    /// A summary of a run of which nothing is known yet.
    pub(super) fn new(site: &Site) -> Self {
        Self {
            version: SUMMARY_VERSION,
            run_id: site.run.id().to_string(),
            target: site.target.to_string(),
            source: Some(site.provenance.clone()),
            exit_reason: String::new(),
            detail: String::new(),
            exit_code: 7,
            blame: None,
            evidence: None,
            iterations: 0,
            turns: 0,
            guard_events: 0,
            plan: PlanSummary::default(),
            changes: Vec::new(),
            refused: Vec::new(),
            verified: false,
            metrics: None,
            audit: Vec::new(),
            outside_agent: None,
            usage: None,
            walls: None,
            policy: Some(site.policy.clone()),
            applied: false,
            target_digest: site.pristine.digest.to_string(),
            own_ms: None,
            wall_ms: 0,
        }
    }

    /// Takes over what the last verification came to. Who failed is the caller's to say, and
    /// evidence that it has named already stays.
    pub(super) fn judged(&mut self, last: Verification) {
        self.verified = last.ok;
        self.evidence = self.evidence.take().or(last.place);
        self.metrics = last.metrics;
        self.audit = last.audit;
        self.walls = last.walls;
    }

    /// Whether its target is a directory of this host.
    pub(super) fn is_of_a_directory(&self) -> bool {
        // Before there were others nothing was said of it.
        self.source.as_ref().is_none_or(|source| source.kind == Kind::Directory)
    }

    /// Writes `summary.json` and tells how it ended.
    pub(super) fn conclude(self, run: &RunDir, reporter: &Reporter) -> Result<Outcome, EngineError> {
        run.write_json("summary.json", &self)?;
        run.journal("ended", &json!({"reason": self.exit_reason, "exit": self.exit_code}))?;
        reporter.say(Happening::Ended {
            exit: self.exit_code,
            reason: self.exit_reason.clone(),
            summary: serde_json::to_value(&self).unwrap_or_default(),
        });
        let artifacts = run.path().to_path_buf();
        Ok(Outcome {
            summary: self,
            artifacts,
        })
    }
}

/// The policy of a run, in short.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PolicyLine {
    /// `sha256:` and the digest of the run's `policy.json`.
    pub digest: String,
    /// The files, the lowest first.
    pub layers: Vec<String>,
}

impl PolicyLine {
    /// Of what holds.
    pub(super) fn of(policy: &Policy) -> Self {
        Self {
            digest: policy.digest(),
            layers: policy.layers().iter().map(|(_, file)| file.to_string()).collect(),
        }
    }
}

/// The steps of a plan, as lines `ID text`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlanSummary {
    /// Done.
    pub done: Vec<String>,
    /// Next.
    pub next: Vec<String>,
    /// Backlog.
    pub backlog: Vec<String>,
}

/// One changed path.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChangeLine {
    /// The path.
    pub path: RelPath,
    /// `added`, `modified` or `deleted`.
    pub kind: crate::tree::ChangeKind,
}

impl From<&Change> for ChangeLine {
    fn from(change: &Change) -> Self {
        Self {
            path: change.path.clone(),
            kind: change.kind,
        }
    }
}
