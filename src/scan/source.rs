//! Programs: what a build runs of them, and tests that write what is to be measured.

use std::sync::OnceLock;

use regex::Regex;

use super::{
    finding::Kind,
    lines::{Statement, Syntax, statements},
    look::{Named, Scan},
};
use crate::document::Spot;
use crate::policy::shell::Effect;

/// Names under which rewards and metrics are left.
const MEASURES: [&str; 11] = [
    "reward.txt",
    "reward.json",
    "rewards.txt",
    "rewards.json",
    "rewards.jsonl",
    "rewards.csv",
    "metrics.json",
    "score.txt",
    "score.json",
    "rollout.json",
    "hints_used.json",
];

pub(super) fn file(scan: &mut Scan<'_>, file: &Named<'_>) {
    let python = file.ends(&[".py"]);
    let slashes = file.ends(&[
        ".js", ".ts", ".mjs", ".cjs", ".jsx", ".tsx", ".go", ".rs", ".java", ".kt", ".swift",
    ]);
    let hash = python || file.ends(&[".rb", ".pl", ".sh", ".bash", ".R", ".jl", ".lua"]);
    if !(slashes || hash) {
        return;
    }
    let starts = matches!(
        file.name,
        "setup.py" | "conftest.py" | "build.rs" | "noxfile.py" | "sitecustomize.py" | "usercustomize.py"
    );
    let test = is_test(file);
    if !starts && !test && file.path.starts_with(".aider_fsm/") {
        return;
    }
    let Some(content) = read(scan, file, starts || test) else {
        return;
    };
    if !starts && !test && !content.contains(".aider_fsm") {
        return;
    }
    let syntax = if slashes { Syntax::Slashes } else { Syntax::Hash };
    // Reading the program is worth its time only where a name is there at all.
    if !file.path.starts_with(".aider_fsm/") && may_name_evidence(scan, &content) {
        writes_evidence(scan, file, &statements(&content, syntax));
    }
    let (kind, when) = match file.name {
        "setup.py" => (
            Kind::BuildHook,
            "pip and setuptools, at a build or an installation from source",
        ),
        "conftest.py" => (Kind::BuildHook, "pytest, before it looks for tests"),
        "build.rs" => (Kind::BuildHook, "cargo, before it builds"),
        "noxfile.py" => (Kind::BuildCommand, "nox"),
        "sitecustomize.py" | "usercustomize.py" => (
            Kind::InterpreterStart,
            "every Python that has the directory in its path",
        ),
        _ => return,
    };
    let effects = match kind {
        Kind::InterpreterStart => vec![(Effect::RunsUnknownProgram, "a program of its own".to_owned())],
        _ => Vec::new(),
    };
    scan.note(kind, file.path, 1, when, &format!("{} is run", file.name), effects);
    match file.name {
        "build.rs" => rust(scan, file.path, when, &statements(&content, syntax)),
        _ => statements_of(scan, kind, file.path, when, &content),
    }
}

/// A file's text: one that is too long is told of only where it would have been run.
fn read(scan: &mut Scan<'_>, file: &Named<'_>, matters: bool) -> Option<String> {
    if matters {
        return scan.text(file.path);
    }
    let path = crate::names::RelPath::new(file.path).ok()?;
    match scan.copy.text(&path) {
        super::copy::Text::Known(text) => Some(text),
        super::copy::Text::Not(_) => None,
    }
}

fn is_test(file: &Named<'_>) -> bool {
    let stem = file.name.split('.').next().unwrap_or(file.name);
    let named = stem.starts_with("test_") || stem.ends_with("_test") || stem.ends_with("_spec") || stem == "conftest";
    named
        || file.name.contains(".test.")
        || file.name.contains(".spec.")
        || ["test", "tests", "testing", "__tests__", "spec", "specs", "e2e"]
            .iter()
            .any(|dir| file.is_in(dir))
}

fn pattern(cell: &'static OnceLock<Regex>, text: &'static str) -> &'static Regex {
    // Constant patterns, each used by a test.
    cell.get_or_init(|| Regex::new(text).expect("a constant pattern"))
}

