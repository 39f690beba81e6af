//! Rules over what a command line does: the verdict.

use std::sync::OnceLock;

use regex::Regex;

use super::{
    effect::Effect,
    program::name_of,
    rules::{CommandRule, CommandRules, Ruling, WhenUndecided},
    value::shown,
    verdict::Verdict,
    walk::{Scripts, Seen, walk},
};
use crate::{
    document::{Fault, Position, shown as escaped},
    policy::SecurityMode,
};

/// Most rules of all layers together.
const RULES_MAX: usize = 500;
/// The rules that this program ships, and their file.
const SHIPPED: (&str, &str) = ("policies/default.yml", include_str!("../../../policies/default.yml"));

/// Decides about command lines.
#[derive(Clone, Debug)]
pub struct Judge {
    rules: Vec<Rule>,
    undecided: WhenUndecided,
    /// Where it is said what becomes of what no rule fits.
    at: String,
}

/// A rule, ready to be tried.
#[derive(Clone, Debug)]
struct Rule {
    id: String,
    verdict: Ruling,
    argv: Vec<Vec<String>>,
    effects: Vec<Effect>,
    with: Vec<String>,
    without: Vec<String>,
    only_in: Option<SecurityMode>,
    because: String,
    at: String,
}

/// What a command line does, and what the rules say of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule that decided is one of those for contracts of mode `safe` alone.
    pub only_safe: bool,
    /// Its simple commands.
    pub commands: Vec<Seen>,
}

