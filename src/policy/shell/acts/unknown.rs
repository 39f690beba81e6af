//! Programs that nothing here knows, with a command among their arguments: they may run it.

use crate::policy::shell::{
    effect::Effect,
    parse::parse,
    program::{HIDDEN, name_of},
    walk::{Io, Walk},
};

/// Programs that only say, search or compare what they are given, or for which it is the
/// name of a task or of a package.
const SAYS: [&str; 88] = [
    "pytest",
    "py.test",
    "nosetests",
    "nose2",
    "ctest",
    "jest",
    "vitest",
    "mocha",
    "ava",
    "cypress",
    "playwright",
    "phpunit",
    "rspec",
    "behave",
    "robot",
    "bats",
    "pylint",
    "echo",
    "printf",
    "logger",
    "wall",
    "say",
    "notify-send",
    "cowsay",
    "figlet",
    "banner",
    "jq",
    "yq",
    "shellcheck",
    "test",
    "expr",
    "apropos",
    "whatis",
    "info",
    "tldr",
    "cheat",
    "which",
    "whereis",
    "seq",
    "basename",
    "dirname",
    "tr",
    "rev",
    "cut",
    "fold",
    "fmt",
    "column",
    "pr",
    "xsel",
    "xclip",
    "pbcopy",
    "ack",
    "ag",
    "pgrep",
    "locate",
    "apt-cache",
    "dpkg",
    "rpm",
    "brew",
    "curl",
    "wget",
    "npm",
    "yarn",
    "pnpm",
    "bun",
    "just",
    "task",
    "rake",
    "gradle",
    "gradlew",
    "mvn",
    "mvnw",
    "cargo",
    "go",
    "pip",
    "pip3",
    "poetry",
    "uv",
    "composer",
    "gem",
    "conan",
    "dvc",
    "hg",
    "svn",
    "heroku",
    "aws",
    "gcloud",
    "terraform",
];

/// Marks before a command in languages of clients and debuggers: `\! COMMAND`.
const MARKS: [&str; 9] = [
    "\\!",
    ":!",
    "!",
    ".shell ",
    ".system ",
    "system ",
    "sys ",
    "platform shell ",
    "shell ",
];

impl Walk<'_> {
    /// Notes that a program may run what stands in its arguments, where that would do harm;
    /// `input` is looked through for marked commands.
    pub(super) fn may_run(&mut self, name: &str, argv: &[String], io: &Io) {
        if SAYS.contains(&name) {
            return;
        }
        let begins = |text: &str| HIDDEN.contains(&name_of(text.split_whitespace().next().unwrap_or_default()));
        for (index, word) in argv.iter().enumerate().skip(1) {
            let text = unmarked(word);
            let words = match text.contains(char::is_whitespace) {
                true if begins(text) => None,
                false if begins(text) && index + 1 < argv.len() => Some(argv[index..].to_vec()),
                _ => continue,
            };
            let text = text.to_owned();
            self.tried_out(words, &text);
        }
        let input = io.input.clone().unwrap_or_default();
        for line in input.lines().take(200) {
            let text = unmarked(line);
            if text.len() < line.len() && begins(text) {
                let text = text.to_owned();
                self.tried_out(None, &text);
            }
        }
    }

    /// Follows a command that may not be one, and keeps of it only whether it would do harm.
    fn tried_out(&mut self, words: Option<Vec<String>>, text: &str) {
        if words.is_none() && parse(text).is_err() {
            return;
        }
        let first = self.seen.len();
        self.nested(|walk| {
            walk.apart(|walk| match words {
                Some(words) => walk.again(words, &Io::default()),
                None => walk.source(text, &Io::default()),
            })
        });
        let grave = |effect: Effect| !effect.is_uncertain() && effect != Effect::TalksToContainerEngine;
        let found = self.seen[first..]
            .iter()
            .flat_map(|seen| &seen.effects)
            .find(|(effect, _)| grave(*effect))
            .map(|(effect, _)| *effect);
        self.seen.truncate(first);
        if let Some(effect) = found {
            self.note(
                Effect::RunsUnknownProgram,
                format!("it may run its argument, which {effect}"),
            );
        }
    }
}

pub(super) fn unmarked(text: &str) -> &str {
    let text = text.trim_start();
    let rest = MARKS.iter().find_map(|mark| text.strip_prefix(mark));
    rest.unwrap_or(text).trim_start()
}
