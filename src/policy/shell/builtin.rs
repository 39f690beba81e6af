//! Builtins that change what the shell knows, or run a text.

use std::rc::Rc;

use super::{
    effect::Effect,
    output::printf,
    place,
    value::{DOWNLOADED, HOME, SECRET, UNKNOWN, is_open, shown},
    walk::{Io, Walk},
    wrapper::assignment,
};

/// Variables whose value some program runs as a command.
const COMMANDS: [&str; 18] = [
    "GIT_SSH_COMMAND",
    "GIT_EXTERNAL_DIFF",
    "GIT_PAGER",
    "GIT_EDITOR",
    "GIT_SEQUENCE_EDITOR",
    "GIT_ASKPASS",
    "PAGER",
    "MANPAGER",
    "EDITOR",
    "VISUAL",
    "BROWSER",
    "LESSOPEN",
    "PROMPT_COMMAND",
    "SSH_ASKPASS",
    "RSYNC_RSH",
    "CVS_RSH",
    "FCEDIT",
    "SUDO_ASKPASS",
];

impl Walk<'_> {
    /// Runs a builtin: `None` where `name` is none, else what it prints.
    #[allow(clippy::option_option, reason = "whether it was one, and what it prints")]
    pub(super) fn builtin(&mut self, name: &str, argv: &[String], io: &Io) -> Option<Option<String>> {
        let arguments = &argv[1..];
        match name {
            "cd" | "pushd" | "chdir" => {
                let dir = arguments.iter().find(|word| !word.starts_with('-') || *word == "-");
                match dir.map(String::as_str) {
                    None if name == "cd" => self.enter(&format!("/{HOME}")),
                    None | Some("-") => self.scene.cwd = None,
                    Some(dir) => self.enter(dir),
                }
            }
            "popd" => self.scene.cwd = None,
            "export" | "declare" | "typeset" | "local" | "readonly" => {
                if io.wanted && !arguments.iter().any(|word| word.contains('=')) {
                    return Some(Some(SECRET.to_string()));
                }
                for word in arguments {
                    if let Some((variable, value)) = assignment(word) {
                        self.assigned(variable, value.to_owned());
                    }
                }
            }
            "unset" => arguments.iter().for_each(|name| self.scene.unset(name)),
            "alias" => {
                for word in arguments {
                    if let Some((name, text)) = word.split_once('=') {
                        self.scene.alias(name, text);
                    }
                }
            }
            "unalias" => arguments.iter().for_each(|name| self.scene.unalias(name)),
            "eval" => {
                self.wraps();
                let words = match arguments.first().map(String::as_str) {
                    Some("--") => &arguments[1..],
                    _ => arguments,
                };
                let text = words.join(" ");
                return Some(self.nested(|walk| walk.made(&text, io)).flatten());
            }
            "source" | "." => {
                let Some((path, more)) = arguments.split_first() else {
                    return Some(None);
                };
                let (path, more) = (path.clone(), more.to_vec());
                if let Some(text) = self.sourced(&path, io) {
                    let before = self.scene.positional.clone();
                    if !more.is_empty() {
                        self.scene.positional = Some(Rc::from(more));
                    }
                    let file = self.workspace_file(&path);
                    let output = self.in_file(file, |walk| walk.nested(|walk| walk.made(&text, io)).flatten());
                    self.scene.positional = before;
                    return Some(output);
                }
            }
            "trap" => {
                let text = arguments
                    .iter()
                    .find(|word| !word.starts_with('-') || word.contains(' '));
                if let Some(text) = text.cloned()
                    && arguments.len() > 1
                {
                    self.nested(|walk| walk.apart(|walk| walk.made(&text, io)));
                }
            }
            "set" if arguments.is_empty() && io.wanted => return Some(Some(SECRET.to_string())),
            "set" => {
                if let Some(at) = arguments.iter().position(|word| word == "--") {
                    self.scene.positional = Some(Rc::from(&arguments[at + 1..]));
                } else if arguments.first().is_some_and(|word| !word.starts_with(['-', '+'])) {
                    self.scene.positional = Some(Rc::from(arguments));
                }
            }
            "shift" => {
                let count = arguments.first().and_then(|word| word.parse().ok()).unwrap_or(1);
                self.scene.positional = self
                    .scene
                    .positional
                    .take()
                    .map(|all| Rc::from(all.get(count..).unwrap_or_default()));
            }
            "printf" if arguments.first().is_some_and(|word| word == "-v") && arguments.len() > 2 => {
                let value = printf(&arguments[2..]);
                self.assigned(&arguments[1], value);
            }
            "read" | "mapfile" | "readarray" | "getopts" => self.read_into(name, arguments, io),
            "hash" => {
                // `hash -p /bin/rm x`: x is rm from now on.
                if let [flag, program, name] = arguments
                    && flag == "-p"
                {
                    self.scene.alias(name, program);
                }
            }
            "return" | "exit" | "wait" | "break" | "continue" | ":" | "true" | "false" | "test" | "[" | "ulimit"
            | "umask" | "shopt" | "jobs" | "bg" | "fg" | "let" | "times" | "disown" => {}
            _ => return None,
        }
        Some(io.wanted.then(String::new))
    }

    /// The text that `.` reads.
    fn sourced(&mut self, path: &str, io: &Io) -> Option<String> {
        if matches!(path, "/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0") {
            return io.input.as_ref().map(|input| input.to_string());
        }
        self.reads(path);
        self.script_of(path)
    }

    fn read_into(&mut self, name: &str, arguments: &[String], io: &Io) {
        let mut names = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-p" | "-d" | "-n" | "-N" | "-t" | "-u" | "-i" | "-O" | "-s" | "-c" | "-C" => {
                    // `mapfile -t` and `read -s` take none.
                    let alone = word == "-s" || (word == "-t" && name != "read");
                    if !alone {
                        words.next();
                    }
                }
                word if word.starts_with('-') => {}
                word => names.push(word.to_owned()),
            }
        }
        if names.is_empty() {
            names.push("REPLY".to_owned());
        }
        let from = io.input.clone().filter(|_| name != "getopts");
        let Some(text) = from else {
            for name in names {
                self.scene.set_all(&name, vec![UNKNOWN.to_string()]);
            }
            return;
        };
        let separators = match self.scene.is_set("IFS") {
            true => self.first_value("IFS").unwrap_or_default(),
            false => " \t".to_owned(),
        };
        let separates = |c: char| separators.contains(c);
        if name != "read" && names.len() == 1 {
            // An array of its lines.
            let lines: Vec<&str> = text.lines().collect();
            self.scene.set(&names[0], vec![lines.join(" ")]);
            return;
        }
        let count = names.len();
        for (index, name) in names.iter().enumerate() {
            let value = |line: &str| -> String {
                match index + 1 == count {
                    true => {
                        let mut rest = line.trim();
                        for _ in 0..index {
                            rest = rest.split_once(separates).map_or("", |(_, rest)| rest.trim_start());
                        }
                        rest.to_owned()
                    }
                    false => line
                        .split(separates)
                        .filter(|word| !word.is_empty())
                        .nth(index)
                        .unwrap_or_default()
                        .to_owned(),
                }
            };
            let values: Vec<String> = text.lines().map(value).take(64).collect();
            if !values.is_empty() {
                self.scene.set_all(name, values);
            }
        }
    }

    /// Changes the directory.
    pub(super) fn enter(&mut self, dir: &str) {
        self.scene.cwd = place::canonical(dir, self.scene.cwd.as_deref())
            .filter(|parts| !parts.first().is_none_or(|first| is_open(first)) || !is_open(dir))
            .map(|parts| place::joined(&parts));
    }

    /// A variable gets a value.
    pub(super) fn assigned(&mut self, name: &str, value: String) {
        match name {
            "PATH" => {
                let first = value.split(':').next().unwrap_or_default();
                let worldly = first == "." || first.starts_with("/tmp") || first.starts_with("/dev/shm");
                if worldly && first != value {
                    self.note(
                        Effect::RunsUnknownProgram,
                        format!("programs are first looked for in {}", shown(first)),
                    );
                }
            }
            "LD_PRELOAD" | "LD_AUDIT" | "DYLD_INSERT_LIBRARIES" | "PERL5OPT" | "RUBYOPT" if !value.is_empty() => {
                self.note(
                    Effect::RunsUnknownProgram,
                    format!("{name} loads code into every program"),
                );
            }
            "BASH_ENV" | "ENV" => {
                if let Some(text) = self.script_of(&value) {
                    self.nested(|walk| walk.apart(|walk| walk.made(&text, &Io::default())));
                }
            }
            "PS1" | "PS2" | "PS4" if value.contains(['$', '`']) => {
                let text = format!(": \"{}\"", value.replace('"', ""));
                self.nested(|walk| walk.apart(|walk| walk.made(&text, &Io::default())));
            }
            _ if COMMANDS.contains(&name) && !is_open(&value) => {
                let value = value.trim_start_matches('|').to_owned();
                self.nested(|walk| walk.apart(|walk| walk.made(&value, &Io::default())));
            }
            _ if COMMANDS.contains(&name) && value.contains(DOWNLOADED) => {
                self.note(Effect::DownloadsAndExecutes, format!("{name} is what it fetches"));
            }
            _ => {}
        }
        self.scene.set(name, vec![value]);
    }
}
