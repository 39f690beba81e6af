//! Where git runs: a sandbox without network, keys or anything of the host but its `/usr`.
//!
//! git reads what strangers wrote, and has been made to run it before; so it runs behind the
//! same walls as what it fetches. What comes out is a directory, read like any other tree.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::relay::Relay;
use crate::{
    policy::{Limits, NetworkMode, ReadOnlyMount, Role, SandboxPlan, WorkspacePlan},
    report::escape,
    sandbox::{ExecSpec, Sandbox, SandboxError, owner},
    source::{SourceError, github, means::Fetching},
    tree::Place,
    wire::{Argv, Termination},
};

/// The tree in the workspace.
pub(super) const TREE: &str = "tree";
/// Where a repository of this host is shown.
const SOURCE: &str = "/source";
/// Most that a command may print, bytes.
const MAX_OUTPUT: usize = 32 << 20;
/// Inodes that a checkout may have.
const MAX_INODES: u64 = 2_000_000;

/// git's settings. Nothing is run that a repository names: no hook, filter, credential
/// helper, file system monitor or transport of its own. Damage that old repositories of
/// good standing have, and that means nothing, is not an error.
const SETTINGS: &str = "\
[safe]
\tdirectory = *
[protocol]
\tallow = never
[protocol \"http\"]
\tallow = always
[protocol \"git\"]
\tallow = always
[protocol \"file\"]
\tallow = always
[core]
\thooksPath = /dev/null
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\tfsmonitor = false
\tlogAllRefUpdates = false
\taskPass = /bin/false
\tprotectNTFS = true
\tprotectHFS = true
[init]
\ttemplateDir =
\tdefaultBranch = main
[credential]
\thelper =
[http]
\tfollowRedirects = false
[transfer]
\tfsckObjects = true
[fetch \"fsck\"]
\tbadTimezone = ignore
\tmissingSpaceBeforeDate = ignore
\tmissingSpaceBeforeEmail = ignore
\tmissingNameBeforeEmail = ignore
\tmultipleAuthors = ignore
\tzeroPaddedFilemode = ignore
[fetch]
\trecurseSubmodules = false
[submodule]
\trecurse = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[pack]
\tthreads = 2
[advice]
\tdetachedHead = false
[user]
\tname = opencode-fsm
\temail = opencode-fsm@example.com
";

/// What a command said.
pub(super) struct Said {
    pub ok: bool,
    pub out: Vec<u8>,
    /// Its last words, escaped.
    pub words: String,
}

impl Said {
    /// What it printed, without the end of the line.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim_end().to_owned()
    }
}

/// A sandbox with git in it.
pub(super) struct Workshop<'a> {
    fetching: &'a Fetching<'a>,
    /// The repository, for messages.
    what: String,
    sandbox: Sandbox,
    scratch: PathBuf,
    env: Vec<(String, String)>,
    pub relay: Relay,
}

impl<'a> Workshop<'a> {
    /// Opens one, in which `source` of the host is shown read-only.
    pub async fn open(
        fetching: &'a Fetching<'a>,
        what: &str,
        source: Option<&Path>,
    ) -> Result<Workshop<'a>, SourceError> {
        let means = fetching.means;
        let scratch = means.scratch.join(format!("git-{}", uuid::Uuid::now_v7()));
        let empty = scratch.join("empty");
        let io = || SourceError::io(format!("make {}", scratch.display()));
        std::fs::create_dir_all(&empty).map_err(io())?;
        for dir in [&scratch, &empty] {
            std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o711)).map_err(io())?;
        }
        std::os::unix::fs::chown(&empty, owner(), owner()).map_err(io())?;
        let (limits, min_tier) = &means.walls;
        let bounds = &means.options.limits;
        let plan = SandboxPlan {
            label: format!("{}-git", means.label),
            role: Role::Agent,
            // Of ours alone: the relay's.
            network: NetworkMode::Model,
            workspace: WorkspacePlan {
                lowers: vec![empty],
                scratch: scratch.join("layer"),
                max_bytes: bounds.max_unpacked,
                max_inodes: MAX_INODES,
            },
            read_only: source
                .map(|host| ReadOnlyMount {
                    host: host.to_path_buf(),
                    guest: SOURCE.into(),
                })
                .into_iter()
                .collect(),
            limits: Limits {
                file_bytes: bounds.max_unpacked,
                ..limits.clone()
            },
            min_tier: *min_tier,
            lease: bounds.wall + Duration::from_secs(60),
        };
        let sandbox = means.backend.create(&plan).await?;
        let port = sandbox.inside().model_port;
        let listener = sandbox.listen(port).await?;
        let relay = Relay::serve(
            listener,
            port,
            fetching.client.clone(),
            bounds.max_bytes,
            github::REMEDY,
        );
        let inside = sandbox.inside();
        let source = inside.piece(SOURCE);
        let fixed = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", &inside.home),
            ("TMPDIR", &inside.tmp),
            ("LANG", "C.UTF-8"),
            ("LC_ALL", "C.UTF-8"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_CEILING_DIRECTORIES", &inside.workspace),
            ("SETTINGS", SETTINGS),
            ("SOURCE", &source),
        ];
        let env = fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let workshop = Workshop {
            fetching,
            what: what.to_owned(),
            sandbox,
            scratch,
            env,
            relay,
        };
        workshop.must(&workshop.shell("printf %s \"$SETTINGS\" >\"$HOME/.gitconfig\"").await?)?;
        Ok(workshop)
    }

    /// A URL of the repository that is shown, or of what lies below it.
    pub fn shown(&self, below: &str) -> String {
        format!("file://{}{below}", self.sandbox.inside().piece(SOURCE))
    }

    /// Runs git in the tree.
    pub async fn git(&self, words: &[&str]) -> Result<Said, SourceError> {
        self.git_in(TREE, words).await
    }

    /// Runs git in a directory of the workspace.
    pub async fn git_in(&self, dir: &str, words: &[&str]) -> Result<Said, SourceError> {
        let argv = [&["git", "-C", dir], words].concat();
        self.run(Argv::Direct(argv.into_iter().map(str::to_owned).collect()))
            .await
    }

    /// Runs a script of ours, into which nothing is ever put, in the workspace.
    pub async fn shell(&self, script: &'static str) -> Result<Said, SourceError> {
        self.run(Argv::Shell(format!("set -eu; {script}"))).await
    }

    /// What a command said, if it did what it should.
    pub fn must(&self, said: &Said) -> Result<(), SourceError> {
        if said.ok {
            return Ok(());
        }
        // What happened out there is why whatever else happened.
        Err(self.relay.failure().unwrap_or_else(|| {
            let words = self.relay.told(&said.words);
            SourceError::fetch(&self.what, format!("git: {words}"))
        }))
    }

    async fn run(&self, argv: Argv) -> Result<Said, SourceError> {
        let wall = self.fetching.means.options.limits.wall;
        let mut spec = ExecSpec::question(argv, &self.sandbox.inside().workspace, wall, MAX_OUTPUT);
        spec.env.clone_from(&self.env);
        spec.stderr.tail_bytes = 4096;
        let running = self.sandbox.exec(spec).await?;
        let done = running.wait();
        tokio::pin!(done);
        let outcome = loop {
            tokio::select! {
                outcome = &mut done => break outcome,
                () = tokio::time::sleep(Duration::from_millis(250)) => {
                    let mib = self.relay.bytes() >> 20;
                    self.fetching.tell(|| format!("{}: {mib} MiB", self.what));
                }
            }
        };
        let outcome = match outcome {
            Err(SandboxError::Guest {
                step,
                errno: Some(libc::ENOENT),
                ..
            }) if step.starts_with("execve") => {
                return Err(SourceError::fetch(
                    &self.what,
                    "there is no git in the sandbox; install git on this host, or into the image of containers",
                ));
            }
            outcome => outcome?,
        };
        let limit = |why: String| {
            let what = self.what.clone();
            Err(SourceError::Limit { what, why })
        };
        if let Some(cap) = &outcome.cap_hit {
            return match cap.as_str() {
                "disk" => limit("its files take more than --fetch-max-unpacked allows".to_owned()),
                cap => limit(format!("git used up its {cap} (--memory, --processes)")),
            };
        }
        if outcome.timed_out {
            return limit("git took longer than --fetch-timeout allows".to_owned());
        }
        if outcome.stdout.total_bytes > MAX_OUTPUT as u64 {
            return limit("git had more to say than is read".to_owned());
        }
        Ok(Said {
            ok: outcome.end == Termination::Code(0),
            out: outcome.stdout.tail,
            words: last_lines(&outcome.stderr.tail),
        })
    }

    /// Ends everything inside; the tree, at rest, and the directory to remove afterwards.
    pub async fn close(self) -> Result<(PathBuf, PathBuf), SourceError> {
        let place = match self.sandbox.place() {
            Place::Overlay(dir) | Place::Copy(dir) => dir.join(TREE),
        };
        self.sandbox.destroy().await?;
        Ok((place, self.scratch))
    }
}

/// The last lines of what was said, in one.
fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(4)..];
    escape(last.join("; ").as_bytes(), 600)
}
