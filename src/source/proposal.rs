//! A first contract for a repository, proposed from the names of its files. Nothing of
//! the repository is run, no link is followed, and none of its text goes into the
//! contract: commands come from here.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Bytes of a file that are looked at.
const LOOK_BYTES: u64 = 1 << 20;
/// Scripts that are a repository's own way to run its tests, the first that is there.
const SCRIPTS: [&str; 8] = [
    "tests/run.sh",
    "tests/run",
    "test/run.sh",
    "run_tests.sh",
    "run-tests.sh",
    "test.sh",
    "scripts/test.sh",
    "script/test",
];

/// One way to test a repository, and what speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file that was recognised.
    pub because: &'static str,
    /// The command.
    pub command: String,
    /// Variables that it needs where there is no network.
    pub env: Vec<(&'static str, &'static str)>,
}

/// A contract that is not written yet.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// What was recognised, the best first.
    pub findings: Vec<Finding>,
    /// The commands of `tests`.
    pub commands: Vec<String>,
    /// The whole file.
    pub text: String,
}

/// Looks at the repository in `dir`. `test_cmd` is the user's own command, if there is
/// one; `None` comes back where there is none and nothing is recognised.
pub fn propose(dir: &Path, test_cmd: Option<&str>) -> Option<Proposal> {
    let findings = findings(dir);
    // A repository's own entry to its tests knows best; else each language has its command.
    let own = |finding: &&Finding| finding.because.starts_with("Makefile") || SCRIPTS.contains(&finding.because);
    let chosen: Vec<&Finding> = match (test_cmd, findings.iter().find(own)) {
        (Some(_), _) => Vec::new(),
        (None, Some(finding)) => vec![finding],
        (None, None) => findings.iter().collect(),
    };
    let given = test_cmd.map(str::to_owned);
    let commands: Vec<String> = given
        .into_iter()
        .chain(chosen.iter().map(|finding| finding.command.clone()))
        .collect();
    if commands.is_empty() {
        return None;
    }
    let others: Vec<&Finding> = findings.iter().filter(|finding| !chosen.contains(finding)).collect();
    let text = contract(&commands, &chosen, &others);
    Some(Proposal {
        commands,
        text,
        findings,
    })
}

/// Writes a contract that is not there yet, whole or not at all.
///
/// # Errors
/// When something is there already, of whatever kind, and when it cannot be written.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

/// Everything that is recognised.
fn findings(dir: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |because: &'static str, command: &str, env: &[(&'static str, &'static str)]| {
        found.push(Finding {
            because,
            command: command.to_owned(),
            env: env.to_vec(),
        });
    };
    for makefile in ["Makefile", "makefile", "GNUmakefile"] {
        let text = look(dir, makefile).unwrap_or_default();
        if let Some(target) = ["test", "check", "tests"]
            .into_iter()
            .find(|target| has_target(&text, target))
        {
            add("Makefile", &format!("make {target}"), &[]);
            break;
        }
    }
    if let Some(script) = SCRIPTS.into_iter().find(|script| look(dir, script).is_some()) {
        let text = look(dir, script).unwrap_or_default();
        let shell = if text.lines().next().is_some_and(|line| line.contains("bash")) {
            "bash"
        } else {
            "sh"
        };
        add(script, &format!("{shell} {script}"), &[]);
    }
    if look(dir, "Cargo.toml").is_some() {
        let locked = if look(dir, "Cargo.lock").is_some() {
            " --locked"
        } else {
            ""
        };
        add(
            "Cargo.toml",
            &format!("cargo test{locked}"),
            &[("CARGO_NET_OFFLINE", "true")],
        );
    }
    if look(dir, "go.mod").is_some() {
        add("go.mod", "go test ./...", &[("GOPROXY", "off")]);
    }
    if let Some(command) = node(dir) {
        add("package.json", command, &[]);
    }
    if let Some((because, command)) = python(dir) {
        add(because, command, &[]);
    }
    found
}

/// The test command of a Node package that has one of its own.
fn node(dir: &Path) -> Option<&'static str> {
    let package: serde_json::Value = serde_json::from_str(&look(dir, "package.json")?).ok()?;
    let script = package["scripts"]["test"].as_str()?;
    // What `npm init` writes.
    if script.contains("no test specified") {
        return None;
    }
    let of_lock = [
        ("pnpm-lock.yaml", "pnpm test"),
        ("yarn.lock", "yarn test"),
        ("bun.lock", "bun run test"),
    ];
    let locked = of_lock.into_iter().find(|(lock, _)| look(dir, lock).is_some());
    Some(locked.map_or("npm test", |(_, command)| command))
}

