//! Where a path leads, and what becomes of whatever is there.
//!
//! Nothing is looked up: links are not followed, and what exists is not asked.

use super::{
    effect::Effect,
    known_places::{
        CACHES, CUSTOMARY, ESSENTIAL, KEPT, KEYS, LOCAL, PROGRAMS, STARTS, SYSTEM_STARTS, VITAL, WORKSPACES,
    },
    value::{HOME, OUTSIDE, UNKNOWN, WORKSPACE, is_open},
};

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The root, or everything in it.
    Root,
    /// Above or beside the workspace.
    Outside,
    /// The workspace, or below it; components.
    Workspace(Vec<String>),
    /// A directory for temporary files, or below it.
    Temporary(Vec<String>),
    /// A home directory, or below it.
    Home(Vec<String>),
    /// Below `/dev`.
    Device(Vec<String>),
    /// Anywhere else on the machine; never empty.
    System(Vec<String>),
    /// Directly below the root, by a name that is not known: maybe the root itself.
    BelowRoot,
    /// Not known.
    Unknown,
}

/// `path` from `cwd`, cut into components without `.`, `..` and empty ones; `None` where it
/// begins with something unknown, or the directory is not known.
pub fn canonical(path: &str, cwd: Option<&str>) -> Option<Vec<String>> {
    let mut parts: Vec<String> = Vec::new();
    if !path.starts_with('/') {
        if path.starts_with(is_open_mark) {
            return None;
        }
        push_all(&mut parts, cwd?);
    }
    push_all(&mut parts, path);
    Some(parts)
}

fn is_open_mark(c: char) -> bool {
    (UNKNOWN..='\u{f8f7}').contains(&c)
}

fn push_all(parts: &mut Vec<String>, path: &str) {
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.pop().as_deref() {
                Some(WORKSPACE | OUTSIDE) => parts.push(OUTSIDE.to_owned()),
                Some(HOME) => parts.push("home".to_owned()),
                _ => {}
            },
            part => parts.push(part.to_owned()),
        }
    }
}

/// A path of components, as text.
pub fn joined(parts: &[String]) -> String {
    format!("/{}", parts.join("/"))
}

