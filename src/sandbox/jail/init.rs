//! From a launcher's child to PID 1 of a jail: this order is the documentation.
//!
//! Before the plan is known:
//!
//!  1. \[root\] ahead of what will run inside (`setpriority(2)`), supplementary groups dropped, ids set to [`SANDBOX_UID`](crate::sandbox::SANDBOX_UID)
//!  2. `PR_SET_PDEATHSIG`, after the ids because changing them clears it
//!  3. `unshare(2)`: the user namespace; one id mapped to 0 inside, `setgroups`
//!     denied: the host's root never appears
//!  4. `unshare(2)`: mount, pid, network, ipc, uts and cgroup namespaces, one by
//!     one, so that a refusal names the one
//!  5. fork: the child is PID 1
//!  6. what every jail shows of the host, `/etc`, `/dev`, `/proc` (`root.rs`)
//!  7. host name, loopback up, a session keyring of its own
//!  8. the user namespace that every command will enter
//!
//! Then it waits; nothing that anybody wrote for a jail has been read so far. With
//! the plan:
//!
//!  9. layers and read-only mounts (where the launcher is root, it sends them)
//! 10. private directories, workspace overlay, `pivot_root` (`root.rs`), umask
//! 11. the guest supervisor serves
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal, wait::waitpid},
    unistd::{
        ForkResult, Gid, Pid, Uid, fork, getegid, geteuid, getppid, setgroups, sethostname, setresgid, setresuid,
    },
};

use super::{
    root::{self, Own},
    spec::{Assignment, Bounds, JailSpec, Launched, Step, StepError},
};
use crate::{
    guest::{self, Guest, GuestStart},
    policy::{GUEST_GID, GUEST_UID},
    probe::Layer,
    sandbox, wire,
};

/// Lives in the launcher's child: makes the namespaces, starts PID 1 and waits for
/// its end. The plan comes over `socket`.
///
/// `off` is what a test leaves off to see what the rest is worth; a run leaves nothing off.
pub(super) fn build(socket: OwnedFd, launcher: Pid, off: &[Layer]) {
    if let Err(e) = prepare(launcher, off) {
        return refuse(&socket, e);
    }
    // SAFETY: this process is single-threaded, so the child may do anything.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let code = init(socket, off);
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(i32::from(code)) }
        }
        Ok(ForkResult::Parent { child }) => {
            drop(socket);
            let _ = waitpid(child, None);
        }
        Err(errno) => refuse(
            &socket,
            StepError {
                step: "fork PID 1".to_owned(),
                errno: errno as i32,
            },
        ),
    }
}

/// Answers the plan, when it comes, with the step that failed.
fn refuse(socket: &OwnedFd, e: StepError) {
    if let Some(order) = Order::wait(socket) {
        order.fail(e);
    }
}

/// A plan and what came with it.
struct Order {
    spec: JailSpec,
    bounds: Bounds,
    reply: OwnedFd,
    guest: OwnedFd,
    /// What the launcher gathered as root.
    own: Vec<OwnedFd>,
}

impl Order {
    /// `None` when the launcher is gone.
    fn wait(socket: &OwnedFd) -> Option<Self> {
        let (Assignment { spec, bounds }, mut fds) = wire::recv(socket.as_fd()).ok()?;
        if fds.len() < 2 {
            return None;
        }
        let own = fds.split_off(2);
        let (guest, reply) = (fds.pop()?, fds.pop()?);
        Some(Self {
            spec,
            bounds,
            reply,
            guest,
            own,
        })
    }

    fn fail(self, StepError { step, errno }: StepError) {
        let _ = wire::send(self.reply.as_fd(), &Launched::Failed { step, errno }, &[]);
    }
}

fn prepare(launcher: Pid, off: &[Layer]) -> Result<(), StepError> {
    let on = |layer| !off.contains(&layer);
    // Who is not root here can make no name spaces but in one of its own.
    if let Some(id) = sandbox::owner().filter(|_| on(Layer::Ids) && on(Layer::UserNamespace)) {
        // SAFETY: numbers only. Where it is refused, commands still are behind ([`guest::BEHIND`]).
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -guest::BEHIND) };
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        setgroups(&[]).step("setgroups")?;
        setresgid(gid, gid, gid).step("setresgid")?;
        setresuid(uid, uid, uid).step("setresuid")?;
        // Changing ids hid /proc/self from us; the maps are written there.
        prctl::set_dumpable(true).step("PR_SET_DUMPABLE")?;
    }
    die_with(launcher)?;
    let (uid, gid) = (geteuid(), getegid());
    if on(Layer::UserNamespace) {
        unshare(CloneFlags::CLONE_NEWUSER).step("unshare user namespace")?;
        std::fs::write("/proc/self/setgroups", "deny").step("write setgroups")?;
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).step("write uid_map")?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).step("write gid_map")?;
    }
    // Without one of its own it would mount on the host: that one is never left off.
    unshare(CloneFlags::CLONE_NEWNS).step("unshare mount namespace")?;
    for (namespace, flag, layer) in [
        ("pid", CloneFlags::CLONE_NEWPID, Layer::PidNamespace),
        ("network", CloneFlags::CLONE_NEWNET, Layer::NetworkNamespace),
        ("ipc", CloneFlags::CLONE_NEWIPC, Layer::IpcNamespace),
        ("uts", CloneFlags::CLONE_NEWUTS, Layer::UtsNamespace),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP, Layer::CgroupNamespace),
    ] {
        if on(layer) {
            unshare(flag).step(&format!("unshare {namespace} namespace"))?;
        }
    }
    Ok(())
}

