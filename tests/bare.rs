//! The tier without namespaces: its rules, tried as a stage with real programs, and the
//! life of stages in it. Each attack has its control on the host or inside.

mod support;

use std::{
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use opencode_fsm::{
    policy::{SandboxPlan, Tier},
    sandbox::{ExecOutcome, ExecSpec, Sandbox, WallState, bare::Bare},
    tree::Place,
    wire::{Leftovers, Termination},
};
use support::{PROGRAM, Scratch, outside, perl, plan, sh, text};

const OK: Termination = Termination::Code(0);

/// A sandbox without namespaces over a fresh tree, though this host may give more.
async fn bare_with(label: &str, change: impl FnOnce(&mut SandboxPlan)) -> (Scratch, Sandbox) {
    let dir = Scratch::new();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).expect("chmod");
    let mut plan = SandboxPlan {
        min_tier: Tier::Landlock,
        ..plan(dir.path(), label)
    };
    change(&mut plan);
    let bare = Bare::with_program(Path::new(PROGRAM), "left off by a test");
    let sandbox = bare.create(&plan).await.expect("a sandbox");
    (dir, sandbox)
}

async fn bare(label: &str) -> (Scratch, Sandbox) {
    bare_with(label, |_| {}).await
}

/// A command at the places of this sandbox.
fn here(sandbox: &Sandbox, spec: ExecSpec) -> ExecSpec {
    let inside = sandbox.inside();
    let mut spec = ExecSpec {
        cwd: inside.workspace.clone(),
        ..spec
    };
    spec.env.retain(|(name, _)| name == "PATH");
    for (name, value) in [("HOME", &inside.home), ("TMPDIR", &inside.tmp)] {
        spec.env.push((name.to_owned(), value.clone()));
    }
    spec
}

async fn end(sandbox: &Sandbox, spec: ExecSpec) -> ExecOutcome {
    let running = sandbox.exec(here(sandbox, spec)).await.expect("exec");
    running.wait().await.expect("wait")
}

async fn run(sandbox: &Sandbox, script: &str) -> ExecOutcome {
    end(sandbox, sh(script)).await
}

async fn inside(sandbox: &Sandbox, program: &str, args: &[&str]) -> String {
    text(&end(sandbox, perl(program, args)).await).trim().to_owned()
}

/// Whether a process of this host has the text in its command line.
fn lives(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| line.split(|b| *b == 0).any(|word| word == mark.as_bytes()))
}

#[tokio::test]
async fn a_stage_works_on_a_copy_with_its_own_home_and_no_power() {
    let (dir, sandbox) = bare("work").await;
    let report = sandbox.walls();
    assert_eq!(report.tier, Tier::Landlock);
    let state = |name: &str| {
        let wall = report.walls.iter().find(|wall| wall.name.starts_with(name));
        wall.unwrap_or_else(|| panic!("{name}")).state.clone()
    };
    assert!(matches!(state("namespaces"), WallState::Absent(why) if why == "left off by a test"));
    assert!(matches!(state("network"), WallState::Degraded(_)));
    assert_eq!(state("seccomp"), WallState::Enforced);

    let work = "cat hello && echo changed > hello && echo h > $HOME/h && echo t > $TMPDIR/t && mkdir d && mv hello d && \
                chmod 600 d/hello && id -u && cat /proc/self/status";
    let outcome = run(&sandbox, work).await;
    let out = text(&outcome);
    assert_eq!(outcome.end, OK, "{out}");
    assert!(out.starts_with("hello\n"), "{out}");
    for none in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(out.contains(&format!("{none}:\t0000000000000000")), "{none}: {out}");
    }
    assert!(out.contains("NoNewPrivs:\t1") && out.contains("Seccomp:\t2"), "{out}");
    let uid = nix::unistd::geteuid();
    let expected = if uid.is_root() {
        opencode_fsm::sandbox::SANDBOX_UID
    } else {
        uid.as_raw()
    };
    assert!(out.contains(&format!("\n{expected}\n")), "{out}");
    let Place::Copy(tree) = sandbox.place() else {
        panic!("no copy");
    };
    assert_eq!(
        std::fs::read_to_string(tree.join("d/hello")).expect("the copy"),
        "changed\n"
    );
    let lower = std::fs::read_to_string(dir.path().join("lower/hello"));
    assert_eq!(lower.expect("the layer"), "hello\n");
    sandbox.destroy().await.expect("destroyed");
}

