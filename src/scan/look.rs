//! Which file is read by whom, and what becomes of what they find.

use std::collections::HashSet;

use super::{
    agents, ci, contract,
    copy::{Copy, Text},
    editors,
    finding::{Finding, Kind},
    git, hooks, source,
};
use crate::document::{Foreign, Spot};
use crate::{
    document::Fault,
    names::RelPath,
    policy::{
        Policy, SecurityMode,
        shell::{Effect, Judge, Ruled, Ruling, Seen, Setting, Verdict, is_made},
    },
    report::escape,
    tree::{EntryKind, Pristine},
};

/// Most findings; beyond them they are counted.
const FINDINGS_MAX: usize = 10_000;
/// Most findings of one file.
const FILE_FINDINGS_MAX: usize = 500;
/// Longest text of a finding, in characters.
const SHOWN_MAX: usize = 300;

/// What came of going over a repository.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// By file and line.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub left_out: u64,
}

/// Goes over a copied repository and says of all that it would do what `policy` says of it.
pub fn scan(pristine: &Pristine, policy: &Policy) -> Scanned {
    let mut scan = Scan {
        copy: Copy(pristine),
        policy: policy.clone(),
        judge: Judge::new(policy),
        mode: SecurityMode::default(),
        measured: Vec::new(),
        found: Vec::new(),
        known: HashSet::new(),
        of_file: (String::new(), 0),
        left_out: 0,
    };
    // They say by which rules and in which mode the others are judged.
    contract::policy(&mut scan);
    contract::pipeline(&mut scan);
    let paths: Vec<RelPath> = pristine.manifest.keys().cloned().collect();
    for path in &paths {
        scan.path(path);
    }
    for (path, why) in &pristine.skipped {
        let Ok(name) = std::str::from_utf8(path.as_bytes()) else {
            continue;
        };
        if is_of_interest(name) {
            scan.not_read(name, 1, why);
        }
    }
    let mut findings = scan.found;
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Scanned {
        findings,
        left_out: scan.left_out,
    }
}

/// Going over one repository.
pub(super) struct Scan<'a> {
    pub copy: Copy<'a>,
    pub policy: Policy,
    pub judge: Judge,
    /// The contract's.
    pub mode: SecurityMode,
    /// Files that the contract measures by.
    pub measured: Vec<String>,
    found: Vec<Finding>,
    known: HashSet<(String, usize, String, String)>,
    of_file: (String, usize),
    left_out: u64,
}

/// A file under its name.
#[derive(Clone, Copy)]
pub(super) struct Named<'p> {
    /// The whole path.
    pub path: &'p str,
    /// Its last name.
    pub name: &'p str,
    /// The directory, `""` at the top.
    pub dir: &'p str,
}

impl<'p> Named<'p> {
    pub fn of(path: &'p str) -> Self {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Self { path, name, dir }
    }

    /// Whether a directory of this name is above it.
    pub fn is_in(&self, name: &str) -> bool {
        self.dir.split('/').any(|part| part == name)
    }

    pub fn ends(&self, ends: &[&str]) -> bool {
        ends.iter().any(|end| self.name.ends_with(end))
    }
}

/// Whether a file that could not be read would have mattered.
fn is_of_interest(path: &str) -> bool {
    let file = Named::of(path);
    path == "pipeline.yml"
        || path.starts_with(".aider_fsm")
        || path.starts_with(".git/")
        || ci::reads(&file)
        || agents::reads(&file)
        || editors::reads(&file)
        || hooks::reads(&file)
        || git::reads(&file)
        || file.name == "conftest.py"
}

