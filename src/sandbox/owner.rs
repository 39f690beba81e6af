//! Whose a sandbox's files are on the host.

use std::sync::OnceLock;

/// The unprivileged host id that sandboxes run as when the host process is root.
/// Never a real account: beyond every range that `/etc/subuid` hands out by default.
pub const SANDBOX_UID: u32 = 2_000_000_000;

/// Who must own a sandbox's layers: [`SANDBOX_UID`] when we are root and can become it,
/// nobody in particular (`None`) when the sandbox runs as the calling user. Root of
/// a user namespace that does not map that id is an ordinary user here.
pub fn owner() -> Option<u32> {
    /// Maps are written once (user_namespaces(7)), and nobody asks in a namespace of a jail's.
    static MAPPED: OnceLock<bool> = OnceLock::new();
    let mapped = || {
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"];
        maps.iter()
            .all(|map| std::fs::read_to_string(map).is_ok_and(|map| maps_id(&map, SANDBOX_UID)))
    };
    (nix::unistd::geteuid().is_root() && *MAPPED.get_or_init(mapped)).then_some(SANDBOX_UID)
}

/// Whether an id exists inside: lines of first id inside, first outside, count
/// (user_namespaces(7)).
fn maps_id(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().map(|n| n.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (fields.next(), fields.next(), fields.next());
        first
            .zip(count)
            .is_some_and(|(first, count)| (first..first + count).contains(&u64::from(id)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sandboxes_id_exists_only_where_it_is_mapped() {
        assert!(maps_id("         0          0 4294967295\n", SANDBOX_UID));
        assert!(!maps_id("0 1000 1\n", SANDBOX_UID));
        assert!(!maps_id("0 1000 1\n1 100000 65536\n", SANDBOX_UID));
        assert!(maps_id(&format!("0 1000 1\n{SANDBOX_UID} 5 1\n"), SANDBOX_UID));
        assert!(!maps_id("", SANDBOX_UID) && !maps_id("nonsense", SANDBOX_UID));
    }
}
