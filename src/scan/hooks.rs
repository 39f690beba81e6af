//! What builds, installations, test runs and commits run.

use super::{
    commits,
    finding::Kind,
    images,
    lines::{Syntax, statements},
    look::{Named, Scan},
    makefile,
};
use crate::document::{Foreign, Spot, scalars, text};
use crate::policy::shell::Effect;

/// Scripts of a package that its manager runs by itself.
const LIFECYCLE: [&str; 14] = [
    "preinstall",
    "install",
    "postinstall",
    "prepare",
    "preprepare",
    "postprepare",
    "prepublish",
    "prepublishOnly",
    "prepack",
    "postpack",
    "preuninstall",
    "uninstall",
    "postuninstall",
    "dependencies",
];
/// The same of PHP's.
const COMPOSER: [&str; 8] = [
    "pre-install-cmd",
    "post-install-cmd",
    "pre-update-cmd",
    "post-update-cmd",
    "post-autoload-dump",
    "pre-autoload-dump",
    "post-root-package-install",
    "post-create-project-cmd",
];

/// Whether this room reads a file.
pub(super) fn reads(file: &Named<'_>) -> bool {
    matches!(
        file.name,
        "package.json"
            | "composer.json"
            | "Makefile"
            | "makefile"
            | "GNUmakefile"
            | "pyproject.toml"
            | "setup.cfg"
            | "tox.ini"
            | "pytest.ini"
            | "binding.gyp"
            | ".npmrc"
            | ".yarnrc.yml"
            | ".pre-commit-config.yaml"
            | "lefthook.yml"
            | "lefthook.yaml"
            | ".lefthook.yml"
            | "Dockerfile"
            | "Containerfile"
    ) || file.dir.ends_with(".cargo") && matches!(file.name, "config" | "config.toml")
        || commits::is_hook(file)
        || file.ends(&[".pth"])
}

pub(super) fn file(scan: &mut Scan<'_>, file: &Named<'_>) {
    // What was installed is run by whoever asks for it, and was installed by somebody.
    if file.is_in("node_modules") || !reads(file) {
        return;
    }
    match file.name {
        "package.json" => package(scan, file.path, &LIFECYCLE, "npm, when it installs or packs"),
        "composer.json" => package(scan, file.path, &COMPOSER, "composer, when it installs"),
        "Makefile" | "makefile" | "GNUmakefile" => makefile::file(scan, file.path),
        "pyproject.toml" => pyproject(scan, file.path),
        "setup.cfg" | "tox.ini" | "pytest.ini" => ini(scan, file.path),
        "binding.gyp" => gyp(scan, file.path),
        ".npmrc" => npmrc(scan, file.path),
        ".yarnrc.yml" => yarnrc(scan, file.path),
        ".pre-commit-config.yaml" | "lefthook.yml" | "lefthook.yaml" | ".lefthook.yml" => {
            commits::configuration(scan, file.path)
        }
        "Dockerfile" | "Containerfile" => images::dockerfile(scan, file.path),
        "config" | "config.toml" if file.dir.ends_with(".cargo") => cargo(scan, file.path),
        _ if file.ends(&[".pth"]) => pth(scan, file.path),
        _ => commits::hook(scan, file),
    }
}

fn unknown(what: &str) -> Vec<(Effect, String)> {
    vec![(Effect::RunsUnknownProgram, what.to_owned())]
}

fn package(scan: &mut Scan<'_>, path: &str, lifecycle: &[&str], by_itself: &str) {
    let Some(content) = scan.text(path) else { return };
    let Some(document) = scan.document(path, &content, Foreign::json) else {
        return;
    };
    let mut found = Vec::new();
    document.mappings(&mut |keys, pairs| {
        if keys == ["scripts"] {
            for (key, value) in pairs {
                for (command, at) in scalars(value) {
                    found.push((key.text.clone(), command.to_owned(), document.spot(at)));
                }
            }
        }
    });
    for (name, command, spot) in found {
        let (kind, when) = match lifecycle.contains(&name.as_str()) {
            true => (Kind::BuildHook, format!("{by_itself} (`{name}`)")),
            false => (Kind::BuildCommand, format!("somebody who runs the script `{name}`")),
        };
        scan.script(kind, path, spot, &when, &command);
    }
}

fn pyproject(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    let mut section = String::new();
    for statement in statements(&content, Syntax::Hash) {
        let code = statement.code.trim();
        if code.starts_with('[') && code.ends_with(']') && !code.contains('=') {
            section = code.trim_matches(['[', ']']).replace(['"', '\'', ' '], "");
            if section.contains("build.hooks.custom") || section.contains("hooks.custom") {
                let what = format!("[{section}]: code of the tree");
                scan.note(
                    Kind::BuildHook,
                    path,
                    statement.line,
                    "a build",
                    &what,
                    unknown("a program of the tree"),
                );
            }
            continue;
        }
        let Some((key, value)) = code.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        let what = format!("{key} = {value}");
        let line = statement.line;
        match (section.as_str(), key) {
            ("build-system", "backend-path") => {
                scan.note(
                    Kind::BuildHook,
                    path,
                    line,
                    "a build",
                    &what,
                    unknown("the program that builds is in the tree"),
                );
            }
            ("build-system", "build-backend" | "requires") => {
                scan.note(Kind::BuildHook, path, line, "a build", &what, Vec::new());
            }
            ("tool.pytest.ini_options", "addopts") => {
                scan.note(Kind::BuildHook, path, line, "pytest", &what, Vec::new());
            }
            (section, key)
                if section.starts_with("tool.") && matches!(key, "cmd" | "shell" | "script" | "run-setup") =>
            {
                let commands = statement.texts.clone();
                for (line, command) in commands {
                    scan.script(
                        Kind::BuildCommand,
                        path,
                        Spot::line(line),
                        &format!("a task of `{section}`"),
                        &command,
                    );
                }
            }
            _ => {}
        }
    }
}

