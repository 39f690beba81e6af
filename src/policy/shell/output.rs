//! What a command prints, where its text says so.

use base64::Engine as _;

use super::{
    place::{canonical, joined},
    program::name_of,
    value::{DECODED, DOWNLOADED, EVERYTHING, OUTPUT, SECRET, UNKNOWN, WORKSPACE, is_open},
    walk::{Io, Walk},
};

/// Programs that print (a part of) their input or of their files, unchanged or nearly so.
const PASSES: [&str; 16] = [
    "cat", "tee", "head", "tail", "sort", "uniq", "nl", "pv", "sponge", "tac", "more", "less", "batcat", "bat",
    "buffer", "mbuffer",
];
/// Programs that change a text in ways that are not followed.
const CHANGES: [&str; 33] = [
    "tar", "zip", "bzip2", "sed", "awk", "gawk", "mawk", "tr", "cut", "paste", "rev", "grep", "egrep", "fgrep", "jq",
    "yq", "base64", "base32", "xxd", "od", "hexdump", "openssl", "gpg", "uudecode", "gunzip", "zcat", "xz", "xzcat",
    "bzcat", "bunzip2", "gzip", "zstd", "iconv",
];
/// Of these, what only picks lines and words.
const PICKS: [&str; 9] = ["sed", "awk", "gawk", "mawk", "cut", "grep", "egrep", "fgrep", "paste"];
/// Programs that fetch, and print what they fetched unless told otherwise.
pub const FETCHES: [&str; 14] = [
    "curl", "wget", "fetch", "aria2c", "http", "https", "xh", "lynx", "w3m", "links", "GET", "axel", "httpie", "wget2",
];