/// What makes a directory a Python project, and its test command.
fn python(dir: &Path) -> Option<(&'static str, &'static str)> {
    let files = [
        "pytest.ini",
        "pyproject.toml",
        "setup.cfg",
        "tox.ini",
        "setup.py",
        "requirements.txt",
        "requirements-dev.txt",
        "conftest.py",
    ];
    let because = files.into_iter().find(|file| look(dir, file).is_some())?;
    let pytest = files
        .into_iter()
        .any(|file| look(dir, file).is_some_and(|text| file == "conftest.py" || text.contains("pytest")));
    let command = if pytest {
        "python3 -m pytest -q"
    } else {
        "python3 -m unittest discover"
    };
    Some((because, command))
}

/// Whether a makefile has a rule for a target.
fn has_target(makefile: &str, target: &str) -> bool {
    makefile.lines().any(|line| {
        let rule = line.strip_prefix(target).map(str::trim_start);
        rule.is_some_and(|rest| rest.starts_with(':') && !rest.starts_with(":="))
    })
}

/// The beginning of a regular file below `dir`; `None` for anything else, links included.
fn look(dir: &Path, name: &str) -> Option<String> {
    let path = dir.join(name);
    // A link on the way there would lead out as well.
    let linked = path.parent().filter(|parent| *parent != dir);
    if linked.is_some_and(|parent| fs::symlink_metadata(parent).is_ok_and(|meta| meta.is_symlink())) {
        return None;
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LOOK_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The file. A JSON string is a double-quoted one in YAML (1.2.2, 7.3.1).
fn contract(commands: &[String], chosen: &[&Finding], others: &[&Finding]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = String::from(
        "# How this repository is judged. Written by `opencode-fsm init`: read it, and change it.\n\
         # Every key is described in docs/pipeline_spec.md; `opencode-fsm schema pipeline` is for your editor.\n\
         # Try it without an agent: opencode-fsm verify .\n\
         version: 1\n\n\
         security:\n\
         \x20 max_cmd_seconds: 1800    # no command runs longer\n\
         \x20 max_total_seconds: 7200  # no stage runs longer, repetitions included\n\n\
         # The acceptance commands. They run in a fresh sandbox: no network, the host's /usr and\n\
         # nothing else of it. What they need must be there, in the repository, or be made by\n\
         # .aider_fsm/bootstrap.yml.\n\
         tests:\n\
         \x20 cmds:\n",
    );
    for command in commands {
        let because = chosen.iter().find(|finding| finding.command == *command);
        let because = because
            .map(|finding| format!("  # {}", finding.because))
            .unwrap_or_default();
        // Writing to a String cannot fail; so below.
        let _ = writeln!(text, "    - {}{because}", quoted(command));
    }
    for other in others {
        let _ = writeln!(text, "    # - {}  # {}", quoted(&other.command), other.because);
    }
    let env: Vec<_> = chosen.iter().flat_map(|finding| &finding.env).collect();
    if !env.is_empty() {
        text.push_str("  env:\n");
        for (name, value) in env {
            let _ = writeln!(text, "    {name}: {}", quoted(value));
        }
    }
    text.push_str(
        "  # timeout_seconds: 600     # for one command\n\
         \x20 # retries: 0               # repetitions of a command that fails\n\
         \x20 # workdir: .               # where they run\n\n\
         # A service for the stages after it: started, waited for, and taken down.\n\
         # deploy:\n\
         #   setup_cmds: [sh service/start.sh]\n\
         #   health_cmds: [sh service/health.sh]\n\
         #   teardown_cmds: [sh service/stop.sh]\n\n\
         # Samples, written before they are measured.\n\
         # rollout:\n\
         #   run_cmd: sh eval/rollout.sh\n\n\
         # What the agent is to improve: a JSON file with a number `score` and a boolean `ok`.\n\
         # evaluation:\n\
         #   run_cmd: sh eval/evaluate.sh\n\
         #   metrics_path: .aider_fsm/metrics.json\n\
         #   required_keys: [ok, score]\n",
    );
    text
}

#[cfg(test)]
#[path = "proposal_tests.rs"]
mod tests;
