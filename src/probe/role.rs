//! The program's role as a probe: one act a process.
#![allow(unsafe_code)]

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork, getegid, geteuid},
};
use serde::{Deserialize, Serialize};

use super::{
    Act, Answer, Marks, families, files, kernel, lives, network, nodes, privileges, processes, resources,
    witness::WITNESS,
};

/// Where an act is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ground {
    /// Where the process is.
    #[default]
    Here,
    /// As root of name spaces of its own, which end with the process: what it does to mounts,
    /// names and networks concerns nobody else.
    OwnNamespaces,
}

/// What a probe is told: its only argument, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// The act's name.
    pub act: String,
    /// Where it is tried.
    #[serde(default)]
    pub ground: Ground,
    /// What it is after.
    pub marks: Marks,
}

/// Exit code of a probe that could not try its act.
const UNABLE: u8 = 70;

/// Every act, each under a name of its own.
pub fn acts() -> Vec<Act> {
    let more = [
        files::READ_HOME,
        files::LIST_HOST,
        files::FOLLOW_LINK,
        files::MAGIC_LINKS,
        files::HARD_LINK,
        files::RENAME_OUT,
        files::CHANGE_HOST_FILE,
        files::CHANGE_PIECE,
        files::READ_OTHERS_PIECE,
        files::TRUNCATE,
        files::WRITE_HOST,
        nodes::OPEN_DEVICES,
        files::READ_KERNEL,
        files::WATCH,
        files::SHARED_FILE,
        nodes::SET_TRUSTED,
        nodes::OPEN_FUSE,
        nodes::OVERWRITE_PROGRAM,
        nodes::OPEN_BY_HANDLE,
        nodes::RUN_SET_ID,
        nodes::SPARSE,
        nodes::GIVE_TO_ROOT,
        privileges::BOUNDING_SET,
        privileges::OPEN_TOO_MANY,
        privileges::CHANGE_GROUPS,
        privileges::BIND,
        privileges::REMOUNT,
        privileges::UNMOUNT,
        privileges::OPEN_TREE,
        privileges::FSOPEN,
        privileges::MOVE_MOUNT,
        privileges::MOUNT_SETATTR,
        privileges::UNSHARE_MOUNT,
        privileges::CLONE_USER,
        privileges::CLONE3_USER,
        privileges::ENTER_NAMESPACE,
        privileges::CHROOT,
        privileges::PIVOT_ROOT,
        privileges::HOST_NAME,
        privileges::HOST_CGROUP,
        privileges::MOUNT_CGROUP,
        kernel::REQUEST_KEY,
        kernel::PERF,
        kernel::USERFAULTFD,
        kernel::SECRET_MEMORY,
        kernel::CALL_32,
        kernel::CALL_X32,
        kernel::PERSONALITY,
        kernel::SEGMENTS,
        kernel::GIFT_PAGES,
        kernel::MOVE_PAGES,
        kernel::KEXEC,
        kernel::LOAD_MODULE,
        kernel::UNLOAD_MODULE,
        kernel::SWAP,
        kernel::REBOOT,
        kernel::ACCOUNTING,
        kernel::QUOTA,
        kernel::KERNEL_LOG,
        kernel::PORTS,
        kernel::SET_CLOCK,
        kernel::SET_HOST_NAME,
        kernel::TYPE_INTO_TERMINAL,
        kernel::PASTE_INTO_CONSOLE,
        kernel::WATCH_ALL,
        processes::SEE_HOST_PROCESS,
        processes::READ_MEMORY,
        processes::WRITE_MEMORY,
        processes::COMPARE,
        processes::TAKE_DESCRIPTOR,
        processes::LOOK_INTO_HOST,
        processes::SLOW_SUPERVISOR,
        processes::OFFER_SUPERVISOR,
        processes::INHERITED,
        processes::ENVIRONMENT,
        processes::SHARED_MEMORY,
        lives::STOP_UNDER_TRACE,
        lives::STOP,
        lives::WAIT,
        nodes::WORK,
        lives::DEAF,
        lives::DAEMON,
        lives::HOLD_OUTPUT,
        lives::STORM,
        lives::STORM_OF_SESSIONS,
        lives::ZOMBIES,
        lives::FORK_BOMB,
        lives::FILTER_ALL,
        lives::PRETEND,
        processes::IS_ROOT,
        network::CONNECT_HOST_6,
        network::CONNECT_HOST_SPELLED,
        network::CONNECT_OUTSIDE_6,
        network::ASK_NAMES,
        network::ASK_NAMES_OVER_HTTPS,
        network::TUNNEL_NAMES,
        network::METADATA,
        network::PATH_SOCKET,
        network::ENGINE_SOCKETS,
        families::ALG,
        families::PACKET,
        families::PING,
        families::NETLINK,
        families::RARE_FAMILIES,
        families::MPTCP,
        network::INTERFACES,
        network::SEND_TO_HOST,
        network::LISTEN,
        resources::TAKE_MEMORY,
        resources::FILL_TEMPORARY,
        resources::FILL_WORKSPACE,
        resources::TAKE_INODES,
        resources::SPIN,
        resources::FLOOD,
        resources::LONG_LINE,
        resources::DUMP_CORE,
        resources::PRINT,
    ];
    WITNESS.into_iter().chain(more).collect()
}

/// The whole life of a probe; its [`Role`] is the second argument.
pub fn main() -> ExitCode {
    let role = std::env::args()
        .nth(2)
        .and_then(|text| serde_json::from_str::<Role>(&text).ok());
    let found = role.and_then(|role| Some((acts().into_iter().find(|act| act.name == role.act)?, role)));
    let Some((act, role)) = found else {
        return ExitCode::from(UNABLE);
    };
    match role.ground {
        Ground::Here => perform(&act, &role.marks),
        Ground::OwnNamespaces => match apart() {
            Ok(Apart::Inside) => perform(&act, &role.marks),
            Ok(Apart::Ended(code)) => code,
            Err(_) => ExitCode::from(UNABLE),
        },
    }
}

/// Says what became of it in the last line of its output.
fn perform(act: &Act, marks: &Marks) -> ExitCode {
    let answer: Answer = (act.run)(marks);
    let text = serde_json::to_string(&answer).unwrap_or_default();
    let mut out = io::stdout();
    let said = out
        .write_all(format!("\n{text}\n").as_bytes())
        .and_then(|()| out.flush());
    ExitCode::from(if said.is_ok() { 0 } else { UNABLE })
}

enum Apart {
    Inside,
    Ended(ExitCode),
}

/// Makes name spaces and goes on as root of them, in a child.
fn apart() -> io::Result<Apart> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP
            | CloneFlags::CLONE_NEWPID,
    )?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    // SAFETY: this process is single-threaded, so the child may do anything.
    match unsafe { fork() }? {
        ForkResult::Child => Ok(Apart::Inside),
        ForkResult::Parent { child } => Ok(Apart::Ended(match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => ExitCode::from(u8::try_from(code).unwrap_or(UNABLE)),
            _ => ExitCode::from(UNABLE),
        })),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_act_has_a_name_of_its_own() {
        let acts = acts();
        let names: BTreeSet<&str> = acts.iter().map(|act| act.name).collect();
        assert_eq!(names.len(), acts.len());
        assert!(acts.len() > 110, "{}", acts.len());
    }
}