/// Calls by which a program writes, moves or removes files.
fn writes(code: &str) -> bool {
    static WRITES: OnceLock<Regex> = OnceLock::new();
    pattern(
        &WRITES,
        r#"(?xs) open\s*\(.*['"][rb]*[wax][bt+]*['"] | write_text | write_bytes | \.write\s*\( | writelines | \bdump\s*\(
        | shutil\.(copy|move) | os\.(rename|replace|link|symlink|remove|unlink|open) | \.(unlink|touch|rename|symlink_to|hardlink_to)\s*\(
        | to_json | to_csv | savetxt | (write|append|copy|rm|unlink|rename)File | (write|append|copy|rm|unlink|rename)\w*Sync
        | createWriteStream | File\.(write|open|rename|delete) | IO\.write | os\.(WriteFile|Create|Rename|Remove)
        | fs::(write|rename|copy|remove_file) | File::create | Files\.write"#,
    )
    .is_match(code)
}

/// The same of a shell's line.
fn shell_writes(code: &str) -> bool {
    static WRITES: OnceLock<Regex> = OnceLock::new();
    pattern(&WRITES, r"(^|\s)(tee|cp|mv|rm|ln|install|truncate|sed\s+-i)\s|>").is_match(code)
}

fn may_name_evidence(scan: &Scan<'_>, content: &str) -> bool {
    let names = MEASURES
        .iter()
        .copied()
        .chain([".aider_fsm", "pipeline.yml", "PLAN.md"]);
    let mut names = names.chain(scan.measured.iter().map(String::as_str));
    names.any(|name| content.contains(name))
}

/// Quoted names of rewards, metrics and the contract, in a program that writes.
fn writes_evidence(scan: &mut Scan<'_>, file: &Named<'_>, all: &[Statement]) {
    let shell = file.ends(&[".sh", ".bash"]);
    let all: Vec<&Statement> = all.iter().filter(|one| !one.is_words()).collect();
    let is_write = |one: &Statement| match shell {
        true => shell_writes(&one.code),
        false => writes(&one.code),
    };
    let written: Vec<&str> = all
        .iter()
        .filter(|one| is_write(one))
        .map(|one| one.code.as_str())
        .collect();
    if written.is_empty() {
        return;
    }
    let contract = |text: &str| {
        text.contains(".aider_fsm")
            || matches!(text.trim_start_matches("./"), "pipeline.yml" | "PLAN.md")
            || scan.measured.iter().any(|path| text.ends_with(path.as_str()))
    };
    let measure = |text: &str| MEASURES.contains(&text.rsplit('/').next().unwrap_or(text));
    let names = |text: &str| text.len() < 300 && (contract(text) || measure(text));
    // A name in the statement that writes, or in one whose variable it takes; in a file that
    // writes at all, what belongs to the contract and nothing else may be meant.
    let (mut sure, mut maybe) = (Vec::new(), Vec::new());
    for one in all {
        let quoted = one.texts.iter().find(|(_, text)| names(text));
        let bare = || {
            let mut words = one.code.split([' ', '>', '<', ';', '"', '\'', '(', ')']);
            words
                .find(|word| shell && names(word))
                .map(|word| (one.line, word.to_owned()))
        };
        let Some((line, name)) = quoted.cloned().or_else(bare) else {
            continue;
        };
        let found = (line, name, one.code.trim().to_owned());
        let variable = one.code.split_once('=').map(|(name, _)| name.trim());
        let variable =
            variable.filter(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.".contains(c)));
        if is_write(one) || variable.is_some_and(|name| written.iter().any(|code| has_word(code, name))) {
            sure.push(found);
        } else if contract(&found.1) {
            maybe.push(found);
        }
    }
    if sure.is_empty() {
        maybe.truncate(1);
        sure = maybe;
    }
    for (line, name, code) in sure {
        let what = format!("writes {name}: {code}");
        let effects = vec![(Effect::TampersWithEvidence, format!("writes {name}"))];
        scan.note(Kind::TestWritesEvidence, file.path, line, "a test run", &what, effects);
    }
}

/// Whether a name stands in a program as a word.
fn has_word(code: &str, name: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(name)
        .any(|(at, _)| !part(code[..at].chars().next_back()) && !part(code[at + name.len()..].chars().next()))
}

/// Statements of a Python program that start programs, run text, or talk to others.
pub(super) fn statements_of(scan: &mut Scan<'_>, kind: Kind, path: &str, when: &str, content: &str) {
    static CALLS: OnceLock<Regex> = OnceLock::new();
    let calls = pattern(
        &CALLS,
        r"(?x) \bos\s*\.\s*(system|popen|exec\w*|spawn\w*|posix_spawn\w*|remove|unlink|removedirs|rmdir|kill|setuid|chmod|chown)\b
        | \b(subprocess|commands|pty|ctypes|socket)\s*\.\s*\w+ | \b(Popen|check_call|check_output|getoutput)\s*\(
        | shutil\s*\.\s*(rmtree|move) | \b(eval|exec|__import__|compile|execfile)\s*\( | urlopen|urlretrieve|requests\s*\.\s*(get|post|put)
        | b64decode|fromhex|marshal\.loads|codecs\.decode | session\.run\s*\(",
    );
    for statement in statements(content, Syntax::Hash)
        .iter()
        .filter(|one| !one.is_words() && calls.is_match(&one.code))
    {
        let code = statement.code.trim();
        let spot = Spot::line(statement.line);
        scan.code(kind, path, spot, when, ("python", code));
    }
}

/// `Command::new(…)` in a build script.
fn rust(scan: &mut Scan<'_>, path: &str, when: &str, all: &[Statement]) {
    for one in all.iter().filter(|one| one.code.contains("Command::new")) {
        for (line, program) in &one.texts {
            scan.script(
                Kind::BuildHook,
                path,
                Spot::line(*line),
                when,
                &crate::policy::shell::quoted([program.as_str()]),
            );
        }
    }
}
