//! Steps of GitHub workflows, read leniently: what is no step is passed over.

use super::{
    Found, Ground, Hint, Origin,
    block::{self, Block, Language},
};
use crate::{
    document::{Foreign, Key, Node, Value, get, text},
    names::RelPath,
};

/// Most steps of one file.
const STEPS_MAX: usize = 300;
/// Most variables of one step.
const VARIABLES_MAX: usize = 10;

/// A file of `.github/workflows`.
pub(super) fn is_one(path: &RelPath) -> bool {
    let name = path.as_bytes().strip_prefix(b".github/workflows/");
    name.is_some_and(|name| !name.contains(&b'/') && (name.ends_with(b".yml") || name.ends_with(b".yaml")))
}

pub(super) fn read(path: &RelPath, content: &str, ground: &Ground, found: &mut Found) {
    let Ok(document) = Foreign::yaml(content) else { return };
    let mut steps = 0;
    let mut job_dirs: Vec<(String, String)> = Vec::new();
    document.mappings(&mut |above, pairs| match above {
        ["jobs", job] => {
            if let Some(dir) = directory_of_defaults(pairs) {
                job_dirs.push(((*job).to_owned(), dir));
            }
        }
        ["jobs", job, "steps"] if steps < STEPS_MAX => {
            steps += 1;
            let dir = job_dirs
                .iter()
                .find(|(name, _)| name == job)
                .map(|(_, dir)| dir.as_str());
            step(path, &document, pairs, dir.unwrap_or_default(), ground, found);
        }
        _ => {}
    });
}

fn directory_of_defaults(pairs: &[(Key, Node)]) -> Option<String> {
    let within = |node: &Node, name: &str| match &node.value {
        Value::Mapping(pairs) => get(pairs, name).cloned(),
        _ => None,
    };
    let run = within(get(pairs, "defaults")?, "run")?;
    within(&run, "working-directory").and_then(|dir| Some(text(&dir)?.to_owned()))
}

fn step(path: &RelPath, document: &Foreign<'_>, pairs: &[(Key, Node)], dir: &str, ground: &Ground, found: &mut Found) {
    let Some((script, at)) = get(pairs, "run").and_then(|run| Some((text(run)?, run.at))) else {
        return;
    };
    let shell = get(pairs, "shell").and_then(text).unwrap_or("bash");
    if !["bash", "sh"].iter().any(|name| shell.starts_with(name)) {
        return;
    }
    let dir = get(pairs, "working-directory").and_then(text).unwrap_or(dir);
    let dir = dir.trim_start_matches("./").trim_end_matches('/');
    let dir = if dir == "." { "" } else { dir };
    // A directory that is made on the way, or of an expression, is none that is known.
    if !dir.is_empty() && !ground.dirs.contains(dir) {
        return;
    }
    let mut env = Vec::new();
    if let Some(Node {
        value: Value::Mapping(variables),
        ..
    }) = get(pairs, "env")
    {
        for (name, value) in variables.iter().take(VARIABLES_MAX) {
            let is_name = name.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            // A secret, or what the service knows: nothing here.
            let value = text(value).filter(|value| is_name && !value.contains("${{") && !value.contains(['\n', '$']));
            env.extend(value.map(|value| (name.text.clone(), value.to_owned())));
        }
    }
    let block = Block {
        text: script,
        line: document.spot(at).line,
        language: Language::Shell,
        dir,
        env: &env,
    };
    for command in block::commands(&block, ground) {
        found.add(Hint {
            command: command.text,
            file: path.clone(),
            line: command.line,
            kind: command.kind,
            origin: Origin::Workflow,
        });
    }
}
