//! What became of every wall of a jail that stands.

use super::{
    primitive::{PRIMITIVES, Primitive},
    spec::JailSpec,
};
use crate::{
    policy::Tier,
    probe::Layer,
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
                Primitive::Landlock => landlock(landlock_abi),
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
    for layer in &spec.off {
        leave_off(&mut walls, *layer);
    }
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

/// Says of a layer that it is left off, at the walls that it is a part of.
fn leave_off(walls: &mut Vec<Wall>, layer: Layer) {
    let names: Vec<String> = match layer {
        Layer::Seccomp => vec![Primitive::Seccomp.name().to_owned()],
        Layer::Landlock => vec![Primitive::Landlock.name().to_owned()],
        Layer::UserNamespace => vec![Primitive::User.name().to_owned()],
        Layer::PidNamespace => [Primitive::Pid, Primitive::Proc].map(|p| p.name().to_owned()).to_vec(),
        Layer::NetworkNamespace => vec![Primitive::Network.name().to_owned()],
        Layer::IpcNamespace => vec![Primitive::Ipc.name().to_owned()],
        Layer::UtsNamespace => vec![Primitive::Uts.name().to_owned()],
        Layer::CgroupNamespace => vec![Primitive::Cgroup.name().to_owned()],
        Layer::Root | Layer::ReadOnly => vec![Primitive::Root.name().to_owned()],
        Layer::ProcMasks => vec![Primitive::Proc.name().to_owned()],
        Layer::CommandId | Layer::Capabilities | Layer::NoNewPrivs => vec![Primitive::Nested.name().to_owned()],
        Layer::Cgroup => ["memory", "pids", "cpu"].map(cgroup_wall).to_vec(),
        other => vec![other.to_string()],
    };
    for name in names {
        let state = WallState::Absent(format!("{layer} is left off by the caller"));
        match walls.iter_mut().find(|wall| wall.name == name) {
            Some(wall) => wall.state = state,
            None => walls.push(Wall { name, state }),
        }
    }
}

fn landlock(abi: u32) -> WallState {
    if abi < WHOLE_LANDLOCK {
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
    fn every_layer_that_is_left_off_is_said_to_be_absent() {
        for layer in Layer::SANDBOX {
            let mut walls = vec![wall("rlimits", WallState::Enforced)];
            leave_off(&mut walls, layer);
            let absent = walls.iter().filter(|wall| matches!(wall.state, WallState::Absent(_)));
            assert!(absent.count() > 0, "{layer}");
        }
    }

    #[test]
    fn a_landlock_that_mediates_less_is_said_to() {
        assert_eq!(landlock(7), WallState::Enforced);
        assert!(matches!(landlock(4), WallState::Degraded(why) if why.starts_with("ABI 4")));
        assert_eq!(landlock_bits(2), "files, links between directories");
    }
}
