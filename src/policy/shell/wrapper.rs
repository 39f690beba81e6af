//! Programs that run the command in their arguments.

use super::{
    effect::Effect,
    shapes::{Shape, shape},
};

/// What a wrapper runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wrapped {
    /// The command; empty where there is none.
    pub argv: Vec<String>,
    /// Texts that it gives to a shell.
    pub scripts: Vec<String>,
    /// Variables that it sets for it.
    pub assigns: Vec<(String, String)>,
    /// The directory that it changes to.
    pub dir: Option<String>,
    /// Files that it writes.
    pub writes: Vec<String>,
    /// Arguments come from its input, too.
    pub takes_input: bool,
    /// The file that they come from instead.
    pub input_file: Option<String>,
    /// Each line of it is one argument.
    pub by_line: bool,
    /// What those replace.
    pub replace: Option<String>,
    /// Without a command it runs a shell.
    pub shell: bool,
    /// What it does by itself.
    pub effect: Option<(Effect, &'static str)>,
}

/// What the program `name` runs with these arguments; `None` where it is no wrapper, or runs nothing.
pub fn unwrap(name: &str, arguments: &[String]) -> Option<Wrapped> {
    let shape = shape(name)?;
    match name {
        "ssh" | "autossh" | "mosh" => return elsewhere(shape, arguments),
        "env" | "genv" => return Some(env(shape, arguments)),
        "command"
            if arguments
                .first()
                .is_some_and(|word| matches!(word.as_str(), "-v" | "-V")) =>
        {
            return None;
        }
        _ => {}
    }
    let mut wrapped = read(shape, arguments)?;
    if matches!(name, "gosu" | "su-exec" | "setuser") {
        // Usually they give rights up.
        let user = arguments.first().map_or("", String::as_str);
        let user = user.split(':').next().unwrap_or(user);
        wrapped.effect = wrapped.effect.filter(|_| matches!(user, "root" | "0" | "+0"));
    }
    match name {
        "direnv" | "aws-vault" => {
            // The directory, the profile.
            if !wrapped.argv.is_empty() {
                wrapped.argv.remove(0);
            }
            if wrapped.argv.first().is_some_and(|word| word == "--") {
                wrapped.argv.remove(0);
            }
        }
        "coreutils" => {
            let program = arguments.iter().find_map(|word| word.strip_prefix("--coreutils-prog="));
            wrapped.argv.splice(0..0, program.map(str::to_owned));
        }
        "xargs" | "gxargs" => {
            wrapped.takes_input = true;
            wrapped.by_line = arguments
                .iter()
                .take_while(|word| word.starts_with('-'))
                .any(|word| word == "-0" || word == "--null" || word.starts_with("-d") || word.starts_with("--delim"));
            wrapped.replace = replaced(arguments);
            let named = arguments.iter().position(|word| word == "-a" || word == "--arg-file");
            wrapped.input_file = named.and_then(|at| arguments.get(at + 1).cloned()).or_else(|| {
                let attached = arguments.iter().find_map(|word| word.strip_prefix("--arg-file="));
                attached.map(str::to_owned)
            });
            if wrapped.argv.is_empty() {
                return None;
            }
        }
        "parallel" => parallel(&mut wrapped),
        "hyperfine" => {
            wrapped.scripts.append(&mut wrapped.argv);
        }
        "concurrently" => {
            wrapped.scripts = std::mem::take(&mut wrapped.argv);
        }
        _ => {}
    }
    Some(wrapped)
}

/// Reads the arguments by a shape.
fn read(shape: &Shape, arguments: &[String]) -> Option<Wrapped> {
    let mut wrapped = Wrapped {
        effect: shape.effect,
        shell: shape.shell,
        ..Wrapped::default()
    };
    let mut skips = shape.skips;
    let mut verb = shape.verbs.is_empty();
    let mut at = 0;
    while let Some(word) = arguments.get(at) {
        at += 1;
        if word == "--" {
            // What is to be skipped stands behind it: `su -- root`.
            if skips > 0 && shape.skips < 9 && shape.names[0] != "su" {
                continue;
            }
            break;
        }
        if word.len() > 1 && word.starts_with(['-', '+']) {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) if word.starts_with("--") => (option, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            // The last letter of a bundle may take an argument: `-lc SCRIPT`.
            let last = (!word.starts_with("--"))
                .then(|| word.chars().next_back())
                .flatten()
                .map(|c| format!("-{c}"));
            let is = |list: &[&str]| list.contains(&option) || last.as_deref().is_some_and(|last| list.contains(&last));
            if option == "--chdir" && value.is_some() {
                wrapped.dir = value;
            } else if is(shape.scripts) {
                let script = value.or_else(|| arguments.get(at).cloned());
                at += usize::from(!word.contains('=') || !word.starts_with("--"));
                wrapped.scripts.extend(script);
            } else if let Some(attached) = shape
                .scripts
                .iter()
                .find_map(|script| word.strip_prefix(script).filter(|_| script.len() == 2))
            {
                wrapped.scripts.push(attached.to_owned());
            } else if value.is_none() && is(shape.takes) {
                if option == "-C" || option == "--chdir" {
                    wrapped.dir = arguments.get(at).cloned();
                }
                at += 1;
            }
            continue;
        }
        if !verb {
            // `npm install`: this one runs nothing.
            if !shape.verbs.contains(&word.as_str()) {
                return None;
            }
            verb = true;
            continue;
        }
        if shape.assigns
            && let Some((name, value)) = assignment(word)
        {
            wrapped.assigns.push((name.to_owned(), value.to_owned()));
            continue;
        }
        if skips > 0 {
            skips -= 1;
            continue;
        }
        at -= 1;
        break;
    }
    if !verb {
        return None;
    }
    let rest = arguments.get(at..).unwrap_or_default();
    match shape.joins && !rest.is_empty() && shape.names[0] != "concurrently" {
        true => wrapped.scripts.push(rest.join(" ")),
        false => wrapped.argv = rest.to_vec(),
    }
    Some(wrapped)
}

