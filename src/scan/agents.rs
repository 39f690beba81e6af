//! What agents load and run.

use super::{
    editors::{self, placeholders},
    finding::Kind,
    look::{Named, Scan},
};
use crate::document::{Foreign, Spot, get, scalars, text};
use crate::policy::shell::quoted;
use crate::{
    document::{Key, Node, Value},
    policy::shell::Effect,
};

/// Words to agents, by the names that agents look for.
const INSTRUCTIONS: [&str; 10] = [
    "AGENTS.md",
    "AGENT.md",
    "CLAUDE.md",
    "CLAUDE.local.md",
    "GEMINI.md",
    "QWEN.md",
    ".cursorrules",
    ".windsurfrules",
    ".clinerules",
    "copilot-instructions.md",
];
/// Configuration of agents: commands in it are started, whatever else it says.
const CONFIGURATIONS: [&str; 6] = [
    ".mcp.json",
    "mcp.json",
    "opencode.json",
    "opencode.jsonc",
    ".claude.json",
    "mcp_config.json",
];
/// Directories of agents.
const DIRECTORIES: [&str; 9] = [
    ".opencode",
    ".claude",
    ".agents",
    ".cursor",
    ".gemini",
    ".codex",
    ".windsurf",
    ".continue",
    ".roo",
];
/// Whether this room reads a file.
pub(super) fn reads(file: &Named<'_>) -> bool {
    INSTRUCTIONS.contains(&file.name)
        || CONFIGURATIONS.contains(&file.name)
        || DIRECTORIES.iter().any(|name| file.is_in(name))
}

/// Something that a document says: what, where, and when it happens.
pub(super) enum Said {
    Command(Kind, String, Spot, String),
    Note(Kind, String, usize, String, Vec<(Effect, String)>),
}

pub(super) fn file(scan: &mut Scan<'_>, file: &Named<'_>) {
    if INSTRUCTIONS.contains(&file.name) {
        let what = format!("{} is read by agents", file.name);
        return scan.note(
            Kind::AgentInstructions,
            file.path,
            1,
            "an agent that works here",
            &what,
            Vec::new(),
        );
    }
    if reads(file) && !editors::reads(file) {
        agent(scan, file);
    }
}

fn agent(scan: &mut Scan<'_>, file: &Named<'_>) {
    if file.ends(&[".md", ".mdc", ".txt"]) {
        return scan.note(
            Kind::AgentInstructions,
            file.path,
            1,
            "an agent that works here",
            &format!("{} is read by agents", file.name),
            Vec::new(),
        );
    }
    if file.ends(&[".js", ".ts", ".mjs", ".cjs", ".mts", ".tsx", ".py"]) {
        let effects = vec![(Effect::RunsUnknownProgram, "a program of its own".to_owned())];
        return scan.note(
            Kind::AgentCode,
            file.path,
            1,
            "an agent that works here, when it starts",
            &format!("{} is loaded", file.name),
            effects,
        );
    }
    if file.ends(&[".sh", ".bash"]) {
        let Some(content) = scan.text(file.path) else { return };
        return scan.script(
            Kind::AgentCommand,
            file.path,
            Spot::file(),
            "an agent's configuration that names it",
            &content,
        );
    }
    if file.ends(&[".toml"]) {
        return toml(scan, file.path);
    }
    if !file.ends(&[".json", ".jsonc"]) {
        return;
    }
    let Some(content) = scan.text(file.path) else { return };
    let Some(document) = scan.document(file.path, &content, Foreign::json) else {
        return;
    };
    let mut said = Vec::new();
    document.mappings(&mut |path, pairs| {
        said.extend(commands(
            &document,
            pairs,
            Kind::AgentCommand,
            "an agent that works here",
        ));
        let place = path.join(".");
        for (key, value) in pairs {
            let line = key.at.line;
            let unknown = |what: &str| vec![(Effect::RunsUnknownProgram, what.to_owned())];
            match key.text.as_str() {
                "plugin" | "plugins" if path.is_empty() => {
                    for (name, at) in scalars(value) {
                        let effects = unknown("a package or a file is loaded as code");
                        said.push(Said::Note(
                            Kind::AgentCode,
                            format!("loads the plugin {name}"),
                            at.line,
                            "an agent, when it starts".to_owned(),
                            effects,
                        ));
                    }
                }
                "baseURL" | "base_url" | "ANTHROPIC_BASE_URL" | "OPENAI_BASE_URL" => {
                    let what = format!("{place}: prompts and keys go to {}", text(value).unwrap_or_default());
                    said.push(Said::Note(
                        Kind::AgentSetting,
                        what,
                        line,
                        "an agent, at each prompt".to_owned(),
                        unknown("who answers is not known"),
                    ));
                }
                "apiKeyHelper" | "statusLine" | "awsAuthRefresh" | "otelHeadersHelper" => {
                    if let Some(command) = text(value) {
                        let when = format!("an agent, for `{}`", key.text);
                        said.push(Said::Command(
                            Kind::AgentCommand,
                            command.to_owned(),
                            document.spot(value.at),
                            when,
                        ));
                    }
                }
                "permission"
                | "permissions"
                | "defaultMode"
                | "enableAllProjectMcpServers"
                | "autoApprove"
                | "allow"
                    if !matches!(&value.value, Value::Sequence(items) if items.is_empty()) =>
                {
                    let words: Vec<&str> = scalars(value).into_iter().take(20).map(|(text, _)| text).collect();
                    let what = format!("{}: {}", key.text, words.join(", "));
                    said.push(Said::Note(
                        Kind::AgentSetting,
                        what,
                        line,
                        "an agent that works here".to_owned(),
                        Vec::new(),
                    ));
                }
                _ => {}
            }
        }
    });
    tell(scan, file.path, said);
}

