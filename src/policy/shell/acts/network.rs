//! Fetching, sending, and shells for others.

use super::values;
use crate::policy::shell::{
    effect::Effect,
    output::{FETCHES, is_dotenv},
    place::Place,
    program::{SHELLS, name_of},
    value::{DOWNLOADED, SECRET, shown},
    walk::{Io, Walk},
};

/// Programs that carry bytes to or from somebody elsewhere.
const CARRIES: [&str; 12] = [
    "nc",
    "ncat",
    "netcat",
    "nc.traditional",
    "nc.openbsd",
    "socat",
    "telnet",
    "openssl",
    "cryptcat",
    "pwncat",
    "sbd",
    "powercat",
];
/// Where clouds keep the credentials of their machines.
pub(super) const METADATA: [&str; 9] = [
    "169.254.169.254",
    "metadata.google.internal",
    "100.100.100.200",
    "fd00:ec2::254",
    "169.254.170.2",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "::ffff:169.254.169.254",
];

impl Walk<'_> {
    /// Whether `name` sends its input somewhere.
    pub(super) fn network_effects(&mut self, name: &str, argv: &[String], io: &Io) -> bool {
        let words = &argv[1..];
        if FETCHES.contains(&name) {
            self.fetches(name, argv, io);
            return true;
        }
        if CARRIES.contains(&name) {
            self.carries(name, words);
            return true;
        }
        match name {
            "mail" | "mailx" | "sendmail" | "mutt" | "swaks" | "ftp" | "tftp" | "lftp" | "sftp" | "ncftpput"
            | "rclone" | "aws" | "gsutil" | "ping" | "ping6" | "host" | "traceroute" | "whois" | "drill" | "mtr"
            | "croc" | "wormhole" | "transfer" | "dig" | "nslookup" => {
                let input = io.input.clone().unwrap_or_default();
                let asked = input.split_whitespace().filter(|_| name.contains("ftp")).take(64);
                for word in asked {
                    self.reads(word);
                }
                for line in input.lines().filter(|_| name.contains("ftp")).take(64) {
                    if let Some(script) = line.trim_start().strip_prefix('!') {
                        self.nested(|walk| walk.apart(|walk| walk.made(script, &Io::default())));
                    }
                }
                for word in words {
                    self.reads(word);
                    if word.contains(SECRET) {
                        self.note(Effect::ReadsSecrets, "sends out what may hold secrets".to_owned());
                    }
                }
                true
            }
            "ssh" => {
                let all = words.join(" ");
                if all.contains("/bin/sh") && all.contains("-R") {
                    self.note(Effect::OpensReverseShell, "a shell for somebody elsewhere".to_owned());
                }
                true
            }
            "ztcp" | "zmodload" if words.iter().any(|word| word.contains("tcp")) => {
                self.note(Effect::OpensReverseShell, "a shell for somebody elsewhere".to_owned());
                true
            }
            "xterm" if words.iter().any(|word| word == "-display") => {
                self.note(
                    Effect::OpensReverseShell,
                    "a terminal for somebody elsewhere".to_owned(),
                );
                true
            }
            "ngrok" | "cloudflared" | "frpc" | "chisel" | "bore" | "gsocket" | "gs-netcat" | "tmate" => {
                if !words.iter().any(|word| word == "--version" || word == "version") {
                    self.note(Effect::OpensReverseShell, "a way in for somebody elsewhere".to_owned());
                }
                true
            }
            _ => false,
        }
    }

    fn fetches(&mut self, name: &str, argv: &[String], io: &Io) {
        let words = &argv[1..];
        let sends = [
            "-d",
            "--data",
            "--data-binary",
            "--data-raw",
            "--data-urlencode",
            "--data-ascii",
            "-F",
            "--form",
            "-T",
            "--upload-file",
            "--post-data",
            "--post-file",
            "--body-file",
            "--body-data",
            "--json",
        ];
        let curl = name == "curl";
        for value in values(words, &sends) {
            // `-d@FILE`, `-F name=@FILE`, `-T FILE`
            let file = match value.rsplit_once('@') {
                Some((before, file)) if before.is_empty() || before.ends_with('=') || before.ends_with("<") => file,
                _ => value,
            };
            let file = file.split(';').next().unwrap_or(file);
            if file == "-" {
                if io.input.as_deref().is_some_and(|input| input.contains(SECRET)) {
                    self.note(Effect::ReadsSecrets, "sends out what may hold secrets".to_owned());
                }
                continue;
            }
            let known = self.file_name(file);
            let written = self.scene.written(&known).is_some_and(|text| text.contains(SECRET));
            let of_system = matches!(self.place(file), Place::System(parts) if parts[0] == "etc" || parts[0] == "proc");
            let is_file = value.contains('@')
                || words
                    .iter()
                    .any(|word| word.starts_with("-T") || word.contains("-file"));
            if is_file && (written || is_dotenv(file) || of_system || self.place(file).read().is_some()) {
                self.note(Effect::ReadsSecrets, format!("sends out {}", shown(file)));
            }
        }
        for word in words {
            if word.contains(SECRET) {
                self.note(Effect::ReadsSecrets, "sends out what may hold secrets".to_owned());
            }
            let lower = word.to_ascii_lowercase();
            if METADATA.iter().any(|host| lower.contains(host)) {
                self.note(
                    Effect::ReadsSecrets,
                    "asks the cloud for this machine's credentials".to_owned(),
                );
            }
            if word.contains("docker.sock") || word.contains("containerd.sock") || word.contains("podman.sock") {
                self.note(
                    Effect::ReachesHostThroughEngine,
                    "talks to the engine's socket".to_owned(),
                );
            }
            if let Some(path) = word.strip_prefix("file://") {
                self.reads(path);
            }
        }
        // Where it is put.
        let to: Vec<String> = match name {
            "wget" | "wget2" => values(words, &["-O", "--output-document"]),
            "aria2c" | "http" | "https" | "xh" | "axel" | "curl" => values(words, &["-o", "--output", "--out"]),
            _ => values(words, &["-o"]),
        }
        .into_iter()
        .map(str::to_owned)
        .collect();
        // `-qO- URL`, `-sSLo FILE URL`
        let bundled = words.iter().enumerate().filter_map(|(index, word)| {
            let letter = if name.starts_with("wget") { 'O' } else { 'o' };
            let is_bundle = word.starts_with('-')
                && !word.starts_with("--")
                && word.len() > 2
                && !word.starts_with(&format!("-{letter}"));
            let (_, after) = word.split_once(letter).filter(|_| is_bundle)?;
            match after.is_empty() {
                true => words.get(index + 1).cloned(),
                false => Some(after.to_owned()),
            }
        });
        let to: Vec<String> = to.into_iter().chain(bundled).filter(|path| !path.is_empty()).collect();
        let dir = values(words, &["-P", "--directory-prefix", "--output-dir", "-d"])
            .first()
            .map(|dir| (*dir).to_owned())
            .filter(|_| !curl || words.iter().any(|word| word.starts_with("--output-dir")));
        let urls: Vec<&String> = words
            .iter()
            .filter(|word| word.contains("://") || word.contains('.'))
            .collect();
        let remote = words.iter().any(|word| {
            word == "--remote-name"
                || word == "--remote-name-all"
                || (word.starts_with('-') && !word.starts_with("--") && word.contains('O'))
        });
        let saves = to.is_empty() && (remote || name.starts_with("wget") || name == "aria2c" || name == "axel");
        for path in &to {
            if path == "-" || path == "/dev/stdout" {
                continue;
            }
            self.writes(path);
            let name = self.file_name(path);
            self.scene.wrote(&name, &DOWNLOADED.to_string(), false);
        }
        if saves {
            for url in urls {
                let base = name_of(url.split(['?', '#']).next().unwrap_or(url)).to_owned();
                let path = dir.as_ref().map_or(base.clone(), |dir| format!("{dir}/{base}"));
                self.writes(&path);
                let name = self.file_name(&path);
                self.scene.wrote(&name, &DOWNLOADED.to_string(), false);
            }
        }
    }

    fn carries(&mut self, name: &str, words: &[String]) {
        let shells = |text: &str| {
            SHELLS
                .iter()
                .any(|shell| text.split(['/', ' ', ':', ',', '"', '\'']).any(|part| part == *shell))
        };
        let gives = match name {
            "socat" => words.iter().any(|word| {
                let upper = word.to_ascii_uppercase();
                (upper.starts_with("EXEC") || upper.starts_with("SYSTEM") || upper.starts_with("SHELL"))
                    && upper.contains(':')
            }),
            "openssl" => false,
            _ => words.iter().enumerate().any(|(index, word)| {
                matches!(word.as_str(), "--exec" | "--sh-exec" | "--lua-exec")
                    || word.starts_with("--exec=")
                    || word.starts_with("--sh-exec=")
                    || (word.starts_with('-') && !word.starts_with("--") && word.contains(['e', 'c']) && {
                        let next = words.get(index + 1).map_or("", String::as_str);
                        shells(next) || shells(word) || next.contains('/') || next.contains("cmd")
                    })
            }),
        };
        if gives {
            self.note(Effect::OpensReverseShell, "a shell for somebody elsewhere".to_owned());
        }
        if words.iter().any(|word| word.contains("docker.sock")) {
            self.note(
                Effect::ReachesHostThroughEngine,
                "talks to the engine's socket".to_owned(),
            );
        }
        for word in words {
            let path = word
                .split_once(':')
                .filter(|_| name == "socat")
                .map_or(word.as_str(), |(_, path)| path);
            self.reads(path);
            if word.contains(SECRET) {
                self.note(Effect::ReadsSecrets, "sends out what may hold secrets".to_owned());
            }
        }
    }

    /// A pipeline in which a shell and a connection meet: `nc … | sh`, `sh | nc …`.
    pub(in crate::policy::shell) fn sockets_and_shells(&mut self, first: usize) {
        let mut shell = None;
        let mut socket = false;
        for (index, seen) in self.seen.iter().enumerate().skip(first) {
            let Some(program) = seen.argv.first() else { continue };
            let name = name_of(program);
            if SHELLS.contains(&name) {
                let reads_stdin = !seen.argv[1..]
                    .iter()
                    .any(|word| !word.starts_with('-') || (word.contains('c') && !word.starts_with("--")));
                if reads_stdin {
                    shell = Some(index);
                }
            }
            let listens_only = seen
                .argv
                .iter()
                .any(|word| word == "-z" || word.contains('z') && word.starts_with('-'));
            let connects = CARRIES.contains(&name)
                && !listens_only
                && (name != "openssl" || seen.argv.iter().any(|word| word == "s_client" || word == "s_server"));
            socket |= connects;
        }
        if let (Some(index), true) = (shell, socket) {
            let effects = &mut self.seen[index].effects;
            effects.retain(|(effect, _)| *effect != Effect::DownloadsAndExecutes);
            effects.push((
                Effect::OpensReverseShell,
                "a shell whose streams are a connection".to_owned(),
            ));
        }
    }
}
