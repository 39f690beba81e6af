//! Whether what a hint runs could measure: a summary that is only printed is none.

use std::collections::BTreeSet;

use super::{FILE_MAX, kind, placeholder};
use crate::{
    contract::{self, AuditedTree},
    document::{Foreign, get, text},
    names::RelPath,
    policy::shell::{Written, listed},
};

/// Most targets of a Makefile that are followed.
const TARGETS_MAX: usize = 100;

/// Whether a command runs anything but what prints, copies and sets: neither itself, nor in the
/// scripts, targets of a Makefile and scripts of package.json that it runs. What cannot be
/// followed counts as something that could measure.
pub fn measures(command: &str, tree: &dyn AuditedTree) -> bool {
    let hidden = placeholder::hide(command);
    let Ok(items) = listed(&hidden.text) else { return false };
    let mut dir = String::new();
    let mut others = false;
    for command in items.iter().flat_map(|item| &item.commands) {
        let words = kind::words(command);
        if let ["cd", to] = words.as_slice() {
            dir = format!("{dir}{}/", to.trim_end_matches('/'));
            continue;
        }
        match inner(command, &dir, tree) {
            Some(scripts)
                if scripts
                    .iter()
                    .any(|script| contract::executes(script, dir.trim_end_matches('/'), tree)) =>
            {
                return true;
            }
            Some(_) => {}
            None => others = true,
        }
    }
    others && contract::executes(&hidden.shown(&hidden.text), "", tree)
}

/// The commands that a runner of commands has under the names that it is given; `None` where
/// it is no such runner, or its file cannot be read.
fn inner(command: &Written, dir: &str, tree: &dyn AuditedTree) -> Option<Vec<String>> {
    let words = kind::words(command);
    let core = &words[kind::surrounded(&words)..];
    let read = |name: &str| tree.read(&RelPath::new(format!("{dir}{name}")).ok()?, FILE_MAX);
    match kind::name(core.first()?) {
        "make" | "gmake"
            if !core
                .iter()
                .any(|word| matches!(*word, "-C" | "-f") || word.starts_with("--file")) =>
        {
            let text = ["GNUmakefile", "makefile", "Makefile"]
                .iter()
                .find_map(|name| read(name))?;
            let targets = core[1..]
                .iter()
                .filter(|word| !word.starts_with('-') && !word.contains('='));
            Some(recipes(&text, targets.copied()))
        }
        "npm" | "pnpm" | "yarn" | "bun" => {
            let named: Vec<&str> = core[1..]
                .iter()
                .filter(|word| !word.starts_with('-'))
                .copied()
                .collect();
            let script = match named.as_slice() {
                ["run" | "run-script", script, ..] => *script,
                ["test" | "t", ..] => "test",
                _ => return None,
            };
            let content = read("package.json")?;
            let document = Foreign::json(&content).ok()?;
            let mut found = None;
            document.mappings(&mut |above, pairs| {
                if above == ["scripts"] {
                    found = get(pairs, script).and_then(text).map(str::to_owned);
                }
            });
            Some(vec![found?])
        }
        _ => None,
    }
}

/// Lines of the recipes of targets, and of what they depend on.
fn recipes<'t>(text: &str, targets: impl Iterator<Item = &'t str>) -> Vec<String> {
    let mut wanted: Vec<String> = targets.map(str::to_owned).collect();
    let mut done = BTreeSet::new();
    let mut all = Vec::new();
    let joined = text.replace("\\\n", " ");
    while let Some(target) = wanted.pop() {
        if done.len() == TARGETS_MAX || !done.insert(target.clone()) {
            continue;
        }
        let mut within = false;
        for line in joined.lines() {
            if let Some(recipe) = line.strip_prefix('\t') {
                if within {
                    all.push(recipe.trim_start_matches(['@', '-', '+', ' ']).to_owned());
                }
            } else if let Some((names, rest)) = line.split_once(':') {
                within = names.split_whitespace().any(|name| name == target) && !rest.starts_with('=');
                if within {
                    let (depends, recipe) = rest.trim_start_matches(':').split_once(';').unwrap_or((rest, ""));
                    wanted.extend(
                        depends
                            .split_whitespace()
                            .map(|name| name.trim_start_matches(':').to_owned()),
                    );
                    all.push(recipe.trim().to_owned());
                }
            }
        }
    }
    all.retain(|recipe| !recipe.is_empty());
    all
}

/// Words by which a command is known again: modules with their packages, and programs.
pub fn anchors(command: &str) -> Vec<String> {
    let hidden = placeholder::hide(command);
    let mut all: Vec<String> = Vec::new();
    let mut add = |word: &str| {
        if word.len() > 2 && all.len() < 12 && !all.iter().any(|known| known == word) {
            all.push(word.to_owned());
        }
    };
    for command in listed(&hidden.text)
        .unwrap_or_default()
        .iter()
        .flat_map(|item| &item.commands)
    {
        let words = kind::words(command);
        let core = &words[kind::surrounded(&words)..];
        let Some(program) = core.first().filter(|word| **word != "cd" && **word != "export") else {
            continue;
        };
        let module = core
            .iter()
            .position(|word| *word == "-m")
            .and_then(|at| core.get(at + 1));
        let script = core[1..].iter().find(|word| !word.starts_with('-'));
        let named = match kind::is_python(program) {
            true => module.or(script),
            false => Some(program),
        };
        if let Some(named) = named {
            add(named);
            let top = named.split('.').next().unwrap_or_default();
            if top.len() > 4 && !named.contains('/') {
                add(top);
            }
        }
    }
    all
}
