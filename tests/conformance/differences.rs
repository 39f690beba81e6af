//! Where back ends differ from the first, and why that is so.

use crate::{Column, NOT_APPLICABLE, Verdicts, probe::Probe};

/// A difference that is known.
pub struct Difference {
    pub probe: &'static str,
    /// The first back end's verdict.
    pub reference: &'static str,
    pub verdict: &'static str,
    pub why: &'static str,
}

/// Containers of a Docker engine.
pub const CONTAINER: &[Difference] = &[
    Difference {
        probe: "what / holds besides what every system has",
        reference: "",
        verdict: ".dockerenv .opencode-fsm boot media opt root srv var",
        why: "the root is the image's, read-only; `.opencode-fsm` is the guest's and closed to commands",
    },
    Difference {
        probe: "what /dev holds",
        reference: "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero",
        verdict: "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
        why: "the engine makes an empty directory for message queues; nothing is mounted there",
    },
    Difference {
        probe: "host paths in the table of mounts",
        reference: "hidden",
        verdict: "shown",
        why: "the engine names the layers in the mount that it makes: names of directories of the cache, whose contents are out of reach",
    },
    Difference {
        probe: "mapped ids",
        reference: "one one deny",
        verdict: "many many allow",
        why: "the engine maps no ids (userns-remap is refused): commands have the id that owns the workspace on the host, in the jail 1000",
    },
    Difference {
        probe: "becoming somebody else",
        reference: "ENOSYS ENOSYS EINVAL ENOSYS",
        verdict: "ENOSYS ENOSYS EPERM ENOSYS",
        why: "other ids exist in a container, and are refused",
    },
    Difference {
        probe: "giving a file away",
        reference: "EINVAL EINVAL done",
        verdict: "EPERM EPERM done",
        why: "other ids exist in a container, and are refused",
    },
    Difference {
        probe: "processes of the id",
        reference: "bounded",
        verdict: "not bounded",
        why: "the id is shared by all containers of the host; the cgroup bounds the processes of each",
    },
    Difference {
        probe: "a call of x32",
        reference: "ENOSYS",
        verdict: "[signal 31]",
        why: "the engine's own filter stands in front of ours and kills what comes by another architecture",
    },
    Difference {
        probe: "namespaces apart from the host's",
        reference: "cgroup ipc mnt net pid user uts",
        verdict: "cgroup ipc mnt net pid uts",
        why: "no user namespace in a container",
    },
    Difference {
        probe: "signals to the parent with a wider reach",
        reference: "signal 9",
        verdict: "code 7",
        why: "a container's supervisors are another user, whom a command may not signal; in the jail the stage ends with its supervisor",
    },
];

