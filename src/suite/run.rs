//! The targets of a suite, so many at a time.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{Attribution, Document, Entry, Settings, SuiteError, Trial, record::Record, slug};
use crate::{
    engine::Stop,
    env::{EnvError, Evaluated},
    names::RunId,
    record::{default_runs_dir, durable_write},
    report::{Happening, Reporter},
};

/// Before a provider is asked again, the first time; it doubles.
const PATIENCE: Duration = Duration::from_secs(1);

/// A trial of a target, whose runs go into a directory.
pub type TryTarget =
    dyn Fn(&str, PathBuf) -> Pin<Box<dyn Future<Output = Result<Evaluated, EnvError>> + Send>> + Send + Sync;

/// A suite about to run.
pub struct Suite {
    /// What decides its results.
    pub settings: Settings,
    /// The directory that holds suites.
    pub base: PathBuf,
    /// The suite that goes on, if one does.
    pub resume: Option<PathBuf>,
    /// Targets side by side; 0 for all.
    pub jobs: usize,
    /// Further trials of a target that came to no verdict.
    pub retries: u32,
    /// How a target is tried.
    pub try_target: Arc<TryTarget>,
}

/// Where suites lie where nobody says otherwise: beside the runs.
///
/// # Errors
/// When there is no home.
pub fn default_dir() -> Result<PathBuf, SuiteError> {
    Ok(default_runs_dir()?.with_file_name("suites"))
}

/// A suite by path, by `latest`, or by its id below `base`.
///
/// # Errors
/// When there is none.
pub fn find(base: &Path, name: &str) -> Result<PathBuf, SuiteError> {
    let is_suite = |dir: &Path| dir.join("suite.jsonl").is_file();
    if is_suite(Path::new(name)) {
        return Ok(PathBuf::from(name));
    }
    let ids = fs::read_dir(base).into_iter().flatten().flatten();
    let mut ids: Vec<String> = ids
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|id| id.parse::<RunId>().is_ok() && (name == "latest" || id == name))
        .filter(|id| is_suite(&base.join(id)))
        .collect();
    // Ids sort by the time of their making.
    ids.sort_unstable();
    match ids.pop() {
        Some(id) => Ok(base.join(id)),
        None => Err(SuiteError::Usage(format!(
            "no suite `{}` in {}; `latest`, an id or a path is expected",
            name.escape_debug(),
            base.display()
        ))),
    }
}

/// Runs every target that is not done, and writes the document; also gives the suite's
/// directory. What is interrupted counts as not done.
///
/// # Errors
/// When the suite cannot be begun or taken up, its record cannot be kept, or a signal came.
pub async fn run(suite: &Suite, reporter: &Reporter, stop: &mut Stop) -> Result<(Document, PathBuf), SuiteError> {
    if suite.settings.targets.is_empty() {
        return Err(SuiteError::Usage(
            "no targets: give --targets or --targets-file".to_owned(),
        ));
    }
    let (dir, mut record) = match &suite.resume {
        Some(dir) => (dir.clone(), Record::resume(dir, &suite.settings)?),
        None => {
            let id = RunId::fresh();
            let dir = suite.base.join(id.as_str());
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|source| SuiteError::Io {
                what: format!("make {}", dir.display()),
                source,
            })?;
            let record = Record::begin(&dir, id.to_string(), &suite.settings)?;
            (dir, record)
        }
    };
    let total = suite.settings.targets.len();
    reporter.say(Happening::Note {
        text: format!(
            "suite {}\n  targets   {total}, {} of them done\n  artifacts {}",
            record.suite_id,
            record.done.len(),
            dir.display()
        ),
    });
    let slots = Arc::new(Semaphore::new(match suite.jobs {
        0 => total,
        jobs => jobs,
    }));
    let mut under_way = JoinSet::new();
    for (index, target) in suite.settings.targets.iter().enumerate() {
        if record.done.contains_key(&index) {
            continue;
        }
        let (slots, target, try_target) = (slots.clone(), target.clone(), suite.try_target.clone());
        let (runs, retries) = (dir.join("targets").join(slug(index, &target)), suite.retries);
        under_way.spawn(async move {
            // Nobody closes it.
            let _slot = slots.acquire_owned().await;
            (index, trials(&target, runs, retries, try_target).await)
        });
    }
    loop {
        let waiting = under_way.len();
        if waiting > 0 {
            let text = format!(
                "{} of {total} targets done, {} under way or waiting",
                record.done.len(),
                waiting
            );
            reporter.say(Happening::Working { text });
        }
        let ended = tokio::select! {
            ended = under_way.join_next() => ended,
            signal = stop.requested() => {
                under_way.shutdown().await;
                return Err(SuiteError::Interrupted(signal));
            }
        };
        match ended {
            None => break,
            Some(Ok((index, entry))) => {
                let told = told(&entry, record.done.len() + 1, total);
                record.finish(index, entry)?;
                reporter.say(told);
            }
            // A task that panicked is named after the others: its target has no entry yet.
            Some(Err(why)) => tracing::error!("a target was lost: {why}"),
        }
    }
    for (index, target) in suite.settings.targets.iter().enumerate() {
        if !record.done.contains_key(&index) {
            let lost = Trial::lost("this program lost it; its log says more".to_owned());
            record.finish(index, Entry::new(target, Vec::new(), lost, 0))?;
        }
    }
    let results = record.done.values().cloned().collect();
    let document = Document::new(record.suite_id.clone(), suite.settings.clone(), results);
    let mut text = serde_json::to_vec_pretty(&document).unwrap_or_default();
    text.push(b'\n');
    durable_write(&dir.join("suite.json"), &text)?;
    Ok((document, dir))
}

fn told(entry: &Entry, done: usize, of: usize) -> Happening {
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Happening::Target {
        target: entry.target.clone(),
        done: done as u64,
        of: of as u64,
        outcome: word(serde_json::json!(entry.outcome)),
        attribution: entry.attribution.map(|whose| word(serde_json::json!(whose))),
        score: entry.score,
        reason: entry.error.clone(),
        wall_ms: entry.wall_ms,
    }
}

/// The trials of one target: again as long as there is no verdict and there could be one.
async fn trials(target: &str, runs: PathBuf, retries: u32, try_target: Arc<TryTarget>) -> Entry {
    let began = Instant::now();
    let mut failed: Vec<Trial> = Vec::new();
    let last = loop {
        let trial = match try_target(target, runs.clone()).await {
            Ok(evaluated) => Trial::of(&evaluated),
            Err(why) => Trial::without(&why),
        };
        let tried = u32::try_from(failed.len()).unwrap_or(u32::MAX);
        if !trial.again || tried >= retries {
            break trial;
        }
        if trial.attribution == Some(Attribution::Provider) {
            tokio::time::sleep(PATIENCE * 2_u32.saturating_pow(tried.min(6))).await;
        }
        failed.push(trial);
    };
    let wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Entry::new(target, failed, last, wall_ms)
}
