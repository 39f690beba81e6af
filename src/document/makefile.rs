//! Makefiles: their rules, and what is run for a goal. make's own functions, patterns,
//! conditions and included files are not followed.

use std::collections::{BTreeMap, BTreeSet};

/// Most targets of one rule, and most that are followed.
const TARGETS_MAX: usize = 500;

/// The variable that names what is made where no goal is given.
const GOAL: &str = ".DEFAULT_GOAL";

/// One rule.
#[derive(Default)]
struct Rule {
    depends: Vec<String>,
    /// Lines of its recipe, each with its number in the file.
    recipe: Vec<(usize, String)>,
}

/// A line of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe<'m> {
    /// The target that it is run for.
    pub target: &'m str,
    /// Its line in the file, from 1.
    pub line: usize,
    /// The command, without make's marks before it. What it takes from make stands in it as
    /// written: `$(NAME)`, `$@`, `$$`.
    pub command: &'m str,
}

/// A Makefile.
#[derive(Default)]
pub struct Makefile {
    /// Variables that it sets, as they come.
    pub variables: Vec<(String, String)>,
    rules: Vec<Rule>,
    /// The rules of each target.
    targets: BTreeMap<String, Vec<usize>>,
    goal: Option<String>,
}

impl Makefile {
    /// Reads any text; what is no rule and no variable is left out.
    pub fn read(text: &str) -> Self {
        let mut read = Self::default();
        for (number, line) in logical(text) {
            if let Some(recipe) = line.strip_prefix('\t') {
                if let Some(rule) = read.rules.last_mut() {
                    rule.recipe.push((number, recipe.to_owned()));
                }
                continue;
            }
            let bare = line.split('#').next().unwrap_or_default().trim();
            if let Some((name, value)) = assignment(bare) {
                match name {
                    GOAL => read.goal = value.split_whitespace().next().map(str::to_owned),
                    _ => read.variables.push((name.to_owned(), value.to_owned())),
                }
                continue;
            }
            // After a semicolon it is the shell's to say what a comment is.
            let rule = if bare.contains(';') { line.trim() } else { bare };
            if let Some((targets, rest)) = rule.split_once(':') {
                read.rule(number, targets, rest.trim_start_matches(':'));
            }
        }
        read
    }

    /// A line that begins a rule; `rest` is what follows its colon.
    fn rule(&mut self, number: usize, targets: &str, rest: &str) {
        let (depends, inline) = rest.split_once(';').unwrap_or((rest, ""));
        let inline = Some(inline.trim()).filter(|inline| !inline.is_empty());
        for target in targets.split_whitespace().take(TARGETS_MAX) {
            self.targets
                .entry(target.to_owned())
                .or_default()
                .push(self.rules.len());
            if self.goal.is_none() && !target.starts_with('.') && !target.contains('%') {
                self.goal = Some(target.to_owned());
            }
        }
        self.rules.push(Rule {
            depends: depends.split_whitespace().map(str::to_owned).collect(),
            recipe: inline.map(|inline| (number, inline.to_owned())).into_iter().collect(),
        });
    }

    /// What `make` makes that is given no goal.
    pub fn goal(&self) -> Option<&str> {
        self.goal.as_deref()
    }

    /// What is run for goals: their recipes and those of all that they depend on. That of a rule
    /// with many targets comes once, for the first of them.
    pub fn recipes<'m>(&'m self, goals: impl IntoIterator<Item = &'m str>) -> impl Iterator<Item = Recipe<'m>> {
        let mut wanted: Vec<&str> = goals.into_iter().collect();
        let (mut done, mut run) = (BTreeSet::new(), BTreeSet::new());
        let mut all = Vec::new();
        while let Some(target) = wanted.pop() {
            if done.len() >= TARGETS_MAX || !done.insert(target) {
                continue;
            }
            let new = self
                .targets
                .get(target)
                .into_iter()
                .flatten()
                .filter(|index| run.insert(**index));
            let rules: Vec<&Rule> = new.map(|index| &self.rules[*index]).collect();
            let depends: Vec<&str> = rules
                .iter()
                .flat_map(|rule| &rule.depends)
                .map(String::as_str)
                .collect();
            wanted.extend(depends.into_iter().rev());
            all.extend(rules.into_iter().map(|rule| (target, rule)));
        }
        all.into_iter().flat_map(|(target, rule)| {
            rule.recipe.iter().map(move |(line, recipe)| Recipe {
                target,
                line: *line,
                command: recipe.trim_start_matches(['@', '-', '+', ' ', '\t']),
            })
        })
    }
}

/// The lines of a Makefile, each with the number of its first, from 1, and with those that a `\`
/// at its end adds to it.
pub fn logical(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        let (index, line) = lines.next()?;
        let mut whole = line.to_owned();
        while whole.ends_with('\\')
            && let Some((_, more)) = lines.next()
        {
            whole.push('\n');
            whole.push_str(more);
        }
        Some((index + 1, whole))
    })
}

/// `NAME = VALUE` in any of make's spellings.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let at = line.find('=')?;
    let name = line[..at].trim_end_matches([':', '?', '+', '!']).trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain || name == GOAL).then(|| (name, line[at + 1..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, goals: &[&str]) -> Vec<String> {
        let read = Makefile::read(text);
        let recipes = read.recipes(goals.iter().copied());
        recipes
            .map(|recipe| format!("{} {} {}", recipe.line, recipe.target, recipe.command))
            .collect()
    }

    #[test]
    fn a_goal_runs_its_recipes_and_those_of_what_it_depends_on() {
        let text = "A := x\nall: b c # d\n\t@echo \\\n\t  all\nb c: e; -run # it\n\t\t+last\ne::\n\tone\ne::\n\ttwo\nd:\n\tno\n";
        assert_eq!(Makefile::read(text).goal(), Some("all"));
        assert_eq!(
            shown(text, &["all"]),
            [
                "3 all echo \\\n\t  all",
                "5 b run # it",
                "6 b last",
                "8 e one",
                "10 e two",
            ]
        );
        assert_eq!(shown(text, &["d", "x"]), ["12 d no"]);
        assert!(shown(text, &[]).is_empty());
    }

    #[test]
    fn variables_are_no_targets() {
        let read = Makefile::read(".PHONY: a\n%.o: %.c\n\tcc\nexport A ?= b:c\nB = d # e\na: A=f\n");
        let variables: Vec<_> = read
            .variables
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        assert_eq!(variables, ["A b:c", "B d"]);
        assert_eq!(read.goal(), Some("a"));
        assert_eq!(assignment("a: b=c"), None);
        for spelt in [".DEFAULT_GOAL = b", ".DEFAULT_GOAL:=b", ".DEFAULT_GOAL ?= b # c"] {
            let read = Makefile::read(&format!("a:\n\tx\n{spelt}\n"));
            assert_eq!((read.goal(), read.variables.len()), (Some("b"), 0), "{spelt}");
        }
    }

    #[test]
    fn any_text_is_read() {
        for text in ["", "\t", "\\", ":", "::;", "=", "a: a\n\t", "a:\\\n\\", "\tx\n:\n\ty"] {
            let read = Makefile::read(text);
            let _ = read.recipes(read.goal()).count();
        }
    }
}
