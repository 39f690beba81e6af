//! What is set around a command line: variables, a dotenv file, the host's configuration.

use std::{
    collections::BTreeMap,
    fmt,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{
    args::{CONFIG_KEYS, Verb},
    target::TargetArgs,
};
use crate::{
    contract::{self, ConfigEntry, Dotenv},
    engine::EngineError,
    policy::Policy,
    record::{self, Secret},
};

/// Read from the current directory where no `--env-file` says otherwise.
const DEFAULT_ENV_FILE: &str = ".env";
/// How variables begin that bound commands, stages and runs.
const CAPS: &str = "AIDER_FSM_MAX_";
/// Never granted by a file: only `--env` takes the model's key into a sandbox.
const KEY: &str = "OPENAI_API_KEY";
/// Variables whose values are secrets of the host, whatever they are used for.
const SECRETS: [&str; 7] = [
    KEY,
    "OPENCODE_SERVER_PASSWORD",
    "HF_TOKEN",
    "HUGGINGFACE_TOKEN",
    "HUGGINGFACEHUB_API_TOKEN",
    "GITHUB_TOKEN",
    "GH_TOKEN",
];

/// Where a value comes from; the first of these that gives one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The command line.
    Flag,
    /// A variable of the environment, or of a dotenv file.
    Variable { name: String, file: Option<PathBuf> },
    /// The host's configuration.
    Config { file: PathBuf, line: usize },
    /// A policy, by its place.
    Policy(String),
    /// The program.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("flag"),
            Origin::Variable { name, file: None } => write!(f, "env {name}"),
            Origin::Variable { name, file: Some(file) } => write!(f, "env {name} ({})", file.display()),
            Origin::Config { file, line } => write!(f, "config {}:{line}", file.display()),
            Origin::Policy(place) => write!(f, "policy {place}"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting<T> {
    pub value: T,
    pub origin: Origin,
}

/// Variables of a dotenv file.
#[derive(Clone, Debug)]
struct EnvFile {
    path: PathBuf,
    variables: Vec<(String, String)>,
    /// Named by the user, so that its variables are for the stages too.
    named: bool,
    /// It lies in the target: whoever wrote the repository wrote it.
    of_target: bool,
}

/// The host's configuration file.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub path: PathBuf,
    pub entries: Vec<ConfigEntry>,
}

/// Everything around one command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    process: BTreeMap<String, String>,
    file: Option<EnvFile>,
    file_wins: bool,
    pub config: Option<Config>,
    /// What the host and `--policy` allow; flags are not in it yet.
    pub policy: Option<Policy>,
    /// What the user should know of how it was read.
    pub warnings: Vec<String>,
}

impl Surroundings {
    /// Reads what is around a verb.
    ///
    /// # Errors
    /// [`EngineError::Usage`] for a file that is named and cannot be read, and for a malformed
    /// one; [`EngineError::Policy`] for a policy.
    pub fn read(verb: &Verb) -> Result<Self, EngineError> {
        let mut found = Self {
            // What is not UTF-8 configures nothing: every value here is a name, a URL or a key.
            process: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            config: read_config()?,
            ..Self::default()
        };
        if let Some(named) = verb.policy() {
            found.policy = Some(Policy::of_host(&record::policy_places(), named)?);
        }
        if let Some(target) = verb.target() {
            found.file_wins = target.env_override;
            found.file = found.read_env_file(target, verb.has_one_target())?;
        }
        Ok(found)
    }

    /// Variables of the process and nothing else.
    #[cfg(test)]
    pub fn of_variables(variables: &[(&str, &str)]) -> Self {
        Self {
            process: variables
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            ..Self::default()
        }
    }

    /// The host's configuration and policy alone.
    pub fn only_hosts(&self) -> Self {
        Self {
            config: self.config.clone(),
            policy: self.policy.clone(),
            ..Self::default()
        }
    }

    /// `by_default`: whether the one of the current directory is read unasked. It is not
    /// where no target is known yet that it could lie in.
    fn read_env_file(&mut self, target: &TargetArgs, by_default: bool) -> Result<Option<EnvFile>, EngineError> {
        let (path, named) = match &target.env_file {
            Some(path) if path.as_os_str().is_empty() => return Ok(None),
            Some(path) => (path.clone(), true),
            None if !by_default => return Ok(None),
            None => (PathBuf::from(DEFAULT_ENV_FILE), false),
        };
        if !named {
            if !path.exists() {
                return Ok(None);
            }
            if lies_in(&path, target.target()) {
                self.warnings.push(format!(
                    "`{}` belongs to the target and is not read; --env-file {0} reads it, and grants its variables to the stages",
                    path.display()
                ));
                return Ok(None);
            }
        }
        let shown = path.display();
        let read = read_env_file(&path)?;
        for line in read.skipped {
            self.warnings
                .push(format!("{shown}:{line}:1: skipped, it is no NAME=VALUE"));
        }
        let of_target = lies_in(&path, target.target());
        if of_target && read.variables.iter().any(|(name, _)| name.starts_with(CAPS)) {
            self.warnings
                .push(format!("{shown}: `{CAPS}…` has no effect in a file of the target"));
        }
        Ok(Some(EnvFile {
            path,
            variables: read.variables,
            named,
            of_target,
        }))
    }