const READ: &str = r#"
    for (@ARGV) {
        my ($f, $line) = (undef, "");
        my $got = -d $_ ? opendir($f, $_) : open($f, "<", $_) && ($line = <$f>);
        chomp $line;
        print "$_ ", $got ? "READ $line\n" : "no\n";
    }
"#;

#[tokio::test]
async fn no_file_of_the_host_or_of_another_sandbox_can_be_read() {
    let (other_dir, other) = bare("other").await;
    assert_eq!(
        run(&other, "echo theirs > secret; chmod 644 secret; chmod 755 . $HOME")
            .await
            .end,
        OK
    );
    let (dir, sandbox) = bare("read").await;
    let places = [
        std::env::temp_dir(),
        "/home".into(),
        "/root".into(),
        "/var/tmp".into(),
        "/dev/shm".into(),
    ];
    let homes = std::env::var_os("HOME").map(std::path::PathBuf::from);
    let hidden: Vec<tempfile::TempDir> = places
        .into_iter()
        .chain(homes)
        .filter_map(|place| tempfile::tempdir_in(place).ok())
        .collect();
    let mut paths: Vec<String> = Vec::new();
    for place in &hidden {
        // Nobody's permissions are in the way.
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let path = place.path().join("canary");
        std::fs::write(&path, "secret\n").expect("write");
        paths.push(path.to_str().expect("UTF-8").to_owned());
    }
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    paths.push(text(&dir.path().join("lower/hello")));
    paths.push(format!("{}/secret", other.inside().workspace));
    paths.push(format!("{}/.", other.inside().home));
    paths.push(text(&other_dir.path().join("lower")));
    paths.push(format!("{}/..", sandbox.inside().workspace));
    for path in [
        "/etc/passwd",
        "/etc/group",
        "/",
        "/home",
        "/root",
        "/run",
        "/var",
        "/tmp",
        "/sys",
        "/dev",
        "/etc",
    ] {
        paths.push(path.to_owned());
    }
    let all: Vec<&str> = paths.iter().map(String::as_str).collect();
    let control = outside(READ, &all);
    assert!(
        control.lines().filter(|line| line.contains(" READ")).count()
            >= all.len() - usize::from(!nix::unistd::geteuid().is_root()),
        "control: {control}"
    );
    let own = "/proc/self/cwd/hello";
    let found = inside(&sandbox, READ, &[&all[..], &[own]].concat()).await;
    assert_eq!(found.lines().count(), all.len() + 1, "{found}");
    for line in found.lines() {
        assert_eq!(line.ends_with(" no"), !line.starts_with(own), "{line}");
    }
    // Through links of its own, too.
    let linked = format!(
        "ln -s {} link; cat link; ln {0} hard; cat < /proc/$PPID/environ",
        all[0]
    );
    let linked = run(&sandbox, &linked).await;
    assert!(!support::text(&linked).contains("secret"), "{}", support::text(&linked));
}

#[tokio::test]
async fn only_workspace_home_and_tmp_can_be_written() {
    let program = r#"
        for (@ARGV) {
            my $f;
            print open($f, ">", "$_/probe-$$") ? "$_ wrote\n" : "$_ no\n";
            unlink "$_/probe-$$";
        }
    "#;
    let (dir, sandbox) = bare("write").await;
    let open = tempfile::tempdir().expect("tempdir");
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o777)).expect("chmod");
    let lower = dir.path().join("lower");
    let scratch = dir.path().join("layer");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let places = [
        open.path(),
        &lower,
        Path::new("/dev/shm"),
        Path::new("/var/tmp"),
        &std::env::temp_dir(),
    ]
    .map(text);
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let control = outside(program, &places);
    assert_eq!(control.matches(" wrote").count(), places.len(), "control: {control}");
    let own = sandbox.inside().clone();
    let scratch = text(&scratch);
    let mine = [own.workspace.as_str(), &own.home, &own.tmp];
    let wrote = inside(
        &sandbox,
        program,
        &[&places[..], &[&scratch, "/usr", "/etc", "/proc", "/"], &mine].concat(),
    )
    .await;
    for line in wrote.lines() {
        let (place, got) = line.rsplit_once(' ').expect("two words");
        assert_eq!(got == "wrote", mine.contains(&place), "{line}");
    }
    // Files that exist are no more open than places for new ones.
    let settings = "for f in /proc/sys/kernel/core_pattern /proc/self/oom_score_adj /proc/self/comm; do \
                    (echo x > $f) 2>/dev/null && echo wrote $f; done; true";
    assert_eq!(support::text(&run(&sandbox, settings).await), "");
}

