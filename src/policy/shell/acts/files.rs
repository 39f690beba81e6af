//! Removing, moving, writing, changing rights.

use super::{Arguments, values};
use crate::policy::shell::{
    effect::Effect,
    known_places::PROGRAMS,
    output::is_dotenv,
    place::Place,
    value::{DOWNLOADED, shown},
    walk::{Io, Walk},
};

/// Programs that read the files in their operands.
const READS: [&str; 29] = [
    "cat", "head", "tail", "less", "more", "base64", "base32", "xxd", "od", "hexdump", "strings", "tac", "nl", "uniq",
    "cut", "grep", "egrep", "fgrep", "rg", "zip", "gzip", "bzip2", "xz", "zstd", "bat", "nano", "diff", "cmp", "wc",
];

impl Walk<'_> {
    /// `false` where `name` is none of these.
    pub(super) fn file_effects(&mut self, name: &str, argv: &[String], io: &Io) -> bool {
        match name {
            "rm" | "Remove-Item" | "unlink" | "rmdir" | "shred" | "srm" | "wipe" | "trash" | "rimraf" | "del-cli"
            | "scrub" => {
                self.remove_operands(argv, &["-n", "-s", "--iterations", "--size"]);
            }
            "mv" | "rename" => self.moves(argv),
            "cp" | "install" | "ln" | "rsync" | "scp" | "ditto" | "gcp" => self.copies(name, argv),
            "truncate" | "fallocate" => {
                for path in Arguments::of(argv, &["-s", "-l", "-o", "-r", "--size", "--length"]).operands {
                    self.writes_over(path);
                }
            }
            "yq" if argv
                .iter()
                .any(|word| matches!(word.as_str(), "-i" | "--inplace" | "-iy" | "-yi")) =>
            {
                for path in Arguments::of(argv, &[]).operands {
                    self.writes(path);
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
                    self.unpacks(dir);
                }
                self.read_operands(argv);
            }
            "dd" => self.dd(argv),
            "zip" => {
                for script in values(&argv[1..], &["-TT", "--unzip-command"]) {
                    let script = script.to_owned();
                    self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
                }
                self.read_operands(argv);
            }
            "man" => {
                for script in values(&argv[1..], &["-P", "--pager", "-H"]) {
                    let script = script.to_owned();
                    self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
                }
            }
            "patch" => {
                if let Some(path) = Arguments::of(argv, &["-i", "-p", "-d", "-o", "-r", "--input", "--directory"])
                    .operands
                    .first()
                {
                    self.writes(path);
                }
                for path in values(&argv[1..], &["-d", "--directory"]) {
                    self.creates(path);
                }
            }
            "ex" | "ed" | "vi" | "vim" | "nvim" | "view" => self.editor(name, argv, io),
            "xxd" | "openssl" | "sort" | "gpg" | "yq" => {
                if argv.iter().any(|word| word.starts_with("--export-secret")) {
                    self.note(Effect::ReadsSecrets, "brings out secret keys".to_owned());
                }
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
            Place::Home(_) | Place::System(_) => self.removes(path),
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

    /// Puts files whose names are not known into a directory.
    pub(super) fn unpacks(&mut self, dir: &str) {
        let place = self.place(dir);
        let etc = matches!(&place, Place::System(parts) if parts[0] == "etc");
        if matches!(place, Place::Root) || etc || place.written() == Some(Effect::DestroysOutsideWorkspace) {
            self.note(Effect::DestroysOutsideWorkspace, format!("unpacks over {}", shown(dir)));
        } else {
            self.creates(dir);
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
        let takes: &[&str] = match name {
            "rsync" => &[
                "-e",
                "-f",
                "-T",
                "-M",
                "-B",
                "--rsh",
                "--exclude",
                "--include",
                "--exclude-from",
                "--include-from",
                "--filter",
                "--files-from",
                "--out-format",
                "--log-file",
                "--chmod",
                "--chown",
                "--password-file",
            ],
            "scp" => &["-i", "-P", "-F", "-l", "-c", "-o", "-J", "-S", "-D", "-X"],
            "install" => &["-S", "-t", "-m", "-o", "-g", "--mode", "--owner", "--group", "--suffix"],
            _ => &["-S", "-t", "--suffix", "--target-directory"],
        };
        let arguments = Arguments::of(argv, takes);
        for command in values(&argv[1..], &["-e", "--rsh", "--rsync-path"]) {
            if name == "rsync" && !command.starts_with("ssh") && !command.is_empty() {
                let command = command.to_owned();
                self.nested(|walk| walk.apart(|walk| walk.made(&command, &Io::default())));
            }
        }
        if name == "install" {
            let modes = values(&argv[1..], &["-m", "--mode"]);
            let set_id = |mode: &&str| {
                let octal = mode.trim_start_matches('0');
                mode.contains('s') || octal.len() == 4 && octal.starts_with(['2', '4', '6'])
            };
            if modes.iter().any(set_id) {
                self.note(Effect::RaisesPrivilege, "makes a program another user's".to_owned());
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
        {
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
        for source in sources.iter().filter(|source| remote(source)) {
            let base = crate::policy::shell::program::name_of(source.rsplit(':').next().unwrap_or(source));
            for place in [self.file_name(target), self.file_name(&format!("{target}/{base}"))] {
                self.scene.wrote(&place, &DOWNLOADED.to_string(), false);
            }
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
        if let Place::System(parts) = self.place(target)
            && is_program_directory(&parts)
        {
            // What is put into a directory has its own name there.
            for source in sources.iter().take(16) {
                let base = crate::policy::shell::program::name_of(source.trim_end_matches('/'));
                let inside = format!("{}/{base}", target.trim_end_matches('/'));
                match base {
                    "." | "" | "*" => self.writes(target),
                    _ => self.writes(&inside),
                }
            }
            return;
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
                    let opened =
                        recursive && parts.first().is_some_and(|part| *part == ".ssh") && mode.starts_with("777");
                    !parts.is_empty() && !opened
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
            let adds = ["+x", "a+x", "u+x", "+rx", "755", "0755", "a+rx"].contains(&mode) && !recursive;
            let soft = (adds
                && matches!(&place, Place::System(parts) if parts.len() > 1
                && PROGRAMS.iter().any(|dir| dir[..] == parts[..dir.len().min(parts.len())])))
                || matches!(&place, Place::System(parts) if parts.len() > 1
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
}

fn is_program_directory(parts: &[String]) -> bool {
    let same = |dir: &&&[&str]| dir.len() == parts.len() && dir.iter().zip(parts).all(|(one, other)| one == other);
    PROGRAMS.iter().find(same).is_some()
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
