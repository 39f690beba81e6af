//! A parse tree followed in the order in which a shell would run it.
//!
//! Every branch is taken. Nothing is run: what a command prints is known only where its text
//! says so ([`super::output`]), and everything else is a mark ([`super::value`]).

use std::{rc::Rc, sync::Arc};

use super::{
    effect::Effect,
    effort::Effort,
    parse::{ParseError, parse},
    scene::{Function, Scene},
    seen::{Ground, Scripts, Seen},
    tree::{Command, Sub, Value, Word},
    value::{OUTPUT, bounded, clean},
};

/// Deepest nesting of scripts, functions and wrappers in each other.
const DEPTH_MAX: u32 = 20;
/// Most values of one variable that a command is tried with.
const WORLDS_MAX: usize = 16;

/// What a shell gives a command besides its arguments.
#[derive(Clone, Default)]
pub(super) struct Io {
    /// What it reads; `None` where nothing is known.
    pub input: Option<Rc<str>>,
    /// What it prints is wanted.
    pub wanted: bool,
    /// The file that its output goes to, and whether it is added there.
    pub to: Option<(String, bool)>,
    /// It reads from, or writes to, the network.
    pub network: bool,
}

impl Io {
    /// For what runs inside: where the output goes is the matter of what is outside.
    pub(super) fn inner(&self) -> Self {
        Self {
            to: None,
            ..self.clone()
        }
    }
}

pub(super) struct Walk<'w> {
    pub(super) scene: Scene,
    pub(super) seen: Vec<Seen>,
    /// The command in [`Walk::seen`] that effects belong to.
    pub(super) current: usize,
    /// The text whose lines are told.
    pub(super) ground: Ground,
    /// The next text to be followed is one whose lines are told: of this file, or of none.
    grounds: Option<Option<Arc<str>>>,
    /// Where the command under way stands.
    pub(super) line: usize,
    /// Which of a variable's values is used.
    pub(super) world: usize,
    /// How many there are.
    pub(super) worlds: usize,
    pub(super) effort: Effort,
    pub(super) depth: u32,
    /// Bodies of functions under way, each with [`Walk::spawning`] at its beginning: a
    /// function may define its own name anew, and call that.
    pub(super) calls: Vec<(Rc<Command>, u32)>,
    /// Functions that were called.
    pub(super) called: Vec<String>,
    /// Every function that was defined, by its name.
    pub(super) defined: Vec<(String, Function)>,
    /// How many pipelines and background lists surround what runs now.
    pub(super) spawning: u32,
    /// How many files surround what runs now.
    pub(super) files: u32,
    /// The text that spans are in.
    pub(super) text: Rc<str>,
    pipes: u32,
    pub(super) scripts: Option<&'w dyn Scripts>,
}

/// Follows a script that runs in the directory `dir` of the workspace. The commands come in
/// the order in which they were found.
pub fn walk(text: &str, dir: &str, scripts: Option<&dyn Scripts>) -> Vec<Seen> {
    let text = clean(text);
    let mut walk = Walk::begun(dir, scripts);
    walk.grounds = Some(None);
    walk.source(&text, &Io::default());
    walk.ended()
}

/// Looks through a program in another language, of which the texts that it gives to a shell
/// are followed.
pub fn look_through(language: &str, code: &str) -> Vec<Seen> {
    let code = clean(code);
    let mut walk = Walk::begun("", None);
    walk.begin(&[language.to_owned()]);
    walk.code(language, &code);
    walk.ended()
}

impl<'w> Walk<'w> {
    fn begun(dir: &str, scripts: Option<&'w dyn Scripts>) -> Self {
        let text: Rc<str> = Rc::from("");
        let mut walk = Self {
            scene: Scene::new(),
            seen: Vec::new(),
            current: 0,
            ground: Ground::new(text.clone(), None),
            grounds: None,
            line: 1,
            world: 0,
            worlds: 1,
            effort: Effort::default(),
            depth: 0,
            calls: Vec::new(),
            called: Vec::new(),
            defined: Vec::new(),
            spawning: 0,
            files: 0,
            text,
            pipes: 0,
            scripts,
        };
        walk.enter(dir);
        walk
    }

    fn ended(mut self) -> Vec<Seen> {
        self.never_called();
        if self.effort.fell_short {
            self.alone(Effect::CannotBeFollowed, "too long, or too deeply nested".to_owned());
        }
        self.seen
    }
}

