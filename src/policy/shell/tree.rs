//! The parse tree of a shell script (POSIX.1-2017 XCU 2, and bash's additions).

use std::{cell::OnceCell, ops::Range, rc::Rc};

/// Commands one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// In their order.
    pub items: Vec<Item>,
}

/// Pipelines joined by `&&` and `||`.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// In their order; the first always runs.
    pub pipelines: Vec<Pipeline>,
    /// Ended by `&`.
    pub background: bool,
    /// Its bytes in the text that it was parsed from; bodies of here-documents come after them.
    pub span: Range<usize>,
}

/// Commands joined by `|`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// In their order; never empty.
    pub commands: Vec<Command>,
    /// It stands after `||`.
    pub after_or: bool,
}

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// What kind.
    pub kind: Kind,
    /// Its redirections, in their order.
    pub redirects: Vec<Redirect>,
    /// Its bytes in the text that it was parsed from.
    pub span: Range<usize>,
}

/// The kinds of commands.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A program or builtin with its arguments; assignments alone have no words.
    Simple {
        /// Before the program.
        assigns: Vec<Assign>,
        /// The program first.
        words: Vec<Word>,
    },
    /// `( … )`
    Subshell(Script),
    /// `{ …; }`
    Group(Script),
    /// `if`: conditions with what follows them, and what follows `else`.
    If(Vec<(Script, Script)>, Script),
    /// `while`, `until`: the condition and the body.
    While(Script, Script),
    /// `for NAME in WORDS`, `select`; `None` is the positional parameters.
    For(String, Option<Vec<Word>>, Script),
    /// `for ((…))`
    ForArith(Word, Script),
    /// `case`: the word, and each arm's patterns and commands.
    Case(Word, Vec<(Vec<Word>, Script)>),
    /// A function's name and body.
    Function(String, Rc<Command>),
    /// The words of `[[ … ]]`.
    Test(Vec<Word>),
    /// `((…))`
    Arith(Word),
    /// `coproc`, with a command that runs beside the shell.
    Coproc(Box<Command>),
}

/// `NAME=VALUE`, `NAME+=VALUE`, `NAME=(…)`, `NAME[…]=VALUE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assign {
    /// The variable.
    pub name: String,
    /// `+=`, or one element of an array.
    pub adds: bool,
    /// The value; of an array its elements.
    pub value: Value,
}

/// What is assigned.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One word.
    Word(Word),
    /// `( … )`
    Array(Vec<Word>),
}

/// A redirection.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// The descriptor, where it is given; `None` also for `{name}>`.
    pub fd: Option<u32>,
    /// The operator.
    pub op: RedirectOp,
    /// The target.
    pub target: Target,
}

/// What is redirected from or to.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The word after the operator.
    Word(Word),
    /// A here-document's body, which stands after the line; set once the script is parsed.
    Body(Rc<OnceCell<Word>>),
}

impl Target {
    /// The word that is expanded.
    pub fn word(&self) -> Option<&Word> {
        match self {
            Target::Word(word) => Some(word),
            Target::Body(body) => body.get(),
        }
    }
}

/// Redirection operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectOp {
    /// `<`
    Read,
    /// `>`, `>|`
    Write,
    /// `>>`
    Append,
    /// `<>`
    ReadWrite,
    /// `<&`
    DupRead,
    /// `>&`
    DupWrite,
    /// `&>`
    WriteBoth,
    /// `&>>`
    AppendBoth,
    /// `<<`, `<<-`
    HereDoc,
    /// `<<<`
    HereString,
}

/// A word before its expansion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Word {
    /// In their order.
    pub parts: Vec<Part>,
    /// Its bytes in the text that it was parsed from, quotes included; empty where it was made.
    pub span: Range<usize>,
}

/// A piece of a word.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text as it is.
    Text {
        /// The text, quotes and escapes taken off.
        text: String,
        /// Whether it was quoted: then it is not split, and none of it is a pattern.
        quoted: bool,
    },
    /// `$NAME`, `${…}`
    Parameter(Box<Parameter>),
    /// `$(…)`, `` `…` ``
    Command {
        /// What is run.
        script: Sub,
        /// Inside double quotes.
        quoted: bool,
    },
    /// `<(…)`, `>(…)`
    Process {
        /// What is run.
        script: Sub,
        /// `<(…)`: its output is read.
        reads: bool,
    },
    /// `$((…))`: what it expands inside.
    Arith(Word),
}

/// A script inside another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Sub {
    /// The script.
    pub script: Rc<Script>,
    /// The text that its spans are in, where it is not the whole's: backquotes take escapes off.
    pub text: Option<Rc<str>>,
}

/// A parameter expansion.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The variable, or one of `@*#?-$!0123…`; empty where it is none that is known.
    pub name: String,
    /// What is done with its value.
    pub op: ParameterOp,
    /// What the operator takes.
    pub arg: Word,
    /// Inside double quotes.
    pub quoted: bool,
}

/// What is done with a parameter's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterOp {
    /// Nothing.
    Plain,
    /// `-`, `:-`
    Default,
    /// `=`, `:=`
    AssignDefault,
    /// `+`, `:+`
    Alternative,
    /// `?`, `:?`
    Demand,
    /// `#`, `##`
    CutStart {
        /// `##`
        longest: bool,
    },
    /// `%`, `%%`
    CutEnd {
        /// `%%`
        longest: bool,
    },
    /// `/`, `//`: the argument is `PATTERN/REPLACEMENT`.
    Replace {
        /// `//`
        all: bool,
    },
    /// `:OFFSET:LENGTH`
    Slice,
    /// `^^`, `^`
    Upper,
    /// `,,`, `,`
    Lower,
    /// `${#NAME}`
    Length,
    /// `${!NAME}`
    Indirect,
    /// `${NAME[…]}`
    Element,
    /// Anything else.
    Other,
}

impl Word {
    /// The text of a word that nothing in it expands.
    pub fn literal(&self) -> Option<String> {
        let mut whole = String::new();
        for part in &self.parts {
            let Part::Text { text, .. } = part else { return None };
            whole.push_str(text);
        }
        Some(whole)
    }

    /// Whether any of it was quoted.
    pub fn is_quoted(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Text { quoted: true, .. }))
    }
}
