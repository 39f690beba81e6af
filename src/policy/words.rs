//! A shell script cut into its simple commands, well enough to know which word
//! is the program.
//!
//! This knows quotes, comments, substitutions, redirections, here-documents,
//! reserved words and the usual wrappers (POSIX.1-2017, XCU 2). It expands
//! nothing, so a command that hides its program's name is not seen.

/// Depth of substitutions, of scripts given to shells and of wrappers that is looked into.
const DEPTH: u32 = 8;

/// Words after which a command begins anew.
const RESERVED: [&str; 13] = [
    "!", "{", "if", "then", "else", "elif", "while", "until", "do", "time", "fi", "done", "esac",
];
/// Programs that run the command in their arguments.
const WRAPPERS: [&str; 14] = [
    "env", "nohup", "exec", "command", "builtin", "nice", "ionice", "setsid", "stdbuf", "timeout", "xargs", "chroot",
    "time", "busybox",
];
/// Shells, which run the argument of `-c`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

/// What was found in a script.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    /// Its simple commands, those in substitutions included.
    pub commands: Vec<Simple>,
    /// The script without blanks and without what is quoted.
    pub bare: String,
}

/// A program and its arguments, quotes taken off, nothing expanded; assignments,
/// redirections, reserved words and wrappers before the program left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Simple {
    /// The program first; never empty.
    pub words: Vec<String>,
}

/// Cuts a script.
pub(super) fn split(text: &str) -> Script {
    let mut script = Script::default();
    Cutter {
        rest: text.chars().collect::<Vec<_>>().as_slice(),
        script: &mut script,
        depth: 0,
        words: Vec::new(),
        heredocs: Vec::new(),
    }
    .run(None);
    script
}

struct Cutter<'t, 's> {
    rest: &'t [char],
    script: &'s mut Script,
    depth: u32,
    /// Words of the command under way.
    words: Vec<String>,
    /// Delimiters of here-documents that begin after this line.
    heredocs: Vec<String>,
}

