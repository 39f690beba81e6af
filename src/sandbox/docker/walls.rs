//! What became of every wall of a container, as its guest finds them.

use super::{connection::About, container::CAPABILITIES};
use crate::{
    policy::Tier,
    probe::Layer,
    sandbox::{Wall, WallReport, WallState},
    wire::{FoundWalls, Hello},
};

/// Landlock's ABI below which a sandbox is refused: the first that mediates truncation
/// (landlock(7)).
const MIN_LANDLOCK: u32 = 3;
/// The ABI that mediates all that we ask for.
const WHOLE_LANDLOCK: u32 = 6;
/// seccomp(2): a filter is loaded.
const FILTER: u32 = 2;

/// What is missing of the walls that were asked for; empty where all stand.
pub(super) fn missing(hello: &Hello) -> Vec<String> {
    let Some(found) = &hello.found else {
        return vec!["the guest does not say what it found".to_owned()];
    };
    let FoundWalls {
        bounding,
        seccomp,
        no_new_privs,
        read_only_root,
        interfaces,
    } = found;
    let asked = CAPABILITIES.iter().fold(0u64, |all, (_, bit)| all | 1 << bit);
    let mut missing = Vec::new();
    if bounding & !asked != 0 {
        missing.push(format!("it kept capabilities ({:#x})", bounding & !asked));
    }
    if *seccomp != FILTER {
        missing.push("no seccomp filter".to_owned());
    }
    if !no_new_privs {
        missing.push("no no_new_privs".to_owned());
    }
    if !read_only_root {
        missing.push("the root file system can be written".to_owned());
    }
    if interfaces.iter().any(|name| name != "lo") {
        missing.push(format!("network interfaces: {}", interfaces.join(", ")));
    }
    if hello.landlock_abi < MIN_LANDLOCK {
        missing.push(format!(
            "landlock ABI {} ({MIN_LANDLOCK} or later is needed: Linux 6.2 with landlock among its security modules)",
            hello.landlock_abi
        ));
    }
    missing
}

/// The report on a container whose walls all stand. `counted` says whether its cgroups
/// are seen from here.
pub(super) fn report(hello: &Hello, about: &About, image: &str, cpu: bool, counted: bool) -> WallReport {
    let enforced = |name: &str| wall(name, WallState::Enforced);
    let mut walls = vec![
        wall(
            "user namespace",
            WallState::Absent(
                "the engine maps no ids: the guest is root with few capabilities, commands are an ordinary id with none"
                    .to_owned(),
            ),
        ),
        enforced("mount namespace"),
        enforced("pid namespace"),
        enforced("network namespace"),
        enforced("ipc namespace"),
        enforced("uts namespace"),
        enforced("cgroup namespace"),
        enforced("root of a read-only image, own /dev, /tmp and home"),
        enforced("workspace overlay (userxattr)"),
        enforced("own /proc"),
        enforced("own id, capabilities dropped, no_new_privs"),
        wall(
            "landlock",
            if hello.landlock_abi < WHOLE_LANDLOCK {
                WallState::Degraded(format!(
                    "ABI {}; {WHOLE_LANDLOCK} is needed for everything",
                    hello.landlock_abi
                ))
            } else {
                WallState::Enforced
            },
        ),
        enforced("seccomp"),
        enforced("rlimits"),
        enforced("cgroup memory"),
        enforced("cgroup pids"),
    ];
    walls.extend(cpu.then(|| enforced("cgroup cpu")));
    walls.push(wall(
        "disk",
        WallState::Degraded("the workspace layer is polled every 200 ms".to_owned()),
    ));
    walls.push(wall(
        "end seen from outside",
        if counted {
            WallState::Enforced
        } else {
            WallState::Degraded("the container's cgroups are not seen from here: the engine's word counts".to_owned())
        },
    ));
    walls.push(enforced(&format!("Docker engine {}, image {image}", about.version)));
    WallReport {
        tier: Tier::NamespacesCgroup,
        walls,
        witness: None,
    }
}

/// Says of layers that they are left off, by their names.
pub(super) fn leave_off(report: &mut WallReport, off: &[Layer]) {
    let absent = |layer: &Layer| {
        wall(
            &format!("left off by the caller: {layer}"),
            WallState::Absent("it was not asked for, or is not what it is in a run".to_owned()),
        )
    };
    report.walls.splice(0..0, off.iter().map(absent));
}

fn wall(name: &str, state: WallState) -> Wall {
    Wall {
        name: name.to_owned(),
        state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(found: Option<FoundWalls>) -> Hello {
        Hello {
            protocol: 1,
            version: String::new(),
            pid: 1,
            landlock_abi: 7,
            found,
        }
    }

    fn all() -> FoundWalls {
        FoundWalls {
            bounding: CAPABILITIES.iter().fold(0, |all, (_, bit)| all | 1 << bit),
            seccomp: 2,
            no_new_privs: true,
            read_only_root: true,
            interfaces: vec!["lo".to_owned()],
        }
    }

    #[test]
    fn a_wall_that_an_engine_left_out_is_seen() {
        assert!(missing(&hello(Some(all()))).is_empty());
        assert_eq!(missing(&hello(None)).len(), 1);
        let weaker: [fn(&mut FoundWalls); 5] = [
            |w| w.bounding |= 1 << 21,
            |w| w.seccomp = 0,
            |w| w.no_new_privs = false,
            |w| w.read_only_root = false,
            |w| w.interfaces.push("eth0".to_owned()),
        ];
        for weaken in weaker {
            let mut found = all();
            weaken(&mut found);
            assert_eq!(missing(&hello(Some(found.clone()))).len(), 1, "{found:?}");
        }
        let old = Hello {
            landlock_abi: 2,
            ..hello(Some(all()))
        };
        assert!(missing(&old)[0].contains("landlock"));
    }
}
