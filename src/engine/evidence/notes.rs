//! Records of a run's course: commands, changes, turns.

use serde_json::{Value, json};

use super::{bind_ledgers, digest_of};
use crate::{
    broker::Usage,
    contract::StageName,
    engine::EngineError,
    fsm::{Blame, TurnFailure},
    guard::{Judged, Phase},
    record::{RunDir, audit::Digest},
};

/// Changes of one record.
const CHANGES_A_RECORD: usize = 500;

/// A command, its verdict, and what came of it.
pub(in crate::engine) struct Executed<'a> {
    /// Where its artifacts lie.
    pub prefix: &'a str,
    pub script: &'a str,
    /// The rule that refused it.
    pub refused: Option<&'a str>,
    pub rc: i32,
    pub signal: Option<i32>,
    /// The limit that ended it.
    pub cap: Option<&'a str>,
    pub blame: Option<Blame>,
}

/// A command's record.
pub(in crate::engine) const EXEC: &str = "exec";
/// The same of a command of bootstrap.
pub(in crate::engine) const BOOTSTRAP_EXEC: &str = "bootstrap-exec";

impl Executed<'_> {
    pub fn note(&self, run: &RunDir) -> Result<(), EngineError> {
        let verdict = if self.refused.is_some() { "refused" } else { "allowed" };
        // Whether bootstrap's commands run is the cache's matter, and no part of a course.
        let name = self.prefix.rsplit('/').next().unwrap_or(self.prefix);
        let bootstraps = name.starts_with(&format!("{}_", StageName::Bootstrap));
        run.note(
            if bootstraps { BOOTSTRAP_EXEC } else { EXEC },
            &json!({
                "at": self.prefix,
                "script": Digest::of(self.script.as_bytes()),
                "verdict": verdict,
                "rule": self.refused,
                "rc": self.rc,
                "signal": self.signal,
                "cap": self.cap,
                "blame": self.blame,
            }),
        )?;
        Ok(())
    }
}

/// Every change of a phase, what became of it and by which rule, in as many records as it takes.
pub(in crate::engine) fn note_changes(
    run: &RunDir,
    at: &str,
    phase: Phase,
    kept: bool,
    judged: &[Judged],
    evidence: Option<Digest>,
) -> Result<(), EngineError> {
    let parts = judged.len().div_ceil(CHANGES_A_RECORD).max(1);
    for part in 0..parts {
        let from = part * CHANGES_A_RECORD;
        let changes = &judged[from..judged.len().min(from + CHANGES_A_RECORD)];
        // The course of a run is its machine's: how often a contract was tried before is none of it.
        let event = match phase {
            Phase::Scaffold | Phase::Repair => "contract-changes",
            Phase::PlanUpdate | Phase::ExecuteStep | Phase::FixOrReplan => "changes",
        };
        run.note(
            event,
            &json!({
                "at": at,
                "phase": phase,
                "kept": kept,
                "evidence": evidence,
                "part": part,
                "parts": parts,
                "changes": changes,
            }),
        )?;
    }
    Ok(())
}

/// A turn of the agent, by its artifacts.
pub(in crate::engine) fn note_turn(
    run: &RunDir,
    base: &str,
    usage: &Usage,
    failed: Option<&TurnFailure>,
) -> Result<(), EngineError> {
    let artifact = |ending: &str| -> Result<Value, EngineError> {
        let path = run.path().join(format!("{base}.{ending}"));
        Ok(match path.exists() {
            true => json!(digest_of(&path)?),
            false => Value::Null,
        })
    };
    run.note(
        "turn",
        &json!({
            "at": base,
            "prompt": artifact("prompt.md")?,
            "events": artifact("events.jsonl")?,
            "result": artifact("json")?,
            "calls": usage.calls,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "blame": failed.map(|failed| failed.blame),
        }),
    )?;
    bind_ledgers(run)
}
