//! A simple command: which program it is, and what that runs in turn.

use std::rc::Rc;

use super::{
    effect::Effect,
    pattern,
    value::{DECODED, DOWNLOADED, OUTPUT, UNKNOWN, is_open},
    walk::{Io, Walk},
    wrapper::{self, Wrapped},
};

/// Shells.
pub const SHELLS: [&str; 17] = [
    "sh", "bash", "dash", "ash", "ksh", "ksh93", "mksh", "zsh", "fish", "rbash", "csh", "tcsh", "hush", "oksh", "yash",
    "posh", "elvish",
];
/// What a pattern in the place of a program is tried with, gravest first.
pub const HIDDEN: [&str; 40] = [
    "rm",
    "dd",
    "mkfs",
    "mkfs.ext4",
    "shred",
    "sudo",
    "su",
    "doas",
    "pkexec",
    "shutdown",
    "reboot",
    "poweroff",
    "halt",
    "init",
    "wipefs",
    "bash",
    "sh",
    "dash",
    "zsh",
    "nc",
    "ncat",
    "socat",
    "curl",
    "wget",
    "chmod",
    "chown",
    "mv",
    "cp",
    "tee",
    "cat",
    "find",
    "python3",
    "python",
    "perl",
    "docker",
    "kill",
    "pkill",
    "busybox",
    "unlink",
    "truncate",
];

