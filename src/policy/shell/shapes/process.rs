//! Wrappers that change how a process runs: priority, time, streams, tracing.

use super::{PLAIN, Shape};

pub(super) const PROCESS: &[Shape] = &[
    Shape {
        names: &[
            "nohup",
            "setsid",
            "chronic",
            "unbuffer",
            "fakeroot",
            "dbus-run-session",
            "catchsegv",
            "linux32",
            "linux64",
            "proot",
            "torsocks",
            "proxychains",
            "proxychains4",
            "eatmydata",
            "rlwrap",
            "firejail",
            "winpty",
            "noglob",
            "nocorrect",
            "ccache",
            "sccache",
            "distcc",
            "icecc",
            "tini",
            "dumb-init",
            "catatonit",
            "aa-exec",
            "runcon",
        ],
        ..PLAIN
    },
    Shape {
        names: &["ltrace", "caffeinate", "cgexec"],
        takes: &["-e", "-o", "-p", "-s", "-n", "-u", "-l", "-t", "-w", "-g"],
        ..PLAIN
    },
    Shape {
        names: &["setarch"],
        skips: 1,
        ..PLAIN
    },
    Shape {
        names: &["nice"],
        takes: &["-n", "--adjustment"],
        ..PLAIN
    },
    Shape {
        names: &["ionice"],
        takes: &["-c", "-n", "-p", "-P", "-u", "--class", "--classdata"],
        ..PLAIN
    },
    Shape {
        names: &["chrt"],
        takes: &["-T", "-P", "-D"],
        skips: 1,
        ..PLAIN
    },
    Shape {
        names: &["taskset"],
        skips: 1,
        ..PLAIN
    },
    Shape {
        names: &["numactl", "prlimit", "choom", "uclampset", "schedtool"],
        takes: &["-n", "-m", "-N", "-C", "-p"],
        ..PLAIN
    },
    Shape {
        names: &["stdbuf"],
        takes: &["-i", "-o", "-e", "--input", "--output", "--error"],
        ..PLAIN
    },
    Shape {
        names: &["timeout", "gtimeout"],
        takes: &["-s", "-k", "--signal", "--kill-after"],
        skips: 1,
        ..PLAIN
    },
    Shape {
        names: &["time", "gtime"],
        takes: &["-f", "-o", "--format", "--output"],
        ..PLAIN
    },
    Shape {
        names: &["strace"],
        takes: &[
            "-e", "-o", "-p", "-s", "-a", "-O", "-S", "-u", "-E", "-P", "-I", "-b", "-X", "--trace", "--output",
        ],
        ..PLAIN
    },
    Shape {
        names: &["perf"],
        takes: &["-e", "-o", "-p", "-F", "-C", "-g", "--call-graph"],
        verbs: &["stat", "record", "trace", "mem", "sched", "lock"],
        ..PLAIN
    },
    Shape {
        names: &[
            "valgrind",
            "rr",
            "heaptrack",
            "memusage",
            "samply",
            "uftrace",
            "gprofng",
        ],
        takes: &["-o"],
        ..PLAIN
    },
    Shape {
        names: &["systemd-run", "systemd-inhibit", "systemd-cat"],
        takes: &[
            "-p",
            "-u",
            "-t",
            "-E",
            "--unit",
            "--property",
            "--uid",
            "--gid",
            "--slice",
            "--setenv",
            "-M",
            "-H",
        ],
        ..PLAIN
    },
    Shape {
        names: &["start-stop-daemon"],
        takes: &[
            "-p",
            "-u",
            "-g",
            "-c",
            "-n",
            "-r",
            "-d",
            "-N",
            "--pidfile",
            "--chuid",
            "--chdir",
            "--name",
            "--user",
        ],
        scripts: &["-x", "--exec", "-a", "--startas"],
        ..PLAIN
    },
    Shape {
        names: &[
            "ld.so",
            "ld-linux.so.2",
            "ld-linux-x86-64.so.2",
            "ld-linux-aarch64.so.1",
            "ld-musl-x86_64.so.1",
        ],
        takes: &[
            "--library-path",
            "--preload",
            "--argv0",
            "--audit",
            "--inhibit-rpath",
            "--glibc-hwcaps-mask",
        ],
        ..PLAIN
    },
    Shape {
        names: &["faketime"],
        takes: &["-f"],
        skips: 1,
        ..PLAIN
    },
];
