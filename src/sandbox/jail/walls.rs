//! What became of every wall of a jail that stands.

use super::{
    primitive::{PRIMITIVES, Primitive},
    spec::JailSpec,
};
use crate::{
    policy::Tier,
    sandbox::{Wall, WallReport, WallState, wall::groups},
};

/// The landlock ABI that mediates all that we ask for: files, TCP ports, device
/// ioctls, and (since 6) scopes for signals and abstract sockets (landlock(7)).
pub(super) const WHOLE_LANDLOCK: u32 = 6;

/// The wall that the controller bounds.
pub(super) fn cgroup_wall(controller: &str) -> String {
    format!("cgroup {controller}")
}

/// The wall against what supplementary groups may open.
pub(super) const GROUPS: &str = "supplementary groups";

/// The report on a jail that was built from `spec`; `cgroups` are the controllers that bound it.
pub(super) fn report(spec: &JailSpec, cgroups: &[String], landlock_abi: u32) -> WallReport {
    let bounded = |controller: &str| cgroups.iter().any(|c| c == controller);
    let mut walls: Vec<Wall> = PRIMITIVES
        .into_iter()
        .map(|primitive| {
            let state = match primitive {
                Primitive::Landlock => landlock(spec.confinement.landlock.is_some(), landlock_abi),
                Primitive::Seccomp if spec.confinement.seccomp.is_none() => left_off(),
                _ => WallState::Enforced,
            };
            wall(primitive.name(), state)
        })
        .collect();
    walls.push(wall("rlimits", WallState::Enforced));
    for (controller, instead) in [
        ("memory", "each stage's private memory is polled by its supervisor"),
        ("pids", "RLIMIT_NPROC of the jail's user namespace bounds it"),
    ] {
        let state = if bounded(controller) {
            WallState::Enforced
        } else {
            WallState::Degraded(format!("no cgroup: {instead}"))
        };
        walls.push(wall(&cgroup_wall(controller), state));
    }
    if spec.cpu_millis.is_some() {
        let state = if bounded("cpu") {
            WallState::Enforced
        } else {
            WallState::Absent("no cgroup, and nothing stands in".to_owned())
        };
        walls.push(wall(&cgroup_wall("cpu"), state));
    }
    walls.push(wall(
        "disk",
        WallState::Degraded("the workspace layer is polled every 200 ms".to_owned()),
    ));
    walls.push(wall(GROUPS, groups()));
    WallReport {
        tier: if bounded("memory") && bounded("pids") {
            Tier::NamespacesCgroup
        } else {
            Tier::Namespaces
        },
        walls,
        witness: None,
    }
}

fn wall(name: &str, state: WallState) -> Wall {
    Wall {
        name: name.to_owned(),
        state,
    }
}

fn left_off() -> WallState {
    WallState::Absent("left off by the caller".to_owned())
}

fn landlock(on: bool, abi: u32) -> WallState {
    if !on {
        left_off()
    } else if abi < WHOLE_LANDLOCK {
        WallState::Degraded(format!(
            "ABI {abi}; {WHOLE_LANDLOCK} is needed for {}",
            landlock_bits(WHOLE_LANDLOCK)
        ))
    } else {
        WallState::Enforced
    }
}

/// What an ABI mediates (landlock(7), "Landlock ABI versions").
pub(super) fn landlock_bits(abi: u32) -> String {
    const BITS: [(u32, &str); 6] = [
        (1, "files"),
        (2, "links between directories"),
        (3, "truncation"),
        (4, "TCP ports"),
        (5, "device ioctls"),
        (6, "signal and abstract-socket scopes"),
    ];
    let bits: Vec<&str> = BITS
        .iter()
        .filter(|(since, _)| *since <= abi)
        .map(|(_, bit)| *bit)
        .collect();
    bits.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_landlock_that_mediates_less_is_said_to() {
        assert_eq!(landlock(true, 7), WallState::Enforced);
        assert!(matches!(landlock(true, 4), WallState::Degraded(why) if why.starts_with("ABI 4")));
        assert!(matches!(landlock(false, 7), WallState::Absent(_)));
        assert_eq!(landlock_bits(2), "files, links between directories");
    }
}
