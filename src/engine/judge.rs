//! Verification: the contract's stages in a fresh judge sandbox over the accepted tree.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    contract::{self, Pipeline, Stage, StageName},
    engine::{EngineError, workspace::Workspace},
    fsm::{Evidence, Verdict},
    names::RelPath,
    policy::{GUEST_HOME, GUEST_WORKSPACE},
    record::RunDir,
    report::{Happening, Reporter, escape},
    sandbox::{ExecOutcome, ExecSpec, OutputCaps, OutputSink, Sandbox, WallReport, jail::Jail},
    tree::{self, TreeEdits},
    wire::{Argv, LeakedProcess, Leftovers, ResourceUse, Termination},
};

/// Cap of one command where the contract gives none.
const DEFAULT_COMMAND_WALL: Duration = Duration::from_secs(1800);
/// Bytes of one output stream kept on disk.
const OUTPUT_FILE_BYTES: u64 = 2_000_000;
/// Bytes of one output stream kept for prompts.
const OUTPUT_TAIL_BYTES: usize = 8_000;
/// Largest metrics or rollout document.
const OUTPUT_DOCUMENT_BYTES: u64 = 4 << 20;
/// Bytes of stage outputs copied out of one verification.
const EXPORT_BYTES: u64 = 256 << 20;

/// One command's result, as `<stage>_cmdNN_tryMM_result.json`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CommandResult {
    /// Exit code; 128 + n for signal n, 124 for a command that its cap ended.
    rc: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    timed_out: bool,
    /// The cap that ended it: `timeout_seconds`, `max_cmd_seconds`, `max_total_seconds`, `memory`, `disk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cap: Option<String>,
    usage: ResourceUse,
    leaked: Vec<LeakedProcess>,
    leaked_total: u64,
    stdout_bytes: u64,
    stderr_bytes: u64,
    stdout_truncated: bool,
    stderr_truncated: bool,
}

/// One stage's result, as `<stage>_summary.json`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StageSummary {
    pub stage: StageName,
    pub ok: bool,
    pub failed_index: Option<usize>,
    pub total_results: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub wall_ms: u64,
}

/// A whole verification, as `summary.json` of its directory.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verification {
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

    fn fail(&mut self, stage: &str, reason: String) {
        if self.ok {
            self.ok = false;
            self.failed_stage = Some(stage.to_owned());
            self.evidence.failed_stage = stage.to_owned();
            self.reason = Some(reason);
        }
    }
}

/// What every verification of a run shares.
pub(super) struct Judge<'a> {
    pub jail: &'a Jail,
    pub run: &'a RunDir,
    pub reporter: &'a Reporter,
    pub pipeline: &'a Pipeline,
}

