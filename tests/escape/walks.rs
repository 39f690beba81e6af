//! Walks over all that is inside: whole trees and every file of a supervisor, where the suite tries one path each.

use std::process::Command;

use opencode_fsm::{
    sandbox::{Backend, Layer, Sandbox},
    wire::Termination,
};

use crate::support::{Scratch, backend, in_docker, inside, outside, plan, run, text};

/// A jail over a fresh tree, some layers left off. To be dropped from the last to the first.
async fn jailed(label: &str, off: &[Layer]) -> (Scratch, Backend, Sandbox) {
    let dir = Scratch::new();
    let backend = backend(off).await;
    let label = format!("{label}{}", off.len());
    let sandbox = backend.create(&plan(dir.path(), &label)).await.expect("a sandbox");
    (dir, backend, sandbox)
}

/// Prints what it can read of the first line of every file that is named.
const READ: &str = r#"
    for (@ARGV) { s/PARENT/getppid/e; my $f; print open($f, "<", $_) ? "$_ READ " . <$f> : "$_ no\n" }
"#;

#[tokio::test]
async fn no_path_leads_to_a_file_of_the_host() {
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
        for way in [
            "",
            "/proc/1/root",
            "/proc/1/cwd",
            "/proc/PARENT/root",
            "/proc/self/root/../..",
        ] {
            paths.push(format!("{way}{path}"));
        }
    }
    let (dir, _jail, sandbox) = jailed("read", &[]).await;
    let canary = hidden[0].path().join(&name);
    // Links are made in the tree beforehand and by the stage: they lead inside.
    std::os::unix::fs::symlink(&canary, dir.path().join("lower/planted")).expect("symlink");
    let canary = canary.to_str().expect("UTF-8");
    assert_eq!(
        run(&sandbox, &format!("ln -s {canary} made; ln -s / root")).await.end,
        Termination::Code(0)
    );
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
    let host = Command::new("sh")
        .args(["-c", &find(hidden[0].path().to_str().expect("UTF-8"))])
        .output();
    assert!(!host.expect("find runs").stdout.is_empty(), "control");
    let anywhere = text(&run(&sandbox, &find("/")).await);
    assert_eq!(anywhere, "");
    if in_docker() {
        // The rest of the root is the image's.
        assert_eq!(
            text(&run(&sandbox, "ls -A /home /sys").await),
            "/home:\nagent\n\n/sys:\n"
        );
        return;
    }
    let homes = run(
        &sandbox,
        "ls -A /home; ls -d /root /etc/shadow /etc/gshadow /var /sys /boot /srv /opt 2>/dev/null",
    )
    .await;
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
    let held = "dir /dev/shm\ndir /home/agent\ndir /run\ndir /tmp\ndir /workspace\ntried many";
    // The mounts hold alone; landlock stands behind them.
    for off in [&[][..], &[Layer::Landlock], &[Layer::Landlock, Layer::Seccomp]] {
        let (_dir, _jail, sandbox) = jailed("write", off).await;
        let wrote = inside(&sandbox, WRITE, &[]).await;
        let mut lines: Vec<_> = wrote.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines.join("\n"), held, "{off:?}");
    }
}

/// What a process may do to the one it is told, a line an attempt.
const MEDDLE: &str = r#"
    my $at = shift;
    $at = getppid if $at eq "parent";
    for (qw(environ mem maps auxv stack syscall), "map_files", "task/$at/mem") {
        my $f;
        my $path = "/proc/$at/$_";
        my $got = -d $path ? opendir($f, $path) : open($f, "<", $path) && defined sysread($f, my $byte, 1);
        print "read $_\n" if $got or ($_ eq "mem" and open($f, "+<", $path));
    }
    opendir(my $d, "/proc/$at/fd") and print "list fd\n";
    for (qw(root cwd exe fd/0 fd/3 ns/net ns/user)) { print "follow $_\n" if defined readlink "/proc/$at/$_" }
    for (qw(oom_score_adj comm coredump_filter)) { my $f; print "write $_\n" if open($f, ">", "/proc/$at/$_") }
    for (0, 10, 18) { print "signal $_\n" if kill $_, $at }
    my $limit = "\0" x 16;
    print "read limits\n" if syscall(302, 0 + $at, 7, 0, $limit) == 0;
    print "write limits\n" if syscall(302, 0 + $at, 7, $limit, 0) == 0;
    my $idle = pack("L", 0);
    print "renice\n" if syscall(141, 0, 0 + $at, 15) == 0;
    print "make idle\n" if syscall(144, 0 + $at, 5, $idle) == 0;
    print "done\n";
"#;

#[tokio::test]
async fn the_supervisors_cannot_be_read_signalled_or_limited() {
    let (_dir, _jail, sandbox) = jailed("meddle", &[]).await;
    for target in ["1", "parent"] {
        assert_eq!(inside(&sandbox, MEDDLE, &[target]).await, "done", "{target}");
    }
    // The same program on a process of its own stage gets everything, its limits apart.
    let own = format!("my $pid = fork || do {{ pause() while 1 }}; @ARGV = ($pid); use POSIX; {MEDDLE}; kill 9, $pid");
    let own = inside(&sandbox, &own, &[]).await;
    for got in [
        "read environ",
        "read mem",
        "list fd",
        "follow root",
        "signal 0",
        "write oom_score_adj",
        "renice",
        "make idle",
    ] {
        assert!(own.contains(got), "control: {got}: {own}");
    }
    assert_eq!(text(&run(&sandbox, "echo alive").await), "alive\n");
}
