//! Commands that files declare which tools read: a target of a Makefile, `commands` of tox, a
//! script of package.json, the settings of a test runner. And, last, what tests are run by
//! where nobody says it.

use super::{FILE_MAX, Found, Hint, HintKind, Origin, kind};
use crate::{
    contract::AuditedTree,
    document::{Foreign, get, text},
    names::RelPath,
    policy::shell::quoted,
};

/// Most targets of a Makefile, and most commands of tox.
const TARGETS_MAX: usize = 20;
/// Most test files that are looked into.
const TEST_FILES_MAX: usize = 50;

pub(super) fn read(tree: &dyn AuditedTree, files: &[RelPath], found: &mut Found) {
    for name in ["Makefile", "makefile", "GNUmakefile"] {
        each(tree, files, name, found, makefile);
    }
    each(tree, files, "tox.ini", found, tox);
    each(tree, files, "pyproject.toml", found, |text| {
        section(text, "[tool.pytest", "pytest")
    });
    each(tree, files, "setup.cfg", found, |text| {
        section(text, "[tool:pytest]", "pytest")
    });
    each(tree, files, "pytest.ini", found, |text| {
        section(text, "[pytest]", "pytest")
    });
    each(tree, files, "tox.ini", found, |text| {
        section(text, "[pytest]", "pytest")
    });
    each(tree, files, "package.json", found, package);
    each(tree, files, "Cargo.toml", found, |_| vec![tests(1, "cargo test")]);
    each(tree, files, "go.mod", found, |_| vec![tests(1, "go test ./...")]);
    convention(tree, files, found);
}

type Declared = (usize, String, HintKind);

fn tests(line: usize, command: &str) -> Declared {
    (line, command.to_owned(), HintKind::Tests)
}

fn each(
    tree: &dyn AuditedTree,
    files: &[RelPath],
    name: &str,
    found: &mut Found,
    read: impl Fn(&str) -> Vec<Declared>,
) {
    let Some(path) = files.iter().find(|path| path.as_bytes() == name.as_bytes()) else {
        return;
    };
    let Some(text) = tree.read(path, FILE_MAX) else { return };
    for (line, command, kind) in read(&text) {
        found.add(Hint {
            command,
            file: path.clone(),
            line,
            kind,
            origin: Origin::Declaration,
        });
    }
}

/// Targets whose names say that they test or measure.
fn makefile(text: &str) -> Vec<Declared> {
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((target, rest)) = line.split_once(':') else {
            continue;
        };
        let plain = !target.is_empty() && target.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !plain || rest.starts_with('=') || all.len() == TARGETS_MAX {
            continue;
        }
        let kind = match target {
            "check" | "t" => Some(HintKind::Tests),
            target => kind::by_name(target),
        };
        all.extend(kind.map(|kind| (index + 1, format!("make {target}"), kind)));
    }
    all
}

/// `commands` of tox's environments, what it fills in filled in where that is known.
fn tox(text: &str) -> Vec<Declared> {
    let mut all: Vec<Declared> = Vec::new();
    let (mut within, mut listing) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let bare = line.trim();
        if line.starts_with('[') {
            (within, listing) = (line.starts_with("[testenv"), false);
            continue;
        }
        let command = match line.split_once('=') {
            Some((key, value)) if within && !line.starts_with(char::is_whitespace) => {
                listing = key.trim() == "commands";
                value.trim()
            }
            _ => bare,
        };
        if !listing || command.is_empty() || command.starts_with('#') || all.len() == TARGETS_MAX {
            continue;
        }
        // `-` before a command is tox's own mark, and `a: b` a condition.
        let command = command.trim_start_matches(['-', ' ']);
        let Some(command) = filled(command) else { continue };
        if let Some(kind) = kind_of(&command) {
            all.push((index + 1, command, kind));
        }
    }
    all
}

