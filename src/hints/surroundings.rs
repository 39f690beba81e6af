//! What a sandbox has, as far as commands ask for it.

use std::collections::BTreeSet;

use super::{Hint, kind, placeholder};
use crate::policy::shell::listed;

/// Most names that are asked for.
const NAMES_MAX: usize = 80;

/// What a command finds where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Programs on the PATH, of those that were asked for.
    pub programs: BTreeSet<String>,
    /// Python modules that its interpreter finds, of those that were asked for.
    pub modules: BTreeSet<String>,
    /// The Python interpreter, as a word of a command.
    pub python: Option<String>,
    /// Its version, `3.12`.
    pub python_version: Option<String>,
    /// The model that is measured.
    pub model: Option<String>,
    /// Where it answers.
    pub base_url: Option<String>,
}

/// What hints ask of their surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Programs.
    pub programs: BTreeSet<String>,
    /// Top packages of Python modules.
    pub modules: BTreeSet<String>,
}

/// What has to be known of the surroundings before hints are adapted. Names are of letters,
/// digits, `.`, `_`, `+` and `-` alone, and begin with none of the last two.
pub fn wanted(hints: &[Hint]) -> Wanted {
    let mut wanted = Wanted::default();
    let plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && name.len() < 48
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
    };
    for name in ["python3", "python", "pytest", "xdist"] {
        wanted.programs.insert(name.to_owned());
    }
    for name in ["pytest", "xdist"] {
        wanted.modules.insert(name.to_owned());
    }
    for hint in hints {
        let hidden = placeholder::hide(&hint.command);
        for item in listed(&hidden.text).unwrap_or_default() {
            for command in &item.commands {
                let words = kind::words(command);
                let core = &words[kind::surrounded(&words)..];
                for program in [words.first(), core.first()].into_iter().flatten() {
                    if wanted.programs.len() < NAMES_MAX && plain(program) {
                        wanted.programs.insert((*program).to_owned());
                    }
                }
                let module = core
                    .iter()
                    .position(|word| *word == "-m")
                    .and_then(|at| core.get(at + 1));
                for name in [module, core.first()].into_iter().flatten() {
                    let top = name.split('.').next().unwrap_or_default();
                    if wanted.modules.len() < NAMES_MAX && is_module(top) {
                        wanted.modules.insert(top.to_owned());
                    }
                }
            }
        }
    }
    wanted
}

/// A name that Python imports.
pub(super) fn is_module(name: &str) -> bool {
    name.len() < 48
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
