//! The seccomp filter: default deny, compiled to classic BPF (seccomp(2)).
//!
//! `allow.txt` names what runs unasked. A few calls are judged by their
//! arguments; what is known to be dangerous gets `EPERM`, what is unknown
//! `ENOSYS`, a foreign architecture kills. Contiguous numbers with one fate are one
//! leaf of a search tree: the kernel runs the program for every number when it is
//! loaded, and caches the verdict of calls that are decided by number alone.

mod container;
mod decide;

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use syscalls::Sysno;

pub use container::profile;
pub use decide::{
    Action, Case, Condition, Test, Through, decide, decided_at, engine_lets_through, is_unfiltered, named,
};

const ALLOWED: &str = include_str!("allow.txt");

/// Refused with `EPERM`: programs probe for these and cope.
const DANGEROUS: &[Sysno] = &[
    Sysno::mount,
    Sysno::umount2,
    Sysno::pivot_root,
    Sysno::chroot,
    Sysno::setns,
    Sysno::unshare,
    Sysno::bpf,
    Sysno::perf_event_open,
    Sysno::userfaultfd,
    Sysno::keyctl,
    Sysno::add_key,
    Sysno::request_key,
    Sysno::init_module,
    Sysno::finit_module,
    Sysno::delete_module,
    Sysno::kexec_load,
    Sysno::kexec_file_load,
    Sysno::reboot,
    Sysno::swapon,
    Sysno::swapoff,
    Sysno::open_by_handle_at,
    Sysno::name_to_handle_at,
    Sysno::io_uring_setup,
    Sysno::io_uring_enter,
    Sysno::io_uring_register,
    Sysno::syslog,
    Sysno::acct,
    Sysno::quotactl,
    Sysno::fanotify_init,
    Sysno::iopl,
    Sysno::ioperm,
    Sysno::settimeofday,
    Sysno::clock_settime,
    Sysno::sethostname,
    Sysno::setdomainname,
    Sysno::process_vm_writev,
    Sysno::open_tree,
    Sysno::move_mount,
    Sysno::fsopen,
    Sysno::fsmount,
    Sysno::fsconfig,
    Sysno::mount_setattr,
];

/// System V objects (sysvipc(7)): without an ipc namespace they are the host's.
const SYSTEM_V: [Sysno; 11] = [
    Sysno::shmget,
    Sysno::shmat,
    Sysno::shmctl,
    Sysno::semget,
    Sysno::semop,
    Sysno::semtimedop,
    Sysno::semctl,
    Sysno::msgget,
    Sysno::msgsnd,
    Sysno::msgrcv,
    Sysno::msgctl,
];

/// `struct seccomp_data` (seccomp(2)): offsets of number, architecture and arguments.
const NR: u32 = 0;
const ARCH: u32 = 4;
const fn arg_low(index: u32) -> u32 {
    16 + 8 * index
}

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;
const KILL: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;
const fn errno(number: i32) -> u32 {
    0x0005_0000 | number as u32
}

/// What the filter is to let through besides files and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A private network namespace: AF_UNIX, TCP and UDP over IP, and route netlink.
    Private,
    /// The host's network with landlock's TCP rules only: TCP streams and route
    /// netlink, no AF_UNIX, no UDP, no fast open; and, since other namespaces are the
    /// host's then too, no System V objects, and nobody else's scheduling.
    Shared,
}

/// The program as bytes of `struct sock_filter[]`.
pub fn compile(network: Network) -> Vec<u8> {
    let mut p = Program(Vec::new());
    p.load(ARCH);
    p.unless_equal(AUDIT_ARCH_X86_64, KILL);
    p.load(NR);
    p.when_at_least(X32_BIT, errno(libc::ENOSYS));
    p.search(&leaves(&fates(network)));
    p.bytes()
}

/// What becomes of a call, by its number.
type Fates = BTreeMap<u32, Vec<Instruction>>;

