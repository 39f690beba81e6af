//! A step of an earlier run: found, laid out as a tree, and gone on from.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    engine::{EngineError, inputs::FromLine, scratch, site::COPY},
    record::{self, audit},
    sandbox,
    source::{Endpoints, Obtained, Target},
    tree::{self, Cache, Checkpoint, Content, Pristine, Step, StepWriter, Steps},
};

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepOf {
    /// The run's directory.
    pub run: PathBuf,
    /// The step's number; nothing for the last.
    pub number: Option<u64>,
}

/// A step that was found.
pub(super) struct Found {
    run: PathBuf,
    steps: Steps,
    step: Step,
}

impl StepOf {
    /// Reads the run's steps.
    ///
    /// # Errors
    /// [`EngineError::Usage`] where the run has kept none, or none of this number.
    pub(super) fn find(&self) -> Result<Found, EngineError> {
        let steps = Steps::read(&self.run)?;
        let all = steps.all();
        let number = self.number.unwrap_or(all.len().saturating_sub(1) as u64);
        let step = usize::try_from(number).ok().and_then(|at| all.get(at)).cloned();
        let shown = self.run.display();
        match (step, all.len()) {
            (Some(step), _) => Ok(Found {
                run: self.run.clone(),
                steps,
                step,
            }),
            (None, 0) => Err(EngineError::Usage(format!(
                "{shown} has kept no steps: it was no run with an agent"
            ))),
            (None, kept) => Err(EngineError::Usage(format!(
                "{shown} has no step {number}; it has those from 0 to {}",
                kept - 1
            ))),
        }
    }

    /// The target of the run, which its steps change.
    ///
    /// # Errors
    /// [`EngineError::Usage`] where its record does not name one.
    pub fn target(&self, endpoints: &Endpoints) -> Result<Target, EngineError> {
        let named = record::target_of(&self.run);
        let named = named.ok_or_else(|| EngineError::Usage(format!("{} names no target", self.run.display())))?;
        match Target::parse(OsStr::new(&named), endpoints) {
            Ok(found) => Ok(found.target),
            // A directory that is gone: the cache may still have what it held.
            Err(_) if named.starts_with('/') => Ok(Target::Directory(named.into())),
            Err(why) => Err(why.into()),
        }
    }

    /// What the first record says of it.
    pub(super) fn line(&self, found: &Found) -> FromLine {
        let name = self.run.file_name().unwrap_or_default();
        FromLine {
            run: name.to_string_lossy().into_owned(),
            checkpoint: found.step.number,
            state: found.step.state.to_string(),
        }
    }
}

impl Found {
    /// The tree that the step stands on, where the cache has it.
    pub fn held(&self, cache: &Cache) -> Result<Option<Obtained>, EngineError> {
        let Some(pristine) = cache.held(self.step.target)? else {
            return Ok(None);
        };
        let provenance = audit::first_of(&self.run, "obtained")?;
        Ok(provenance.map(|provenance| Obtained { pristine, provenance }))
    }

    /// Whether a tree is the one that the step stands on.
    ///
    /// # Errors
    /// [`EngineError::Usage`] where it is another.
    pub fn stands_on(&self, pristine: &Pristine) -> Result<(), EngineError> {
        match pristine.digest == self.step.target {
            true => Ok(()),
            false => Err(EngineError::Usage(format!(
                "the target has changed since the run: it was {}, and is {}; what it was is not in the cache any more",
                self.step.target, pristine.digest
            ))),
        }
    }

    /// Number and digest of the step.
    pub fn stand(&self) -> (u64, Content) {
        (self.step.number, self.step.state)
    }

    /// What keeps the steps after it.
    pub fn writer(&self) -> StepWriter {
        StepWriter::after(&self.steps, self.step.number)
    }

    /// The step's state over its tree, its layer at `dir`.
    pub fn state(&self, base: &Pristine, dir: &Path) -> Result<Checkpoint, EngineError> {
        Ok(self.steps.checkpoint(base, self.step.number, dir)?)
    }
}

/// The tree of a step: from the cache, else from a directory that still is as it was.
fn base_of(cache: &Cache, found: &Found, target: Option<&Path>) -> Result<Pristine, EngineError> {
    let digest = found.step.target;
    if let Some(held) = cache.held(digest)? {
        return Ok(held);
    }
    if let Some(target) = target.filter(|target| target.is_dir()) {
        let copied = cache.pristine(target, &COPY, &|_, _| {})?;
        if copied.digest == digest {
            return Ok(copied);
        }
    }
    Err(EngineError::Usage(format!(
        "the tree that the run stands on ({digest}) is neither in the cache nor at {}; name a copy of it with --base",
        target.map_or_else(|| "its target".to_owned(), |target| target.display().to_string())
    )))
}

/// Lays a step's tree out at `to`, which must be empty or not there. `base`: a copy of the
/// run's target as it was, where that has changed.
///
/// # Errors
/// [`EngineError::Usage`] where the step, its tree or the place is not to be had; when
/// something cannot be read or written.
pub fn checkout(of: &StepOf, to: &Path, base: Option<&Path>) -> Result<Step, EngineError> {
    let io = |what: String| move |source| EngineError::Io { what, source };
    let found = of.find()?;
    if to.exists()
        && fs::read_dir(to)
            .map_err(io(format!("read {}", to.display())))?
            .next()
            .is_some()
    {
        return Err(EngineError::Usage(format!("{} is there and not empty", to.display())));
    }
    let cache = record::default_cache_dir()?;
    scratch::open_directory(&cache)?;
    let trees = Cache::open(&cache.join("targets"), sandbox::owner().map(|id| (id, id)))?;
    let target = match base {
        Some(base) => Some(base.to_path_buf()),
        None => record::target_of(&of.run).map(PathBuf::from),
    };
    let pristine = base_of(&trees, &found, target.as_deref())?;
    let part = tempfile::Builder::new().prefix("checkout-").tempdir_in(&cache);
    let part = part.map_err(io(format!("make a directory in {}", cache.display())))?;
    let state = found.state(&pristine, &part.path().join("layer"))?;
    let mut lowers = pristine.roots.clone();
    lowers.push(state.layer);
    let to = std::path::absolute(to).map_err(io(format!("find {}", to.display())))?;
    if let Some(home) = to.parent() {
        fs::create_dir_all(home).map_err(io(format!("make {}", home.display())))?;
    }
    tree::lay_copy(&lowers, &to, None)?;
    Ok(found.step)
}
