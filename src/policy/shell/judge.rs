//! Rules over what a command line does: the verdict.

use regex::Regex;

use super::{
    effect::Effect,
    program::name_of,
    rules::{CommandRule, CommandRules, Ruling, WhenUndecided},
    seen::{Scripts, Seen},
    value::shown,
    verdict::Verdict,
    walk::{look_through, walk},
};
use crate::{
    document::{Fault, shown as escaped},
    policy::{Origin, Policy, SecurityMode, SettingName, SettingValue},
};

/// Most rules of one file.
const RULES_MAX: usize = 500;

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

/// Where a command line is going to run.
#[derive(Clone, Copy, Default)]
pub struct Setting<'a> {
    /// The contract's mode.
    pub mode: SecurityMode,
    /// The directory, below the workspace's root.
    pub dir: &'a str,
    /// Scripts of the workspace, which are followed where the command runs them.
    pub scripts: Option<&'a dyn Scripts>,
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

/// One simple command, and what the rules say of it.
#[derive(Clone, Debug)]
pub struct Ruled {
    /// The command.
    pub seen: Seen,
    /// The verdict.
    pub verdict: Verdict,
}

/// What decides so far: the ruling, its rule, the command, and what that command does.
type Found<'a> = (Ruling, Option<&'a Rule>, &'a Seen, Option<&'a (Effect, String)>);

impl Judge {
    /// By a policy's rules.
    pub fn new(policy: &Policy) -> Self {
        let at = |origin: &Origin| match origin {
            Origin::File { file, at, .. } => format!("{file}:{}", at.line),
            Origin::User(shown) => shown.clone(),
        };
        let undecided = policy.setting(SettingName::Undecided);
        Self {
            rules: policy
                .commands()
                .iter()
                .map(|said| Rule::new(&said.value, at(&said.origin)))
                .collect(),
            undecided: match undecided.map(|said| said.value) {
                Some(SettingValue::Undecided(undecided)) => undecided,
                _ => WhenUndecided::default(),
            },
            at: undecided.map_or(String::new(), |said| at(&said.origin)),
        }
    }

    /// What becomes of what nobody can decide.
    pub fn undecided(&self) -> WhenUndecided {
        self.undecided
    }

    /// The verdict on one command line, whatever it holds.
    pub fn verdict(&self, command: &str) -> Verdict {
        self.judge(command, &Setting::default()).verdict
    }

    /// The verdict on one command line where it is going to run.
    pub fn judge(&self, command: &str, setting: &Setting<'_>) -> Judged {
        let commands = walk(command, setting.dir, setting.scripts);
        let mut best: Option<Found<'_>> = None;
        for seen in &commands {
            // An allowing rule is worth naming, too.
            let found = self.of(seen, setting.mode);
            let better = match &best {
                None => found.0 != Ruling::Allow || found.1.is_some(),
                Some((known, ..)) => found.0 > *known,
            };
            if better {
                best = Some(found);
            }
        }
        let only_safe = best
            .as_ref()
            .and_then(|(_, rule, ..)| *rule)
            .is_some_and(|rule| rule.only_in == Some(SecurityMode::Safe));
        Judged {
            verdict: self.told(best),
            only_safe,
            commands,
        }
    }

    /// The verdict on each simple command of a text, in the order in which they were found.
    pub fn commands(&self, text: &str, setting: &Setting<'_>) -> Vec<Ruled> {
        self.each(walk(text, setting.dir, setting.scripts), setting.mode)
    }

    /// The same on what a program in another language gives to a shell, and does itself.
    pub fn code(&self, language: &str, code: &str, mode: SecurityMode) -> Vec<Ruled> {
        self.each(look_through(language, code), mode)
    }

    fn each(&self, commands: Vec<Seen>, mode: SecurityMode) -> Vec<Ruled> {
        commands
            .into_iter()
            .map(|seen| Ruled {
                verdict: self.ruled(&seen, mode),
                seen,
            })
            .collect()
    }

    /// The verdict on one command.
    pub fn ruled(&self, seen: &Seen, mode: SecurityMode) -> Verdict {
        let found = self.of(seen, mode);
        self.told(Some(found).filter(|found| found.0 != Ruling::Allow || found.1.is_some()))
    }