impl Walk<'_> {
    /// What `argv` prints.
    pub(super) fn output(&mut self, name: &str, argv: &[String], io: &Io) -> String {
        let arguments = &argv[1..];
        let input = || io.input.as_deref().unwrap_or("");
        match name {
            "echo" => echo(arguments),
            "printf" => printf(arguments),
            "true" | "false" | ":" | "mkdir" | "touch" | "rm" | "cp" | "mv" | "sleep" => String::new(),
            "pwd" => self.scene.cwd.clone().unwrap_or_else(|| UNKNOWN.to_string()),
            "dirname" | "basename" | "realpath" | "readlink" => self.path_output(name, arguments),
            "which" | "command" | "type" => arguments
                .iter()
                .find(|word| !word.starts_with('-'))
                .cloned()
                .unwrap_or_else(|| OUTPUT.to_string()),
            "find" | "gfind" | "fd" | "fdfind" => self.find_output(name, argv),
            "ls" if arguments
                .iter()
                .any(|word| word.starts_with("-d") || word.ends_with("1d")) =>
            {
                arguments
                    .iter()
                    .filter(|word| !word.starts_with('-'))
                    .map(|word| format!("{word}\n"))
                    .collect()
            }
            "xargs" => input().split_whitespace().collect::<Vec<_>>().join(" "),
            "mktemp" => format!("/tmp/{UNKNOWN}"),
            "git" if arguments.iter().any(|word| word == "--show-toplevel") => format!("/{WORKSPACE}"),
            "env" | "printenv" if arguments.iter().all(|word| word.starts_with('-')) => SECRET.to_string(),
            "set" | "export" | "declare" if arguments.len() < 2 => SECRET.to_string(),
            "docker" | "podman" | "nerdctl" => {
                let lists = ["ps", "images", "ls", "list"];
                let quiet = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.contains('q');
                match arguments.iter().any(|word| lists.contains(&word.as_str()))
                    && arguments.iter().any(|word| quiet(word) || word == "--quiet")
                    && !arguments
                        .iter()
                        .any(|word| word.starts_with("-f") || word.starts_with("--filter"))
                {
                    true => EVERYTHING.to_string(),
                    false => OUTPUT.to_string(),
                }
            }
            _ if PASSES.contains(&name) => self.passed(name, arguments, io),
            "base64" | "gbase64" => {
                let text = self.passed(name, arguments, io);
                let text = if io.input.is_none() && text.chars().all(|c| c == UNKNOWN) {
                    ""
                } else {
                    &text
                };
                decoded(arguments, text, |text| {
                    base64::engine::general_purpose::STANDARD.decode(text).ok()
                })
            }
            "xxd" => decoded(arguments, input(), unhex),
            "rev" if !is_open(input()) => input()
                .lines()
                .map(|line| line.chars().rev().collect::<String>() + "\n")
                .collect(),
            "tr" if !is_open(input()) => translated(arguments, input()).unwrap_or_else(|| DECODED.to_string()),
            _ if CHANGES.contains(&name) => self.changed(name, arguments, io),
            "nc" | "ncat" | "netcat" | "telnet" | "socat" | "dig" | "nslookup" | "host" => DOWNLOADED.to_string(),
            _ if FETCHES.contains(&name) => DOWNLOADED.to_string(),
            "gh" if arguments.first().is_some_and(|word| word == "api") => DOWNLOADED.to_string(),
            "aws" | "gsutil" | "gcloud" | "rclone" | "s3cmd" if arguments.iter().any(|word| word == "-") => {
                DOWNLOADED.to_string()
            }
            "ssh" => DOWNLOADED.to_string(),
            "python" | "python2" | "python3" | "perl" | "ruby" | "node" | "php" | "lua"
                if arguments.first().is_some_and(|word| {
                    word.starts_with('-') && !word.starts_with("--") && word.contains(['c', 'e', 'r'])
                }) =>
            {
                let code = arguments.get(1).map_or("", String::as_str);
                let fetches = ["urlopen", "requests.", "http.get", "LWP", "Net::HTTP", "fetch("];
                match fetches.iter().any(|word| code.contains(word)) {
                    true => DOWNLOADED.to_string(),
                    false if code.contains("chr(") || code.contains("b64") || code.contains("fromCharCode") => {
                        DECODED.to_string()
                    }
                    false => printed(code).unwrap_or_else(|| OUTPUT.to_string()),
                }
            }
            _ => OUTPUT.to_string(),
        }
    }

    fn path_output(&mut self, name: &str, arguments: &[String]) -> String {
        let Some(path) = arguments.iter().find(|word| !word.starts_with('-')) else {
            return OUTPUT.to_string();
        };
        match name {
            "basename" => {
                let base = name_of(path.trim_end_matches('/'));
                let suffix = arguments.iter().skip_while(|word| *word != path).nth(1);
                suffix
                    .and_then(|suffix| base.strip_suffix(suffix.as_str()))
                    .unwrap_or(base)
                    .to_owned()
            }
            "dirname" => match path.trim_end_matches('/').rsplit_once('/') {
                Some(("", _)) => "/".to_owned(),
                Some((dir, _)) => dir.to_owned(),
                None if is_open(path) => UNKNOWN.to_string(),
                None if path.starts_with('/') => "/".to_owned(),
                None => ".".to_owned(),
            },
            _ => canonical(path, self.scene.cwd.as_deref()).map_or_else(|| path.clone(), |parts| joined(&parts)),
        }
    }

    /// The text of files, or the input.
    fn passed(&mut self, name: &str, arguments: &[String], io: &Io) -> String {
        let mut files: Vec<&String> = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-n" | "-c" if matches!(name, "head" | "tail") => drop(words.next()),
                "-" => {}
                word if word.starts_with('-') && word.len() > 1 => {}
                _ => files.push(word),
            }
        }
        let input = || {
            io.input
                .as_ref()
                .map_or_else(|| UNKNOWN.to_string(), |text| text.to_string())
        };
        if files.is_empty() || name == "tee" || name == "sponge" {
            return input();
        }
        let mut whole = String::new();
        for file in files.into_iter().take(16) {
            let is_stdin = matches!(file.as_str(), "/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0");
            let is_env = file.starts_with("/proc/") && file.ends_with("/environ");
            whole.push_str(&match () {
                () if is_stdin => input(),
                () if is_env || is_dotenv(file) => SECRET.to_string(),
                () => self.content(file),
            });
        }
        whole
    }

    /// A text after a change that is not followed: whatever is in it is still in it.
    fn changed(&mut self, name: &str, arguments: &[String], io: &Io) -> String {
        let files = arguments.iter().filter(|word| !word.starts_with('-'));
        let mut origin = io.input.as_deref().unwrap_or_default().to_owned();
        for file in files.take(16) {
            let name = self.file_name(file);
            if let Some(text) = self.scene.written(&name) {
                origin.push_str(text);
            } else if is_dotenv(file) || self.place(file).read().is_some() {
                origin.push(SECRET);
            }
        }
        for mark in [DOWNLOADED, SECRET] {
            if origin.contains(mark) {
                return mark.to_string();
            }
        }
        match PICKS.contains(&name) && (origin.is_empty() || origin.chars().all(|c| c == OUTPUT || c == UNKNOWN)) {
            true => UNKNOWN.to_string(),
            false if name == "jq" || name == "yq" => OUTPUT.to_string(),
            false => DECODED.to_string(),
        }
    }
}

/// `.env` and its like.
pub fn is_dotenv(path: &str) -> bool {
    let name = name_of(path);
    let example = ["example", "sample", "template", "dist", "test"];
    (name == ".env" || name.starts_with(".env.")) && !example.iter().any(|word| name.ends_with(word))
}

fn echo(arguments: &[String]) -> String {
    let flag = |word: &&String| word.len() > 1 && word.starts_with('-') && word[1..].chars().all(|c| "neE".contains(c));
    let flags = arguments.iter().take_while(flag).count();
    let escapes = arguments[..flags].iter().any(|word| word.contains('e'));
    let newline = !arguments[..flags].iter().any(|word| word.contains('n'));
    let mut text = arguments[flags..].join(" ");
    if escapes {
        text = unescaped(&text);
    }
    if newline {
        text.push('\n');
    }
    text
}

