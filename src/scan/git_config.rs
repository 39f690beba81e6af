//! git's configuration (git-config(1), "CONFIGURATION FILE"), as far as it makes git run
//! something or talk to somebody else.

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// The line.
    pub line: usize,
    /// The section, in lower case.
    pub section: String,
    /// The part of the section's name in quotes.
    pub of: String,
    /// The name, in lower case.
    pub name: String,
    /// The value; `true` where none is given.
    pub value: String,
}

/// What a variable makes git do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Runs a line of a shell, on the occasion.
    Runs(&'static str),
    /// Runs hooks of another directory.
    Hooks,
    /// Reads another file of the same kind.
    Includes,
    /// Talks to another server than the one that is named.
    Redirects,
}

/// Longest file that is read, in lines.
const LINES_MAX: usize = 20_000;

/// The variables of a file, those it has before anything that cannot be read.
pub(super) fn read(text: &str) -> Vec<Variable> {
    let mut all = Vec::new();
    let (mut section, mut of) = (String::new(), String::new());
    let mut lines = text.lines().enumerate().take(LINES_MAX);
    while let Some((index, line)) = lines.next() {
        let mut rest = line.trim();
        if rest.starts_with('[') {
            let Some(end) = header_end(rest) else { continue };
            let head = &rest[1..end];
            let (name, quoted) = head.split_once('"').unwrap_or((head, ""));
            section = name.trim().to_ascii_lowercase();
            of = quoted
                .trim_end()
                .trim_end_matches('"')
                .replace("\\\"", "\"")
                .replace("\\\\", "\\");
            if let (true, Some((first, second))) = (of.is_empty(), section.clone().split_once('.')) {
                (section, of) = (first.to_owned(), second.to_owned());
            }
            rest = rest[end + 1..].trim();
        }
        if rest.is_empty() || rest.starts_with(['#', ';']) {
            continue;
        }
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name.trim(), value.trim()),
            None => (rest, "true"),
        };
        let mut value = value.to_owned();
        while value.ends_with('\\')
            && !value.ends_with("\\\\")
            && let Some((_, more)) = lines.next()
        {
            value.pop();
            value.push_str(more.trim());
        }
        all.push(Variable {
            line: index + 1,
            section: section.clone(),
            of: of.clone(),
            name: name.to_ascii_lowercase(),
            value: bare(&value),
        });
    }
    all
}

/// Where a section's head ends: behind what is quoted in it.
fn header_end(head: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in head.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ']' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// A value without its quotes, escapes and the comment behind it.
fn bare(value: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '#' | ';' if !quoted => break,
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(c) => out.push(c),
                None => {}
            },
            c => out.push(c),
        }
    }
    out.trim_end().to_owned()
}

impl Variable {
    /// Its full name, as git says it.
    pub fn full_name(&self) -> String {
        match self.of.is_empty() {
            true => format!("{}.{}", self.section, self.name),
            false => format!("{}.{}.{}", self.section, self.of, self.name),
        }
    }

