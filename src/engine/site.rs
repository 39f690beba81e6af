//! What `run` and `verify` both need before anything happens: the run's directory,
//! the copied target, its contract, the back end.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    contract::{self, Pipeline},
    engine::{
        EngineError, PolicyLine, Stop, TargetOptions,
        bootstrap::{self, Bootstrap},
        permit,
        scratch::{self, Scratch},
        slots::{self, Slot},
        walls,
        workspace::{Walls, Workspace},
    },
    guard::{self, WriteSets},
    names::{RelPath, RunId},
    policy::ReadOnlyMount,
    record::{self, RunDir, Secret, Subject},
    report::{Happening, Reporter},
    sandbox::{self, Backend},
    tree::{Cache, CopyLimits, EntryKind, Pristine},
};

/// Bounds on the copied target.
const COPY: CopyLimits = CopyLimits {
    max_files: 2_000_000,
    max_bytes: 64 << 30,
};
/// Bytes that pristine copies and the layers of bootstraps may take together.
const CACHE_BYTES: u64 = 32 << 30;
/// Longest contract.
const CONTRACT_BYTES: u64 = contract::MAX_DOCUMENT as u64;
/// Acceptance command where neither the user nor the contract names one.
const DEFAULT_TESTS: &str = "pytest -q";
/// Inodes that a sandbox may add to its workspace.
const DISK_INODES: u64 = 1_000_000;
/// Between two reports of the copy's progress.
const COPY_REPORT: Duration = Duration::from_millis(200);

/// What a run stands on.
pub(super) struct Site {
    pub run: RunDir,
    /// The target, absolute.
    pub target: PathBuf,
    pub pristine: Arc<Pristine>,
    pub cache: Cache,
    pub scratch: Scratch,
    pub backend: Backend,
    /// What the host allows, in short.
    pub policy: PolicyLine,
    /// Held as long as the run lives.
    _slot: Option<Slot>,
}

impl Site {
    /// Makes the run's directory and copies the target. Nothing of the target is
    /// read again during the run, and nothing there is ever written.
    pub async fn prepare(
        options: &TargetOptions,
        secrets: &[Secret],
        reporter: &Reporter,
        stop: &mut Stop,
    ) -> Result<Self, EngineError> {
        permit::target(options)?;
        let target = target(&options.target)?;
        let id = RunId::fresh();
        let runs = match &options.artifacts_dir {
            Some(dir) => std::path::absolute(dir).map_err(|source| EngineError::Io {
                what: format!("--artifacts-dir {}", dir.display()),
                source,
            })?,
            None => record::default_runs_dir()?,
        };
        let granted = options.grants.iter().map(|(_, value)| value.clone());
        let secrets: Vec<Secret> = secrets.iter().cloned().chain(granted).collect();
        let run = RunDir::create(&runs, &id, &secrets)?;
        reporter.say(Happening::RunStarted {
            run: id.to_string(),
            target: target.display().to_string(),
            artifacts: run.path().display().to_string(),
        });
        run.journal(
            "run",
            &json!({"id": id, "target": target, "version": env!("CARGO_PKG_VERSION")}),
        )?;
        permit::keep(&options.policy, &run)?;
        let cache = record::default_cache_dir()?;
        scratch::open_directory(&cache)?;
        let slot = slots::take(&cache.join("slots"), options.jobs, reporter, stop).await?;
        let scratch = Scratch::make(&cache.join("scratch"), &id)?;
        let (cache, pristine) = tokio::select! {
            copied = copy(cache.join("targets"), target.clone(), reporter.clone()) => copied?,
            signal = stop.requested() => return Err(EngineError::Interrupted(signal)),
        };
        run.journal(
            "copied",
            &json!({"digest": pristine.digest, "entries": pristine.manifest.len(), "skipped": pristine.skipped}),
        )?;
        for (path, why) in &pristine.skipped {
            reporter.say(Happening::Warning {
                text: format!("not copied: {path}: {why}"),
            });
        }
        let backend = walls::choose(&options.walls, &scratch.path().join("trial"), &run, reporter).await?;
        Ok(Self {
            run,
            target,
            pristine: Arc::new(pristine),
            cache,
            scratch,
            backend,
            policy: PolicyLine::of(&options.policy),
            _slot: slot,
        })
    }

    /// What the record says the run is about; the model is the caller's to add.
    pub fn subject(&self, options: &TargetOptions, plan: &RelPath, pipeline: &Pipeline) -> Subject {
        Subject {
            repo: self.target.display().to_string(),
            plan_path: plan.to_string(),
            pipeline_path: options.pipeline.to_string(),
            model: String::new(),
            test_cmd: pipeline.test_cmd(),
        }
    }

