//! Wrappers that change who a command is, or what it sees.

use super::{PLAIN, Shape};
use crate::policy::shell::effect::Effect;

const RIGHTS: Option<(Effect, &str)> = Some((Effect::RaisesPrivilege, "asks for another user's rights"));

pub(super) const PRIVILEGE: &[Shape] = &[
    Shape {
        names: &["sudo"],
        takes: &[
            "-u",
            "-g",
            "-h",
            "-p",
            "-C",
            "-r",
            "-t",
            "-T",
            "-U",
            "-D",
            "-R",
            "--user",
            "--group",
            "--prompt",
            "--chdir",
            "--host",
            "--chroot",
            "--close-from",
            "--role",
            "--type",
            "--other-user",
            "--command-timeout",
        ],
        assigns: true,
        shell: true,
        effect: RIGHTS,
        ..PLAIN
    },
    Shape {
        names: &["doas"],
        takes: &["-u", "-C", "-a"],
        effect: RIGHTS,
        ..PLAIN
    },
    Shape {
        names: &["pkexec"],
        takes: &["--user"],
        effect: RIGHTS,
        ..PLAIN
    },
    Shape {
        names: &["run0"],
        takes: &[
            "-u",
            "-g",
            "-D",
            "--user",
            "--unit",
            "--property",
            "--chdir",
            "--setenv",
        ],
        effect: RIGHTS,
        ..PLAIN
    },
    Shape {
        names: &["su", "runuser"],
        takes: &["-s", "-g", "-G", "-w", "-u", "--shell", "--group", "--user"],
        skips: 1,
        scripts: &["-c", "--command", "--session-command"],
        shell: true,
        effect: RIGHTS,
        ..PLAIN
    },
    Shape {
        names: &["gosu", "su-exec", "setuser"],
        skips: 1,
        effect: RIGHTS,
        ..PLAIN
    },
    Shape {
        names: &["sg"],
        skips: 1,
        scripts: &["-c"],
        joins: true,
        effect: RIGHTS,
        ..PLAIN
    },
    Shape {
        names: &["nsenter"],
        takes: &["-t", "-S", "-G", "--target", "--setuid", "--setgid"],
        shell: true,
        effect: Some((Effect::RaisesPrivilege, "enters another process's namespaces")),
        ..PLAIN
    },
    Shape {
        names: &["chroot"],
        takes: &["--userspec", "--groups"],
        skips: 1,
        shell: true,
        effect: Some((Effect::RaisesPrivilege, "changes the root")),
        ..PLAIN
    },
    Shape {
        names: &["unshare"],
        takes: &[
            "-R",
            "-w",
            "-S",
            "-G",
            "--root",
            "--wd",
            "--setuid",
            "--setgid",
            "--map-user",
            "--map-group",
        ],
        shell: true,
        ..PLAIN
    },
    Shape {
        names: &["setpriv"],
        takes: &[
            "--reuid",
            "--regid",
            "--groups",
            "--inh-caps",
            "--ambient-caps",
            "--bounding-set",
            "--securebits",
        ],
        ..PLAIN
    },
    Shape {
        names: &["capsh"],
        scripts: &["-c"],
        ..PLAIN
    },
    Shape {
        names: &["chpst", "softlimit"],
        takes: &[
            "-u", "-U", "-e", "-/", "-n", "-l", "-L", "-m", "-d", "-o", "-p", "-f", "-c", "-r", "-t",
        ],
        ..PLAIN
    },
    Shape {
        names: &["setuidgid", "s6-setuidgid", "s6-envuidgid", "envuidgid"],
        skips: 1,
        ..PLAIN
    },
];
