//! The filter, run as the kernel would run it.

use super::*;

/// Runs the program as the kernel would, over one call.
pub(super) fn verdict(network: Network, arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut packet = Vec::new();
    packet.extend(number.to_ne_bytes());
    packet.extend(arch.to_ne_bytes());
    packet.extend(0u64.to_ne_bytes());
    args.iter().for_each(|a| packet.extend(a.to_ne_bytes()));
    let program = compile(network);
    let (mut at, mut acc) = (0, 0u32);
    loop {
        let i = &program[8 * at..8 * at + 8];
        let code = u16::from_ne_bytes([i[0], i[1]]);
        let k = u32::from_ne_bytes([i[4], i[5], i[6], i[7]]);
        let holds = match code {
            LD_W_ABS => {
                acc = u32::from_ne_bytes(packet[k as usize..k as usize + 4].try_into().expect("4 bytes"));
                None
            }
            AND => {
                acc &= k;
                None
            }
            RET => return k,
            JEQ => Some(acc == k),
            JA => {
                at += k as usize;
                None
            }
            JGE => Some(acc >= k),
            JSET => Some(acc & k != 0),
            other => panic!("opcode {other:#x}"),
        };
        at += 1 + holds.map_or(0, |yes| usize::from(if yes { i[2] } else { i[3] }));
    }
}

fn native(call: Sysno, args: [u64; 6]) -> u32 {
    verdict(Network::Private, AUDIT_ARCH_X86_64, call.id() as u32, args)
}

#[test]
fn every_name_in_the_list_is_a_syscall() {
    for name in ALLOWED.split_whitespace() {
        assert!(Sysno::from_str(name).is_ok(), "{name}");
    }
}

#[test]
fn ordinary_calls_pass_and_dangerous_ones_do_not() {
    for call in [
        Sysno::read,
        Sysno::openat,
        Sysno::execve,
        Sysno::vfork,
        Sysno::futex,
        Sysno::ptrace,
    ] {
        assert_eq!(native(call, [0; 6]), ALLOW, "{call}");
    }
    for call in DANGEROUS {
        assert_eq!(native(*call, [0; 6]), errno(libc::EPERM), "{call}");
    }
    assert_eq!(native(Sysno::clone3, [0; 6]), errno(libc::ENOSYS));
    assert_eq!(
        verdict(Network::Private, AUDIT_ARCH_X86_64, 9_999, [0; 6]),
        errno(libc::ENOSYS)
    );
}

#[test]
fn foreign_architectures_and_x32_are_closed() {
    assert_eq!(verdict(Network::Private, 0x4000_0003, 1, [0; 6]), KILL);
    assert_eq!(
        verdict(Network::Private, AUDIT_ARCH_X86_64, X32_BIT | 1, [0; 6]),
        errno(libc::ENOSYS)
    );
}

#[test]
fn arguments_decide_where_they_must() {
    assert_eq!(native(Sysno::clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]), ALLOW);
    for flag in [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWPID,
        0x80,
    ] {
        assert_eq!(
            native(Sysno::clone, [flag as u64, 0, 0, 0, 0, 0]),
            errno(libc::EPERM),
            "{flag:#x}"
        );
    }
    // The kernel compares the low 32 bits only; so must the filter.
    assert_eq!(
        native(Sysno::ioctl, [0, libc::TIOCSTI | 1 << 32, 0, 0, 0, 0]),
        errno(libc::EPERM)
    );
    assert_eq!(native(Sysno::ioctl, [0, 0x5401, 0, 0, 0, 0]), ALLOW);
    assert_eq!(native(Sysno::prlimit64, [0; 6]), ALLOW);
    assert_eq!(native(Sysno::prlimit64, [1, 0, 0, 0, 0, 0]), errno(libc::EPERM));
}

#[test]
fn socket_families() {
    let socket = |network, family: i32, kind: i32, protocol: i32| {
        verdict(
            network,
            AUDIT_ARCH_X86_64,
            Sysno::socket.id() as u32,
            [family as u64, kind as u64, protocol as u64, 0, 0, 0],
        )
    };
    let (stream, dgram) = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::SOCK_DGRAM);
    for (network, datagrams) in [
        (Network::Private, ALLOW),
        (Network::Shared, errno(libc::EPROTONOSUPPORT)),
    ] {
        assert_eq!(socket(network, libc::AF_INET, stream, 0), ALLOW);
        assert_eq!(socket(network, libc::AF_INET6, dgram, 0), datagrams);
        assert_ne!(socket(network, libc::AF_INET, stream, 262), ALLOW, "MPTCP");
        assert_ne!(socket(network, libc::AF_INET, libc::SOCK_RAW, 1), ALLOW);
        assert_ne!(socket(network, libc::AF_VSOCK, stream, 0), ALLOW);
        assert_ne!(socket(network, libc::AF_PACKET, libc::SOCK_RAW, 0), ALLOW);
        assert_ne!(socket(network, libc::AF_NETLINK, libc::SOCK_RAW, 16), ALLOW);
        assert_eq!(socket(network, libc::AF_NETLINK, libc::SOCK_RAW, 0), ALLOW);
    }
    let shared = |call: Sysno, args| verdict(Network::Shared, AUDIT_ARCH_X86_64, call.id() as u32, args);
    let pair = |kind: i32| shared(Sysno::socketpair, [libc::AF_UNIX as u64, kind as u64, 0, 0, 0, 0]);
    assert_eq!((pair(stream), pair(libc::SOCK_SEQPACKET)), (ALLOW, ALLOW));
    assert_ne!(pair(dgram), ALLOW);
    assert_eq!(native(Sysno::socketpair, [0; 6]), ALLOW);
    for call in SYSTEM_V {
        assert_eq!(shared(call, [0; 6]), errno(libc::EPERM), "{call}");
        assert_eq!(native(call, [0; 6]), ALLOW, "{call}");
    }
    assert_eq!(shared(Sysno::sched_setaffinity, [0; 6]), ALLOW);
    assert_ne!(shared(Sysno::sched_setaffinity, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_ne!(shared(Sysno::setpriority, [0, 1, 0, 0, 0, 0]), ALLOW);
    assert_eq!(socket(Network::Private, libc::AF_UNIX, stream, 0), ALLOW);
    assert_ne!(socket(Network::Shared, libc::AF_UNIX, stream, 0), ALLOW);
}
