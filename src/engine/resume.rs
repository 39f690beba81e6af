//! `resume`: a run that was cut off goes on at the phase that it was cut off in.
//!
//! The chain is the truth. What the machine had decided is not decided again; what was being
//! done is done anew, from the last accepted state, in sandboxes of its own. Answers of the
//! model that were recorded are played, and nobody is asked for them again.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    engine::{
        EngineError, Given, Outcome, StepOf, Stop,
        evidence::{Evidence, digest_of},
        kept::Kept,
        past::{self, Past},
        run,
        whence::Whence,
    },
    names::RunId,
    policy::{Layer, Origins, Policy},
    record::{
        self, Held, OPTIONS, RunDir,
        audit::{self, Place},
    },
    report::Reporter,
    source::{Endpoints, Target},
    tree::Pristine,
};

/// A run that was cut off, taken up by this process.
pub(super) struct TakenUp {
    pub run: Arc<RunDir>,
    pub past: Past,
    pub kept: Kept,
    /// Bytes of a record that was being written.
    torn: u64,
}

impl TakenUp {
    /// Verifies the chain and reads what the run was. Nothing is written before all of that
    /// holds.
    fn find(dir: &Path, held: Held) -> Result<Self, EngineError> {
        let (id, past, kept) = read(dir)?;
        refuse(dir, &past)?;
        let (run, torn) = RunDir::reopen(held, &id)?;
        let run = Arc::new(run);
        Ok(Self { run, past, kept, torn })
    }

    /// The step that it goes on from, where it had come to one.
    pub fn step(&self) -> Option<StepOf> {
        let number = self.past.carried.as_ref()?.step?;
        Some(StepOf {
            run: self.run.path().to_path_buf(),
            number: Some(number),
        })
    }

    /// The name of the bootstrap's verification.
    pub fn bootstraps(&self) -> String {
        match &self.past.carried {
            Some(_) => format!("resumed/{}/bootstrap", self.past.lives + 1),
            None => "bootstrap".to_owned(),
        }
    }

    /// Says that it is taken up, and sets aside what it was doing.
    pub fn begin(&self, evidence: &mut Evidence) -> Result<(), EngineError> {
        let run = &self.run;
        let aside = evidence.take_up(run, &self.past, self.torn)?;
        for dir in ["turns", "guard", "checkpoints"] {
            for name in run.names_in(dir)?.iter().filter(|name| self.past.left(dir, name)) {
                run.set_aside(&format!("{dir}/{name}"), &aside)?;
            }
        }
        let whole = self.past.left_whole();
        // What a sandbox had failed under has the same beginning.
        let failed = |name: &String| {
            whole
                .iter()
                .any(|left| name.starts_with(&format!("{left}.sandbox_failure_")))
        };
        let failures = run.names_in(".")?.into_iter().filter(failed);
        for path in failures.chain(whole.clone()) {
            run.set_aside(&path, &aside)?;
        }
        Ok(())
    }

    /// Whether the target still is what was copied.
    ///
    /// # Errors
    /// [`EngineError::Usage`] where it is another.
    pub fn stands_on(&self, pristine: &Pristine) -> Result<(), EngineError> {
        match self.past.copied {
            Some(copied) if copied != pristine.digest => Err(EngineError::Usage(format!(
                "the target has changed since the run began: it was {copied}, and is {}; what it was is not in the \
                 cache any more",
                pristine.digest
            ))),
            _ => Ok(()),
        }
    }
}

/// Verifies the chain of a run, and reads what it says and what the run was asked for.
///
/// # Errors
/// [`EngineError::Audit`] where it does not hold; [`EngineError::Usage`] for a run of a verb
/// that keeps nothing.
pub(super) fn read(dir: &Path) -> Result<(RunId, Past, Kept), EngineError> {
    audit::verify(&Place::Directory(dir.to_path_buf()), None)?;
    let shown = dir.display();
    let id = audit::run_of(dir)?;
    let id: RunId = id
        .parse()
        .map_err(|why| EngineError::Usage(format!("{shown}: {why}")))?;
    let past = past::read(dir)?;
    let Some(expected) = past.options else {
        return Err(EngineError::Usage(match past.verb.as_str() {
            "run" => format!(
                "{shown}: the run was made by a version that kept no {OPTIONS}; `opencode-fsm run --from {id}` goes on \
                 from its last step"
            ),
            verb => format!(
                "{shown} is of `{}`, which has nothing to go on from: start it anew",
                verb.escape_debug()
            ),
        }));
    };
    let path = dir.join(OPTIONS);
    let found = digest_of(&path)?;
    if found != expected {
        return Err(EngineError::damaged(OPTIONS, &expected.to_string(), &found.to_string()));
    }
    let bytes = fs::read(&path).map_err(io(&path))?;
    let kept =
        serde_json::from_slice(&bytes).map_err(|why| EngineError::Usage(format!("{}: {why}", path.display())))?;
    Ok((id, past, kept))
}

