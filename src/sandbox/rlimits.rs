//! What each process inside is limited to by itself.

use nix::sys::resource::{Resource, getrlimit};

use crate::{policy::Limits, wire::Rlimit};

/// The plan's limits as `setrlimit(2)` values; `processes` is that of `RLIMIT_NPROC`.
pub(super) fn rlimits(limits: &Limits, processes: u64) -> Vec<Rlimit> {
    let mut rlimits = vec![
        (Resource::RLIMIT_NPROC, processes),
        (Resource::RLIMIT_NOFILE, limits.open_files),
        (Resource::RLIMIT_FSIZE, limits.file_bytes),
        (Resource::RLIMIT_CORE, 0),
    ];
    rlimits.extend(limits.address_space_bytes.map(|bytes| (Resource::RLIMIT_AS, bytes)));
    rlimits
        .into_iter()
        .map(|(resource, value)| Rlimit {
            resource: resource as u32,
            // A limit can only be lowered: a stricter one of the host stays.
            value: getrlimit(resource).map_or(value, |(_, hard)| value.min(hard)),
        })
        .collect()
}
