//! What a shell knows at one moment: variables, functions, aliases, its directory, and the
//! files that the script itself has written so far.

use std::rc::Rc;

use super::{
    tree::Command,
    value::{HOME, UNKNOWN, WORKSPACE, bounded},
};

/// Most values that one variable may have had.
const CANDIDATES: usize = 16;
/// Most variables, functions, aliases and files that are kept, each.
const KEPT: usize = 500;

/// A function, and the text that its spans are in.
pub type Function = (Rc<Command>, Rc<str>);

/// Names with what they stand for; shared until one changes.
pub type Names<T> = Rc<Vec<(Rc<str>, T)>>;
/// Variables, each with the values that it may have, the latest first.
pub type Variables = Names<Rc<Vec<String>>>;

/// What a shell knows.
#[derive(Clone, Default)]
pub struct Scene {
    variables: Variables,
    functions: Names<Function>,
    aliases: Names<Rc<str>>,
    /// Files that the script wrote, with their text; marks where it is not known.
    files: Names<Rc<str>>,
    /// `None` where the directory is not known.
    pub cwd: Option<String>,
    /// `$0`, where it is known.
    pub zero: Option<Rc<str>>,
    /// `$1` and so on; `None` where they are not known.
    pub positional: Option<Rc<[String]>>,
    /// Descriptors that lead to the network.
    pub network: Vec<u32>,
    /// Whether what runs now runs for sure.
    pub certain: bool,
}

impl Scene {
    /// The shell that a command line is given to.
    pub fn new() -> Self {
        Self {
            cwd: Some(format!("/{WORKSPACE}")),
            certain: true,
            ..Self::default()
        }
    }

    /// The values that a variable may have; none where nobody set it here.
    pub fn values(&self, name: &str) -> Rc<Vec<String>> {
        if let Some((_, values)) = self.variables.iter().find(|(known, _)| **known == *name) {
            return values.clone();
        }
        let known = match name {
            "HOME" => format!("/{HOME}"),
            "PWD" => match &self.cwd {
                Some(cwd) => cwd.clone(),
                None => return Rc::default(),
            },
            "GITHUB_WORKSPACE"
            | "CI_PROJECT_DIR"
            | "WORKSPACE"
            | "BUILD_SOURCESDIRECTORY"
            | "TRAVIS_BUILD_DIR"
            | "CIRCLE_WORKING_DIRECTORY"
            | "AIDER_FSM_REPO_ROOT" => format!("/{WORKSPACE}"),
            "IFS" => " \t\n".to_owned(),
            "TMPDIR" => "/tmp".to_owned(),
            "RUNNER_TEMP" => format!("/tmp/{UNKNOWN}"),
            "SHELL" | "BASH" => "/bin/bash".to_owned(),
            _ => return Rc::default(),
        };
        Rc::new(vec![known])
    }

    /// Whether the script itself set it.
    pub fn is_set(&self, name: &str) -> bool {
        self.variables.iter().any(|(known, _)| **known == *name)
    }

    /// Sets a variable to one of `values`. Where it is not certain that this happens, what it
    /// was before stays possible.
    pub fn set(&mut self, name: &str, values: Vec<String>) {
        let mut values: Vec<String> = values.into_iter().map(bounded).take(CANDIDATES).collect();
        if !self.certain {
            for old in self.values(name).iter().filter(|_| self.is_set(name)) {
                if values.len() < CANDIDATES && !values.contains(old) {
                    values.push(old.clone());
                }
            }
        }
        put(&mut self.variables, name, Rc::new(values));
    }

    /// Sets a variable to each of `values` in turn, whatever it was.
    pub fn set_all(&mut self, name: &str, values: Vec<String>) {
        let certain = std::mem::replace(&mut self.certain, true);
        // The worst are kept: a path from the root says more than a name.
        let (mut first, more): (Vec<_>, Vec<_>) = values
            .into_iter()
            .partition(|value| value.starts_with(['/', '~', '-', '.']) || super::value::is_open(value));
        first.extend(more);
        self.set(name, first);
        self.certain = certain;
    }

    /// Forgets a variable.
    pub fn unset(&mut self, name: &str) {
        self.set(name, vec![String::new()]);
    }

    /// What a variable was set to here, for [`Scene::put_back`].
    pub fn known(&self, name: &str) -> Option<Rc<Vec<String>>> {
        get(&self.variables, name).cloned()
    }

    /// Gives a variable back what it had.
    pub fn put_back(&mut self, name: &str, values: Option<Rc<Vec<String>>>) {
        match values {
            Some(values) => put(&mut self.variables, name, values),
            None => Rc::make_mut(&mut self.variables).retain(|(known, _)| **known != *name),
        }
    }

    /// The variables, for [`Scene::restore`].
    pub fn variables(&self) -> Variables {
        self.variables.clone()
    }

    /// Puts back variables.
    pub fn restore(&mut self, variables: Variables) {
        self.variables = variables;
    }

    /// Defines a function.
    pub fn define(&mut self, name: &str, function: Function) {
        put(&mut self.functions, name, function);
    }

    /// A function by its name.
    pub fn function(&self, name: &str) -> Option<Function> {
        get(&self.functions, name).cloned()
    }

    /// Defines an alias.
    pub fn alias(&mut self, name: &str, text: &str) {
        put(&mut self.aliases, name, Rc::from(bounded(text.to_owned())));
    }

    /// An alias by its name.
    pub fn aliased(&self, name: &str) -> Option<Rc<str>> {
        get(&self.aliases, name).cloned()
    }

    /// Forgets an alias for as long as its own text is followed; gives what there was.
    pub fn without_alias(&mut self, name: &str) -> Names<Rc<str>> {
        let before = self.aliases.clone();
        Rc::make_mut(&mut self.aliases).retain(|(known, _)| **known != *name);
        before
    }

    /// Puts back aliases.
    pub fn restore_aliases(&mut self, aliases: Names<Rc<str>>) {
        self.aliases = aliases;
    }

    /// Forgets an alias or, with `-a`, all.
    pub fn unalias(&mut self, name: &str) {
        Rc::make_mut(&mut self.aliases).retain(|(known, _)| name != "-a" && **known != *name);
    }

    /// Remembers what was written to a file.
    pub fn wrote(&mut self, path: &str, text: &str, appends: bool) {
        let text = match self.written(path) {
            Some(known) if appends || !self.certain => format!("{known}\n{text}"),
            _ => text.to_owned(),
        };
        put(&mut self.files, path, Rc::from(bounded(text)));
    }

    /// What the script wrote to a file.
    pub fn written(&self, path: &str) -> Option<&str> {
        get(&self.files, path).map(|text| &**text)
    }

    /// The files of a shell that this one started.
    pub fn take_files(&mut self, other: Scene) {
        self.files = other.files;
    }

    /// A file under another name.
    pub fn moved(&mut self, from: &str, to: &str) {
        if let Some(text) = self.written(from).map(str::to_owned) {
            self.wrote(to, &text, false);
        }
    }
}

fn get<'n, T>(names: &'n Names<T>, name: &str) -> Option<&'n T> {
    names.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
}

fn put<T: Clone>(names: &mut Names<T>, name: &str, value: T) {
    let names = Rc::make_mut(names);
    match names.iter().position(|(known, _)| **known == *name) {
        Some(at) => names[at].1 = value,
        None if names.len() < KEPT => names.push((Rc::from(name), value)),
        None => {}
    }
}
