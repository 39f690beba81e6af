//! What a command is for, if it is one at all.

use super::{Ground, HintKind};
use crate::policy::shell::{Listed, Written};

/// Programs that run tests, whatever their arguments.
const RUNNERS: [&str; 34] = [
    "pytest",
    "py.test",
    "tox",
    "nox",
    "nosetests",
    "nose2",
    "green",
    "stestr",
    "trial",
    "zope-testrunner",
    "ctest",
    "jest",
    "vitest",
    "mocha",
    "ava",
    "tap",
    "karma",
    "jasmine",
    "bats",
    "prove",
    "rspec",
    "phpunit",
    "pest",
    "busted",
    "roundup",
    "shellspec",
    "runtests",
    "runtests.py",
    "runtests.sh",
    "run_tests.py",
    "run_tests.sh",
    "run-tests.sh",
    "gotestsum",
    "nextest",
];

/// Programs whose first argument that is no option says what is done.
const TOOLS: [&str; 40] = [
    "make", "gmake", "just", "task", "rake", "ninja", "meson", "mage", "invoke", "inv", "doit", "cargo", "go", "npm",
    "pnpm", "yarn", "bun", "deno", "mvn", "mvnw", "gradle", "gradlew", "sbt", "dotnet", "swift", "mix", "zig", "stack",
    "cabal", "dune", "bazel", "bazelisk", "buck2", "composer", "hatch", "pdm", "poetry", "uv", "rye", "dart",
];

/// Programs that need an engine or a cluster.
const ENGINES: [&str; 12] = [
    "docker",
    "docker-compose",
    "podman",
    "nerdctl",
    "kubectl",
    "helm",
    "kind",
    "minikube",
    "k3d",
    "singularity",
    "apptainer",
    "vagrant",
];

/// Programs that install, whatever their arguments.
const INSTALLERS: [&str; 16] = [
    "pip",
    "pip3",
    "pipx",
    "conda",
    "mamba",
    "micromamba",
    "apt",
    "apt-get",
    "brew",
    "yum",
    "dnf",
    "apk",
    "pacman",
    "gem",
    "easy_install",
    "pre-commit",
];

/// Programs that are for nothing by themselves.
const NOTHING: [&str; 47] = [
    "cd", "ls", "git", "gh", "hg", "svn", "curl", "wget", "echo", "printf", "cat", "less", "more", "head", "tail",
    "cp", "mv", "rm", "mkdir", "rmdir", "touch", "chmod", "chown", "ln", "export", "set", "unset", "source", ".",
    "alias", "which", "type", "open", "exit", "true", "false", "test", "[", "sed", "awk", "grep", "find", "tar",
    "unzip", "import", "from", "code",
];

/// Words before a command that run it in some surroundings, and how many words they are.
const SURROUNDERS: [(&str, &str); 18] = [
    ("uv", "run"),
    ("poetry", "run"),
    ("pipenv", "run"),
    ("pdm", "run"),
    ("rye", "run"),
    ("bundle", "exec"),
    ("pnpm", "exec"),
    ("npm", "exec"),
    ("coverage", "run"),
    ("conda", "run"),
    ("npx", ""),
    ("bunx", ""),
    ("env", ""),
    ("time", ""),
    ("nohup", ""),
    ("sudo", ""),
    ("exec", ""),
    ("xvfb-run", ""),
];

/// Words that tell prose from a command.
const PROSE: [&str; 22] = [
    "the", "that", "this", "a", "an", "is", "are", "was", "of", "and", "or", "with", "for", "you", "your", "we",
    "will", "should", "can", "it", "sure", "please",
];

/// What an item of a block is for. `trusted`: its text is a shell's by its author's word, or
/// stands behind a prompt. `dir` is where it runs.
pub(super) fn of(item: &Listed, trusted: bool, ground: &Ground, dir: &str) -> Option<HintKind> {
    if !item.plain && !trusted {
        return None;
    }
    let kinds = item
        .commands
        .iter()
        .map(|command| simple(command, trusted, ground, dir));
    // What it ends with, or is for at all: installing before testing is testing.
    kinds.flatten().min()
}

/// The program and its arguments; what is expanded is nothing that is known.
pub(super) fn words(command: &Written) -> Vec<&str> {
    let words = command.words.iter();
    words.map(|word| word.text.as_deref().unwrap_or("\0")).collect()
}