/// The tier without namespaces.
pub const LANDLOCK: &[Difference] = &[
    Difference {
        probe: "opening settings to write",
        reference: "refused refused refused refused open",
        verdict: "refused refused refused refused refused",
        why: "what is not named by a rule cannot be opened at all",
    },
    Difference {
        probe: "links, pipes and sockets in the workspace",
        reference: "done done done done done done",
        verdict: "done done done EBADF done done",
        why: "no unix sockets: one could reach others of the host",
    },
    Difference {
        probe: "renaming a directory of the pristine tree",
        reference: "EXDEV there",
        verdict: "done gone",
        why: "the workspace is a copy and no overlay",
    },
    Difference {
        probe: "becoming somebody else",
        reference: "ENOSYS ENOSYS EINVAL ENOSYS",
        verdict: "ENOSYS ENOSYS EPERM ENOSYS",
        why: "other ids exist, and are refused",
    },
    Difference {
        probe: "giving a file away",
        reference: "EINVAL EINVAL done",
        verdict: "EPERM EPERM done",
        why: "other ids exist, and are refused",
    },
    Difference {
        probe: "its own loopback",
        reference: "done done",
        verdict: "EACCES EACCES",
        why: "the loopback is the host's: one port may be bound and one connected to",
    },
    Difference {
        probe: "its own loopback, IPv6",
        reference: "done done",
        verdict: "EACCES EACCES",
        why: "the loopback is the host's: one port may be bound and one connected to",
    },
    Difference {
        probe: "low ports",
        reference: "EACCES EACCES EACCES done",
        verdict: "EACCES EACCES EACCES EACCES",
        why: "the loopback is the host's: one port may be bound and one connected to",
    },
    Difference {
        probe: "addresses outside",
        reference: "ENETUNREACH ENETUNREACH ENETUNREACH ENETUNREACH",
        verdict: "EACCES EACCES EACCES EACCES",
        why: "the network is the host's, and closed by rule",
    },
    Difference {
        probe: "datagrams outside",
        reference: "ENETUNREACH ENETUNREACH",
        verdict: "EBADF EBADF",
        why: "no datagram sockets: landlock has no rule for them",
    },
    Difference {
        probe: "families of sockets",
        reference: "1 done 2 done 10 done 16 done 17 EAFNOSUPPORT 31 EAFNOSUPPORT 38 EAFNOSUPPORT 40 EAFNOSUPPORT",
        verdict: "1 EAFNOSUPPORT 2 done 10 done 16 done 17 EAFNOSUPPORT 31 EAFNOSUPPORT 38 EAFNOSUPPORT 40 EAFNOSUPPORT",
        why: "no unix sockets: one could reach others of the host",
    },
    Difference {
        probe: "abstract sockets",
        reference: "done done",
        verdict: "EBADF EBADF",
        why: "no unix sockets: one could reach others of the host",
    },
    Difference {
        probe: "typing into a terminal",
        reference: "done EPERM",
        verdict: "EACCES EBADF",
        why: "there is no terminal to open",
    },
    Difference {
        probe: "namespaces apart from the host's",
        reference: "cgroup ipc mnt net pid user uts",
        verdict: "",
        why: "it is the tier without them",
    },
    Difference {
        probe: "signals to the parent with a wider reach",
        reference: "signal 9",
        verdict: "code 7",
        why: "without a pid namespace no reach is wider than the stage",
    },
    Difference {
        probe: "into that directory",
        reference: "ro: in x ro/in: y 555",
        verdict: "refused: remove `ro/f`: Permission denied (os error 13); ro: f in ro/in: 555",
        why: "nobody has a capability, the supervisor neither",
    },
    Difference {
        probe: "reading a protected file",
        reference: "s",
        verdict: "refused: Permission denied (os error 13)",
        why: "nobody has a capability, the supervisor neither",
    },
];

/// What is the host's in the tier without namespaces, or not there at all.
pub const NOT_BARE: &[&str] = &[
    "a door of the host's",
    "a full /dev/shm",
    "a full /tmp",
    "a link in the layer",
    "a changed file in the layer",
    "a new directory in the layer",
    "a new file in the layer",
    "a removed file in the layer",
    "an untouched file in the layer",
    "capabilities, no_new_privs, seccomp",
    "control groups",
    "executing from private places",
    "files of /proc about the kernel",
    "host name",
    "host paths in the table of mounts",
    "how many processes there are",
    "how private places are mounted",
    "how the workspace is mounted",
    "inodes of private places",
    "interfaces",
    "known accounts",
    "mapped ids",
    "modes of private places",
    "name service",
    "names",
    "names of user and group",
    "owners of private places",
    "processes of the id",
    "routes",
    "session, group and nice value",
    "sizes of private places",
    "sockets that listen already",
    "System V segments that outlive whom they serve",
    "the kind of the workspace's file system",
    "too many files in home",
    "too many processes",
    "what / holds besides what every system has",
    "what /dev holds",
    "what /home and /run hold",
    "what may stay, seen from the next command",
];

/// What is said to be and is not, one line each; `columns` begin with the first back end.
pub fn undocumented(probes: &[Probe], columns: &[(&Column, &Verdicts)]) -> Vec<String> {
    let ((first, reference), others) = columns.split_first().expect("a back end");
    let mut wrong = Vec::new();
    for probe in probes {
        for (column, verdicts) in others {
            let (one, other) = (reference[probe.name].as_str(), verdicts[probe.name].as_str());
            if other == NOT_APPLICABLE {
                continue;
            }
            let known = column.known(probe.name).map(|known| (known.reference, known.verdict));
            let told = format!(
                "{}: `{}`: {} `{one}`, {} `{other}`",
                probe.group, probe.name, first.name, column.name
            );
            match known {
                None if one == other => {}
                None => wrong.push(format!("undocumented difference: {told}")),
                Some(known) if known == (one, other) => {}
                Some(known) => wrong.push(format!(
                    "the documented difference {known:?} is another or none: {told}"
                )),
            }
        }
    }
    wrong
}
