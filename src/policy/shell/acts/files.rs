//! Removing, moving, writing, changing rights.

use super::{Arguments, values};
use crate::policy::shell::{
    effect::Effect,
    output::is_dotenv,
    place::Place,
    value::{DOWNLOADED, HOME, UNKNOWN, shown},
    walk::{Io, Walk},
};

/// Programs that read the files in their operands.
const READS: [&str; 37] = [
    "cat", "head", "tail", "less", "more", "base64", "base32", "xxd", "od", "hexdump", "strings", "tac", "nl", "sort",
    "uniq", "cut", "grep", "egrep", "fgrep", "rg", "tar", "zip", "gzip", "bzip2", "xz", "zstd", "7z", "bat", "view",
    "vim", "vi", "nano", "emacs", "diff", "cmp", "wc", "tee",
];

impl Walk<'_> {
    /// `false` where `name` is none of these.
    pub(super) fn file_effects(&mut self, name: &str, argv: &[String]) -> bool {
        match name {
            "rm" | "unlink" | "rmdir" | "shred" | "srm" | "wipe" | "trash" | "rimraf" | "del-cli" | "scrub" => {
                self.remove_operands(argv, &["-n", "-s", "--iterations", "--size"]);
            }
            "mv" | "rename" => self.moves(argv),
            "cp" | "install" | "ln" | "rsync" | "scp" | "ditto" | "gcp" => self.copies(name, argv),
            "truncate" | "fallocate" => {
                for path in Arguments::of(argv, &["-s", "-l", "-o", "-r", "--size", "--length"]).operands {
                    self.writes_over(path);
                }
            }
            "touch" | "mkdir" | "mkfifo" | "mknod" => {
                for path in Arguments::of(argv, &["-d", "-t", "-r", "-m", "--mode", "--date"]).operands {
                    if matches!(self.place(path), Place::Workspace(_)) {
                        continue;
                    }
                    self.creates(path);
                }
            }
            "tee" | "sponge" => {
                let arguments = Arguments::of(argv, &[]);
                for path in arguments.operands {
                    self.writes(path);
                }
            }
            "chmod" | "chown" | "chgrp" | "chattr" | "setfacl" | "chcon" | "setfattr" => self.rights(name, argv),
            "find" | "gfind" | "fd" | "fdfind" => self.find(name, argv),
            "sed" | "gsed" => self.sed(argv),
            "tar" | "gtar" | "bsdtar" => self.tar(argv),
            "unzip" | "7z" | "cpio" | "unrar" => {
                for dir in values(&argv[1..], &["-d", "-o", "-D"]) {
                    self.creates(dir);
                }
                self.read_operands(argv);
            }
            "dd" => self.dd(argv),
            "patch" => {
                for path in values(&argv[1..], &["-d", "--directory"]) {
                    self.creates(path);
                }
            }
            "ex" | "ed" | "vi" | "vim" | "nvim" | "view" => self.editor(argv),
            "xxd" | "openssl" | "sqlite3" | "sort" | "gpg" | "yq" => {
                for path in values(&argv[1..], &["-o", "-out", "--output"]) {
                    self.writes(path);
                }
                self.read_operands(argv);
            }
            "mount" | "umount" => {
                if argv.len() > 1 {
                    self.note(Effect::RaisesPrivilege, "mounts file systems".to_owned());
                }
            }
            _ if READS.contains(&name) => self.read_operands(argv),
            _ => return false,
        }
        true
    }

    fn remove_operands(&mut self, argv: &[String], takes: &[&str]) {
        for path in Arguments::of(argv, takes).operands {
            self.removes(path);
        }
    }

    /// Reads what its operands and `@FILE` arguments name.
    pub(super) fn read_operands(&mut self, argv: &[String]) {
        for word in &argv[1..] {
            self.reads(word);
        }
    }

    /// Writes over a file that may hold something.
    fn writes_over(&mut self, path: &str) {
        let place = self.place(path);
        match place {
            Place::Home(_) => self.removes(path),
            _ => self.writes(path),
        }
    }

    /// Creates a file or a directory, which is harmless beside what is there already.
    fn creates(&mut self, path: &str) {
        match self.place(path) {
            Place::System(parts)
                if parts.len() < 2 && !["etc", "bin", "sbin", "lib", "boot"].contains(&parts[0].as_str()) => {}
            Place::System(parts) if parts[..] == ["usr", "local"] => {}
            Place::Outside | Place::Home(_) => {}
            _ => self.writes(path),
        }
    }

    fn moves(&mut self, argv: &[String]) {
        let arguments = Arguments::of(argv, &["-S", "--suffix", "-t", "--target-directory"]);
        let given = values(&argv[1..], &["-t", "--target-directory"]);
        let mut sources = arguments.operands;
        let target = given.first().copied().or_else(|| sources.pop());
        for source in &sources {
            self.removes(source);
        }
        if let Some(target) = target {
            self.lands(&sources, target);
        }
    }

    fn copies(&mut self, name: &str, argv: &[String]) {
        let takes = [
            "-S",
            "-t",
            "-m",
            "-o",
            "-g",
            "-e",
            "-i",
            "-P",
            "-F",
            "-l",
            "-c",
            "--mode",
            "--owner",
            "--group",
            "--rsh",
            "--exclude",
            "--include",
            "--exclude-from",
            "--filter",
            "--suffix",
            "--files-from",
            "-f",
            "-J",
        ];
        let arguments = Arguments::of(argv, &takes);
        for command in values(&argv[1..], &["-e", "--rsh", "--rsync-path"]) {
            if name == "rsync" && !command.starts_with("ssh") && !command.is_empty() {
                let command = command.to_owned();
                self.nested(|walk| walk.apart(|walk| walk.made(&command, &Io::default())));
            }
        }
        let deletes = name == "rsync" && argv.iter().any(|word| word.starts_with("--del"));
        if name == "install" && arguments.has('d', "directory") {
            for path in arguments.operands {
                self.creates(path);
            }
            return;
        }
        let given = values(&argv[1..], &["-t", "--target-directory"]);
        let mut sources = arguments.operands.clone();
        let by_option = given.first().copied().filter(|_| name != "rsync" && name != "scp");
        let target = by_option.or_else(|| (sources.len() > 1).then(|| sources.pop()).flatten());
        let Some(target) = target else { return };
        let remote = |path: &str| path.split('/').next().is_some_and(|first| first.contains(':'));
        if name != "ln" {
            for source in &sources {
                self.reads(source);
                if remote(target) && is_dotenv(source) {
                    self.note(Effect::ReadsSecrets, format!("sends out {}", shown(source)));
                }
            }
        }
        if remote(target) {
            return;
        }
        if deletes {
            self.removes(target);
        }
        if sources.iter().any(|source| remote(source)) {
            let place = self.file_name(target);
            self.scene.wrote(&place, &DOWNLOADED.to_string(), false);
        }
        self.lands(&sources, target);
    }

    /// Files arrive at `target`, a file or a directory.
    fn lands(&mut self, sources: &[&str], target: &str) {
        let name = self.file_name(target);
        for source in sources.iter().take(16) {
            let from = self.file_name(source);
            self.scene.moved(&from, &name);
            let base = crate::policy::shell::program::name_of(source.trim_end_matches('/'));
            let inside = format!("{name}/{base}");
            self.scene.moved(&from, &inside);
            if target == "." || target.ends_with('/') {
                let inside = format!("{}/{base}", target.trim_end_matches('/'));
                self.writes(&inside);
            }
        }
        match self.place(target) {
            // A directory of the system is a target, and only a name in it is written.
            Place::System(parts)
                if parts.len() < 3
                    && parts
                        .first()
                        .is_some_and(|first| first == "usr" || first == "opt" || first == "srv") =>
            {
                if parts.len() > 1 && parts[1] != "local" && parts[0] == "usr" {
                    self.writes(target);
                }
            }
            Place::Home(parts) if parts.is_empty() => {}
            _ => self.writes(target),
        }
    }

    fn rights(&mut self, name: &str, argv: &[String]) {
        let arguments = Arguments::of(argv, &["-m", "-x", "-n", "-v", "--modify", "--from"]);
        let recursive = arguments.has('R', "recursive");
        let by_reference = argv.iter().any(|word| word.starts_with("--reference"));
        let skip = usize::from(!(by_reference || name == "setfacl" || name == "setfattr"));
        // `chmod -x f`, `chmod -R -w d`: the mode looks like an option.
        let mode_is_option = name == "chmod"
            && arguments
                .options
                .iter()
                .any(|option| option.len() < 5 && option[1..].chars().all(|c| "rwxXst".contains(c)));
        let skip = if mode_is_option || name == "chattr" { 0 } else { skip };
        let mode = arguments.operands.first().copied().unwrap_or_default();
        if name == "chmod" && sets_id(mode) && arguments.operands.len() > 1 {
            self.note(
                Effect::RaisesPrivilege,
                "lets a program run with its owner's rights".to_owned(),
            );
        }
        let paths: Vec<&str> = arguments.operands.iter().skip(skip).copied().collect();
        for path in paths {
            let place = self.place(path);
            let harmless = match &place {
                Place::Workspace(_) | Place::Temporary(_) | Place::Unknown => true,
                Place::Home(parts) => {
                    !parts.is_empty() && !(recursive && parts[0] == ".ssh" && mode.starts_with("777"))
                }
                Place::System(parts) => {
                    let own = parts[0] == "opt"
                        || parts[0] == "srv"
                        || parts.starts_with(&["usr".to_owned(), "local".to_owned()]);
                    own && parts.len() > 2 && !recursive
                }
                _ => false,
            };
            if harmless {
                continue;
            }
            let soft = matches!(&place, Place::System(parts) if parts.len() > 1
                && ["opt", "srv", "var", "mnt", "data"].contains(&parts[0].as_str()))
                || matches!(&place, Place::BelowRoot | Place::Outside)
                || matches!(&place, Place::System(parts) if parts.starts_with(&["usr".to_owned(), "local".to_owned()]));
            let effect = if soft {
                Effect::WritesOutsideWorkspace
            } else {
                Effect::DestroysOutsideWorkspace
            };
            self.note(effect, format!("changes the rights of {}", shown(path)));
        }
    }

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
        // Narrowed to names that are not everything.
        let narrow = words.windows(2).any(|pair| {
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

    fn find(&mut self, name: &str, argv: &[String]) {
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

    fn sed(&mut self, argv: &[String]) {
        let arguments = Arguments::of(argv, &["-e", "-f", "--expression", "--file", "-l"]);
        let in_place = arguments.options.iter().any(|option| {
            option.starts_with("-i")
                || option.starts_with("--in-place")
                || (!option.starts_with("--") && option.len() < 5 && option.ends_with('i'))
        });
        let given = values(&argv[1..], &["-e", "--expression"]);
        let mut files = arguments.operands;
        let mut programs: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        if programs.is_empty() && !files.is_empty() {
            programs.push(files.remove(0).to_owned());
        }
        for program in programs {
            if let Some(script) = sed_runs(&program) {
                self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
            }
        }
        for file in files {
            self.reads(file);
            if in_place {
                self.writes(file);
            }
        }
    }

    fn tar(&mut self, argv: &[String]) {
        for dir in values(&argv[1..], &["-C", "--directory"]) {
            let extracts = argv.get(1).is_some_and(|word| word.contains('x'))
                || argv.iter().any(|word| {
                    word == "--extract" || (word.starts_with('-') && !word.starts_with("--") && word.contains('x'))
                });
            if extracts {
                match self.place(dir) {
                    Place::Root => self.note(Effect::DestroysOutsideWorkspace, "unpacks over the root".to_owned()),
                    _ => self.creates(dir),
                }
            }
        }
        for word in &argv[1..] {
            let runs = [
                "--to-command=",
                "--checkpoint-action=exec=",
                "--use-compress-program=",
                "--info-script=",
                "--rsh-command=",
            ];
            for option in runs {
                if let Some(script) = word.strip_prefix(option) {
                    let script = script.to_owned();
                    self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
                }
            }
            if word == "--remove-files" {
                for path in Arguments::of(argv, &["-C", "-f"]).operands {
                    self.removes(path);
                }
            }
        }
        for script in values(&argv[1..], &["-I"]) {
            if script.contains(' ') || script.contains('/') {
                let script = script.to_owned();
                self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
            }
        }
        self.read_operands(argv);
        // What is packed as a whole is read as a whole.
        let whole = argv[1..]
            .iter()
            .any(|word| matches!(self.place(word), Place::Home(parts) if parts.is_empty()) && word.contains(HOME));
        if whole && argv[1].contains('c') {
            self.note(Effect::ReadsSecrets, "packs a whole home directory".to_owned());
        }
    }

    fn dd(&mut self, argv: &[String]) {
        for word in &argv[1..] {
            if let Some(path) = word.strip_prefix("of=") {
                self.writes(path);
            } else if let Some(path) = word.strip_prefix("if=") {
                self.reads(path);
            }
        }
    }

    /// `vim -c ':!COMMAND'`, `ex -sc '…'`
    fn editor(&mut self, argv: &[String]) {
        for command in values(&argv[1..], &["-c", "--cmd", "-sc", "+"]) {
            if let Some((_, script)) = command.split_once('!')
                && !command.starts_with("q!")
                && !command.starts_with("wq!")
            {
                let script = script.trim().to_owned();
                if !script.is_empty() && !script.starts_with('|') {
                    self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
                }
            }
        }
        for word in &argv[1..] {
            self.reads(word);
        }
        if argv[1..].iter().any(|word| word.contains("wq") || word.contains('x')) {
            for path in Arguments::of(argv, &["-c", "--cmd", "-sc"]).operands {
                self.writes(path);
            }
        }
    }
}

/// `4755`, `u+s`, `+s`
fn sets_id(mode: &str) -> bool {
    let octal = mode.len() > 3 && mode.chars().all(|c| c.is_digit(8));
    match octal {
        true => mode
            .chars()
            .rev()
            .nth(3)
            .and_then(|c| c.to_digit(8))
            .is_some_and(|special| special & 6 != 0),
        false => mode
            .split(',')
            .any(|clause| clause.contains(['+', '=']) && clause.contains('s') && !clause.starts_with("/")),
    }
}

/// What GNU sed's `e` runs: `1e COMMAND`, `s/…/COMMAND/e`.
fn sed_runs(program: &str) -> Option<String> {
    let bare = program.trim_start_matches(|c: char| c.is_ascii_digit() || c == '$' || c == ' ' || c == ',');
    if let Some(command) = bare.strip_prefix("e ") {
        return Some(command.to_owned());
    }
    let mut chars = bare.chars();
    if chars.next() != Some('s') {
        return None;
    }
    let mark = chars.next().filter(|c| !c.is_alphanumeric() && *c != ' ')?;
    let pieces: Vec<&str> = bare[1 + mark.len_utf8()..].split(mark).collect();
    let flags = pieces.get(2)?;
    (pieces.len() == 3 && flags.len() < 5 && flags.contains('e')).then(|| pieces[1].to_owned())
}
