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
    process::{Command, Stdio},
};

use opencode_fsm::{
    sandbox::{Backend, Layer, Sandbox},
    wire::{Leftovers, Termination},
};
use support::{Scratch, backend, elf, in_docker, inside, install, outside, perl, plan, run, sh, text};

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

/// Connects (or sends) to every address that is named: `tcp4 PORT`, `tcp6 PORT`,
/// `udp4 PORT TEXT`, `path NAME`, `abstract NAME`.
const CONNECT: &str = r#"
    use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6);
    for (@ARGV) {
        my ($kind, $to, $text) = split / /;
        my ($family, $type, $address) =
            $kind eq "tcp6" ? (AF_INET6, SOCK_STREAM, pack_sockaddr_in6($to, inet_pton(AF_INET6, "::1"))) :
            $kind eq "tcp4" ? (AF_INET, SOCK_STREAM, pack_sockaddr_in($to, INADDR_LOOPBACK)) :
            $kind eq "udp4" ? (AF_INET, SOCK_DGRAM, pack_sockaddr_in($to, INADDR_LOOPBACK)) :
            $kind eq "abstract" ? (AF_UNIX, SOCK_STREAM, pack("Sa*", AF_UNIX, "\0$to")) :
            (AF_UNIX, SOCK_STREAM, pack_sockaddr_un($to));
        socket(my $s, $family, $type, 0) or print("$kind no socket: $!\n"), next;
        my $done = $text ? send($s, $text, 0, $address) : connect($s, $address);
        print "$kind ", $done ? "reached" : "refused", "\n";
    }
"#;

#[tokio::test]
async fn no_socket_of_the_host_can_be_reached() {
    let dir = Scratch::new();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a UDP socket");
    udp.set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .expect("a timeout");
    let udp_port = udp.local_addr().expect("an address").port();
    let received = || {
        let mut text = [0; 64];
        let (n, _) = udp.recv_from(&mut text).expect("a datagram");
        String::from_utf8_lossy(&text[..n]).into_owned()
    };
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for (kind, at) in [("tcp4", "127.0.0.1:0"), ("tcp6", "[::1]:0")] {
        // A host without IPv6 has nothing to reach.
        if let Ok(listener) = TcpListener::bind(at) {
            addresses.push(format!("{kind} {}", listener.local_addr().expect("an address").port()));
            listeners.push(listener);
        }
    }
    assert!(!listeners.is_empty());
    let path = dir.path().join("socket");
    let _by_path = UnixListener::bind(&path).expect("a listener");
    addresses.push(format!("path {}", path.display()));
    let name = format!("opencode-fsm-test-{}", std::process::id());
    let _by_name =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a listener");
    addresses.push(format!("abstract {name}"));
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();

    let reached = outside(CONNECT, &all);
    assert!(
        reached.lines().count() == all.len() && reached.lines().all(|line| line.ends_with(" reached")),
        "control: {reached}"
    );
    let say = |text: &str| format!("udp4 {udp_port} {text}");
    outside(CONNECT, &[&say("control")]);
    assert_eq!(received(), "control");

    for off in [&[][..], &[Layer::Landlock, Layer::Seccomp]] {
        let (dir, _jail, sandbox) = jailed("connect", off).await;
        // The host's sockets in a layer are files only: not the host's any more.
        let in_layer = dir.path().join("lower/socket");
        let _ = std::fs::remove_file(&in_layer);
        let _in_layer = UnixListener::bind(&in_layer).expect("a listener");
        std::fs::set_permissions(&in_layer, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
        let mut tries = all.clone();
        tries.push("path /workspace/socket");
        let reached = inside(&sandbox, CONNECT, &tries).await;
        assert!(
            reached.lines().count() == tries.len() && reached.lines().all(|line| line.ends_with(" refused")),
            "{off:?}: {reached}"
        );
        // What is sent inside stays there: the next datagram that comes is our own.
        inside(&sandbox, CONNECT, &[&say("escaped")]).await;
        outside(CONNECT, &[&say("sentinel")]);
        assert_eq!(received(), "sentinel");
        // The program itself can connect, to what the sandbox itself serves.
        let own = sandbox.listen(0).await.expect("a listener");
        let port = own.local_addr().expect("an address").port();
        assert_eq!(
            inside(&sandbox, CONNECT, &[&format!("tcp4 {port}")]).await,
            "tcp4 reached"
        );
        let interfaces = run(&sandbox, "tail -n +3 /proc/net/dev | cut -d: -f1").await;
        assert_eq!(text(&interfaces).trim(), "lo");
    }
}

/// Which wall refuses a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Guard {
    /// Seccomp alone: without it the kernel answers otherwise.
    Seccomp,
    /// Seccomp, and without it namespaces, capabilities or landlock.
    Twice,
    /// Seccomp; without it kernels and their settings differ.
    Varies,
    /// Not seccomp: the object, or landlock.
    Target,
}
use Guard::{Seccomp, Target, Twice, Varies};

