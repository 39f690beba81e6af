//! `replay`: a run is done again by what was recorded of it, and its course compared; or its
//! final tree is judged again; or another policy is asked about its commands.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    contract::Pipeline,
    engine::{
        EngineError, Given, Outcome, RunOptions, StepOf, Stop, Unattended,
        branch::checkout,
        evidence::{BOOTSTRAP_EXEC, CASSETTE, EXEC, Evidence},
        kept::Kept,
        past::Past,
        resume, run, scratch,
        verify::verify,
        whence::Whence,
    },
    policy::{BackendChoice, Destination, HostVerdict, Policy, shell},
    record::{
        self,
        audit::{self, Comparison, Place},
    },
    report::Reporter,
    sandbox,
    source::{Endpoints, Target},
    tree::{Cache, Item},
};

/// The port of a host where none is named.
const HTTPS: u16 = 443;
/// Longest command that is judged again, and largest ledger line.
const COMMAND: usize = 1 << 20;

/// Where a run is done again.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// Directory that holds run directories.
    pub artifacts_dir: Option<PathBuf>,
    /// What builds the walls; as recorded where nothing is said.
    pub backend: Option<BackendChoice>,
    /// The image of containers; the runner image where nothing is said.
    pub image: Option<String>,
    /// A copy of the target as it was.
    pub target: Option<PathBuf>,
}

/// A run that came to its end, with all that doing it again takes.
pub struct Recorded {
    dir: PathBuf,
    /// Of a bundle.
    _unpacked: Option<TempDir>,
    pub(super) past: Past,
    pub(super) kept: Kept,
}

/// A run that was done again.
#[derive(Debug)]
pub struct Replayed {
    /// What came of it.
    pub outcome: Outcome,
    /// How the two differ; of what they are bound to, and of their courses.
    pub comparison: Comparison,
}

/// A final tree that was judged again.
#[derive(Debug)]
pub struct Judged {
    /// What came of it.
    pub outcome: Outcome,
    /// Whether the run's last verification had passed.
    pub recorded: bool,
}

/// Something of a run that another policy would have refused.
#[derive(Clone, Debug, Serialize)]
pub struct Denied {
    /// Where its artifacts lie, or the ledger.
    pub at: String,
    /// The command, or the host and port.
    pub what: String,
    /// The rule, and why.
    pub rule: String,
}

