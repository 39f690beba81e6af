//! Programs in other languages, given as arguments or on stdin.
//!
//! They are not parsed. Their quoted texts are taken out, and what is done with them is told
//! by the names of functions around them: enough for what people write on a command line,
//! and nothing for what hides.

use super::values;
use crate::policy::shell::{
    effect::Effect,
    place::Place,
    value::{DECODED, DOWNLOADED, UNKNOWN},
    walk::{Io, Walk},
};

/// Options after which code stands, by the beginning of a program's name.
const LANGUAGES: [(&str, &[&str]); 24] = [
    ("python", &["-c"]),
    ("pypy", &["-c"]),
    ("ipython", &["-c"]),
    ("perl", &["-e", "-E"]),
    ("ruby", &["-e"]),
    ("node", &["-e", "--eval", "-p", "--print", "-pe"]),
    ("bun", &["-e", "--eval"]),
    ("deno", &["eval"]),
    ("tsx", &["-e", "--eval"]),
    ("ts-node", &["-e", "--eval"]),
    ("php", &["-r"]),
    ("lua", &["-e"]),
    ("Rscript", &["-e"]),
    ("julia", &["-e", "--eval"]),
    ("tclsh", &["-c"]),
    ("expect", &["-c"]),
    ("pwsh", &["-c", "-Command", "-EncodedCommand", "-enc"]),
    ("powershell", &["-c", "-Command", "-EncodedCommand", "-enc"]),
    ("groovy", &["-e"]),
    ("elixir", &["-e", "--eval"]),
    ("ghc", &["-e"]),
    ("emacs", &["--eval", "-eval"]),
    ("gdb", &["-ex", "--ex", "-eval-command"]),
    ("guile", &["-c"]),
];

/// Functions that give a text to a shell, or words to a program.
const RUNS: [&str; 34] = [
    "system",
    "popen",
    "exec",
    "spawn",
    "subprocess",
    "check_call",
    "check_output",
    "getoutput",
    "Popen",
    "call(",
    "run(",
    "shell_exec",
    "passthru",
    "proc_open",
    "pcntl_exec",
    "qx",
    "%x",
    "`",
    "Open3",
    "IO.popen",
    "os.execute",
    "io.popen",
    "child_process",
    "execSync",
    "execFile",
    "ProcessBuilder",
    "getRuntime",
    "Deno.Command",
    "Command::",
    "startProcess",
    "shell-command",
    "shell ",
    "Invoke-Expression",
    "!",
];
/// Functions that remove.
const REMOVES: [&str; 26] = [
    "rmtree",
    "rm_rf",
    "rm_r",
    "rmdir",
    "removedirs",
    "unlink",
    "os.remove",
    "rmSync",
    "rm(",
    "rimraf",
    "remove_tree",
    "remove_dir_all",
    "FileUtils.rm",
    "File.delete",
    "Dir.delete",
    "delete",
    "truncate",
    "fs.rm",
    "removeSync",
    "emptyDir",
    "Remove-Item",
    "os.rename",
    "shutil.move",
    "renameSync",
    "chmod",
    "chown",
];
/// Functions that write.
const WRITES: [&str; 16] = [
    "write_text",
    "write_bytes",
    "writeFile",
    "appendFile",
    "File.write",
    "IO.write",
    "file_put_contents",
    "'w'",
    "\"w\"",
    "'a'",
    "\"a\"",
    "'wb'",
    "\"wb\"",
    "'>'",
    "'>>'",
    "Set-Content",
];

