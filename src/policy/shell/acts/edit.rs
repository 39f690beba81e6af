//! Programs that edit, copy and pack files by a language of their own.

use super::{Arguments, values};
use crate::policy::shell::{
    effect::Effect,
    place::Place,
    value::HOME,
    walk::{Io, Walk},
};

impl Walk<'_> {
    pub(super) fn sed(&mut self, argv: &[String]) {
        let arguments = Arguments::of(argv, &["-e", "-f", "--expression", "--file", "-l"]);
        let in_place = arguments.options.iter().any(|option| {
            option.starts_with("-i")
                || option.starts_with("--in-place")
                || (!option.starts_with("--") && option.len() < 5 && option.ends_with('i'))
        });
        let given = values(&argv[1..], &["-e", "--expression"]);
        let mut files = arguments.operands;
        let mut programs: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        if programs.is_empty() && !files.is_empty() {
            programs.push(files.remove(0).to_owned());
        }
        for program in programs {
            // `w FILE`, and the flag `w` of `s`.
            for (at, _) in program.match_indices("w ") {
                let path = program[at + 2..]
                    .split(['\n', ';', '}'])
                    .next()
                    .unwrap_or_default()
                    .trim();
                if path.starts_with(['/', '.']) || path == "pipeline.yml" || path == "PLAN.md" {
                    let path = path.to_owned();
                    self.writes(&path);
                }
            }
            for piece in program.split([';', '\n']) {
                if let Some(script) = sed_runs(piece.trim()) {
                    self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
                }
            }
            if let Some(script) = sed_runs(&program) {
                self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
            }
        }
        for file in files {
            self.reads(file);
            if in_place {
                self.writes(file);
            }
        }
    }

    pub(super) fn tar(&mut self, argv: &[String]) {
        for dir in values(&argv[1..], &["-C", "--directory"]) {
            let extracts = argv.get(1).is_some_and(|word| word.contains('x'))
                || argv.iter().any(|word| {
                    word == "--extract" || (word.starts_with('-') && !word.starts_with("--") && word.contains('x'))
                });
            if extracts {
                self.unpacks(dir);
            }
        }
        for word in &argv[1..] {
            let runs = [
                "--to-command=",
                "--checkpoint-action=exec=",
                "--use-compress-program=",
                "--info-script=",
                "--rsh-command=",
            ];
            for option in runs {
                if let Some(script) = word.strip_prefix(option) {
                    let script = script.to_owned();
                    self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
                }
            }
            if word == "--remove-files" {
                for path in Arguments::of(argv, &["-C", "-f"]).operands {
                    self.removes(path);
                }
            }
        }
        for script in values(&argv[1..], &["-I"]) {
            if script.contains(' ') || script.contains('/') {
                let script = script.to_owned();
                self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
            }
        }
        let cwd = self.scene.cwd.clone();
        for dir in values(&argv[1..], &["-C", "--directory"]) {
            self.enter(dir);
        }
        self.read_operands(argv);
        self.scene.cwd = cwd;
        // What is packed as a whole is read as a whole.
        let whole = argv[1..]
            .iter()
            .any(|word| matches!(self.place(word), Place::Home(parts) if parts.is_empty()) && word.contains(HOME));
        if whole && argv[1].contains('c') {
            self.note(Effect::ReadsSecrets, "packs a whole home directory".to_owned());
        }
    }

    pub(super) fn dd(&mut self, argv: &[String]) {
        for word in &argv[1..] {
            if let Some(path) = word.strip_prefix("of=") {
                self.writes(path);
            } else if let Some(path) = word.strip_prefix("if=") {
                self.reads(path);
            }
        }
    }

    /// `vim -c ':!COMMAND'`, `ex -sc '…'`
    pub(super) fn editor(&mut self, name: &str, argv: &[String], io: &Io) {
        for line in io.input.as_deref().unwrap_or_default().lines() {
            if let Some(script) = line.trim_start_matches([':', ' ']).strip_prefix('!') {
                let script = script.to_owned();
                self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
            }
        }
        if name == "ed" {
            for path in Arguments::of(argv, &["-p"]).operands {
                self.writes(path);
            }
        }
        for word in &argv[1..] {
            // `call system("…")`
            if let Some((_, text)) = word.split_once("system(") {
                let text = text.trim_start_matches(['"', '\'']);
                let script = text[..text.find(['"', '\'']).unwrap_or(text.len())].to_owned();
                self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
            }
        }
        for command in values(&argv[1..], &["-c", "--cmd", "-sc", "+"]) {
            if let Some((_, script)) = command.split_once('!')
                && !command.starts_with("q!")
                && !command.starts_with("wq!")
            {
                let script = script.trim().to_owned();
                if !script.is_empty() && !script.starts_with('|') {
                    self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
                }
            }
        }
        for word in &argv[1..] {
            self.reads(word);
        }
        if argv[1..].iter().any(|word| word.contains("wq") || word.contains('x')) {
            for path in Arguments::of(argv, &["-c", "--cmd", "-sc"]).operands {
                self.writes(path);
            }
        }
    }
}

/// What GNU sed's `e` runs: `1e COMMAND`, `s/…/COMMAND/e`.
fn sed_runs(program: &str) -> Option<String> {
    let bare = program.trim_start_matches(|c: char| c.is_ascii_digit() || c == '$' || c == ' ' || c == ',');
    if let Some(command) = bare.strip_prefix("e ") {
        return Some(command.to_owned());
    }
    let mut chars = bare.chars();
    if chars.next() != Some('s') {
        return None;
    }
    let mark = chars.next().filter(|c| !c.is_alphanumeric() && *c != ' ')?;
    let mut pieces = vec![String::new()];
    let mut escaped = false;
    for c in bare[1 + mark.len_utf8()..].chars() {
        let last = pieces.last_mut()?;
        match c {
            c if escaped => {
                if c != mark {
                    last.push('\\');
                }
                last.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c == mark => pieces.push(String::new()),
            c => last.push(c),
        }
    }
    match pieces.as_slice() {
        [_, replacement, flags] if flags.len() < 5 && flags.contains('e') => Some(replacement.clone()),
        _ => None,
    }
}
