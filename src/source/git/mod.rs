//! Repositories. git never runs on the host: it runs in a sandbox, with a relay for its
//! only way out, and what comes of it is copied like any directory.
//!
//! | file | holds |
//! |---|---|
//! | `workshop` | the sandbox, git's settings, and commands in it |
//! | `relay`, `ssh` | the way out: to a web server, to `ssh` |
//! | `refs` | what a server has, and which of it is meant |
//! | `checkout` | from a tip to a tree |
//! | `submodules` | repositories in it |
//! | `history` | what HEAD reaches and nothing else, counted |
//! | `pointers` | files that Git LFS would have fetched |

mod checkout;
mod history;
mod pointers;
mod refs;
mod relay;
mod ssh;
mod submodules;
mod workshop;

use std::path::Path;

use checkout::Checkout;
pub(super) use history::scrubbed;
pub(super) use refs::is_ref_name;
use refs::{Refs, Tip, is_id};
use relay::Upstream;
use workshop::Workshop;

use super::{
    Address, GitPlace, History, Provenance, Repository, SourceError,
    address::basic,
    github,
    means::{Fetching, Obtained},
    provenance::Kind,
};
use crate::{record::Secret, tree::Pristine};

/// Fetches a repository; where git does not get through to GitHub, the archive that
/// GitHub makes of it.
pub(super) async fn repository(fetching: &Fetching<'_>, repository: &Repository) -> Result<Obtained, SourceError> {
    let options = fetching.means.options;
    let what = repository.place.to_string();
    let revision = options.revision.as_deref().or(repository.revision.as_deref());
    if let Some(name) = revision.filter(|name| !is_ref_name(name)) {
        let why = format!(
            "`{}` names no branch, tag or commit",
            crate::report::escape(name.as_bytes(), 100)
        );
        return Err(SourceError::Name { what, why });
    }
    let wish = Wish {
        revision,
        history: options.history,
        // All of a history, or as little as there can be.
        depth: options.depth.unwrap_or(if options.history.is_some() { 0 } else { 1 }),
        submodules: options.submodules,
    };
    let request = format!("git\n{what}\n{wish:?}");
    if options.offline {
        return fetching.without_asking(&request, &what);
    }
    let _turn = fetching.turn(&request).await?;
    let fetched = fetch(fetching, &repository.place, &wish, &what).await;
    let obtained = match (fetched, &repository.github) {
        (Err(why), Some((owner, name))) if why.leaves_hope() && wish.is_one_state() => {
            return github::archive(fetching, (owner, name), revision, &why).await;
        }
        (fetched, _) => fetched?,
    };
    fetching.remember(&request, &obtained.0)?;
    Ok(obtained.1)
}

/// How much of a repository is wanted.
#[derive(Clone, Copy, Debug)]
struct Wish<'a> {
    revision: Option<&'a str>,
    history: Option<History>,
    depth: u32,
    submodules: bool,
}

impl Wish<'_> {
    /// Whether an archive of one state would do.
    fn is_one_state(&self) -> bool {
        self.history.is_none() && self.depth == 1 && !self.submodules
    }

    /// For the record.
    fn shown(&self) -> String {
        match (self.history, self.depth) {
            (Some(History::Full), 0) => "full".to_owned(),
            (_, 0) => "reachable".to_owned(),
            (_, depth) => format!("depth:{depth}"),
        }
    }

    /// A name that says all of what the tree holds.
    fn name(&self, what: &str, tip: &Tip, commit: &str, refs: &str) -> String {
        let (branch, history, depth) = (&tip.branch, self.history, self.depth);
        format!(
            "git 1\n{what}\n{commit}\n{branch:?}\n{history:?}\n{depth}\n{}\n{refs}",
            self.submodules
        )
    }
}

