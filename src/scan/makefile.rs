//! What `make` without arguments runs: the first target, what it depends on, and what is run
//! while the file is read.

use std::collections::{BTreeMap, BTreeSet};

use super::{finding::Kind, look::Scan};
use crate::document::Spot;

/// Most targets that are followed.
const TARGETS_MAX: usize = 500;

/// One rule.
#[derive(Default)]
struct Rule {
    depends: Vec<String>,
    /// Lines of its recipe.
    recipe: Vec<(usize, String)>,
}

pub(super) fn file(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    let mut rules: BTreeMap<String, Rule> = BTreeMap::new();
    let mut first: Option<String> = None;
    let mut now: Vec<String> = Vec::new();
    let mut variables = String::new();
    let mut lines = content.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let mut whole = line.to_owned();
        while whole.ends_with('\\')
            && let Some((_, more)) = lines.next()
        {
            whole.push('\n');
            whole.push_str(more);
        }
        for command in shelled(&whole) {
            let when = "make, while it reads the file";
            scan.script(Kind::BuildHook, path, Spot::line(index + 1), when, &known(&command));
        }
        if let Some(recipe) = whole.strip_prefix('\t') {
            for target in &now {
                if let Some(rule) = rules.get_mut(target) {
                    rule.recipe.push((index + 1, recipe.to_owned()));
                }
            }
            continue;
        }
        let bare = whole.split('#').next().unwrap_or_default().trim();
        if bare.is_empty() {
            continue;
        }
        if let Some((name, value)) = assignment(bare) {
            if variables.len() < 64 << 10 && !value.contains(['\'', '\n', '$']) {
                variables.push_str(&format!("{name}='{value}'; "));
            }
            continue;
        }
        let Some((targets, rest)) = bare.split_once(':') else {
            continue;
        };
        let (depends, inline) = rest
            .trim_start_matches(':')
            .split_once(';')
            .unwrap_or((rest.trim_start_matches(':'), ""));
        now = targets
            .split_whitespace()
            .map(str::to_owned)
            .take(TARGETS_MAX)
            .collect();
        for target in &now {
            let rule = rules.entry(target.clone()).or_default();
            rule.depends.extend(depends.split_whitespace().map(str::to_owned));
            if !inline.trim().is_empty() {
                rule.recipe.push((index + 1, inline.trim().to_owned()));
            }
            if bare.starts_with(".DEFAULT_GOAL") || first.is_none() && !target.starts_with('.') && !target.contains('%')
            {
                first = Some(target.clone());
            }
        }
    }
    let mut wanted: Vec<String> = first.into_iter().collect();
    let mut done = BTreeSet::new();
    while let Some(target) = wanted.pop() {
        if done.len() >= TARGETS_MAX || !done.insert(target.clone()) {
            continue;
        }
        let Some(rule) = rules.get(&target) else { continue };
        wanted.extend(rule.depends.iter().rev().cloned());
        for (line, recipe) in &rule.recipe {
            let command = known(recipe.trim_start_matches(['@', '-', '+', ' ', '\t']));
            let spot = Spot {
                line: *line,
                spread: true,
            };
            let when = format!("make, for `{target}`");
            scan.script(Kind::BuildCommand, path, spot, &when, &format!("{variables}{command}"));
        }
    }
}

/// `NAME = VALUE` in any of make's spellings.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let at = line.find('=')?;
    let name = line[..at].trim_end_matches([':', '?', '+', '!']).trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| (name, line[at + 1..].trim()))
}

/// The commands of `$(shell …)`.
fn shelled(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("$(shell ") {
        rest = &rest[at + 8..];
        let mut depth = 1;
        let end = rest.char_indices().find(|(_, c)| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        all.push(rest[..end.map_or(rest.len(), |(at, _)| at)].to_owned());
    }
    all
}

/// A recipe as the shell gets it: `$(NAME)` is a variable, `$$` a dollar; what functions of make
/// and automatic variables give is not known here.
fn known(recipe: &str) -> String {
    let mut out = String::with_capacity(recipe.len());
    let mut chars = recipe.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '$' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('$') => out.push('$'),
            Some(open @ ('(' | '{')) => {
                let close = if open == '(' { ')' } else { '}' };
                let mut depth = 1;
                let mut name = String::new();
                for c in chars.by_ref() {
                    depth += i32::from(c == open);
                    depth -= i32::from(c == close);
                    if depth == 0 {
                        break;
                    }
                    name.push(c);
                }
                let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                // make's own compiler and remover.
                match name.as_str() {
                    "RM" => out.push_str("rm -f"),
                    "MAKE" => out.push_str("make"),
                    _ if plain => out.push_str(&format!("${{{name}}}")),
                    _ => out.push_str("${FILLED_IN}"),
                }
            }
            Some(_) => out.push_str("${FILLED_IN}"),
            None => out.push('$'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_functions_of_make_are_the_shells() {
        assert_eq!(
            known("$(CC) -o $@ $< $$HOME $(RM) x $(wildcard *.c) ${A}"),
            "${CC} -o ${FILLED_IN} ${FILLED_IN} $HOME rm -f x ${FILLED_IN} ${A}"
        );
        assert_eq!(shelled("A := $(shell git (x) y)$(shell id)"), ["git (x) y", "id"]);
        assert_eq!(assignment("export A ?= b c"), Some(("A", "b c")));
        assert_eq!(assignment("a: b=c"), None);
        for text in ["$", "$(", "${a", "$(shell ", "$(shell (("] {
            let _ = (known(text), shelled(text));
        }
    }
}