const CONNECT: &str = r#"
    use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6);
    for (@ARGV) {
        my ($kind, $to) = split / /;
        my $v4 = pack_sockaddr_in($to =~ /^\d+$/ ? $to : 0, INADDR_LOOPBACK);
        my ($family, $type, $protocol, $address) =
            $kind eq "tcp6" ? (AF_INET6, SOCK_STREAM, 0, pack_sockaddr_in6($to, inet_pton(AF_INET6, "::1"))) :
            $kind eq "udp" ? (AF_INET, SOCK_DGRAM, 0, $v4) :
            $kind eq "mptcp" ? (AF_INET, SOCK_STREAM, 262, $v4) :
            $kind =~ /tcp|fast/ ? (AF_INET, SOCK_STREAM, 0, $v4) :
            $kind eq "abstract" ? (AF_UNIX, SOCK_STREAM, 0, pack("Sa*", AF_UNIX, "\0$to")) :
            $kind eq "pair" ? (AF_UNIX, SOCK_DGRAM, 0, pack_sockaddr_un($to)) :
            (AF_UNIX, SOCK_STREAM, 0, pack_sockaddr_un($to));
        my ($s, $peer);
        my $made = $kind eq "pair" ? socketpair($s, $peer, $family, $type, 0) : socket($s, $family, $type, $protocol);
        # MSG_FASTOPEN (tcp(7)): data with the SYN, and no connect(2).
        my $done = $made && ($kind =~ /udp|pair/ ? send($s, "out", 0, $address) :
            $kind eq "fast" ? send($s, "out", 0x20000000, $address) : connect($s, $address));
        print "$kind ", $done ? "reached" : "refused", "\n";
    }
"#;

#[tokio::test]
async fn no_listener_of_the_host_can_be_reached_and_its_own_port_can() {
    let dir = Scratch::new();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let (port, udp_port) = (
        tcp.local_addr().expect("address").port(),
        udp.local_addr().expect("address").port(),
    );
    let (stream, datagrams) = (dir.path().join("stream"), dir.path().join("datagrams"));
    let _stream = UnixListener::bind(&stream).expect("a listener");
    let _datagrams = UnixDatagram::bind(&datagrams).expect("a socket");
    for path in [&stream, &datagrams] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("chmod");
    }
    let name = format!("opencode-fsm-bare-{}", std::process::id());
    let _named = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a listener");
    let mut tries = vec![
        format!("tcp4 {port}"),
        format!("fast {port}"),
        format!("mptcp {port}"),
        format!("udp {udp_port}"),
        format!("path {}", stream.display()),
        format!("pair {}", datagrams.display()),
        format!("abstract {name}"),
    ];
    let v6 = TcpListener::bind("[::1]:0");
    if let Ok(listener) = &v6 {
        tries.push(format!("tcp6 {}", listener.local_addr().expect("address").port()));
    }
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    let control = outside(CONNECT, &tries);
    let unreached: Vec<_> = control.lines().filter(|line| !line.ends_with(" reached")).collect();
    // A kernel may have neither of these two, or have them off.
    assert!(
        unreached
            .iter()
            .all(|line| line.starts_with("mptcp") || line.starts_with("fast")),
        "control: {control}"
    );

    let (_dir, sandbox) = bare("connect").await;
    let reached = inside(&sandbox, CONNECT, &tries).await;
    assert_eq!(reached.matches(" refused").count(), tries.len(), "{reached}");

    // One port is its own, to listen on and to connect to; every other is not.
    let listen = r#"
        use Socket;
        my ($mine, $other) = @ARGV;
        for ($mine, $other) {
            socket(my $s, AF_INET, SOCK_STREAM, 0) or die;
            bind($s, pack_sockaddr_in($_, INADDR_LOOPBACK)) or print("no\n"), next;
            listen($s, 1) or die;
            socket(my $c, AF_INET, SOCK_STREAM, 0) or die;
            print connect($c, pack_sockaddr_in($_, INADDR_LOOPBACK)) ? "served\n" : "alone\n";
        }
    "#;
    let free = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port();
    let ports = [sandbox.inside().server_port.to_string(), free.to_string()];
    let ports = ports.each_ref().map(String::as_str);
    assert_eq!(outside(listen, &ports), "served\nserved", "control");
    assert_eq!(inside(&sandbox, listen, &ports).await, "served\nno");
}