/// SIGKILL when the parent goes; a parent that is gone already is an error.
fn die_with(parent: Pid) -> Result<(), StepError> {
    prctl::set_pdeathsig(Signal::SIGKILL).step("PR_SET_PDEATHSIG")?;
    if getppid() != parent {
        return Err(StepError {
            step: "find the parent alive".to_owned(),
            errno: libc::ESRCH,
        });
    }
    Ok(())
}

fn init(socket: OwnedFd, off: &[Layer]) -> u8 {
    let nested = settle(off);
    let Some(mut order) = Order::wait(&socket) else {
        return 0;
    };
    drop(socket);
    let own = std::mem::take(&mut order.own);
    let built = nested.and_then(|nested| furnish(&order.spec, own).map(|()| nested));
    let nested = match built {
        Ok(nested) => nested,
        Err(e) => {
            order.fail(e);
            return 1;
        }
    };
    let Order {
        spec,
        bounds,
        reply,
        guest: socket,
        ..
    } = order;
    let start = GuestStart {
        socket,
        confinement: spec.confinement,
        nested,
        lease: None,
    };
    let started = Guest::new(start).map_err(|refused| StepError {
        step: refused.step,
        errno: refused.errno.unwrap_or(libc::EIO),
    });
    let landlock_abi = guest::landlock_abi();
    let (told, guest, pidfd) = match started.and_then(|guest| Ok((guest, pidfd()?))) {
        Ok((guest, pidfd)) => (Launched::Built { bounds, landlock_abi }, Some(guest), Some(pidfd)),
        Err(StepError { step, errno }) => (Launched::Failed { step, errno }, None, None),
    };
    let attached: Vec<_> = pidfd.iter().map(AsFd::as_fd).collect();
    let _ = wire::send(reply.as_fd(), &told, &attached);
    drop(attached);
    drop((reply, pidfd));
    guest.map_or(1, Guest::serve)
}

/// All that can be built without a plan; gives the namespace for the commands.
fn settle(off: &[Layer]) -> Result<Option<OwnedFd>, StepError> {
    let on = |layer| !off.contains(&layer);
    // In a new pid namespace the parent's pid reads as 0.
    die_with(if on(Layer::PidNamespace) {
        Pid::from_raw(0)
    } else {
        getppid()
    })?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let sysctl_user = root::assemble(off)?;
    // What is the host's is never named or switched.
    if on(Layer::UtsNamespace) {
        sethostname("sandbox").step("sethostname")?;
    }
    if on(Layer::NetworkNamespace) {
        loopback_up().step("bring the loopback up")?;
    }
    // SAFETY: numbers and a null pointer (KEYCTL_JOIN_SESSION_KEYRING(2const)).
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0usize) };
    match Errno::result(joined) {
        // A kernel without keyrings has none to inherit.
        Ok(_) | Err(Errno::ENOSYS) => {}
        Err(errno) => return Err(errno).step("join a session keyring"),
    }
    if !on(Layer::CommandId) {
        return Ok(None);
    }
    let nested = guest::nest(GUEST_UID, GUEST_GID, &sysctl_user).map_err(|refused| StepError {
        step: refused.step,
        errno: refused.errno.unwrap_or(libc::EIO),
    })?;
    Ok(Some(nested))
}

/// The plan's own part of the root.
fn furnish(spec: &JailSpec, sent: Vec<OwnedFd>) -> Result<(), StepError> {
    let own = if sent.is_empty() {
        Own::gather(spec)?
    } else {
        Own::of(spec, sent)?
    };
    root::enter(spec, &own)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    Ok(())
}

fn loopback_up() -> nix::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an all-zero ifreq is valid (netdevice(7)).
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request outlives the call and is an ifreq as SIOCSIFFLAGS wants.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })?;
    Ok(())
}

/// Our own, which others cannot take for that of a later process (pidfd_open(2)).
fn pidfd() -> Result<OwnedFd, StepError> {
    // SAFETY: plain numbers.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    let raw = Errno::result(raw).step("pidfd_open")?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as i32) })
}
