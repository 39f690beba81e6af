//! What a verification comes to.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    contract::{AuditFinding, StageName},
    engine::command::CommandResult,
    fsm::{Blame, Evidence, Verdict},
    names::RelPath,
    policy::Isolation,
    record::Judgement,
    report::escape,
    sandbox::WallReport,
};

/// One stage's result, as `<stage>_summary.json`.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StageSummary {
    /// Which stage.
    pub stage: StageName,
    /// It passed.
    pub ok: bool,
    /// The command that failed, from 0.
    pub failed_index: Option<usize>,
    /// Commands run, repetitions included.
    pub total_results: usize,
    /// Exit code of the command that failed, else of the last one.
    pub rc: Option<i32>,
    /// Why it failed, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The cap that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    /// Who failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blame: Option<Blame>,
    /// Where the evidence lies, relative to the run's directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Processes that were killed at the end of its commands.
    pub leaked: u64,
    /// How long it took, milliseconds.
    pub wall_ms: u64,
    /// Its commands, repetitions included; at most [`CommandLine::MOST`], the last ones.
    #[serde(skip)]
    pub results: VecDeque<CommandLine>,
}

/// One command that ran.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CommandLine {
    /// The command, escaped, its first 500 characters.
    pub cmd: String,
    /// Its exit code, as in `PREFIX_result.json`.
    pub rc: i32,
    /// A cap on time ended it.
    pub timed_out: bool,
    /// `PREFIX` of its files `PREFIX_cmd.txt`, `PREFIX_stdout.txt`, `PREFIX_stderr.txt` and
    /// `PREFIX_result.json`, relative to the run's directory.
    pub files: String,
}

impl CommandLine {
    /// Most that are kept of one stage.
    pub const MOST: usize = 200;
    const CHARS: usize = 500;
}

impl StageSummary {
    pub(super) fn new(stage: StageName) -> Self {
        Self {
            stage,
            ok: true,
            failed_index: None,
            total_results: 0,
            rc: None,
            reason: None,
            cap: None,
            blame: None,
            evidence: None,
            leaked: 0,
            wall_ms: 0,
            results: VecDeque::new(),
        }
    }

    /// Takes the result of `script` in; `prefix` is where its artifacts are.
    pub(super) fn count(&mut self, result: &CommandResult, script: &str, reason: String, prefix: &str) {
        self.total_results += 1;
        if self.results.len() == CommandLine::MOST {
            self.results.pop_front();
        }
        self.results.push_back(CommandLine {
            cmd: escape(script.as_bytes(), CommandLine::CHARS),
            rc: result.rc,
            timed_out: result.timed_out,
            files: prefix.to_owned(),
        });
        self.leaked += result.leaked_total;
        self.rc = Some(result.rc);
        self.cap.clone_from(&result.cap);
        self.blame = result.blame;
        let failed = result.rc != 0;
        self.reason = failed.then_some(reason);
        self.evidence = failed.then(|| format!("{prefix}_result.json"));
    }
}

/// Exit codes of the stages under the predecessor's names: of the command that
/// failed, else of the last one; nothing where none ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExitCodes {
    /// Of bootstrap.
    bootstrap_rc: Option<i32>,
    auth_rc: Option<i32>,
    test_rc: Option<i32>,
    deploy_setup_rc: Option<i32>,
    deploy_health_rc: Option<i32>,
    rollout_rc: Option<i32>,
    evaluation_rc: Option<i32>,
    benchmark_rc: Option<i32>,
}

impl ExitCodes {
    fn note(&mut self, stage: StageName, rc: Option<i32>) {
        match stage {
            StageName::Bootstrap => self.bootstrap_rc = rc,
            StageName::Auth => self.auth_rc = rc,
            StageName::Tests => self.test_rc = rc,
            StageName::DeploySetup => self.deploy_setup_rc = rc,
            StageName::DeployHealth => self.deploy_health_rc = rc,
            StageName::Rollout => self.rollout_rc = rc,
            StageName::Evaluation => self.evaluation_rc = rc,
            StageName::Benchmark => self.benchmark_rc = rc,
            // It decides nothing; its summary has its code.
            StageName::DeployTeardown => {}
        }
    }
}

