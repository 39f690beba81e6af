//! Wrappers of packages, terminals and tasks.

use super::{PLAIN, Shape};

pub(super) const TOOLS: &[Shape] = &[
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
        names: &["entr", "reflex", "watchexec", "nodemon"],
        scripts: &["--exec"],
        takes: &[
            "-e", "-w", "-x", "--exts", "--watch", "--ext", "-i", "--ignore", "-d", "-r", "-g", "-s",
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
];