impl Recorded {
    /// Opens a run's directory or a bundle, verifies it, and reads what it was.
    ///
    /// # Errors
    /// [`EngineError::Audit`] where it does not hold; [`EngineError::Usage`] for one that
    /// never came to its end, or is no run of an agent.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let (dir, unpacked) = match Place::open(path)? {
            Place::Directory(dir) => (fs::canonicalize(&dir).map_err(io_at(&dir))?, None),
            place @ Place::Bundle { .. } => {
                audit::verify(&place, None)?;
                let home = unpack(&place)?;
                let top = fs::read_dir(home.path()).map_err(io_at(home.path()))?.next();
                let top = top.transpose().map_err(io_at(home.path()))?;
                (top.map_or(home.path().to_path_buf(), |top| top.path()), Some(home))
            }
        };
        let (_, past, kept) = resume::read(&dir)?;
        if past.closed.is_none() {
            return Err(EngineError::Usage(format!(
                "{}: the run never came to its end; `opencode-fsm resume` goes on with it",
                path.display()
            )));
        }
        Ok(Self {
            dir,
            _unpacked: unpacked,
            past,
            kept,
        })
    }

    /// The step that stands for where it began: the target, or the step of another run.
    pub(super) fn step(&self) -> StepOf {
        StepOf {
            run: self.dir.clone(),
            number: Some(u64::from(self.past.branch.is_some())),
        }
    }

    fn options(&self, endpoints: Endpoints, given: &Given, how: &Elsewhere) -> Result<RunOptions, EngineError> {
        let mut target = match resume::target(&self.past, endpoints.clone()) {
            Err(_) if how.target.is_some() => (Target::Directory(PathBuf::new()), endpoints),
            target => target?,
        };
        if let Some(copy) = &how.target {
            target.0 = Target::Directory(fs::canonicalize(copy).map_err(io_at(copy))?);
        }
        let policy = resume::policy(&self.dir, &self.past)?;
        let cassette = self.dir.join(CASSETTE);
        let mut options = self.kept.replayed(target, policy, cassette, given)?;
        options.target.artifacts_dir.clone_from(&how.artifacts_dir);
        if let Some(backend) = how.backend {
            options.target.walls.backend = backend;
            options.target.walls.image.clone_from(&how.image);
            options.target.walls.docker_runtime = None;
        }
        self.is_there(&options.target.target)?;
        Ok(options)
    }

    /// Whether the bytes are to be had that the run began with.
    fn is_there(&self, target: &Target) -> Result<(), EngineError> {
        let Some(digest) = self.past.copied else {
            return Err(EngineError::Usage(
                "the run ended before its target was copied".to_owned(),
            ));
        };
        let cache = record::default_cache_dir()?;
        scratch::open_directory(&cache)?;
        let trees = Cache::open(&cache.join("targets"), sandbox::owner().map(|id| (id, id)))?;
        match target {
            Target::Directory(dir) if !dir.is_dir() && trees.held(digest)?.is_none() => {
                Err(EngineError::Usage(format!(
                    "the target as it was is needed ({digest}): it is neither in the cache nor at {}; name a copy of it with \
                 --target",
                    dir.display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Does the run again, and compares.
    ///
    /// # Errors
    /// When it cannot begin; that it goes another way is a [`Comparison`].
    pub async fn replay(
        &self,
        endpoints: Endpoints,
        given: &Given,
        how: &Elsewhere,
        reporter: &Reporter,
        stop: Stop,
    ) -> Result<Replayed, EngineError> {
        let options = self.options(endpoints, given, how)?;
        let mut evidence = Evidence::new("replay", &options.target);
        let ended = run::perform(&options, Whence::Again(self), reporter, stop, &mut evidence).await;
        let outcome = evidence.close(ended)?;
        let comparison = audit::diff(
            &Place::Directory(self.dir.clone()),
            &Place::Directory(outcome.artifacts.clone()),
        )?;
        Ok(Replayed { outcome, comparison })
    }

    /// Judges the final tree again, by its contract.
    ///
    /// # Errors
    /// When it cannot be laid out or judged.
    pub async fn judge(
        &self,
        endpoints: Endpoints,
        given: &Given,
        how: &Elsewhere,
        reporter: &Reporter,
        stop: Stop,
    ) -> Result<Judged, EngineError> {
        let mut options = self.options(endpoints, given, how)?.target;
        let home = tempdir()?;
        let last = StepOf {
            run: self.dir.clone(),
            number: None,
        };
        let tree = home.path().join("tree");
        checkout(&last, &tree, how.target.as_deref())?;
        options.target = Target::Directory(tree);
        let outcome = verify(&options, "verify", reporter, stop).await?;
        let receipt: Option<Ended> = audit::first_of(&self.dir, "closed")?;
        let recorded = receipt.is_some_and(|ended| ended.receipt.outcome.verified);
        Ok(Judged { outcome, recorded })
    }

    /// What another policy would have refused of the commands that ran and of the hosts that
    /// were reached. Nothing is run.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn denied(&self, policy: &Policy) -> Result<Vec<Denied>, EngineError> {
        let mut found = self.commands(policy)?;
        found.extend(self.hosts(policy)?);
        Ok(found)
    }

    fn commands(&self, policy: &Policy) -> Result<Vec<Denied>, EngineError> {
        let contract = self.dir.join("pipeline.yml");
        let pipeline = match fs::read(&contract) {
            Ok(bytes) => {
                Pipeline::parse(&self.kept.contract(), &bytes).map_err(|why| EngineError::Contract(why.to_string()))?
            }
            Err(_) => Pipeline::with_tests(""),
        };
        let rules = pipeline.security.policy(shell::Judge::new(policy));
        let rules = rules.map_err(|why| EngineError::Contract(why.to_string()))?;
        let strict = self.kept.unattended() == Unattended::Strict;
        let place = Place::Directory(self.dir.clone());
        let mut records = audit::open(&place)?;
        let mut found = Vec::new();
        while let Some(record) = audit::next(&mut records)? {
            if ![EXEC, BOOTSTRAP_EXEC].contains(&record.event) {
                continue;
            }
            let Ok(ran) = serde_json::from_str::<Ran>(record.fields.get()) else {
                continue;
            };
            let path = self.dir.join(format!("{}_cmd.txt", ran.at));
            let Ok(script) = fs::read_to_string(&path) else {
                continue;
            };
            let script = script.trim_end_matches('\n');
            if ran.verdict != "allowed" || script.len() > COMMAND {
                continue;
            }
            if let Err(refusal) = rules.check(script, "", strict, &NoScripts) {
                found.push(Denied {
                    at: ran.at,
                    what: script.to_owned(),
                    rule: refusal.to_string(),
                });
            }
        }
        Ok(found)
    }

    fn hosts(&self, policy: &Policy) -> Result<Vec<Denied>, EngineError> {
        let ledger = self.dir.join("egress.jsonl");
        let text = match fs::read_to_string(&ledger) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(why) => return Err(io_at(&ledger)(why)),
        };
        let network = policy.network();
        let mut found: Vec<Denied> = Vec::new();
        for reached in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Reached>(line).ok())
        {
            let Ok(Destination { host, port }) = reached.host.parse::<Destination>() else {
                continue;
            };
            let port = reached.port.or(port).unwrap_or(HTTPS);
            let what = format!("{}:{port}", reached.host);
            if reached.verdict == "allowed"
                && let HostVerdict::Deny(why) = network.verdict(&host, port)
                && !found.iter().any(|denied| denied.what == what)
            {
                let rule = format!("network: {why:?}");
                let at = "egress.jsonl".to_owned();
                found.push(Denied { at, what, rule });
            }
        }
        Ok(found)
    }
}

/// The fields of `exec`.
#[derive(Deserialize)]
struct Ran {
    at: String,
    verdict: String,
}

/// A line of the ledger.
#[derive(Deserialize)]
struct Reached {
    host: String,
    port: Option<u16>,
    verdict: String,
}

#[derive(Deserialize)]
struct Ended {
    receipt: audit::Receipt,
}

/// Scripts that a command runs lie in a sandbox that is gone.
struct NoScripts;

impl shell::Scripts for NoScripts {
    fn read(&self, _path: &[String]) -> Option<String> {
        None
    }
}

fn tempdir() -> Result<TempDir, EngineError> {
    let cache = record::default_cache_dir()?;
    scratch::open_directory(&cache)?;
    let made = tempfile::Builder::new().prefix("replay-").tempdir_in(&cache);
    made.map_err(io_at(&cache))
}

/// Lays a bundle out as the directory that it was made of.
fn unpack(place: &Place) -> Result<TempDir, EngineError> {
    let home = tempdir()?;
    let Place::Bundle { archive, .. } = place else {
        return Ok(home);
    };
    for (path, item) in archive.members() {
        let to = path.under(home.path());
        let parent = to.parent().unwrap_or(home.path());
        fs::create_dir_all(parent).map_err(io_at(parent))?;
        match item {
            Item::File(_) => {
                let Some(mut from) = archive.read(path) else { continue };
                let mut file = File::create_new(&to).map_err(io_at(&to))?;
                io::copy(&mut from, &mut file).map_err(io_at(&to))?;
            }
            // Whatever is read of the record is read through no link.
            Item::Link(target) => {
                let target: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(target.as_slice());
                std::os::unix::fs::symlink(target, &to).map_err(io_at(&to))?;
            }
            Item::Other => {}
        }
    }
    Ok(home)
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let what = format!("read or write {}", path.display());
    move |source| EngineError::Io { what, source }
}
