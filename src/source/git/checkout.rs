//! From a repository elsewhere to a tree: looked at, fetched, checked out.

use super::{
    Wish,
    refs::{Refs, Tip, is_id, patterns},
    workshop::{TREE, Workshop},
};
use crate::{
    source::{History, SourceError},
    tree::Content,
};

/// Where what is fetched lies until HEAD is set. Gone afterwards.
const TIP: &str = "refs/fetched/tip";
/// Of git-fetch(1): no tags but those asked for, nothing written down of where from.
const FETCH: [&str; 6] = [
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-write-fetch-head",
    "--update-shallow",
    "--no-recurse-submodules",
];

/// One repository under way.
pub(super) struct Checkout<'a> {
    pub workshop: &'a Workshop<'a>,
    /// For messages.
    pub what: &'a str,
    /// As git sees it.
    pub url: &'a str,
    pub wish: &'a Wish<'a>,
}

impl Checkout<'_> {
    fn is_full(&self) -> bool {
        self.wish.history == Some(History::Full)
    }

    /// What the server has: the tip that is meant, and, where all of it is wanted, a digest of all.
    pub async fn look(&mut self) -> Result<(Tip, String), SourceError> {
        let mut patterns = patterns(self.wish.revision);
        if self.is_full() {
            patterns.extend(["HEAD", "refs/heads/*", "refs/tags/*"].map(str::to_owned));
        }
        let mut words = vec!["ls-remote", "--quiet", "--symref", "--", self.url];
        words.extend(patterns.iter().map(String::as_str));
        let said = self.workshop.git_in(".", &words).await?;
        self.workshop.must(&said)?;
        let refs = Refs::read(&String::from_utf8_lossy(&said.out));
        let tip = refs.tip(self.wish.revision, self.what)?;
        let all = match self.is_full() {
            true => Content::of(&said.out).to_string(),
            false => String::new(),
        };
        Ok((tip, all))
    }

    /// Fetches a tip and checks it out; the commit that it is.
    pub async fn take(&mut self, tip: &Tip) -> Result<String, SourceError> {
        let branch = tip.branch.as_deref().unwrap_or("main");
        let workshop = self.workshop;
        workshop.must(
            &workshop
                .git_in(".", &["init", "--quiet", "--initial-branch", branch, "--", TREE])
                .await?,
        )?;
        let wanted = format!("+{}:{TIP}", tip.source);
        let mut specs = vec![wanted.as_str()];
        if self.is_full() {
            specs.extend(["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]);
        }
        let fetched = fetch(workshop, TREE, self.url, &specs, self.wish.depth).await;
        let commit = match fetched {
            Ok(()) => self.resolved(TIP).await?,
            // A server need not give a commit that no name of its own means.
            Err(why) if is_id(&tip.source) && why.leaves_hope() => {
                tracing::debug!("{}: {why}; fetching all of it", self.what);
                let all = ["+refs/heads/*:refs/fetched/heads/*", "+refs/tags/*:refs/fetched/tags/*"];
                fetch(workshop, TREE, self.url, &all, 0).await?;
                let missing = |_| SourceError::Name {
                    what: self.what.to_owned(),
                    why: format!("it has no commit {}", tip.source),
                };
                self.resolved(&tip.source).await.map_err(missing)?
            }
            Err(why) => return Err(why),
        };
        match &tip.branch {
            Some(branch) => {
                let name = format!("refs/heads/{branch}");
                workshop.must(&workshop.git(&["update-ref", &name, &commit]).await?)?;
            }
            None => workshop.must(&workshop.git(&["update-ref", "--no-deref", "HEAD", &commit]).await?)?,
        }
        workshop.must(
            &workshop
                .shell(
                    "cd tree; git for-each-ref --format='delete %(refname)' refs/fetched | git update-ref --stdin; \
                     rm -rf .git/refs/fetched; \
                     git config user.name opencode-fsm; git config user.email opencode-fsm@example.com",
                )
                .await?,
        )?;
        if self.is_full() {
            workshop.must(&workshop.git(&["config", "remote.origin.url", self.what]).await?)?;
            let spec = "+refs/heads/*:refs/remotes/origin/*";
            workshop.must(&workshop.git(&["config", "remote.origin.fetch", spec]).await?)?;
        }
        workshop.must(&workshop.git(&["reset", "--quiet", "--hard", "HEAD"]).await?)?;
        Ok(commit)
    }

    async fn resolved(&self, name: &str) -> Result<String, SourceError> {
        let commit = format!("{name}^{{commit}}");
        let words = ["rev-parse", "--quiet", "--verify", "--end-of-options", &commit];
        let said = self.workshop.git(&words).await?;
        match said.ok && is_id(&said.text()) {
            true => Ok(said.text()),
            false => Err(SourceError::fetch(self.what, "what came is no commit")),
        }
    }
}

/// Fetches into a repository of the workspace. Where a server cannot give less than all,
/// all is taken.
pub(super) async fn fetch(
    workshop: &Workshop<'_>,
    dir: &str,
    url: &str,
    specs: &[&str],
    depth: u32,
) -> Result<(), SourceError> {
    let depth_word = format!("--depth={depth}");
    let depth_words: &[&str] = if depth == 0 { &[] } else { &[depth_word.as_str()] };
    let words = |depth_words: &[&'static str]| [&FETCH, depth_words, &["--", url]].concat();
    let mut shallow: Vec<&str> = [&FETCH[..], depth_words, &["--", url]].concat();
    shallow.extend(specs);
    let said = workshop.git_in(dir, &shallow).await?;
    if !said.ok && depth != 0 && said.words.contains("does not support shallow") {
        let _ = workshop.relay.failure();
        let mut all: Vec<&str> = words(&[]);
        all.extend(specs);
        return workshop.must(&workshop.git_in(dir, &all).await?);
    }
    workshop.must(&said)
}
