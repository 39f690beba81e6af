//! Programs that run the command in their arguments.

use super::effect::Effect;

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
    /// What those replace.
    pub replace: Option<String>,
    /// Without a command it runs a shell.
    pub shell: bool,
    /// What it does by itself.
    pub effect: Option<(Effect, &'static str)>,
}

/// How a wrapper's arguments are read.
#[derive(Clone, Copy)]
struct Shape {
    names: &'static [&'static str],
    /// Options that take the next word.
    takes: &'static [&'static str],
    /// Words before the command.
    skips: usize,
    /// Options whose argument is a script.
    scripts: &'static [&'static str],
    /// `NAME=VALUE` may stand before the command.
    assigns: bool,
    /// The rest is joined to a script.
    joins: bool,
    /// Without a command it runs a shell.
    shell: bool,
    /// Subcommands, one of which has to stand first.
    verbs: &'static [&'static str],
    effect: Option<(Effect, &'static str)>,
}

const PLAIN: Shape = Shape {
    names: &[],
    takes: &[],
    skips: 0,
    scripts: &[],
    assigns: false,
    joins: false,
    shell: false,
    verbs: &[],
    effect: None,
};

const PRIVILEGE: Option<(Effect, &str)> = Some((Effect::RaisesPrivilege, "asks for another user's rights"));

