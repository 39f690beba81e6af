//! What the journal says of a run so that a stranger can check it, from its first record to
//! the receipt (docs/audit.md).

use std::{collections::BTreeMap, fs::File, path::Path, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    broker::Usage,
    contract::{self, StageName},
    engine::{
        EngineError, Outcome, TargetOptions, author,
        inputs::{Executable, Inputs, LOCK_VERSION, Lock},
        kept::Kept,
        past::Past,
        workspace::Workspace,
    },
    fsm::{Blame, TurnFailure},
    guard::{Judged, Phase},
    policy::{Policy, SandboxPlan},
    record::{
        RunDir,
        audit::{CONTINUED, Digest, Ending, RESUMED, Receipt, Signer, StateLine},
    },
    sandbox::{Backend, WallReport},
};

/// The kind of the record that says what the target's own policy left of the host's.
pub(super) const NARROWED: &str = "narrowed";

/// What goes into a run, by hash.
const LOCK: &str = "lock.json";
/// Changes of one record.
const CHANGES_A_RECORD: usize = 500;
/// Ledgers that others write and the journal binds.
const LEDGERS: [&str; 6] = [
    "model.jsonl",
    "egress.jsonl",
    CASSETTE,
    "agent.jsonl",
    "repair.jsonl",
    "repair_cassette.jsonl",
];
/// The answers of the model, recorded as they were passed on.
pub(super) const CASSETTE: &str = "cassette.jsonl";

/// The evidence of one run, from its first record to its receipt.
pub(super) struct Evidence {
    run: Option<Arc<RunDir>>,
    signer: Option<Arc<Signer>>,
    pub receipt: Receipt,
    pub inputs: Inputs,
    /// What the run was asked for, where it can be gone on with.
    pub kept: Option<Kept>,
    /// It was taken up again, and does not go on yet: what fails until then ends nothing.
    taken_up: bool,
}

impl Evidence {
    /// Of a run that has no directory yet.
    pub fn new(verb: &str, options: &TargetOptions) -> Self {
        Self {
            run: None,
            signer: options.signer.clone(),
            receipt: Receipt {
                verb: verb.to_owned(),
                tool: env!("CARGO_PKG_VERSION").to_owned(),
                policy: options.policy.digest(),
                ..Receipt::default()
            },
            inputs: Inputs::of_target(options),
            kept: None,
            taken_up: false,
        }
    }

    /// The first record of what a run writes that was cut off.
    pub fn take_up(&mut self, run: &Arc<RunDir>, past: &Past, torn: u64) -> Result<String, EngineError> {
        self.run = Some(run.clone());
        self.taken_up = true;
        self.receipt.run = run.id().to_string();
        run.has_bound(past.ledgers.clone());
        run.unseal()?;
        let aside = format!("cut_off/{}", past.lives + 1);
        run.journal(
            RESUMED,
            &json!({
                "from": past.from,
                "at": past.at(),
                "aside": aside,
                "torn": torn,
                "ended": past.closed.as_ref().map(|ended| &ended.reason),
                "used_seconds": past.used.as_secs(),
                "version": self.receipt.tool,
            }),
        )?;
        Ok(aside)
    }

    /// From here on the machine goes on.
    pub fn goes_on(&mut self, run: &RunDir, past: &Past) -> Result<(), EngineError> {
        run.journal(CONTINUED, &json!({"from": past.from, "at": past.at()}))?;
        self.taken_up = false;
        Ok(())
    }

    /// The first record: the run, and all that it is bound to.
    pub fn begin(&mut self, run: &Arc<RunDir>, target: &impl Serialize) -> Result<(), EngineError> {
        self.run = Some(run.clone());
        self.receipt.run = run.id().to_string();
        let options = match &self.kept {
            Some(kept) => Some(digest_of(&kept.write(run)?)?),
            None => None,
        };
        let Receipt { verb, tool, policy, .. } = &self.receipt;
        run.journal(
            "run",
            &json!({
                "id": run.id(),
                "verb": verb,
                "target": target,
                "version": tool,
                "policy": policy,
                "options": options,
                "inputs": self.inputs,
            }),
        )?;
        Ok(())
    }

    /// The target's own policy narrowed the host's; nothing ran before.
    pub fn narrow(&mut self, run: &RunDir, policy: &Policy) -> Result<(), EngineError> {
        self.receipt.policy = policy.digest();
        run.journal(
            NARROWED,
            &json!({"policy": self.receipt.policy, "by": contract::policy_path()}),
        )?;
        Ok(())
    }

    /// What builds the walls.
    pub fn walls(&mut self, backend: &Backend) {
        self.receipt.backend = Some(backend.name().to_owned());
        self.receipt.image = backend.image().map(str::to_owned);
    }

    /// Keeps `lock.json`, when all that goes in is known. A run that was cut off has to be
    /// gone on with by the same.
    ///
    /// # Errors
    /// [`EngineError::Usage`] that names what is another; when it cannot be written.
    pub fn lock(&self, run: &RunDir, workspace: &Workspace, opencode: Option<Executable>) -> Result<(), EngineError> {
        let contract = run.path().join("pipeline.yml");
        let lock = Lock {
            version: LOCK_VERSION,
            tool: &self.receipt.tool,
            target: workspace.copied().digest.to_string(),
            contract: match contract.exists() {
                true => Some(digest_of(&contract)?),
                false => None,
            },
            bootstrapped: workspace.is_bootstrapped().then(|| workspace.base().digest.to_string()),
            policy: self.receipt.policy.clone(),
            backend: self.receipt.backend.as_deref(),
            image: self.receipt.image.as_deref(),
            opencode,
            inputs: &self.inputs,
        };
        if self.taken_up && run.path().join(LOCK).exists() {
            return same(run, &lock);
        }
        let path = run.write_json(LOCK, &lock)?;
        run.note("lock", &json!({"sha256": digest_of(&path)?}))?;
        Ok(())
    }