/// Calls by their number on x86-64, and the `errno` that seccomp gives.
const CALLS: [(&str, &str, i32); 16] = [
    ("io_uring_setup", "425, 0, $zeros", libc::EPERM),
    ("keyctl", "250, 0, -3, 1", libc::EPERM),
    ("add_key", "248, $word, $word, $word, 1, -3", libc::EPERM),
    ("bpf", "321, 0, $zeros, 64", libc::EPERM),
    ("perf_event_open", "298, $zeros, 0, -1, -1, 0", libc::EPERM),
    ("userfaultfd", "323, 1", libc::EPERM),
    ("mount", "165, $word, $word, $word, 0, $word", libc::EPERM),
    ("unshare user", "272, 0x10000000", libc::EPERM),
    ("clone user", "56, 0x10000000 | 17, 0, 0, 0, 0", libc::EPERM),
    ("chroot", "161, $word", libc::EPERM),
    ("shmget", "29, 0, 4096, 0600", libc::EPERM),
    ("semget", "64, 0, 1, 0600", libc::EPERM),
    ("msgget", "68, 0, 0600", libc::EPERM),
    ("AF_UNIX", "41, 1, 1, 0", libc::EAFNOSUPPORT),
    ("UDP", "41, 2, 2, 0", libc::EPROTONOSUPPORT),
    ("setresuid 0", "117, 0, 0, 0", libc::EPERM),
];

#[tokio::test]
async fn dangerous_calls_are_refused() {
    let mut program = "my ($zeros, $word) = (\"\\0\" x 128, \"user\\0\");\n".to_owned();
    for (name, call, _) in CALLS {
        program += &format!(
            "my $pid = fork; if (!$pid) {{ $! = 0; my $e = syscall({call}) == -1 ? $! + 0 : 0; \
             syswrite STDOUT, \"{name}=$e\\n\"; use POSIX (); POSIX::_exit(0) }} waitpid $pid, 0;\n"
        )
        .replace("my $pid", "our $pid");
    }
    let (_dir, sandbox) = bare("calls").await;
    let got = inside(&sandbox, &program, &[]).await;
    for (name, _, errno) in CALLS {
        assert!(
            got.lines().any(|line| line == format!("{name}={errno}")),
            "{name}: {got}"
        );
    }
    // The control: on the host these do what they are asked for.
    let host = outside(&program, &[]);
    for name in ["shmget", "semget", "msgget", "AF_UNIX", "UDP"] {
        let ours = CALLS.iter().find(|(known, ..)| *known == name).expect("listed").2;
        assert!(
            !host.lines().any(|line| line == format!("{name}={ours}")),
            "control: {name}: {host}"
        );
    }
}

/// What a process may do to another of its own user.
const MEDDLE: &str = r#"
    my $at = shift;
    $at = getppid if $at eq "parent";
    for (qw(environ mem maps auxv)) {
        my $f;
        print "read $_\n" if open($f, "<", "/proc/$at/$_") && defined sysread($f, my $byte, 1);
    }
    for (qw(root cwd exe fd/0)) { print "follow $_\n" if defined readlink "/proc/$at/$_" }
    for (0, 18, 23) { print "signal $_\n" if kill $_, $at }
    print "attach\n" if syscall(101, 16, 0 + $at, 0, 0) == 0;
    my $limit = "\0" x 16;
    print "limit\n" if syscall(302, 0 + $at, 7, 0, $limit) == 0;
    print "renice\n" if syscall(141, 0, 0 + $at, 5) == 0;
    my $mask = pack("Q", 1);
    print "bind\n" if syscall(203, 0 + $at, 8, $mask) == 0;
    print "done\n";
"#;

