//! What was found while a script was followed, and where.

use std::{rc::Rc, sync::Arc};

use super::{effect::Effect, value::shown, walk::Walk};

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
    /// That file, below the workspace's root, where it is one of the workspace's.
    pub file: Option<Arc<str>>,
    /// The line where it stands, or what gave it: of that file, else of the text.
    pub line: usize,
}

/// A text whose lines are counted, and its file.
#[derive(Clone)]
pub(super) struct Ground {
    text: Rc<str>,
    file: Option<Arc<str>>,
    /// An offset and the line that it is in: the next one is mostly not far behind.
    last: (usize, usize),
}

impl Ground {
    pub fn new(text: Rc<str>, file: Option<Arc<str>>) -> Self {
        Self {
            text,
            file,
            last: (0, 1),
        }
    }

    /// The line that an offset is in.
    fn line_of(&mut self, offset: usize) -> usize {
        let (from, line) = match self.last {
            (from, line) if from <= offset => (from, line),
            _ => (0, 1),
        };
        let between = self.text.as_bytes().get(from..offset).unwrap_or_default();
        let line = line + between.iter().filter(|byte| **byte == b'\n').count();
        self.last = (offset, line);
        line
    }
}

impl Walk<'_> {
    /// A command that is written at `offset` of the present text. One of a text that was made
    /// stands where that was made.
    pub(super) fn stands_at(&mut self, offset: usize) {
        if Rc::ptr_eq(&self.text, &self.ground.text) {
            self.line = self.ground.line_of(offset);
        }
    }

    /// A command at its place, of which nothing else is known yet.
    pub(super) fn unseen(&self) -> Seen {
        Seen {
            in_file: self.files > 0,
            file: self.ground.file.clone(),
            line: self.line,
            ..Seen::default()
        }
    }

    /// Notes an effect of the command under way.
    pub(super) fn note(&mut self, effect: Effect, what: String) {
        if self.seen.is_empty() {
            self.seen.push(self.unseen());
        }
        let current = self.current.min(self.seen.len() - 1);
        let effects = &mut self.seen[current].effects;
        if effects.len() < 20 && !effects.iter().any(|(known, _)| *known == effect) {
            effects.push((effect, what));
        }
    }

    /// Notes an effect of no command in particular.
    pub(super) fn alone(&mut self, effect: Effect, what: String) {
        self.seen.push(Seen {
            effects: vec![(effect, what)],
            ..self.unseen()
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
            argv: argv.to_vec(),
            text: argv.iter().map(|word| shown(word)).collect::<Vec<_>>().join(" "),
            ..self.unseen()
        });
    }

    /// The command under way only runs others, which are found from here on.
    pub(super) fn wraps(&mut self) {
        if let Some(seen) = self.seen.get_mut(self.current) {
            seen.wraps = true;
        }
    }
}
