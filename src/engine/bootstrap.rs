//! `.aider_fsm/bootstrap.yml`, read: its commands as a stage, its variables as each
//! sandbox's places make them, and the key that its layer is kept under.

use std::os::unix::fs::MetadataExt;

use serde::Serialize;
use serde_json::json;

use crate::{
    contract::{self, MAX_DOCUMENT, Stage, StageName},
    engine::{
        EngineError, TargetOptions, Unattended,
        environment::Environment,
        workspace::{Walls, Workspace},
    },
    names::{RelPath, RunId},
    policy::{Inside, Limits, NetworkRules, Tier},
    record::{RunDir, Secret},
    sandbox::{self, Backend},
    tree::{Content, EntryKind},
};

/// What stands in the record where a value is not shown.
const HIDDEN: &str = "[redacted]";
/// Words of a variable's name that say that its value is a secret.
const SECRET_WORDS: [&str; 8] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASS",
    "PWD",
    "CREDENTIALS",
];
/// What tells that the programs of this host changed: packages come and go by names
/// in these directories. A missing one says so as well.
const HOST: [&str; 8] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/bin",
    "/usr/local/lib",
    "/etc/alternatives",
    "/var/lib/dpkg/status",
];

/// What a target's bootstrap asks for.
#[derive(Clone, Debug)]
pub(super) struct Bootstrap {
    parsed: contract::Bootstrap,
    /// What the user grants.
    grants: Vec<(String, Secret)>,
    /// What is to be told of the file.
    pub warnings: Vec<String>,
    /// The file, with values that are secrets by their look taken out.
    masked: String,
}

/// The bootstrap's place: contract even where there is none yet.
pub(super) fn path() -> RelPath {
    // A constant of two plain names always passes the check.
    RelPath::new(".aider_fsm/bootstrap.yml").unwrap_or_else(|_| unreachable!("a constant path"))
}

impl Bootstrap {
    /// Reads the bootstrap of the accepted state; `None` where it has none.
    ///
    /// # Errors
    /// [`EngineError::Contract`] when it is malformed, or no regular file.
    pub fn of(workspace: &Workspace, options: &TargetOptions) -> Result<Option<Self>, EngineError> {
        let path = path();
        match workspace.entry(&path).map(|entry| entry.kind) {
            None => return Ok(None),
            Some(EntryKind::File { .. }) => {}
            Some(_) => return Err(EngineError::Contract(format!("{path} must be a regular file"))),
        }
        let text = workspace.read(&path, MAX_DOCUMENT as u64)?.unwrap_or_default();
        let parsed = contract::Bootstrap::parse(&path, &text).map_err(malformed)?;
        let bootstrap = Self {
            masked: parsed.masked(&String::from_utf8_lossy(&text), hides),
            warnings: parsed.warnings.iter().map(ToString::to_string).collect(),
            grants: options.grants.clone(),
            parsed,
        };
        // What is too long is said before anything is built.
        bootstrap.env(&Inside::private())?;
        bootstrap.env_of_stages(&Inside::private())?;
        Ok(Some(bootstrap))
    }

    /// Whether it has commands.
    pub fn has_commands(&self) -> bool {
        !self.parsed.cmds.is_empty()
    }

    /// `env` as its own commands and the agent see it.
    ///
    /// # Errors
    /// [`EngineError::Contract`] where a value is too long once it is expanded there.
    pub fn env(&self, inside: &Inside) -> Result<Vec<(String, String)>, EngineError> {
        variables(&self.parsed, &[], inside).map_err(malformed)
    }

    /// `env` as the contract's stages see it: it may hold what the user grants.
    ///
    /// # Errors
    /// As [`Bootstrap::env`].
    pub fn env_of_stages(&self, inside: &Inside) -> Result<Vec<(String, String)>, EngineError> {
        variables(&self.parsed, &self.grants, inside).map_err(malformed)
    }

    /// Its commands in a sandbox.
    ///
    /// # Errors
    /// As [`Bootstrap::env`].
    pub fn stage(&self, inside: &Inside) -> Result<Stage, EngineError> {
        Ok(Stage {
            name: StageName::Bootstrap,
            env: self.env(inside)?,
            cmds: self.parsed.cmds.clone(),
            timeout: self.parsed.timeout,
            retries: self.parsed.retries,
            workdir: self.parsed.workdir.clone(),
        })
    }

    /// Keeps `bootstrap.yml` and `bootstrap_env.json` in the directory `name` of the run.
    pub fn keep(&self, run: &RunDir, name: &str, places: &Places) -> Result<(), EngineError> {
        run.write(&format!("{name}/bootstrap.yml"), self.masked.as_bytes())?;
        let shown = |(name, value): &(String, String)| {
            let value = if hides(name, value) { HIDDEN } else { value };
            (name.clone(), json!(value))
        };
        let env: serde_json::Map<_, _> = self.env(&places.inside)?.iter().map(shown).collect();
        run.write_json(&format!("{name}/bootstrap_env.json"), &env)?;
        Ok(())
    }

