//! Wrappers that put a command together: from their arguments, their input, or a text.

use super::{PLAIN, Shape};

pub(super) const LISTS: &[Shape] = &[
    Shape {
        names: &["exec"],
        takes: &["-a"],
        ..PLAIN
    },
    Shape {
        names: &["busybox", "toybox"],
        ..PLAIN
    },
    Shape {
        names: &["command", "builtin"],
        ..PLAIN
    },
    Shape {
        names: &["watch"],
        takes: &["-n", "--interval", "-q", "-s"],
        joins: true,
        ..PLAIN
    },
    Shape {
        names: &["script"],
        takes: &["-E", "-I", "-O", "-B", "-T", "-m", "-o", "-t"],
        scripts: &["-c", "--command"],
        skips: 1,
        ..PLAIN
    },
    Shape {
        names: &["flock"],
        takes: &["-w", "-E", "--timeout", "--wait", "--conflict-exit-code"],
        skips: 1,
        scripts: &["-c", "--command"],
        ..PLAIN
    },
    Shape {
        names: &["sem"],
        takes: &["-j", "--id", "--jobs"],
        ..PLAIN
    },
    Shape {
        names: &["parallel"],
        takes: &[
            "-j",
            "-P",
            "-n",
            "-N",
            "-a",
            "-S",
            "-L",
            "-d",
            "--jobs",
            "--delay",
            "--joblog",
            "--timeout",
            "--retries",
            "--colsep",
            "--arg-file",
            "--max-procs",
            "--tmpdir",
            "--results",
        ],
        ..PLAIN
    },
    Shape {
        names: &["xargs", "gxargs"],
        takes: &[
            "-n",
            "-P",
            "-L",
            "-d",
            "-s",
            "-a",
            "-E",
            "-l",
            "-i",
            "--max-args",
            "--max-procs",
            "--delimiter",
            "--max-lines",
            "--arg-file",
            "--max-chars",
        ],
        ..PLAIN
    },
    Shape {
        names: &["env", "genv"],
        takes: &["-u", "-C", "-a", "--unset", "--chdir", "--argv0", "-P"],
        assigns: true,
        ..PLAIN
    },
    Shape {
        names: &["ssh", "autossh", "mosh"],
        takes: &[
            "-i", "-p", "-l", "-o", "-F", "-J", "-L", "-R", "-D", "-b", "-c", "-E", "-e", "-I", "-m", "-O", "-Q", "-S",
            "-W", "-w", "-B", "-M",
        ],
        skips: 1,
        joins: true,
        ..PLAIN
    },
];
