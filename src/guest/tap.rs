//! What goes past the doors, made visible: every address leads to the loopback, where nobody
//! listens, and a packet socket shows what was sent there.
//!
//! Only where the network namespace is the guest's own to configure (a jail's). Without
//! this the kernel refuses such a connection for want of a route, and tells no one.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

use super::Failure;

/// `lo` in every network namespace (its first interface).
const LOOPBACK: u32 = 1;
/// Packets of every protocol (packet(7)), in network byte order.
const EVERY_PROTOCOL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// Gives every address to the loopback, and a socket that sees the first packet of whatever
/// is sent to another than its own: TCP's SYN, and every datagram.
pub(super) fn tap() -> Result<OwnedFd, Failure> {
    let seen = watch()?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        match own_every_address(family) {
            // A kernel without IPv6 has none of its addresses to own.
            Err(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::ENODEV) if family == libc::AF_INET6 => {}
            other => other.map_err(|e| Failure::new("route every address to the loopback", e))?,
        }
    }
    Ok(seen)
}

/// `ip route add local default dev lo` (rtnetlink(7)).
fn own_every_address(family: i32) -> nix::Result<()> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let mut message = Vec::new();
    // struct nlmsghdr: length (below), type, flags, sequence, port.
    message.extend(0u32.to_ne_bytes());
    message.extend(libc::RTM_NEWROUTE.to_ne_bytes());
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    message.extend((flags as u16).to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    // struct rtmsg: family, no destination, no source, no TOS, table, protocol, scope, type, flags.
    message.extend([family as u8, 0, 0, 0]);
    message.extend([
        libc::RT_TABLE_LOCAL,
        libc::RTPROT_BOOT,
        libc::RT_SCOPE_HOST,
        libc::RTN_LOCAL,
    ]);
    message.extend(0u32.to_ne_bytes());
    // struct rtattr: the interface.
    message.extend(8u16.to_ne_bytes());
    message.extend(libc::RTA_OIF.to_ne_bytes());
    message.extend(LOOPBACK.to_ne_bytes());
    let length = (message.len() as u32).to_ne_bytes();
    message[..4].copy_from_slice(&length);
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0u8; 4096];
    let read = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // struct nlmsghdr, then struct nlmsgerr begins with a negative errno, or 0.
    let error = answer.get(16..20).filter(|_| read >= 20).ok_or(Errno::EBADMSG)?;
    let number = error.try_into().map(i32::from_ne_bytes).map_err(|_| Errno::EBADMSG)?;
    match number {
        0 => Ok(()),
        number => match Errno::from_raw(-number) {
            Errno::EEXIST => Ok(()),
            errno => Err(errno),
        },
    }
}

/// A packet socket on the loopback with a filter that all but what is meant is dropped by
/// before it costs anything: a download through a door comes by here, too.
fn watch() -> Result<OwnedFd, Failure> {
    let failed = |errno| Failure::new("watch the loopback", errno);
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: numbers only (packet(7)). Of no protocol, it sees nothing until it is bound.
    let raw = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) }).map_err(failed)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let seen = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut program = filter();
    let attached = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program outlives the call, and its length is its own (socket(7)).
    let set = unsafe {
        libc::setsockopt(
            seen.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const attached).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Errno::result(set).map_err(failed)?;
    // SAFETY: an all-zero sockaddr_ll is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = EVERY_PROTOCOL;
    address.sll_ifindex = LOOPBACK as i32;
    // SAFETY: the address outlives the call and is laid out as packet(7) wants.
    let bound = unsafe {
        libc::bind(
            seen.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    Errno::result(bound).map_err(failed)?;
    Ok(seen)
}

/// Where a jump of the filter leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Six,
    Elsewhere,
    Syn,
    Keep,
    Drop,
}

/// Classic BPF over the packet from its IP header on (bpf(4), socket(7)). Keeps what is
/// going out (each packet of the loopback is seen twice), is not for 127.0.0.0/8 or `::1`,
/// and is a SYN of TCP or a datagram; of that the first 600 bytes.
fn filter() -> Vec<libc::sock_filter> {
    use To::{Drop, Elsewhere, Keep, Next, Six, Syn};
    const LD_B: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const LD_W: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const LD_IND: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
    const LDX_HEADER: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
    const LDX: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
    const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RET: u32 = libc::BPF_RET | libc::BPF_K;
    // SKF_AD_OFF + SKF_AD_PKTTYPE (linux/filter.h), and PACKET_OUTGOING (packet(7)).
    const PACKET_TYPE: u32 = (-0x1000_i32 + 4) as u32;
    const OUTGOING: u32 = 4;
    const TCP: u32 = libc::IPPROTO_TCP as u32;
    const UDP: u32 = libc::IPPROTO_UDP as u32;
    // Flags of TCP: SYN and ACK, of which the first alone is a beginning.
    const SYN_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    let program: [(To, u32, To, To, u32); 29] = [
        (Next, LD_B, Next, Next, PACKET_TYPE),
        (Next, EQUAL, Next, Drop, OUTGOING),
        (Next, LD_B, Next, Next, 0),
        (Next, AND, Next, Next, 0xf0),
        (Next, EQUAL, Next, Six, 0x40),
        // IPv4: where to, which protocol.
        (Next, LD_B, Next, Next, 16),
        (Next, EQUAL, Drop, Next, 127),
        (Next, LDX_HEADER, Next, Next, 0),
        (Next, LD_B, Next, Next, 9),
        (Next, EQUAL, Keep, Next, UDP),
        (Next, EQUAL, Syn, Drop, TCP),
        // IPv6: where to.
        (Six, EQUAL, Next, Drop, 0x60),
        (Next, LD_W, Next, Next, 24),
        (Next, EQUAL, Next, Elsewhere, 0),
        (Next, LD_W, Next, Next, 28),
        (Next, EQUAL, Next, Elsewhere, 0),
        (Next, LD_W, Next, Next, 32),
        (Next, EQUAL, Next, Elsewhere, 0),
        (Next, LD_W, Next, Next, 36),
        (Next, EQUAL, Drop, Next, 1),
        // Which protocol; the header of IPv6 has 40 bytes.
        (Elsewhere, LDX, Next, Next, 40),
        (Next, LD_B, Next, Next, 6),
        (Next, EQUAL, Keep, Next, UDP),
        (Next, EQUAL, Next, Drop, TCP),
        (Syn, LD_IND, Next, Next, 13),
        (Next, AND, Next, Next, SYN_ACK),
        (Next, EQUAL, Keep, Drop, SYN),
        (Keep, RET, Next, Next, 600),
        (Drop, RET, Next, Next, 0),
    ];
    let place = |label: To| program.iter().position(|(own, ..)| *own == label).unwrap_or_default();
    let distance = |at: usize, to: To| match to {
        Next => 0,
        label => (place(label) - at - 1) as u8,
    };
    program
        .iter()
        .enumerate()
        .map(|(at, (_, code, jt, jf, k))| libc::sock_filter {
            code: *code as u16,
            jt: distance(at, *jt),
            jf: distance(at, *jf),
            k: *k,
        })
        .collect()
}
