//! A parse tree followed in the order in which a shell would run it.
//!
//! Every branch is taken. Nothing is run: what a command prints is known only where its text
//! says so ([`super::output`]), and everything else is a mark ([`super::value`]).

use std::rc::Rc;

use super::{
    effect::Effect,
    parse::{ParseError, parse},
    place::{Place, place},
    scene::{Function, Scene},
    tree::{Command, Item, Kind, Pipeline, Script, Sub, Value, Word},
    value::{OUTPUT, SECRET, UNKNOWN, bounded, clean, is_open, shown},
};

/// Most simple commands that are followed.
const STEPS_MAX: u32 = 20_000;
/// Deepest nesting of scripts, functions and wrappers in each other.
const DEPTH_MAX: u32 = 20;
/// Most values of one variable that a command is tried with.
const WORLDS_MAX: usize = 16;
/// Most bytes of output that are put together.
const OUTPUT_MAX: usize = 64 << 10;

/// Scripts of the workspace, for commands that run them.
pub trait Scripts {
    /// The text of a file, by its components below the workspace's root; `None` where there
    /// is none, or none that is text of a bounded length.
    fn read(&self, path: &[String]) -> Option<String>;
}

/// A simple command that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The program and its arguments; empty where there is no program.
    pub argv: Vec<String>,
    /// As it is written, or as a wrapper was given it.
    pub text: String,
    /// What it does, and on what.
    pub effects: Vec<(Effect, String)>,
    /// It only runs other commands, and they were all found.
    pub wraps: bool,
    /// It stands in a file that a command of the line runs.
    pub in_file: bool,
}

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
    fn inner(&self) -> Self {
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
    current: usize,
    /// Which of a variable's values is used.
    pub(super) world: usize,
    /// How many there are.
    pub(super) worlds: usize,
    steps: u32,
    pub(super) depth: u32,
    /// Functions under way, each with [`Walk::spawning`] at its beginning.
    calls: Vec<(String, u32)>,
    /// Functions that were called.
    called: Vec<String>,
    /// Every function that was defined, by its name.
    pub(super) defined: Vec<(String, Function)>,
    /// How many pipelines and background lists surround what runs now.
    pub(super) spawning: u32,
    /// How many files surround what runs now.
    files: u32,
    /// Something was left out because a bound was met.
    pub(super) unfollowed: bool,
    /// The text that spans are in.
    pub(super) text: Rc<str>,
    pipes: u32,
    scripts: Option<&'w dyn Scripts>,
}

/// Follows a script that runs in the directory `dir` of the workspace. The commands come in
/// the order in which they were found.
pub fn walk(text: &str, dir: &str, scripts: Option<&dyn Scripts>) -> Vec<Seen> {
    let text = clean(text);
    let mut walk = Walk {
        scene: Scene::new(),
        seen: Vec::new(),
        current: 0,
        world: 0,
        worlds: 1,
        steps: 0,
        depth: 0,
        calls: Vec::new(),
        called: Vec::new(),
        defined: Vec::new(),
        spawning: 0,
        files: 0,
        unfollowed: false,
        text: Rc::from(""),
        pipes: 0,
        scripts,
    };
    walk.enter(dir);
    walk.source(&text, &Io::default());
    walk.never_called();
    if walk.unfollowed {
        walk.alone(Effect::CannotBeFollowed, "too long, or too deeply nested".to_owned());
    }
    walk.seen
}

