//! The engine: where it listens, and what it says of itself.

use std::{path::PathBuf, time::Duration};

use bollard::{API_DEFAULT_VERSION, errors::Error};
use serde::Serialize;

/// Where an engine listens where `DOCKER_HOST` says nothing.
const SOCKET: &str = "/var/run/docker.sock";
/// Oldest API that has what a sandbox needs (cgroup namespaces; engine 20.10).
const MIN_API: (u32, u32) = (1, 41);
/// Longest wait for any answer of an engine, seconds.
const ANSWER: u64 = 60;
/// Longest wait for its first one.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Why an engine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `DOCKER_HOST` names something else than a socket of this machine.
    #[error(
        "DOCKER_HOST={0}: a remote engine is not supported, because the guest is reached over a unix socket of this \
         machine; unset it, or name a local one: DOCKER_HOST=unix:///var/run/docker.sock"
    )]
    Remote(String),
    /// Nothing answers.
    #[error("no Docker engine answers at {socket}: {why}; remedy: {remedy}")]
    Unreachable {
        /// Where it was looked for.
        socket: PathBuf,
        /// What went wrong.
        why: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// It answers and will not do.
    #[error("the Docker engine {version} cannot be used: {why}")]
    Unfit {
        /// Its version.
        version: String,
        /// What is missing or in the way.
        why: String,
    },
}

/// An engine that answers and will do.
#[derive(Clone)]
pub struct Engine {
    /// The client.
    pub client: bollard::Docker,
    /// Its socket.
    pub socket: PathBuf,
    /// What it says of itself.
    pub about: About,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// Its version.
    pub version: String,
    /// Its newest API.
    pub api: String,
    /// The kernel's cgroups: `1` or `2`.
    pub cgroups: String,
    /// The runtimes that it knows (`--docker-runtime`).
    pub runtimes: Vec<String>,
}

/// The socket at which an engine of this machine listens; it is not asked anything.
///
/// # Errors
/// In one line, where none does.
pub fn listens() -> Result<String, String> {
    let socket = socket(std::env::var("DOCKER_HOST").ok().as_deref()).map_err(|why| why.to_string())?;
    let shown = socket.display().to_string();
    match std::os::unix::net::UnixStream::connect(&socket) {
        Ok(_) => Ok(shown),
        Err(why) => Err(format!("no Docker engine listens at {shown}: {why}")),
    }
}

impl Engine {
    /// Reaches the engine of this machine.
    ///
    /// # Errors
    /// When there is none, or one that cannot be used.
    pub async fn reach() -> Result<Self, EngineError> {
        let socket = socket(std::env::var("DOCKER_HOST").ok().as_deref())?;
        let unreachable = |why: String| EngineError::Unreachable {
            remedy: remedy(&why),
            socket: socket.clone(),
            why,
        };
        // A missing socket is the usual case and answered at once.
        std::os::unix::net::UnixStream::connect(&socket).map_err(|why| unreachable(why.to_string()))?;
        let client = connect(&socket).map_err(|why| unreachable(why.to_string()))?;
        let answers = async {
            let version = client.version().await?;
            Ok::<_, Error>((version, client.info().await?))
        };
        let (version, info) = tokio::time::timeout(FIRST_ANSWER, answers)
            .await
            .map_err(|_| unreachable("it did not answer in time".to_owned()))?
            .map_err(|why| unreachable(shown(&why)))?;
        let about = About {
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
            cgroups: info.cgroup_version.map_or_else(|| "1".to_owned(), |v| v.to_string()),
            runtimes: info.runtimes.unwrap_or_default().into_keys().collect(),
        };
        let options = info.security_options.unwrap_or_default();
        match unfit(&about.api, info.os_type.as_deref(), &options) {
            None => Ok(Self { client, socket, about }),
            Some(why) => Err(EngineError::Unfit {
                version: about.version,
                why,
            }),
        }
    }
}

/// A client of the engine at a socket.
pub(super) fn connect(socket: &std::path::Path) -> Result<bollard::Docker, Error> {
    bollard::Docker::connect_with_unix(&socket.to_string_lossy(), ANSWER, API_DEFAULT_VERSION)
}

/// An engine's answer in one line: what it says comes from a daemon of this machine,
/// and still may quote what an image says.
pub(super) fn shown(why: &Error) -> String {
    let text = if unanswered(why) {
        format!("the Docker engine does not answer ({})", root(why))
    } else {
        why.to_string()
    };
    crate::report::escape(text.trim().as_bytes(), 400)
}

