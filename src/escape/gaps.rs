//! What is let through, which the report on the walls says as well.

/// What an ordinary user's jail lets through where no control group is delegated to it.
pub(super) const UNPRIVILEGED_JAIL: &[(&str, &str)] =
    &[("spin", "no control group bounds the processor, and nothing stands in")];

/// What the tier without namespaces lets through: attempts by name, and why.
pub(super) const LANDLOCK: &[(&str, &str)] = &[
    (
        "change-host-file",
        "landlock mediates no utimes: whoever may write to a file by its mode may change its times",
    ),
    (
        "change-read-only-piece",
        "landlock mediates no chmod: an owner's file can be changed though it cannot be written",
    ),
    ("see-host-process", "the host's processes can be seen"),
    (
        "have-bounding-set",
        "an ordinary user cannot empty it; no_new_privs makes it void",
    ),
    ("see-host-name", "no namespace of names"),
    ("see-host-cgroup", "no namespace of control groups"),
    ("see-interfaces", "the host's interfaces can be listed"),
    (
        "watch-host-file",
        "landlock mediates no stat: sizes and times can be asked for",
    ),
    ("read-kernel-secrets", "the host's /proc is not covered"),
    ("spin", "no control group bounds the processor"),
    (
        "be-reached",
        "a port that the kernel picks can be listened at, on every address",
    ),
];