/// Calls as perl arguments of `syscall`, numbers of x86-64 (syscalls(2)), and the
/// `errno` that is seen inside.
const CALLS: &[(&str, &str, i32, Guard)] = &[
    ("ptrace attach pid 1", "101, 16, 1, 0, 0", libc::EPERM, Target),
    ("ptrace seize pid 1", "101, 0x4206, 1, 0, 0", libc::EPERM, Target),
    ("ptrace attach warden", "101, 16, $warden, 0, 0", libc::EPERM, Target),
    (
        "process_vm_readv pid 1",
        "310, 1, $iov, 1, $iov, 1, 0",
        libc::EPERM,
        Target,
    ),
    (
        "process_vm_writev pid 1",
        "311, 1, $iov, 1, $iov, 1, 0",
        libc::EPERM,
        Twice,
    ),
    ("kcmp with pid 1", "312, 1, $$, 0, 0, 0", libc::ENOSYS, Twice),
    (
        "pidfd_getfd of pid 1",
        "438, syscall(434, 1, 0), 0, 0",
        libc::ENOSYS,
        Twice,
    ),
    ("mount tmpfs", "165, 'none', '/tmp', 'tmpfs', 0, ''", libc::EPERM, Twice),
    ("bind mount", "165, '/usr', '/tmp', '', 4096, ''", libc::EPERM, Twice),
    (
        "remount read-write",
        "165, 'none', '/usr', '', 4096 | 32, ''",
        libc::EPERM,
        Twice,
    ),
    ("umount", "166, '/tmp', 2", libc::EPERM, Twice),
    ("pivot_root", "155, '/workspace', '/workspace'", libc::EPERM, Twice),
    ("chroot", "161, '/tmp'", libc::EPERM, Twice),
    ("open_tree", "428, -100, '/usr', 1", libc::EPERM, Twice),
    ("fsopen", "430, 'tmpfs', 0", libc::EPERM, Twice),
    ("mount_setattr", "442, -100, '/usr', 0, $zeros, 32", libc::EPERM, Twice),
    ("unshare user", "272, 0x10000000", libc::EPERM, Twice),
    ("unshare mount", "272, 0x20000", libc::EPERM, Twice),
    ("unshare net", "272, 0x40000000", libc::EPERM, Twice),
    ("clone user", "56, 0x10000000 | 17, 0, 0, 0, 0", libc::EPERM, Twice),
    ("clone net", "56, 0x40000000 | 17, 0, 0, 0, 0", libc::EPERM, Twice),
    (
        "clone3 user",
        "435, pack('Qx24Qx24x24', 0x10000000, 17), 88",
        libc::ENOSYS,
        Twice,
    ),
    ("setns", "308, fileno($netns), 0", libc::EPERM, Twice),
    (
        "bpf map",
        "321, 0, pack('LLLLx48', 2, 4, 4, 1), 64",
        libc::EPERM,
        Varies,
    ),
    ("io_uring_setup", "425, 0, $zeros", libc::EPERM, Seccomp),
    ("keyctl session keyring", "250, 0, -3, 1", libc::EPERM, Seccomp),
    ("add_key", "248, 'user', 'probe', 'x', 1, -3", libc::EPERM, Seccomp),
    ("request_key", "249, 'user', 'probe', 0, -3", libc::EPERM, Seccomp),
    (
        "perf_event_open",
        "298, pack('LL', 1, 128) . $zeros, 0, -1, -1, 0",
        libc::EPERM,
        Seccomp,
    ),
    ("userfaultfd user mode", "323, 1", libc::EPERM, Seccomp),
    ("memfd_secret", "447, 0", libc::ENOSYS, Seccomp),
    ("modify_ldt", "154, 0, $zeros, 16", libc::ENOSYS, Seccomp),
    (
        "name_to_handle_at",
        "303, -100, '/', $zeros, $zeros, 0",
        libc::EPERM,
        Seccomp,
    ),
    (
        "open_by_handle_at",
        "304, fileno($netns), pack('Ll', 8, 1) . $zeros, 0",
        libc::EPERM,
        Twice,
    ),
    ("kexec_load", "246, 0, 0, 0, 0", libc::EPERM, Twice),
    ("kexec_file_load", "320, 0, 0, 0, '', 4", libc::EPERM, Twice),
    ("init_module", "175, $zeros, 64, ''", libc::EPERM, Twice),
    ("finit_module", "313, 0, '', 0", libc::EPERM, Twice),
    ("delete_module", "176, 'probe', 0", libc::EPERM, Twice),
    ("swapon", "167, '/workspace/hello', 0", libc::EPERM, Twice),
    ("syslog", "103, 3, $zeros, 64", libc::EPERM, Twice),
    ("settimeofday", "164, $zeros, 0", libc::EPERM, Twice),
    ("sethostname", "170, 'probe', 5", libc::EPERM, Twice),
    ("iopl", "172, 3", libc::EPERM, Twice),
    ("fanotify_init", "300, 4, 0", libc::EPERM, Twice),
    ("personality read implies exec", "135, 0x400000", libc::EPERM, Seccomp),
    ("ioctl TIOCSTI", "16, 0, 0x5412, 'x'", libc::EPERM, Seccomp),
    ("AF_PACKET", "41, 17, 3, 0", libc::EAFNOSUPPORT, Twice),
    ("AF_VSOCK", "41, 40, 1, 0", libc::EAFNOSUPPORT, Varies),
    ("AF_ALG", "41, 38, 5, 0", libc::EAFNOSUPPORT, Varies),
    ("AF_INET raw", "41, 2, 3, 1", libc::EPROTONOSUPPORT, Twice),
    ("MPTCP", "41, 2, 1, 262", libc::EPROTONOSUPPORT, Varies),
    ("netlink sock_diag", "41, 16, 3, 4", libc::EAFNOSUPPORT, Seccomp),
    ("netlink uevent", "41, 16, 3, 15", libc::EAFNOSUPPORT, Seccomp),
    ("netlink generic", "41, 16, 3, 16", libc::EAFNOSUPPORT, Seccomp),
    ("x32 getppid", "0x40000000 + 110", libc::ENOSYS, Target),
    (
        "mknod block",
        "133, '/workspace/b', 060600, 0xfe00",
        libc::EACCES,
        Target,
    ),
    ("mknod char", "133, '/workspace/c', 020600, 0x103", libc::EACCES, Target),
    ("mknod in /tmp", "133, '/tmp/c', 020600, 0x103", libc::EACCES, Target),
    (
        "capset all",
        "126, pack('LL', 0x20080522, 0), pack('L6', (0xffffffff) x 6)",
        libc::ENOSYS,
        Twice,
    ),
    ("setuid 0", "105, 0", libc::ENOSYS, Twice),
    ("prlimit of pid 1", "302, 1, 7, 0, $zeros", libc::EPERM, Seccomp),
    (
        "prlimit of a warden",
        "302, $warden, 7, 0, $zeros",
        libc::EPERM,
        Seccomp,
    ),
    ("setresuid 0", "117, 0, 0, 0", libc::EINVAL, Target),
    ("setgroups", "116, 0, 0", libc::ENOSYS, Twice),
];

