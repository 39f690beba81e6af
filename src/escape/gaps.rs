//! What the tier without namespaces lets through, which its report on walls says as well.

/// Attempts by name, and why.
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
