//! Lists, pipelines and compound commands (XCU 2.9.2 to 2.9.5).

use std::rc::Rc;

use super::{Parsed, Parser, is_meta};
use crate::policy::shell::tree::{Command, Item, Kind, Pipeline, Script, Word};

impl Parser<'_> {
    /// Commands up to a `)`, a reserved word that ends them, `;;`, or the end.
    pub(super) fn script(&mut self) -> Parsed<Script> {
        let mut items = Vec::new();
        loop {
            self.newlines()?;
            if self.ends_list() {
                return Ok(Script { items });
            }
            let mut item = self.and_or()?;
            self.blanks();
            match self.peek() {
                Some(b'&') => {
                    self.at += 1;
                    item.background = true;
                }
                Some(b';') if !self.starts(";;") && !self.starts(";&") => self.at += 1,
                Some(b'\n' | b'#') | None => {}
                _ if self.ends_list() => {}
                // After a compound command: `(a) b`
                _ => return Err(self.unexpected("word")),
            }
            items.push(item);
        }
    }

    fn ends_list(&self) -> bool {
        match self.peek() {
            None | Some(b')') => true,
            Some(b';') => self.starts(";;") || self.starts(";&"),
            Some(b'}' | b't' | b'e' | b'f' | b'd') => ["}", "then", "else", "elif", "fi", "do", "done", "esac"]
                .iter()
                .any(|word| self.is_word(word)),
            _ => false,
        }
    }

    /// Whether the next word is `word`, unquoted.
    fn is_word(&self, word: &str) -> bool {
        self.starts(word) && self.peek_at(word.len()).is_none_or(is_meta)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let there = self.is_word(word);
        if there {
            self.at += word.len();
        }
        there
    }

    fn demand_word(&mut self, word: &'static str) -> Parsed<()> {
        self.newlines()?;
        match self.eat_word(word) {
            true => Ok(()),
            false => Err(self.unexpected("end of a compound command")),
        }
    }

    fn and_or(&mut self) -> Parsed<Item> {
        let begin = self.at;
        let mut pipelines = vec![self.pipeline()?];
        loop {
            let end = self.at;
            self.blanks();
            let after_or = self.eat("||");
            if !(after_or || self.eat("&&")) {
                return Ok(Item {
                    pipelines,
                    background: false,
                    span: begin..end,
                });
            }
            self.newlines()?;
            let pipeline = self.pipeline()?;
            pipelines.push(Pipeline { after_or, ..pipeline });
        }
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        let mut prefixed = false;
        loop {
            self.blanks();
            if self.eat_word("time") {
                self.blanks();
                while self.eat_word("-p") || self.eat_word("--") {
                    self.blanks();
                }
            } else if !self.eat_word("!") {
                break;
            }
            prefixed = true;
        }
        let mut commands = Vec::new();
        let ends = self
            .peek()
            .is_none_or(|byte| matches!(byte, b'\n' | b';' | b'&' | b')' | b'#'));
        if prefixed && ends && !self.starts("&>") {
            // `!` and `time` alone are commands that do nothing.
            commands.push(nothing(self.at));
            return Ok(Pipeline {
                commands,
                after_or: false,
            });
        }
        loop {
            commands.push(self.deeper(Self::command)?);
            self.blanks();
            if self.starts("||") || !self.eat("|") {
                return Ok(Pipeline {
                    commands,
                    after_or: false,
                });
            }
            self.eat("&");
            self.newlines()?;
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        let begin = self.at;
        let kind = match self.peek() {
            Some(b'(') => Some(self.parenthesis()?),
            Some(b'{' | b'i' | b'w' | b'u' | b'f' | b's' | b'c' | b'[') => self.compound()?,
            _ => None,
        };
        let Some(kind) = kind else {
            return self.simple(begin);
        };
        let is_function = matches!(kind, Kind::Function(..));
        let redirects = if is_function { Vec::new() } else { self.redirects()? };
        Ok(Command {
            kind,
            redirects,
            span: begin..self.at,
        })
    }

    /// `( … )` or `(( … ))`
    fn parenthesis(&mut self) -> Parsed<Kind> {
        if self.starts("((")
            && let Some(inner) = self.arithmetic_end(self.at + 2)
        {
            let begin = self.at + 2;
            let word = self.deeper(|parser| parser.arithmetic(begin, inner))?;
            self.at = inner + 2;
            return Ok(Kind::Arith(word));
        }
        self.at += 1;
        let script = self.script()?;
        match self.eat(")") {
            true => Ok(Kind::Subshell(script)),
            false => Err(self.unexpected("end of a subshell")),
        }
    }

    /// A compound command that begins with a reserved word; nothing is taken where there is none.
    fn compound(&mut self) -> Parsed<Option<Kind>> {
        let kind = if self.eat_word("{") {
            let script = self.script()?;
            self.demand_word("}")?;
            Kind::Group(script)
        } else if self.eat_word("if") {
            self.branches()?
        } else if self.eat_word("while") || self.eat_word("until") {
            let condition = self.script()?;
            Kind::While(condition, self.body()?)
        } else if self.eat_word("for") || self.eat_word("select") {
            self.for_loop()?
        } else if self.eat_word("case") {
            self.case()?
        } else if self.eat_word("[[") {
            Kind::Test(self.test()?)
        } else if self.eat_word("function") {
            self.function_word()?
        } else if self.eat_word("coproc") {
            self.coproc()?
        } else {
            return Ok(None);
        };
        Ok(Some(kind))
    }

    fn branches(&mut self) -> Parsed<Kind> {
        let mut branches = Vec::new();
        loop {
            let condition = self.script()?;
            self.demand_word("then")?;
            branches.push((condition, self.script()?));
            if self.eat_word("elif") {
                continue;
            }
            let otherwise = match self.eat_word("else") {
                true => self.script()?,
                false => Script::default(),
            };
            self.demand_word("fi")?;
            return Ok(Kind::If(branches, otherwise));
        }
    }

    /// `do … done`, or bash's `{ … }`.
    fn body(&mut self) -> Parsed<Script> {
        self.newlines()?;
        let end = if self.eat_word("{") {
            "}"
        } else {
            self.demand_word("do")?;
            "done"
        };
        let script = self.script()?;
        self.demand_word(end)?;
        Ok(script)
    }

    fn for_loop(&mut self) -> Parsed<Kind> {
        self.blanks();
        if self.starts("((") {
            let begin = self.at + 2;
            let end = self
                .arithmetic_end(begin)
                .ok_or_else(|| self.unexpected("end of `for ((`"))?;
            let word = self.deeper(|parser| parser.arithmetic(begin, end))?;
            self.at = end + 2;
            self.blanks();
            self.eat(";");
            return Ok(Kind::ForArith(word, self.body()?));
        }
        let name = self
            .word()?
            .and_then(|word| word.literal())
            .ok_or_else(|| self.unexpected("loop variable"))?;
        self.newlines()?;
        let mut words = None;
        if self.eat_word("in") {
            let mut list = Vec::new();
            loop {
                self.blanks();
                match self.word()? {
                    Some(word) => list.push(word),
                    None => break,
                }
            }
            words = Some(list);
        }
        self.blanks();
        if !self.starts(";;") {
            self.eat(";");
        }
        Ok(Kind::For(name, words, self.body()?))
    }

    fn case(&mut self) -> Parsed<Kind> {
        self.blanks();
        let word = self.word()?.ok_or_else(|| self.unexpected("end of `case`"))?;
        self.demand_word("in")?;
        let mut arms = Vec::new();
        loop {
            self.newlines()?;
            if self.eat_word("esac") {
                return Ok(Kind::Case(word, arms));
            }
            self.eat("(");
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?.ok_or_else(|| self.unexpected("end of a pattern"))?);
                self.blanks();
                if self.eat(")") {
                    break;
                }
                if !self.eat("|") {
                    return Err(self.unexpected("end of a pattern"));
                }
            }
            arms.push((patterns, self.script()?));
            let _ = self.eat(";;&") || self.eat(";;") || self.eat(";&");
        }
    }

    /// The words up to `]]`; operators between them are left out.
    fn test(&mut self) -> Parsed<Vec<Word>> {
        let mut words = Vec::new();
        loop {
            self.newlines()?;
            if self.eat_word("]]") {
                return Ok(words);
            }
            match self.peek() {
                None => return Err(self.unexpected("end of `[[`")),
                Some(b'<' | b'>') if self.peek_at(1) == Some(b'(') => {}
                Some(byte) if is_meta(byte) => {
                    self.at += 1;
                    continue;
                }
                Some(_) => {}
            }
            if let Some(word) = self.word()? {
                words.push(word);
            }
        }
    }

    /// `function NAME [()] COMMAND`
    fn function_word(&mut self) -> Parsed<Kind> {
        self.blanks();
        let name = self
            .word()?
            .and_then(|word| word.literal())
            .ok_or_else(|| self.unexpected("end of a function's name"))?;
        self.blanks();
        if self.eat("(") {
            self.blanks();
            if !self.eat(")") {
                return Err(self.unexpected("end of a function's name"));
            }
        }
        self.function_body(name)
    }

    pub(super) fn function_body(&mut self, name: String) -> Parsed<Kind> {
        self.newlines()?;
        let body = self.deeper(Self::command)?;
        match body.kind {
            Kind::Simple { .. } => Err(self.unexpected("body of a function")),
            _ => Ok(Kind::Function(name, Rc::new(body))),
        }
    }

    fn coproc(&mut self) -> Parsed<Kind> {
        self.blanks();
        // `coproc NAME { …; }`
        let begin = self.at;
        while self
            .peek()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            self.at += 1;
        }
        self.blanks();
        let compound = ["{", "while", "if", "for", "until", "case"];
        if !(self.peek() == Some(b'(') || compound.iter().any(|word| self.is_word(word))) {
            self.at = begin;
        }
        Ok(Kind::Coproc(Box::new(self.deeper(Self::command)?)))
    }
}

fn nothing(at: usize) -> Command {
    Command {
        kind: Kind::Simple {
            assigns: Vec::new(),
            words: Vec::new(),
        },
        redirects: Vec::new(),
        span: at..at,
    }
}
