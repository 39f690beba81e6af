//! What `run` and `verify` both need before anything happens: the run's directory,
//! the copied target, its contract, the back end.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use crate::{
    broker::{EgressConfig, EgressCount, EgressDoor},
    contract::{self, MAX_DOCUMENT, Pipeline},
    engine::{
        EngineError, NetworkOptions, PolicyLine, Stop, TargetOptions,
        bootstrap::{self, Bootstrap},
        branch,
        evidence::Evidence,
        judge::Accepted,
        permit,
        resume::TakenUp,
        scratch::{self, Scratch},
        slots::{self, Slot},
        walls,
        workspace::{Walls, Workspace},
    },
    guard::{self, WriteSets},
    hints::{self, Hint},
    names::{RelPath, RunId},
    policy::{Isolation, Layer, Policy, ReadOnlyMount},
    record::{self, RunDir, Secret, Subject},
    report::{Happening, Reporter, escape},
    sandbox::{self, Backend},
    source::{self, Means, Obtained, Provenance, Target},
    tree::{Cache, CopyLimits, EntryKind, Pristine},
};

/// Bounds on the copied target.
pub(super) const COPY: CopyLimits = CopyLimits {
    max_files: 2_000_000,
    max_bytes: 64 << 30,
};
/// Bytes that pristine copies and the layers of bootstraps may take together.
const CACHE_BYTES: u64 = 32 << 30;
/// Longest contract.
const CONTRACT_BYTES: u64 = contract::MAX_DOCUMENT as u64;
/// Documented commands that an agent is told.
const HINTS_TOLD: usize = 20;
/// Acceptance command where neither the user nor the contract names one.
const DEFAULT_TESTS: &str = "pytest -q";
/// Inodes that a sandbox may add to its workspace.
const DISK_INODES: u64 = 1_000_000;
/// The ledger of the door out.
const EGRESS: &str = "egress.jsonl";

/// What a run stands on.
pub(super) struct Site {
    pub run: Arc<RunDir>,
    /// What it is about, and where that was had from.
    pub target: Target,
    pub provenance: Provenance,
    pub pristine: Arc<Pristine>,
    pub cache: Cache,
    pub scratch: Scratch,
    pub backend: Backend,
    /// What the host allows, in short.
    pub policy: PolicyLine,
    /// The door out, where the network is `allow`.
    pub egress: Option<Arc<EgressDoor>>,
    /// Held as long as the run lives.
    _slot: Option<Slot>,
}

impl Site {
    /// Makes the run's directory and copies the target. Nothing of the target is
    /// read again during the run, and nothing there is ever written.
    pub async fn prepare(
        options: &TargetOptions,
        secrets: &[Secret],
        from: Option<&branch::Found>,
        taken_up: Option<&TakenUp>,
        evidence: &mut Evidence,
        reporter: &Reporter,
        stop: &mut Stop,
    ) -> Result<Self, EngineError> {
        permit::target(options)?;
        let target = options.target.clone();
        let network = &options.network;
        let granted = options.grants.iter().chain(&network.secrets);
        let granted = granted.map(|(_, value)| value.clone());
        let keys = options.endpoints.secrets().into_iter().chain(target.secrets());
        let secrets: Vec<Secret> = secrets.iter().cloned().chain(granted).chain(keys).collect();
        let run = match taken_up {
            Some(taken_up) => taken_up.run.clone(),
            None => Arc::new(RunDir::create(&runs_of(options)?, &RunId::fresh(), &secrets)?),
        };
        let id = run.id().clone();
        reporter.say(Happening::RunStarted {
            run: id.to_string(),
            target: target.to_string(),
            artifacts: run.path().display().to_string(),
        });
        match taken_up {
            Some(taken_up) => {
                run.hide(&secrets);
                taken_up.begin(evidence)?;
            }
            None => {
                // Before the first record: a run that has one can be gone on with.
                permit::keep(&options.policy, &run)?;
                evidence.begin(&run, &target.to_string())?;
            }
        }
        let cache = record::default_cache_dir()?;
        scratch::open_directory(&cache)?;
        let slot = slots::take(&cache.join("slots"), options.jobs, reporter, stop).await?;
        let scratch = Scratch::make(&cache.join("scratch"), &id)?;
        let backend = walls::choose(&options.walls, &scratch.path().join("trial"), &run, reporter).await?;
        evidence.walls(&backend);
        let Obtained { pristine, provenance } = tokio::select! {
            obtained = obtain(options, from, (&cache, scratch.path(), &backend), &run, reporter) => obtained?,
            signal = stop.requested() => return Err(EngineError::Interrupted(signal)),
        };
        taken_up.map_or(Ok(()), |taken_up| taken_up.stands_on(&pristine))?;
        run.journal(
            "copied",
            &json!({"digest": pristine.digest, "entries": pristine.manifest.len(), "skipped": pristine.skipped}),
        )?;
        evidence.receipt.target = Some(pristine.digest.to_string());
        for (path, why) in &pristine.skipped {
            reporter.say(Happening::Warning {
                text: format!("not copied: {path}: {why}"),
            });
        }
        let egress = match network.rules.opens_door() {
            true => Some(Arc::new(open_egress(network, secrets, &run)?)),
            false => None,
        };
        Ok(Self {
            run,
            target,
            provenance,
            pristine: Arc::new(pristine),
            cache: Cache::open(&cache.join("targets"), sandbox::owner().map(|id| (id, id)))?,
            scratch,
            backend,
            policy: PolicyLine::of(&options.policy),
            egress,
            _slot: slot,
        })
    }

