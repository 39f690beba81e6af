//! What a path is to a command inside, by mounts and landlock rules: read off the values that
//! the walls are built from, without building any.

use serde::Serialize;

use super::{bare, confine, jail};
use crate::wire::PathAccess;

/// What a command may do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// It is not there, or cannot be opened.
    None,
    /// Read it.
    Read,
    /// Read and execute it.
    ReadExecute,
    /// Open it as the device, or the file of the kernel's, that it is.
    Device,
    /// Read, write and execute it.
    ReadWrite,
}

/// What a path is in one back end, and by which wall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What a command may do.
    pub access: Access,
    /// By what.
    pub by: String,
}

impl View {
    fn new(access: Access, by: impl Into<String>) -> Self {
        Self { access, by: by.into() }
    }
}

/// In a jail. `path` is absolute and clean.
pub fn in_jail(path: &str) -> View {
    if !jail::shows(path) {
        return View::new(Access::None, "mounts: the jail's root does not have it");
    }
    walled(path, "a piece of the host's system, mounted read-only")
}

/// In a container.
pub fn in_container(path: &str) -> View {
    walled(path, "the image's root, mounted read-only")
}

/// Where the root is another's, private places are mounted, and landlock says the same again.
fn walled(path: &str, root: &str) -> View {
    match granted(&confine::landlock_rules().paths, path) {
        Access::ReadWrite => View::new(
            Access::ReadWrite,
            "mounts: a place of the sandbox's own; landlock opens it",
        ),
        Access::Device => View::new(
            Access::Device,
            "mounts: a minimal /dev, a masked /proc; landlock opens what is there",
        ),
        access => View::new(
            access,
            format!("mounts: {root}; landlock: no writing outside the sandbox's places"),
        ),
    }
}

/// Without namespaces: landlock over the host's own tree, by the rules that every sandbox has.
/// Its own places are directories of the run, wherever those lie.
pub fn without_namespaces(path: &str) -> View {
    match granted(&bare::system_rules(), path) {
        Access::None => View::new(Access::None, "landlock: no rule opens it"),
        access => View::new(access, "landlock: a rule opens it"),
    }
}

/// What rules grant on a path: the most that any rule on it or above it gives (landlock(7)).
fn granted(rules: &[(String, PathAccess)], path: &str) -> Access {
    let above = |rule: &str| {
        let rest = path.strip_prefix(rule.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let access = |(_, access): &(String, PathAccess)| match access {
        PathAccess::Read => Access::Read,
        PathAccess::ReadExecute => Access::ReadExecute,
        PathAccess::Device => Access::Device,
        PathAccess::ReadWrite => Access::ReadWrite,
    };
    let all = rules.iter().filter(|(rule, _)| above(rule)).map(access);
    all.max().unwrap_or(Access::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_the_walls_make_of_them() {
        for (path, jail, container, bare) in [
            ("/workspace/a", Access::ReadWrite, Access::ReadWrite, Access::None),
            ("/tmp/x", Access::ReadWrite, Access::ReadWrite, Access::None),
            ("/tmpx", Access::None, Access::ReadExecute, Access::None),
            (
                "/usr/bin/env",
                Access::ReadExecute,
                Access::ReadExecute,
                Access::ReadExecute,
            ),
            ("/root/.ssh/id_rsa", Access::None, Access::ReadExecute, Access::None),
            ("/etc/shadow", Access::None, Access::ReadExecute, Access::None),
            ("/etc/passwd", Access::ReadExecute, Access::ReadExecute, Access::None),
            ("/dev/null", Access::Device, Access::Device, Access::Device),
            ("/dev/sda", Access::None, Access::Device, Access::None),
            ("/proc/self/status", Access::Device, Access::Device, Access::Read),
        ] {
            let found = [in_jail(path), in_container(path), without_namespaces(path)].map(|view| view.access);
            assert_eq!(found, [jail, container, bare], "{path}");
        }
    }
}
