//! The kernel as a stage meets it: calls that must be refused, each with a control.
//!
//! Never run the calls outside a jail: with root's privileges they do what they say.
//! The control is a jail without the filter. The calls are made by perl, which every Debian has, with numbers of x86-64.
#![cfg(target_arch = "x86_64")]

mod support;

use std::{collections::BTreeMap, path::Path};

use opencode_fsm::sandbox::{
    Sandbox,
    jail::{Jail, Layer},
};
use support::{jail, plan, run, text};

/// Makes one system call after another and prints `name=errno`, 0 for one that went through.
const CALLS: &str = r#"
my $z = "\0" x 4096; # Its parent is the supervisor of the stage.
my $p = getppid(); my $b = "x" x 64; my $v = pack("QQ", unpack("Q", pack("p", $b)), 8);
my @calls = (
  [ptrace_parent => 101, 16, $p, 0, 0], [ptrace_one => 101, 16, 1, 0, 0],
  [mount => 165, $z, "/tmp", "tmpfs", 0, $z], [umount2 => 166, "/proc", 2],
  [unshare_user => 272, 0x10000000], [unshare_mount => 272, 0x20000], [setns => 308, 0, 0],
  [bpf => 321, 0, $z, 128], [io_uring_setup => 425, 8, $z], [keyctl => 250, 0, -3, 1],
  [add_key => 248, "user", "k", "v", 1, -3], [request_key => 249, "user", "k", 0, 0],
  [perf_event_open => 298, $z, 0, -1, -1, 0], [userfaultfd => 323, 0], [kexec_load => 246, 0, 0, 0, 0],
  [init_module => 175, $z, 0, $z], [finit_module => 313, 0, $z, 0], [delete_module => 176, "none", 0],
  [open_by_handle_at => 304, 0, $z, 0], [name_to_handle_at => 303, -100, "/tmp", $z, $z, 0],
  [chroot => 161, "/tmp"], [pivot_root => 155, "/tmp", "/tmp"], [swapon => 167, "/tmp/x", 0],
  [process_vm_readv => 310, 1, $v, 1, $v, 1, 0], [process_vm_readv_parent => 310, $p, $v, 1, $v, 1, 0],
  [process_vm_writev => 311, 1, $v, 1, $v, 1, 0],
  [kcmp => 312, 1, 1, 0, 0, 0], [pidfd_getfd => 438, 0, 0, 0], [reboot => 169, 0, 0, 0, 0],
  [sethostname => 170, "x", 1], [settimeofday => 164, $z, 0], [clock_settime => 227, 0, $z],
  [acct => 163, 0], [quotactl => 179, 0, 0, 0, 0], [iopl => 172, 3], [ioperm => 173, 0, 1, 1],
  [syslog => 103, 3, $z, 10], [fsopen => 430, "tmpfs", 0], [fsmount => 432, 0, 0, 0],
  [open_tree => 428, -100, "/", 1], [move_mount => 429, -1, $z, -1, $z, 0], [mount_setattr => 442, -1, $z, 0, $z, 32],
  [landlock_none => 444, 0, 0, 9], [personality_32 => 135, 8], [lookup_dcookie => 212, 0, $z, 0],
  [x32_getpid => 0x40000000 + 39], [mknod_block => 133, "/tmp/blk", 0060600, 0x800], [mknod_char => 133, "/tmp/chr", 0020600, 0x101],
  [socket_packet => 41, 17, 3, 0], [socket_vsock => 41, 40, 1, 0], [socket_alg => 41, 38, 5, 0],
  [socket_netfilter => 41, 16, 3, 12], [socket_bluetooth => 41, 31, 3, 0], [socket_raw => 41, 2, 3, 1],
  [kill_supervisor => 62, 1, 9], [setuid_root => 105, 0],
);
for (@calls) { my ($n, @c) = @$_; $! = 0; my $r = syscall($c[0], @c[1..$#c]); printf "%s=%d\n", $n, $r == -1 ? $!+0 : 0 }
"#;

const EPERM: i32 = libc::EPERM;

/// A jail over a fresh tree; the launcher must outlive the sandbox.
async fn jailed(dir: &Path, label: &str, off: &[Layer]) -> (Jail, Sandbox) {
    let jail = jail().without(off);
    std::fs::create_dir_all(dir.join("lower")).expect("mkdir");
    std::fs::write(dir.join("lower/calls.pl"), CALLS).expect("write");
    let sandbox = jail.create(&plan(dir, label)).await.expect("a jail");
    (jail, sandbox)
}

fn parse(printed: &str) -> BTreeMap<String, i32> {
    let pairs = printed.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, errno)| (name.to_owned(), errno.parse().expect("a number")))
        .collect()
}

async fn calls(off: &[Layer]) -> BTreeMap<String, i32> {
    let dir = tempfile::tempdir().expect("tempdir");
    let (_jail, sandbox) = jailed(dir.path(), "calls", off).await;
    let outcome = run(&sandbox, "exec perl calls.pl").await;
    let found = parse(&text(&outcome));
    sandbox.destroy().await.expect("destroy");
    found
}

#[tokio::test]
async fn calls_that_no_stage_needs_are_refused_and_the_filter_is_why() {
    let jailed = calls(&[]).await;
    let unfiltered = calls(&[Layer::Seccomp]).await;
    assert_eq!(jailed.len(), 56, "every call was made: {jailed:?}");
    assert_eq!(jailed.keys().collect::<Vec<_>>(), unfiltered.keys().collect::<Vec<_>>());
    let through: Vec<_> = jailed.iter().filter(|(_, errno)| **errno == 0).collect();
    assert!(through.is_empty(), "went through: {through:?}");
    // The control: without the filter these reach the kernel, which answers otherwise or lets them through.
    let reached: Vec<&str> = unfiltered
        .iter()
        .filter(|(name, errno)| jailed[*name] != **errno)
        .map(|(name, _)| name.as_str())
        .collect();
    for name in [
        "io_uring_setup",
        "keyctl",
        "add_key",
        "bpf",
        "socket_netfilter",
        "personality_32",
    ] {
        // Where the kernel was built without one of them, both answers are ENOSYS.
        assert!(
            reached.contains(&name) || unfiltered[name] == libc::ENOSYS || unfiltered[name] == libc::EAFNOSUPPORT,
            "{name}: {unfiltered:?}"
        );
    }
    assert!(
        reached.contains(&"keyctl") && reached.contains(&"personality_32"),
        "{reached:?}"
    );
    // And these hold without it, by the namespaces and the empty capabilities alone.
    for name in [
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "sethostname",
        "mknod_block",
        "mknod_char",
        "setuid_root",
        "kill_supervisor",
        "init_module",
        "reboot",
        "clock_settime",
        "unshare_user",
        "ptrace_one",
        "ptrace_parent",
        "process_vm_readv",
        "process_vm_readv_parent",
    ] {
        assert_ne!(unfiltered[name], 0, "{name} without the filter: {unfiltered:?}");
    }
    assert_eq!(jailed["kill_supervisor"], EPERM);
}

#[tokio::test]
async fn a_stage_has_no_privilege_and_can_gain_none() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (_jail, sandbox) = jailed(dir.path(), "privilege", &[]).await;
    let status = text(&run(&sandbox, "cat /proc/self/status").await);
    let value = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name}: {status}"));
        line.split_once(':').expect("a colon").1.trim().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&value(set), 16).expect("hex"), 0, "{set}");
    }
    assert_eq!(
        (value("NoNewPrivs"), value("Seccomp")),
        ("1".to_owned(), "2".to_owned())
    );
    assert_eq!(value("Uid").split_whitespace().collect::<Vec<_>>(), ["1000"; 4]);
    // A set-id program of the host's /usr gives nothing; outside it would.
    let outside = std::fs::read_to_string("/proc/self/status").expect("status");
    assert!(outside.contains("NoNewPrivs:\t0"), "the control");
    let gained = text(&run(&sandbox, "su -c id root </dev/null 2>&1; id -u").await);
    assert!(gained.ends_with("1000\n"), "{gained}");
    sandbox.destroy().await.expect("destroy");
}