/// One call a line and process, so that none spoils the next: `name=errno`, 0 for success.
fn probes() -> String {
    let mut program = r#"
        use POSIX ();
        my $warden = getppid;
        my $zeros = "\0" x 128;
        my $word = "\0" x 8;
        my $iov = pack("PQ", $word, 8);
        sysopen(my $netns, "/proc/self/ns/net", 0) or die;
        sub try {
            my ($name, $nr, @args) = @_;
            my $pid = fork;
            if (!$pid) {
                $! = 0;
                my $errno = syscall($nr, @args) == -1 ? $! + 0 : 0;
                syswrite STDOUT, "$name=$errno\n";
                POSIX::_exit(0);
            }
            waitpid $pid, 0;
        }
    "#
    .to_owned();
    for (name, call, ..) in CALLS {
        program += &format!("try('{name}', {call});\n");
    }
    program
}

fn answers(text: &str) -> BTreeMap<&str, i32> {
    text.lines()
        .map(|line| {
            let (name, errno) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
            (name, errno.parse().unwrap_or_else(|_| panic!("{line}")))
        })
        .collect()
}

/// Who refuses a call where the guest is another id and no user namespace is nested, but
/// the engine loads a filter too.
fn in_container(name: &str, guard: Guard) -> Guard {
    match name {
        _ if !in_docker() => guard,
        "unshare user" | "clone user" | "clone3 user" => Seccomp,
        "prlimit of pid 1" | "prlimit of a warden" => Twice,
        _ => guard,
    }
}