    /// What the workspace knows at the end.
    ///
    /// # Errors
    /// When the contract's files cannot be read.
    pub fn take(&mut self, workspace: &Workspace) -> Result<(), EngineError> {
        self.receipt.contract = author::lines(workspace)?;
        for (role, (plan, tier)) in workspace.walled() {
            self.receipt.plans.insert(role.clone(), *plan);
            self.receipt.tiers.insert(role.clone(), tier.clone());
        }
        self.receipt.state = workspace.last_step().map(|(checkpoint, state)| StateLine {
            checkpoint,
            digest: state.to_string(),
        });
        Ok(())
    }

    /// Ends the chain, however the run ended.
    pub fn close(mut self, ended: Result<Outcome, EngineError>) -> Result<Outcome, EngineError> {
        match &ended {
            Ok(outcome) => {
                let Some(run) = self.run.take() else { return ended };
                let summary = &outcome.summary;
                self.receipt.outcome = Ending {
                    reason: summary.exit_reason.clone(),
                    exit: summary.exit_code,
                    verified: summary.verified,
                    detail: run.redact(&summary.detail),
                };
                self.seal(&run)?;
            }
            Err(why) => self.fail(why),
        }
        ended
    }

    /// Ends the chain of a run that came to no summary, where it began.
    pub fn fail(mut self, why: &EngineError) {
        let Some(run) = self.run.take().filter(|_| !self.taken_up) else {
            return;
        };
        let reason = match why {
            EngineError::Interrupted(_) => "INTERRUPTED",
            _ => "ERROR",
        };
        self.receipt.outcome = Ending {
            reason: reason.to_owned(),
            exit: why.exit_code(),
            verified: false,
            detail: run.redact(&why.to_string()),
        };
        // The first error is the one to tell; a chain without its end says that it has none.
        if let Err(why) = self.end(&run) {
            tracing::warn!("the run's record was not closed: {why}");
        }
    }

    /// The end of a run that came to no summary.
    fn end(self, run: &RunDir) -> Result<(), EngineError> {
        run.settle()?;
        let Ending {
            reason, exit, detail, ..
        } = &self.receipt.outcome;
        run.journal("ended", &json!({"reason": reason, "exit": exit, "why": detail}))?;
        self.seal(run)
    }

    fn seal(self, run: &RunDir) -> Result<(), EngineError> {
        bind_ledgers(run)?;
        run.seal(self.receipt, self.signer.as_deref())?;
        Ok(())
    }
}

/// Whether what goes in is what went in before.
fn same(run: &RunDir, lock: &Lock<'_>) -> Result<(), EngineError> {
    let path = run.path().join(LOCK);
    let bytes = std::fs::read(&path).map_err(|source| EngineError::Io {
        what: format!("read {}", path.display()),
        source,
    })?;
    let usage = |why: serde_json::Error| EngineError::Usage(format!("{LOCK}: {why}"));
    let (before, now): (Value, Value) = (
        serde_json::from_slice(&bytes).map_err(usage)?,
        serde_json::to_value(lock).map_err(usage)?,
    );
    let fields = now.as_object().into_iter().flatten();
    // What bootstrap makes may have come later.
    let other = fields.filter(|(name, value)| *name != "bootstrapped" && before[name.as_str()] != **value);
    let named: Vec<String> = other
        .map(|(name, value)| format!("{name}: {} then, {value} now", before[name.as_str()]))
        .collect();
    match named.is_empty() {
        true => Ok(()),
        false => Err(EngineError::Usage(format!(
            "the run cannot go on by what it began with: {}; bring that back, or begin anew with `opencode-fsm run --from`",
            named.join("; ")
        ))),
    }
}

/// Binds what the doors have written down so far.
pub(super) fn bind_ledgers(run: &RunDir) -> Result<(), EngineError> {
    Ok(LEDGERS.iter().try_for_each(|ledger| run.bind_ledger(ledger))?)
}

/// A command, its verdict, and what came of it.
pub(super) struct Executed<'a> {
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
pub(super) const EXEC: &str = "exec";
/// The same of a command of bootstrap.
pub(super) const BOOTSTRAP_EXEC: &str = "bootstrap-exec";

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
pub(super) fn note_changes(
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
pub(super) fn note_turn(
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

/// What stands around the sandboxes of a run, by their role: told when it is new.
#[derive(Default)]
pub(super) struct Walled(BTreeMap<String, (Digest, String)>, BTreeMap<String, Digest>);

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

/// SHA-256 of a file of the host.
pub(super) fn digest_of(path: &Path) -> Result<Digest, EngineError> {
    let digest = File::open(path).and_then(Digest::of_stream);
    Ok(digest
        .map_err(|source| EngineError::Io {
            what: format!("read {}", path.display()),
            source,
        })?
        .0)
}