#[tokio::test]
async fn a_stage_sees_its_own_processes_devices_descriptors_and_environment_only() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (_jail, sandbox) = jailed(dir.path(), "view", &[]).await;
    let see = async |script: &str| text(&run(&sandbox, script).await);
    // Its own few processes; this test's is not among them.
    let processes = see("ls /proc | grep -c '^[0-9]*$'").await;
    assert!(processes.trim().parse::<u32>().expect("a number") < 10, "{processes}");
    let outside = std::fs::read_dir("/proc").expect("/proc").flatten().count();
    assert!(outside > 10, "the control");
    for secret in [
        "/proc/1/environ",
        "/proc/1/mem",
        "/proc/1/maps",
        "/proc/1/fd/0",
        "/proc/kcore",
        "/proc/sysrq-trigger",
        "/dev/mem",
        "/dev/sda",
        "/dev/vda",
        "/dev/kmsg",
    ] {
        let shown = see(&format!(
            "head -c 16 {secret} 2>&1 >/dev/null; test -s {secret} && head -c 1 {secret} 2>/dev/null | wc -c"
        ))
        .await;
        assert!(!shown.ends_with("1\n"), "{secret}: {shown}");
    }
    assert!(
        std::fs::read("/proc/self/environ").is_ok_and(|bytes| !bytes.is_empty()),
        "the control"
    );
    assert_eq!(
        see("ls /proc/self/fd | tr '\\n' ' '").await,
        "0 1 2 3 ",
        "ls itself opens the fourth"
    );
    let variables = see("env | sed 's/=.*//' | sort | tr '\\n' ' '").await;
    assert_eq!(variables, "HOME PATH PWD ");
    assert_eq!(
        see("hostname 2>/dev/null || cat /proc/sys/kernel/hostname")
            .await
            .trim(),
        "sandbox"
    );
    sandbox.destroy().await.expect("destroy");
}
