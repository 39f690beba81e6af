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
        EngineError, Given, Outcome, RunOptions, StepOf, Stop,
        evidence::{Evidence, digest_of},
        kept::Kept,
        past::{self, Past},
        run,
    },
    names::RunId,
    policy::{Origins, Policy},
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
    /// Takes the run's lock, verifies its chain, and reads what it was. Nothing is written
    /// before all of that holds.
    fn find(dir: PathBuf, held: Held) -> Result<Self, EngineError> {
        audit::verify(&Place::Directory(dir.clone()), None)?;
        let id: RunId = audit::run_of(&dir)?
            .parse()
            .map_err(|why| EngineError::Usage(format!("{}: {why}", dir.display())))?;
        let past = past::read(&dir)?;
        refuse(&dir, &past)?;
        let Some(expected) = past.options else {
            return Err(EngineError::Usage(format!(
                "{}: the run was made by a version that kept no {OPTIONS}; `opencode-fsm run --from {id}` goes on from its last step",
                dir.display()
            )));
        };
        let path = dir.join(OPTIONS);
        let found = digest_of(&path)?;
        if found != expected {
            return Err(EngineError::damaged(OPTIONS, &expected.to_string(), &found.to_string()));
        }
        let bytes = fs::read(&path).map_err(io(&path))?;
        let kept: Kept =
            serde_json::from_slice(&bytes).map_err(|why| EngineError::Usage(format!("{}: {why}", path.display())))?;
        let (run, torn) = RunDir::reopen(held, &id)?;
        let run = Arc::new(run);
        Ok(Self { run, past, kept, torn })
    }

    /// What the run was asked for, with what is given again.
    fn options(&self, endpoints: Endpoints, given: &Given) -> Result<RunOptions, EngineError> {
        let named = &self.past.target;
        let target = match Target::parse(OsStr::new(named), &endpoints) {
            Ok(found) => found.target,
            // A directory that is gone: the cache may still have what it held.
            Err(_) if named.starts_with('/') => Target::Directory(named.into()),
            Err(why) => return Err(why.into()),
        };
        let policy = self.policy()?;
        let cassette = self.past.cassette.clone();
        self.kept.options((target, endpoints), policy, cassette, given)
    }

    /// The policy that it had.
    fn policy(&self) -> Result<Policy, EngineError> {
        let read = |name: &str| {
            let path = self.run.path().join(name);
            fs::read(&path).map_err(io(&path))
        };
        let origins = read("policy_origins.json")?;
        let origins: Origins = serde_json::from_slice(&origins)
            .map_err(|why| EngineError::Usage(format!("policy_origins.json: {why}")))?;
        let policy = Policy::recorded(&read("policy.json")?, origins)?;
        match policy.digest() == self.past.policy {
            true => Ok(policy),
            false => Err(EngineError::damaged("policy.json", &self.past.policy, &policy.digest())),
        }
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

/// Why a run is not gone on with.
fn refuse(dir: &Path, past: &Past) -> Result<(), EngineError> {
    let shown = dir.display();
    if past.verb != "run" {
        return Err(EngineError::Usage(format!(
            "{shown} is of `{}`, which has nothing to go on from: start it anew",
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
    if audit::finish(&dir, given.signer.as_deref())? {
        return complete(dir);
    }
    let taken_up = TakenUp::find(dir, held)?;
    let options = taken_up.options(endpoints, given)?;
    let mut evidence = Evidence::new("run", &options.target);
    let ended = run::perform(&options, Some(&taken_up), reporter, stop, &mut evidence).await;
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