    /// A variable that is set and not blank: the environment's, else the dotenv file's;
    /// the other way round with `--env-override`.
    pub fn variable(&self, name: &str) -> Option<Setting<String>> {
        self.variable_of(name, self.file.as_ref())
    }

    /// The same, from nothing that lies in the target: what bounds a repository.
    pub fn bound(&self, name: &str) -> Option<Setting<String>> {
        self.variable_of(name, self.file.as_ref().filter(|file| !file.of_target))
    }

    fn variable_of(&self, name: &str, file: Option<&EnvFile>) -> Option<Setting<String>> {
        let of_process = || Some((self.process.get(name)?.clone(), None));
        let of_file = || {
            let file = file?;
            let (_, value) = file.variables.iter().find(|(key, _)| key == name)?;
            Some((value.clone(), Some(file.path.clone())))
        };
        let (value, file) = if self.file_wins {
            of_file().or_else(of_process)
        } else {
            of_process().or_else(of_file)
        }?;
        let name = name.to_owned();
        (!value.trim().is_empty()).then_some(Setting {
            value,
            origin: Origin::Variable { name, file },
        })
    }

    /// The environment of the process.
    pub fn of_process(&self) -> impl Iterator<Item = (String, String)> {
        self.process.iter().map(|(name, value)| (name.clone(), value.clone()))
    }

    /// The dotenv file that was read.
    pub fn env_file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// Whether a dotenv file's variables come before the environment's.
    pub fn file_wins(&self) -> bool {
        self.file_wins
    }

    /// A value of the host's configuration.
    pub fn configured(&self, key: &str) -> Option<Setting<String>> {
        let config = self.config.as_ref()?;
        let entry = config.entries.iter().find(|entry| entry.key == key)?;
        Some(Setting {
            value: entry.value.clone(),
            origin: Origin::Config {
                file: config.path.clone(),
                line: entry.line,
            },
        })
    }

    /// The variables that stages get: those of a dotenv file that the user named, then
    /// those of `--env`, each name once. Nothing else of the host's environment is among them.
    ///
    /// # Errors
    /// [`EngineError::Usage`] for a malformed `--env` and for a name without a value anywhere.
    pub fn grants(&self, given: &[String]) -> Result<Vec<(Setting<String>, Secret)>, EngineError> {
        let mut grants = indexmap::IndexMap::new();
        if let Some(file) = self.file.as_ref().filter(|file| file.named) {
            for (name, value) in file.variables.iter().filter(|(name, _)| name != KEY) {
                // What the runner sets itself stays its own.
                if contract::parse_assignment(name).is_ok() {
                    let origin = Origin::Variable {
                        name: name.clone(),
                        file: Some(file.path.clone()),
                    };
                    grants.insert(name.clone(), (origin, Secret::new(value.as_str())));
                }
            }
        }
        for (index, text) in given.iter().enumerate() {
            // What is malformed may be a secret: it is named by its place.
            let fail = |why: String| EngineError::Usage(format!("--env, number {}: {why}", index + 1));
            let (name, value) = contract::parse_assignment(text).map_err(fail)?;
            let (value, origin) = match value {
                Some(value) => (value, Origin::Flag),
                None => self
                    .variable(&name)
                    .map(|found| (found.value, found.origin))
                    .ok_or_else(|| fail(format!("{name} is not set in the environment; write {name}=VALUE")))?,
            };
            grants.insert(name, (origin, Secret::new(value)));
        }
        let named = |(value, (origin, secret))| (Setting { value, origin }, secret);
        Ok(grants.into_iter().map(named).collect())
    }

    /// The values that are never shown.
    pub fn secrets(&self) -> Vec<Secret> {
        let values = SECRETS.iter().filter_map(|name| self.variable(name));
        values.map(|found| Secret::new(found.value)).collect()
    }
}

/// Reads a dotenv file that the user names, or that lies where one is looked for.
///
/// # Errors
/// [`EngineError::Usage`] where it cannot be read, or holds what is no text.
pub(super) fn read_env_file(path: &Path) -> Result<Dotenv, EngineError> {
    let shown = path.display();
    let bytes = read_file(path).map_err(|why| EngineError::Usage(format!("--env-file {shown}: {why}")))?;
    contract::parse_dotenv(&bytes).map_err(|why| EngineError::Usage(format!("{shown}:{why}")))
}

