//! Acts with families of sockets, which reach parts of the kernel.

use super::{Act, Answer, call::filtered};

/// A socket of a family. The type has a bit that the kernel does not know, in the second try.
fn family(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> Answer {
    let kind = kind as usize;
    filtered(
        libc::SYS_socket,
        &[family as usize, kind, protocol as usize],
        &[family as usize, kind | 0x10_0000, protocol as usize],
    )
}

fn first_family(wanted: &[(libc::c_int, libc::c_int, libc::c_int)]) -> Answer {
    let mut first = None;
    for (number, kind, protocol) in wanted {
        match family(*number, *kind, *protocol) {
            Answer::Done(_) => return Answer::Done(format!("family {number}, protocol {protocol}")),
            refused => {
                first.get_or_insert(refused);
            }
        }
    }
    first.unwrap_or(Answer::in_vain(None))
}

/// A socket to the machine that this one is a guest of (vsock(7)).
pub(super) const VSOCK: Act = Act {
    name: "vsock",
    run: |_| family(libc::AF_VSOCK, libc::SOCK_STREAM, 0),
};

/// A socket to the kernel's ciphers.
pub(super) const ALG: Act = Act {
    name: "kernel-ciphers",
    run: |_| family(libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
};

/// A socket that sees all that passes (packet(7)).
pub(super) const PACKET: Act = Act {
    name: "packet-socket",
    run: |_| family(libc::AF_PACKET, libc::SOCK_RAW, 0x300),
};

/// A socket for packets of one's own making (raw(7)).
pub(super) const RAW: Act = Act {
    name: "raw-socket",
    run: |_| family(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
};

/// A socket that only pings, for which kernels ask less.
pub(super) const PING: Act = Act {
    name: "ping-socket",
    run: |_| family(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
};

/// Sockets to further parts of the kernel.
pub(super) const NETLINK: Act = Act {
    name: "netlink",
    run: |_| {
        let kind = libc::SOCK_RAW;
        first_family(&[
            (libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG),
            (libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT),
            (libc::AF_NETLINK, kind, libc::NETLINK_GENERIC),
            (libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER),
        ])
    },
};

/// Families of sockets that few programs ever need.
pub(super) const RARE_FAMILIES: Act = Act {
    name: "rare-families",
    run: |_| {
        let kind = libc::SOCK_SEQPACKET;
        first_family(&[
            (libc::AF_KEY, libc::SOCK_RAW, 2),
            (libc::AF_RDS, kind, 0),
            (libc::AF_TIPC, kind, 0),
            (libc::AF_CAN, libc::SOCK_RAW, 1),
            (libc::AF_BLUETOOTH, libc::SOCK_RAW, 1),
            (libc::AF_XDP, libc::SOCK_RAW, 0),
        ])
    },
};

/// Connections of many ways, which landlock does not see (mptcp).
pub(super) const MPTCP: Act = Act {
    name: "multipath-connection",
    run: |_| family(libc::AF_INET, libc::SOCK_STREAM, 262),
};
