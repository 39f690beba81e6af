//! What stands in a script as text: words, assigned values, here-documents, each with its line.

use super::{
    parse::{ParseError, parse},
    tree::{Command, Item, Kind, Part, Script, Target, Value, Word},
    value::UNKNOWN,
};

/// Most pieces of one script.
const TEXTS_MAX: usize = 20_000;

/// A piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The line that it begins on, from 1.
    pub line: usize,
    /// The variable that it is assigned to.
    pub name: Option<String>,
    /// The text, quotes taken off; one mark stands for whatever is expanded.
    pub text: String,
}

/// Every piece of text in a script, in its order.
///
/// # Errors
/// As [`parse`].
pub fn texts(script: &str) -> Result<Vec<Text>, ParseError> {
    let tree = parse(script)?;
    let mut found = Found {
        script,
        texts: Vec::new(),
        line: 1,
    };
    found.script(&tree);
    Ok(found.texts)
}

struct Found<'s> {
    script: &'s str,
    texts: Vec<Text>,
    line: usize,
}

impl Found<'_> {
    fn script(&mut self, script: &Script) {
        for Item { pipelines, .. } in &script.items {
            for command in pipelines.iter().flat_map(|pipeline| &pipeline.commands) {
                self.command(command);
            }
        }
    }

    fn command(&mut self, command: &Command) {
        // Inside backquotes spans are of another text; the line around them is near enough.
        if let Some(before) = self.script.get(..command.span.start) {
            self.line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        }
        match &command.kind {
            Kind::Simple { assigns, words } => {
                for assign in assigns {
                    let values = match &assign.value {
                        Value::Word(word) => std::slice::from_ref(word),
                        Value::Array(words) => words.as_slice(),
                    };
                    values.iter().for_each(|word| self.word(word, Some(&assign.name)));
                }
                words.iter().for_each(|word| self.word(word, None));
            }
            Kind::Subshell(script) | Kind::Group(script) | Kind::ForArith(_, script) => self.script(script),
            Kind::If(arms, otherwise) => {
                for (condition, then) in arms {
                    self.script(condition);
                    self.script(then);
                }
                self.script(otherwise);
            }
            Kind::While(condition, body) => {
                self.script(condition);
                self.script(body);
            }
            Kind::For(_, words, body) => {
                words.iter().flatten().for_each(|word| self.word(word, None));
                self.script(body);
            }
            Kind::Case(_, arms) => arms.iter().for_each(|(_, script)| self.script(script)),
            Kind::Function(_, body) => self.command(body),
            Kind::Coproc(command) => self.command(command),
            Kind::Test(_) | Kind::Arith(_) => {}
        }
        let line = self.line;
        for redirect in &command.redirects {
            if let Target::Body(body) = &redirect.target {
                // It begins after the line of its command.
                self.line = line + 1;
                body.get().into_iter().for_each(|word| self.word(word, None));
            }
        }
    }

    fn word(&mut self, word: &Word, name: Option<&str>) {
        let mut text = String::new();
        for part in &word.parts {
            match part {
                Part::Text { text: more, .. } => text.push_str(more),
                Part::Command { script, .. } | Part::Process { script, .. } => {
                    text.push(UNKNOWN);
                    let line = self.line;
                    self.script(&script.script);
                    self.line = line;
                }
                Part::Parameter(_) | Part::Arith(_) => text.push(UNKNOWN),
            }
        }
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(Text {
                line: self.line,
                name: name.map(str::to_owned),
                text,
            });
        }
    }
}
