//! Whether what a hint runs could measure: a summary that is only printed is none.

use super::{FILE_MAX, kind, placeholder};
use crate::{
    contract::{self, AuditedTree},
    document::{Foreign, Makefile, get, text},
    names::RelPath,
    policy::shell::{Written, listed},
};

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
            let makefile = Makefile::read(&text);
            let named = core[1..].iter().copied();
            let mut goals: Vec<&str> = named
                .filter(|word| !word.starts_with('-') && !word.contains('='))
                .collect();
            if goals.is_empty() {
                goals.extend(makefile.goal());
            }
            let recipes = makefile.recipes(goals);
            Some(recipes.map(|recipe| recipe.command.to_owned()).collect())
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
