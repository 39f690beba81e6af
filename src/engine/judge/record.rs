//! What a verification comes to.

use serde::Serialize;

use crate::{
    contract::StageName,
    fsm::{Evidence, Verdict},
    names::RelPath,
    record::Judgement,
    sandbox::WallReport,
};

/// One stage's result, as `<stage>_summary.json`.
#[derive(Clone, Debug, Serialize)]
pub(in crate::engine) struct StageSummary {
    pub stage: StageName,
    pub ok: bool,
    pub failed_index: Option<usize>,
    pub total_results: usize,
    /// Exit code of the command that failed, else of the last one.
    pub rc: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub wall_ms: u64,
}

/// A whole verification, as `summary.json` of its directory.
#[derive(Clone, Debug, Serialize)]
pub(in crate::engine) struct Verification {
    pub ok: bool,
    pub failed_stage: Option<String>,
    pub reason: Option<String>,
    pub stages: Vec<StageSummary>,
    pub metrics: Option<serde_json::Value>,
    pub metrics_errors: Vec<String>,
    /// Paths that stages wrote and that were not copied out, each with its reason.
    pub refused_outputs: Vec<(RelPath, String)>,
    pub wall_ms: u64,
    /// The walls of the judge.
    pub walls: Option<WallReport>,
    #[serde(skip)]
    pub evidence: Evidence,
}

impl Verification {
    /// The machine's view of it.
    pub fn verdict(&self) -> Verdict {
        Verdict {
            ok: self.ok,
            failed_stage: self.failed_stage.clone(),
            reason: self.reason.clone(),
        }
    }

    /// The record's view of it; `directory` is where it lies in the run.
    pub fn judgement<'a>(&'a self, directory: &'a str) -> Judgement<'a> {
        let code = |stage: &StageSummary| Some((stage.stage.to_string(), stage.rc?));
        Judgement {
            directory,
            ok: self.ok,
            failed_stage: self.failed_stage.as_deref(),
            codes: self.stages.iter().filter_map(code).collect(),
        }
    }

    pub(super) fn fail(&mut self, stage: &str, reason: String) {
        if self.ok {
            self.ok = false;
            self.failed_stage = Some(stage.to_owned());
            self.evidence.failed_stage = stage.to_owned();
            self.reason = Some(reason);
        }
    }
}
