//! What the journal says of a run so that a stranger can check it, from its first record to
//! the receipt (docs/audit.md).
//!
//! | file | holds |
//! |---|---|
//! | `notes` | the records of its course: commands, changes, turns |
//! | `walled` | what stood around its sandboxes |

mod notes;
mod walled;

use std::{fs::File, path::Path, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    contract,
    engine::{
        EngineError, Outcome, TargetOptions, author,
        inputs::{Executable, Inputs, LOCK_VERSION, Lock},
        kept::Kept,
        past::Past,
        workspace::Workspace,
    },
    policy::Policy,
    record::{
        RunDir,
        audit::{CONTINUED, Digest, Ending, RESUMED, Receipt, Signer, StateLine},
    },
    sandbox::Backend,
};

pub(super) use notes::{BOOTSTRAP_EXEC, EXEC, Executed, note_changes, note_turn};
pub(super) use walled::Walled;

/// The kind of the record that says what the target's own policy left of the host's.
pub(super) const NARROWED: &str = "narrowed";

/// What goes into a run, by hash.
const LOCK: &str = "lock.json";
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
