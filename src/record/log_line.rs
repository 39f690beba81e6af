//! `logs/run_<id>.jsonl`: what happened, one event a line, as the predecessor named it.

use schemars::JsonSchema;
use serde::Serialize;

/// One line of `logs/run_<id>.jsonl`. Which of the fields after `event` are there
/// depends on the event.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct LogLine {
    /// Counts the lines from 0.
    pub seq: u64,
    /// RFC 3339, UTC.
    pub ts: String,
    /// The iteration, from 1; 0 before the first.
    pub iter_idx: u64,
    /// The state of the machine.
    pub fsm_state: String,
    /// What happened: the name of a turn, `snapshot`, `verify_pipeline`, `preflight_verify`, `actions_executed`, …
    pub event: String,
    /// `prompt` or `response`, of a turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The prompt's last 1200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_preview: Option<String>,
    /// The answer's last 1200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assistant_preview: Option<String>,
    /// Tool calls of a turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// Those that failed or were denied, as `tool: reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_calls: Option<Vec<String>>,
    /// How long a turn took, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// What a snapshot looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotOf>,
    /// Whether a verification passed, or all actions were done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// The first stage that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_stage: Option<String>,
    /// Exit code of the action that failed, else of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions_rc: Option<i32>,
    /// The verification's directory in the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts_dir: Option<String>,
    /// What is wrong with the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<String>>,
    /// Open items of the backlog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_open_count: Option<usize>,
    /// The contract that was touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_path: Option<String>,
    /// Paths that were touched and taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub illegal_files: Option<Vec<String>>,
    /// Why a turn failed, the last 2000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a snapshot looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SnapshotOf {
    /// The target, absolute.
    pub repo: String,
    /// The plan.
    pub plan_path: String,
}