impl Cutter<'_, '_> {
    fn next(&mut self) -> Option<char> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let there = self.rest.first() == Some(&wanted);
        if there {
            self.rest = &self.rest[1..];
        }
        there
    }

    /// Cuts until the end, or until `close` where a substitution ends.
    fn run(&mut self, close: Option<char>) {
        let mut nested = 0u32;
        while let Some(&c) = self.rest.first() {
            match c {
                ' ' | '\t' | '\r' => drop(self.next()),
                '#' => {
                    let line = self.rest.iter().position(|c| *c == '\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[line..];
                }
                '<' | '>' => self.redirect(),
                '\n' | ';' | '&' | '|' | '(' | ')' => {
                    self.next();
                    self.end_command();
                    if c == '\n' {
                        self.skip_heredocs();
                        continue;
                    }
                    self.bare(c);
                    match c {
                        ')' if close == Some(')') && nested == 0 => return,
                        '(' => nested += 1,
                        ')' => nested = nested.saturating_sub(1),
                        _ => {}
                    }
                }
                '`' if close == Some('`') => {
                    self.next();
                    break;
                }
                _ => {
                    let word = self.word(close == Some('`'));
                    // The number in `2>file` belongs to the redirection.
                    let number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
                    if !(number && matches!(self.rest.first(), Some('<' | '>'))) {
                        self.words.push(word);
                    }
                }
            }
        }
        self.end_command();
    }

    fn bare(&mut self, c: char) {
        self.script.bare.push(c);
    }

    /// `>file`, `2>&1`, `<<END`: the word after it is no part of the command.
    fn redirect(&mut self) {
        let mut operator = String::new();
        while let Some(c @ ('<' | '>')) = self.rest.first().copied() {
            operator.push(c);
            self.bare(c);
            self.next();
        }
        if self.rest.first() == Some(&'(') {
            // Process substitution: its command is cut like any other.
            return;
        }
        // `<<-END`, `>&2`, `>|file`
        let _ = ['-', '&', '|'].into_iter().any(|mark| self.eat(mark));
        while self.eat(' ') || self.eat('\t') {}
        if self.rest.first().is_some_and(|c| !"\n;&|()<>".contains(*c)) {
            let target = self.word(false);
            if operator == "<<" {
                self.heredocs.push(target);
            }
        }
    }

    fn skip_heredocs(&mut self) {
        for delimiter in std::mem::take(&mut self.heredocs) {
            while !self.rest.is_empty() {
                let end = self.rest.iter().position(|c| *c == '\n');
                let line: String = self.rest[..end.unwrap_or(self.rest.len())].iter().collect();
                self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
                if line.trim_start_matches('\t') == delimiter {
                    break;
                }
            }
        }
    }

    /// One word without its quotes; substitutions in it are cut and left out.
    fn word(&mut self, in_backquotes: bool) -> String {
        let mut word = String::new();
        while let Some(&c) = self.rest.first() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
                '`' if in_backquotes => break,
                _ => {}
            }
            self.next();
            match c {
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(c) => word.push(c),
                },
                '\'' => {
                    let end = self.rest.iter().position(|c| *c == '\'').unwrap_or(self.rest.len());
                    word.extend(&self.rest[..end]);
                    self.rest = self.rest.get(end + 1..).unwrap_or_default();
                }
                '"' => self.quoted(&mut word),
                '`' => self.substitution('`'),
                '$' if self.eat('(') => self.substitution(')'),
                c => {
                    self.bare(c);
                    word.push(c);
                }
            }
        }
        word
    }

    fn quoted(&mut self, word: &mut String) {
        while let Some(c) = self.next() {
            match c {
                '"' => return,
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                    Some(c) => word.extend(['\\', c]),
                },
                '`' => self.substitution('`'),
                '$' if self.eat('(') => self.substitution(')'),
                c => word.push(c),
            }
        }
    }

    /// Cuts what a substitution holds, as commands of their own.
    fn substitution(&mut self, close: char) {
        if self.depth == DEPTH {
            self.rest = &[];
            return;
        }
        let mut inner = Cutter {
            rest: self.rest,
            script: self.script,
            depth: self.depth + 1,
            words: Vec::new(),
            heredocs: Vec::new(),
        };
        inner.run(Some(close));
        self.rest = inner.rest;
    }

    fn end_command(&mut self) {
        let words = std::mem::take(&mut self.words);
        let mut rest = words.as_slice();
        let mut wrappers = 0;
        while let Some((first, after)) = rest.split_first() {
            let name = first.rsplit('/').next().unwrap_or(first);
            if RESERVED.contains(&first.as_str()) || is_assignment(first) {
                rest = after;
            } else if WRAPPERS.contains(&name) && wrappers < DEPTH {
                wrappers += 1;
                self.script.commands.push(Simple { words: rest.to_vec() });
                let inner = |word: &String| {
                    let number = word.starts_with(|c: char| c.is_ascii_digit());
                    !(word.starts_with('-') || number || is_assignment(word))
                };
                rest = after.iter().position(inner).map_or(&[], |at| &after[at..]);
            } else {
                break;
            }
        }
        let Some((program, arguments)) = rest.split_first() else {
            return;
        };
        let name = program.rsplit('/').next().unwrap_or(program);
        let nested = if name == "eval" {
            Some(arguments.join(" "))
        } else if SHELLS.contains(&name) {
            let runs = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.contains('c');
            let at = arguments.iter().position(runs);
            at.and_then(|at| arguments.get(at + 1).cloned())
        } else {
            None
        };
        self.script.commands.push(Simple { words: rest.to_vec() });
        if let Some(text) = nested.filter(|_| self.depth < DEPTH) {
            Cutter {
                rest: text.chars().collect::<Vec<_>>().as_slice(),
                script: self.script,
                depth: self.depth + 1,
                words: Vec::new(),
                heredocs: Vec::new(),
            }
            .run(None);
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}