    /// What decides about one command: of its effects the gravest ruling, the first of equals.
    fn of<'a>(&'a self, seen: &'a Seen, mode: SecurityMode) -> Found<'a> {
        let mut best: Option<Found<'a>> = None;
        let mut consider = |found: Option<&'a (Effect, String)>| {
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
            let better = match &best {
                None => true,
                Some((known, known_rule, ..)) => {
                    ruling > *known || (ruling == *known && known_rule.is_none() && rule.is_some())
                }
            };
            if better {
                best = Some((ruling, rule, seen, found));
            }
        };
        match seen.effects.as_slice() {
            [] => consider(None),
            effects => effects.iter().for_each(|found| consider(Some(found))),
        }
        best.unwrap_or((Ruling::Allow, None, seen, None))
    }

    /// A decision in words; `None` where nothing is against it.
    fn told(&self, found: Option<Found<'_>>) -> Verdict {
        let Some((ruling, rule, seen, found)) = found else {
            return Verdict {
                verdict: Ruling::Allow,
                rule: "commands.rules".to_owned(),
                because: "no rule is against it".to_owned(),
                at: self.at.clone(),
            };
        };
        let what = found.map_or(String::new(), |(_, what)| format!(": {}", escaped(what)));
        let place = match seen.text.is_empty() {
            true => String::new(),
            false => format!(" (`{}`{what})", excerpt(&seen.text)),
        };
        match rule {
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
        }
    }
}

impl Judged {
    /// Whether every simple command fits one of `patterns`. What only runs others counts by
    /// those, and a script in a file by the command that runs it.
    pub fn all_fit(&self, patterns: &[Regex]) -> bool {
        self.commands.iter().all(|seen| {
            let unread = [Effect::CannotBeParsed, Effect::CannotBeFollowed];
            if seen.effects.iter().any(|(effect, _)| unread.contains(effect)) {
                return false;
            }
            seen.wraps
                || seen.in_file
                || seen.text.is_empty()
                || patterns.iter().any(|pattern| pattern.is_match(&seen.text))
        })
    }

    /// Whether a simple command, wherever it was found, fits `pattern`.
    pub fn any_fits(&self, pattern: &Regex) -> bool {
        self.commands.iter().any(|seen| pattern.is_match(&seen.text))
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

/// A command for one line of text.
fn excerpt(text: &str) -> String {
    escaped(&shown(text))
}

/// Everything that is wrong with the rules of one file: names, conditions, examples.
pub fn problems(section: &CommandRules) -> Vec<Fault> {
    let mut found = Vec::new();
    if section.rules.len() > RULES_MAX {
        let text = format!("`commands.rules` has more than {RULES_MAX} rules");
        return vec![section.rules[RULES_MAX].id.at.fault(text)];
    }
    for (index, rule) in section.rules.iter().enumerate() {
        let at = rule.id.at;
        let id = &rule.id.value;
        let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if id.is_empty() || id.len() > 64 || !id.chars().all(named) {
            found.push(at.fault("a rule's `id` is of letters, digits, `-`, `_` and `.`, at most 64"));
            continue;
        }
        if section.rules[..index].iter().any(|known| known.id.value == *id) {
            found.push(at.fault(format!("there are two rules `{id}`; rename one of them")));
        }
        let when = &rule.when;
        if when.argv.is_empty() && when.effect.is_none() && when.with.is_empty() {
            found.push(at.fault(format!(
                "`{id}` has no condition; give `argv`, `effect` or `with` in `when`"
            )));
            continue;
        }
        if when
            .argv
            .iter()
            .any(|words| words.all().is_empty() || words.all().iter().any(String::is_empty))
        {
            found.push(at.fault(format!("`{id}` has an empty word in `when.argv`")));
        }
        let own = Rule::new(rule, String::new());
        let fits = |text: &str| {
            let fits = |seen: &Seen| findings(seen).any(|effect| own.fits(seen, effect));
            walk(text, "", None).iter().any(fits)
        };
        for (examples, wanted) in [(&rule.matching, true), (&rule.not_match, false)] {
            for example in examples.iter().filter(|example| fits(&example.value) != wanted) {
                let text = escaped(&example.value);
                found.push(example.at.fault(match wanted {
                    true => format!("`{id}` does not fit its example `{text}`"),
                    false => format!("`{id}` fits `{text}`, which it is not to fit"),
                }));
            }
        }
    }
    found
}

impl Rule {
    fn new(rule: &CommandRule, at: String) -> Self {
        let when = &rule.when;
        let id = &rule.id.value;
        Self {
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
            at,
        }
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
