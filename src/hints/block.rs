//! A block of text to the commands in it.

use std::sync::OnceLock;

use regex::Regex;

use super::{Ground, HintKind, kind, placeholder};
use crate::policy::shell::{Listed, listed, quoted};

/// Longest block, bytes.
const BLOCK_MAX: usize = 64 << 10;
/// Most commands of one block.
const COMMANDS_MAX: usize = 100;
/// Most variables that a block sets for what comes after.
const VARIABLES_MAX: usize = 10;

/// What a block is written in, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// A shell's.
    Shell,
    /// Nothing is said.
    Unknown,
    /// Another one: only lines behind a shell's prompt are commands.
    Other,
}

/// A block.
pub(super) struct Block<'t> {
    pub text: &'t str,
    /// The line of the file that it begins on.
    pub line: usize,
    pub language: Language,
    /// The directory that it runs in; empty for the root.
    pub dir: &'t str,
    /// Variables that are set for it.
    pub env: &'t [(String, String)],
}

/// A command of a block.
pub(super) struct Found {
    pub text: String,
    pub line: usize,
    pub kind: HintKind,
}

/// The commands of a block that are for something.
pub(super) fn commands(block: &Block<'_>, ground: &Ground) -> Vec<Found> {
    if block.text.len() > BLOCK_MAX {
        return Vec::new();
    }
    let Some(text) = without_prompts(block.text, block.language) else {
        return Vec::new();
    };
    let mut place = Place {
        dir: block.dir.to_owned(),
        set: Vec::new(),
        ground,
    };
    for (name, value) in block.env {
        place.set.push(format!("export {name}={}", quoted([value.as_str()])));
    }
    let mut found = Vec::new();
    let trusted = block.language == Language::Shell || text.prompted;
    for (line, piece) in pieces(&text.text) {
        // Words that a reader is to fill in would be redirections and pipes to a shell.
        let hidden = placeholder::hide(piece);
        let Ok(items) = listed(&hidden.text) else { continue };
        for item in &items {
            if found.len() == COMMANDS_MAX {
                return found;
            }
            if place.moves(item, &hidden.text) {
                continue;
            }
            let Some(kind) = kind::of(item, trusted, ground, &place.dir) else {
                continue;
            };
            let before = hidden.text[..item.span.start].bytes();
            let line = block.line + line + before.filter(|byte| *byte == b'\n').count();
            let command = hidden.shown(&hidden.text[item.span.clone()]);
            found.push(Found {
                text: place.with(&command),
                line,
                kind,
            });
        }
    }
    found
}

/// Whole where it is a script, else line by line; each with the number of lines before it.
fn pieces(text: &str) -> Vec<(usize, &str)> {
    if listed(&placeholder::hide(text).text).is_ok() {
        return vec![(0, text)];
    }
    let mut all = Vec::new();
    let (mut begin, mut line, mut first) = (0, 0, 0);
    let mut at = 0;
    for whole in text.split_inclusive('\n') {
        at += whole.len();
        line += 1;
        let bare = whole.trim_end_matches(['\n', '\r']);
        // An odd number of backslashes takes the newline away.
        let slashes = bare.len() - bare.trim_end_matches('\\').len();
        if slashes % 2 == 0 {
            all.push((first, &text[begin..at]));
            (begin, first) = (at, line);
        }
    }
    all.push((first, &text[begin..]));
    all
}

/// A block without the prompts of a console.
struct Bare {
    text: String,
    /// There were prompts.
    prompted: bool,
}