    /// The options as the repository's own policy leaves them, where it has one.
    ///
    /// # Errors
    /// As [`permit::narrowed`]; [`EngineError::Contract`] for one that is no file.
    pub fn narrowed(
        &mut self,
        options: &TargetOptions,
        evidence: &mut Evidence,
    ) -> Result<Option<TargetOptions>, EngineError> {
        let layers = options.policy.layers();
        if layers.iter().any(|(layer, _)| *layer == Layer::Repository) {
            // It was narrowed when the run began that is gone on with, or done again.
            return Ok(Some(options.narrowed(Policy::clone(&options.policy))));
        }
        let path = contract::policy_path();
        let refuse = |why: &str| Err(EngineError::Contract(format!("{path}:1:1: {why}")));
        if let Some((_, why)) = self.pristine.skipped.iter().find(|(skipped, _)| *skipped == path) {
            return refuse(&format!("a policy is a file, and this was not copied: {why}"));
        }
        let text = match self.pristine.manifest.get(&path).map(|entry| &entry.kind) {
            None => return Ok(None),
            Some(EntryKind::File { .. }) => self.pristine.read(&path, MAX_DOCUMENT as u64)?,
            Some(_) => return refuse("a policy is a file, and this is none"),
        };
        let Some(text) = text else {
            return refuse(&format!("it has more than {MAX_DOCUMENT} bytes"));
        };
        let narrowed = options.narrowed(permit::narrowed(&options.policy, &text)?);
        permit::target(&narrowed)?;
        evidence.narrow(&self.run, &narrowed.policy)?;
        permit::keep(&narrowed.policy, &self.run)?;
        self.policy = PolicyLine::of(&narrowed.policy);
        Ok(Some(narrowed))
    }

    /// Ends the record of the door out, when every sandbox is gone.
    pub async fn close_egress(&self, reporter: &Reporter) -> Result<(), EngineError> {
        let Some(egress) = &self.egress else { return Ok(()) };
        let count = egress.finish().await?;
        self.run.journal("egress", &count)?;
        let EgressCount {
            allowed,
            refused,
            failed,
            dropped,
        } = count;
        let more = match dropped {
            0 => String::new(),
            more => format!("; {more} of them without a line: the ledger was full"),
        };
        reporter.say(Happening::Note {
            text: format!(
                "  network   {allowed} connections allowed, {refused} refused, {failed} failed ({EGRESS}{more})"
            ),
        });
        Ok(())
    }