/// `commands` and `addopts`, whose values go on in lines that are indented.
fn ini(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    let mut key = String::new();
    let mut section = String::new();
    for (index, line) in content.lines().enumerate() {
        let goes_on = line.starts_with([' ', '\t']);
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if !goes_on && bare.starts_with('[') {
            section = bare.trim_matches(['[', ']']).to_owned();
            key.clear();
            continue;
        }
        let value = match (goes_on, bare.split_once('=')) {
            (false, Some((name, value))) => {
                key = name.trim().to_owned();
                value.trim()
            }
            (true, _) => bare,
            (false, None) => continue,
        };
        if value.is_empty() {
            continue;
        }
        match key.as_str() {
            "commands" | "commands_pre" | "commands_post" => {
                // `{posargs}` and its like are filled in by tox, and a leading `-` lets a command fail.
                let command = filled(value.trim_start_matches(['-', '!', ' ']));
                scan.script(
                    Kind::BuildCommand,
                    path,
                    Spot::line(index + 1),
                    &format!("tox, `{section}`"),
                    &command,
                );
            }
            "addopts" => scan.note(
                Kind::BuildHook,
                path,
                index + 1,
                "pytest",
                &format!("addopts = {value}"),
                Vec::new(),
            ),
            _ => {}
        }
    }
}

/// `{…}` as a value that nobody knows here.
fn filled(command: &str) -> String {
    let mut out = String::new();
    let mut depth = 0_u32;
    for c in command.chars() {
        match c {
            '{' => {
                if depth == 0 {
                    out.push_str("${FILLED_IN}");
                }
                depth += 1;
            }
            '}' if depth > 0 => depth -= 1,
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

/// `<!(COMMAND)` in what node-gyp reads.
fn gyp(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    for statement in statements(&content, Syntax::Hash) {
        for (line, text) in &statement.texts {
            if let Some(command) = text.trim().strip_prefix("<!").map(|rest| rest.trim_start_matches('@')) {
                let command = command.trim_start_matches('(').trim_end_matches(')');
                scan.script(
                    Kind::BuildHook,
                    path,
                    Spot::line(*line),
                    "npm, when it installs",
                    command,
                );
            }
        }
    }
}

fn npmrc(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    for (index, line) in content.lines().enumerate() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        let effects = match name {
            "script-shell" | "node-options" | "git" | "shell" | "onload-script" => unknown("npm runs it"),
            name if name == "registry" || name.ends_with(":registry") => Vec::new(),
            _ => continue,
        };
        scan.note(
            Kind::BuildHook,
            path,
            index + 1,
            "npm",
            &format!("{name} = {value}"),
            effects,
        );
    }
}

fn yarnrc(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    let Some(document) = scan.document(path, &content, Foreign::yaml) else {
        return;
    };
    let mut found = Vec::new();
    document.mappings(&mut |_, pairs| {
        for (key, value) in pairs {
            if matches!(key.text.as_str(), "yarnPath" | "path" | "spec")
                && let Some(program) = text(value)
            {
                found.push((format!("{}: {program}", key.text), key.at.line));
            }
        }
    });
    for (what, line) in found {
        scan.note(
            Kind::BuildHook,
            path,
            line,
            "yarn, always",
            &what,
            unknown("a program of the tree"),
        );
    }
}

/// Programs that cargo starts in place of, or around, the compiler and what it made.
fn cargo(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    for statement in statements(&content, Syntax::Hash) {
        let Some((key, value)) = statement.code.split_once('=') else {
            continue;
        };
        let key = key.trim();
        let name = key.rsplit('.').next().unwrap_or(key);
        if matches!(
            name,
            "rustc-wrapper"
                | "rustc-workspace-wrapper"
                | "rustc"
                | "rustdoc"
                | "linker"
                | "runner"
                | "credential-provider"
        ) {
            let words = statement
                .texts
                .iter()
                .map(|(_, text)| text.as_str())
                .collect::<Vec<_>>()
                .join(" ");
            let what = format!("{key} = {}", value.trim());
            let of_tree = words.starts_with('.') || words.contains('/');
            let effects = if of_tree {
                unknown("a program by its path")
            } else {
                Vec::new()
            };
            scan.note(
                Kind::BuildHook,
                path,
                statement.line,
                "cargo, at every build or run",
                &what,
                effects,
            );
            scan.script(
                Kind::BuildHook,
                path,
                Spot::line(statement.line),
                "cargo, at every build or run",
                &words,
            );
        }
    }
}

/// Lines of a `.pth` that begin with `import` are run by every Python that has it in its path.
fn pth(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    for (index, line) in content
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("import"))
    {
        let when = "every Python that has the directory in its path";
        scan.note(
            Kind::InterpreterStart,
            path,
            index + 1,
            when,
            line,
            unknown("a program of its own"),
        );
        scan.code(
            Kind::InterpreterStart,
            path,
            Spot::line(index + 1),
            when,
            ("python", line),
        );
    }
}