fn is_glob(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

fn begins(parts: &[String], with: &[&str]) -> bool {
    parts.len() >= with.len() && parts.iter().zip(with).all(|(part, with)| part == with)
}

/// Where `path` leads from `cwd`.
pub fn place(path: &str, cwd: Option<&str>) -> Place {
    let Some(parts) = canonical(path, cwd) else {
        // Relative to nobody knows what; enough `..` leads out of anything.
        let climbs = path.split('/').filter(|part| *part == "..").count();
        return match climbs > 2 {
            true if path.trim_end_matches('/').ends_with("..") => Place::Outside,
            true => Place::BelowRoot,
            false => Place::Unknown,
        };
    };
    let rest = |from: usize| parts[from..].to_vec();
    let Some(first) = parts.first() else { return Place::Root };
    if let Some(root) = WORKSPACES.iter().find(|root| begins(&parts, root)) {
        return Place::Workspace(rest(root.len()));
    }
    match first.as_str() {
        WORKSPACE => Place::Workspace(rest(1)),
        OUTSIDE => Place::Outside,
        HOME => Place::Home(rest(1)),
        "root" => Place::Home(rest(1)),
        "home" | "Users" if parts.len() > 2 || (parts.len() > 1 && !is_glob(&parts[1])) => Place::Home(rest(2)),
        "tmp" => Place::Temporary(rest(1)),
        "private" if begins(&parts, &["private", "tmp"]) => Place::Temporary(rest(2)),
        "var" if begins(&parts, &["var", "tmp"]) => Place::Temporary(rest(2)),
        "run" if begins(&parts, &["run", "user"]) && parts.len() > 3 => Place::Temporary(rest(3)),
        "dev" if begins(&parts, &["dev", "shm"]) && parts.len() > 2 => Place::Temporary(rest(2)),
        "dev" => Place::Device(rest(1)),
        "mnt" | "data" | "cache" if parts.len() > 1 && !is_glob(&parts[1]) && is_open(&parts[1]) => Place::Unknown,
        first if is_glob(first) => Place::Root,
        first if first.chars().all(is_open_mark) => Place::BelowRoot,
        first if first.starts_with(is_open_mark) => Place::BelowRoot,
        first if CUSTOMARY.contains(&first) && parts.len() > 1 && !is_glob(&parts[1]) => Place::Workspace(rest(1)),
        _ => Place::System(parts),
    }
}

impl Place {
    /// What it does to remove, move away or lock whatever is there.
    pub fn removed(&self) -> Option<Effect> {
        match self {
            Place::Root | Place::Outside | Place::Device(_) => Some(Effect::DestroysOutsideWorkspace),
            Place::BelowRoot => Some(Effect::WritesOutsideWorkspace),
            Place::Unknown => None,
            Place::Workspace(parts) => evidence(parts, true).then_some(Effect::TampersWithEvidence),
            Place::Temporary(parts) => parts.is_empty().then_some(Effect::WritesOutsideWorkspace),
            Place::Home(parts) => match parts.first() {
                None => Some(Effect::DestroysOutsideWorkspace),
                Some(first) if is_glob(first) && covers_much(first) => Some(Effect::DestroysOutsideWorkspace),
                Some(first) if first == ".local" || first == ".config" => {
                    (parts.len() < 3).then_some(Effect::DestroysOutsideWorkspace)
                }
                Some(first) if first == ".docker" || first == ".kube" => {
                    (parts.len() < 2).then_some(Effect::DestroysOutsideWorkspace)
                }
                Some(first) if first == ".ssh" && parts.len() == 2 && !is_glob(&parts[1]) => {
                    (!parts[1].starts_with("known_hosts")).then_some(Effect::WritesOutsideWorkspace)
                }
                Some(first) if KEPT.contains(&first.as_str()) || STARTS.contains(&first.as_str()) => {
                    Some(Effect::DestroysOutsideWorkspace)
                }
                Some(_) => None,
            },
            Place::System(parts) => {
                let caches = CACHES.iter().find(|cache| begins(parts, cache));
                if let Some(cache) = caches {
                    return match cache {
                        ["var", "cache"] | ["var", "lib", ..] => None,
                        _ if parts.len() > cache.len() => Some(Effect::WritesOutsideWorkspace),
                        ["usr", ..] | ["opt", ..] => Some(Effect::WritesOutsideWorkspace),
                        _ => Some(Effect::DestroysOutsideWorkspace),
                    };
                }
                let vital = VITAL.iter().chain(&SYSTEM_STARTS).any(|vital| begins(parts, vital));
                let local = LOCAL.iter().find(|local| begins(parts, local));
                match local {
                    Some(local) if !vital && parts.len() > local.len() && !is_glob(&parts[local.len()]) => {
                        let whole = ["bin", "lib", "sbin", "share", "include", "html"];
                        let is_whole = parts.len() == local.len() + 1 && whole.contains(&parts[local.len()].as_str());
                        match is_whole {
                            true => Some(Effect::DestroysOutsideWorkspace),
                            false => Some(Effect::WritesOutsideWorkspace),
                        }
                    }
                    _ => Some(Effect::DestroysOutsideWorkspace),
                }
            }
        }
    }

    /// What it does to write there.
    pub fn written(&self) -> Option<Effect> {
        match self {
            Place::Root | Place::Outside | Place::BelowRoot => Some(Effect::WritesOutsideWorkspace),
            Place::Unknown | Place::Temporary(_) => None,
            Place::Workspace(parts) => evidence(parts, false).then_some(Effect::TampersWithEvidence),
            Place::Home(parts) => home_written(parts),
            Place::Device(parts) => device_written(parts),
            Place::System(parts) => {
                if begins(parts, &["proc", "sysrq-trigger"]) {
                    return Some(Effect::PowersOff);
                }
                if begins(parts, &["proc", "self"]) || begins(parts, &["sys", "fs", "cgroup"]) {
                    let harmless = matches!(
                        parts.last().map(String::as_str),
                        Some("comm" | "oom_score_adj" | "coredump_filter")
                    ) || begins(parts, &["proc", "self", "fd"]);
                    return (!harmless).then_some(Effect::RaisesPrivilege);
                }
                if begins(parts, &["proc", "sys"]) || begins(parts, &["sys"]) {
                    return Some(Effect::RaisesPrivilege);
                }
                if SYSTEM_STARTS.iter().any(|start| begins(parts, start)) {
                    return Some(Effect::ChangesWhatStartsLater);
                }
                if VITAL.iter().any(|vital| begins(parts, vital)) {
                    // A new program or library beside the others harms none of them.
                    let beside = PROGRAMS.iter().any(|dir| begins(parts, dir) && parts.len() > dir.len());
                    let vital = parts
                        .last()
                        .is_some_and(|last| !beside || ESSENTIAL.contains(&last.as_str()));
                    return Some(match vital {
                        true => Effect::DestroysOutsideWorkspace,
                        false => Effect::WritesOutsideWorkspace,
                    });
                }
                let own = [
                    &["usr", "local"][..],
                    &["opt"],
                    &["srv"],
                    &["var", "www"],
                    &["mnt"],
                    &["data"],
                    &["cache"],
                ];
                match own.iter().any(|own| begins(parts, own) && parts.len() > own.len()) {
                    true => None,
                    false => Some(Effect::WritesOutsideWorkspace),
                }
            }
        }
    }

    /// What it does to read whatever is there.
    pub fn read(&self) -> Option<Effect> {
        let secret = match self {
            Place::Home(parts) => secret_of_home(parts),
            Place::System(parts) => {
                let last = parts.last().map_or("", String::as_str);
                let shadow = ["shadow", "gshadow", "shadow-", "gshadow-", "sudoers", "master.passwd"];
                (begins(parts, &["etc"]) && parts.len() == 2 && shadow.iter().any(|name| fits(&parts[1], name)))
                    || (begins(parts, &["etc", "ssh"]) && last.contains("key") && !last.ends_with(".pub"))
                    || (begins(parts, &["etc", "ssl", "private"]))
                    || (begins(parts, &["proc"]) && matches!(last, "environ" | "mem" | "kcore" | "auxv"))
                    || KEYS.contains(&last)
                    || begins(parts, &["run", "secrets"])
                    || begins(parts, &["var", "run", "secrets"])
            }
            Place::Device(parts) => parts.first().is_some_and(|name| is_disk(name)),
            _ => false,
        };
        secret.then_some(Effect::ReadsSecrets)
    }
}

/// Whether `pattern`, which may hold wildcards, can be `name`.
fn fits(pattern: &str, name: &str) -> bool {
    match is_glob(pattern) {
        false => pattern == name,
        true => super::pattern::matches(pattern, name),
    }
}

/// `*`, `.*`, `.??*`: not `*.log`.
fn covers_much(pattern: &str) -> bool {
    pattern.chars().all(|c| "*?.[]!^".contains(c))
}

fn home_written(parts: &[String]) -> Option<Effect> {
    let first = parts.first()?.as_str();
    let second = parts.get(1).map_or("", String::as_str);
    let starts = STARTS.contains(&first)
        || (first == ".ssh" && matches!(second, "authorized_keys" | "authorized_keys2" | "rc" | "environment"))
        || (first == ".config" && matches!(second, "autostart" | "systemd" | "fish"))
        || (first == "Library" && second.starts_with("Launch"));
    starts.then_some(Effect::ChangesWhatStartsLater)
}

fn device_written(parts: &[String]) -> Option<Effect> {
    let harmless = [
        "null", "zero", "full", "random", "urandom", "tty", "stdin", "stdout", "stderr", "fd", "ptmx", "pts", "tcp",
        "udp", "console", "shm",
    ];
    match parts.first()?.as_str() {
        name if harmless.contains(&name) => None,
        name if name.starts_with("tty") || name.starts_with("ptyp") => Some(Effect::WritesOutsideWorkspace),
        _ => Some(Effect::DestroysOutsideWorkspace),
    }
}

fn is_disk(name: &str) -> bool {
    let kinds = [
        "sd", "hd", "vd", "xvd", "nvme", "mmcblk", "dm-", "mapper", "md", "disk", "mem", "kmem", "port", "rdisk",
    ];
    kinds.iter().any(|kind| name.starts_with(kind))
}

/// Keys, tokens, passwords and histories.
fn secret_of_home(parts: &[String]) -> bool {
    let (Some(first), second) = (parts.first(), parts.get(1).map(String::as_str)) else {
        return false;
    };
    let last = parts.last().map_or("", String::as_str);
    if KEYS.contains(&last) {
        return true;
    }
    match first.as_str() {
        ".ssh" => match second {
            None => true,
            Some(name) if name.ends_with(".pub") || name.starts_with("known_hosts") => false,
            Some("config" | "authorized_keys") => false,
            Some(_) => true,
        },
        ".aws" => second.is_none_or(|name| name != "config"),
        ".gnupg" | ".password-store" | ".azure" => true,
        ".docker" => last == "config.json",
        ".kube" => second.is_none_or(|name| name == "config"),
        ".config" => matches!(
            second,
            Some("gcloud" | "gh" | "op" | "hub" | "rclone" | "google-chrome" | "chromium")
        ),
        ".netrc" | ".pgpass" | ".git-credentials" | ".bash_history" | ".zsh_history" | ".mysql_history"
        | ".psql_history" | ".vault-token" | ".boto" | ".s3cfg" | ".my.cnf" | ".npmrc" | ".pypirc" => true,
        ".mozilla" | ".thunderbird" | ".electrum" | ".bitcoin" | ".ethereum" => true,
        ".cargo" => last == "credentials" || last == "credentials.toml",
        first => {
            is_glob(first)
                && covers_much(first)
                && parts.len() > 1
                && secret_of_home(&[".ssh".to_owned(), parts[1].clone()])
                && last.starts_with("id_")
        }
    }
}

/// The contract, the plan, and what the runner and git keep: `removed`, or written over.
fn evidence(parts: &[String], removed: bool) -> bool {
    let Some(first) = parts.first() else { return false };
    let second = parts.get(1).map_or("", String::as_str);
    let whole = fits(first, "pipeline.yml") || fits(first, "PLAN.md");
    match first.as_str() {
        "*" | "**" => false,
        ".git" => {
            let last = parts.last().map_or("", String::as_str);
            match parts.len() {
                1 => removed,
                _ if last.ends_with(".lock") || last.starts_with("gc.") => false,
                _ => {
                    removed
                        || matches!(
                            second,
                            "config" | "hooks" | "HEAD" | "index" | "refs" | "objects" | "packed-refs"
                        )
                }
            }
        }
        ".aider_fsm" => match second {
            "" => removed,
            "artifacts" | "logs" => removed,
            "stages" | "bootstrap.yml" | "policy.yml" | "state.json" | "runs" => true,
            name if removed => is_glob(name),
            _ => false,
        },
        _ if is_glob(first) && covers_much(first) => removed && first.starts_with('.'),
        _ if parts.len() == 1 => whole && !covers_much(first),
        _ => false,
    }
}