/// The last part of a program's name.
pub fn name_of(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

impl Walk<'_> {
    /// Runs a command; gives what it prints, where that is wanted and known.
    pub(super) fn run(&mut self, argv: Vec<String>, io: &Io) -> Option<String> {
        let program = argv.first()?;
        if !self.effort.take(&argv) {
            return None;
        }
        self.begin(&argv);
        let name = name_of(program);
        if is_open(name) {
            return self.run_unknown(&argv, io);
        }
        if let Some(function) = self.scene.function(program) {
            let arguments: Rc<[String]> = Rc::from(&argv[1..]);
            self.wraps();
            return self.call(program, function, Some(arguments), io);
        }
        if let Some(alias) = self.scene.aliased(program) {
            let program = program.clone();
            return self.run_alias(&program, &alias, &argv, io);
        }
        if program.contains('/') && self.run_file(program, &argv[1..], io) {
            return None;
        }
        if name.contains(['*', '?', '[']) && name != "[" && name != "[[" {
            let hidden = HIDDEN.into_iter().find(|hidden| pattern::matches(name, hidden));
            return match hidden {
                Some(hidden) => {
                    let mut argv = argv.clone();
                    argv[0] = hidden.to_owned();
                    self.again(argv, io)
                }
                None => {
                    self.note(Effect::RunsUnknownProgram, format!("`{name}` may be any program"));
                    None
                }
            };
        }
        if let Some(output) = self.builtin(name, &argv, io) {
            return output;
        }
        if SHELLS.contains(&name) {
            return self.shell(&argv, io);
        }
        if let Some(wrapped) = wrapper::unwrap(name, &argv[1..]) {
            return self.run_wrapped(name, &argv, wrapped, io);
        }
        self.effects(name, &argv, io);
        match io.wanted {
            true => Some(self.output(name, &argv, io)),
            false => None,
        }
    }

    /// The command that another one runs.
    pub(super) fn again(&mut self, argv: Vec<String>, io: &Io) -> Option<String> {
        if argv.is_empty() || !self.effort.step() {
            return None;
        }
        self.nested(|walk| walk.run(argv, io)).flatten()
    }

    /// A program whose name is not in the text.
    fn run_unknown(&mut self, argv: &[String], io: &Io) -> Option<String> {
        let name = name_of(&argv[0]);
        // Most likely the unknown part is empty: `r${x}m`.
        let rest: String = name.chars().filter(|c| *c != UNKNOWN).collect();
        if HIDDEN.contains(&rest.as_str()) || SHELLS.contains(&rest.as_str()) {
            let mut argv = argv.to_vec();
            argv[0] = rest;
            self.wraps();
            return self.again(argv, io);
        }
        let (effect, what) = if name.contains(DOWNLOADED) {
            (Effect::DownloadsAndExecutes, "what it fetches")
        } else if name.contains(DECODED) {
            (Effect::RunsDecodedText, "a text that is decoded first")
        } else {
            (Effect::RunsUnknownProgram, "which program runs is not in the text")
        };
        self.note(effect, what.to_owned());
        // An unset variable vanishes, and what comes next is the program: `$SUDO rm …`.
        let vanishes = argv[0].chars().all(|c| c == UNKNOWN || c == OUTPUT);
        if vanishes && argv.len() > 1 && !argv[1].starts_with('-') {
            self.again(argv[1..].to_vec(), io);
        }
        io.wanted.then(|| OUTPUT.to_string())
    }

    fn run_alias(&mut self, name: &str, alias: &str, argv: &[String], io: &Io) -> Option<String> {
        let more: Vec<String> = argv[1..].iter().map(|word| quoted(word)).collect();
        let text = format!("{alias} {}", more.join(" "));
        self.wraps();
        // Within its own text an alias is no alias.
        let aliases = self.scene.without_alias(name);
        let output = self.made(&text, io);
        self.scene.restore_aliases(aliases);
        output
    }

    /// A program by its path: a file that the script wrote, or a script of the workspace.
    /// `false` where nothing is known of it.
    fn run_file(&mut self, path: &str, arguments: &[String], io: &Io) -> bool {
        let Some(text) = self.script_of(path) else { return false };
        if text.contains(DOWNLOADED) {
            self.note(Effect::DownloadsAndExecutes, "a file that it fetched".to_owned());
            return true;
        }
        if text.contains(DECODED) {
            self.note(Effect::RunsDecodedText, "a file that it decoded".to_owned());
            return true;
        }
        let first = text.lines().next().unwrap_or_default();
        let is_shell = match first.strip_prefix("#!") {
            Some(line) => SHELLS
                .iter()
                .any(|shell| line.trim_end().ends_with(shell) || line.contains(&format!("/{shell} "))),
            None => !text.contains('\0') && !text.starts_with('\u{7f}'),
        };
        if is_open(&text) && text.chars().count() < 3 {
            return false;
        }
        if is_shell {
            let file = self.workspace_file(path);
            self.in_file(file, |walk| walk.follow(&text, arguments, io));
        } else if first.starts_with("#!") {
            self.code(name_of(first.rsplit([' ', '/']).next().unwrap_or_default()), &text);
        }
        true
    }

    /// A script in a shell of its own.
    pub(super) fn follow(&mut self, text: &str, arguments: &[String], io: &Io) -> Option<String> {
        let arguments: Rc<[String]> = Rc::from(arguments);
        self.apart(|walk| {
            walk.scene.positional = Some(arguments);
            walk.made(text, io)
        })
    }

    /// `sh`, `bash`: a script in an argument, in a file, or on stdin.
    fn shell(&mut self, argv: &[String], io: &Io) -> Option<String> {
        let mut rest = argv[1..].iter().enumerate();
        let (mut script, mut from_stdin, mut interactive) = (false, false, false);
        let mut first = None;
        while let Some((index, word)) = rest.next() {
            match word.as_str() {
                "--" => {
                    first = rest.next().map(|(index, _)| index);
                    break;
                }
                "-" => {}
                "--rcfile" | "--init-file" => {
                    if let Some((_, file)) = rest.next() {
                        let file = file.clone();
                        self.run_script(&file, &[], io);
                    }
                }
                "-o" | "+o" | "-O" | "+O" => drop(rest.next()),
                long if long.starts_with("--") => {}
                short if short.starts_with(['-', '+']) => {
                    script |= short.starts_with('-') && short.contains('c');
                    from_stdin |= short.contains('s');
                    interactive |= short.contains('i');
                    if short.len() > 2 && short.ends_with('o') {
                        rest.next();
                    }
                }
                _ => {
                    first = Some(index);
                    break;
                }
            }
        }
        let operands = first.map_or(&[][..], |first| &argv[1 + first..]);
        if io.network {
            self.note(
                Effect::OpensReverseShell,
                "a shell whose streams are a connection".to_owned(),
            );
            return None;
        }
        match operands {
            [text, arguments @ ..] if script => {
                self.wraps();
                let zero = arguments.first().map(|zero| Rc::from(zero.as_str()));
                let before = std::mem::replace(&mut self.scene.zero, zero);
                let output = self.follow(text, arguments.get(1..).unwrap_or_default(), io);
                self.scene.zero = before;
                output
            }
            [file, arguments @ ..] if !from_stdin => {
                let (file, arguments) = (file.clone(), arguments.to_vec());
                self.run_script(&file, &arguments, io)
            }
            arguments => {
                let Some(text) = io.input.clone() else {
                    let _ = interactive;
                    return io.wanted.then(|| OUTPUT.to_string());
                };
                self.wraps();
                if text.chars().all(|c| c == UNKNOWN || c == '\n') && !text.is_empty() {
                    self.note(
                        Effect::RunsUnknownProgram,
                        "what it reads as a script is not known".to_owned(),
                    );
                    return None;
                }
                self.follow(&text, arguments, io)
            }
        }
    }

    /// A script in a file.
    pub(super) fn run_script(&mut self, path: &str, arguments: &[String], io: &Io) -> Option<String> {
        if matches!(path, "/dev/stdin" | "/proc/self/fd/0" | "/dev/fd/0" | "-") {
            let text = io.input.clone()?;
            return self.follow(&text, arguments, io);
        }
        self.reads(path);
        let text = self.script_of(path)?;
        let file = self.workspace_file(path);
        self.in_file(file, |walk| walk.follow(&text, arguments, io))
    }

    fn run_wrapped(&mut self, name: &str, argv: &[String], wrapped: Wrapped, io: &Io) -> Option<String> {
        if let Some((effect, what)) = wrapped.effect {
            self.note(effect, what.to_owned());
        }
        if !(wrapped.argv.is_empty() && wrapped.scripts.is_empty()) {
            self.wraps();
        }
        for path in &wrapped.writes {
            self.writes(path);
        }
        let before = self.scene.variables();
        let cwd = self.scene.cwd.clone();
        for (variable, value) in &wrapped.assigns {
            self.assigned(variable, value.clone());
        }
        if let Some(dir) = &wrapped.dir {
            self.enter(dir);
        }
        let mut output = None;
        for script in &wrapped.scripts {
            output = self.nested(|walk| walk.apart(|walk| walk.made(script, io))).flatten();
        }
        let mut inner = wrapped.argv;
        let given = match &wrapped.input_file {
            Some(path) => Io {
                input: Some(Rc::from(self.content(path))),
                ..io.clone()
            },
            None => io.clone(),
        };
        if wrapped.takes_input {
            inner = self.with_input(inner, wrapped.replace.as_deref(), wrapped.by_line, &given);
        }
        let inner_io = match wrapped.takes_input {
            true => Io {
                input: None,
                ..io.clone()
            },
            false => io.clone(),
        };
        if inner.is_empty() {
            if wrapped.shell && wrapped.scripts.is_empty() {
                let shell = vec!["sh".to_owned()];
                output = self.again(shell, io);
            } else if wrapped.scripts.is_empty() {
                self.effects(name, argv, io);
            }
        } else {
            self.effects(name, argv, io);
            output = self.again(inner, &inner_io);
        }
        self.scene.restore(before);
        self.scene.cwd = cwd;
        if output.is_none() && io.wanted {
            return Some(self.output(name, argv, io));
        }
        output
    }

    /// Arguments that `xargs` and its like take from their input.
    fn with_input(&mut self, mut argv: Vec<String>, replace: Option<&str>, by_line: bool, io: &Io) -> Vec<String> {
        let text = io.input.clone().unwrap_or_else(|| Rc::from(UNKNOWN.to_string()));
        let words: Vec<String> = text
            .split(|c| matches!(c, '\n' | '\0') || (!by_line && matches!(c, ' ' | '\t')))
            .filter(|word| !word.is_empty())
            .map(|word| word.trim_matches(['\'', '"']).to_owned())
            .take(64)
            .collect();
        match replace {
            Some(replace) if !replace.is_empty() => {
                let all = words.join(" ");
                argv.iter().map(|word| word.replace(replace, &all)).collect()
            }
            _ => {
                argv.extend(words);
                argv
            }
        }
    }
}

/// A word as the shell would need it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
