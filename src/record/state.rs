//! `state.json`: where a run stands, in the predecessor's fields.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of [`State`].
const STATE_VERSION: u32 = 1;

/// What a run is about: set once.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The target, absolute.
    pub repo: String,
    /// The plan, relative to it.
    pub plan_path: String,
    /// The contract, relative to it.
    pub pipeline_path: String,
    /// `provider/model`; empty without an agent.
    pub model: String,
    /// The acceptance commands, joined with ` && `.
    pub test_cmd: String,
}

/// Where a run stands. Every value is this run's own; what did not happen yet is null.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct State {
    /// 1.
    pub version: u32,
    /// The run.
    pub run_id: String,
    /// The target, absolute.
    pub repo: String,
    /// The plan, relative to the target.
    pub plan_path: String,
    /// The contract, relative to the target.
    pub pipeline_path: String,
    /// `provider/model`; empty without an agent.
    pub model: String,
    /// The acceptance commands, joined with ` && `.
    pub test_cmd: String,
    /// The iteration, from 1; 0 before the first.
    pub iter_idx: u64,
    /// `S0_BOOTSTRAP`, `PREFLIGHT`, `S1_SNAPSHOT`, `S2_PLAN_UPDATE`, `S3_EXECUTE_STEP`, `S4_VERIFY` or `S5_DECIDE`.
    pub fsm_state: String,
    /// `STEP_ID` of the step in hand.
    pub current_step_id: Option<String>,
    /// Its text.
    pub current_step_text: Option<String>,
    /// Fix turns spent on it.
    pub fix_attempts: u32,
    /// Exit code of the last verification's stages: of the command that failed, else of the last one.
    pub last_bootstrap_rc: Option<i32>,
    /// As above.
    pub last_rollout_rc: Option<i32>,
    /// As above.
    pub last_test_rc: Option<i32>,
    /// As above.
    pub last_deploy_setup_rc: Option<i32>,
    /// As above.
    pub last_deploy_health_rc: Option<i32>,
    /// As above.
    pub last_benchmark_rc: Option<i32>,
    /// As above.
    pub last_evaluation_rc: Option<i32>,
    /// The last verification did not fail for its metrics.
    pub last_metrics_ok: Option<bool>,
    /// How the run ended.
    pub last_exit_reason: Option<String>,
    /// RFC 3339, UTC.
    pub updated_at: String,
}

impl State {
    pub(super) fn new(run_id: &str, subject: Subject) -> Self {
        Self {
            version: STATE_VERSION,
            run_id: run_id.to_owned(),
            repo: subject.repo,
            plan_path: subject.plan_path,
            pipeline_path: subject.pipeline_path,
            model: subject.model,
            test_cmd: subject.test_cmd,
            iter_idx: 0,
            fsm_state: "S0_BOOTSTRAP".to_owned(),
            current_step_id: None,
            current_step_text: None,
            fix_attempts: 0,
            last_bootstrap_rc: None,
            last_rollout_rc: None,
            last_test_rc: None,
            last_deploy_setup_rc: None,
            last_deploy_health_rc: None,
            last_benchmark_rc: None,
            last_evaluation_rc: None,
            last_metrics_ok: None,
            last_exit_reason: None,
            updated_at: String::new(),
        }
    }

    /// Takes over the exit codes of a verification, by the names of its stages.
    pub(super) fn verified(&mut self, codes: &BTreeMap<String, i32>, metrics_ok: bool) {
        let of = |stage: &str| codes.get(stage).copied();
        self.last_bootstrap_rc = of("bootstrap");
        self.last_rollout_rc = of("rollout");
        self.last_test_rc = of("tests");
        self.last_deploy_setup_rc = of("deploy_setup");
        self.last_deploy_health_rc = of("deploy_health");
        self.last_benchmark_rc = of("benchmark");
        self.last_evaluation_rc = of("evaluation");
        self.last_metrics_ok = Some(metrics_ok);
    }
}
