//! What a jail is made of, and what it means for the host when a piece is refused.

use std::io;

use crate::{policy::Tier, sandbox::SandboxError};

/// A primitive of the kernel, in the order in which a jail needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Primitive {
    User,
    Mount,
    Pid,
    Network,
    Ipc,
    Uts,
    Cgroup,
    Root,
    Overlay,
    Proc,
    Nested,
    Landlock,
    Seccomp,
}

use Primitive::{Cgroup, Ipc, Landlock, Mount, Nested, Network, Overlay, Pid, Proc, Root, Seccomp, User, Uts};

/// All of them, in that order.
pub(super) const PRIMITIVES: [Primitive; 13] = [
    User, Mount, Pid, Network, Ipc, Uts, Cgroup, Root, Overlay, Proc, Nested, Landlock, Seccomp,
];

/// How the steps of each begin, the more telling beginning first where two fit
/// (`init.rs`, `root.rs`, the guest's `payload.rs`).
const STEPS: [(&str, Primitive); 20] = [
    ("unshare user namespace", User),
    ("write setgroups", User),
    ("write uid_map", User),
    ("write gid_map", User),
    ("unshare mount namespace", Mount),
    ("unshare pid namespace", Pid),
    ("unshare network namespace", Network),
    ("bring the loopback up", Network),
    ("unshare ipc namespace", Ipc),
    ("unshare uts namespace", Uts),
    ("unshare cgroup namespace", Cgroup),
    ("mount the workspace overlay", Overlay),
    ("mount /proc", Proc),
    ("nest a user namespace", Nested),
    ("landlock", Landlock),
    ("seccomp", Seccomp),
    ("open_tree", Root),
    ("mount", Root),
    ("attach", Root),
    ("pivot_root", Root),
];

impl Primitive {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            User => "user namespace",
            Mount => "mount namespace",
            Pid => "pid namespace",
            Network => "network namespace",
            Ipc => "ipc namespace",
            Uts => "uts namespace",
            Cgroup => "cgroup namespace",
            Root => "root of read-only host pieces, own /dev, /tmp and home",
            Overlay => "workspace overlay (userxattr)",
            Proc => "own /proc",
            Nested => "nested user namespace, capabilities dropped, no_new_privs",
            Landlock => "landlock",
            Seccomp => "seccomp",
        }
    }

    /// The primitive that a step of building belongs to.
    pub fn of(step: &str) -> Option<Self> {
        STEPS
            .iter()
            .find(|(begin, _)| step.starts_with(begin))
            .map(|(_, primitive)| *primitive)
    }

    /// What a host is left with that refuses this one; `None` where the failure
    /// says nothing about the host (out of memory, a missing directory).
    fn leaves(self, errno: i32) -> Option<Tier> {
        let refused = matches!(
            errno,
            libc::EPERM | libc::EACCES | libc::ENOSYS | libc::ENOSPC | libc::EUSERS | libc::EINVAL
        );
        match self {
            User | Mount | Pid | Network | Ipc | Uts | Cgroup | Nested if refused => Some(Tier::Landlock),
            // Root without CAP_SYS_ADMIN, as in most containers, cannot mount.
            Root if matches!(errno, libc::EPERM | libc::ENOSYS) => Some(Tier::Landlock),
            Proc if errno == libc::EPERM => Some(Tier::NamespacesNoProc),
            _ => None,
        }
    }

    /// What to do where it was refused with `errno`.
    pub fn remedy(self, errno: i32) -> String {
        match self {
            User | Nested if errno == libc::ENOSPC => raise("user"),
            Mount if errno == libc::ENOSPC => raise("mnt"),
            Pid if errno == libc::ENOSPC => raise("pid"),
            Network if errno == libc::ENOSPC => raise("net"),
            Ipc if errno == libc::ENOSPC => raise("ipc"),
            Uts if errno == libc::ENOSPC => raise("uts"),
            Cgroup if errno == libc::ENOSPC => raise("cgroup"),
            User | Mount | Pid | Network | Ipc | Uts | Cgroup | Nested => allow_user_namespaces(),
            Proc => "an outer container masks parts of /proc: unmask it (docker run --security-opt \
                     systempaths=unconfined, podman run --security-opt unmask=ALL), or run outside the container"
                .to_owned(),
            Overlay => "the scratch directory must lie on a file system that can hold an overlay upper with \
                        user extended attributes (ext4, xfs, btrfs, tmpfs; Linux 5.11 or later): set \
                        XDG_CACHE_HOME to a directory on one (in a container: on a volume)"
                .to_owned(),
            Landlock => "boot Linux 6.2 or later with landlock among the security modules \
                         (CONFIG_SECURITY_LANDLOCK=y and `landlock` in the kernel's lsm= list)"
                .to_owned(),
            Seccomp => "boot a kernel with CONFIG_SECCOMP_FILTER=y".to_owned(),
            Root if errno == libc::EPERM => {
                "this root lacks CAP_SYS_ADMIN: start it as an ordinary user, or allow it to \
                                             mount (docker run --cap-add SYS_ADMIN --security-opt apparmor=unconfined)"
                    .to_owned()
            }
            Root => "run `opencode-fsm doctor`".to_owned(),
        }
    }
}

fn raise(kind: &str) -> String {
    format!("raise the limit, as root: sysctl -w user.max_{kind}_namespaces=15000")
}

/// Switches of the distributions that forbid what `unshare(2)` was refused:
/// sysctl, the value that forbids, the value that allows.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user.max_user_namespaces", "0", "15000"),
];

