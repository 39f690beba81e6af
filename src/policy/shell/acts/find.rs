//! `find` and `fd`.

use crate::policy::shell::{
    effect::Effect,
    place::Place,
    value::UNKNOWN,
    walk::{Io, Walk},
};

impl Walk<'_> {
    /// Where `find` begins, and whether it is narrowed to names that are not everything.
    fn find_roots(name: &str, words: &[String]) -> (Vec<String>, usize, bool) {
        let is_fd = name.starts_with("fd");
        let starts = words
            .iter()
            .position(|word| word.starts_with(['-', '(', '!']) && !matches!(word.as_str(), "-L" | "-H" | "-P"))
            .unwrap_or(words.len());
        let mut roots: Vec<String> = words[..starts]
            .iter()
            .filter(|word| !word.starts_with('-'))
            .cloned()
            .collect();
        if is_fd {
            roots.drain(..roots.len().min(1));
        }
        if roots.is_empty() {
            roots.push(".".to_owned());
        }
        // Narrowed to one name below each root.
        let by_name = |word: &String| matches!(word.as_str(), "-name" | "-iname");
        let named: Vec<&String> = words
            .windows(2)
            .filter(|pair| by_name(&pair[0]) && !pair[1].contains(['*', '?', '[']))
            .map(|pair| &pair[1])
            .collect();
        if let [name] = named.as_slice() {
            roots.iter_mut().for_each(|root| *root = format!("{root}/{name}"));
        }
        // Narrowed to some, by names or otherwise.
        let narrow = words.iter().any(|word| {
            let otherwise = [
                "-empty", "-mtime", "-mmin", "-atime", "-ctime", "-newer", "-size", "-user", "-perm",
            ];
            otherwise.contains(&word.as_str())
        }) || !named.is_empty()
            || words.windows(2).any(|pair| {
                let by_name = ["-name", "-iname", "-path", "-wholename", "-regex", "-ipath", "-iregex"];
                by_name.contains(&pair[0].as_str()) && !matches!(pair[1].as_str(), "*" | ".*" | "*.*" | "?*")
            });
        (roots, starts, narrow)
    }

    /// What `find` prints.
    pub(in crate::policy::shell) fn find_output(&mut self, name: &str, argv: &[String]) -> String {
        let (roots, _, narrow) = Self::find_roots(name, &argv[1..]);
        let found: Vec<String> = roots.iter().map(|root| self.found_below(root, narrow)).collect();
        found.join("\n")
    }

    pub(super) fn find(&mut self, name: &str, argv: &[String]) {
        let words = &argv[1..];
        let is_fd = name.starts_with("fd");
        let (roots, starts, narrow) = Self::find_roots(name, words);
        let mut at = starts;
        while let Some(word) = words.get(at) {
            at += 1;
            match word.as_str() {
                "-delete" => {
                    for root in &roots.clone() {
                        self.remove_below(root, narrow);
                    }
                }
                "-fprint" | "-fprintf" | "-fls" | "-fprint0" => {
                    if let Some(path) = words.get(at).cloned() {
                        self.writes(&path);
                    }
                }
                "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec" | "--exec-batch" => {
                    let end = words[at..].iter().position(|word| word == ";" || word == "+");
                    let end = end.map_or(words.len(), |end| at + end);
                    let command = &words[at..end];
                    for root in &roots.clone() {
                        let found = self.found_below(root, narrow);
                        let mut inner: Vec<String> = command.iter().map(|word| word.replace("{}", &found)).collect();
                        if is_fd && !command.iter().any(|word| word.contains("{}")) {
                            inner.push(found);
                        }
                        self.again(inner, &Io::default());
                    }
                    at = end;
                }
                _ => {}
            }
        }
        self.read_operands(argv);
    }

    /// What stands for `{}`: the root itself, or something below it.
    fn found_below(&mut self, root: &str, narrow: bool) -> String {
        match (self.place(root), narrow) {
            (Place::Temporary(_), true) => format!("{root}/{UNKNOWN}"),
            // The one name that is looked for may be one that counts.
            (place, true) if place.removed().is_some() || place.read().is_some() => root.to_owned(),
            (Place::Workspace(_) | Place::Unknown | Place::Temporary(_), _) => format!("{root}/{UNKNOWN}"),
            (Place::Home(parts), true) if !parts.is_empty() => format!("{root}/{UNKNOWN}"),
            _ => root.to_owned(),
        }
    }

    fn remove_below(&mut self, root: &str, narrow: bool) {
        match self.place(root) {
            // Files by their names, in a directory of one's own.
            Place::Home(parts) if narrow && !parts.is_empty() => {}
            Place::Temporary(_) => {}
            Place::Workspace(parts) if parts.is_empty() && !narrow => {
                self.note(Effect::DiscardsWork, "removes everything in the workspace".to_owned());
            }
            _ => self.removes(root),
        }
    }
}