impl Judge {
    /// By the rules that this program ships.
    pub fn shipped() -> &'static Judge {
        static JUDGE: OnceLock<Judge> = OnceLock::new();
        JUDGE.get_or_init(|| {
            let (file, text) = SHIPPED;
            // The tests read the same text.
            let read = shipped_rules(text).and_then(|rules| Judge::new(&[(file, &rules)]).map_err(|(_, fault)| fault));
            match read {
                Ok(judge) => judge,
                Err(fault) => panic!("{file}:{}: {}", fault.at.line, fault.message),
            }
        })
    }

    /// By the rules of several files, the one that decides first first. Every example is tried.
    ///
    /// # Errors
    /// The index of the file and what is wrong in it: a rule without conditions, two of one
    /// name, an example that does not come out.
    pub fn new(layers: &[(&str, &CommandRules)]) -> Result<Self, (usize, Fault)> {
        let mut rules: Vec<Rule> = Vec::new();
        for (index, (file, section)) in layers.iter().enumerate() {
            let begin = rules.len();
            for rule in &section.rules {
                let twice = rules[begin..].iter().any(|known| known.id == rule.id.value);
                let made = match (twice, rules.len() < RULES_MAX) {
                    (true, _) => Err(rule
                        .id
                        .at
                        .fault(format!("there are two rules `{}`", escaped(&rule.id.value)))),
                    (_, false) => Err(rule.id.at.fault(format!("there are more than {RULES_MAX} rules"))),
                    _ => Rule::new(rule, file),
                };
                rules.push(made.map_err(|fault| (index, fault))?);
            }
        }
        let said = layers
            .iter()
            .find_map(|(file, section)| section.undecided.map(|undecided| (file, undecided)));
        let judge = Self {
            rules,
            undecided: said.map_or(WhenUndecided::default(), |(_, undecided)| undecided.value),
            at: match said {
                Some((file, undecided)) => format!("{file}:{}", undecided.at.line),
                None => layers.first().map_or(String::new(), |(file, _)| format!("{file}:1")),
            },
        };
        for (index, (file, section)) in layers.iter().enumerate() {
            for rule in &section.rules {
                judge.try_examples(rule, file).map_err(|fault| (index, fault))?;
            }
        }
        Ok(judge)
    }

    fn try_examples(&self, rule: &CommandRule, file: &str) -> Result<(), Fault> {
        let at = place(file, rule.id.at);
        let Some(own) = self
            .rules
            .iter()
            .find(|known| known.id == rule.id.value && known.at == at)
        else {
            return Ok(());
        };
        let fits = |text: &str| {
            walk(text, None)
                .iter()
                .any(|seen| findings(seen).any(|effect| own.fits(seen, effect)))
        };
        for example in &rule.matching {
            if !fits(&example.value) {
                let text = escaped(&example.value);
                return Err(example
                    .at
                    .fault(format!("`{}` is to fit `{text}`, and does not", own.id)));
            }
        }
        for example in &rule.not_match {
            if fits(&example.value) {
                let text = escaped(&example.value);
                return Err(example
                    .at
                    .fault(format!("`{}` is not to fit `{text}`, and does", own.id)));
            }
        }
        Ok(())
    }

    /// What becomes of what nobody can decide.
    pub fn undecided(&self) -> WhenUndecided {
        self.undecided
    }

    /// The verdict on one command line, whatever it holds.
    pub fn verdict(&self, command: &str) -> Verdict {
        self.judge(command, SecurityMode::Safe, None).verdict
    }

    /// The verdict in a contract of a mode; `scripts` are followed where commands run them.
    pub fn judge(&self, command: &str, mode: SecurityMode, scripts: Option<&dyn Scripts>) -> Judged {
        let commands = walk(command, scripts);
        let mut best: Option<(Ruling, Option<&Rule>, &Seen, Option<&(Effect, String)>)> = None;
        for seen in &commands {
            let mut consider = |found: Option<&'_ (Effect, String)>| {
                let effect = found.map(|(effect, _)| *effect);
                let rule = self
                    .rules
                    .iter()
                    .find(|rule| rule.only_in.is_none_or(|only| only == mode) && rule.fits(seen, effect));
                let ruling = match (rule, effect) {
                    (Some(rule), _) => rule.verdict,
                    (None, Some(effect)) if effect.is_uncertain() => Ruling::Undecided,
                    (None, _) => Ruling::Allow,
                };
                let found = seen.effects.iter().find(|known| Some(known.0) == effect);
                // An allowing rule is worth naming, too.
                let better = match &best {
                    None => ruling != Ruling::Allow || rule.is_some(),
                    Some((known, _, _, _)) => ruling > *known,
                };
                if better {
                    best = Some((ruling, rule, seen, found));
                }
            };
            match seen.effects.as_slice() {
                [] => consider(None),
                effects => effects.iter().for_each(|found| consider(Some(found))),
            }
        }
        let (verdict, only_safe) = match best {
            None => (
                Verdict {
                    verdict: Ruling::Allow,
                    rule: "commands.rules".to_owned(),
                    because: "no rule is against it".to_owned(),
                    at: self.at.clone(),
                },
                false,
            ),
            Some((ruling, rule, seen, found)) => {
                let what = found.map_or(String::new(), |(_, what)| format!(": {}", escaped(what)));
                let place = match seen.text.is_empty() {
                    true => String::new(),
                    false => format!(" (`{}`{what})", excerpt(&seen.text)),
                };
                let verdict = match rule {
                    Some(rule) => Verdict {
                        verdict: ruling,
                        rule: rule.id.clone(),
                        because: format!("{}{place}", rule.because),
                        at: rule.at.clone(),
                    },
                    None => Verdict {
                        verdict: ruling,
                        rule: "commands.undecided".to_owned(),
                        because: format!("it cannot be told from the text{place}"),
                        at: self.at.clone(),
                    },
                };
                (
                    verdict,
                    rule.is_some_and(|rule| rule.only_in == Some(SecurityMode::Safe)),
                )
            }
        };
        Judged {
            verdict,
            only_safe,
            commands,
        }
    }
}

impl Judged {
    /// Whether every simple command fits one of `patterns`. What only runs others counts by those.
    pub fn all_fit(&self, patterns: &[Regex]) -> bool {
        self.commands.iter().all(|seen| {
            let unread = [Effect::CannotBeParsed, Effect::CannotBeFollowed];
            if seen.effects.iter().any(|(effect, _)| unread.contains(effect)) {
                return false;
            }
            seen.wraps || seen.text.is_empty() || patterns.iter().any(|pattern| pattern.is_match(&seen.text))
        })
    }

