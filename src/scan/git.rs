//! git's own files: configuration, hooks, attributes, submodules.

use super::{
    finding::Kind,
    git_config::{Act, read},
    look::{Named, Scan},
};
use crate::document::Spot;
use crate::{names::RelPath, policy::shell::Effect};

/// Names of hooks (githooks(5)).
const HOOKS: [&str; 28] = [
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-commit",
    "pre-merge-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "pre-rebase",
    "post-checkout",
    "post-merge",
    "pre-push",
    "pre-receive",
    "update",
    "proc-receive",
    "post-receive",
    "post-update",
    "reference-transaction",
    "push-to-checkout",
    "pre-auto-gc",
    "post-rewrite",
    "sendemail-validate",
    "fsmonitor-watchman",
    "p4-changelist",
    "p4-prepare-changelist",
    "p4-post-changelist",
    "p4-pre-submit",
    "post-index-change",
];

/// Whether this room reads a file.
pub(super) fn reads(file: &Named<'_>) -> bool {
    matches!(file.name, ".gitattributes" | ".gitmodules" | ".gitconfig") || file.is_in(".git")
}

pub(super) fn file(scan: &mut Scan<'_>, file: &Named<'_>) {
    match file.name {
        ".gitattributes" => attributes(scan, file.path),
        "attributes" if file.dir.ends_with("info") => attributes(scan, file.path),
        ".gitmodules" => modules(scan, file.path),
        ".gitconfig" => config(scan, file.path),
        "config" | "config.worktree" if is_repository(scan, file) => config(scan, file.path),
        name if file.dir.ends_with("hooks") && HOOKS.contains(&name) && is_repository(scan, &Named::of(file.dir)) => {
            hook(scan, file)
        }
        _ => {}
    }
}

/// Whether the directory that holds a file is a git repository: `.git`, one of its modules, or
/// a bare one somewhere in the tree, which git takes for one where somebody enters it.
fn is_repository(scan: &Scan<'_>, file: &Named<'_>) -> bool {
    file.dir == ".git"
        || file.dir.ends_with("/.git")
        || scan.copy.is_file(format!("{}/HEAD", file.dir).trim_start_matches('/'))
}

fn later(what: &str) -> Vec<(Effect, String)> {
    vec![(Effect::ChangesWhatStartsLater, what.to_owned())]
}

fn config(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    for variable in read(&content) {
        let Some(act) = variable.act() else { continue };
        let what = format!("{} = {}", variable.full_name(), variable.value);
        let line = variable.line;
        match act {
            Act::Runs(when) => {
                let when = format!("git, at {when}");
                scan.note(
                    Kind::GitConfig,
                    path,
                    line,
                    &when,
                    &what,
                    later("git runs it without being asked for"),
                );
                let command = variable.value.trim_start_matches('!').replace("%f", "FILE");
                scan.script(Kind::GitConfig, path, Spot::line(line), &when, &command);
            }
            Act::Hooks => scan.note(
                Kind::GitConfig,
                path,
                line,
                "git, at whatever has a hook",
                &what,
                later("git runs hooks from there"),
            ),
            Act::Includes => {
                let effects = vec![(
                    Effect::RunsUnknownProgram,
                    "what the other file says is not known".to_owned(),
                )];
                scan.note(Kind::GitConfig, path, line, "git, always", &what, effects);
            }
            Act::Redirects => {
                let effects = vec![(Effect::RunsUnknownProgram, "who answers is not known".to_owned())];
                scan.note(
                    Kind::GitConfig,
                    path,
                    line,
                    "git, at every fetch and push",
                    &what,
                    effects,
                );
            }
        }
    }
}

fn modules(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    for variable in read(&content) {
        let what = format!("{} = {}", variable.full_name(), variable.value);
        let line = variable.line;
        let when = "git, at `git clone --recurse-submodules` and `git submodule update`";
        let value = variable.value.as_str();
        let climbs = |text: &str| text.split('/').any(|part| part == "..") || text.starts_with('/');
        match variable.name.as_str() {
            "url" if value.starts_with("ext::") || value.starts_with('-') => {
                scan.note(
                    Kind::GitSubmodule,
                    path,
                    line,
                    when,
                    &what,
                    later("git runs what the URL names"),
                );
            }
            "update" if value.starts_with('!') => {
                scan.note(
                    Kind::GitSubmodule,
                    path,
                    line,
                    when,
                    &what,
                    later("git runs it in the submodule"),
                );
                scan.script(Kind::GitSubmodule, path, Spot::line(line), when, &value[1..]);
            }
            "path" if climbs(value) || climbs(&variable.of) || value.starts_with(".git") || value.starts_with('-') => {
                let effects = vec![(
                    Effect::TampersWithEvidence,
                    "it lies where git keeps its own files, or outside".to_owned(),
                )];
                scan.note(Kind::GitSubmodule, path, line, when, &what, effects);
            }
            "url" => scan.note(Kind::GitSubmodule, path, line, when, &what, Vec::new()),
            _ => {}
        }
    }
}

fn attributes(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    for (index, line) in content.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        let drivers = line.split_whitespace().skip(1).filter(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let own = ["lfs", "text", "union", "binary", "ours"].contains(&value);
            matches!(name, "filter" | "merge") && !value.is_empty() && !own
        });
        for word in drivers {
            let what = format!("`{word}`, where such a driver is configured");
            scan.note(
                Kind::GitAttribute,
                path,
                index + 1,
                "git, at checkout, diff and merge of such files",
                &what,
                Vec::new(),
            );
        }
    }
}

fn hook(scan: &mut Scan<'_>, file: &Named<'_>) {
    let mode = RelPath::new(file.path)
        .ok()
        .and_then(|path| scan.copy.manifest().get(&path).map(|entry| entry.mode));
    let runs = mode.is_some_and(|mode| mode & 0o111 != 0);
    let when = format!("git, at `{}`", file.name);
    let (what, effects) = match runs {
        true => (
            format!("{} is run", file.name),
            later("git runs it without being asked for"),
        ),
        false => (
            format!(
                "{} is there, and not executable: git leaves it alone until it is",
                file.name
            ),
            Vec::new(),
        ),
    };
    scan.note(Kind::GitHook, file.path, 1, &when, &what, effects);
    let Some(content) = scan.text(file.path) else { return };
    if content
        .lines()
        .next()
        .is_none_or(|first| !first.starts_with("#!") || first.contains("sh"))
    {
        scan.script(Kind::GitHook, file.path, Spot::file(), &when, &content);
    }
}