    /// What it makes git do; `None` where it runs nothing.
    pub fn act(&self) -> Option<Act> {
        let value = self.value.trim();
        let is_set = !value.is_empty();
        let act = match (self.section.as_str(), self.name.as_str()) {
            // A boolean is git's own monitor.
            ("core", "fsmonitor") => {
                let is_bool = matches!(
                    value.to_ascii_lowercase().as_str(),
                    "true" | "false" | "yes" | "no" | "on" | "off" | "1" | "0"
                );
                return (is_set && !is_bool).then_some(Act::Runs("every `git status`, `git diff`, `git add`"));
            }
            ("core", "hookspath") => Act::Hooks,
            ("core", "sshcommand") => Act::Runs("every fetch and push over ssh"),
            ("core", "gitproxy") => Act::Runs("every fetch of the git protocol"),
            ("core", "askpass") => Act::Runs("every question for a password"),
            ("core", "editor") | ("sequence", "editor") => Act::Runs("every commit message or rebase"),
            ("core", "pager") | ("pager", _) if !matches!(value, "cat" | "less" | "true" | "false" | "less -FRX") => {
                Act::Runs("every output on a terminal")
            }
            ("core", "alternaterefscommand") => Act::Runs("every fetch from an alternate"),
            ("diff", "external") | ("diff", "command" | "textconv") => Act::Runs("every diff of such files"),
            ("filter", "clean" | "smudge" | "process") => {
                let lfs = value.starts_with("git-lfs ") || value.starts_with("git lfs ");
                return (is_set && !lfs).then_some(Act::Runs("every checkout, status and add of such files"));
            }
            ("merge", "driver") => Act::Runs("every merge of such files"),
            ("alias", _) if value.starts_with('!') => Act::Runs("the alias"),
            ("credential", "helper") if value.starts_with(['!', '/', '.', '~']) => {
                Act::Runs("every question for a password")
            }
            ("gpg", "program") => Act::Runs("every signature"),
            ("interactive", "difffilter") => Act::Runs("every `git add -p`"),
            ("difftool" | "mergetool" | "browser" | "man", "cmd" | "path") => Act::Runs("the tool"),
            ("submodule", "update") if value.starts_with('!') => Act::Runs("every `git submodule update`"),
            ("remote", "uploadpack" | "receivepack" | "vcs") => Act::Runs("every fetch and push"),
            ("uploadpack", "packobjectshook") => Act::Runs("every fetch from here"),
            ("sendemail", "smtpserver" | "tocmd" | "cccmd") if value.starts_with('/') => {
                Act::Runs("every `git send-email`")
            }
            ("trailer", "command" | "cmd") => Act::Runs("every commit message"),
            ("init", "templatedir") => Act::Hooks,
            ("include" | "includeif", "path") => Act::Includes,
            ("url", "insteadof" | "pushinsteadof") => Act::Redirects,
            ("remote", "proxy") | ("http", "proxy") | ("remote", "pushurl") => Act::Redirects,
            ("http", "sslverify") if matches!(value, "false" | "no" | "off" | "0") => Act::Redirects,
            ("remote" | "submodule", "url") if value.starts_with("ext::") || value.starts_with('-') => {
                Act::Runs("every fetch and push")
            }
            ("protocol", "allow") if self.of == "ext" && value != "never" => Act::Redirects,
            ("core", "worktree") if value.starts_with('/') || value.contains("../..") => Act::Redirects,
            _ => return None,
        };
        is_set.then_some(act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(text: &str) -> Vec<(usize, String, String)> {
        let all = read(text);
        let acting = all.iter().filter(|one| one.act().is_some());
        acting
            .map(|one| (one.line, one.full_name(), one.value.clone()))
            .collect()
    }

    #[test]
    fn what_runs_something_is_told_from_what_does_not() {
        let text = "[core]\n\trepositoryformatversion = 0\n\tFSMonitor = .git/x.sh # c\n  fsmonitor = true\n[core] hooksPath=\"a b\" ; c\n\
            [remote \"origin\"]\n\turl = https://x/y.git\n[remote \"e\"]\n\turl = ext::sh -c id\n[alias]\n\tst = status\n\tx = !id\n\
            [filter \"lfs\"]\n\tclean = git-lfs clean -- %f\n[filter \"a\\\"]b\"]\n\tsmudge = sh \\\n -c id\n[diff.x]\n\ttextconv = cat\n";
        let expected = [
            (3, "core.fsmonitor", ".git/x.sh"),
            (5, "core.hookspath", "a b"),
            (9, "remote.e.url", "ext::sh -c id"),
            (12, "alias.x", "!id"),
            (16, "filter.a\"]b.smudge", "sh -c id"),
            (19, "diff.x.textconv", "cat"),
        ];
        let expected: Vec<_> = expected
            .map(|(line, name, value)| (line, name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(acts(text), expected);
        for text in ["[", "[a", "=", "[a]\n=\\", "\\", "[\"]\nx"] {
            let _ = acts(text);
        }
    }
}
