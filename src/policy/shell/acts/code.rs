//! Programs in other languages, given as arguments or on stdin.
//!
//! They are not parsed. Their quoted texts are taken out, and what is done with them is told
//! by the names of functions around them: enough for what people write on a command line,
//! and nothing for what hides.

use super::{
    languages::{LANGUAGES, REMOVES, RUNS, WRITES},
    literals::{backquoted, floor, lists, texts},
    network::METADATA,
    unknown::unmarked,
    values,
};
use crate::policy::shell::{
    effect::Effect,
    place::Place,
    value::{DECODED, DOWNLOADED, UNKNOWN},
    walk::{Io, Walk},
};

impl Walk<'_> {
    /// Programs in other languages; `false` where `name` is none.
    pub(super) fn code_effects(&mut self, name: &str, argv: &[String], io: &Io) -> bool {
        if matches!(name, "awk" | "gawk" | "mawk" | "nawk" | "original-awk") {
            let fetched = io.network || io.input.as_deref().is_some_and(|input| input.contains(DOWNLOADED));
            for word in &argv[1..] {
                self.awk(word, fetched);
            }
            for path in values(&argv[1..], &["-f", "--file"]) {
                let name = self.file_name(path);
                if let Some(text) = self.scene.written(&name).map(str::to_owned) {
                    self.awk(&text, fetched);
                }
            }
            return true;
        }
        if name == "make" || name == "gmake" {
            for text in values(&argv[1..], &["--eval"]) {
                self.makefile(text);
            }
            for path in values(&argv[1..], &["-f", "--file", "--makefile"]) {
                let name = self.file_name(path);
                if let Some(text) = self.scene.written(&name).map(str::to_owned) {
                    self.makefile(&text);
                }
            }
            if argv
                .windows(2)
                .any(|pair| pair[0] == "-f" && matches!(pair[1].as_str(), "-" | "/dev/stdin"))
                && let Some(text) = io.input.clone()
            {
                self.makefile(&text);
            }
            return true;
        }
        let Some((language, options)) = LANGUAGES.iter().find(|(language, _)| name.starts_with(language)) else {
            return false;
        };
        let words = &argv[1..];
        let mut found = false;
        for (index, word) in words.iter().enumerate() {
            // `-lne CODE`, `-Sc CODE`
            let bundled = word.starts_with('-')
                && !word.starts_with("--")
                && options
                    .iter()
                    .any(|option| option.len() == 2 && word.ends_with(&option[1..]) && word.len() < 8);
            if matches!(*language, "pwsh" | "powershell") && word.to_ascii_lowercase().starts_with("-enc") {
                self.note(Effect::RunsDecodedText, "code that is decoded first".to_owned());
            }
            if bundled || options.contains(&word.as_str()) {
                if let Some(code) = words.get(index + 1).cloned() {
                    self.code(language, &code);
                }
                found = true;
            } else if let Some(code) = options.iter().find_map(|option| {
                let attached = word.strip_prefix(option)?;
                (!attached.is_empty()).then(|| attached.trim_start_matches('=').to_owned())
            }) {
                self.code(language, &code);
                found = true;
            }
        }
        if let Some(at) = words.iter().position(|word| word == "timeit") {
            for code in &words[at + 1..] {
                self.code(language, code);
            }
        }
        let in_place = |word: &String| word.starts_with("-i") || (word.starts_with("-p") && word.contains('i'));
        if matches!(*language, "perl" | "ruby") && words.iter().any(in_place) {
            for path in words.iter().filter(|word| !word.starts_with('-')) {
                self.writes(path);
            }
        }
        if found {
            for word in words {
                self.reads(word);
            }
            return true;
        }
        let file = words.iter().find(|word| !word.starts_with('-') || *word == "-");
        match file.map(String::as_str) {
            None | Some("-" | "/dev/stdin") => {
                if let Some(text) = io.input.clone() {
                    self.code(language, &text);
                }
            }
            Some(file) => {
                self.reads(file);
                let name = self.file_name(file);
                if let Some(text) = self.scene.written(&name).map(str::to_owned) {
                    self.code(language, &text);
                }
            }
        }
        true
    }

    /// Code of any language.
    pub(in crate::policy::shell) fn code(&mut self, language: &str, code: &str) {
        // A line that is only filled in is code of this text all the same.
        let begins = |mark: char| code.lines().any(|line| line.trim_start().starts_with(mark));
        if begins(DOWNLOADED) {
            self.note(Effect::DownloadsAndExecutes, "what it fetches".to_owned());
            return;
        }
        if begins(DECODED) {
            self.note(Effect::RunsDecodedText, "code that is decoded first".to_owned());
            return;
        }
        if !code.is_empty() && code.chars().all(|c| c == UNKNOWN || c == '\n') {
            return;
        }
        let code = if code.len() > 64 << 10 {
            &code[..floor(code, 64 << 10)]
        } else {
            code
        };
        // `'a' + 'b'` is `'ab'`.
        let mut joined = code.to_owned();
        for seam in ["'+'", "\"+\"", "' + '", "\" + \"", "'.'", "\".\"", "''", "\"\""] {
            if (seam != "'.'" && seam != "\".\"") || language == "perl" || language == "php" {
                joined = joined.replace(seam, "");
            }
        }
        let code = joined.as_str();
        let has = |words: &[&str]| words.iter().any(|word| code.contains(word));
        let texts = texts(code);
        if matches!(language, "pwsh" | "powershell") {
            self.tried(code);
        }
        for line in code.lines().map(str::trim) {
            let bare = ["exec ", "spawn ", "system "]
                .iter()
                .find_map(|word| line.strip_prefix(word));
            if let Some(script) = bare.filter(|script| !script.starts_with(['"', '\'', '('])) {
                self.tried(script);
            }
        }
        if has(&["exec(", "eval(", "eval ", "exec "]) {
            // A program within a program.
            for text in texts.iter().filter(|text| text.contains('(')).take(8) {
                self.nested(|walk| walk.code(language, text));
            }
        }
        self.hidden(code, &texts);
        if has(&[
            "socket",
            "TCPSocket",
            "fsockopen",
            "net.connect",
            "net.Socket",
            "/inet/tcp",
            "TcpStream",
            ".Socket(",
            "require('net')",
            "Sockets.TCPClient",
        ]) && has(&[
            "dup2",
            "pty",
            "/bin/sh",
            "/bin/bash",
            "proc_open",
            "shell_exec",
            "system",
            "exec",
            "spawn",
            "popen",
            "iex",
            "subprocess",
        ]) {
            self.note(Effect::OpensReverseShell, "a shell for somebody elsewhere".to_owned());
        }
        let forever = has(&[
            "while",
            "loop",
            "for(;;)",
            "for (;;)",
            "fork()or",
            "forever",
            "iter(int",
            "itertools.count",
            "itertools.repeat",
        ]);
        if has(&["fork"]) && forever && !has(&["unittest", "waitpid"]) {
            self.note(Effect::ExhaustsHost, "starts itself over and over".to_owned());
        }
        if METADATA.iter().any(|host| code.contains(host)) {
            self.note(
                Effect::ReadsSecrets,
                "asks the cloud for this machine's credentials".to_owned(),
            );
        }
        if has(&["os.setuid(0", "setuid(0", "setresuid(0"]) {
            self.note(Effect::RaisesPrivilege, "asks for another user's rights".to_owned());
        }
        if has(&["os.kill(-1", "kill(-1", "kill 9, -1", "kill -9, -1"]) {
            self.note(Effect::PowersOff, "ends every process".to_owned());
        }
        let removes = has(&REMOVES);
        let writes = has(&WRITES);
        for text in &texts {
            // Perl's `">FILE"` and `"COMMAND |"`.
            let path = text.trim_start_matches(['>', '<', '+', ' ']);
            if path.len() < text.len() && text.contains('>') {
                let path = path.to_owned();
                self.writes(&path);
            }
            if let Some(script) = text.trim().strip_suffix('|').or_else(|| text.trim().strip_prefix('|')) {
                self.tried(script);
            }
            if !path.starts_with(['/', '~', '.']) && !matches!(path, "PLAN.md" | "pipeline.yml") {
                continue;
            }
            let path = match path.strip_prefix('~') {
                Some(rest) => format!("/{}{rest}", crate::policy::shell::value::HOME),
                None => path.to_owned(),
            };
            if removes && (path.starts_with('/') || !matches!(self.place(&path), Place::Root)) {
                self.removes(&path);
            }
            if writes {
                self.writes(&path);
            }
            self.reads(&path);
        }
        if removes
            && has(&[
                "Path.home()",
                "homedir()",
                "Dir.home",
                "environ['HOME']",
                "env.HOME",
                "ENV['HOME']",
                "os.sep",
            ])
        {
            self.note(
                Effect::DestroysOutsideWorkspace,
                "removes in the home directory".to_owned(),
            );
        }
        if has(&RUNS) || language == "gdb" || language == "emacs" || language == "expect" {
            self.shells_out(code, &texts);
        }
    }

    /// Texts that are given to a shell, and lists of words that are run.
    fn shells_out(&mut self, code: &str, texts: &[String]) {
        let first = texts.len().min(40);
        for text in &texts[..first] {
            // One word alone runs nothing that matters, except for these.
            let alone = !text.contains(char::is_whitespace);
            if alone && !matches!(text.as_str(), "reboot" | "poweroff" | "halt" | "shutdown") {
                continue;
            }
            self.tried(text);
        }
        for list in lists(code).into_iter().take(20) {
            self.again(list, &Io::default());
        }
        for bare in backquoted(code) {
            self.tried(&bare);
        }
        // `!rm -rf /` in a debugger's or an editor's commands.
        let script = unmarked(code);
        if script.len() < code.len() {
            self.tried(script);
        }
        if let Some(script) = code.strip_prefix("spawn ") {
            self.tried(script);
        }
    }

    /// A text that may be a script: only what it does counts, not that it is none.
    pub(super) fn tried(&mut self, text: &str) {
        if crate::policy::shell::parse::parse(text).is_err() {
            return;
        }
        let text = text.to_owned();
        self.nested(|walk| walk.apart(|walk| walk.source(&text, &Io::default())));
    }

    /// Code that is itself fetched, or decoded.
    fn hidden(&mut self, code: &str, texts: &[String]) {
        let has = |words: &[&str]| words.iter().any(|word| code.contains(word));
        let runs = has(&[
            "exec(",
            "eval(",
            "eval ",
            "exec ",
            "Invoke-Expression",
            "iex",
            "loadstring",
            "Function(",
            "instance_eval",
            "compile(",
        ]);
        if runs
            && has(&[
                "urlopen",
                "requests.get",
                "urllib",
                "http.get",
                "https.get",
                "require('http",
                "require(\"http",
                "fetch(",
                "LWP",
                "get(\"http",
                "get('http",
                "iwr ",
                "irm ",
                "Invoke-WebRequest",
                "Invoke-RestMethod",
                "open-uri",
                "URI.open",
                "Net::HTTP",
                "file_get_contents('http",
                "file_get_contents(\"http",
                "DownloadString",
                "WebClient",
                "curl",
            ])
        {
            self.note(Effect::DownloadsAndExecutes, "what it fetches".to_owned());
        }
        let decodes = has(&[
            "b64decode",
            "base64",
            "fromhex",
            "unhexlify",
            "chr(",
            "fromCharCode",
            "unpack(",
            "atob(",
            "codecs.decode",
            "zlib.decompress",
            "marshal.loads",
            "gzuncompress",
            "str_rot13",
            "bytes([",
        ]);
        let shells = has(&[
            "system",
            "popen",
            "subprocess",
            "exec",
            "eval",
            "spawn",
            "getattr",
            "__import__",
        ]);
        if decodes && shells {
            self.note(Effect::RunsDecodedText, "code that is decoded first".to_owned());
        }
        if has(&["getattr(os", "getattr(__import__", "globals()[", "vars()["]) && !texts.is_empty() {
            self.note(
                Effect::RunsDecodedText,
                "a function whose name is put together".to_owned(),
            );
        }
        if has(&["-enc ", "-EncodedCommand"]) {
            self.note(Effect::RunsDecodedText, "code that is decoded first".to_owned());
        }
    }
}
