//! One `opencode serve` inside a sandbox.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hyper::Method;
use tokio::task::JoinHandle;

use super::{
    AgentConfig, AgentError, Desk, OPENCODE_VERSION, TurnEnd, config,
    events::Events,
    http::{Client, HttpError},
};
use crate::{
    policy::ReadOnlyMount,
    record::Secret,
    report::escape,
    sandbox::{ExecOutcome, ExecSpec, OutputCaps, OutputSink, Sandbox, SandboxError},
    wire::{Argv, Leftovers, Reach},
};

/// Longest time until the server is healthy.
const HEALTHY: Duration = Duration::from_secs(90);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(50);
/// First look, and longest: a request that comes while OpenCode starts is often never
/// answered, so that a look is given up soon; each one waits twice as long as the one before.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// Its sockets end a moment before its end is told.
const TOLD: Duration = Duration::from_secs(2);
/// The server lives as long as its sandbox; this only bounds a forgotten one.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes of the server's log kept on disk, and of its last words.
const LOG_BYTES: u64 = 4 << 20;
const LAST_WORDS: usize = 2_000;

/// A running server. One inside ends with its sandbox.
pub struct Agent {
    pub(super) client: Client,
    pub(super) config: AgentConfig,
    /// The session of a turn that has not come to its end.
    pub(super) session: Option<String>,
    /// The events of a directory, where a turn has ended there. OpenCode never forgets whom it
    /// tells of them: with a stream for each turn, hundreds of turns later it took seconds for
    /// one, and a gigabyte of memory.
    pub(super) events: Option<(String, Events)>,
    /// Its process, where it is ours.
    process: Option<Process>,
}

struct Process {
    stage: u64,
    /// Polled to its end at most once: whoever sees it end gives the server up.
    ended: JoinHandle<Result<ExecOutcome, SandboxError>>,
}

impl Agent {
    /// Starts `opencode serve` inside and waits until it is healthy.
    ///
    /// # Errors
    /// When it does not come up, with its last words.
    pub async fn start(sandbox: &Sandbox, config: AgentConfig) -> Result<Self, AgentError> {
        // It guards nothing against the agent, who runs as the server's user; it
        // keeps a stage of the repository from answering in the server's name by accident.
        let password = uuid::Uuid::new_v4().simple().to_string();
        let log = |stream: &str| OutputCaps {
            tail_bytes: LAST_WORDS,
            sink: Some(OutputSink {
                path: config.logs.join(format!("server-{stream}.log")),
                max_bytes: LOG_BYTES,
            }),
        };
        std::fs::create_dir_all(&config.logs).map_err(|source| AgentError::Io {
            what: format!("make {}", config.logs.display()),
            source,
        })?;
        let inside = sandbox.inside();
        let spec = ExecSpec {
            argv: Argv::Direct(config::argv(inside)),
            env: config::environment(&password, config.door_key.expose(), inside, &config.env),
            cwd: inside.workspace.clone(),
            wall: LIFE,
            silence: None,
            terminal: None,
            leftovers: Leftovers::Kill,
            reach: Reach::Own,
            stdout: log("stdout"),
            stderr: log("stderr"),
        };
        let running = sandbox.exec(spec).await?;
        sandbox.name_stage(running.stage(), "agent");
        let process = Process {
            stage: running.stage(),
            ended: tokio::spawn(running.wait()),
        };
        let mut agent = Self {
            client: Client::new(&password),
            config,
            session: None,
            events: None,
            process: Some(process),
        };
        agent.until_healthy(Desk::Inside(sandbox)).await?;
        Ok(agent)
    }

    /// Takes a server of the user's, which runs already.
    ///
    /// # Errors
    /// When it does not answer, or not to this user and password.
    pub async fn attach(
        desk: Desk<'_>,
        (user, password): (&str, Option<&Secret>),
        config: AgentConfig,
    ) -> Result<Self, AgentError> {
        let mut agent = Self {
            client: Client::with_user(user, password.map_or("", Secret::expose)),
            config,
            session: None,
            events: None,
            process: None,
        };
        agent.until_healthy(desk).await?;
        Ok(agent)
    }

