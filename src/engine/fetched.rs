//! A target brought into the cache, to be read and not to be run.

use crate::{
    engine::{
        EngineError, Stop,
        scratch::{self, Scratch},
        site::COPY,
    },
    names::RunId,
    policy::{Limits, Tier},
    record,
    report::Reporter,
    sandbox::{self, Backend},
    source::{self, Endpoints, FetchOptions, Means, Obtained, Target},
    tree::Cache,
};

/// Gets a target. git runs in a jail, as for a run; for a directory or an archive nothing is
/// started at all.
///
/// # Errors
/// [`EngineError::Source`] where it cannot be had, [`EngineError::Interrupted`] by a signal.
pub async fn fetch(
    target: &Target,
    endpoints: &Endpoints,
    options: &FetchOptions,
    reporter: &Reporter,
    stop: &mut Stop,
) -> Result<Obtained, EngineError> {
    let id = RunId::fresh();
    let cache = record::default_cache_dir()?;
    scratch::open_directory(&cache)?;
    let scratch = Scratch::make(&cache.join("scratch"), &id)?;
    let trees = Cache::open(&cache.join("targets"), sandbox::owner().map(|id| (id, id)))?;
    let backend = Backend::of_this_kernel(Tier::Namespaces, &scratch.path().join("trial")).await?;
    let means = Means {
        options,
        endpoints,
        cache: &trees,
        shelf: &cache.join("fetched"),
        scratch: scratch.path(),
        backend: &backend,
        label: id.as_str(),
        walls: (Limits::default(), Tier::Namespaces),
        copy: &COPY,
        reporter,
    };
    let obtained = tokio::select! {
        obtained = source::obtain(target, &means) => obtained?,
        signal = stop.requested() => return Err(EngineError::Interrupted(signal)),
    };
    scratch.remove()?;
    Ok(obtained)
}