/// Every call that is not unknown. Calls that are judged by argument or refused are
/// so whether the list allows them or not.
fn fates(network: Network) -> Fates {
    let mut fates = Fates::new();
    let mut judge = |call: Sysno, block: &dyn Fn(&mut Program)| {
        let mut program = Program(Vec::new());
        block(&mut program);
        fates.insert(call.id() as u32, program.0);
    };
    for name in ALLOWED.split_whitespace() {
        if let Ok(call) = Sysno::from_str(name) {
            judge(call, &|p| p.ret(ALLOW));
        }
    }
    for call in DANGEROUS {
        judge(*call, &|p| p.ret(errno(libc::EPERM)));
    }
    judge(Sysno::clone3, &|p| p.ret(errno(libc::ENOSYS)));
    judge(Sysno::clone, &|p| {
        p.load(arg_low(0));
        // Every CLONE_NEW* flag (clone(2)).
        p.when_any_bit(0x7e02_0080, errno(libc::EPERM));
        p.ret(ALLOW);
    });
    judge(Sysno::socket, &|p| socket(p, network));
    judge(Sysno::ioctl, &|p| {
        p.load(arg_low(1));
        for request in [libc::TIOCSTI as u32, libc::TIOCLINUX as u32] {
            p.when_equal(request, errno(libc::EPERM));
        }
        p.ret(ALLOW);
    });
    judge(Sysno::prlimit64, &|p| {
        // One's own limits only (pid 0): the supervisors share the user id with
        // what they supervise, and no other wall guards their limits.
        p.load(arg_low(0));
        p.when_equal(0, ALLOW);
        p.ret(errno(libc::EPERM));
    });
    judge(Sysno::personality, &|p| {
        p.load(arg_low(0));
        for allowed in [0, 0x0004_0000, u32::MAX] {
            p.when_equal(allowed, ALLOW);
        }
        p.ret(errno(libc::EPERM));
    });
    for no_op in [Sysno::sync, Sysno::syncfs] {
        judge(no_op, &|p| p.ret(errno(0)));
    }
    if network == Network::Shared {
        for call in SYSTEM_V {
            judge(call, &|p| p.ret(errno(libc::EPERM)));
        }
        // What is of the same user and outside can be named by its pid: 0 is oneself.
        for (call, pid) in [
            (Sysno::sched_setscheduler, 0),
            (Sysno::sched_setparam, 0),
            (Sysno::sched_setattr, 0),
            (Sysno::sched_setaffinity, 0),
            (Sysno::setpriority, 1),
        ] {
            judge(call, &|p| {
                p.load(arg_low(pid));
                p.when_equal(0, ALLOW);
                p.ret(errno(libc::EPERM));
            });
        }
        judge(Sysno::socketpair, &|p| {
            // A datagram socket of a pair can send to any other by its path.
            p.load(arg_low(1));
            p.and(0xf);
            p.when_equal(libc::SOCK_STREAM as u32, ALLOW);
            p.when_equal(libc::SOCK_SEQPACKET as u32, ALLOW);
            p.ret(errno(libc::EPROTONOSUPPORT));
        });
        for (call, flags) in [(Sysno::sendto, 3), (Sysno::sendmsg, 2), (Sysno::sendmmsg, 3)] {
            judge(call, &|p| {
                p.load(arg_low(flags));
                p.when_any_bit(libc::MSG_FASTOPEN as u32, errno(libc::EPERM));
                p.ret(ALLOW);
            });
        }
    }
    fates
}

/// The numbers from 0 on, cut where one fate ends: the first number of each piece and
/// its fate. What has none is unknown.
fn leaves(fates: &Fates) -> Vec<(u32, Vec<Instruction>)> {
    let unknown = vec![(RET, 0, 0, errno(libc::ENOSYS))];
    let cuts: BTreeSet<u32> = fates.keys().flat_map(|call| [*call, call + 1]).chain([0]).collect();
    let mut leaves: Vec<(u32, Vec<Instruction>)> = Vec::new();
    for from in cuts {
        let fate = fates.get(&from).unwrap_or(&unknown);
        if leaves.last().is_none_or(|(_, last)| last != fate) {
            leaves.push((from, fate.clone()));
        }
    }
    leaves
}