/// Nobody is behind the socket any more, or whoever was has gone in the middle of it.
pub(super) fn unanswered(why: &Error) -> bool {
    matches!(
        why,
        Error::HyperLegacyError { .. }
            | Error::HyperResponseError { .. }
            | Error::IOError { .. }
            | Error::RequestTimeoutError
            | Error::SocketNotFoundError(_)
    )
}

/// What the error began with: a client's own words do not tell.
fn root(why: &dyn std::error::Error) -> String {
    let mut deepest = why;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

fn socket(docker_host: Option<&str>) -> Result<PathBuf, EngineError> {
    match docker_host.filter(|host| !host.is_empty()) {
        None => Ok(PathBuf::from(SOCKET)),
        Some(host) => match host.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
            _ => Err(EngineError::Remote(crate::report::escape(host.as_bytes(), 200))),
        },
    }
}

fn remedy(why: &str) -> &'static str {
    if why.contains("ermission denied") {
        "become a member of its group (usermod -aG docker USER, then log in again), or run as root"
    } else {
        "install and start one (apt-get install docker.io), or use --sandbox jail"
    }
}

/// What stands against an engine.
fn unfit(api: &str, os: Option<&str>, security_options: &[String]) -> Option<String> {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    let mut parts = api.split('.');
    let found = (number(parts.next())?, number(parts.next())?);
    if found < MIN_API {
        return Some(format!("its API is {api}; 1.41 (engine 20.10) or later is needed"));
    }
    if os.is_some_and(|os| os != "linux") {
        return Some("it runs no Linux containers".to_owned());
    }
    let has = |name: &str| security_options.iter().any(|o| o.split(',').any(|p| p == name));
    if has("name=rootless") {
        return Some(
            "it is rootless: it cannot mount the workspace for the ids of this host; use --sandbox jail, which needs no root"
                .to_owned(),
        );
    }
    if has("name=userns") {
        return Some(
            "it maps the ids of containers (userns-remap), so that files of the workspace would belong to nobody; \
             use --sandbox jail"
                .to_owned(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_this_machine_are_engines() {
        assert_eq!(socket(None).expect("default"), PathBuf::from(SOCKET));
        assert_eq!(socket(Some("")).expect("empty"), PathBuf::from(SOCKET));
        assert_eq!(
            socket(Some("unix:///run/d.sock")).expect("unix"),
            PathBuf::from("/run/d.sock")
        );
        for remote in ["tcp://10.0.0.1:2375", "ssh://me@host", "unix://relative", "\x1b[31m"] {
            let why = socket(Some(remote)).expect_err(remote).to_string();
            assert!(why.contains("not supported") && !why.contains('\x1b'), "{why}");
        }
    }

    #[test]
    fn old_rootless_and_remapping_engines_are_refused_by_name() {
        assert_eq!(unfit("1.41", Some("linux"), &[]), None);
        assert!(unfit("1.40", Some("linux"), &[]).expect("old").contains("1.41"));
        assert!(unfit("1.45", Some("windows"), &[]).is_some());
        for (option, word) in [("name=rootless", "rootless"), ("name=userns", "userns-remap")] {
            let options = ["name=seccomp,profile=default".to_owned(), option.to_owned()];
            assert!(unfit("1.45", Some("linux"), &options).expect(option).contains(word));
        }
    }

    #[tokio::test]
    async fn an_engine_that_has_gone_is_named_and_told_from_one_that_refuses() {
        let dir = tempfile::tempdir().expect("tempdir");
        let socket = dir.path().join("sock");
        // Bound once, and nobody listens any more: as a killed engine leaves it.
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("bind"));
        let client = connect(&socket).expect("a client");
        let why = client.version().await.expect_err("nobody is there");
        assert!(unanswered(&why));
        assert!(shown(&why).contains("the Docker engine does not answer (Connection refused"));
        let refusal = Error::DockerResponseServerError {
            status_code: 409,
            message: "no\u{1b}[31m".to_owned(),
        };
        assert!(!unanswered(&refusal));
        assert!(shown(&refusal).contains("409") && !shown(&refusal).contains('\u{1b}'));
    }

    #[test]
    fn a_closed_door_and_a_missing_one_have_different_remedies() {
        assert!(remedy("Permission denied (os error 13)").contains("group"));
        assert!(remedy("No such file or directory").contains("apt-get"));
    }
}
