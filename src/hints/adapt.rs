//! A documented command made to fit a sandbox: words are exchanged, and nothing else of it.
//!
//! Quotes, redirections, pipes and arguments stay as they are written, because each change is
//! of one word that the shell's parse tree has at that place. A plain command whose programs are
//! all there comes out as it went in.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Hint, HintKind, kind, placeholder,
    surroundings::{Surroundings, is_module},
};
use crate::policy::shell::{Written, listed, quoted};

/// Why a hint is not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "skip", content = "what")]
pub enum Skip {
    /// It is no command that can be parsed.
    NotParsed,
    /// A word is to be filled in, and nothing says by what.
    Unresolved(String),
    /// A program that is not inside.
    NoProgram(String),
    /// A Python module that is not inside.
    NoModule(String),
    /// It installs, or builds: nothing is measured by it.
    MeasuresNothing,
    /// It needs an engine for containers, and there is none inside.
    NeedsContainers,
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Skip::NotParsed => f.write_str("not_parsed"),
            Skip::Unresolved(word) => write!(f, "unresolved: {word}"),
            Skip::NoProgram(name) => write!(f, "no_program: {name}"),
            Skip::NoModule(name) => write!(f, "no_module: {name}"),
            Skip::MeasuresNothing => f.write_str("measures_nothing"),
            Skip::NeedsContainers => f.write_str("needs_containers"),
        }
    }
}

/// A hint as it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapted {
    /// For `sh -c`, in the root.
    pub command: String,
    /// What was changed, one line each.
    pub changes: Vec<String>,
}

/// Fits a hint to its surroundings.
///
/// # Errors
/// Why it cannot be run there.
pub fn adapt(hint: &Hint, around: &Surroundings) -> Result<Adapted, Skip> {
    match hint.kind {
        HintKind::Container => return Err(Skip::NeedsContainers),
        HintKind::Install | HintKind::Build => return Err(Skip::MeasuresNothing),
        _ => {}
    }
    let hidden = placeholder::hide(&hint.command);
    let items = listed(&hidden.text).map_err(|_| Skip::NotParsed)?;
    if items.is_empty() {
        return Err(Skip::NotParsed);
    }
    let mut edits = Edits {
        text: &hidden.text,
        all: Vec::new(),
        changes: Vec::new(),
    };
    for command in items.iter().flat_map(|item| &item.commands) {
        values(command, around, &mut edits);
        program(command, around, &mut edits)?;
    }
    let (text, mut changes) = edits.done();
    let version = around.python_version.as_deref();
    let mut unresolved = None;
    let command = hidden.with(&text, |word| {
        let known = version.filter(|_| placeholder::is_expression(word) && word.contains("python-version"));
        match known {
            Some(version) => {
                changes.push(format!("{word} is {version}"));
                version.to_owned()
            }
            None => {
                unresolved.get_or_insert_with(|| word.to_owned());
                String::new()
            }
        }
    });
    if let Some(word) = unresolved {
        return Err(Skip::Unresolved(word));
    }
    let blank = |command: &Written| {
        kind::words(command)
            .into_iter()
            .find(|word| placeholder::is_blank(word))
            .map(str::to_owned)
    };
    // What was filled in is a blank no more: so the command as it came out is looked through.
    let items = listed(&command).map_err(|_| Skip::NotParsed)?;
    match items.iter().flat_map(|item| &item.commands).find_map(blank) {
        Some(word) => Err(Skip::Unresolved(word)),
        None => Ok(Adapted { command, changes }),
    }
}

/// Words that are exchanged.
struct Edits<'t> {
    text: &'t str,
    all: Vec<(Range<usize>, String)>,
    changes: Vec<String>,
}

impl Edits<'_> {
    fn put(&mut self, span: Range<usize>, word: String) {
        let before = &self.text[span.clone()];
        if before != word {
            self.changes.push(format!("{} is {word}", before.trim()));
            self.all.push((span, word));
        }
    }

    fn done(mut self) -> (String, Vec<String>) {
        self.all.sort_by_key(|(span, _)| span.start);
        let mut whole = String::with_capacity(self.text.len());
        let mut at = 0;
        for (span, word) in &self.all {
            // Each word is exchanged once; a second time is left out.
            if span.start >= at {
                whole.push_str(&self.text[at..span.start]);
                whole.push_str(word);
                at = span.end;
            }
        }
        whole.push_str(&self.text[at..]);
        (whole, self.changes)
    }
}