/// A process of the host; it ends with the test, however that ends.
struct Victim(std::process::Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn processes_of_the_host_and_supervisors_cannot_be_touched() {
    let (_dir, sandbox) = bare("meddle").await;
    // As the very user that commands have, where that is not root.
    let mut victim = Command::new("cat");
    victim.stdin(Stdio::piped()).stdout(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        victim
            .uid(opencode_fsm::sandbox::SANDBOX_UID)
            .gid(opencode_fsm::sandbox::SANDBOX_UID);
    }
    let victim = Victim(victim.stderr(Stdio::null()).spawn().expect("cat"));
    let pid = victim.0.id().to_string();
    let control = outside(MEDDLE, &[&pid]);
    for got in ["read environ", "follow fd/0", "signal 0", "renice", "bind"] {
        assert!(control.contains(got), "control: {got}: {control}");
    }
    for target in [&pid, "parent"] {
        assert_eq!(inside(&sandbox, MEDDLE, &[target]).await, "done", "{target}");
    }
    drop(victim);
    // Nor can one stage touch what another left running.
    let mut daemon = sh("sleep 600 & echo $!");
    daemon.leftovers = Leftovers::Keep;
    let daemon = text(&end(&sandbox, daemon).await);
    assert_eq!(inside(&sandbox, MEDDLE, &[daemon.trim()]).await, "done");
    assert_eq!(text(&run(&sandbox, "echo alive").await), "alive\n");
}

#[tokio::test]
async fn what_detaches_itself_ends_with_its_stage_and_everything_with_the_sandbox() {
    let (_dir, sandbox) = bare("daemon").await;
    let mark = format!("60{}", std::process::id());
    let daemon =
        format!("(setsid sh -c 'trap \"\" TERM HUP; sleep {mark} & sleep {mark}' &) ; setsid setsid sleep {mark} &");
    let outcome = run(
        &sandbox,
        &format!("{daemon} while ! pgrep -fx 'sleep {mark}' >/dev/null; do :; done"),
    )
    .await;
    assert_eq!(outcome.end, OK, "{}", text(&outcome));
    assert!(outcome.leaked_total >= 1, "{outcome:?}");
    assert!(!lives(&mark));
    let mut capped = sh(&format!("{daemon} while :; do :; done"));
    capped.wall = Duration::from_millis(700);
    let outcome = end(&sandbox, capped).await;
    assert!(outcome.timed_out && outcome.leaked_total >= 2, "{outcome:?}");
    assert!(!lives(&mark));
    let mut kept = sh(&format!("{daemon} true"));
    kept.leftovers = Leftovers::Keep;
    assert_eq!(end(&sandbox, kept).await.end, OK);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !lives(&mark) {
        assert!(Instant::now() < deadline, "control: it lives on when it is to be kept");
        std::thread::yield_now();
    }
    sandbox.destroy().await.expect("destroyed");
    assert!(!lives(&mark));
}

#[tokio::test]
async fn memory_and_disk_are_capped() {
    let (_dir, sandbox) = bare_with("caps", |plan| {
        plan.limits.memory_bytes = 128 << 20;
        plan.limits.scratch_bytes = 1 << 20;
        plan.workspace.max_bytes = 16 << 20;
    })
    .await;
    let outcome = end(&sandbox, perl("my $x = 'x' x (400 << 20); sleep 60", &[])).await;
    assert_eq!(outcome.cap_hit.as_deref(), Some("memory"), "{outcome:?}");
    for place in [".", "$HOME", "$TMPDIR"] {
        let fill = format!("i=0; while :; do i=$((i+1)); head -c 4M /dev/zero > {place}/fill$i; done");
        let outcome = run(&sandbox, &fill).await;
        assert_eq!(outcome.cap_hit.as_deref(), Some("disk"), "{place}: {outcome:?}");
        assert_eq!(run(&sandbox, &format!("rm {place}/fill*")).await.end, OK);
    }
    assert_eq!(run(&sandbox, "head -c 4M /dev/zero > small").await.end, OK, "control");
}

#[tokio::test]
async fn changes_by_the_machine_keep_to_the_workspace() {
    use opencode_fsm::{names::RelPath, tree::TreeEdits};
    let (dir, sandbox) = bare("put").await;
    let path = |text: &str| RelPath::new(text).expect("a path");
    let write = async |at: &str| {
        let edits = TreeEdits::write_file(&path(at), b"put", 0o644);
        sandbox.put(&edits.removals, edits.tar).await
    };
    write("new/file").await.expect("written");
    assert_eq!(text(&run(&sandbox, "cat new/file").await), "put");
    let victim = dir.path().join("victim");
    std::fs::create_dir(&victim).expect("mkdir");
    std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o777)).expect("chmod");
    assert_eq!(run(&sandbox, &format!("ln -s {} way", victim.display())).await.end, OK);
    write("way/file").await.expect_err("through a link");
    assert_eq!(std::fs::read_dir(&victim).expect("ls").count(), 0);
    std::fs::write(victim.join("file"), "stays").expect("write");
    let removals = ["way/file", "way", "new"].map(path);
    sandbox.put(&removals, Vec::new()).await.expect("removed");
    assert_eq!(text(&run(&sandbox, "ls").await), "hello\n");
    assert_eq!(std::fs::read_dir(&victim).expect("ls").count(), 1);
}
