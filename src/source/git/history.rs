//! What HEAD reaches, and nothing else: no later commit lies about for an agent to find.

use super::{
    Provenance,
    checkout::fetch,
    keep,
    refs::is_ref_name,
    workshop::{TREE, Workshop},
};
use crate::{
    names::RelPath,
    source::{
        SourceError,
        means::{Fetching, Obtained},
        provenance::{Kind, Objects},
    },
    tree::{EntryKind, Pristine},
};

/// Largest `HEAD` that is read.
const MAX_HEAD: usize = 1024;

/// Removes from the tree's repository what its HEAD does not reach, and counts what is left.
pub(super) async fn cut(workshop: &Workshop<'_>, what: &str) -> Result<Objects, SourceError> {
    let said = workshop
        .shell(
            "cd tree; rm -rf .git/logs; git repack -q -a -d; git prune --expire=now; \
             git rev-list --objects HEAD | wc -l; \
             git cat-file --batch-all-objects --batch-check='%(objectname)' | wc -l; \
             git for-each-ref | wc -l",
        )
        .await?;
    workshop.must(&said)?;
    let numbers: Vec<u64> = said
        .text()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let &[reachable, present, refs] = numbers.as_slice() else {
        return Err(SourceError::fetch(what, "git did not count its objects"));
    };
    match reachable == present && refs <= 1 {
        true => Ok(Objects { reachable, present }),
        false => {
            let why = format!("{present} objects and {refs} names are there, where HEAD reaches {reachable} objects");
            Err(SourceError::Damaged {
                what: what.to_owned(),
                why,
            })
        }
    }
}

/// A copy of a directory whose repository holds what its HEAD reaches and nothing else.
/// Its files are as they were, changed ones too; repositories inside it lose their past.
pub(in crate::source) async fn scrubbed(
    fetching: &Fetching<'_>,
    copy: &Pristine,
    what: &str,
) -> Result<Obtained, SourceError> {
    let name = format!("scrubbed 1\n{}", copy.digest);
    let _turn = fetching.turn(&name).await?;
    if let Some(mut known) = fetching.recall(&name)? {
        what.clone_into(&mut known.provenance.location);
        return Ok(known);
    }
    let Some(root) = copy.roots.first() else {
        return Err(SourceError::fetch(what, "its copy is gone"));
    };
    let mut provenance = Provenance {
        history: Some("reachable".to_owned()),
        ..Provenance::new(Kind::Directory, what)
    };
    let git = RelPath::new(".git").ok().and_then(|path| copy.manifest.get(&path));
    let branch = match git.map(|entry| &entry.kind) {
        Some(EntryKind::Dir) => branch_of(root),
        // It points out of the directory, to where nobody inside gets.
        Some(_) | None => None,
    };
    let workshop = Workshop::open(fetching, what, Some(root)).await?;
    let copied = workshop
        .shell(
            "mkdir tree; cp -R --preserve=mode,timestamps,links \"$SOURCE/.\" tree; \
             find tree -name .git -prune -exec rm -rf {} +",
        )
        .await?;
    workshop.must(&copied)?;
    match branch {
        None => provenance
            .notes
            .push("it has no repository of its own: there is no past to cut".to_owned()),
        Some(branch) => {
            let first = branch.as_deref().unwrap_or("main");
            let words = ["init", "--quiet", "--initial-branch", first, "--", TREE];
            workshop.must(&workshop.git_in(".", &words).await?)?;
            let tip = "refs/fetched/tip";
            let spec = format!("+HEAD:{tip}");
            fetch(&workshop, TREE, &workshop.shown("/.git"), &[&spec], 0).await?;
            let said = workshop.git(&["rev-parse", "--verify", tip]).await?;
            workshop.must(&said)?;
            let commit = said.text();
            let head = match &branch {
                Some(branch) => vec!["update-ref".to_owned(), format!("refs/heads/{branch}"), commit.clone()],
                None => ["update-ref", "--no-deref", "HEAD", &commit]
                    .map(str::to_owned)
                    .to_vec(),
            };
            let head: Vec<&str> = head.iter().map(String::as_str).collect();
            workshop.must(&workshop.git(&head).await?)?;
            workshop.must(&workshop.git(&["update-ref", "-d", tip]).await?)?;
            let indexed = "cd tree; git read-tree HEAD; git update-index -q --refresh || :; \
                           git config user.name opencode-fsm; git config user.email opencode-fsm@example.com";
            workshop.must(&workshop.shell(indexed).await?)?;
            provenance.objects = Some(cut(&workshop, what).await?);
            provenance.commit = Some(commit);
            provenance.revision = branch;
        }
    }
    let (tree, scratch) = workshop.close().await?;
    let obtained = keep(fetching, &name, &tree, provenance).await;
    crate::tree::remove_all(&scratch)?;
    obtained
}

/// Whether there is a repository, and the branch that its HEAD is (gitrepository-layout(5)).
#[expect(clippy::option_option, reason = "a repository with a detached HEAD has no branch")]
fn branch_of(root: &std::path::Path) -> Option<Option<String>> {
    let mut text = Vec::new();
    let file = std::fs::File::open(root.join(".git/HEAD")).ok()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_HEAD as u64), &mut text).ok()?;
    let text = String::from_utf8(text).ok()?;
    let branch = text
        .trim_end()
        .strip_prefix("ref: refs/heads/")
        .filter(|name| is_ref_name(name));
    Some(branch.map(str::to_owned))
}