/// Whether a file lies in the tree that is the target.
fn lies_in(file: &Path, target: &Path) -> bool {
    match (file.canonicalize(), target.canonicalize()) {
        (Ok(file), Ok(target)) => file.starts_with(target),
        // What cannot be placed is not trusted.
        (Err(_), _) => true,
        (_, Err(_)) => false,
    }
}

fn read_config() -> Result<Option<Config>, EngineError> {
    let Some(path) = record::config_file() else {
        return Ok(None);
    };
    let shown = path.display();
    let bytes = match read_file(&path) {
        Ok(bytes) => bytes,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(EngineError::Usage(format!("{shown}: {why}"))),
    };
    let entries =
        contract::parse_config(&bytes, &CONFIG_KEYS).map_err(|why| EngineError::Usage(format!("{shown}:{why}")))?;
    Ok(Some(Config { path, entries }))
}

/// A regular file's bytes, as many as a document may have and one more; a pipe cannot
/// hold us up.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(contract::MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(process: &[(&str, &str)], file: &[(&str, &str)], named: bool) -> Surroundings {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        Surroundings {
            process: process.iter().map(owned).collect(),
            file: Some(EnvFile {
                path: "my.env".into(),
                variables: file.iter().map(owned).collect(),
                named,
                of_target: false,
            }),
            ..Surroundings::default()
        }
    }

    fn granted(around: &Surroundings, given: &[&str]) -> Vec<(String, String, String)> {
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        let grants = around.grants(&given).expect("grants");
        let row = |(name, secret): (Setting<String>, Secret)| {
            (name.value, secret.expose().to_owned(), name.origin.to_string())
        };
        grants.into_iter().map(row).collect()
    }

    #[test]
    fn existing_variables_win_unless_the_file_overrides() {
        let mut around = around(
            &[("A", "process"), ("C", "")],
            &[("A", "file"), ("B", "file"), ("C", "file")],
            false,
        );
        let value = |around: &Surroundings, name: &str| around.variable(name).map(|found| found.value);
        assert_eq!(value(&around, "A").as_deref(), Some("process"));
        assert_eq!(value(&around, "B").as_deref(), Some("file"));
        assert_eq!(value(&around, "C"), None, "set to nothing is set");
        assert_eq!(value(&around, "D"), None);
        around.file_wins = true;
        assert_eq!(value(&around, "A").as_deref(), Some("file"));
        assert_eq!(around.variable("A").expect("set").origin.to_string(), "env A (my.env)");
    }

    #[test]
    fn only_a_named_file_grants_and_never_the_models_key() {
        let file = [(KEY, "sk-file"), ("TOKEN", "t"), ("AIDER_FSM_STAGE", "x")];
        let process = [(KEY, "sk-process"), ("OTHER", "o")];
        assert!(granted(&around(&process, &file, false), &[]).is_empty());
        let named = around(&process, &file, true);
        let row = |name: &str, value: &str, origin: &str| (name.to_owned(), value.to_owned(), origin.to_owned());
        assert_eq!(granted(&named, &[]), [row("TOKEN", "t", "env TOKEN (my.env)")]);
        assert_eq!(
            granted(&named, &[KEY, "TOKEN=mine"]),
            [
                row("TOKEN", "mine", "flag"),
                row(KEY, "sk-process", &format!("env {KEY}"))
            ]
        );
        for bad in ["=sk-1", "sk-1", "NOT_SET"] {
            let why = named.grants(&[bad.to_owned()]).expect_err(bad).to_string();
            assert!(why.starts_with("--env, number 1: ") && !why.contains("sk-"), "{why}");
        }
    }

    #[test]
    fn a_files_place_decides_whether_it_is_the_targets() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (target, file) = (dir.path().join("t"), dir.path().join("t/.env"));
        std::fs::create_dir(&target).expect("mkdir");
        std::fs::write(&file, "").expect("write");
        assert!(lies_in(&file, &target) && lies_in(&file, dir.path()));
        assert!(!lies_in(&file, &dir.path().join("other")));
        std::fs::write(dir.path().join(".env"), "").expect("write");
        assert!(!lies_in(&dir.path().join(".env"), &target));
    }

    #[test]
    fn a_pipe_is_no_file_and_holds_nobody_up() {
        let dir = tempfile::tempdir().expect("tempdir");
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        assert!(
            read_file(&pipe)
                .expect_err("no file")
                .to_string()
                .contains("no regular file")
        );
    }
}