    /// What the record says the run is about; the model is the caller's to add.
    pub fn subject(&self, options: &TargetOptions, plan: &RelPath, pipeline: &Pipeline) -> Subject {
        Subject {
            repo: self.target.to_string(),
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
        let mut contract = guard::contract_paths(&self.pristine.manifest, &options.pipeline, &bootstrap::path());
        contract.push(contract::policy_path());
        let sets = WriteSets {
            plan: plan.clone(),
            pipeline: options.pipeline.clone(),
            contract,
            never: vec![contract::policy_path()],
            protected: options.policy.protected().to_vec(),
            withheld,
            made: BTreeSet::new(),
        };
        let walls = Walls {
            network: options.network.mode(),
            egress: self.egress.clone(),
            limits: options.limits.clone(),
            min_tier: options.walls.min_tier,
            lease: options.caps.lease(),
            disk_bytes: options.disk_bytes,
            disk_inodes: DISK_INODES,
            agent_mounts,
        };
        Workspace::new(
            self.run.clone(),
            self.pristine.clone(),
            sets,
            self.scratch.path().to_path_buf(),
            walls,
        )
    }
}

/// Where runs lie.
fn runs_of(options: &TargetOptions) -> Result<PathBuf, EngineError> {
    match &options.artifacts_dir {
        Some(dir) => std::path::absolute(dir).map_err(|source| EngineError::Io {
            what: format!("--artifacts-dir {}", dir.display()),
            source,
        }),
        None => Ok(record::default_runs_dir()?),
    }
}

/// Gets the target into the cache; what it was is in the journal.
async fn obtain(
    options: &TargetOptions,
    from: Option<&branch::Found>,
    (cache, scratch, backend): (&Path, &Path, &Backend),
    run: &RunDir,
    reporter: &Reporter,
) -> Result<Obtained, EngineError> {
    let owner = sandbox::owner().map(|id| (id, id));
    let trees = Cache::open(&cache.join("targets"), owner)?;
    let means = Means {
        options: &options.fetch,
        endpoints: &options.endpoints,
        cache: &trees,
        shelf: &cache.join("fetched"),
        scratch,
        backend,
        label: run.id().as_str(),
        walls: (options.limits.clone(), options.walls.min_tier),
        copy: &COPY,
        reporter,
    };
    let obtained = match from.map(|from| from.held(&trees)).transpose()?.flatten() {
        Some(held) => held,
        None => source::obtain(&options.target, &means).await?,
    };
    from.map_or(Ok(()), |from| from.stands_on(&obtained.pristine))?;
    tokio::task::spawn_blocking(move || trees.prune(CACHE_BYTES))
        .await
        .map_err(|why| EngineError::Usage(format!("the cache was not looked through: {why}")))??;
    run.journal("obtained", &obtained.provenance)?;
    Ok(obtained)
}

/// Opens the door out and says by which rules.
fn open_egress(network: &NetworkOptions, hidden: Vec<Secret>, run: &RunDir) -> Result<EgressDoor, EngineError> {
    run.journal(
        "network",
        &json!({"rules": network.rules, "resolver": network.resolver}),
    )?;
    Ok(EgressDoor::open(EgressConfig {
        rules: network.rules.clone(),
        secrets: network.secrets.iter().cloned().collect(),
        hidden,
        resolver: network.resolver,
        certificates: Vec::new(),
        ledger: run.path().join(EGRESS),
    })?)
}

/// The contract of the accepted state, with the user's acceptance command in it; the file
/// itself is kept as `pipeline.yml` of the run.
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
    // The host's word and the contract's: the narrower one.
    pipeline.verify.isolation = pipeline.verify.isolation.max(options.isolation);
    if pipeline.verify.isolation == Isolation::Sealed
        && let Some(why) = pipeline.unsealable()
    {
        return Err(EngineError::Contract(format!("{}: {why}", options.pipeline)));
    }
    if let Some(command) = &options.test_cmd {
        pipeline.tests = Pipeline::with_tests(command).tests;
    } else if pipeline
        .stages()
        .all(|stage| stage.cmds.is_empty() && !pipeline.performs(stage.name))
    {
        pipeline.tests = Pipeline::with_tests(DEFAULT_TESTS).tests;
    }
    Ok(pipeline)
}

/// Whether there is nothing at all where the contract would be.
pub(super) fn lacks_contract(options: &TargetOptions, workspace: &Workspace) -> bool {
    let path = &options.pipeline;
    let skipped = workspace.copied().skipped.iter().any(|(skipped, _)| skipped == path);
    workspace.entry(path).is_none() && !skipped
}

/// Commands that the repository's own texts name, the most telling first, each with its place.
pub(super) fn documented(workspace: &Workspace) -> Vec<String> {
    let found = hints::rank(hints::extract(&Accepted(workspace)));
    let told = |hint: &Hint| {
        let command = escape(hint.command.as_bytes(), 300);
        format!("`{command}` ({}:{})", hint.file, hint.line)
    };
    found.iter().take(HINTS_TOLD).map(told).collect()
}

/// The contract's bytes; `None` where there is nothing under its name.
fn contract_text(path: &RelPath, workspace: &Workspace) -> Result<Option<Vec<u8>>, EngineError> {
    let refuse = |why: &str| Err(EngineError::Contract(format!("{path}:1:1: {why}")));
    let pristine = workspace.copied();
    let skipped = pristine.skipped.iter().find(|(skipped, _)| skipped == path);
    match workspace.entry(path).map(|entry| entry.kind) {
        None => match skipped {
            Some((_, why)) => refuse(&format!("a contract is a file, and this was not copied: {why}")),
            None => Ok(None),
        },
        Some(EntryKind::File { size, .. }) if size > CONTRACT_BYTES => {
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