/// How many words at the beginning only say in what surroundings the rest runs.
pub(super) fn surrounded(words: &[&str]) -> usize {
    let mut skip = 0;
    for _ in 0..5 {
        let rest = &words[skip..];
        let Some((_, second)) = SURROUNDERS.iter().find(|(first, second)| {
            rest.first().is_some_and(|word| name(word) == *first)
                && (second.is_empty() || rest.get(1).is_some_and(|word| word == second))
        }) else {
            break;
        };
        skip += 1 + usize::from(!second.is_empty());
        while words
            .get(skip)
            .is_some_and(|word| word.starts_with('-') || word.contains('='))
        {
            // An option's value cannot be told from the program: options with `=` can.
            skip += 1;
        }
    }
    match skip < words.len() {
        true => skip,
        false => 0,
    }
}

/// A program's name without its directory.
pub(super) fn name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

pub(super) fn is_python(program: &str) -> bool {
    let name = name(program);
    let version = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    version.is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn simple(command: &Written, trusted: bool, ground: &Ground, dir: &str) -> Option<HintKind> {
    let words = words(command);
    let first = *words.first()?;
    let program_like = first.starts_with(|c: char| c.is_ascii_alphanumeric() || "./_".contains(c))
        && first.chars().all(|c| c.is_ascii_alphanumeric() || "._-/+@".contains(c));
    if !program_like
        || words
            .get(1)
            .is_some_and(|word| matches!(*word, "=" | ":=" | "+=" | ":" | "=="))
    {
        return None;
    }
    let prose = words.iter().skip(1).any(|word| PROSE.contains(word))
        || words
            .last()
            .is_some_and(|word| word.len() > 1 && word.ends_with(['.', ',', ':', '?', '!']) && !word.ends_with(".."));
    if prose && !trusted {
        return None;
    }
    let core = &words[surrounded(&words)..];
    let program = core.first()?;
    kind(core, program, ground, dir).or_else(|| unknown(core, trusted))
}

fn kind(core: &[&str], program: &str, ground: &Ground, dir: &str) -> Option<HintKind> {
    let name = name(program);
    let rest = &core[1..];
    if NOTHING.contains(&program) {
        return None;
    }
    if RUNNERS.contains(&name) {
        return Some(HintKind::Tests);
    }
    if ENGINES.contains(&name) {
        return Some(HintKind::Container);
    }
    if INSTALLERS.contains(&name) {
        return Some(HintKind::Install);
    }
    if is_python(program) {
        return python(rest);
    }
    if TOOLS.contains(&name) {
        return tool(name, rest);
    }
    if [
        "sh", "bash", "zsh", "dash", "node", "ruby", "perl", "Rscript", "julia", "php",
    ]
    .contains(&name)
    {
        let script = rest.iter().find(|word| !word.starts_with('-'))?;
        return Some(by_name(script).unwrap_or(HintKind::Run));
    }
    let is_path = program.contains('/') || ground.files.contains(joined(dir, program).as_str());
    if is_path && program.len() > 2 {
        return Some(by_name(program).unwrap_or(HintKind::Run));
    }
    (name == "cmake").then_some(HintKind::Build)
}

fn joined(dir: &str, name: &str) -> String {
    match dir {
        "" => name.to_owned(),
        dir => format!("{dir}/{name}"),
    }
}

fn python(rest: &[&str]) -> Option<HintKind> {
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match *word {
            "-m" => {
                let module = words.next()?;
                let args: Vec<&str> = words.copied().collect();
                return Some(match *module {
                    "pytest" | "unittest" | "tox" | "nox" | "nose" | "nose2" | "doctest" | "twisted.trial"
                    | "green" | "stestr" | "xmlrunner" | "testtools.run" => HintKind::Tests,
                    "pip" | "pipx" | "ensurepip" | "venv" | "virtualenv" | "conda" => HintKind::Install,
                    "build" => HintKind::Build,
                    "coverage" if args.first() == Some(&"run") => python(&args[1..]).unwrap_or(HintKind::Run),
                    "http.server" | "coverage" => return None,
                    module => by_name(module).or_else(|| by_arguments(&args)).unwrap_or(HintKind::Run),
                });
            }
            // Code of a line, or a session.
            "-c" => return None,
            "-W" | "-X" => {
                words.next();
            }
            option if option.starts_with('-') => {}
            script => {
                let args: Vec<&str> = words.copied().collect();
                return match (name(script), args.first().copied()) {
                    ("setup.py", Some("test" | "pytest" | "nosetests")) => Some(HintKind::Tests),
                    ("setup.py", Some("install" | "develop")) => Some(HintKind::Install),
                    ("setup.py", _) => Some(HintKind::Build),
                    ("manage.py", Some("test")) => Some(HintKind::Tests),
                    _ => Some(by_name(script).or_else(|| by_arguments(&args)).unwrap_or(HintKind::Run)),
                };
            }
        }
    }
    None
}