/// `None` where nothing in it is a command.
fn without_prompts(text: &str, language: Language) -> Option<Bare> {
    static PROMPT: OnceLock<Regex> = OnceLock::new();
    // A constant pattern of nothing unusual always compiles.
    let prompt = PROMPT.get_or_init(|| {
        Regex::new(r"^\s{0,8}(?:\([\w.-]{1,40}\)\s?)?(?:[\w.@:~/-]{1,60}\s?)?[$%](?:\s+|$)")
            .expect("a constant pattern")
    });
    let dollar = text.lines().any(|line| prompt.is_match(line));
    let angles = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| ["> ", ">>> "].iter().any(|mark| line.trim_start().starts_with(mark)));
    if !(dollar || angles) {
        let whole = Bare {
            text: text.to_owned(),
            prompted: false,
        };
        return (language != Language::Other).then_some(whole);
    }
    let mut bare = String::with_capacity(text.len());
    let mut goes_on = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let marked = [">>> ", "... ", "> "]
            .iter()
            .find_map(|mark| trimmed.strip_prefix(mark));
        let command = match prompt.find(line).filter(|_| dollar) {
            Some(found) => Some(&line[found.end()..]),
            None if goes_on => Some(marked.unwrap_or(line)),
            None if !dollar => marked,
            // What a program printed.
            None => None,
        };
        bare.push_str(command.unwrap_or_default());
        bare.push('\n');
        goes_on = command.is_some_and(|command| command.trim_end().ends_with('\\'));
    }
    Some(Bare {
        text: bare,
        prompted: true,
    })
}

/// Where the next command of a block runs.
struct Place<'g> {
    dir: String,
    /// Settings of variables before it.
    set: Vec<String>,
    ground: &'g Ground,
}

impl Place<'_> {
    /// Whether a command only changes where those after it run.
    fn moves(&mut self, item: &Listed, text: &str) -> bool {
        let [command] = item.commands.as_slice() else {
            return false;
        };
        if !item.plain {
            return false;
        }
        let words: Vec<&str> = command
            .words
            .iter()
            .map(|word| word.text.as_deref().unwrap_or("\0"))
            .collect();
        match words.as_slice() {
            ["cd" | "pushd", to] => self.go(to),
            ["popd"] => self.dir.clear(),
            ["export", ..] => self.sets(&text[item.span.clone()], false),
            [] if !command.assigns.is_empty() => self.sets(&text[item.span.clone()], true),
            ["source" | "." | "set" | "deactivate", ..] => {}
            _ => return false,
        }
        true
    }

    fn go(&mut self, to: &str) {
        let mut names: Vec<&str> = match to.starts_with(['/', '~', '$', '\0']) {
            true => Vec::new(),
            false => self.dir.split('/').filter(|name| !name.is_empty()).collect(),
        };
        for name in to.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop();
                }
                name => names.push(name),
            }
        }
        let dir = names.join("/");
        // What is not here is where the reader cloned it to: the root.
        self.dir = match self.ground.dirs.contains(&dir) {
            true => dir,
            false => String::new(),
        };
    }

    fn sets(&mut self, text: &str, alone: bool) {
        if self.set.len() < VARIABLES_MAX && text.len() < 500 && !text.contains('\n') {
            let export = if alone { "export " } else { "" };
            self.set.push(format!("{export}{text}"));
        }
    }

    /// A command with what has to come before it.
    fn with(&self, command: &str) -> String {
        let mut whole = String::new();
        // Only what the command names is set for it.
        for set in self.set.iter().filter(|set| uses(command, set)) {
            whole.push_str(set);
            whole.push_str(" && ");
        }
        if !self.dir.is_empty() {
            whole.push_str(&format!("cd {} && ", quoted([self.dir.as_str()])));
        }
        whole.push_str(command);
        whole
    }
}

/// Whether a setting is for a command: that names the variable, or the variable is one of a
/// program's own, which begins without a dollar.
fn uses(command: &str, set: &str) -> bool {
    let Some((name, value)) = set.trim_start_matches("export ").split_once('=') else {
        return false;
    };
    let named = command.contains(&format!("${name}")) || command.contains(&format!("${{{name}}}"));
    // A value with a placeholder in it says nothing.
    named || !(value.contains(['<', '$', '`']) || value.to_ascii_lowercase().contains("your"))
}
