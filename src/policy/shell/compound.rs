//! Compound commands: every branch is followed.

use super::{
    effect::Effect,
    place::{Place, place},
    tree::{Command, Item, Kind, Pipeline, Script, Word},
    value::UNKNOWN,
    walk::{Io, Walk},
};

impl Walk<'_> {
    pub(super) fn compound(&mut self, command: &Command, io: &Io) -> Option<String> {
        match &command.kind {
            Kind::Simple { .. } => None,
            Kind::Subshell(script) => self.apart(|walk| walk.script(script, io)),
            Kind::Group(script) => self.script(script, io),
            Kind::If(branches, otherwise) => {
                let bodies = branches.iter().map(|(condition, body)| (Some(condition), body));
                self.branches(bodies.chain([(None, otherwise)]), None, io, |walk, condition| {
                    if let Some(condition) = condition {
                        walk.script(condition, io);
                    }
                })
            }
            Kind::While(condition, body) => {
                self.script(condition, io);
                if is_forever(condition) && spawns_only(body) {
                    self.note(Effect::ExhaustsHost, "starts processes without end".to_owned());
                }
                self.maybe(|walk| walk.script(body, io))
            }
            Kind::ForArith(word, body) => {
                self.text(word);
                self.maybe(|walk| walk.script(body, io))
            }
            Kind::For(name, words, body) => {
                let values = match words {
                    Some(words) => self.fields(words),
                    None => self
                        .scene
                        .positional
                        .as_ref()
                        .map_or_else(|| vec![UNKNOWN.to_string()], |all| all.to_vec()),
                };
                if !values.is_empty() {
                    self.scene.set_all(name, values);
                }
                self.maybe(|walk| walk.script(body, io))
            }
            Kind::Case(word, arms) => {
                self.text(word);
                // None of them may be the one.
                let none = Some(self.scene.cwd.clone());
                let arms = arms.iter().map(|(patterns, body)| (patterns, body));
                self.branches(arms, none, io, |walk, patterns| {
                    for pattern in patterns {
                        walk.text(pattern);
                    }
                })
            }
            Kind::Function(name, body) => {
                let function = (body.clone(), self.text.clone());
                if self.defined.len() < 500 {
                    self.defined.push((name.clone(), function.clone()));
                }
                self.scene.define(name, function);
                None
            }
            Kind::Test(words) => {
                for word in words {
                    self.text(word);
                }
                None
            }
            Kind::Arith(word) => {
                self.text(word);
                None
            }
            Kind::Coproc(command) => {
                self.spawning += 1;
                let output = self.apart(|walk| walk.command(command, io));
                self.spawning -= 1;
                output
            }
        }
    }

    /// Takes one branch after the other, each from where all of them begin, with what decides
    /// about it before. The directory afterwards is the worst of their ends, and of `end`.
    fn branches<'t, T>(
        &mut self,
        branches: impl Iterator<Item = (T, &'t Script)>,
        mut end: Option<Option<String>>,
        io: &Io,
        decide: impl Fn(&mut Self, T),
    ) -> Option<String> {
        let mut output = io.wanted.then(String::new);
        let begin = self.scene.cwd.clone();
        for (decider, body) in branches {
            self.scene.cwd.clone_from(&begin);
            decide(self, decider);
            let more = self.maybe(|walk| walk.script(body, io));
            if let (Some(whole), Some(more)) = (&mut output, more) {
                whole.push_str(&more);
            }
            end = Some(worse(end, self.scene.cwd.clone()));
        }
        self.scene.cwd = end.flatten();
        output
    }
}

/// Whether a loop's condition always holds.
fn is_forever(condition: &Script) -> bool {
    let [Item { pipelines, .. }] = condition.items.as_slice() else {
        return false;
    };
    let [Pipeline { commands, .. }] = pipelines.as_slice() else {
        return false;
    };
    let [
        Command {
            kind: Kind::Simple { words, .. },
            ..
        },
    ] = commands.as_slice()
    else {
        return false;
    };
    let first = words.first().and_then(Word::literal);
    first.is_some_and(|word| matches!(word.as_str(), ":" | "true" | "/bin/true"))
}

/// Whether all of a loop's body goes on beside the loop: nothing ever waits.
fn spawns_only(body: &Script) -> bool {
    !body.items.is_empty() && body.items.iter().all(|item| item.background)
}

/// Of two directories the one where more can go wrong.
fn worse(one: Option<Option<String>>, other: Option<String>) -> Option<String> {
    let Some(one) = one else { return other };
    let bad = |cwd: &Option<String>| {
        cwd.as_deref()
            .is_some_and(|cwd| !matches!(place(".", Some(cwd)), Place::Workspace(_) | Place::Unknown))
    };
    if bad(&one) { one } else { other }
}