/// `command = "…"` and `args = […]` of a TOML file, a server each.
fn toml(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    let all = super::lines::statements(&content, super::lines::Syntax::Hash);
    let mut command: Option<(usize, Vec<String>)> = None;
    for statement in &all {
        let code = statement.code.trim();
        let texts = || statement.texts.iter().map(|(_, text)| text.clone());
        if code.starts_with('[') {
            told(scan, path, command.take());
        } else if code.starts_with("command") {
            command = Some((statement.line, texts().collect()));
        } else if let (true, Some((_, words))) = (code.starts_with("args"), &mut command) {
            words.extend(texts());
        }
    }
    told(scan, path, command);
}

fn told(scan: &mut Scan<'_>, path: &str, command: Option<(usize, Vec<String>)>) {
    if let Some((line, words)) = command {
        let line_of = quoted(words.iter().map(String::as_str));
        scan.script(
            Kind::AgentCommand,
            path,
            Spot::line(line),
            "an agent that works here",
            &line_of,
        );
    }
}

/// The command of a mapping: a program with `args`, a list, or a line for a shell.
pub(super) fn commands(document: &Foreign<'_>, pairs: &[(Key, Node)], kind: Kind, when: &str) -> Option<Said> {
    let node = get(pairs, "command").or_else(|| get(pairs, "cmd"))?;
    let args: Vec<&str> = get(pairs, "args")
        .map(scalars)
        .unwrap_or_default()
        .into_iter()
        .map(|(text, _)| text)
        .collect();
    let line = match &node.value {
        Value::Sequence(_) => quoted(scalars(node).into_iter().map(|(text, _)| text)),
        // A mapping is none, or quotes a command.
        Value::Mapping(inner) => get(inner, "value").and_then(text)?.to_owned(),
        Value::Scalar { text, .. } if args.is_empty() => text.clone(),
        Value::Scalar { text, .. } if text.contains(char::is_whitespace) => format!("{text} {}", quoted(args)),
        Value::Scalar { text, .. } => quoted([text.as_str()].into_iter().chain(args)),
    };
    Some(Said::Command(
        kind,
        placeholders(&line),
        document.spot(node.at),
        when.to_owned(),
    ))
}

/// Keeps what a document says.
pub(super) fn tell(scan: &mut Scan<'_>, path: &str, said: Vec<Said>) {
    for one in said {
        match one {
            Said::Command(kind, text, spot, when) => scan.script(kind, path, spot, &when, &text),
            Said::Note(kind, what, line, when, effects) => scan.note(kind, path, line, &when, &what, effects),
        }
    }
}
