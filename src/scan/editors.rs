//! What editors, debuggers, shells and containers for development run for whoever opens a directory.

use super::{
    agents::{Said, commands, tell},
    finding::Kind,
    look::{Named, Scan},
};
use crate::document::{Foreign, Spot, get, scalars, text};
use crate::policy::shell::quoted;
use crate::{
    document::{Key, Node, Value},
    policy::shell::Effect,
};

/// Files that editors, debuggers and shells run when somebody opens the directory.
const EDITOR_FILES: [&str; 9] = [
    ".exrc",
    ".nvimrc",
    ".vimrc",
    ".nvim.lua",
    ".lvimrc",
    ".dir-locals.el",
    ".gdbinit",
    ".lldbinit",
    ".ycm_extra_conf.py",
];
/// Commands of a container for development, by when they run.
const CONTAINER_COMMANDS: [(&str, &str); 6] = [
    (
        "initializeCommand",
        "on the host of whoever opens it, before the container is made",
    ),
    ("onCreateCommand", "in the container, when it is made"),
    ("updateContentCommand", "in the container, when it is made or updated"),
    ("postCreateCommand", "in the container, after it is made"),
    ("postStartCommand", "in the container, whenever it is started"),
    ("postAttachCommand", "in the container, whenever somebody attaches"),
];

/// Whether this room reads a file.
pub(super) fn reads(file: &Named<'_>) -> bool {
    let folder = file.is_in(".vscode") || file.is_in(".zed");
    EDITOR_FILES.contains(&file.name) || file.name == ".envrc" || is_container(file) || folder && file.ends(&[".json"])
}

fn is_container(file: &Named<'_>) -> bool {
    matches!(file.name, "devcontainer.json" | ".devcontainer.json")
}

pub(super) fn file(scan: &mut Scan<'_>, file: &Named<'_>) {
    if file.name == ".envrc" {
        let Some(content) = scan.text(file.path) else { return };
        let when = "direnv, when the directory is entered";
        return scan.script(Kind::EditorCommand, file.path, Spot::file(), when, &content);
    }
    if EDITOR_FILES.contains(&file.name) {
        let effects = vec![(Effect::RunsUnknownProgram, "a program of its own language".to_owned())];
        let (when, what) = (
            "the editor or debugger that is started here",
            format!("{} is run", file.name),
        );
        return scan.note(Kind::EditorCommand, file.path, 1, when, &what, effects);
    }
    if reads(file) {
        editor(scan, file);
    }
}

/// What editors fill in before anything runs: the workspace, or a value that nobody knows.
pub(super) fn placeholders(line: &str) -> String {
    let line = line.replace("${workspaceFolder}", ".").replace("${workspaceRoot}", ".");
    line.replace("${localWorkspaceFolder}", ".")
        .replace("${containerWorkspaceFolder}", ".")
}

fn editor(scan: &mut Scan<'_>, file: &Named<'_>) {
    let Some(content) = scan.text(file.path) else { return };
    let Some(document) = scan.document(file.path, &content, Foreign::json) else {
        return;
    };
    let mut said = Vec::new();
    let container = is_container(file);
    document.mappings(&mut |path, pairs| {
        if container {
            return containers(&document, path, pairs, &mut said);
        }
        let opened = get(pairs, "runOptions")
            .is_some_and(|options| scalars(options).iter().any(|(text, _)| *text == "folderOpen"));
        let when = if opened {
            "the editor, when the directory is opened"
        } else {
            "somebody who starts the task"
        };
        let command = commands(&document, pairs, Kind::EditorCommand, when);
        if let (true, Some(Said::Command(_, line, spot, when))) = (opened, &command) {
            let effects = vec![(
                Effect::ChangesWhatStartsLater,
                "it runs without being asked for".to_owned(),
            )];
            said.push(Said::Note(
                Kind::EditorCommand,
                line.clone(),
                spot.line,
                when.clone(),
                effects,
            ));
        }
        said.extend(command);
        if file.name == "settings.json" {
            for (key, value) in pairs {
                let names = ["path", "Path", "executable", "command", "Command", "interpreter"];
                let of_tree = text(value).filter(|text| text.starts_with("./") || text.contains("${workspace"));
                if let (true, Some(of_tree)) = (names.iter().any(|name| key.text.ends_with(name)), of_tree) {
                    let effects = vec![(Effect::RunsUnknownProgram, "a program of the tree".to_owned())];
                    let what = format!("{}: runs {of_tree}", key.text);
                    said.push(Said::Note(
                        Kind::EditorCommand,
                        what,
                        key.at.line,
                        "the editor".to_owned(),
                        effects,
                    ));
                }
                if key.text == "task.allowAutomaticTasks" {
                    let what = format!("task.allowAutomaticTasks: {}", text(value).unwrap_or_default());
                    said.push(Said::Note(
                        Kind::EditorCommand,
                        what,
                        key.at.line,
                        "the editor".to_owned(),
                        Vec::new(),
                    ));
                }
            }
        }
    });
    tell(scan, file.path, said);
}

fn containers(document: &Foreign<'_>, path: &[&str], pairs: &[(Key, Node)], said: &mut Vec<Said>) {
    if !path.is_empty() {
        return;
    }
    for (name, when) in CONTAINER_COMMANDS {
        let Some(node) = get(pairs, name) else { continue };
        let each: Vec<&Node> = match &node.value {
            Value::Mapping(named) => named.iter().map(|(_, node)| node).collect(),
            _ => vec![node],
        };
        for node in each {
            let line = match &node.value {
                Value::Scalar { text, .. } => text.clone(),
                _ => quoted(scalars(node).into_iter().map(|(text, _)| text)),
            };
            said.push(Said::Command(
                Kind::EditorCommand,
                placeholders(&line),
                document.spot(node.at),
                when.to_owned(),
            ));
        }
    }
    // As the engine would be asked for it.
    let mut asked: Vec<String> = vec!["docker".to_owned(), "run".to_owned()];
    let mut line = None;
    for (key, value) in pairs {
        let first = asked.len();
        match key.text.as_str() {
            "runArgs" => asked.extend(scalars(value).into_iter().map(|(text, _)| text.to_owned())),
            "privileged" if text(value) == Some("true") => asked.push("--privileged".to_owned()),
            "capAdd" => asked.extend(scalars(value).into_iter().map(|(text, _)| format!("--cap-add={text}"))),
            "mounts" => {
                for mount in match &value.value {
                    Value::Sequence(items) => items.as_slice(),
                    _ => &[],
                } {
                    let one = match &mount.value {
                        Value::Mapping(parts) => {
                            let parts = parts
                                .iter()
                                .map(|(key, value)| format!("{}={}", key.text, text(value).unwrap_or_default()));
                            parts.collect::<Vec<_>>().join(",")
                        }
                        _ => text(mount).unwrap_or_default().to_owned(),
                    };
                    asked.extend(["--mount".to_owned(), placeholders(&one)]);
                }
            }
            _ => {}
        }
        if asked.len() > first && line.is_none() {
            line = Some(key.at.line);
        }
    }
    if let Some(line) = line {
        asked.push("image".to_owned());
        let command = quoted(asked.iter().map(String::as_str));
        said.push(Said::Command(
            Kind::ContainerStart,
            command,
            Spot::line(line),
            "when the container is started".to_owned(),
        ));
    }
}