fn allow_user_namespaces() -> String {
    let value = |name: &str| std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok();
    let commands = allowing(value);
    if commands.is_empty() {
        "no sysctl forbids user namespaces here, so a container's seccomp filter, a chroot or a security module does: \
         allow clone, unshare and mount there (docker run --security-opt seccomp=unconfined --security-opt \
         apparmor=unconfined), or run outside it"
            .to_owned()
    } else {
        format!("allow user namespaces, as root: {}", commands.join(" && "))
    }
}

fn allowing(value: impl Fn(&str) -> Option<String>) -> Vec<String> {
    SWITCHES
        .iter()
        .filter(|(name, forbids, _)| value(name).is_some_and(|v| v.trim() == *forbids))
        .map(|(name, _, allows)| format!("sysctl -w {name}={allows}"))
        .collect()
}

/// Why a jail was not built: a step and what the kernel said, or something else.
#[derive(Debug)]
pub(super) enum Unbuilt {
    /// A step of the jail was refused.
    Step { step: String, errno: i32 },
    /// Everything else.
    Other(SandboxError),
}

impl From<SandboxError> for Unbuilt {
    fn from(why: SandboxError) -> Self {
        Self::Other(why)
    }
}

impl Unbuilt {
    /// What the host is left with, and what it refuses, where it is that which failed.
    pub fn refusal(&self) -> Option<(Tier, String)> {
        let Self::Step { step, errno } = self else { return None };
        let primitive = Primitive::of(step)?;
        let why = io::Error::from_raw_os_error(*errno);
        Some((
            primitive.leaves(*errno)?,
            format!("no {}: {step}: {why}", primitive.name()),
        ))
    }

    /// The error for a user who demands `wanted`: of a host that refuses something, what
    /// it gives instead, which is no jail any more ([`crate::sandbox::bare`] may be had).
    pub fn into_error(self, wanted: Tier) -> SandboxError {
        let refusal = self.refusal();
        let (step, errno) = match self {
            Self::Other(why) => return why,
            Self::Step { step, errno } => (step, errno),
        };
        let source = io::Error::from_raw_os_error(errno);
        let primitive = Primitive::of(&step);
        let remedy = primitive.map_or_else(
            || "run `opencode-fsm doctor`".to_owned(),
            |primitive| primitive.remedy(errno),
        );
        let Some((got, why)) = refusal else {
            return SandboxError::Build { step, source, remedy };
        };
        if got < wanted {
            return SandboxError::TierTooLow {
                got,
                wanted,
                why,
                remedy: format!("{remedy}; or accept the weaker walls by name with --min-tier landlock"),
            };
        }
        SandboxError::Build {
            step: format!("tier `{got}`"),
            source: io::Error::new(
                io::ErrorKind::Unsupported,
                format!("this program does not build this tier, and the host gives no stronger one ({why})"),
            ),
            remedy: format!("{remedy}; or accept the walls of --min-tier landlock"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(step: &str, errno: i32, wanted: Tier) -> SandboxError {
        let step = step.to_owned();
        Unbuilt::Step { step, errno }.into_error(wanted)
    }

    #[test]
    fn every_refusal_of_a_namespace_is_a_tier_and_names_the_primitive() {
        for errno in [
            libc::EPERM,
            libc::EACCES,
            libc::ENOSYS,
            libc::ENOSPC,
            libc::EUSERS,
            libc::EINVAL,
        ] {
            for step in ["unshare user namespace", "unshare network namespace", "write uid_map"] {
                let error = refused(step, errno, Tier::Namespaces);
                assert!(
                    matches!(
                        error,
                        SandboxError::TierTooLow {
                            got: Tier::Landlock,
                            wanted: Tier::Namespaces,
                            ..
                        }
                    ),
                    "{error:?}"
                );
                let name = Primitive::of(step).expect("a primitive").name();
                assert!(error.to_string().contains(&format!("no {name}")), "{error}");
            }
        }
    }

    #[test]
    fn what_is_no_jail_is_not_built_as_one_though_it_was_accepted() {
        for (step, errno, wanted) in [
            ("unshare user namespace", libc::EPERM, Tier::Landlock),
            ("mount /proc", libc::EPERM, Tier::NamespacesNoProc),
        ] {
            let error = refused(step, errno, wanted);
            assert!(matches!(error, SandboxError::Build { .. }), "{error:?}");
            assert!(error.to_string().contains("does not build this tier"), "{error}");
        }
    }

    #[test]
    fn failures_that_say_nothing_about_the_host_are_no_tier() {
        for (step, errno) in [
            ("unshare user namespace", libc::ENOMEM),
            ("mount /proc", libc::ENOMEM),
            ("open_tree layer /x", libc::ENOENT),
            ("fork", libc::EAGAIN),
        ] {
            let error = refused(step, errno, Tier::Namespaces);
            assert!(matches!(error, SandboxError::Build { .. }), "{error:?}");
        }
    }

    #[test]
    fn the_switch_that_forbids_is_named_with_its_command() {
        let ubuntu = |name: &str| match name {
            "kernel.apparmor_restrict_unprivileged_userns" => Some("1\n".to_owned()),
            "kernel.unprivileged_userns_clone" => Some("1\n".to_owned()),
            _ => None,
        };
        assert_eq!(
            allowing(ubuntu),
            ["sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"]
        );
        assert!(allowing(|_| None).is_empty());
    }

    #[test]
    fn the_overlay_is_told_from_other_mounts() {
        assert_eq!(Primitive::of("mount the workspace overlay"), Some(Overlay));
        assert_eq!(Primitive::of("mount /proc"), Some(Proc));
        assert_eq!(Primitive::of("mount /dev"), Some(Root));
        assert_eq!(Primitive::of("setresuid"), None);
    }
}