    async fn until_healthy(&mut self, desk: Desk<'_>) -> Result<(), AgentError> {
        // One that runs already answers at once, or is not there.
        let (patience, mut look) = match self.process {
            Some(_) => (HEALTHY, FIRST_LOOK),
            None => (LONGEST_LOOK, LONGEST_LOOK),
        };
        let deadline = Instant::now() + patience;
        loop {
            tokio::select! {
                died = died(&mut self.process) => return Err(match died {
                    TurnEnd::SandboxGone(why) => SandboxError::Gone(why).into(),
                    TurnEnd::ServerDied(why) | TurnEnd::OverCap(why) => AgentError::NotHealthy(why),
                    other => AgentError::NotHealthy(format!("{other:?}")),
                }),
                answer = tokio::time::timeout(look, self.client.ask(desk, Method::GET, "/global/health", None)) => match answer {
                    Ok(Ok(health)) if health["healthy"] == true => {
                        let version = health["version"].as_str().unwrap_or_default();
                        if version != OPENCODE_VERSION {
                            tracing::warn!("OpenCode is {}, this tool is verified against {OPENCODE_VERSION}", escape(version.as_bytes(), 40));
                        }
                        return Ok(());
                    }
                    Ok(Ok(other)) => return Err(AgentError::NotHealthy(escape(other.to_string().as_bytes(), 200))),
                    Ok(Err(why @ HttpError::Status { .. })) if self.process.is_none() => {
                        return Err(AgentError::NotHealthy(why.to_string()));
                    }
                    Ok(Err(why)) if Instant::now() >= deadline => return Err(AgentError::NotHealthy(why.to_string())),
                    Err(_) if Instant::now() >= deadline => {
                        return Err(AgentError::NotHealthy("it listens and does not answer".to_owned()));
                    }
                    // It does not listen yet.
                    Ok(Err(_)) => tokio::time::sleep(LOOK).await,
                    // It listens, and not with both ears.
                    Err(_) => look = LONGEST_LOOK.min(look * 2),
                },
            }
        }
    }

    /// The stage whose main process is the server: sweeps spare it.
    pub fn stage(&self) -> Option<u64> {
        self.process.as_ref().map(|process| process.stage)
    }

    /// Resolves when the server's process has ended, with its last words.
    pub(super) async fn died(&mut self) -> TurnEnd {
        died(&mut self.process).await
    }

    /// Why the server does not speak any more: its end, if that is told soon, else `symptom`.
    pub(super) async fn cause_of(&mut self, symptom: String) -> TurnEnd {
        tokio::time::timeout(TOLD, self.died())
            .await
            .unwrap_or(TurnEnd::ServerDied(symptom))
    }
}

async fn died(process: &mut Option<Process>) -> TurnEnd {
    let Some(process) = process else {
        // Nobody tells of the end of one that is not ours.
        return std::future::pending().await;
    };
    match (&mut process.ended).await {
        Ok(Ok(outcome)) => {
            let words = [&outcome.stdout.tail[..], &outcome.stderr.tail[..]].concat();
            let words = escape(&words, LAST_WORDS);
            match outcome.cap_hit {
                Some(cap) => TurnEnd::OverCap(format!("its process was ended by the cap {cap}: {words}")),
                None => TurnEnd::ServerDied(format!("its process ended ({:?}): {words}", outcome.end)),
            }
        }
        Ok(Err(why)) => TurnEnd::SandboxGone(why.to_string()),
        Err(why) => TurnEnd::ServerDied(why.to_string()),
    }
}

/// What the server's sandbox must show read-only: the executable and a configuration
/// directory, made in `dir`, that holds no more than an empty catalogue of models. Being
/// read-only keeps OpenCode from installing anything there.
///
/// # Errors
/// When the directory cannot be made.
pub fn mounts(binary: &Path, dir: &Path) -> Result<Vec<ReadOnlyMount>, AgentError> {
    let configuration = dir.join("agent-config");
    let inner = configuration.join("opencode");
    std::fs::create_dir_all(&inner)
        .and_then(|()| std::fs::write(inner.join(".gitignore"), ""))
        .and_then(|()| std::fs::write(configuration.join(config::CATALOGUE), "{}"))
        .map_err(|source| AgentError::Io {
            what: format!("make {}", inner.display()),
            source,
        })?;
    Ok(vec![
        ReadOnlyMount {
            host: binary.to_path_buf(),
            guest: PathBuf::from(config::GUEST_BINARY),
        },
        ReadOnlyMount {
            host: configuration,
            guest: PathBuf::from(config::GUEST_CONFIG),
        },
    ])
}