pub(super) fn printf(arguments: &[String]) -> String {
    let mut arguments = arguments.iter();
    let mut format = arguments.next();
    if format.is_some_and(|word| word == "--") {
        format = arguments.next();
    }
    let Some(format) = format else { return String::new() };
    if format == "-v" {
        return String::new();
    }
    let format = unescaped(format);
    let mut left: Vec<&String> = arguments.collect();
    left.reverse();
    let mut out = String::new();
    for _ in 0..64 {
        let before = left.len();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let directive = chars.by_ref().find(|c| c.is_ascii_alphabetic() || *c == '%');
            match directive {
                Some('%') => out.push('%'),
                Some('b') => out.push_str(&left.pop().map(|word| unescaped(word)).unwrap_or_default()),
                Some('c') => out.extend(left.pop().and_then(|word| word.chars().next())),
                Some(_) => out.push_str(left.pop().map_or("", String::as_str)),
                None => {}
            }
        }
        if left.is_empty() || left.len() == before {
            break;
        }
    }
    out
}

/// C's escapes, as `echo -e` and `printf` know them.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut bytes = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('r') => bytes.push(b'\r'),
            Some('e' | 'E') => bytes.push(27),
            Some('a') => bytes.push(7),
            Some('b') => bytes.push(8),
            Some('f') => bytes.push(12),
            Some('v') => bytes.push(11),
            Some('\\') => bytes.push(b'\\'),
            Some(c @ ('x' | '0'..='7')) => {
                let (radix, most) = if c == 'x' { (16, 2) } else { (8, 3) };
                let mut value = c.to_digit(8).unwrap_or_default();
                for _ in 0..most {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix)) else {
                        break;
                    };
                    value = value * radix + digit;
                    chars.next();
                }
                bytes.push(value as u8);
            }
            Some(c) => {
                bytes.push(b'\\');
                bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            None => bytes.push(b'\\'),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `-d`, `--decode`, `-r`: the decoded text where the input is known.
fn decoded(arguments: &[String], input: &str, decode: impl Fn(&[u8]) -> Option<Vec<u8>>) -> String {
    let decodes = arguments.iter().any(|word| {
        matches!(word.as_str(), "-d" | "-D" | "--decode" | "-di" | "-id")
            || (word.starts_with('-') && word.contains('r'))
    });
    if input.contains(DOWNLOADED) {
        return DOWNLOADED.to_string();
    }
    if input.contains(SECRET) {
        return SECRET.to_string();
    }
    if !decodes || is_open(input) || input.is_empty() {
        return match decodes {
            true => DECODED.to_string(),
            false => OUTPUT.to_string(),
        };
    }
    let bare: Vec<u8> = input.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    match decode(&bare) {
        Some(bytes) => super::value::clean(&String::from_utf8_lossy(&bytes)).into_owned(),
        None => DECODED.to_string(),
    }
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_prefix(b"0x").unwrap_or(text);
    text.chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// `tr`, for sets of characters and ranges.
fn translated(arguments: &[String], input: &str) -> Option<String> {
    let set = |text: &str| -> Option<Vec<char>> {
        if text.contains("[:") {
            return None;
        }
        let text = unescaped(text);
        let chars: Vec<char> = text.chars().collect();
        let mut all = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            match chars.get(at + 2) {
                Some(last) if chars[at + 1] == '-' && *last >= chars[at] => {
                    all.extend(chars[at]..=*last);
                    at += 3;
                }
                _ => {
                    all.push(chars[at]);
                    at += 1;
                }
            }
            if all.len() > 1000 {
                return None;
            }
        }
        Some(all)
    };
    match arguments {
        [flag, gone] if flag == "-d" => {
            let gone = set(gone)?;
            Some(input.chars().filter(|c| !gone.contains(c)).collect())
        }
        [from, to] if !from.starts_with('-') => {
            let (from, to) = (set(from)?, set(to)?);
            let last = *to.last()?;
            let one = |c: char| match from.iter().position(|known| *known == c) {
                Some(at) => *to.get(at).unwrap_or(&last),
                None => c,
            };
            Some(input.chars().map(one).collect())
        }
        _ => None,
    }
}

/// The one text that a program prints, where it is that simple: `print("x")`.
fn printed(code: &str) -> Option<String> {
    let code = code.trim();
    let rest = ["print", "puts", "console.log", "echo", "process.stdout.write"]
        .iter()
        .find_map(|word| code.strip_prefix(word))?;
    let rest = rest
        .trim()
        .trim_start_matches('(')
        .trim_end_matches([';', ' '])
        .trim_end_matches(')');
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = rest.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains(quote)).then(|| unescaped(inner))
}