impl Walk<'_> {
    /// Follows the text of a script in the present shell; gives what it prints.
    pub(super) fn source(&mut self, text: &str, io: &Io) -> Option<String> {
        if !self.effort.read(text) {
            return None;
        }
        match parse(text) {
            Ok(script) => {
                let text: Rc<str> = Rc::from(text);
                if let Some(file) = self.grounds.take() {
                    self.ground = Ground::new(text.clone(), file);
                }
                let before = std::mem::replace(&mut self.text, text);
                let output = self.nested(|walk| walk.script(&script, io));
                self.text = before;
                output.flatten()
            }
            Err(ParseError::Syntax { .. }) => {
                self.alone(Effect::CannotBeParsed, "no shell script that can be read".to_owned());
                None
            }
            Err(why) => {
                self.alone(Effect::CannotBeFollowed, why.to_string());
                None
            }
        }
    }

    /// Follows a text that was made while the script runs: `eval`, `sh -c`, a script on stdin.
    pub(super) fn made(&mut self, text: &str, io: &Io) -> Option<String> {
        let bare = text.trim();
        if !bare.is_empty() && bare.chars().all(|c| c == OUTPUT) {
            // What a program prints to be evaluated (`ssh-agent -s`) is that program's doing.
            return None;
        }
        self.source(text, io)
    }

    /// One level deeper; `None` where that is too deep.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.depth >= DEPTH_MAX {
            self.effort.fell_short = true;
            return None;
        }
        self.depth += 1;
        let current = self.current;
        let done = inner(self);
        self.current = current;
        self.depth -= 1;
        Some(done)
    }

    /// Within the text of a file; lines are told of one of the workspace's.
    pub(super) fn in_file<T>(&mut self, file: Option<Arc<str>>, inner: impl FnOnce(&mut Self) -> T) -> T {
        let (ground, line) = (self.ground.clone(), self.line);
        self.files += 1;
        if file.is_some() {
            self.grounds = Some(file);
            self.line = 1;
        }
        let done = inner(self);
        self.grounds = None;
        self.files -= 1;
        (self.ground, self.line) = (ground, line);
        done
    }

    /// In a shell of its own: what it sets is gone afterwards.
    pub(super) fn apart<T>(&mut self, inner: impl FnOnce(&mut Self) -> T) -> T {
        let scene = self.scene.clone();
        let done = inner(self);
        let files = std::mem::replace(&mut self.scene, scene);
        // Files stay.
        self.scene.take_files(files);
        done
    }

    pub(super) fn maybe<T>(&mut self, inner: impl FnOnce(&mut Self) -> T) -> T {
        let certain = std::mem::replace(&mut self.scene.certain, false);
        let done = inner(self);
        self.scene.certain = certain;
        done
    }

    pub(super) fn simple(
        &mut self,
        command: &Command,
        assigns: &[super::tree::Assign],
        words: &[Word],
        io: &Io,
    ) -> Option<String> {
        if !self.effort.step() {
            return None;
        }
        let (world, worlds) = (self.world, self.worlds);
        self.world = 0;
        let mut output = None;
        loop {
            self.worlds = 1;
            let once = self.once(command, assigns, words, io);
            if self.world == 0 {
                output = once;
            }
            self.world += 1;
            if self.world >= self.worlds.min(WORLDS_MAX) {
                break;
            }
        }
        (self.world, self.worlds) = (world, worlds);
        output
    }

    /// A simple command with one choice of its variables' values.
    fn once(&mut self, command: &Command, assigns: &[super::tree::Assign], words: &[Word], io: &Io) -> Option<String> {
        let index = self.seen.len();
        self.stands_at(command.span.start);
        self.seen.push(Seen {
            text: self.text.get(command.span.clone()).unwrap_or_default().to_owned(),
            ..self.unseen()
        });
        self.current = index;
        let passing = if words.is_empty() { &[] } else { assigns };
        let before: Vec<_> = passing
            .iter()
            .map(|assign| (assign.name.as_str(), self.scene.known(&assign.name)))
            .collect();
        for assign in assigns {
            self.assign(assign);
        }
        let argv = self.fields(words);
        let io = &self.redirected(&command.redirects, io);
        self.current = index;
        let output = match argv.is_empty() {
            true => self.without_program(words, io),
            false => self.run(argv, &io.inner()),
        };
        for (name, values) in before {
            self.scene.put_back(name, values);
        }
        self.current = index;
        self.keep_output(io, output)
    }

    /// Redirections alone, or expansions that come to nothing.
    fn without_program(&mut self, words: &[Word], io: &Io) -> Option<String> {
        if !words.is_empty() || io.input.is_none() {
            return io.wanted.then(String::new);
        }
        // `$(<file)`
        io.input.as_ref().map(|input| input.to_string())
    }

    fn assign(&mut self, assign: &super::tree::Assign) {
        let value = match &assign.value {
            Value::Word(word) => self.text(word),
            Value::Array(words) => self.fields(words).join(" "),
        };
        let value = match (assign.adds, &assign.value) {
            (false, _) => value,
            (true, kind) => {
                let old = self.first_value(&assign.name).unwrap_or_default();
                match kind {
                    Value::Array(_) => format!("{old} {value}"),
                    Value::Word(_) => old + &value,
                }
            }
        };
        self.assigned(&assign.name, value);
    }

    /// What a script inside the present one prints.
    pub(super) fn substituted(&mut self, sub: &Sub) -> String {
        let before = sub.text.clone().map(|text| std::mem::replace(&mut self.text, text));
        let io = Io {
            wanted: true,
            ..Io::default()
        };
        let (world, worlds) = (self.world, self.worlds);
        let output = self.apart(|walk| walk.nested(|walk| walk.script(&sub.script, &io)).flatten());
        (self.world, self.worlds) = (world, worlds);
        if let Some(before) = before {
            self.text = before;
        }
        bounded(output.unwrap_or_else(|| OUTPUT.to_string()))
    }

    /// The name of a file that holds `text`: a process substitution's.
    pub(super) fn pipe_file(&mut self, text: String) -> String {
        self.pipes += 1;
        let path = format!("/dev/fd/pipe{}", self.pipes);
        self.scene.wrote(&path, &text, false);
        path
    }
}
