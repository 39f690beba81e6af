//! In which order commands run: lists, pipelines, functions.

use std::rc::Rc;

use super::{
    effect::Effect,
    scene::Function,
    tree::{Command, Item, Kind, Pipeline, Script},
    value::{OUTPUT, UNKNOWN},
    walk::{Io, Walk},
};

/// Most bytes of output that are put together.
const OUTPUT_MAX: usize = 64 << 10;

impl Walk<'_> {
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
    pub(super) fn never_called(&mut self) {
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
        if let Some((_, spawning)) = self.calls.iter().find(|(under_way, _)| Rc::ptr_eq(under_way, &body)) {
            if self.spawning > *spawning {
                self.note(Effect::ExhaustsHost, format!("`{name}` starts itself over and over"));
            }
            return None;
        }
        if self.called.len() < 500 {
            self.called.push(name.to_owned());
        }
        self.calls.push((body.clone(), self.spawning));
        let positional = std::mem::replace(&mut self.scene.positional, arguments);
        let before = std::mem::replace(&mut self.text, text);
        let output = self.nested(|walk| walk.command(&body, io)).flatten();
        self.text = before;
        self.scene.positional = positional;
        self.calls.pop();
        output
    }
}

fn is_mark(c: char) -> bool {
    c == OUTPUT || c == UNKNOWN
}