/// One failure of the sandbox under a verification that was then repeated.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SandboxFailure {
    /// Why it failed.
    pub why: String,
    /// Where its artifacts were moved to, relative to the run's directory.
    pub artifacts: String,
}

/// A whole verification, as `summary.json` of its directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Verification {
    /// Every stage passed.
    pub ok: bool,
    /// The first that did not: a stage, `metrics`, `audit`, `prepare` or `sandbox`.
    pub failed_stage: Option<String>,
    /// Where its evaluation and benchmark ran.
    pub isolation: Isolation,
    /// Why, in one line.
    pub reason: Option<String>,
    /// The cap that ended it.
    pub cap: Option<String>,
    /// Who failed.
    pub blame: Option<Blame>,
    /// Where the evidence lies, relative to the run's directory.
    #[serde(rename = "evidence")]
    pub place: Option<String>,
    /// Exit codes of the stages.
    #[serde(flatten)]
    pub codes: ExitCodes,
    /// The file of the primary metrics, relative to the repository.
    pub metrics_path: Option<RelPath>,
    /// What is wrong with the metrics.
    pub metrics_errors: Vec<String>,
    /// The primary metrics.
    pub metrics: Option<serde_json::Value>,
    /// What the audit found about how the scores came about.
    pub audit: Vec<AuditFinding>,
    /// The stages that ran, in order.
    pub stages: Vec<StageSummary>,
    /// Paths that stages wrote and that were not copied out, each with its reason.
    pub refused_outputs: Vec<(RelPath, String)>,
    /// Processes of the deployment that its teardown left running.
    pub services_left: u64,
    /// Failures of the sandbox, after each of which it all began anew.
    pub sandbox_failures: Vec<SandboxFailure>,
    /// How long it took, milliseconds.
    pub wall_ms: u64,
    /// The walls of the judge.
    pub walls: Option<WallReport>,
    /// What an agent is shown of the failure.
    #[serde(skip)]
    pub evidence: Evidence,
}

impl Verification {
    /// One in which nothing failed yet.
    pub(in crate::engine) fn begun() -> Self {
        Self {
            ok: true,
            ..Self::default()
        }
    }

    /// Takes in that what bootstrap makes is there.
    pub(super) fn prepared(&mut self) {
        self.codes.bootstrap_rc = Some(0);
    }

    /// The machine's view of it.
    pub(in crate::engine) fn verdict(&self) -> Verdict {
        Verdict {
            ok: self.ok,
            failed_stage: self.failed_stage.clone(),
            reason: self.reason.clone(),
            blame: self.blame,
            evidence: self.place.clone(),
        }
    }

    /// The record's view of it; `directory` is where it lies in the run.
    pub(in crate::engine) fn judgement<'a>(&'a self, directory: &'a str) -> Judgement<'a> {
        let code = |stage: &StageSummary| Some((stage.stage.to_string(), stage.rc?));
        let bootstrap = self.codes.bootstrap_rc.map(|rc| ("bootstrap".to_owned(), rc));
        Judgement {
            directory,
            ok: self.ok,
            failed_stage: self.failed_stage.as_deref(),
            codes: self.stages.iter().filter_map(code).chain(bootstrap).collect(),
        }
    }

    /// Takes a finished stage in.
    pub(super) fn ended(&mut self, summary: StageSummary) {
        self.codes.note(summary.stage, summary.rc);
        if !summary.ok && summary.stage != StageName::DeployTeardown && self.ok {
            self.cap.clone_from(&summary.cap);
            let reason = summary.reason.clone().unwrap_or_else(|| "it failed".to_owned());
            let blame = summary.blame.unwrap_or(Blame::Verifier);
            self.fail(summary.stage.as_str(), reason, blame, summary.evidence.clone());
        }
        self.stages.push(summary);
    }

    /// The first failure counts.
    pub(super) fn fail(&mut self, stage: &str, reason: String, blame: Blame, place: Option<String>) {
        if self.ok {
            self.ok = false;
            self.failed_stage = Some(stage.to_owned());
            self.evidence.failed_stage = stage.to_owned();
            self.reason = Some(reason);
            self.blame = Some(blame);
            self.place = place;
        }
    }
}