impl Judge<'_> {
    /// Runs every stage; `name` is the directory of this verification in the run (`iter_0001`).
    pub async fn verify(&self, workspace: &mut Workspace, name: &str) -> Result<Verification, EngineError> {
        let began = Instant::now();
        let (sandbox, upper) = workspace.open_judge(self.jail).await?;
        let mut out = Verification {
            ok: true,
            failed_stage: None,
            reason: None,
            stages: Vec::new(),
            metrics: None,
            metrics_errors: Vec::new(),
            refused_outputs: Vec::new(),
            wall_ms: 0,
            walls: Some(sandbox.walls().clone()),
            evidence: Evidence::default(),
        };
        let artifacts = format!(".aider_fsm/artifacts/{}/{name}", self.run.id());
        let ran = self.stages(&sandbox, name, &artifacts, &mut out).await;
        sandbox.destroy().await?;
        ran?;
        self.outputs(workspace, &upper, name, &mut out)?;
        out.wall_ms = millis(began.elapsed());
        self.run.write_json(&format!("{name}/summary.json"), &out)?;
        Ok(out)
    }

    async fn stages(
        &self,
        sandbox: &Sandbox,
        name: &str,
        artifacts: &str,
        out: &mut Verification,
    ) -> Result<(), EngineError> {
        self.clear_outputs(sandbox, artifacts).await?;
        for stage in self.pipeline.stages() {
            if stage.cmds.is_empty() {
                continue;
            }
            let summary = self.stage(sandbox, stage, name, artifacts, out).await?;
            let (ok, reason) = (summary.ok, summary.reason.clone());
            self.run
                .write_json(&format!("{name}/{}_summary.json", stage.name), &summary)?;
            self.reporter.say(Happening::StageEnded {
                stage: stage.name.to_string(),
                ok,
                wall_ms: summary.wall_ms,
                reason: reason.clone(),
            });
            out.stages.push(summary);
            if !ok {
                out.fail(
                    &stage.name.to_string(),
                    reason.unwrap_or_else(|| "it failed".to_owned()),
                );
                break;
            }
        }
        Ok(())
    }

    /// Removes what stages are to produce, so that an old file can prove
    /// nothing, and makes the artifacts directory.
    async fn clear_outputs(&self, sandbox: &Sandbox, artifacts: &str) -> Result<(), EngineError> {
        let mut removals = vec![rollout_path()];
        removals.extend(self.pipeline.evaluation.as_ref().and_then(|e| e.metrics_path.clone()));
        // Inside the limits of RelPath by construction: a run id and fixed names.
        let directory = RelPath::new(artifacts).map_err(|e| EngineError::Usage(e.to_string()))?;
        let edits = TreeEdits::make_dir(&directory);
        sandbox.put(&removals, edits.tar).await?;
        Ok(())
    }

    async fn stage(
        &self,
        sandbox: &Sandbox,
        stage: &Stage,
        name: &str,
        artifacts: &str,
        out: &mut Verification,
    ) -> Result<StageSummary, EngineError> {
        let began = Instant::now();
        let mut summary = StageSummary {
            stage: stage.name,
            ok: true,
            failed_index: None,
            total_results: 0,
            reason: None,
            wall_ms: 0,
        };
        'commands: for (index, command) in stage.cmds.iter().enumerate() {
            self.reporter.say(Happening::StageStarted {
                stage: stage.name.to_string(),
                command: escape(command.as_bytes(), 200),
            });
            for attempt in 1..=stage.retries + 1 {
                let (wall, cap) = self.wall(stage, began.elapsed());
                let prefix = format!("{name}/{}_cmd{:02}_try{attempt:02}", stage.name, index + 1);
                self.run
                    .write(&format!("{prefix}_cmd.txt"), format!("{command}\n").as_bytes())?;
                let spec = self.spec(stage, command, artifacts, wall, &prefix);
                let outcome = sandbox.exec(spec).await?.wait().await?;
                let result = result_of(&outcome, cap);
                for stream in ["stdout", "stderr"] {
                    self.run.adopt(&format!("{prefix}_{stream}.txt"))?;
                }
                self.run.write_json(&format!("{prefix}_result.json"), &result)?;
                summary.total_results += 1;
                if result.rc == 0 {
                    continue 'commands;
                }
                summary.reason = Some(reason_of(command, &result));
                if attempt == stage.retries + 1 || result.cap.as_deref() == Some("max_total_seconds") {
                    out.evidence.text = self.run.redact(&evidence_of(stage, command, &result, &outcome));
                    break;
                }
            }
            summary.ok = false;
            summary.failed_index = Some(index);
            break;
        }
        if summary.ok {
            summary.reason = None;
        }
        summary.wall_ms = millis(began.elapsed());
        Ok(summary)
    }

    /// The wall cap of the next command and the name of the rule that gives it.
    fn wall(&self, stage: &Stage, spent: Duration) -> (Duration, &'static str) {
        let security = &self.pipeline.security;
        let mut cap = (stage.timeout.unwrap_or(DEFAULT_COMMAND_WALL), "timeout_seconds");
        if let Some(max) = security.max_cmd.filter(|max| *max < cap.0) {
            cap = (max, "max_cmd_seconds");
        }
        if let Some(left) = security
            .max_total
            .map(|max| max.saturating_sub(spent))
            .filter(|left| *left < cap.0)
        {
            cap = (left.max(Duration::from_millis(1)), "max_total_seconds");
        }
        cap
    }

    fn spec(&self, stage: &Stage, command: &str, artifacts: &str, wall: Duration, prefix: &str) -> ExecSpec {
        let cwd = match &stage.workdir {
            Some(dir) => format!("{GUEST_WORKSPACE}/{}", String::from_utf8_lossy(dir.as_bytes())),
            None => GUEST_WORKSPACE.to_owned(),
        };
        let sink = |stream: &str| OutputCaps {
            tail_bytes: OUTPUT_TAIL_BYTES,
            sink: Some(OutputSink {
                path: self.run.path().join(format!("{prefix}_{stream}.txt")),
                max_bytes: OUTPUT_FILE_BYTES,
            }),
        };
        ExecSpec {
            argv: Argv::Shell(command.to_owned()),
            env: self.environment(stage, artifacts),
            cwd,
            wall,
            leftovers: Leftovers::Kill,
            stdout: sink("stdout"),
            stderr: sink("stderr"),
        }
    }

    /// The stage's whole environment: our defaults, then the stage's own map,
    /// then what names the run and cannot be overridden.
    fn environment(&self, stage: &Stage, artifacts: &str) -> Vec<(String, String)> {
        let mut env = indexmap::IndexMap::<String, String>::new();
        let mut set = |k: &str, v: &str| {
            env.insert(k.to_owned(), v.to_owned());
        };
        set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        set("HOME", GUEST_HOME);
        set("USER", "agent");
        set("LOGNAME", "agent");
        set("SHELL", "/bin/sh");
        set("TMPDIR", "/tmp");
        set("LANG", "C.UTF-8");
        set("TERM", "dumb");
        set("CI", "1");
        set("GIT_TERMINAL_PROMPT", "0");
        set("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        set("PYTHONUNBUFFERED", "1");
        for (k, v) in &stage.env {
            set(k, v);
        }
        set("AIDER_FSM_STAGE", &stage.name.to_string());
        set("AIDER_FSM_RUN_ID", self.run.id().as_str());
        set("AIDER_FSM_REPO_ROOT", GUEST_WORKSPACE);
        set("AIDER_FSM_ARTIFACTS_DIR", &format!("{GUEST_WORKSPACE}/{artifacts}"));
        set(
            "AIDER_FSM_ARTIFACTS_BASE",
            &format!("{GUEST_WORKSPACE}/.aider_fsm/artifacts"),
        );
        env.into_iter().collect()
    }

    /// Reads what the stages produced from the dead judge's layer.
    fn outputs(
        &self,
        workspace: &mut Workspace,
        upper: &Path,
        name: &str,
        out: &mut Verification,
    ) -> Result<(), EngineError> {
        let after = workspace.judge_outputs(upper)?;
        let pristine = workspace.pristine();
        if out.ok && self.pipeline.rollout.is_some() {
            let bytes = after.read(pristine, &rollout_path(), OUTPUT_DOCUMENT_BYTES)?;
            if let Some(bytes) = bytes {
                self.run.write(&format!("{name}/rollout.json"), &bytes)?;
                if let Err(errors) = contract::validate_rollout(&bytes) {
                    out.evidence.text = errors.join("\n");
                    out.fail("rollout", errors.join("; "));
                }
            }
        }
        if let Some(evaluation) = self.pipeline.evaluation.as_ref().filter(|_| out.ok)
            && let Some(path) = &evaluation.metrics_path
        {
            let bytes = after.read(pristine, path, OUTPUT_DOCUMENT_BYTES)?;
            if let Some(bytes) = &bytes {
                self.run.write(&format!("{name}/metrics_evaluation.json"), bytes)?;
            }
            match contract::validate_metrics(StageName::Evaluation, path, bytes.as_deref(), &evaluation.required_keys) {
                Ok(metrics) => {
                    let value = serde_json::Value::Object(metrics.value);
                    self.run.write_json(&format!("{name}/metrics.json"), &value)?;
                    out.metrics = Some(value);
                }
                Err(errors) => {
                    out.metrics_errors = errors.clone();
                    out.evidence.text = errors.join("\n");
                    out.fail("metrics", errors.join("; "));
                }
            }
        }
        let written: Vec<_> = after
            .changes_since(pristine, workspace.current())
            .into_iter()
            .filter(|change| change.after.is_some() && change.path.as_bytes().starts_with(b".aider_fsm/"))
            .collect();
        let files = self.run.path().join(name).join("outputs");
        out.refused_outputs = tree::export(pristine, &after, &written, &files, EXPORT_BYTES)?;
        Ok(())
    }
}

