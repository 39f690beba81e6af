//! The layers that walls are made of, by name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A layer. Of those that a sandbox is built with, a test may leave one off to show what
/// it is worth (see [`Layer::SANDBOX`]); no flag, variable or file reaches that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The filter of system calls (seccomp(2)).
    Seccomp,
    /// The rules of landlock(7).
    Landlock,
    /// The user namespace around everything inside (user_namespaces(7)).
    UserNamespace,
    /// That what is inside has an id of its own on the host.
    Ids,
    /// That commands are not the sandbox's root: a nested namespace, or an ordinary id.
    CommandId,
    /// The pid namespace, and a `/proc` of its own.
    PidNamespace,
    /// The network namespace.
    NetworkNamespace,
    /// The ipc namespace.
    IpcNamespace,
    /// The uts namespace.
    UtsNamespace,
    /// The cgroup namespace.
    CgroupNamespace,
    /// The view of files: a root of its own, and the host's out of reach.
    Root,
    /// That pieces of the host are mounted read-only.
    ReadOnly,
    /// What is covered of `/proc`.
    ProcMasks,
    /// Capabilities emptied (capabilities(7)).
    Capabilities,
    /// `no_new_privs` (PR_SET_NO_NEW_PRIVS(2const)).
    NoNewPrivs,
    /// Limits of each process (setrlimit(2)).
    Rlimits,
    /// Limits of all processes together (cgroups(7)).
    Cgroup,
    /// The cap on what is written to the workspace.
    Disk,
    /// The supervisors: caps on time, the end of everything a command has started.
    Supervisor,
    /// The reader of what comes out: names, kinds, sizes.
    Reader,
    /// What the host's policy says of commands.
    Policy,
    /// The guard, which judges changes by path.
    Guard,
    /// The record: bounded, escaped, redacted, written by the host alone.
    Record,
}

impl Layer {
    /// Those that a sandbox is built with, and that a test may leave off one by one.
    pub const SANDBOX: [Self; 18] = [
        Self::Seccomp,
        Self::Landlock,
        Self::UserNamespace,
        Self::Ids,
        Self::CommandId,
        Self::PidNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::Root,
        Self::ReadOnly,
        Self::ProcMasks,
        Self::Capabilities,
        Self::NoNewPrivs,
        Self::Rlimits,
        Self::Cgroup,
        Self::Disk,
    ];
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::UserNamespace => "user-namespace",
            Self::Ids => "ids",
            Self::CommandId => "command-id",
            Self::PidNamespace => "pid-namespace",
            Self::NetworkNamespace => "network-namespace",
            Self::IpcNamespace => "ipc-namespace",
            Self::UtsNamespace => "uts-namespace",
            Self::CgroupNamespace => "cgroup-namespace",
            Self::Root => "root",
            Self::ReadOnly => "read-only",
            Self::ProcMasks => "proc-masks",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivs => "no-new-privs",
            Self::Rlimits => "rlimits",
            Self::Cgroup => "cgroup",
            Self::Disk => "disk",
            Self::Supervisor => "supervisor",
            Self::Reader => "reader",
            Self::Policy => "policy",
            Self::Guard => "guard",
            Self::Record => "record",
        })
    }
}
