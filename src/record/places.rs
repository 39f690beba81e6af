//! Where runs and caches lie (XDG Base Directory Specification 0.8).

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::RecordError;
use crate::{names::RunId, policy::HostPlaces};

/// `$XDG_STATE_HOME/opencode-fsm/runs`, else `~/.local/state/opencode-fsm/runs`; root's
/// is `/var/lib/opencode-fsm/runs`.
///
/// # Errors
/// When there is no home.
pub fn default_runs_dir() -> Result<PathBuf, RecordError> {
    Ok(place("XDG_STATE_HOME", ".local/state", "/var/lib")?.join("runs"))
}

/// `$XDG_CACHE_HOME/opencode-fsm`, else `~/.cache/opencode-fsm`; root's is
/// `/var/cache/opencode-fsm`, because sandboxes run as another user, who may not
/// enter `/root`.
///
/// # Errors
/// When there is no home.
pub fn default_cache_dir() -> Result<PathBuf, RecordError> {
    place("XDG_CACHE_HOME", ".cache", "/var/cache")
}

/// The file with the host's defaults: `$XDG_CONFIG_HOME/opencode-fsm/config.yml`, else
/// `~/.config/opencode-fsm/config.yml`; for root `/etc/opencode-fsm/config.yml` before
/// both, if it exists. `None` when there is no home.
pub fn config_file() -> Option<PathBuf> {
    let hosts = Path::new("/etc/opencode-fsm/config.yml");
    if nix::unistd::geteuid().is_root() && hosts.exists() {
        return Some(hosts.to_path_buf());
    }
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(base.join("opencode-fsm/config.yml"))
}

/// Where policies of this host lie: `policy.yml` for every run, and `policies/NAME.yml` by
/// name, both below `/etc/opencode-fsm` and `$XDG_CONFIG_HOME/opencode-fsm` (else
/// `~/.config/opencode-fsm`), of which the second is the higher.
pub fn policy_places() -> HostPlaces {
    let users = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let bases = [Some(PathBuf::from("/etc")), users];
    let places: Vec<PathBuf> = bases
        .into_iter()
        .flatten()
        .map(|base| base.join("opencode-fsm"))
        .collect();
    HostPlaces {
        files: places.iter().map(|place| place.join("policy.yml")).collect(),
        named: places.iter().rev().map(|place| place.join("policies")).collect(),
    }
}

/// The path in a variable; the specification has relative ones ignored.
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

fn place(variable: &'static str, below_home: &str, roots: &str) -> Result<PathBuf, RecordError> {
    let base = match absolute(variable) {
        Some(base) => base,
        None if nix::unistd::geteuid().is_root() => PathBuf::from(roots),
        None => absolute("HOME").ok_or(RecordError::NoHome(variable))?.join(below_home),
    };
    Ok(base.join("opencode-fsm"))
}

/// A run directory by path, by `latest`, by its id or by an unambiguous beginning of one.
///
/// # Errors
/// When there is none, or more than one.
pub fn find_run(runs: &Path, name: &str) -> Result<PathBuf, RecordError> {
    if name.contains('/') && Path::new(name).join("journal.jsonl").is_file() {
        return Ok(PathBuf::from(name));
    }
    let missing = || RecordError::NoSuchRun(name.escape_debug().to_string(), runs.display().to_string());
    let entries = fs::read_dir(runs).map_err(|_| missing())?;
    let mut found: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|id| id.parse::<RunId>().is_ok() && (name == "latest" || id.starts_with(name)))
        .collect();
    // Ids sort by the time of their making.
    found.sort_unstable();
    match (found.pop(), found.len()) {
        (None, _) => Err(missing()),
        (Some(_), more) if more > 0 && name != "latest" => {
            Err(RecordError::Ambiguous(name.escape_debug().to_string(), more + 1))
        }
        (Some(id), _) => Ok(runs.join(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_by_id_beginning_latest_and_path() {
        let dir = tempfile::tempdir().expect("tempdir");
        let ids: Vec<_> = (0..3).map(|_| RunId::fresh()).collect();
        for id in &ids {
            fs::create_dir(dir.path().join(id.as_str())).expect("mkdir");
        }
        fs::create_dir(dir.path().join("zz-not-a-run")).expect("mkdir");
        let of = |id: &RunId| dir.path().join(id.as_str());
        assert_eq!(find_run(dir.path(), "latest").expect("latest"), of(&ids[2]));
        assert_eq!(find_run(dir.path(), ids[0].as_str()).expect("by id"), of(&ids[0]));
        assert!(matches!(
            find_run(dir.path(), &ids[0].as_str()[..4]),
            Err(RecordError::Ambiguous(_, 3))
        ));
        assert!(matches!(find_run(dir.path(), "ffff"), Err(RecordError::NoSuchRun(..))));
        assert!(matches!(
            find_run(dir.path(), "../etc"),
            Err(RecordError::NoSuchRun(..))
        ));
        fs::write(of(&ids[1]).join("journal.jsonl"), "").expect("write");
        let path = of(&ids[1]).display().to_string();
        assert_eq!(find_run(dir.path(), &path).expect("by path"), of(&ids[1]));
    }
}