    /// Whether it waits for a person.
    pub fn waits_for_person(&self) -> bool {
        self.commands
            .iter()
            .any(|seen| seen.effects.iter().any(|(effect, _)| *effect == Effect::WaitsForPerson))
    }
}

/// Its effects one by one; a command without any is tried once.
fn findings(seen: &Seen) -> impl Iterator<Item = Option<Effect>> {
    let none = seen.effects.is_empty().then_some(None);
    seen.effects.iter().map(|(effect, _)| Some(*effect)).chain(none)
}

fn place(file: &str, at: Position) -> String {
    format!("{file}:{}", at.line)
}

/// A command for one line of text.
fn excerpt(text: &str) -> String {
    escaped(&shown(text))
}

#[derive(serde::Deserialize)]
struct Shipped {
    commands: CommandRules,
}

fn shipped_rules(text: &str) -> Result<CommandRules, Fault> {
    crate::document::read::<Shipped>(text.as_bytes()).map(|shipped| shipped.commands)
}

impl Rule {
    fn new(rule: &CommandRule, file: &str) -> Result<Self, Fault> {
        let when = &rule.when;
        let at = rule.id.at;
        let id = &rule.id.value;
        let named =
            !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) && id.len() <= 64;
        if !named {
            return Err(at.fault("a rule's name is of letters, digits, `-`, `_` and `.`, at most 64"));
        }
        if when.argv.is_empty() && when.effect.is_none() && when.with.is_empty() {
            return Err(at.fault(format!(
                "`{id}` has no condition; give `argv`, `effect` or `with` in `when`"
            )));
        }
        if when
            .argv
            .iter()
            .any(|words| words.all().is_empty() || words.all().iter().any(String::is_empty))
        {
            return Err(at.fault(format!("`{id}` has an empty word in `argv`")));
        }
        Ok(Self {
            id: id.clone(),
            verdict: rule.verdict,
            argv: when.argv.iter().map(|words| words.all().to_vec()).collect(),
            effects: when
                .effect
                .as_ref()
                .map_or(Vec::new(), |effects| effects.all().to_vec()),
            with: when.with.clone(),
            without: when.without.clone(),
            only_in: rule.only_in,
            because: rule
                .because
                .clone()
                .unwrap_or_else(|| format!("the rule `{id}` says so")),
            at: place(file, at),
        })
    }

    fn fits(&self, seen: &Seen, effect: Option<Effect>) -> bool {
        if !self.effects.is_empty() && !effect.is_some_and(|effect| self.effects.contains(&effect)) {
            return false;
        }
        let (program, arguments) = match seen.argv.split_first() {
            Some((program, arguments)) => (name_of(program), arguments),
            None if self.argv.is_empty() && self.with.is_empty() => return true,
            None => return false,
        };
        if let Some((first, rest)) = self.argv.split_first() {
            if !first.iter().any(|word| is(program, word)) {
                return false;
            }
            let mut given = arguments.iter().filter(|word| !word.starts_with('-'));
            let fits = |words: &Vec<String>| {
                given
                    .next()
                    .is_some_and(|given| words.iter().any(|word| is(given, word)))
            };
            if !rest.iter().all(fits) {
                return false;
            }
        }
        let there = |words: &[String]| {
            arguments.iter().any(|given| {
                let name = given.split('=').next().unwrap_or(given);
                words.iter().any(|word| is(given, word) || name == word)
            }) || words.iter().any(|word| is(program, word))
        };
        (self.with.is_empty() || there(&self.with)) && (self.without.is_empty() || !there(&self.without))
    }
}

fn is(given: &str, word: &str) -> bool {
    match word.strip_suffix('*') {
        Some(begin) => given.starts_with(begin),
        None => given == word,
    }
}
