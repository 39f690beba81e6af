//! git's ways to lose work, and to run programs.

use super::Arguments;
use crate::policy::shell::{
    effect::Effect,
    place::Place,
    walk::{Io, Walk},
};

/// Settings whose value git runs.
const RUNS: [&str; 12] = [
    "core.pager",
    "core.editor",
    "core.sshcommand",
    "core.fsmonitor",
    "core.askpass",
    "core.gitproxy",
    "diff.external",
    "sequence.editor",
    "credential.helper",
    "gpg.program",
    "pager.",
    "uploadpack.packobjectshook",
];

impl Walk<'_> {
    /// `false` where `name` is not git.
    pub(super) fn git_effects(&mut self, name: &str, argv: &[String]) -> bool {
        if name == "hub" || name == "gh" {
            let words: Vec<&str> = argv[1..].iter().map(String::as_str).collect();
            if name == "gh" {
                match words.as_slice() {
                    ["auth", "login", rest @ ..] if !rest.contains(&"--with-token") => {
                        self.note(Effect::WaitsForPerson, "asks on the terminal".to_owned());
                    }
                    ["repo" | "release" | "secret" | "gist", "delete", ..] => {
                        self.note(Effect::DestroysRemotely, "deletes what is kept elsewhere".to_owned());
                    }
                    ["auth", "token", ..] => self.note(Effect::ReadsSecrets, "prints a token".to_owned()),
                    _ => {}
                }
            }
            return true;
        }
        if name != "git" {
            return false;
        }
        let cwd = self.scene.cwd.clone();
        let mut at = 1;
        while let Some(word) = argv.get(at) {
            match word.as_str() {
                "-c" | "--config-env" => {
                    if let Some((key, value)) = argv.get(at + 1).and_then(|word| word.split_once('=')) {
                        self.setting(&key.to_ascii_lowercase(), value);
                    }
                    at += 2;
                }
                "-C" => {
                    if let Some(dir) = argv.get(at + 1) {
                        self.enter(&dir.clone());
                    }
                    at += 2;
                }
                "--git-dir" | "--work-tree" | "--namespace" | "--exec-path" => at += 2,
                word if word.starts_with('-') => at += 1,
                _ => break,
            }
        }
        let rest = argv.get(at..).unwrap_or_default();
        if let Some(verb) = rest.first() {
            self.git_verb(&verb.clone(), rest);
        }
        self.scene.cwd = cwd;
        true
    }

    fn setting(&mut self, key: &str, value: &str) {
        let runs = RUNS.iter().any(|known| key.starts_with(known))
            || key.ends_with(".command")
            || key.ends_with(".textconv")
            || key.ends_with(".cmd")
            || key.ends_with(".driver")
            || (key.starts_with("filter.") && !key.ends_with(".required"));
        let script = match value.strip_prefix('!') {
            Some(script) => script,
            None if runs => value,
            None => return,
        };
        let script = script.to_owned();
        self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
    }

    fn git_verb(&mut self, verb: &str, rest: &[String]) {
        let takes = [
            "-m",
            "-b",
            "-B",
            "-e",
            "--exclude",
            "-s",
            "--source",
            "--pathspec-from-file",
            "-x",
            "--exec",
        ];
        let arguments = Arguments::of(rest, &takes);
        let everything = |path: &&str| matches!(*path, "." | "./" | ":/" | "*" | "-A" | ":/*" | "./*" | ".." | ":");
        let work = "throws away what is not committed".to_owned();
        match verb {
            "checkout" | "restore" => {
                let staged = verb == "restore" && arguments.has('S', "staged") && !arguments.has('W', "worktree");
                if arguments.operands.iter().any(everything) && !staged {
                    self.note(Effect::TampersWithEvidence, work);
                } else if !staged {
                    for path in &arguments.operands {
                        if self.place(path).written() == Some(Effect::TampersWithEvidence) {
                            self.note(Effect::TampersWithEvidence, format!("puts back {path}"));
                        }
                    }
                    if arguments.has('f', "force") {
                        self.note(Effect::DiscardsWork, work);
                    }
                }
            }
            "reset"
                if rest
                    .iter()
                    .any(|word| ["--hard", "--merge", "--keep"].contains(&word.as_str())) =>
            {
                self.note(Effect::DiscardsWork, work);
            }
            "clean" => {
                let outside = arguments
                    .operands
                    .iter()
                    .any(|path| !matches!(self.place(path), Place::Workspace(_) | Place::Unknown));
                let dry = arguments.has('n', "dry-run");
                if outside
                    || !matches!(
                        self.place("."),
                        Place::Workspace(_) | Place::Unknown | Place::Temporary(_)
                    )
                {
                    self.note(Effect::DestroysOutsideWorkspace, "removes files outside".to_owned());
                } else if !dry && arguments.operands.is_empty() && arguments.has('f', "force") {
                    self.note(Effect::DiscardsWork, work);
                }
                for path in &arguments.operands {
                    self.removes(path);
                }
            }
            "push" => {
                let forced = arguments.has('f', "force");
                let whole = |word: &&&str| {
                    let name = word.trim_start_matches('+').rsplit(':').next().unwrap_or_default();
                    matches!(name, "main" | "master" | "trunk") && (forced || word.starts_with(['+', ':']))
                };
                if arguments.options.contains(&"--mirror") || arguments.operands.iter().find(whole).is_some() {
                    self.note(
                        Effect::DestroysRemotely,
                        "overwrites what others have pushed".to_owned(),
                    );
                }
            }
            "stash" => {
                let looks = ["list", "show", "pop", "apply", "branch"];
                if !rest.get(1).is_some_and(|word| looks.contains(&word.as_str())) {
                    self.note(Effect::DiscardsWork, "puts away what is not committed".to_owned());
                }
            }
            "rm" | "mv" => {
                for path in &arguments.operands {
                    self.removes(path);
                }
            }
            "update-ref" | "filter-branch" | "filter-repo" | "reflog" | "replace" => {
                let rewrites = verb != "reflog" || rest.iter().any(|word| word == "expire" || word == "delete");
                if rewrites {
                    self.note(Effect::TampersWithEvidence, "rewrites history".to_owned());
                }
                self.git_scripts(rest);
            }
            "update-index"
                if rest
                    .iter()
                    .any(|word| word == "--assume-unchanged" || word == "--skip-worktree") =>
            {
                self.note(Effect::TampersWithEvidence, "hides changes".to_owned());
            }
            "config" => {
                let words: Vec<&String> = rest[1..].iter().filter(|word| !word.starts_with("--")).collect();
                if let [key, value, ..] = words.as_slice() {
                    let key = key.to_ascii_lowercase();
                    let is_bool = matches!(value.as_str(), "true" | "false" | "0" | "1");
                    // git's own monitor is a boolean; hooks of the tree are the project's.
                    let later = match key.as_str() {
                        "core.fsmonitor" => !is_bool,
                        "core.hookspath" | "init.templatedir" => value.starts_with(['/', '~']),
                        _ => false,
                    };
                    if later {
                        let what = "git runs programs from there without being asked for".to_owned();
                        self.note(Effect::ChangesWhatStartsLater, what);
                    }
                    self.setting(&key, value);
                }
            }
            "submodule" => {
                if let Some(at) = rest.iter().position(|word| word == "foreach") {
                    let words: Vec<&str> = rest[at + 1..]
                        .iter()
                        .map(String::as_str)
                        .skip_while(|word| word.starts_with("--"))
                        .collect();
                    let script = words.join(" ");
                    self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
                }
            }
            "bisect" if rest.get(1).is_some_and(|word| word == "run") => {
                self.again(rest[2..].to_vec(), &Io::default());
            }
            "rebase" | "difftool" | "mergetool" | "grep" => self.git_scripts(rest),
            "clone" => {
                for word in rest {
                    if let Some(command) = word.strip_prefix("ext::") {
                        let command = command.to_owned();
                        self.nested(|walk| walk.apart(|walk| walk.made(&command, &Io::default())));
                    }
                }
                if let Some(to) = arguments.operands.get(1) {
                    self.writes(to);
                }
            }
            "worktree" | "gc" | "prune" => {}
            "show" | "diff" | "cat-file" | "log" => {
                for word in rest {
                    if let Some(path) = word.strip_prefix("--output=") {
                        self.writes(path);
                    }
                }
                for path in &arguments.operands {
                    self.reads(path);
                }
            }
            _ => {}
        }
    }

    /// Options whose argument is a script.
    fn git_scripts(&mut self, rest: &[String]) {
        let options = [
            "-x",
            "--exec",
            "--tree-filter",
            "--index-filter",
            "--msg-filter",
            "--env-filter",
            "--commit-filter",
            "--tag-name-filter",
            "--extcmd",
            "-O",
            "--open-files-in-pager",
        ];
        let scripts: Vec<String> = super::values(rest, &options).into_iter().map(str::to_owned).collect();
        for script in scripts.into_iter().filter(|script| !script.is_empty()) {
            self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
        }
    }
}