const SHAPES: &[Shape] = &[
    Shape {
        names: &["sudo"],
        takes: &[
            "-u",
            "-g",
            "-h",
            "-p",
            "-C",
            "-r",
            "-t",
            "-T",
            "-U",
            "-D",
            "-R",
            "--user",
            "--group",
            "--prompt",
            "--chdir",
            "--host",
            "--chroot",
            "--close-from",
            "--role",
            "--type",
            "--other-user",
            "--command-timeout",
        ],
        assigns: true,
        shell: true,
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["doas"],
        takes: &["-u", "-C", "-a"],
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["pkexec"],
        takes: &["--user"],
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["run0"],
        takes: &[
            "-u",
            "-g",
            "-D",
            "--user",
            "--unit",
            "--property",
            "--chdir",
            "--setenv",
        ],
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["su", "runuser"],
        takes: &["-s", "-g", "-G", "-w", "-u", "--shell", "--group", "--user"],
        skips: 1,
        scripts: &["-c", "--command", "--session-command"],
        shell: true,
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["gosu", "su-exec", "setuser"],
        skips: 1,
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["sg"],
        skips: 1,
        scripts: &["-c"],
        joins: true,
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["nsenter"],
        takes: &["-t", "-S", "-G", "--target", "--setuid", "--setgid"],
        shell: true,
        effect: Some((Effect::RaisesPrivilege, "enters another process's namespaces")),
        ..PLAIN
    },
    Shape {
        names: &["chroot"],
        takes: &["--userspec", "--groups"],
        skips: 1,
        shell: true,
        effect: Some((Effect::RaisesPrivilege, "changes the root")),
        ..PLAIN
    },
    Shape {
        names: &["unshare"],
        takes: &[
            "-R",
            "-w",
            "-S",
            "-G",
            "--root",
            "--wd",
            "--setuid",
            "--setgid",
            "--map-user",
            "--map-group",
        ],
        shell: true,
        ..PLAIN
    },
    Shape {
        names: &["setpriv"],
        takes: &[
            "--reuid",
            "--regid",
            "--groups",
            "--inh-caps",
            "--ambient-caps",
            "--bounding-set",
            "--securebits",
        ],
        ..PLAIN
    },
    Shape {
        names: &["capsh"],
        scripts: &["-c"],
        ..PLAIN
    },
    Shape {
        names: &[
            "nohup",
            "setsid",
            "exec",
            "chronic",
            "unbuffer",
            "fakeroot",
            "dbus-run-session",
            "xvfb-run",
            "catchsegv",
            "linux32",
            "linux64",
            "setarch",
            "proot",
            "torsocks",
            "proxychains",
            "proxychains4",
            "caffeinate",
            "eatmydata",
            "rlwrap",
            "firejail",
            "ltrace",
            "winpty",
            "reptyr",
            "noglob",
            "nocorrect",
            "ccache",
            "sccache",
            "distcc",
            "icecc",
            "tini",
            "dumb-init",
            "catatonit",
            "cgexec",
            "daemonize",
            "aa-exec",
            "runcon",
        ],
        takes: &[
            "-a",
            "-n",
            "-s",
            "-e",
            "-w",
            "-f",
            "--server-args",
            "--server-num",
            "--error-file",
            "-o",
            "-g",
            "-p",
            "-E",
        ],
        ..PLAIN
    },
    Shape {
        names: &["nice"],
        takes: &["-n", "--adjustment"],
        ..PLAIN
    },
    Shape {
        names: &["ionice"],
        takes: &["-c", "-n", "-p", "-P", "-u", "--class", "--classdata"],
        ..PLAIN
    },
    Shape {
        names: &["chrt"],
        takes: &["-T", "-P", "-D"],
        skips: 1,
        ..PLAIN
    },
    Shape {
        names: &["taskset"],
        skips: 1,
        ..PLAIN
    },
    Shape {
        names: &["numactl", "prlimit", "choom", "uclampset", "schedtool"],
        takes: &["-n", "-m", "-N", "-C", "-p"],
        ..PLAIN
    },
    Shape {
        names: &["stdbuf"],
        takes: &["-i", "-o", "-e", "--input", "--output", "--error"],
        ..PLAIN
    },
    Shape {
        names: &["timeout", "gtimeout"],
        takes: &["-s", "-k", "--signal", "--kill-after"],
        skips: 1,
        ..PLAIN
    },
    Shape {
        names: &["time", "gtime"],
        takes: &["-f", "-o", "--format", "--output"],
        ..PLAIN
    },
    Shape {
        names: &["strace"],
        takes: &[
            "-e", "-o", "-p", "-s", "-a", "-O", "-S", "-u", "-E", "-P", "-I", "-b", "-X", "--trace", "--output",
        ],
        ..PLAIN
    },
    Shape {
        names: &["perf"],
        takes: &["-e", "-o", "-p", "-F", "-C", "-g", "--call-graph"],
        verbs: &["stat", "record", "trace", "mem", "sched", "lock"],
        ..PLAIN
    },
    Shape {
        names: &[
            "valgrind",
            "rr",
            "heaptrack",
            "memusage",
            "samply",
            "uftrace",
            "gprofng",
        ],
        takes: &["-o"],
        ..PLAIN
    },
    Shape {
        names: &["busybox", "toybox"],
        ..PLAIN
    },
    Shape {
        names: &["command", "builtin"],
        ..PLAIN
    },
    Shape {
        names: &["watch"],
        takes: &["-n", "--interval", "-q", "-s"],
        joins: true,
        ..PLAIN
    },
    Shape {
        names: &["entr", "reflex", "watchexec", "nodemon"],
        takes: &[
            "-e", "-w", "-x", "--exts", "--watch", "--ext", "-i", "--ignore", "-d", "-r", "-g", "-s",
        ],
        ..PLAIN
    },
    Shape {
        names: &["script"],
        takes: &["-E", "-I", "-O", "-B", "-T", "-m", "-o", "-t"],
        scripts: &["-c", "--command"],
        skips: 1,
        ..PLAIN
    },
    Shape {
        names: &["flock"],
        takes: &["-w", "-E", "--timeout", "--wait", "--conflict-exit-code"],
        skips: 1,
        scripts: &["-c", "--command"],
        ..PLAIN
    },
    Shape {
        names: &["systemd-run", "systemd-inhibit", "systemd-cat"],
        takes: &[
            "-p",
            "-u",
            "-t",
            "-E",
            "--unit",
            "--property",
            "--uid",
            "--gid",
            "--slice",
            "--setenv",
            "-M",
            "-H",
        ],
        ..PLAIN
    },
    Shape {
        names: &["start-stop-daemon"],
        takes: &[
            "-p",
            "-u",
            "-g",
            "-c",
            "-n",
            "-r",
            "-d",
            "-N",
            "--pidfile",
            "--chuid",
            "--chdir",
            "--name",
            "--user",
        ],
        scripts: &["-x", "--exec", "-a", "--startas"],
        ..PLAIN
    },
    Shape {
        names: &[
            "ld.so",
            "ld-linux.so.2",
            "ld-linux-x86-64.so.2",
            "ld-linux-aarch64.so.1",
            "ld-musl-x86_64.so.1",
        ],
        takes: &[
            "--library-path",
            "--preload",
            "--argv0",
            "--audit",
            "--inhibit-rpath",
            "--glibc-hwcaps-mask",
        ],
        ..PLAIN
    },
    Shape {
        names: &["hyperfine"],
        takes: &[
            "-r",
            "-w",
            "-m",
            "-M",
            "-N",
            "-L",
            "-P",
            "-n",
            "-i",
            "--runs",
            "--warmup",
            "--export-json",
            "--export-markdown",
        ],
        scripts: &["-p", "-c", "-s", "--prepare", "--cleanup", "--setup"],
        ..PLAIN
    },
    Shape {
        names: &["npx", "pnpx", "bunx"],
        takes: &["-p", "--package"],
        scripts: &["-c", "--call"],
        ..PLAIN
    },
    Shape {
        names: &["npm", "pnpm", "yarn", "bun"],
        takes: &[
            "-w",
            "--workspace",
            "--prefix",
            "-p",
            "--package",
            "--cwd",
            "-C",
            "--dir",
            "--filter",
            "-F",
        ],
        scripts: &["-c", "--call"],
        verbs: &["exec", "x", "dlx"],
        ..PLAIN
    },
    Shape {
        names: &[
            "poetry",
            "pipenv",
            "uv",
            "pdm",
            "rye",
            "hatch",
            "pixi",
            "conda",
            "mamba",
            "micromamba",
            "rustup",
            "dotenv",
            "doppler",
            "op",
            "infisical",
            "mise",
            "asdf",
            "direnv",
            "nix",
            "devbox",
            "opam",
            "stack",
            "cabal",
            "bundle",
            "chamber",
            "aws-vault",
            "composer",
            "envchain",
        ],
        takes: &[
            "-n",
            "-p",
            "-f",
            "-e",
            "--name",
            "--project",
            "--directory",
            "--with",
            "--python",
            "--extra",
            "--group",
            "-C",
            "-E",
            "--env-file",
            "--env",
            "--package",
            "--config",
        ],
        verbs: &["run", "exec", "run-script", "develop", "shell", "x"],
        ..PLAIN
    },
    Shape {
        names: &["nix-shell"],
        takes: &["-p", "-A", "-I"],
        scripts: &["--run", "--command"],
        skips: 99,
        ..PLAIN
    },
    Shape {
        names: &["cross-env", "env-cmd", "dotenvx"],
        takes: &["-f"],
        assigns: true,
        ..PLAIN
    },
    Shape {
        names: &["concurrently"],
        takes: &["-n", "-c", "--names", "--prefix-colors"],
        scripts: &[],
        joins: true,
        ..PLAIN
    },
    Shape {
        names: &["sem"],
        takes: &["-j", "--id", "--jobs"],
        ..PLAIN
    },
    Shape {
        names: &["parallel"],
        takes: &[
            "-j",
            "-P",
            "-n",
            "-N",
            "-a",
            "-S",
            "-L",
            "-d",
            "--jobs",
            "--delay",
            "--joblog",
            "--timeout",
            "--retries",
            "--colsep",
            "--arg-file",
            "--max-procs",
            "--tmpdir",
            "--results",
        ],
        ..PLAIN
    },
    Shape {
        names: &["xargs", "gxargs"],
        takes: &[
            "-n",
            "-P",
            "-L",
            "-d",
            "-s",
            "-a",
            "-E",
            "-l",
            "-i",
            "--max-args",
            "--max-procs",
            "--delimiter",
            "--max-lines",
            "--arg-file",
            "--max-chars",
        ],
        ..PLAIN
    },
    Shape {
        names: &["env", "genv"],
        takes: &["-u", "-C", "-a", "--unset", "--chdir", "--argv0", "-P"],
        assigns: true,
        ..PLAIN
    },
    Shape {
        names: &["ssh", "autossh", "mosh"],
        takes: &[
            "-i", "-p", "-l", "-o", "-F", "-J", "-L", "-R", "-D", "-b", "-c", "-E", "-e", "-I", "-m", "-O", "-Q", "-S",
            "-W", "-w", "-B", "-M",
        ],
        skips: 1,
        joins: true,
        ..PLAIN
    },
];

/// What the program `name` runs with these arguments; `None` where it is no wrapper, or runs nothing.
pub fn unwrap(name: &str, arguments: &[String]) -> Option<Wrapped> {
    let shape = SHAPES.iter().find(|shape| {
        shape.names.contains(&name) || (name.starts_with("ld-") && name.contains(".so") && shape.names[0] == "ld.so")
    })?;
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
    match name {
        "xargs" | "gxargs" => {
            wrapped.takes_input = true;
            wrapped.replace = replaced(arguments);
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
            if is(shape.scripts) {
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
