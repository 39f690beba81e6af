//! What fetching is done with, and what it comes to.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Endpoints, FetchOptions, Provenance, SourceError,
    http::Client,
    shelf::{Part, Shelf, Turn},
};
use crate::{
    policy::{Limits, Tier},
    report::{Happening, Reporter},
    sandbox::Backend,
    tree::{Cache, CopyLimits, Pristine},
};

/// Between two reports of progress, milliseconds.
const REPORT: u64 = 200;

/// What fetching is done with.
pub struct Means<'a> {
    /// What was asked for.
    pub options: &'a FetchOptions,
    /// Servers and keys.
    pub endpoints: &'a Endpoints,
    /// Where trees are kept.
    pub cache: &'a Cache,
    /// Where it is remembered which; a directory of its own.
    pub shelf: &'a Path,
    /// A directory of the run's own.
    pub scratch: &'a Path,
    /// What builds the sandbox that git runs in.
    pub backend: &'a Backend,
    /// The name of that sandbox.
    pub label: &'a str,
    /// Its bounds.
    pub walls: (Limits, Tier),
    /// Bounds on a tree.
    pub copy: &'a CopyLimits,
    /// Who hears of it.
    pub reporter: &'a Reporter,
}

/// A target that was had.
#[derive(Debug)]
pub struct Obtained {
    /// Its tree, in the cache.
    pub pristine: Pristine,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// Fetching under way.
pub(super) struct Fetching<'a> {
    pub means: &'a Means<'a>,
    pub client: Client,
    shelf: Shelf,
    began: Instant,
    told: AtomicU64,
}

impl<'a> Fetching<'a> {
    pub fn begin(means: &'a Means<'a>) -> Result<Self, SourceError> {
        Ok(Self {
            means,
            client: Client::new()?,
            shelf: Shelf::open(means.shelf)?,
            began: Instant::now(),
            told: AtomicU64::new(0),
        })
    }

    /// Tells of progress, a few times a second.
    pub fn tell(&self, text: impl FnOnce() -> String) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = self.told.load(Ordering::Relaxed);
        let due = now.saturating_sub(before) >= REPORT || before == 0;
        let won = || {
            self.told
                .compare_exchange(before, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if due && won() {
            self.means.reporter.say(Happening::Working { text: text() });
        }
    }

    /// Waits for the right to fetch what goes by this name.
    pub async fn turn(&self, name: &str) -> Result<Turn, SourceError> {
        let told = || {
            let text = "  waiting   for another run of this host, which fetches the same".to_owned();
            self.means.reporter.say(Happening::Note { text });
        };
        self.shelf.turn(name, told).await
    }

    /// See [`Shelf::note`].
    pub fn note<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.shelf.note(name)
    }

    /// See [`Shelf::remember`].
    pub fn remember(&self, name: &str, what: &impl Serialize) -> Result<(), SourceError> {
        self.shelf.remember(name, what)
    }

    /// See [`Shelf::part`].
    pub fn part(&self, name: &str) -> Result<Part, SourceError> {
        self.shelf.part(name)
    }

    /// The tree that goes by a name which says all of what it holds, if the cache has it.
    pub fn recall(&self, name: &str) -> Result<Option<Obtained>, SourceError> {
        if self.means.options.refresh {
            return Ok(None);
        }
        self.recall_in_any_case(name)
    }

    fn recall_in_any_case(&self, name: &str) -> Result<Option<Obtained>, SourceError> {
        let Some(provenance) = self.note::<Provenance>(name) else {
            return Ok(None);
        };
        let pristine = self.means.cache.recall(name)?;
        Ok(pristine.map(|pristine| Obtained {
            pristine,
            provenance: Provenance {
                cached: true,
                fetched_bytes: 0,
                ..provenance
            },
        }))
    }

    /// What the last fetch of the same came to, for whoever may ask no server.
    pub fn without_asking(&self, request: &str, what: &str) -> Result<Obtained, SourceError> {
        let name = self.note::<String>(request);
        let found = name.map(|name| self.recall_in_any_case(&name)).transpose()?.flatten();
        found.ok_or_else(|| SourceError::fetch(what, "the cache does not have it, and --offline asks no server"))
    }

    /// Copies a directory of ours into the cache under a name which says all of what it holds.
    pub async fn keep(&self, name: &str, dir: PathBuf, provenance: Provenance) -> Result<Obtained, SourceError> {
        let reporter = self.means.reporter.clone();
        let (cache, copy) = (self.means.cache.clone(), self.means.copy.clone());
        let kept = name.to_owned();
        let pristine = blocking(move || Ok(cache.keep(&kept, &dir, &copy, &copying(&reporter))?)).await?;
        self.remember(name, &provenance)?;
        Ok(Obtained { pristine, provenance })
    }
}

/// Tells of a copy's progress, a few times a second; from several threads.
pub(super) fn copying(reporter: &Reporter) -> impl Fn(u64, u64) + Sync {
    let last = Mutex::new(Instant::now());
    move |files, bytes| {
        // Who cannot have the lock has nothing newer to say than who has it.
        if let Ok(mut last) = last.try_lock()
            && last.elapsed().as_millis() >= u128::from(REPORT)
        {
            *last = Instant::now();
            reporter.say(Happening::Copying { files, bytes });
        }
    }
}

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let done: Result<_, tokio::task::JoinError> = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|why| Err(SourceError::io("unpack")(std::io::Error::other(why))))
}

/// Waits for something at most as long as fetching may take.
pub(super) async fn within<T>(
    means: &Means<'_>,
    what: &str,
    work: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    let wall = means.options.limits.wall;
    tokio::time::timeout(wall, work).await.unwrap_or_else(|_| {
        Err(SourceError::Limit {
            what: what.to_owned(),
            why: format!("it took more than {} s; --fetch-timeout allows more", wall.as_secs()),
        })
    })
}