/// What a tool's own verb says.
fn tool(name: &str, rest: &[&str]) -> Option<HintKind> {
    let plain = || rest.iter().filter(|word| !word.starts_with('-') && !word.contains('='));
    let verb = plain().next().copied();
    let build = |verb: Option<&str>| match verb {
        Some(verb) => by_verb(verb),
        None => HintKind::Build,
    };
    Some(match (name, verb) {
        ("make" | "gmake" | "ninja" | "just" | "task" | "rake" | "mage" | "invoke" | "inv" | "doit", _) => {
            plain().map(|target| by_verb(target)).min().unwrap_or(HintKind::Build)
        }
        ("cargo", Some("test" | "nextest" | "t")) => HintKind::Tests,
        ("cargo", Some("bench")) => HintKind::Benchmark,
        ("cargo", Some("run" | "r")) => HintKind::Run,
        ("cargo", Some("install" | "add")) => HintKind::Install,
        ("go", Some("test")) if rest.iter().any(|word| word.starts_with("-bench")) => HintKind::Benchmark,
        ("go", Some("test")) => HintKind::Tests,
        ("go", Some("run")) => HintKind::Run,
        ("go", Some("get" | "install" | "mod")) => HintKind::Install,
        ("npm" | "pnpm" | "yarn" | "bun", Some("t")) => HintKind::Tests,
        ("npm" | "pnpm" | "yarn" | "bun", Some("run" | "run-script")) => {
            plain().nth(1).map_or(HintKind::Run, |script| match by_verb(script) {
                HintKind::Build if !script.contains("build") => HintKind::Run,
                kind => kind,
            })
        }
        ("npm" | "pnpm" | "yarn" | "bun", Some("ci" | "i" | "add")) | ("yarn" | "bun", None) => HintKind::Install,
        ("npm" | "pnpm" | "yarn" | "bun", Some("start" | "dev" | "exec")) => HintKind::Run,
        ("uv", Some("pip" | "sync" | "add" | "venv" | "tool" | "lock"))
        | ("poetry" | "pdm" | "rye", Some("install" | "add" | "sync" | "lock")) => HintKind::Install,
        ("hatch" | "pdm" | "poetry" | "uv" | "rye", Some("run")) => {
            plain().nth(1).map_or(HintKind::Run, |script| by_verb(script))
        }
        ("mvn" | "mvnw" | "gradle" | "gradlew", _) => plain()
            .map(|goal| match *goal {
                "verify" => HintKind::Tests,
                goal => by_verb(goal),
            })
            .min()
            .unwrap_or(HintKind::Build),
        (_, verb) => build(verb),
    })
}

fn by_verb(verb: &str) -> HintKind {
    match verb {
        "check" | "verify" | "t" => HintKind::Tests,
        "install" | "deps" | "setup" | "sync" | "bootstrap" | "develop" => HintKind::Install,
        "run" => HintKind::Run,
        verb => by_name(verb).unwrap_or(HintKind::Build),
    }
}

fn by_arguments(args: &[&str]) -> Option<HintKind> {
    args.iter()
        .take(2)
        .filter(|word| !word.starts_with('-'))
        .find_map(|word| by_name(word))
}

/// What the words in a name say.
pub(super) fn by_name(name: &str) -> Option<HintKind> {
    let low = name.to_ascii_lowercase();
    let parts = || {
        low.split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|part| !part.is_empty())
    };
    let is = |wanted: &[&str]| parts().any(|part| wanted.contains(&part));
    if is(&[
        "test",
        "tests",
        "unittest",
        "unittests",
        "pytest",
        "runtests",
        "testsuite",
        "selftest",
        "unit",
        "spec",
        "specs",
    ]) {
        return Some(HintKind::Tests);
    }
    let evaluates = |part: &str| {
        part == "eval"
            || part.starts_with("evaluat")
            || part == "evals"
            || part.strip_suffix("eval").is_some_and(|rest| rest.len() > 1)
    };
    if parts().any(evaluates) || is(&["score", "scoring"]) {
        return Some(HintKind::Evaluate);
    }
    (parts().any(|part| part.starts_with("bench")) || is(&["leaderboard"])).then_some(HintKind::Benchmark)
}

/// A program that nobody here knows.
fn unknown(core: &[&str], trusted: bool) -> Option<HintKind> {
    let program = core.first()?;
    let options = core[1..].iter().any(|word| word.len() > 1 && word.starts_with('-'));
    let lower = program.starts_with(|c: char| c.is_ascii_lowercase());
    if NOTHING.contains(program) || !lower || !(trusted || options) {
        return None;
    }
    match core.get(1) {
        Some(&"test") => Some(HintKind::Tests),
        _ => by_name(program).or_else(|| by_arguments(&core[1..])),
    }
}
