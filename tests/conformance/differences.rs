//! Where back ends differ, and why that is so.

use crate::{NOT_APPLICABLE, Verdicts, probe::Probe};

/// A difference that is known: verdicts of the first back end and of those that differ from it.
pub struct Difference {
    pub probe: &'static str,
    pub reference: &'static str,
    pub others: &'static [(&'static str, &'static str)],
    pub why: &'static str,
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        probe: "what / holds besides what every system has",
        reference: "",
        others: &[("container", ".dockerenv .opencode-fsm boot media opt root srv var")],
        why: "the root is the image's, read-only; `.opencode-fsm` is the guest's and closed to commands",
    },
    Difference {
        probe: "what /dev holds",
        reference: "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero",
        others: &[(
            "container",
            "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
        )],
        why: "the engine makes an empty directory for message queues; nothing is mounted there",
    },
    Difference {
        probe: "host paths in the table of mounts",
        reference: "hidden",
        others: &[("container", "shown")],
        why: "the engine names the layers in the mount that it makes: names of directories of the cache, whose contents are out of reach",
    },
    Difference {
        probe: "mapped ids",
        reference: "one one deny",
        others: &[("container", "many many allow")],
        why: "the engine maps no ids (userns-remap is refused): commands have the id that owns the workspace on the host, in the jail 1000",
    },
    Difference {
        probe: "becoming somebody else",
        reference: "ENOSYS ENOSYS EINVAL ENOSYS",
        others: &[("container", "ENOSYS ENOSYS EPERM ENOSYS")],
        why: "other ids exist in a container, and are refused",
    },
    Difference {
        probe: "giving a file away",
        reference: "EINVAL EINVAL done",
        others: &[("container", "EPERM EPERM done")],
        why: "other ids exist in a container, and are refused",
    },
    Difference {
        probe: "processes of the id",
        reference: "bounded",
        others: &[("container", "not bounded")],
        why: "the id is shared by all containers of the host; the cgroup bounds the processes of each",
    },
    Difference {
        probe: "a call of x32",
        reference: "ENOSYS",
        others: &[("container", "[signal 31]")],
        why: "the engine's own filter stands in front of ours and kills what comes by another architecture",
    },
    Difference {
        probe: "namespaces apart from the host's",
        reference: "cgroup ipc mnt net pid user uts",
        others: &[("container", "cgroup ipc mnt net pid uts")],
        why: "no user namespace in a container",
    },
    Difference {
        probe: "signals to the parent with a wider reach",
        reference: "signal 9",
        others: &[("container", "code 7")],
        why: "a container's supervisors are another user, whom a command may not signal; in the jail the stage ends with its supervisor",
    },
];

/// What is said to be and is not, one line each.
pub fn undocumented(probes: &[Probe], columns: &[(&str, &Verdicts)]) -> Vec<String> {
    against(DIFFERENCES, probes, columns)
}

pub fn against(documented: &[Difference], probes: &[Probe], columns: &[(&str, &Verdicts)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let ((name, reference), others) = columns.split_first().expect("a back end");
    for probe in probes {
        let known = documented.iter().find(|difference| difference.probe == probe.name);
        let first = &reference[probe.name];
        for (column, verdicts) in others {
            let verdict = &verdicts[probe.name];
            if verdict == NOT_APPLICABLE {
                continue;
            }
            let expected = known.and_then(|known| {
                let (_, verdict) = known.others.iter().find(|(name, _)| name == column)?;
                Some((known.reference, *verdict))
            });
            let told = || {
                format!(
                    "{}: `{}`: {name} `{first}`, {column} `{verdict}`",
                    probe.group, probe.name
                )
            };
            match expected {
                None if first == verdict => {}
                None => wrong.push(format!("undocumented difference: {}", told())),
                Some(expected) if expected == (first.as_str(), verdict.as_str()) => {}
                Some((one, other)) => wrong.push(format!(
                    "the documented difference (`{one}`, `{other}`) is another or none: {}",
                    told()
                )),
            }
        }
    }
    wrong
}

/// Why back ends differ in what a probe asks.
pub fn why(probe: &str) -> &'static str {
    DIFFERENCES
        .iter()
        .find(|difference| difference.probe == probe)
        .map_or("", |difference| difference.why)
}
