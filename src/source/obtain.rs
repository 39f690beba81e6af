//! From a target to a tree in the cache.

use super::{
    History, Provenance, SourceError, Target, archives, git, hub,
    means::{Fetching, Means, Obtained, blocking, copying, within},
    provenance::Kind,
};
use crate::report::Happening;

/// Gets a target: copied, fetched, or found in the cache. A future that is dropped leaves
/// nothing but files under way, which the next one goes on with.
///
/// # Errors
/// [`SourceError`]; the cache is then as it was.
pub async fn obtain(target: &Target, means: &Means<'_>) -> Result<Obtained, SourceError> {
    let options = means.options;
    let what = target.to_string();
    if let Some(address) = target.exposed().filter(|_| !options.allow_http) {
        let why =
            format!("{address} is plain http: anybody on the way could change what comes; --allow-http accepts that");
        return Err(SourceError::Name { what, why });
    }
    refuse_what_does_not_fit(target, means, &what)?;
    let obtained = within(means, &what, async {
        let fetching = Fetching::begin(means)?;
        match target {
            Target::Directory(path) => directory(&fetching, path, &what).await,
            Target::ArchiveFile(path, packing) => archives::local(&fetching, path, *packing).await,
            Target::Archive(address, packing) => archives::remote(&fetching, address, *packing).await,
            Target::Git(repository) => git::repository(&fetching, repository).await,
            Target::Dataset(dataset) => hub::dataset(&fetching, dataset).await,
        }
    })
    .await?;
    for note in &obtained.provenance.notes {
        means.reporter.say(Happening::Warning { text: note.clone() });
    }
    Ok(obtained)
}

/// Flags that say nothing about such a target are errors, not decoration.
fn refuse_what_does_not_fit(target: &Target, means: &Means<'_>, what: &str) -> Result<(), SourceError> {
    let options = means.options;
    let is_git = matches!(target, Target::Git(_));
    let is_directory = matches!(target, Target::Directory(_));
    let checks = [
        (
            options.revision.is_some() && !is_git && !matches!(target, Target::Dataset(_)),
            "--ref",
            "a repository or a data set elsewhere",
        ),
        (options.depth.is_some() && !is_git, "--depth", "a repository elsewhere"),
        (options.submodules && !is_git, "--submodules", "a repository elsewhere"),
        (
            options.history.is_some() && !is_git && !is_directory,
            "--history",
            "a repository",
        ),
    ];
    match checks.iter().find(|(wrong, ..)| *wrong) {
        Some((_, flag, of)) => Err(SourceError::Name {
            what: what.to_owned(),
            why: format!("{flag} is about {of}"),
        }),
        None => Ok(()),
    }
}

async fn directory(fetching: &Fetching<'_>, path: &std::path::Path, what: &str) -> Result<Obtained, SourceError> {
    let means = fetching.means;
    let (cache, limits, from) = (means.cache.clone(), means.copy.clone(), path.to_path_buf());
    let reporter = means.reporter.clone();
    let pristine = blocking(move || Ok(cache.pristine(&from, &limits, &copying(&reporter))?)).await?;
    if means.options.history == Some(History::Reachable) {
        return git::scrubbed(fetching, &pristine, what).await;
    }
    let provenance = Provenance {
        history: Some("as-is".to_owned()),
        ..Provenance::new(Kind::Directory, what)
    };
    Ok(Obtained { pristine, provenance })
}