impl Walk<'_> {
    /// Follows the text of a script in the present shell; gives what it prints.
    pub(super) fn source(&mut self, text: &str, io: &Io) -> Option<String> {
        match parse(text) {
            Ok(script) => {
                let before = std::mem::replace(&mut self.text, Rc::from(text));
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
            self.unfollowed = true;
            return None;
        }
        self.depth += 1;
        let current = self.current;
        let done = inner(self);
        self.current = current;
        self.depth -= 1;
        Some(done)
    }

    /// Within the text of a file.
    pub(super) fn in_file<T>(&mut self, inner: impl FnOnce(&mut Self) -> T) -> T {
        self.files += 1;
        let done = inner(self);
        self.files -= 1;
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

    pub(super) fn script(&mut self, script: &Script, io: &Io) -> Option<String> {
        let mut output = io.wanted.then(String::new);
        for item in &script.items {
            let more = self.item(item, io);
            match (&mut output, more) {
                (Some(whole), Some(more)) if whole.len() + more.len() <= OUTPUT_MAX => {
                    whole.push_str(&more);
                }
                (Some(whole), _) => whole.push(OUTPUT),
                (None, _) => {}
            }
        }
        output
    }

    fn item(&mut self, item: &Item, io: &Io) -> Option<String> {
        if item.background {
            self.spawning += 1;
        }
        let mut output = io.wanted.then(String::new);
        for (index, pipeline) in item.pipelines.iter().enumerate() {
            let more = match index {
                0 => self.pipeline(pipeline, io),
                _ => {
                    let cwd = self.scene.cwd.clone();
                    let more = self.maybe(|walk| walk.pipeline(pipeline, io));
                    if pipeline.after_or {
                        // What went on without it went on where it was.
                        self.scene.cwd = cwd;
                    }
                    more
                }
            };
            if let (Some(whole), Some(more)) = (&mut output, more) {
                // After `||` it is one or the other; the first that is known.
                if !(pipeline.after_or && !whole.is_empty() && !whole.chars().all(is_mark)) {
                    if pipeline.after_or {
                        whole.clear();
                    }
                    whole.push_str(&more);
                }
            }
        }
        if item.background {
            self.spawning -= 1;
        }
        output
    }

    fn pipeline(&mut self, pipeline: &Pipeline, io: &Io) -> Option<String> {
        let [commands @ .., last] = pipeline.commands.as_slice() else {
            return None;
        };
        if commands.is_empty() {
            return self.command(last, io);
        }
        self.spawning += 1;
        let first = self.seen.len();
        let mut input = io.input.clone();
        for command in commands {
            let between = Io {
                input,
                wanted: true,
                ..Io::default()
            };
            let output = self.apart(|walk| walk.command(command, &between));
            input = Some(output.map_or_else(|| Rc::from(OUTPUT.to_string()), Rc::from));
        }
        let end = Io { input, ..io.clone() };
        let output = self.apart(|walk| walk.command(last, &end));
        self.spawning -= 1;
        self.sockets_and_shells(first);
        output
    }

    pub(super) fn command(&mut self, command: &Command, io: &Io) -> Option<String> {
        if let Kind::Simple { assigns, words } = &command.kind {
            return self.simple(command, assigns, words, io);
        }
        let io = &self.redirected(&command.redirects, io);
        let output = self.nested(|walk| walk.compound(command, &io.inner())).flatten();
        self.keep_output(io, output)
    }

    /// Functions that nothing called are looked into all the same: whoever reads them may.
    fn never_called(&mut self) {
        for (name, function) in std::mem::take(&mut self.defined) {
            if !self.called.contains(&name) {
                self.scene.define(&name, function.clone());
                self.scene.certain = false;
                self.call(&name, function, None, &Io::default());
            }
        }
    }

    /// Calls a function.
    pub(super) fn call(
        &mut self,
        name: &str,
        (body, text): Function,
        arguments: Option<Rc<[String]>>,
        io: &Io,
    ) -> Option<String> {
        if let Some((_, spawning)) = self.calls.iter().find(|(under_way, _)| under_way == name) {
            if self.spawning > *spawning {
                self.note(Effect::ExhaustsHost, format!("`{name}` starts itself over and over"));
            }
            return None;
        }
        if self.called.len() < 500 {
            self.called.push(name.to_owned());
        }
        self.calls.push((name.to_owned(), self.spawning));
        let positional = std::mem::replace(&mut self.scene.positional, arguments);
        let before = std::mem::replace(&mut self.text, text);
        let output = self.nested(|walk| walk.command(&body, io)).flatten();
        self.text = before;
        self.scene.positional = positional;
        self.calls.pop();
        output
    }

    fn simple(
        &mut self,
        command: &Command,
        assigns: &[super::tree::Assign],
        words: &[Word],
        io: &Io,
    ) -> Option<String> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            self.unfollowed = true;
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
        self.seen.push(Seen {
            in_file: self.files > 0,
            text: self.text.get(command.span.clone()).unwrap_or_default().to_owned(),
            ..Seen::default()
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

    /// Notes an effect of the command under way.
    pub(super) fn note(&mut self, effect: Effect, what: String) {
        if self.seen.is_empty() {
            self.seen.push(Seen::default());
        }
        let current = self.current.min(self.seen.len() - 1);
        let effects = &mut self.seen[current].effects;
        if effects.len() < 20 && !effects.iter().any(|(known, _)| *known == effect) {
            effects.push((effect, what));
        }
    }

    /// Notes an effect of no command in particular.
    fn alone(&mut self, effect: Effect, what: String) {
        self.seen.push(Seen {
            effects: vec![(effect, what)],
            ..Seen::default()
        });
    }

    /// The command under way.
    pub(super) fn begin(&mut self, argv: &[String]) {
        if let Some(seen) = self.seen.get_mut(self.current)
            && seen.argv.is_empty()
        {
            seen.argv = argv.to_vec();
            return;
        }
        self.current = self.seen.len();
        self.seen.push(Seen {
            in_file: self.files > 0,
            argv: argv.to_vec(),
            text: argv.iter().map(|word| shown(word)).collect::<Vec<_>>().join(" "),
            ..Seen::default()
        });
    }

    /// The command under way only runs others, which are found from here on.
    pub(super) fn wraps(&mut self) {
        if let Some(seen) = self.seen.get_mut(self.current) {
            seen.wraps = true;
        }
    }

    /// A wrapper's command counts as one more step.
    pub(super) fn step(&mut self) -> bool {
        self.steps += 1;
        self.unfollowed |= self.steps > STEPS_MAX;
        self.steps <= STEPS_MAX
    }

    pub(super) fn place(&self, path: &str) -> Place {
        place(path, self.scene.cwd.as_deref())
    }

    /// A path by which a file is known here.
    pub(super) fn file_name(&self, path: &str) -> String {
        match super::place::canonical(path, self.scene.cwd.as_deref()) {
            Some(parts) => super::place::joined(&parts),
            None => path.to_owned(),
        }
    }

    /// What a file holds, as far as it is known.
    pub(super) fn content(&mut self, path: &str) -> String {
        let name = self.file_name(path);
        if let Some(text) = self.scene.written(&name) {
            return text.to_owned();
        }
        let place = self.place(path);
        if place.read().is_some() || super::output::is_dotenv(path) {
            return SECRET.to_string();
        }
        if let (Place::Workspace(parts), Some(scripts)) = (&place, self.scripts)
            && !is_open(path)
            && let Some(text) = scripts.read(parts)
        {
            return bounded_script(&text);
        }
        UNKNOWN.to_string()
    }

    /// The text of a script that is run, where it is known.
    pub(super) fn script_of(&mut self, path: &str) -> Option<String> {
        let text = self.content(path);
        (!text.chars().all(|c| c == UNKNOWN || c == SECRET)).then_some(text)
    }

    pub(super) fn writes(&mut self, path: &str) {
        if let Some(effect) = self.place(path).written() {
            self.note(effect, format!("writes {}", shown(path)));
        }
    }

    pub(super) fn reads(&mut self, path: &str) {
        if let Some(effect) = self.place(path).read() {
            self.note(effect, format!("reads {}", shown(path)));
        }
    }

    pub(super) fn removes(&mut self, path: &str) {
        if let Some(effect) = self.place(path).removed() {
            self.note(effect, format!("removes {}", shown(path)));
        }
    }
}

/// A script of the workspace, without what would mean something else here.
fn bounded_script(text: &str) -> String {
    match text.len() > super::parse::SCRIPT_MAX {
        true => UNKNOWN.to_string(),
        false => clean(text).into_owned(),
    }
}

fn is_mark(c: char) -> bool {
    c == OUTPUT || c == UNKNOWN
}