/// `NAME=VALUE`
pub fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, value))
}

/// `env -S 'PROGRAM ARGUMENTS'` cuts a text into words first.
fn env(shape: &Shape, arguments: &[String]) -> Wrapped {
    let mut flat: Vec<String> = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let text = if word == "-S" || word == "--split-string" {
            words.next().cloned()
        } else if let Some(text) = word.strip_prefix("--split-string=") {
            Some(text.to_owned())
        } else if let Some((flags, text)) = word.split_once('S').filter(|(flags, text)| {
            flags.starts_with('-')
                && flags[1..].chars().all(|c| "iv0".contains(c))
                && !word.starts_with("--")
                && !text.contains('=')
        }) {
            let _ = flags;
            match text.is_empty() {
                true => words.next().cloned(),
                false => Some(text.to_owned()),
            }
        } else {
            flat.push(word.clone());
            if !(word.starts_with('-') || word.contains('=')) {
                break;
            }
            None
        };
        if let Some(text) = text {
            flat.extend(
                text.split_whitespace()
                    .map(|word| word.trim_matches(['\'', '"']).to_owned()),
            );
        }
    }
    flat.extend(words.cloned());
    read(shape, &flat).unwrap_or_default()
}

/// A command for another machine is that machine's matter, unless it is this one.
fn elsewhere(shape: &Shape, arguments: &[String]) -> Option<Wrapped> {
    let mut wrapped = Wrapped::default();
    for pair in arguments.windows(2) {
        if pair[0] == "-o" {
            wrapped.scripts.extend(proxy(&pair[1]));
        }
    }
    wrapped.scripts.extend(
        arguments
            .iter()
            .filter_map(|word| word.strip_prefix("-o").and_then(proxy)),
    );
    let host = host_of(shape, arguments);
    let here = host.is_some_and(|host| {
        let host = host.rsplit('@').next().unwrap_or(host);
        matches!(host, "localhost" | "127.0.0.1" | "::1" | "0.0.0.0" | "ip6-localhost")
    });
    if here {
        wrapped.scripts.extend(read(shape, arguments)?.scripts);
    }
    (!wrapped.scripts.is_empty()).then_some(wrapped)
}

/// The script of `ssh HOST COMMAND`.
pub fn remote(arguments: &[String]) -> Option<String> {
    read(shape("ssh")?, arguments)?.scripts.into_iter().next_back()
}

fn proxy(option: &str) -> Option<String> {
    let lower = option.trim().to_ascii_lowercase();
    let is = ["proxycommand", "localcommand", "knownhostscommand"]
        .iter()
        .any(|name| lower.starts_with(name));
    is.then(|| {
        option.trim()[lower.find(['=', ' ']).unwrap_or(0)..]
            .trim_matches(['=', ' '])
            .to_owned()
    })
}

fn host_of<'a>(shape: &Shape, arguments: &'a [String]) -> Option<&'a str> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            if shape.takes.contains(&word.as_str()) {
                words.next();
            }
        } else {
            return Some(word);
        }
    }
    None
}

/// What `xargs` replaces: `-I{}`, `-I {}`, `-i`.
fn replaced(arguments: &[String]) -> Option<String> {
    for (index, word) in arguments.iter().enumerate() {
        if word == "-I" || word == "--replace" {
            return arguments.get(index + 1).cloned();
        }
        if let Some(text) = word.strip_prefix("-I").or_else(|| word.strip_prefix("--replace=")) {
            return Some(text.to_owned());
        }
        if word == "-i" {
            return Some("{}".to_owned());
        }
        if !word.starts_with('-') {
            return None;
        }
    }
    None
}

/// `parallel COMMAND ::: ARGUMENTS`: one script for each argument, and one for what its input gives.
fn parallel(wrapped: &mut Wrapped) {
    let words = std::mem::take(&mut wrapped.argv);
    let cut = words
        .iter()
        .position(|word| word.starts_with(":::"))
        .unwrap_or(words.len());
    let (command, arguments) = words.split_at(cut);
    let command = command.join(" ");
    if arguments.is_empty() && command.is_empty() {
        // Each line of its input is a command.
        wrapped.argv = vec!["sh".to_owned()];
        return;
    }
    if arguments.is_empty() {
        wrapped.takes_input = true;
        wrapped.replace = command.contains("{}").then(|| "{}".to_owned());
        wrapped.argv = vec!["sh".to_owned(), "-c".to_owned(), command];
        return;
    }
    for argument in arguments.iter().filter(|word| !word.starts_with(":::")).take(32) {
        wrapped.scripts.push(match () {
            () if command.is_empty() => argument.clone(),
            () if command.contains("{}") => command.replace("{}", argument),
            () => format!("{command} {argument}"),
        });
    }
}
