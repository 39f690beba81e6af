//! Wrappers: which options take an argument, and where the command begins.

use super::effect::Effect;

/// How a wrapper's arguments are read.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub names: &'static [&'static str],
    /// Options that take the next word.
    pub takes: &'static [&'static str],
    /// Words before the command.
    pub skips: usize,
    /// Options whose argument is a script.
    pub scripts: &'static [&'static str],
    /// `NAME=VALUE` may stand before the command.
    pub assigns: bool,
    /// The rest is joined to a script.
    pub joins: bool,
    /// Without a command it runs a shell.
    pub shell: bool,
    /// Subcommands, one of which has to stand first.
    pub verbs: &'static [&'static str],
    pub effect: Option<(Effect, &'static str)>,
}

const PLAIN: Shape = Shape {
    names: &[],
    takes: &[],
    skips: 0,
    scripts: &[],
    assigns: false,
    joins: false,
    shell: false,
    verbs: &[],
    effect: None,
};

const PRIVILEGE: Option<(Effect, &str)> = Some((Effect::RaisesPrivilege, "asks for another user's rights"));

pub(super) const SHAPES: &[Shape] = &[
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
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["doas"],
        takes: &["-u", "-C", "-a"],
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["pkexec"],
        takes: &["--user"],
        effect: PRIVILEGE,
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
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["su", "runuser"],
        takes: &["-s", "-g", "-G", "-w", "-u", "--shell", "--group", "--user"],
        skips: 1,
        scripts: &["-c", "--command", "--session-command"],
        shell: true,
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["gosu", "su-exec", "setuser"],
        skips: 1,
        effect: PRIVILEGE,
        ..PLAIN
    },
    Shape {
        names: &["sg"],
        skips: 1,
        scripts: &["-c"],
        joins: true,
        effect: PRIVILEGE,
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
        names: &["exec"],
        takes: &["-a"],
        ..PLAIN
    },
    Shape {
        names: &["xvfb-run"],
        takes: &[
            "-n",
            "-s",
            "-e",
            "-f",
            "-p",
            "-w",
            "--server-args",
            "--server-num",
            "--error-file",
            "--auth-file",
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
        names: &["entr", "reflex", "watchexec", "nodemon"],
        scripts: &["--exec"],
        takes: &[
            "-e", "-w", "-x", "--exts", "--watch", "--ext", "-i", "--ignore", "-d", "-r", "-g", "-s",
        ],
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
        names: &["hyperfine"],
        takes: &[
            "-r",
            "-w",
            "-m",
            "-M",
            "-N",
            "-L",
            "-P",
            "-n",
            "-i",
            "--runs",
            "--warmup",
            "--export-json",
            "--export-markdown",
        ],
        scripts: &["-p", "-c", "-s", "--prepare", "--cleanup", "--setup"],
        ..PLAIN
    },
    Shape {
        names: &["npx", "pnpx", "bunx"],
        takes: &["-p", "--package"],
        scripts: &["-c", "--call"],
        ..PLAIN
    },
    Shape {
        names: &["npm", "pnpm", "yarn", "bun"],
        takes: &[
            "-w",
            "--workspace",
            "--prefix",
            "-p",
            "--package",
            "--cwd",
            "-C",
            "--dir",
            "--filter",
            "-F",
        ],
        scripts: &["-c", "--call"],
        verbs: &["exec", "x", "dlx"],
        ..PLAIN
    },
    Shape {
        names: &[
            "poetry",
            "pipenv",
            "uv",
            "pdm",
            "rye",
            "hatch",
            "pixi",
            "conda",
            "mamba",
            "micromamba",
            "rustup",
            "dotenv",
            "doppler",
            "op",
            "infisical",
            "mise",
            "asdf",
            "direnv",
            "nix",
            "devbox",
            "opam",
            "stack",
            "cabal",
            "bundle",
            "chamber",
            "aws-vault",
            "composer",
            "envchain",
        ],
        takes: &[
            "-n",
            "-p",
            "-f",
            "-e",
            "--name",
            "--project",
            "--directory",
            "--with",
            "--python",
            "--extra",
            "--group",
            "-C",
            "-E",
            "--env-file",
            "--env",
            "--package",
            "--config",
        ],
        verbs: &["run", "exec", "run-script", "develop", "shell", "x"],
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
    Shape {
        names: &["faketime"],
        takes: &["-f"],
        skips: 1,
        ..PLAIN
    },
    Shape {
        names: &[
            "with-contenv",
            "wsl",
            "ts",
            "tsp",
            "coreutils",
            "xdg-terminal",
            "retry",
            "wait-for-it.sh",
        ],
        ..PLAIN
    },
    Shape {
        names: &["screen"],
        takes: &["-S", "-t", "-T", "-s", "-p", "-X", "-c", "-e", "-h"],
        ..PLAIN
    },
    Shape {
        names: &["tmux"],
        takes: &["-s", "-n", "-c", "-t", "-F", "-e", "-x", "-y", "-L", "-S", "-f"],
        verbs: &[
            "new-session",
            "new",
            "new-window",
            "neww",
            "split-window",
            "splitw",
            "send-keys",
            "send",
            "run-shell",
            "run",
            "respawn-pane",
            "if-shell",
        ],
        joins: true,
        ..PLAIN
    },
    Shape {
        names: &[
            "xterm",
            "urxvt",
            "konsole",
            "gnome-terminal",
            "xfce4-terminal",
            "alacritty",
            "kitty",
            "lxterminal",
        ],
        takes: &["-T", "-title", "-geometry", "-fn", "-bg", "-fg"],
        joins: true,
        ..PLAIN
    },
    Shape {
        names: &["nix-shell"],
        takes: &["-p", "-A", "-I"],
        scripts: &["--run", "--command"],
        skips: 99,
        ..PLAIN
    },
    Shape {
        names: &["cross-env", "env-cmd", "dotenvx"],
        takes: &["-f"],
        assigns: true,
        ..PLAIN
    },
    Shape {
        names: &["concurrently"],
        takes: &["-n", "-c", "--names", "--prefix-colors"],
        scripts: &[],
        joins: true,
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
