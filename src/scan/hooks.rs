//! What builds, installations, test runs and commits run.

use super::{
    finding::Kind,
    lines::{Syntax, statements},
    look::{Named, Scan},
    makefile,
    nodes::{Document, Spot, get, scalars, text},
};
use crate::policy::{SecurityMode, shell::Effect};

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
        || is_commit_hook(file)
        || file.ends(&[".pth"])
}

fn is_commit_hook(file: &Named<'_>) -> bool {
    let kept = [".husky", ".githooks", "githooks", "git-hooks"];
    kept.iter().any(|dir| file.dir.rsplit('/').next() == Some(dir)) && !file.ends(&[".md", ".json", ".txt"])
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
        ".pre-commit-config.yaml" | "lefthook.yml" | "lefthook.yaml" | ".lefthook.yml" => commits(scan, file.path),
        "Dockerfile" | "Containerfile" => dockerfile(scan, file.path),
        "config" | "config.toml" if file.dir.ends_with(".cargo") => cargo(scan, file.path),
        _ if file.ends(&[".pth"]) => pth(scan, file.path),
        _ => {
            let Some(content) = scan.text(file.path) else { return };
            let when = format!(
                "git, at `{}`, where the hooks of this directory are installed",
                file.name
            );
            scan.script(Kind::CommitHook, file.path, Spot::file(), &when, &content);
        }
    }
}

fn unknown(what: &str) -> Vec<(Effect, String)> {
    vec![(Effect::RunsUnknownProgram, what.to_owned())]
}

fn package(scan: &mut Scan<'_>, path: &str, lifecycle: &[&str], by_itself: &str) {
    let Some(content) = scan.text(path) else { return };
    let Some(document) = scan.document(path, &content, Document::json) else {
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
    let Some(document) = scan.document(path, &content, Document::yaml) else {
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

/// Hooks for commits: local ones with their commands, others by where they are kept.
fn commits(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    let Some(document) = scan.document(path, &content, Document::yaml) else {
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

/// `RUN`, `CMD` and `ENTRYPOINT`: whoever builds an image is root in it.
fn dockerfile(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    let mut lines = content.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let bare = line.trim_start();
        let Some((word, rest)) = bare.split_once(char::is_whitespace) else {
            continue;
        };
        if !matches!(word.to_ascii_uppercase().as_str(), "RUN" | "CMD" | "ENTRYPOINT") {
            continue;
        }
        let mut command = rest.to_owned();
        while command.trim_end().ends_with('\\')
            && let Some((_, more)) = lines.next()
        {
            command.push('\n');
            // A comment between two lines is not a part of the command.
            command.push_str(if more.trim_start().starts_with('#') { "\\" } else { more });
        }
        let command = command.trim_start();
        if command.starts_with('[') {
            continue;
        }
        let flags = command
            .split_whitespace()
            .take_while(|word| word.starts_with("--"))
            .count();
        let command: String = if flags == 0 {
            command.to_owned()
        } else {
            command.split_whitespace().skip(flags).collect::<Vec<_>>().join(" ")
        };
        let spot = Spot {
            line: index + 1,
            spread: flags == 0,
        };
        scan.script_in(
            Kind::BuildCommand,
            path,
            spot,
            "whoever builds the image",
            &command,
            SecurityMode::System,
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