impl Walk<'_> {
    /// Programs in other languages.
    pub(super) fn code_effects(&mut self, name: &str, argv: &[String], io: &Io) {
        if matches!(name, "awk" | "gawk" | "mawk" | "nawk" | "original-awk") {
            for word in &argv[1..] {
                self.awk(word);
            }
            return;
        }
        if name == "make" || name == "gmake" {
            for text in values(&argv[1..], &["--eval"]) {
                self.makefile(&text.to_owned());
            }
            if argv
                .windows(2)
                .any(|pair| pair[0] == "-f" && matches!(pair[1].as_str(), "-" | "/dev/stdin"))
                && let Some(text) = io.input.clone()
            {
                self.makefile(&text);
            }
            return;
        }
        let Some((language, options)) = LANGUAGES.iter().find(|(language, _)| name.starts_with(language)) else {
            return;
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
        if found {
            return;
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
    }

    /// Code of any language.
    pub(in crate::policy::shell) fn code(&mut self, language: &str, code: &str) {
        if code.contains(DOWNLOADED) {
            self.note(Effect::DownloadsAndExecutes, "what it fetches".to_owned());
            return;
        }
        if code.contains(DECODED) {
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
        self.hidden(code, &texts);
        if has(&[
            "socket",
            "TCPSocket",
            "fsockopen",
            "net.connect",
            "net.Socket",
            "/inet/tcp",
            "TcpStream",
            "Sockets.TCPClient",
        ]) && has(&[
            "dup2",
            "pty",
            "/bin/sh",
            "/bin/bash",
            "exec",
            "spawn",
            "popen",
            "iex",
            "subprocess",
        ]) {
            self.note(Effect::OpensReverseShell, "a shell for somebody elsewhere".to_owned());
        }
        let forever = has(&["while", "loop", "for(;;)", "for (;;)", "fork()or", "forever"]);
        if has(&["fork"]) && forever && !has(&["unittest", "waitpid"]) {
            self.note(Effect::ExhaustsHost, "starts itself over and over".to_owned());
        }
        if has(&["os.setuid(0", "setuid(0", "setresuid(0"]) {
            self.note(Effect::RaisesPrivilege, "asks for another user's rights".to_owned());
        }
        let removes = has(&REMOVES);
        let writes = has(&WRITES);
        for text in &texts {
            let path = text.as_str();
            if !path.starts_with(['/', '~', '.']) && !matches!(path, "PLAN.md" | "pipeline.yml") {
                continue;
            }
            let path = match path.strip_prefix('~') {
                Some(rest) => format!("/{}{rest}", crate::policy::shell::value::HOME),
                None => path.to_owned(),
            };
            if removes && !matches!(self.place(&path), Place::Root) || removes && path.starts_with('/') {
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
        if let Some(script) = code.strip_prefix("shell ").or_else(|| code.strip_prefix('!')) {
            self.tried(script);
        }
        if let Some(script) = code.strip_prefix("spawn ") {
            self.tried(script);
        }
    }

    /// A text that may be a script: only what it does counts, not that it is none.
    fn tried(&mut self, text: &str) {
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
                "fetch(",
                "LWP",
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

    fn awk(&mut self, program: &str) {
        if program.contains("/inet/") {
            self.note(Effect::OpensReverseShell, "a connection from within awk".to_owned());
        }
        if !program.contains("system(")
            && !program.contains('|')
            && !program.contains("print >")
            && !program.contains('>')
        {
            self.reads(program);
            return;
        }
        for text in texts(program) {
            if program.contains("system(")
                || program.contains("| getline")
                || program.contains("|getline")
                || program.contains('|')
            {
                self.tried(&text);
            }
            if program.contains('>') && text.starts_with('/') {
                self.writes(&text);
            }
        }
    }

    /// `$(shell …)` and recipes of a makefile that is given as text.
    fn makefile(&mut self, text: &str) {
        if text.contains(DOWNLOADED) {
            self.note(Effect::DownloadsAndExecutes, "a makefile that it fetched".to_owned());
            return;
        }
        let mut rest = text;
        while let Some(at) = rest.find("$(shell ") {
            let script = &rest[at + 8..];
            let end = script.rfind(')').unwrap_or(script.len());
            self.tried(&script[..end].to_owned());
            rest = script;
        }
        for line in text.lines() {
            let recipe = line
                .strip_prefix('\t')
                .or_else(|| line.split_once(';').map(|(_, recipe)| recipe));
            if let Some(recipe) = recipe {
                let recipe = recipe.trim_start_matches(['@', '-', '+', ' ']).to_owned();
                self.tried(&recipe);
            }
        }
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The quoted texts of a program.
fn texts(code: &str) -> Vec<String> {
    pieces(code).into_iter().filter_map(|piece| piece.ok()).collect()
}

/// A program cut into its quoted texts (`Ok`) and what stands between them (`Err`).
fn pieces(code: &str) -> Vec<Result<String, String>> {
    let mut all = Vec::new();
    let mut between = String::new();
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        if !matches!(c, '"' | '\'') {
            // Perl's and Ruby's q(…), qq{…}, %q(…), and qx.
            let opens = matches!(c, '(' | '{' | '[' | '|')
                && (between.ends_with("q")
                    || between.ends_with("qq")
                    || between.ends_with("qx")
                    || between.ends_with("%x")
                    || between.ends_with("%q"));
            if !opens {
                between.push(c);
                continue;
            }
        }
        let close = match c {
            '(' => ')',
            '{' => '}',
            '[' => ']',
            c => c,
        };
        let mut text = String::new();
        while let Some(c) = chars.next() {
            match c {
                c if c == close => break,
                '\\' => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('x') => {
                        let digits: String = chars.by_ref().take(2).collect();
                        text.extend(u8::from_str_radix(&digits, 16).ok().map(char::from));
                    }
                    Some(c) => text.push(c),
                    None => {}
                },
                c => text.push(c),
            }
        }
        all.push(Err(std::mem::take(&mut between)));
        all.push(Ok(text));
    }
    all.push(Err(between));
    all
}

/// Quoted texts in a row with nothing but commas between them: words of a command.
fn lists(code: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut list: Vec<String> = Vec::new();
    for piece in pieces(code) {
        match piece {
            Ok(text) => list.push(text),
            Err(between) => {
                let joins =
                    between.chars().all(|c| matches!(c, ',' | ' ' | '[' | '{' | '(' | '\n')) && between.contains(',');
                if !joins {
                    if list.len() > 1 {
                        all.push(std::mem::take(&mut list));
                    }
                    list.clear();
                }
            }
        }
    }
    all
}

/// What stands between backquotes.
fn backquoted(code: &str) -> Vec<String> {
    code.split('`').skip(1).step_by(2).map(str::to_owned).take(10).collect()
}
