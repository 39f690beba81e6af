//! Ways out of the jail, tried as a stage with real programs.
//!
//! Every attack has a positive control: the very same program does what it is
//! after once the wall is not there, on the host or in a jail with a layer off.

mod support;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::Path,
    process::{Command, Stdio},
};

use opencode_fsm::{
    sandbox::{
        Sandbox,
        jail::{Jail, Layer},
    },
    wire::{Leftovers, Termination},
};
use support::{elf, inside, install, jail, outside, perl, plan, run, sh, text};

/// A jail over a fresh tree; the launcher must outlive the sandbox.
async fn jailed(dir: &Path, label: &str, off: &[Layer]) -> (Jail, Sandbox) {
    let jail = jail().without(off);
    let sandbox = jail.create(&plan(dir, label)).await.expect("a jail");
    (jail, sandbox)
}

fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir().expect("tempdir")
}

/// Prints what it can read of the first line of every file that is named.
const READ: &str = r#"
    for (@ARGV) { s/PARENT/getppid/e; my $f; print open($f, "<", $_) ? "$_ READ " . <$f> : "$_ no\n" }
"#;

#[tokio::test]
async fn no_path_leads_to_a_file_of_the_host() {
    let dir = tempdir();
    let name = format!("canary-{}", std::process::id());
    // Wherever the host's user may write: its temporary files, its home, /home, /root.
    let places = [std::env::temp_dir(), "/home".into(), "/root".into()];
    let homes = std::env::var_os("HOME").map(std::path::PathBuf::from);
    let hidden: Vec<tempfile::TempDir> = places
        .into_iter()
        .chain(homes)
        .filter_map(|place| tempfile::tempdir_in(place).ok())
        .collect();
    assert!(!hidden.is_empty());
    let mut paths = Vec::new();
    for place in &hidden {
        let path = place.path().join(&name);
        std::fs::write(&path, "secret\n").expect("write");
        let path = path.to_str().expect("UTF-8").to_owned();
        assert_eq!(outside(READ, &[&path]), format!("{path} READ secret"), "control");
        for way in ["", "/proc/1/root", "/proc/1/cwd", "/proc/PARENT/root", "/proc/self/root/../.."] {
            paths.push(format!("{way}{path}"));
        }
    }
    let (_jail, sandbox) = jailed(dir.path(), "read", &[]).await;
    let canary = hidden[0].path().join(&name);
    // Links are made in the tree beforehand and by the stage: they lead inside.
    std::os::unix::fs::symlink(&canary, dir.path().join("lower/planted")).expect("symlink");
    let canary = canary.to_str().expect("UTF-8");
    assert_eq!(run(&sandbox, &format!("ln -s {canary} made; ln -s / root")).await.end, Termination::Code(0));
    for link in ["planted", "made"] {
        paths.push(format!("/workspace/{link}"));
    }
    paths.push(format!("/workspace/root{canary}"));
    let found = inside(&sandbox, READ, &paths.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(found.lines().count(), paths.len(), "{found}");
    assert!(found.lines().all(|line| line.ends_with(" no")), "{found}");
    // The control of the link: it works where its target is.
    assert_eq!(
        text(&run(&sandbox, "ln -s /workspace/hello good && cat good").await),
        "hello\n"
    );

    let find = |root: &str| format!("find {root} -name '{name}' 2>/dev/null");
    let host = Command::new("sh").args(["-c", &find(hidden[0].path().to_str().expect("UTF-8"))]).output();
    assert!(!host.expect("find runs").stdout.is_empty(), "control");
    let anywhere = text(&run(&sandbox, &find("/")).await);
    assert_eq!(anywhere, "");
    let homes = run(&sandbox, "ls -A /home; ls -d /root /etc/shadow /etc/gshadow /var /sys /boot /srv /opt 2>/dev/null").await;
    assert_eq!(text(&homes), "agent\n");
}

/// Tries to make a file in every directory below `/`, to open every settings file for
/// writing, and names what it could.
const WRITE: &str = r#"
    my @todo = ("/"); my %seen; my $tried = 0;
    while (defined(my $at = shift @todo)) {
        my $file = ($at eq "/" ? "" : $at) . "/.probe-$$";
        $tried++;
        if (open(my $f, ">", $file)) { print "dir $at\n"; close $f; unlink $file }
        next if ($at =~ tr{/}{}) > 4;
        opendir(my $d, $at) or next;
        for (readdir $d) {
            next if /^\.\.?$/;
            my $path = ($at eq "/" ? "" : $at) . "/$_";
            next if -l $path or $path =~ m{^/(proc/\d+|dev/(?!shm|pts))};
            if (-d _) { push @todo, $path }
            # Masked files are /dev/null; a pressure file takes triggers for its opener only.
            elsif (-f _ and $path =~ m{^/(etc|proc(?!/pressure)|bin|sbin)/} and sysopen(my $f, $path, 1)) {
                print "file $path\n";
            }
        }
    }
    print "tried ", $tried > 100 ? "many" : $tried, "\n";
"#;

#[tokio::test]
async fn only_the_workspace_and_scratch_can_be_written() {
    let dir = tempdir();
    let held = "dir /dev/shm\ndir /home/agent\ndir /run\ndir /tmp\ndir /workspace\ntried many";
    // The mounts hold alone; landlock stands behind them.
    for off in [&[][..], &[Layer::Landlock], &[Layer::Landlock, Layer::Seccomp]] {
        let (_jail, sandbox) = jailed(dir.path(), &format!("write{}", off.len()), off).await;
        let wrote = inside(&sandbox, WRITE, &[]).await;
        let mut lines: Vec<_> = wrote.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines.join("\n"), held, "{off:?}");
    }
}