/// `{posargs}` is nothing, `{posargs:x}` is `x`, `{envpython}` is `python`; of others nobody knows.
fn filled(command: &str) -> Option<String> {
    let mut whole = String::new();
    let mut rest = command;
    while let Some((before, after)) = rest.split_once('{') {
        whole.push_str(before);
        let (word, after) = after.split_once('}')?;
        match word.split_once(':').unwrap_or((word, "")) {
            ("posargs", default) if !default.contains('{') => whole.push_str(default),
            ("envpython", _) => whole.push_str("python"),
            ("toxinidir", _) => whole.push('.'),
            _ => return None,
        }
        rest = after;
    }
    whole.push_str(rest);
    Some(whole.trim().to_owned())
}

fn kind_of(command: &str) -> Option<HintKind> {
    let items = crate::policy::shell::listed(command).ok()?;
    let [item] = items.as_slice() else { return None };
    kind::of(item, true, &super::Ground::new(&[]), "")
}

/// The settings of a tool: who has some is run by it.
fn section(text: &str, begins: &str, command: &str) -> Vec<Declared> {
    let line = text.lines().position(|line| line.starts_with(begins));
    line.map(|index| tests(index + 1, command)).into_iter().collect()
}

/// Scripts of package.json.
fn package(content: &str) -> Vec<Declared> {
    let Ok(document) = Foreign::json(content) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    document.mappings(&mut |above, pairs| {
        if above != ["scripts"] {
            return;
        }
        if let Some(node) = get(pairs, "test")
            && text(node).is_some_and(|script| !script.contains("no test specified"))
        {
            all.push(tests(node.at.line, "npm test"));
        }
        for (key, _) in pairs.iter().filter(|(key, _)| key.text != "test").take(TARGETS_MAX) {
            let plain = key.text.chars().all(|c| c.is_ascii_alphanumeric() || "-_:".contains(c));
            if let Some(kind) = kind::by_name(&key.text).filter(|_| plain) {
                all.push((key.at.line, format!("npm run {}", key.text), kind));
            }
        }
    });
    all
}

/// Python's tests have names of a form.
fn convention(tree: &dyn AuditedTree, files: &[RelPath], found: &mut Found) {
    let is_test = |path: &&RelPath| {
        let (name, text) = (path.file_name(), path.as_bytes());
        let named = name.starts_with(b"test_") && name.ends_with(b".py") || name.ends_with(b"_test.py");
        let mut dirs = text.split(|byte| *byte == b'/');
        named && (!text.contains(&b'/') || dirs.any(|dir| [&b"tests"[..], b"test", b"testing"].contains(&dir)))
    };
    let all: Vec<&RelPath> = files.iter().filter(is_test).collect();
    let Some(first) = all.first() else { return };
    let add = |found: &mut Found, command: String| {
        found.add(Hint {
            command,
            file: (*first).clone(),
            line: 1,
            kind: HintKind::Tests,
            origin: Origin::Convention,
        });
    };
    add(found, "python -m pytest".to_owned());
    let texts = all
        .iter()
        .take(TEST_FILES_MAX)
        .filter_map(|path| tree.read(path, FILE_MAX));
    let mut unittest = false;
    for text in texts {
        let imports = |module: &str| {
            text.lines().any(|line| {
                let line = line.trim_start();
                ["import ", "from "].iter().any(|word| {
                    line.strip_prefix(word)
                        .is_some_and(|rest| rest.trim_start().starts_with(module))
                })
            })
        };
        if imports("pytest") {
            return;
        }
        unittest |= imports("unittest");
    }
    let Some(dir) = first.parent().map(|dir| dir.to_string()).filter(|_| unittest) else {
        if unittest {
            add(found, "python -m unittest".to_owned());
        }
        return;
    };
    let top = dir.split('/').next().unwrap_or_default();
    let package = files
        .iter()
        .any(|path| path.to_string() == format!("{top}/__init__.py"));
    let root = if package { " -t ." } else { "" };
    add(found, format!("python -m unittest discover -s {}{root}", quoted([top])));
}
