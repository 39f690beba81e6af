//! What every command is confined by where the sandbox has a root of its own.

use nix::sys::resource::{Resource, getrlimit};

use crate::{
    policy::{GUEST_HOME, GUEST_WORKSPACE, Limits},
    wire::{LandlockRules, PathAccess, Rlimit},
};

/// The landlock rules for the inside of a jail or a container.
pub(super) fn landlock_rules() -> LandlockRules {
    let mut paths = vec![("/".to_owned(), PathAccess::ReadExecute)];
    for path in [GUEST_WORKSPACE, GUEST_HOME, "/tmp", "/run", "/dev/shm"] {
        paths.push((path.to_owned(), PathAccess::ReadWrite));
    }
    for path in ["/dev", "/proc"] {
        paths.push((path.to_owned(), PathAccess::Device));
    }
    // ABI 3 is the first that mediates truncation (landlock(7)).
    LandlockRules {
        paths,
        min_abi: 3,
        ..LandlockRules::default()
    }
}

/// The limits of every process (setrlimit(2)), none above this program's own: a limit
/// can only be lowered. `processes`: how many the commands' id may have in all, where
/// that bounds the sandbox's.
pub(super) fn rlimits(limits: &Limits, processes: Option<u64>) -> Vec<Rlimit> {
    let mut wanted = vec![
        (Resource::RLIMIT_NOFILE, limits.open_files),
        (Resource::RLIMIT_FSIZE, limits.file_bytes),
        (Resource::RLIMIT_CORE, 0),
    ];
    wanted.extend(processes.map(|most| (Resource::RLIMIT_NPROC, most)));
    wanted.extend(limits.address_space_bytes.map(|bytes| (Resource::RLIMIT_AS, bytes)));
    wanted
        .into_iter()
        .map(|(resource, value)| Rlimit {
            resource: resource as u32,
            value: getrlimit(resource).map_or(value, |(_, hard)| value.min(hard)),
        })
        .collect()
}