fn rollout_path() -> RelPath {
    // A constant that RelPath accepts: two plain names.
    RelPath::new(".aider_fsm/rollout.json").unwrap_or_else(|_| unreachable!("a constant path"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn result_of(outcome: &ExecOutcome, wall_cap: &str) -> CommandResult {
    let (rc, signal) = match outcome.end {
        _ if outcome.timed_out => (124, None),
        Termination::Code(code) => (code, None),
        Termination::Signal(signal) => (128 + signal, Some(signal)),
    };
    let cap = if outcome.timed_out {
        Some(wall_cap.to_owned())
    } else {
        outcome.cap_hit.clone()
    };
    CommandResult {
        // A command that a cap killed never counts as passed, whatever it said.
        rc: if rc == 0 && cap.is_some() { 137 } else { rc },
        signal,
        timed_out: outcome.timed_out,
        cap,
        usage: outcome.usage,
        leaked: outcome.leaked.clone(),
        leaked_total: outcome.leaked_total,
        stdout_bytes: outcome.stdout.total_bytes,
        stderr_bytes: outcome.stderr.total_bytes,
        stdout_truncated: outcome.stdout.truncated,
        stderr_truncated: outcome.stderr.truncated,
    }
}

fn reason_of(command: &str, result: &CommandResult) -> String {
    let command = escape(command.as_bytes(), 120);
    match (&result.cap, result.signal) {
        (Some(cap), _) => format!("`{command}` was ended by its cap {cap}"),
        (None, Some(signal)) => format!("`{command}` was killed by signal {signal}"),
        (None, None) => format!("`{command}` exited {}", result.rc),
    }
}

fn evidence_of(stage: &Stage, command: &str, result: &CommandResult, outcome: &ExecOutcome) -> String {
    let tail = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines()
            .map(|line| escape(line.as_bytes(), 2_000))
            .collect::<Vec<_>>()
            .join("\n")
    };
    format!(
        "stage: {}\ncommand: {command}\nexit code: {}{}\n--- last of stdout\n{}\n--- last of stderr\n{}\n",
        stage.name,
        result.rc,
        result
            .cap
            .as_ref()
            .map(|cap| format!(" (ended by its cap {cap})"))
            .unwrap_or_default(),
        tail(&outcome.stdout.tail),
        tail(&outcome.stderr.tail),
    )
}