/// What the run is about.
pub(super) fn target(past: &Past, endpoints: Endpoints) -> Result<(Target, Endpoints), EngineError> {
    let named = &past.target;
    match Target::parse(OsStr::new(named), &endpoints) {
        Ok(found) => Ok((found.target, endpoints)),
        // A directory that is gone: the cache may still have what it held.
        Err(_) if named.starts_with('/') => Ok((Target::Directory(named.into()), endpoints)),
        Err(why) => Err(why.into()),
    }
}

/// The policy that the run had: what the target's own left of the host's, unless the run was
/// cut off before it was kept.
pub(super) fn policy(dir: &Path, past: &Past) -> Result<Policy, EngineError> {
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read(&path).map_err(io(&path))
    };
    let origins: Origins = serde_json::from_slice(&read("policy_origins.json")?)
        .map_err(|why| EngineError::Usage(format!("policy_origins.json: {why}")))?;
    let policy = Policy::recorded(&read("policy.json")?, origins)?;
    let (digest, own) = (
        policy.digest(),
        policy.layers().iter().any(|(layer, _)| *layer == Layer::Repository),
    );
    match &past.narrowed {
        Some(narrowed) if own && digest == *narrowed => Ok(policy),
        _ if !own && digest == past.policy => Ok(policy),
        Some(narrowed) if digest == *narrowed || digest == past.policy => Err(EngineError::Usage(format!(
            "{}: the run was cut off while it wrote down its policy, and nothing had run; start it anew",
            dir.display()
        ))),
        narrowed => Err(EngineError::damaged(
            "policy.json",
            narrowed.as_ref().unwrap_or(&past.policy),
            &digest,
        )),
    }
}

/// Why a run is not gone on with.
fn refuse(dir: &Path, past: &Past) -> Result<(), EngineError> {
    let shown = dir.display();
    if past.verb != "run" {
        return Err(EngineError::Usage(format!(
            "{shown} is of `{}`, which is not gone on with: start it anew",
            past.verb.escape_debug()
        )));
    }
    match &past.closed {
        Some(ended) if !record::may_go_on(Some(ended.exit)) => Err(EngineError::Usage(format!(
            "{shown}: the run is finished ({}, exit {}); `opencode-fsm run --from` begins a new one at any of its steps",
            ended.reason.escape_debug(),
            ended.exit
        ))),
        _ => Ok(()),
    }
}

/// Goes on with a run that was cut off, or whose sandbox or host failed.
///
/// # Errors
/// [`EngineError::Record`] where another process owns it, [`EngineError::Audit`] where its
/// chain does not hold, [`EngineError::Usage`] where it is finished or something is missing.
/// Whatever fails before the machine goes on leaves the run as one that was cut off.
pub async fn resume(
    run: &Path,
    endpoints: Endpoints,
    given: &Given,
    reporter: &Reporter,
    stop: Stop,
) -> Result<Outcome, EngineError> {
    let dir = fs::canonicalize(run).map_err(io(run))?;
    let held = Held::take(&dir)?;
    if !dir.join(audit::RECEIPT).exists() {
        held.sweep()?;
    }
    if audit::finish(&dir, given.signer.as_deref())? {
        return complete(dir);
    }
    let taken_up = TakenUp::find(&dir, held)?;
    let TakenUp { past, kept, .. } = &taken_up;
    let target = target(past, endpoints)?;
    let options = kept.options(target, policy(&dir, past)?, past.cassette.clone(), given)?;
    let mut evidence = Evidence::new("run", &options.target);
    let ended = run::perform(&options, Whence::TakenUp(&taken_up), reporter, stop, &mut evidence).await;
    evidence.close(ended)
}

/// A run that was cut off behind its closing record: nothing but its receipt was missing.
fn complete(dir: PathBuf) -> Result<Outcome, EngineError> {
    audit::verify(&Place::Directory(dir.clone()), None)?;
    let path = dir.join("summary.json");
    let bytes = fs::read(&path).map_err(io(&path))?;
    let summary =
        serde_json::from_slice(&bytes).map_err(|why| EngineError::Usage(format!("{}: {why}", path.display())))?;
    Ok(Outcome {
        summary,
        artifacts: dir,
    })
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    let what = format!("read {}", PathBuf::from(path).display());
    move |source| EngineError::Io { what, source }
}