    /// The key of its layer: a digest of all that its commands can depend on.
    pub fn key(
        &self,
        workspace: &Workspace,
        pipeline: &contract::Pipeline,
        options: &TargetOptions,
        places: &Places,
    ) -> Result<Content, EngineError> {
        let unattended = options.unattended;
        let network = Some(&options.network.rules).filter(|rules| rules.opens_door());
        let Walls {
            limits,
            min_tier,
            disk_bytes,
            disk_inodes,
            ..
        } = workspace.walls();
        let sets = workspace.sets();
        let key = Key {
            layer: 1,
            version: env!("CARGO_PKG_VERSION"),
            tree: workspace.copied().digest,
            work: workspace.current().digest(),
            protected: (&sets.plan, &sets.contract, &sets.withheld),
            cmds: &self.parsed.cmds,
            workdir: self.parsed.workdir.as_ref(),
            env: &self.env(&places.inside)?,
            places,
            security: (
                format!("{:?}", pipeline.security.mode),
                &pipeline.security.allow,
                &pipeline.security.deny,
            ),
            network,
            strict: unattended == Unattended::Strict,
            limits,
            disk: (*disk_bytes, *disk_inodes),
            min_tier: *min_tier,
            owner: sandbox::owner(),
            host: HOST.map(|path| {
                let meta = std::fs::metadata(path).ok()?;
                Some((meta.ino(), meta.mtime(), meta.mtime_nsec()))
            }),
        };
        let text = serde_json::to_vec(&key).map_err(|why| EngineError::Usage(format!("the bootstrap's key: {why}")))?;
        Ok(Content::of(&text))
    }
}

fn malformed(why: contract::ContractError) -> EngineError {
    EngineError::Contract(why.to_string())
}

/// Where a bootstrap's commands run, and where what they make may be used again.
#[derive(Serialize)]
pub(super) struct Places {
    /// Where things are in every sandbox; by the names of variables where they are
    /// elsewhere in each.
    inside: Inside,
    /// The only run that may use it then: what a command writes can name its own place.
    run: Option<RunId>,
}

impl Places {
    /// Those of the run's back end.
    pub fn of(backend: &Backend, run: &RunId) -> Self {
        match backend.inside() {
            Some(inside) => Self { inside, run: None },
            None => Self {
                inside: Inside {
                    workspace: "$AIDER_FSM_REPO_ROOT".to_owned(),
                    home: "$HOME".to_owned(),
                    tmp: "$TMPDIR".to_owned(),
                    ..Inside::private()
                },
                run: Some(run.clone()),
            },
        }
    }
}

/// What `env` comes to where `grants` are in the environment. Its own commands and the
/// agent see what it comes to without: what they make and say is kept and shown.
fn variables(
    parsed: &contract::Bootstrap,
    grants: &[(String, Secret)],
    inside: &Inside,
) -> Result<Vec<(String, String)>, contract::ContractError> {
    let mut known = Environment::new(inside);
    known.grant(grants);
    known.set("AIDER_FSM_REPO_ROOT", inside.workspace.as_str());
    parsed.environment(&known.into_pairs(), &inside.workspace)
}

/// See docs/bootstrap_spec.md, which lists the same.
#[derive(Serialize)]
struct Key<'a> {
    /// The form of layers.
    layer: u32,
    version: &'a str,
    tree: Content,
    work: Content,
    protected: (&'a RelPath, &'a [RelPath], &'a [RelPath]),
    cmds: &'a [String],
    workdir: Option<&'a RelPath>,
    env: &'a [(String, String)],
    places: &'a Places,
    security: (String, &'a [String], &'a [String]),
    network: Option<&'a NetworkRules>,
    strict: bool,
    limits: &'a Limits,
    disk: (u64, u64),
    min_tier: Tier,
    owner: Option<u32>,
    host: [Option<(u64, i64, i64)>; HOST.len()],
}

/// Whether a value is a secret by its look: a name with such a word in it, or an address with a password.
pub fn hides(name: &str, value: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let has_password = |address: &str| {
        let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    };
    upper.split('_').any(|word| SECRET_WORDS.contains(&word)) || value.split("://").skip(1).any(has_password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_may_name_the_repository_and_what_is_granted() {
        let text = b"env:\n  ROOT: ${AIDER_FSM_REPO_ROOT}/x\n  URL: db://me:${DB_PASS}@h\n  PATH: bin:$PATH\n";
        let parsed = contract::Bootstrap::parse(&path(), text).expect("it is well formed");
        let value = |grants: &[(String, Secret)], name: &str| {
            let env = variables(&parsed, grants, &Inside::private()).expect("short");
            env.into_iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value)
                .unwrap_or_default()
        };
        assert_eq!(value(&[], "ROOT"), "/workspace/x");
        assert!(value(&[], "PATH").starts_with("/workspace/bin:/usr/local/sbin:"));
        assert_eq!(value(&[], "URL"), "db://me:@h");
        let grants = [("DB_PASS".to_owned(), Secret::new("hunter2"))];
        assert_eq!(value(&grants, "URL"), "db://me:hunter2@h");
    }

    #[test]
    fn a_secret_is_one_by_a_whole_word_of_its_name_or_by_a_password_in_an_address() {
        for (name, value) in [
            ("API_KEY", "x"),
            ("token", "x"),
            ("DB_PASSWORD_FILE", "x"),
            ("DB_URL", "postgres://me:secret@127.0.0.1/db"),
        ] {
            assert!(hides(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("MONKEY_NAME", "x"),
            ("COMPASS", "x"),
            ("URL", "http://127.0.0.1:80/a@b:c"),
            ("URL", "http://me@host/"),
            ("PATH", "/a:/b"),
        ] {
            assert!(!hides(name, value), "{name}={value}");
        }
    }
}
