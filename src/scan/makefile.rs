//! What `make` without arguments runs: the first target, what it depends on, and what is run
//! while the file is read.

use super::{finding::Kind, look::Scan};
use crate::document::{Makefile, Spot, makefile_lines};

/// Most bytes of variables that stand before each command.
const VARIABLES_MAX: usize = 64 << 10;

pub(super) fn file(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    for (number, line) in makefile_lines(&content) {
        for command in shelled(&line) {
            let when = "make, while it reads the file";
            scan.script(Kind::BuildHook, path, Spot::line(number), when, &known(&command));
        }
    }
    let makefile = Makefile::read(&content);
    let mut variables = String::new();
    for (name, value) in &makefile.variables {
        if variables.len() < VARIABLES_MAX && !value.contains(['\'', '\n', '$']) {
            variables.push_str(&format!("{name}='{value}'; "));
        }
    }
    for recipe in makefile.recipes(makefile.goal()) {
        let spot = Spot {
            line: recipe.line,
            spread: true,
        };
        let when = format!("make, for `{}`", recipe.target);
        let command = format!("{variables}{}", known(recipe.command));
        scan.script(Kind::BuildCommand, path, spot, &when, &command);
    }
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
        for text in ["$", "$(", "${a", "$(shell ", "$(shell (("] {
            let _ = (known(text), shelled(text));
        }
    }
}
