//! Whether what runs could measure anything.

use super::python::{Kind, tokens};
use crate::policy::shell::{Effect, Seen};

/// Programs that print, copy and arrange, and measure nothing.
const ARRANGES: [&str; 42] = [
    ".", ":", "[", "basename", "break", "builtin", "cat", "cd", "chmod", "command", "continue", "cp", "date",
    "dirname", "echo", "exit", "export", "false", "install", "ln", "local", "ls", "mkdir", "mktemp", "mv", "printf",
    "pwd", "readonly", "return", "rm", "rmdir", "set", "shift", "shopt", "sleep", "source", "tee", "test", "touch",
    "trap", "true", "unset",
];

/// Modules that a file may import and still do nothing.
const MODULES: [&str; 12] = [
    "__future__",
    "argparse",
    "datetime",
    "io",
    "json",
    "math",
    "os",
    "pathlib",
    "random",
    "sys",
    "time",
    "typing",
];

/// Names by which a file runs something, or reads what something left.
const CALLS: [&str; 19] = [
    "Popen",
    "__import__",
    "check_output",
    "eval",
    "exec",
    "execv",
    "execvp",
    "glob",
    "import_module",
    "input",
    "load",
    "loads",
    "popen",
    "read",
    "read_bytes",
    "read_text",
    "readlines",
    "stdin",
    "system",
];

/// The file that a command has Python run.
pub(super) fn python_script(argv: &[String]) -> Option<String> {
    let [program, rest @ ..] = argv else { return None };
    if !is_python(program) {
        return None;
    }
    let named = rest.iter().find(|word| !word.starts_with('-'))?;
    // What follows `-c` and `-m` is no file.
    let before = rest
        .iter()
        .position(|word| word == named)
        .and_then(|at| rest.get(at.checked_sub(1)?));
    let option = before.is_some_and(|word| matches!(word.as_str(), "-c" | "-m" | "-W" | "-X"));
    (!option && named.ends_with(".py")).then(|| named.clone())
}

/// Whether a command executes something that can measure; `script` is the Python file that it runs.
pub(super) fn executes(seen: &Seen, script: Option<&str>) -> bool {
    let unread = [
        Effect::CannotBeParsed,
        Effect::CannotBeFollowed,
        Effect::RunsUnknownProgram,
    ];
    if seen.effects.iter().any(|(effect, _)| unread.contains(effect)) {
        return true;
    }
    let Some(program) = seen.argv.first() else { return false };
    if seen.wraps || ARRANGES.contains(&name_of(program)) {
        return false;
    }
    if !is_python(program) {
        // A shell is what it runs, and that was seen where its text could be had.
        let shell = ["sh", "bash", "dash", "zsh"].contains(&name_of(program));
        return !(shell && seen.argv.len() > 1);
    }
    match (script, seen.argv.iter().position(|word| word == "-c")) {
        (Some(text), _) => python_executes(text),
        (None, Some(at)) => seen.argv.get(at + 1).is_none_or(|code| python_executes(code)),
        (None, None) => true,
    }
}

fn name_of(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn is_python(program: &str) -> bool {
    let name = name_of(program);
    let version = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    version.is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Whether a Python file imports anything but what arranges, calls what runs or reads, or goes
/// over an open file.
fn python_executes(text: &str) -> bool {
    let tokens = tokens(text);
    let mut line_start = true;
    for (at, token) in tokens.iter().enumerate() {
        let begins = std::mem::replace(&mut line_start, token.kind == Kind::End || token.text == ";");
        if token.kind != Kind::Name {
            continue;
        }
        let imports = begins && ["import", "from"].contains(&token.text);
        if imports {
            let line = tokens[at + 1..].iter().take_while(|token| token.kind != Kind::End);
            let mut modules = line.filter(|token| token.kind == Kind::Name);
            let foreign = match token.text {
                "from" => modules.next().is_some_and(|module| !MODULES.contains(&module.text)),
                _ => modules.any(|module| !MODULES.contains(&module.text) && module.text != "as"),
            };
            if foreign {
                return true;
            }
        }
        let goes_over = token.text == "in" && tokens.get(at + 1).is_some_and(|next| next.text == "open");
        if CALLS.contains(&token.text) || goes_over {
            return true;
        }
    }
    false
}
