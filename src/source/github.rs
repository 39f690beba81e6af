//! A repository of GitHub where git does not get through: the archive that GitHub makes of it.

use reqwest::header::{ACCEPT, HeaderValue};
use serde::Deserialize;

use super::{
    Packing, Provenance, SourceError, archives,
    http::Ask,
    means::{Fetching, Obtained},
    provenance::Kind,
};

/// What gives a key.
pub(super) const REMEDY: &str = "a private repository needs GITHUB_TOKEN or GH_TOKEN";
/// Where nobody says which branch is the default.
const BRANCHES: [&str; 2] = ["main", "master"];

/// What is read of a repository's description.
#[derive(Deserialize)]
struct About {
    default_branch: String,
}

/// The archive of a branch, tag or commit; without one of the default branch, which is
/// asked for first, or else guessed. `why` is what git failed with.
pub(super) async fn archive(
    fetching: &Fetching<'_>,
    (owner, name): (&str, &str),
    revision: Option<&str>,
    why: &SourceError,
) -> Result<Obtained, SourceError> {
    let endpoints = fetching.means.endpoints;
    let token = endpoints.github_token.as_ref();
    let mut tries: Vec<String> = revision.into_iter().map(str::to_owned).collect();
    if revision.is_none() {
        tries.extend(default_branch(fetching, owner, name).await);
        for branch in BRANCHES {
            if !tries.iter().any(|known| known == branch) {
                tries.push(branch.to_owned());
            }
        }
    }
    let shown = endpoints.github.with_segments([owner, name]).to_string();
    let mut last = None;
    for reference in &tries {
        let parts: Vec<&str> = reference.split('/').collect();
        let ask = match token {
            // The API gives private repositories to whoever has a key.
            Some(token) => {
                let start = ["repos", owner, name, "tarball"];
                let address = endpoints.github_api.with_segments(start.into_iter().chain(parts));
                Ask::get(&address).with_token(Some(token))
            }
            None => {
                let file = format!("{}.tar.gz", parts.last().copied().unwrap_or_default());
                let above = &parts[..parts.len().saturating_sub(1)];
                let heads: &[&str] = if revision.is_none() { &["refs", "heads"] } else { &[] };
                let start = [owner, name, "archive"].into_iter().chain(heads.iter().copied());
                let address = start.chain(above.iter().copied()).chain([file.as_str()]);
                Ask::get(&endpoints.github.with_segments(address))
            }
        };
        let provenance = Provenance {
            revision: Some(reference.clone()),
            notes: vec![format!(
                "git did not get through ({why}); this is the archive that GitHub makes"
            )],
            ..Provenance::new(Kind::GithubArchive, &shown)
        };
        match archives::fetch(fetching, &ask, Packing::TarGz, provenance, REMEDY).await {
            Err(why) if why.leaves_hope() => last = Some(why),
            other => return other,
        }
    }
    let archive = last.map_or_else(|| "none was tried".to_owned(), |why| why.to_string());
    Err(SourceError::fetch(
        shown,
        format!("by git: {why}; by its archive: {archive}"),
    ))
}

/// The branch that GitHub says is the default one; nothing where it does not say.
async fn default_branch(fetching: &Fetching<'_>, owner: &str, name: &str) -> Option<String> {
    let endpoints = fetching.means.endpoints;
    let address = endpoints.github_api.with_segments(["repos", owner, name]);
    let ask = Ask::get(&address)
        .with_token(endpoints.github_token.as_ref())
        .with_header(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
    let (text, _) = fetching.client.text(&ask, REMEDY).await.ok()?;
    let about: About = serde_json::from_slice(&text).ok()?;
    super::git::is_ref_name(&about.default_branch).then_some(about.default_branch)
}