fn socket(p: &mut Program, network: Network) {
    p.load(arg_low(0));
    let netlink = |p: &mut Program| {
        p.load(arg_low(2));
        p.when_equal(libc::NETLINK_ROUTE as u32, ALLOW);
        p.ret(errno(libc::EAFNOSUPPORT));
    };
    p.block_when_equal(libc::AF_NETLINK as u32, netlink);
    for family in [libc::AF_INET, libc::AF_INET6] {
        p.block_when_equal(family as u32, |p| {
            // The type's flags (SOCK_CLOEXEC, SOCK_NONBLOCK) are above the low four bits.
            p.load(arg_low(1));
            p.and(0xf);
            p.block_when_equal(libc::SOCK_STREAM as u32, |p| {
                p.load(arg_low(2));
                // Protocol 0 or TCP: never MPTCP, which landlock does not see.
                p.when_equal(0, ALLOW);
                p.when_equal(libc::IPPROTO_TCP as u32, ALLOW);
                p.ret(errno(libc::EPROTONOSUPPORT));
            });
            if network == Network::Private {
                p.block_when_equal(libc::SOCK_DGRAM as u32, |p| {
                    p.load(arg_low(2));
                    p.when_equal(0, ALLOW);
                    p.when_equal(libc::IPPROTO_UDP as u32, ALLOW);
                    p.ret(errno(libc::EPROTONOSUPPORT));
                });
            }
            p.ret(errno(libc::EPROTONOSUPPORT));
        });
    }
    if network == Network::Private {
        p.when_equal(libc::AF_UNIX as u32, ALLOW);
    }
    p.ret(errno(libc::EAFNOSUPPORT));
}

/// One of classic BPF: code, how far to jump where a test holds and where it does not,
/// operand (linux/filter.h).
type Instruction = (u16, u8, u8, u32);

struct Program(Vec<Instruction>);

const LD_W_ABS: u16 = 0x20;
const JEQ: u16 = 0x15;
const JA: u16 = 0x05;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;
const AND: u16 = 0x54;
const RET: u16 = 0x06;

impl Program {
    fn load(&mut self, offset: u32) {
        self.0.push((LD_W_ABS, 0, 0, offset));
    }

    fn and(&mut self, mask: u32) {
        self.0.push((AND, 0, 0, mask));
    }

    fn ret(&mut self, verdict: u32) {
        self.0.push((RET, 0, 0, verdict));
    }

    fn test(&mut self, jump: u16, value: u32, verdict: u32) {
        self.0.push((jump, 0, 1, value));
        self.ret(verdict);
    }

    fn when_equal(&mut self, value: u32, verdict: u32) {
        self.test(JEQ, value, verdict);
    }

    fn when_at_least(&mut self, value: u32, verdict: u32) {
        self.test(JGE, value, verdict);
    }

    fn when_any_bit(&mut self, mask: u32, verdict: u32) {
        self.test(JSET, mask, verdict);
    }

    fn unless_equal(&mut self, value: u32, verdict: u32) {
        self.0.push((JEQ, 1, 0, value));
        self.ret(verdict);
    }

    /// Finds the leaf of the number in the accumulator by halving.
    fn search(&mut self, leaves: &[(u32, Vec<Instruction>)]) {
        let (below, above) = leaves.split_at(leaves.len() / 2);
        let (Some(_), Some((from, _))) = (below.first(), above.first()) else {
            // One leaf is above, since half of one is none.
            self.0.extend(above.iter().flat_map(|(_, fate)| fate));
            return;
        };
        let mut inner = Program(Vec::new());
        inner.search(below);
        match u8::try_from(inner.0.len()) {
            Ok(length) => self.0.push((JGE, length, 0, *from)),
            // Farther than a test can jump.
            Err(_) => {
                self.0.push((JGE, 0, 1, *from));
                // A program has 4096 instructions at most (BPF_MAXINSNS).
                self.0.push((JA, 0, 0, inner.0.len() as u32));
            }
        }
        self.0.extend(inner.0);
        self.search(above);
    }

    /// A block that is run when the accumulator equals `value`; it must return
    /// on every path, because it may load another word.
    fn block_when_equal(&mut self, value: u32, block: impl FnOnce(&mut Program)) {
        let mut inner = Program(Vec::new());
        block(&mut inner);
        // Blocks are a dozen instructions; 255 is the jump's reach.
        let length = u8::try_from(inner.0.len()).unwrap_or(u8::MAX);
        self.0.push((JEQ, 0, length, value));
        self.0.extend(inner.0);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * 8);
        for (code, yes, no, value) in &self.0 {
            out.extend(code.to_ne_bytes());
            out.extend([*yes, *no]);
            out.extend(value.to_ne_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests;