/// `--model` and `--base-url` get what is measured.
fn values(command: &Written, around: &Surroundings, edits: &mut Edits<'_>) {
    for (index, word) in command.words.iter().enumerate() {
        let Some(text) = word.text.as_deref() else { continue };
        let (option, joined) = match text.split_once('=') {
            Some((option, _)) => (option, true),
            None => (text, false),
        };
        let value = match option {
            "--model" => around.model.as_deref(),
            "--base-url" | "--base_url" => around.base_url.as_deref(),
            _ => None,
        };
        let Some(value) = value else { continue };
        let given = quoted([value]);
        if joined {
            edits.put(word.span.clone(), format!("{option}={given}"));
        } else if let Some(next) = command.words.get(index + 1) {
            edits.put(next.span.clone(), given);
        }
    }
}

/// The program is one that is there.
fn program(command: &Written, around: &Surroundings, edits: &mut Edits<'_>) -> Result<(), Skip> {
    let words = kind::words(command);
    let mut at = kind::surrounded(&words);
    if at > 0 {
        let outer = kind::name(words[0]);
        let tool = matches!(outer, "uv" | "poetry" | "pipenv" | "pdm" | "rye");
        if tool && !around.programs.contains(outer) {
            // Such a tool only finds an environment, and here there is one.
            let span = command.words[0].span.start..command.words[at].span.start;
            edits.put(span, String::new());
        } else {
            at = 0;
        }
    }
    let core = &words[at..];
    let (Some(first), Some(word)) = (core.first(), command.words.get(at)) else {
        return Ok(());
    };
    let name = kind::name(first);
    let there = around.programs.contains(*first);
    let python = around.python.as_deref();
    if kind::is_python(first) {
        if !there {
            let python = python.ok_or_else(|| Skip::NoProgram((*first).to_owned()))?;
            // A path of another machine's, or a version that is not here.
            if !first.contains('/') || first.starts_with('/') {
                edits.put(word.span.clone(), python.to_owned());
            }
        }
        if let Some(module) = core
            .iter()
            .position(|word| *word == "-m")
            .and_then(|at| core.get(at + 1))
        {
            let top = module.split('.').next().unwrap_or_default();
            if is_module(top) && !around.modules.contains(top) {
                return Err(Skip::NoModule(top.to_owned()));
            }
            if *module == "pytest" {
                sequential(command, around, edits);
            }
        }
        return Ok(());
    }
    if first.contains('/') || *first == "\0" || is_builtin(first) {
        return Ok(());
    }
    let tests = matches!(name, "pytest" | "py.test");
    if tests {
        sequential(command, around, edits);
    }
    if there {
        return Ok(());
    }
    match python {
        Some(python) if tests && around.modules.contains("pytest") => {
            edits.put(word.span.clone(), format!("{python} -m pytest"));
        }
        Some(python) if is_dotted(first) && around.modules.contains(first.split('.').next().unwrap_or_default()) => {
            edits.put(word.span.clone(), format!("{python} -m {first}"));
        }
        _ => return Err(Skip::NoProgram((*first).to_owned())),
    }
    Ok(())
}

/// Tests side by side need a plugin: where it is missing they run one after the other.
fn sequential(command: &Written, around: &Surroundings, edits: &mut Edits<'_>) {
    if around.modules.contains("xdist") {
        return;
    }
    let mut words = command.words.iter().enumerate();
    while let Some((index, word)) = words.next() {
        let Some(text) = word.text.as_deref() else { continue };
        let begin = command.words[index.saturating_sub(1)].span.end;
        let joined = text.starts_with("--dist=")
            || text.starts_with("--numprocesses=")
            || (text.len() > 2
                && text.starts_with("-n")
                && text[2..].chars().all(|c| c.is_ascii_digit() || "auto=".contains(c)));
        if joined {
            edits.put(begin..word.span.end, String::new());
        } else if matches!(text, "-n" | "--dist" | "--numprocesses")
            && let Some((_, value)) = words.next()
        {
            edits.put(begin..value.span.end, String::new());
        }
    }
}

/// `package.module`, and no file.
fn is_dotted(word: &str) -> bool {
    let mut parts = word.split('.');
    let endings = ["py", "sh", "js", "ts", "rb", "pl", "exe", "bat", "cmd", "txt", "md"];
    word.contains('.') && parts.clone().next_back().is_some_and(|last| !endings.contains(&last)) && parts.all(is_module)
}

/// What a shell has by itself.
fn is_builtin(word: &str) -> bool {
    const BUILTINS: [&str; 23] = [
        ".", ":", "[", "cd", "command", "eval", "exec", "exit", "export", "false", "printf", "pwd", "read", "set",
        "shift", "test", "time", "times", "true", "umask", "unset", "wait", "echo",
    ];
    BUILTINS.contains(&word)
}
