//! What programs do, by their names and arguments.
//!
//! | file | holds |
//! |---|---|
//! | `files` | removing, moving, writing, changing rights |
//! | `find` | `find` and `fd` |
//! | `edit` | `sed`, `tar`, `dd`, editors |
//! | `remote` | commands for other machines and for containers |
//! | `packages` | removing what is installed |
//! | `machine` | power, disks, accounts, the kernel, clocks |
//! | `network` | fetching, sending, shells for others |
//! | `git` | git's ways to lose work and to run programs |
//! | `engine` | containers, clusters, clouds |
//! | `code` | programs in other languages, as arguments |
//! | `recipes` | programs of awk, makefiles as text |
//! | `languages` | their options, and names of their functions |
//! | `literals` | their quoted texts |
//! | `unknown` | programs that nothing here knows |

mod code;
mod edit;
mod engine;
mod files;
mod find;
mod git;
mod languages;
mod literals;
mod machine;
mod network;
mod packages;
mod recipes;
mod remote;
mod unknown;

use super::{
    effect::Effect,
    value::SECRET,
    walk::{Io, Walk},
};

/// A command's arguments, options apart from operands.
pub(super) struct Arguments<'a> {
    /// Everything that begins with `-`, up to `--`.
    pub options: Vec<&'a str>,
    /// Everything else, except what an option takes.
    pub operands: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    /// Tells them apart; `takes` are the options that take the next word.
    pub fn of(argv: &'a [String], takes: &[&str]) -> Self {
        let mut done = Self {
            options: Vec::new(),
            operands: Vec::new(),
        };
        let mut words = argv[1..].iter();
        while let Some(word) = words.next() {
            if word == "--" {
                done.operands.extend(words.map(String::as_str));
                break;
            }
            if word.len() > 1 && word.starts_with('-') {
                done.options.push(word);
                if takes.contains(&word.as_str()) {
                    words.next();
                }
            } else {
                done.operands.push(word);
            }
        }
        done
    }

    /// Whether an option is there: by its letter in a bundle, or by its name or the beginning of it.
    pub fn has(&self, letter: char, name: &str) -> bool {
        self.options.iter().any(|option| match option.strip_prefix("--") {
            Some(long) => {
                let long = long.split('=').next().unwrap_or(long);
                !name.is_empty() && long.len() > 2 && name.starts_with(long)
            }
            None => option[1..].contains(letter),
        })
    }
}

/// The value of an option: `-o VALUE`, `-oVALUE`, `--name VALUE`, `--name=VALUE`.
pub(super) fn values<'a>(argv: &'a [String], names: &[&str]) -> Vec<&'a str> {
    let mut all = Vec::new();
    for (index, word) in argv.iter().enumerate() {
        for name in names {
            if word == name {
                all.extend(argv.get(index + 1).map(String::as_str));
            } else if let Some(rest) = word.strip_prefix(name) {
                match name.starts_with("--") {
                    true => all.extend(rest.strip_prefix('=')),
                    false => all.push(rest.trim_start_matches('=')),
                }
            }
        }
    }
    all
}

impl Walk<'_> {
    /// Notes what the program `name` does with these arguments.
    pub(super) fn effects(&mut self, name: &str, argv: &[String], io: &Io) {
        if matches!(name, "tee" | "sponge") {
            let text = io.input.clone().unwrap_or_default();
            let appends = argv.iter().any(|word| word == "-a" || word == "--append");
            for path in Arguments::of(argv, &[]).operands {
                let path = self.file_name(path);
                self.scene.wrote(&path, &text, appends);
            }
        }
        self.elsewhere(name, argv);
        self.packages(name, &argv[1..]);
        let is_sender = self.network_effects(name, argv, io);
        let input = io.input.as_deref().unwrap_or_default();
        if is_sender && input.contains(SECRET) {
            self.note(Effect::ReadsSecrets, "sends out what may hold secrets".to_owned());
        }
        if self.file_effects(name, argv, io)
            || self.machine_effects(name, argv, io)
            || self.engine_effects(name, argv)
            || self.git_effects(name, argv)
        {
            return;
        }
        if !(self.code_effects(name, argv, io) || is_sender) {
            self.may_run(name, argv, io);
        }
    }
}