#[tokio::test]
async fn every_dangerous_call_is_refused_and_mostly_twice() {
    let (_dir, _jail, full) = jailed("calls", &[]).await;
    let full = inside(&full, &probes(), &[]).await;
    let (_dir, _jail, bare) = jailed("calls-bare", &[Layer::Seccomp]).await;
    let bare = inside(&bare, &probes(), &[]).await;
    let (full, bare) = (answers(&full), answers(&bare));
    let mut wrong = Vec::new();
    for (name, _, errno, guard) in CALLS {
        let (with, without) = (full.get(name).copied(), bare.get(name).copied());
        if in_docker() && *name == "x32 getppid" {
            // The engine's filter kills whoever calls by a foreign table.
            assert_eq!(with, None);
            continue;
        }
        // Root's id exists in a container, and is not to be had; in the jail there is none.
        let errno = if in_docker() && *name == "setresuid 0" {
            libc::EPERM
        } else {
            *errno
        };
        let holds = with == Some(errno)
            && match in_container(name, *guard) {
                Seccomp => without.is_some() && without != with,
                Twice => without.is_some_and(|errno| errno != 0),
                Varies => true,
                Target => without == with,
            };
        if !holds {
            wrong.push(format!("{name}: {guard:?}, with {with:?}, without {without:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `mov eax, 1; mov ebx, 42; int 0x80`: `exit(42)` by the 32-bit table.
const INT_80: &[u8] = b"\xb8\x01\0\0\0\xbb\x2a\0\0\0\xcd\x80";

#[tokio::test]
async fn the_32_bit_door_kills() {
    let end = async |off: &[Layer]| {
        let (dir, _jail, sandbox) = jailed("arch", off).await;
        install(dir.path(), "int80", &elf(INT_80));
        run(&sandbox, "exec ./int80").await.end
    };
    assert_eq!(end(&[]).await, Termination::Signal(libc::SIGSYS));
    // A kernel without IA32_EMULATION has no such door: then the program dies of a fault.
    let open = end(&[Layer::Seccomp]).await;
    assert!(
        [Termination::Code(42), Termination::Signal(libc::SIGSEGV)].contains(&open),
        "control: {open:?}"
    );
}

#[tokio::test]
async fn device_nodes_are_refused_by_landlock_and_by_the_user_namespace() {
    let program = r#"
        for ([fifo => 010600, 0], [block => 060600, 0xfe00], [char => 020600, 0x103]) {
            my ($name, $mode, $number) = @$_;
            $! = 0;
            syscall(133, "/workspace/$name", $mode, $number);
            print "$name=", $! + 0, "\n";
        }
    "#;
    for (off, errno) in [(&[][..], libc::EACCES), (&[Layer::Landlock], libc::EPERM)] {
        let (_dir, _jail, sandbox) = jailed("mknod", off).await;
        let made = inside(&sandbox, program, &[]).await;
        // The pipe is the control: the same call makes it.
        assert_eq!(made, format!("fifo=0\nblock={errno}\nchar={errno}"), "{off:?}");
        assert_eq!(run(&sandbox, "rm fifo").await.end, Termination::Code(0));
        let devices = "ls /dev | grep -v mqueue; find / -xdev -type b 2>/dev/null; ls -A /dev/shm /dev/pts";
        let devices = run(&sandbox, devices).await;
        assert_eq!(
            text(&devices).split_whitespace().collect::<Vec<_>>().join(" "),
            "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero /dev/pts: ptmx /dev/shm:"
        );
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

#[tokio::test]
async fn stages_cannot_reach_into_each_other() {
    // Not even a daemon of `deploy`, of the same user in the same namespaces:
    // every stage is a landlock domain of its own.
    for (off, refused) in [(&[][..], true), (&[Layer::Landlock], false)] {
        let (_dir, _jail, sandbox) = jailed("stages", off).await;
        let mut daemon = sh("sleep 600 & echo $!");
        daemon.leftovers = Leftovers::Keep;
        let daemon = sandbox.exec(daemon).await.expect("exec").wait().await.expect("wait");
        let pid = text(&daemon).trim().to_owned();
        let attach = "print syscall(101, 16, 0 + $ARGV[0], 0, 0) == -1 ? $! + 0 : 0; print ' ', kill 0, $ARGV[0]";
        let got = inside(&sandbox, attach, &[&pid]).await;
        assert_eq!(got, if refused { "1 0" } else { "0 1" }, "{off:?}");
    }
}

#[tokio::test]
async fn setuid_programs_and_user_namespaces_give_nothing() {
    let (_dir, _jail, sandbox) = jailed("setuid", &[]).await;
    let status = "grep -E '^(NoNewPrivs|Seccomp|Groups):' /proc/self/status | tr -d '\\n'";
    let held = text(&run(&sandbox, status).await);
    assert!(
        held.contains("NoNewPrivs:\t1") && held.contains("Seccomp:\t2"),
        "{held}"
    );
    let host = std::fs::read_to_string("/proc/self/status").expect("a status");
    assert!(
        host.contains("NoNewPrivs:\t0"),
        "control: this test itself may gain privileges"
    );

    // `su` belongs to root and is set-uid on the host; the dynamic linker tells
    // whom the kernel made of the process (ld.so(8), LD_SHOW_AUXV).
    use std::os::unix::fs::MetadataExt;
    let su = std::fs::metadata("/usr/bin/su").expect("su");
    assert_eq!((su.uid(), su.mode() & 0o4000), (0, 0o4000), "control");
    let became = text(&run(&sandbox, "LD_SHOW_AUXV=1 /usr/bin/su --version").await);
    let auxv: Vec<String> = became
        .lines()
        .filter(|line| {
            ["AT_UID", "AT_EUID", "AT_SECURE"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(""))
        .collect();
    let id = text(&run(&sandbox, "id -u").await).trim().to_owned();
    assert_ne!(id, "0");
    let expected = [
        format!("AT_UID:{id}"),
        format!("AT_EUID:{id}"),
        "AT_SECURE:0".to_owned(),
    ];
    assert_eq!(auxv, expected, "{became}");
    if in_docker() {
        // No namespace is nested in a container: there the filters refuse, the engine's and ours.
        let refused = text(&run(&sandbox, "unshare --user true").await);
        assert!(refused.contains("Operation not permitted"), "{refused}");
        return;
    }

    // Without seccomp the nested namespace's count of zero refuses.
    let (_dir, _jail, bare) = jailed("userns", &[Layer::Seccomp]).await;
    for (sandbox, why) in [
        (&sandbox, "Operation not permitted"),
        (&bare, "No space left on device"),
    ] {
        let refused = run(sandbox, "unshare --user true").await;
        assert_ne!(refused.end, Termination::Code(0));
        assert!(text(&refused).contains(why), "{}", text(&refused));
    }
}

/// Names the processes whose command line holds a text, given reversed so that
/// it does not find itself.
const LOOK: &str = r#"
    my $text = reverse shift;
    for my $path (glob "/proc/[0-9]*/cmdline") {
        open(my $f, "<", $path) or next;
        print "found\n" if index(join("", <$f>), $text) >= 0;
    }
    print scalar(() = glob "/proc/[0-9]*"), "\n";
"#;

#[tokio::test]
async fn processes_descriptors_and_environment_of_the_host_stay_outside() {
    let (_dir, _jail, sandbox) = jailed("inherited", &[]).await;
    let marker = format!("host-process-{}", std::process::id());
    let mut process = Command::new("cat")
        .arg("-")
        .args(["--", &marker])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cat runs");
    let reversed: String = marker.chars().rev().collect();
    assert!(outside(LOOK, &[&reversed]).starts_with("found\n"), "control");
    // init, the stage's warden and perl.
    assert_eq!(inside(&sandbox, LOOK, &[&reversed]).await, "3");
    drop(process.stdin.take());
    process.wait().expect("cat ends");

    // This descriptor is open in the test and would cross an exec.
    let (kept, mut told) = std::io::pipe().expect("pipe");
    nix::fcntl::fcntl(&kept, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("fcntl");
    let control = Command::new("ls").arg("/proc/self/fd").output().expect("ls runs");
    let number = std::os::fd::AsRawFd::as_raw_fd(&kept).to_string();
    assert!(
        String::from_utf8_lossy(&control.stdout).lines().any(|fd| fd == number),
        "control"
    );
    let (_dir, _jail, sandbox) = jailed("descriptors", &[]).await;
    // 3 is the directory that is being listed.
    assert_eq!(text(&run(&sandbox, "exec ls /proc/self/fd").await), "0\n1\n2\n3\n");
    told.write_all(b"still open").expect("write");
    drop(told);
    let mut got = String::new();
    { kept }.read_to_string(&mut got).expect("read");
    assert_eq!(got, "still open");

    let environment = sandbox.exec(perl("print map { \"$_=$ENV{$_}\\n\" } sort keys %ENV", &[]));
    let environment = text(&environment.await.expect("exec").wait().await.expect("wait"));
    assert_eq!(
        environment,
        "HOME=/home/agent\nPATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n"
    );
}