/// The tree, and the name under which it is kept.
async fn fetch(
    fetching: &Fetching<'_>,
    place: &GitPlace,
    wish: &Wish<'_>,
    what: &str,
) -> Result<(String, Obtained), SourceError> {
    let full = wish.history == Some(History::Full);
    // Who names a commit has said all there is to say.
    if let Some(id) = wish.revision.filter(|revision| is_id(revision) && !full) {
        let tip = Refs::default().tip(Some(id), what)?;
        let name = wish.name(what, &tip, id, "");
        if let Some(mut known) = fetching.recall(&name)? {
            known.provenance.revision = Some(id.to_owned());
            return Ok((name, known));
        }
    }
    let copied = match place {
        GitPlace::File(path) => Some(copied(fetching, path).await?),
        _ => None,
    };
    let source = copied.as_ref().and_then(|copy| copy.roots.first());
    let workshop = Workshop::open(fetching, what, source.map(|path| path.as_path())).await?;
    let url = match place {
        GitPlace::Http(address) => workshop
            .relay
            .route(Upstream::Http(address.clone(), key(fetching, address))),
        GitPlace::Ssh(address) => workshop.relay.route(Upstream::Ssh(address.clone())),
        GitPlace::File(_) => workshop.shown(git_dir(copied.as_ref())),
    };
    let mut checkout = Checkout {
        workshop: &workshop,
        what,
        url: &url,
        wish,
    };
    let (tip, refs) = checkout.look().await?;
    if let Some(commit) = &tip.commit {
        let name = wish.name(what, &tip, commit, &refs);
        if let Some(mut known) = fetching.recall(&name)? {
            known.provenance.revision = Some(tip.shown);
            let (_, scratch) = workshop.close().await?;
            crate::tree::remove_all(&scratch)?;
            return Ok((name, known));
        }
    }
    let commit = checkout.take(&tip).await?;
    let mut provenance = Provenance {
        revision: Some(tip.shown.clone()),
        commit: Some(commit.clone()),
        history: Some(wish.shown()),
        ..Provenance::new(Kind::Git, what)
    };
    if wish.submodules {
        provenance.notes = submodules::take(fetching, &workshop, place).await?;
    }
    if wish.history == Some(History::Reachable) {
        provenance.objects = Some(history::cut(&workshop, what).await?);
    }
    provenance.fetched_bytes = workshop.relay.bytes();
    let name = wish.name(what, &tip, &commit, &refs);
    let (tree, scratch) = workshop.close().await?;
    let obtained = keep(fetching, &name, &tree, provenance).await;
    crate::tree::remove_all(&scratch)?;
    Ok((name, obtained?))
}

/// Copies what git made, and says what Git LFS would have fetched.
async fn keep(
    fetching: &Fetching<'_>,
    name: &str,
    tree: &Path,
    mut provenance: Provenance,
) -> Result<Obtained, SourceError> {
    provenance.notes.extend(pointers::note(tree));
    fetching.keep(name, tree.to_path_buf(), provenance).await
}

/// What is shown to the repository's server.
fn key(fetching: &Fetching<'_>, address: &Address) -> Option<(String, Secret)> {
    let own = address.authorization();
    let endpoints = fetching.means.endpoints;
    let token = || {
        let token = endpoints
            .github_token
            .as_ref()
            .filter(|_| endpoints.is_github(address))?;
        Some(basic(&format!("x-access-token:{}", token.expose())))
    };
    own.or_else(token).map(|value| (address.origin(), value))
}

/// A copy of a repository of this host, which nothing changes while git looks at it.
async fn copied(fetching: &Fetching<'_>, path: &Path) -> Result<Pristine, SourceError> {
    let (cache, copy, path) = (
        fetching.means.cache.clone(),
        fetching.means.copy.clone(),
        path.to_path_buf(),
    );
    super::means::blocking(move || Ok(cache.pristine(&path, &copy, &|_, _| {})?)).await
}

/// Where the repository is in a copy of a directory: there itself, or below.
fn git_dir(copy: Option<&Pristine>) -> &'static str {
    let has = |name: &str| {
        let path = crate::names::RelPath::new(name).ok();
        path.is_some_and(|path| copy.is_some_and(|copy| copy.manifest.contains_key(&path)))
    };
    match has(".git") {
        true => "/.git",
        false => "",
    }
}