impl Scan<'_> {
    fn path(&mut self, path: &RelPath) {
        // No program finds a name that is no text by that name.
        let Ok(name) = std::str::from_utf8(path.as_bytes()) else {
            return;
        };
        let file = Named::of(name);
        match self.copy.manifest().get(path).map(|entry| entry.kind.clone()) {
            Some(EntryKind::Symlink { target }) => self.link(name, &target),
            Some(EntryKind::File { .. }) => {
                contract::file(self, &file);
                ci::file(self, &file);
                agents::file(self, &file);
                editors::file(self, &file);
                git::file(self, &file);
                hooks::file(self, &file);
                source::file(self, &file);
            }
            _ => {}
        }
    }

    /// A link whose target is not in the tree.
    fn link(&mut self, path: &str, target: &[u8]) {
        let target = String::from_utf8_lossy(target).into_owned();
        let mut depth = path.split('/').count() - 1;
        let mut leaves = target.starts_with('/');
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." if depth == 0 => leaves = true,
                ".." => depth -= 1,
                _ => depth += 1,
            }
        }
        if !leaves {
            return;
        }
        // As if somebody read it by its name.
        let read = self.judge.commands(
            &format!("cat -- {}", crate::policy::shell::quoted([target.as_str()])),
            &Setting::default(),
        );
        let effects = read.into_iter().flat_map(|ruled| ruled.seen.effects).collect();
        self.note(
            Kind::LinkOutside,
            path,
            1,
            "whoever opens it",
            &format!("leads to {target}"),
            effects,
        );
    }

    /// The text of a file that matters.
    pub fn text(&mut self, path: &str) -> Option<String> {
        let path_of = RelPath::new(path).ok()?;
        match self.copy.text(&path_of) {
            Text::Known(text) => Some(text),
            Text::Not(why) => {
                self.not_read(path, 1, &why);
                None
            }
        }
    }

    /// A document of a file that matters, where it can be understood.
    pub fn document<'t>(
        &mut self,
        path: &str,
        text: &'t str,
        read: fn(&'t str) -> Result<Foreign<'t>, Fault>,
    ) -> Option<Foreign<'t>> {
        match read(text) {
            Ok(document) => Some(document),
            Err(fault) => {
                self.not_read(path, fault.at.line, &fault.message);
                None
            }
        }
    }

    /// A file that was not read or not understood.
    pub fn not_read(&mut self, path: &str, line: usize, why: &str) {
        let effects = vec![(Effect::CannotBeParsed, why.to_owned())];
        self.note(Kind::NotRead, path, line, "nobody knows", why, effects);
    }

    /// Something that is no command, with what it comes to.
    pub fn note(
        &mut self,
        kind: Kind,
        file: &str,
        line: usize,
        when: &str,
        what: &str,
        effects: Vec<(Effect, String)>,
    ) {
        let seen = Seen {
            argv: vec![kind.name().to_owned(), what.to_owned()],
            text: what.to_owned(),
            effects,
            ..Seen::default()
        };
        let verdict = self.judge.ruled(&seen, self.mode);
        let effects = seen.effects.iter().map(|(effect, _)| *effect).collect();
        self.push(kind, file, line, when, what, effects, verdict);
    }

    /// A command or a script, in the contract's mode.
    pub fn script(&mut self, kind: Kind, file: &str, spot: Spot, when: &str, text: &str) {
        self.script_in(kind, file, spot, when, text, self.mode);
    }

    /// The same in a mode.
    pub fn script_in(&mut self, kind: Kind, file: &str, spot: Spot, when: &str, text: &str, mode: SecurityMode) {
        if text.trim().is_empty() {
            return;
        }
        let setting = Setting {
            mode,
            dir: "",
            scripts: Some(&self.copy),
        };
        let ruled = self.judge.commands(text, &setting);
        self.ruled(kind, file, spot, when, text, ruled);
    }

    /// A program in another language.
    pub fn code(&mut self, kind: Kind, file: &str, spot: Spot, when: &str, (language, text): (&str, &str)) {
        let ruled = self.judge.code(language, text, self.mode);
        self.ruled(kind, file, spot, when, text, ruled);
    }

    /// What is not simply allowed each at its place; else the whole as one.
    fn ruled(&mut self, kind: Kind, file: &str, spot: Spot, when: &str, text: &str, ruled: Vec<Ruled>) {
        let mut effects: Vec<Effect> = Vec::new();
        let mut allowed = None;
        let mut other = false;
        for Ruled { seen, verdict } in ruled {
            let own: Vec<Effect> = seen.effects.iter().map(|(effect, _)| *effect).collect();
            if verdict.verdict == Ruling::Allow {
                effects.extend(
                    own.iter()
                        .filter(|effect| !effects.contains(effect))
                        .copied()
                        .collect::<Vec<_>>(),
                );
                allowed.get_or_insert(verdict);
                continue;
            }
            other = true;
            let (place, line) = match &seen.file {
                Some(place) => (place.to_string(), seen.line),
                None => (file.to_owned(), spot.of(seen.line)),
            };
            let what = match self.as_written(&seen, text) {
                Some(written) => written,
                None => text.to_owned(),
            };
            self.push(kind, &place, line, when, &what, own, verdict);
        }
        if let (false, Some(verdict)) = (other, allowed) {
            self.push(kind, file, spot.line, when, text, effects, verdict);
        }
    }

    /// A command as it is written; one of a text that was made, by the line that made it.
    fn as_written(&self, seen: &Seen, text: &str) -> Option<String> {
        if !seen.text.is_empty() && !is_made(&seen.text) {
            return Some(seen.text.clone());
        }
        let of_line = |text: &str| text.lines().nth(seen.line.checked_sub(1)?).map(str::to_owned);
        match &seen.file {
            None => of_line(text),
            Some(file) => match self.copy.text(&RelPath::new(file.as_bytes()).ok()?) {
                Text::Known(text) => of_line(&text),
                Text::Not(_) => None,
            },
        }
    }

    /// Keeps one finding, once.
    #[allow(clippy::too_many_arguments, reason = "the fields of one finding")]
    pub fn push(
        &mut self,
        kind: Kind,
        file: &str,
        line: usize,
        when: &str,
        what: &str,
        effects: Vec<Effect>,
        verdict: Verdict,
    ) {
        let what = escape(what.trim().as_bytes(), SHOWN_MAX).to_string();
        // A script that several run is found once in each of its places.
        if !self
            .known
            .insert((file.to_owned(), line, verdict.rule.clone(), what.clone()))
        {
            return;
        }
        if self.of_file.0 != file {
            self.of_file = (file.to_owned(), 0);
        }
        self.of_file.1 += 1;
        let grave = verdict.verdict == Ruling::Deny;
        let full = self.found.len() >= FINDINGS_MAX || self.of_file.1 > FILE_FINDINGS_MAX;
        // What is refused is the last to be left out.
        if full && !(grave && self.found.len() < 2 * FINDINGS_MAX) {
            self.left_out += 1;
            return;
        }
        self.found.push(Finding {
            file: escape(file.as_bytes(), 4096).to_string(),
            line,
            kind,
            when: escape(when.as_bytes(), SHOWN_MAX).to_string(),
            what,
            effects,
            verdict: verdict.verdict,
            rule: verdict.rule,
            because: verdict.because,
            at: verdict.at,
            enforced_by: kind.enforced_by(verdict.verdict).to_owned(),
        });
    }
}