    /// The workspace on the copied target.
    pub fn workspace(
        &self,
        options: &TargetOptions,
        plan: &RelPath,
        withheld: Vec<RelPath>,
        agent_mounts: Vec<ReadOnlyMount>,
    ) -> Result<Workspace, EngineError> {
        let contract = guard::contract_paths(&self.pristine.manifest, &options.pipeline, &bootstrap::path());
        let sets = WriteSets {
            plan: plan.clone(),
            contract,
            protected: options.policy.protected().to_vec(),
            withheld,
            made: BTreeSet::new(),
        };
        let walls = Walls {
            limits: options.limits.clone(),
            min_tier: options.walls.min_tier,
            lease: options.caps.lease(),
            disk_bytes: options.disk_bytes,
            disk_inodes: DISK_INODES,
            agent_mounts,
        };
        let id = self.run.id().to_string();
        Workspace::new(
            id,
            self.pristine.clone(),
            sets,
            self.scratch.path().to_path_buf(),
            walls,
        )
    }
}

/// The target as an absolute directory.
fn target(given: &Path) -> Result<PathBuf, EngineError> {
    let shown = given.display();
    let path = std::fs::canonicalize(given).map_err(|source| {
        EngineError::Usage(format!(
            "target {shown}: {source}; this version takes a local directory"
        ))
    })?;
    match path.is_dir() {
        true => Ok(path),
        false => Err(EngineError::Usage(format!(
            "target {shown} is no directory; this version takes a local directory"
        ))),
    }
}

async fn copy(cache: PathBuf, target: PathBuf, reporter: Reporter) -> Result<(Cache, Pristine), EngineError> {
    let copied = tokio::task::spawn_blocking(move || {
        let owner = sandbox::owner().map(|id| (id, id));
        let cache = Cache::open(&cache, owner)?;
        let began = Instant::now();
        let last = AtomicU64::new(0);
        let progress = |files: u64, bytes: u64| {
            let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let before = last.load(Ordering::Relaxed);
            let due = now.saturating_sub(before) >= u64::try_from(COPY_REPORT.as_millis()).unwrap_or(u64::MAX);
            if due
                && last
                    .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                reporter.say(Happening::Copying { files, bytes });
            }
        };
        let pristine = cache.pristine(&target, &COPY, &progress)?;
        cache.prune(CACHE_BYTES)?;
        Ok::<_, EngineError>((cache, pristine))
    });
    copied
        .await
        .map_err(|why| EngineError::Usage(format!("the copy was abandoned: {why}")))?
}

/// The contract of the tree as it was copied, with the user's acceptance command in it;
/// the file itself is kept as `pipeline.yml` of the run.
pub(super) fn contract_of(
    options: &TargetOptions,
    workspace: &Workspace,
    run: &RunDir,
) -> Result<Pipeline, EngineError> {
    let mut pipeline = match contract_text(&options.pipeline, workspace)? {
        Some(bytes) => {
            run.write("pipeline.yml", &bytes)?;
            match Pipeline::parse(&options.pipeline, &bytes) {
                Ok(pipeline) => {
                    permit::contract(options, &pipeline)?;
                    pipeline
                }
                Err(why) => {
                    let why = why.to_string();
                    run.write("pipeline_parse_error.txt", format!("{why}\n").as_bytes())?;
                    return Err(EngineError::Contract(why));
                }
            }
        }
        None if options.require_pipeline => {
            return Err(EngineError::NoContract(options.pipeline.clone()));
        }
        None => Pipeline::with_tests(options.test_cmd.as_deref().unwrap_or(DEFAULT_TESTS)),
    };
    if let Some(command) = &options.test_cmd {
        pipeline.tests = Pipeline::with_tests(command).tests;
    } else if pipeline.stages().all(|stage| stage.cmds.is_empty()) {
        pipeline.tests = Pipeline::with_tests(DEFAULT_TESTS).tests;
    }
    Ok(pipeline)
}

/// The contract's bytes; `None` where there is nothing under its name.
fn contract_text(path: &RelPath, workspace: &Workspace) -> Result<Option<Vec<u8>>, EngineError> {
    let refuse = |why: &str| Err(EngineError::Contract(format!("{path}:1:1: {why}")));
    let pristine = workspace.copied();
    let skipped = pristine.skipped.iter().find(|(skipped, _)| skipped == path);
    match pristine.manifest.get(path).map(|entry| &entry.kind) {
        None => match skipped {
            Some((_, why)) => refuse(&format!("a contract is a file, and this was not copied: {why}")),
            None => Ok(None),
        },
        Some(EntryKind::File { size, .. }) if *size > CONTRACT_BYTES => {
            refuse(&format!("the file has {size} bytes; at most {CONTRACT_BYTES} are read"))
        }
        Some(EntryKind::File { .. }) => workspace.read(path, CONTRACT_BYTES),
        Some(EntryKind::Dir) => refuse("a contract is a file, and this is a directory"),
        Some(EntryKind::Symlink { .. }) => {
            refuse("a contract is a file, and this is a link; name the file itself with --pipeline")
        }
        Some(EntryKind::Special) => refuse("a contract is a file, and this is a device, socket or fifo"),
    }
}

/// Tells what the contract holds to no effect.
pub(super) fn warn(pipeline: &Pipeline, bootstrap: Option<&Bootstrap>, reporter: &Reporter) {
    let pipelines = pipeline.warnings.iter().map(ToString::to_string);
    let bootstraps = bootstrap
        .iter()
        .flat_map(|bootstrap| bootstrap.warnings.iter().cloned());
    for text in pipelines.chain(bootstraps) {
        reporter.say(Happening::Warning { text });
    }
}
