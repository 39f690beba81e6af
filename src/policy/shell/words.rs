//! A text's commands as they are written: for whoever changes words of one and nothing else.

use std::ops::Range;

use super::{
    parse::{ParseError, parse},
    tree::{Command, Item, Kind, RedirectOp, Script, Target, Word},
};

/// Most simple commands of one text.
const COMMANDS_MAX: usize = 2_000;

/// Commands joined by `&&`, `||` and `|`, which end with a line, `;` or `&`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its bytes in the text, bodies of here-documents included.
    pub span: Range<usize>,
    /// It is one simple command, or several joined; no `if`, loop, function or group.
    pub plain: bool,
    /// Its simple commands in their order, those inside compound commands included; what
    /// substitutions run is not among them.
    pub commands: Vec<Written>,
}

/// A simple command as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its bytes in the text, redirections included.
    pub span: Range<usize>,
    /// Names that are assigned before the program, or alone.
    pub assigns: Vec<String>,
    /// The program and its arguments; redirections are none of them.
    pub words: Vec<WrittenWord>,
}

/// A word as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenWord {
    /// Its bytes in the text, quotes included.
    pub span: Range<usize>,
    /// What it is, quotes taken off; `None` where the shell would expand something in it.
    pub text: Option<String>,
    /// Any of it is quoted.
    pub quoted: bool,
}

/// The commands of a text, in their order.
///
/// # Errors
/// As [`parse`].
pub fn listed(text: &str) -> Result<Vec<Listed>, ParseError> {
    let script = parse(text)?;
    let mut all: Vec<Listed> = Vec::new();
    let mut room = COMMANDS_MAX;
    let starts = script.items.iter().skip(1).map(|item| item.span.start);
    for (item, next) in script.items.iter().zip(starts.chain([text.len()])) {
        let mut commands = Vec::new();
        let plain = joined(item, &mut commands, &mut room);
        let end = match has_body(item) {
            true => item.span.start + text[item.span.start..next].trim_end().len(),
            false => item.span.end,
        };
        all.push(Listed {
            span: item.span.start..end,
            plain,
            commands,
        });
    }
    Ok(all)
}

/// Takes the commands of an item; whether they are all simple.
fn joined(item: &Item, into: &mut Vec<Written>, room: &mut usize) -> bool {
    let mut plain = true;
    for command in item.pipelines.iter().flat_map(|pipeline| &pipeline.commands) {
        plain &= taken(command, into, room);
    }
    plain
}

fn within(script: &Script, into: &mut Vec<Written>, room: &mut usize) {
    for item in &script.items {
        joined(item, into, room);
    }
}

fn taken(command: &Command, into: &mut Vec<Written>, room: &mut usize) -> bool {
    match &command.kind {
        Kind::Simple { assigns, words } => {
            if *room > 0 {
                *room -= 1;
                into.push(Written {
                    span: command.span.clone(),
                    assigns: assigns.iter().map(|assign| assign.name.clone()).collect(),
                    words: words.iter().map(written).collect(),
                });
            }
            return true;
        }
        Kind::Subshell(script) | Kind::Group(script) | Kind::ForArith(_, script) | Kind::For(_, _, script) => {
            within(script, into, room);
        }
        Kind::If(arms, otherwise) => {
            for (condition, then) in arms {
                within(condition, into, room);
                within(then, into, room);
            }
            within(otherwise, into, room);
        }
        Kind::While(condition, body) => {
            within(condition, into, room);
            within(body, into, room);
        }
        Kind::Case(_, arms) => arms.iter().for_each(|(_, script)| within(script, into, room)),
        Kind::Function(_, body) => {
            taken(body, into, room);
        }
        Kind::Coproc(command) => {
            taken(command, into, room);
        }
        Kind::Test(_) | Kind::Arith(_) => {}
    }
    false
}

fn written(word: &Word) -> WrittenWord {
    WrittenWord {
        span: word.span.clone(),
        text: word.literal(),
        quoted: word.is_quoted(),
    }
}

/// Whether a here-document begins in it.
fn has_body(item: &Item) -> bool {
    let commands = item.pipelines.iter().flat_map(|pipeline| &pipeline.commands);
    // One inside a compound command stands inside its span.
    commands
        .flat_map(|command| &command.redirects)
        .any(|redirect| redirect.op == RedirectOp::HereDoc && matches!(redirect.target, Target::Body(_)))
}

/// A program and its arguments as a line for the shell.
pub fn quoted<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let one = |word: &str| match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    words.into_iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_commands_stand_where_they_are_said_to() {
        let text = "A=1 python 'x y'.py <in >out  # no\ncd a && b \\\n  \"$c\" | d;e\ncat <<E\nb\nE\nf";
        let all = listed(text).expect("a script");
        let spans: Vec<&str> = all.iter().map(|item| &text[item.span.clone()]).collect();
        let third = "cat <<E\nb\nE";
        assert_eq!(
            spans,
            [
                "A=1 python 'x y'.py <in >out",
                "cd a && b \\\n  \"$c\" | d",
                "e",
                third,
                "f"
            ]
        );
        let words = |written: &Written| -> Vec<String> {
            let words = written.words.iter();
            words
                .map(|word| format!("{}={:?}", &text[word.span.clone()], word.text))
                .collect()
        };
        assert_eq!(
            words(&all[0].commands[0]),
            ["python=Some(\"python\")", "'x y'.py=Some(\"x y.py\")"]
        );
        assert_eq!(all[0].commands[0].assigns, ["A"]);
        assert_eq!(words(&all[1].commands[1]), ["b=Some(\"b\")", "\"$c\"=None"]);
        assert!(all.iter().all(|item| item.plain));
        assert!(!listed("if a; then b; fi").expect("a script")[0].plain);
    }

    proptest! {
        #[test]
        fn spans_are_of_the_text(text in "[a-z<>|&;'\"$(){}\\\\ \n=`#]{0,60}") {
            if let Ok(all) = listed(&text) {
                for item in all {
                    prop_assert!(text.get(item.span.clone()).is_some());
                    for word in item.commands.iter().flat_map(|command| &command.words) {
                        prop_assert!(text.get(word.span.clone()).is_some_and(|word| !word.is_empty()));
                    }
                }
            }
        }
    }
}
