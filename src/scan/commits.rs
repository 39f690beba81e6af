//! Hooks for commits that are kept in the tree, for whoever installs them.

use super::{
    finding::Kind,
    look::{Named, Scan},
};
use crate::document::{Foreign, Spot, get, text};

/// Whether a file is one of a directory of hooks.
pub(super) fn is_hook(file: &Named<'_>) -> bool {
    let kept = [".husky", ".githooks", "githooks", "git-hooks"];
    kept.iter().any(|dir| file.dir.rsplit('/').next() == Some(dir)) && !file.ends(&[".md", ".json", ".txt"])
}

/// A hook of such a directory.
pub(super) fn hook(scan: &mut Scan<'_>, file: &Named<'_>) {
    let Some(content) = scan.text(file.path) else { return };
    let when = format!(
        "git, at `{}`, where the hooks of this directory are installed",
        file.name
    );
    scan.script(Kind::CommitHook, file.path, Spot::file(), &when, &content);
}

/// Hooks for commits: local ones with their commands, others by where they are kept.
pub(super) fn configuration(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    let Some(document) = scan.document(path, &content, Foreign::yaml) else {
        return;
    };
    let mut commands = Vec::new();
    let mut foreign = Vec::new();
    document.mappings(&mut |_, pairs| {
        if let Some((repo, at)) = get(pairs, "repo").and_then(|repo| Some((text(repo)?, repo.at)))
            && !matches!(repo, "local" | "meta")
        {
            let revision = get(pairs, "rev").and_then(text).unwrap_or("whatever is newest");
            foreign.push((format!("runs hooks of {repo} at {revision}"), at.line));
        }
        let entry = get(pairs, "entry").or_else(|| get(pairs, "run"));
        let language = get(pairs, "language").and_then(text).unwrap_or_default();
        if let (Some((command, at)), false) = (
            entry.and_then(|entry| Some((text(entry)?, entry.at))),
            language == "pygrep",
        ) {
            commands.push((command.to_owned(), document.spot(at)));
        }
    });
    let when = "git, at a commit of whoever installs the hooks";
    for (what, line) in foreign {
        scan.note(Kind::CommitHook, path, line, when, &what, Vec::new());
    }
    for (command, spot) in commands {
        scan.script(Kind::CommitHook, path, spot, when, &command);
    }
}
