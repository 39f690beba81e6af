//! What stands without namespaces, and plainly what does not.

use crate::{
    policy::{NetworkMode, SandboxPlan, Tier},
    sandbox::{Wall, WallReport, WallState, owner, wall::groups},
};

use WallState::{Absent, Degraded, Enforced};

/// The report on a sandbox; `refusal`: what the kernel did not give. `nproc`: tasks that
/// the user of the commands had before.
pub(super) fn report(plan: &SandboxPlan, refusal: &str, others: u64) -> WallReport {
    let limits = &plan.limits;
    let say = |text: &str| Degraded(text.to_owned());
    let ours_alone = owner().is_some();
    let root = nix::unistd::geteuid().is_root();
    let mut walls = vec![
        (
            "namespaces (user, mount, pid, network, ipc, uts, cgroup)",
            Absent(refusal.to_owned()),
        ),
        (
            "root of read-only host pieces, own /dev, /tmp and home",
            say(
                "the host's root: landlock opens /usr, parts of /etc, /proc and the sandbox's own directories; \
                 names, sizes and times of other files can be asked for, and there is no /tmp and no /dev/shm",
            ),
        ),
        (
            "workspace overlay (userxattr)",
            say("the workspace is a copy, and compared with the layers as a whole"),
        ),
        (
            "own /proc",
            Absent("the host's processes, their command lines and mounts can be seen".to_owned()),
        ),
        (
            "own user id",
            match (ours_alone, root) {
                (true, _) => say(
                    "one id for all sandboxes of this host: they could signal none and read none of each \
                                  other's files, but change the modes of those whose paths they know",
                ),
                (false, true) => {
                    say("commands have the id of the root that started this program, without capabilities")
                }
                (false, false) => say("commands have your own id"),
            },
        ),
        (
            "modes, owners, times and attributes of the host's files",
            if ours_alone {
                Enforced
            } else {
                Absent(
                    "landlock mediates no chmod, utimes or setxattr: a command can change those of any file that you \
                     own, and so open it to other users, though it cannot read or write it"
                        .to_owned(),
                )
            },
        ),
        ("capabilities dropped, no_new_privs", Enforced),
        ("landlock", Enforced),
        ("seccomp", Enforced),
        (
            "network",
            say(
                "the host's, by rules: TCP to and from one port of 127.0.0.1 each, nothing else; but a command can \
                 listen at a port that the kernel picks, on every address of the host",
            ),
        ),
        ("unix sockets of the host", Enforced),
        ("rlimits", Enforced),
        ("memory", say("each stage's private memory is polled by its supervisor")),
        (
            "processes",
            if root && !ours_alone {
                Absent("RLIMIT_NPROC does not bind root's id".to_owned())
            } else {
                Degraded(format!(
                    "RLIMIT_NPROC counts all that the user id runs: {} in the sandbox and {others} others",
                    limits.processes
                ))
            },
        ),
        ("disk", say("workspace, home and /tmp are polled together every 200 ms")),
        (
            "the end of everything inside",
            say(
                "processes are found by their ancestry: where the supervisor itself is killed from outside, daemons \
                 that detached themselves live on",
            ),
        ),
        ("supplementary groups", groups()),
    ];
    if plan.network == NetworkMode::Allow {
        let why = "others of this host can connect to it; it answers whoever shows a key of the sandbox, which every \
                   command inside has. Attempts past it are refused by rule and leave no record";
        walls.push(("egress door", say(why)));
    }
    if limits.cpu.is_some() {
        walls.push(("cpu", Absent("no cgroup, and nothing stands in".to_owned())));
    }
    WallReport {
        tier: Tier::Landlock,
        walls: walls
            .into_iter()
            .map(|(name, state)| Wall {
                name: name.to_owned(),
                state,
            })
            .collect(),
        witness: None,
    }
}
